"""Where labels go: beside or inside what they name, inside the image, and never on each other."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rangemask.geometry.arrays import AnyArray

_RING_ANGLES = 24
_RINGS = 9
_SCAN_STEPS = 48
"""Rows and columns of the last search, over the whole image."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Target:
    """What a label is to be placed for."""

    width: int
    """Of the label, px."""
    height: int
    """Of the label, px."""
    centre: tuple[float, float]
    """A point well inside the thing, x, y px."""
    box: tuple[float, float, float, float]
    """Of the thing: x, y, width, height px."""
    edge: AnyArray
    """(K, 2) x, y px: some points of the thing, which the label should be near to."""
    inner_px: float = 0.0
    """Radius of the largest disc around ``centre`` that lies inside the thing, px."""


@dataclass(frozen=True, slots=True)
class Spot:
    """Where a label was placed."""

    x: int
    y: int
    gap_px: float
    """Distance from the label to the thing; 0 where they touch."""
    tip: tuple[float, float]
    """The point of the thing that a line from the label should end at, x, y px."""


def place_labels(
    targets: Sequence[Target],
    *,
    width: int,
    height: int,
    reach_px: float = math.inf,
    blocked: Sequence[tuple[float, float, float, float]] = (),
) -> list[Spot | None]:
    """Place labels greedily, the first target first.

    Each label takes the cheapest free position: on the thing where that is much larger than
    the label, else touching it from above, below or beside, else on rings around it, else
    anywhere. A label that covers other things costs more.

    Args:
        targets: what to label, the most important first.
        width: of the image, px.
        height: of the image, px.
        reach_px: how far a label may be from its thing, px.
        blocked: boxes that no label may lie on: x, y, width, height px.

    Returns:
        one position per target, or None where the image has no free place for it. The placed
        labels are inside the image and do not overlap.
    """
    spots: list[Spot | None] = []
    taken = np.empty((len(blocked) + len(targets), 4))
    taken[: len(blocked)] = np.array(blocked, dtype=np.float64).reshape(-1, 4)
    boxes = np.array([target.box for target in targets], dtype=np.float64).reshape(-1, 4)
    count = len(blocked)
    for index, target in enumerate(targets):
        spot = None
        if target.width <= width and target.height <= height:
            others = np.delete(boxes, index, axis=0)
            spot = _place(target, (width, height), taken[:count], others, reach_px)
        spots.append(spot)
        if spot is not None:
            taken[count] = (spot.x, spot.y, target.width, target.height)
            count += 1
    return spots


def _place(
    target: Target,
    image: tuple[int, int],
    taken: AnyArray,
    others: AnyArray,
    reach_px: float,
) -> Spot | None:
    for candidates in (_around(target), _scan(target, image)):
        limit = (image[0] - target.width, image[1] - target.height)
        places = np.clip(np.rint(candidates), 0, limit)
        places = places[~_overlaps(places, target, taken)]
        if not len(places):
            continue
        gap, tip = _gap(places, target)
        cost = gap / target.height + 0.6 * _covered(places, target, others)
        cost += _own_cost(places, target)
        cost[gap > reach_px] = np.inf
        best = int(np.argmin(np.round(cost, 6)))
        if np.isfinite(cost[best]):
            x, y = (int(value) for value in places[best])
            return Spot(x, y, float(gap[best]), (float(tip[best, 0]), float(tip[best, 1])))
    return None


def _around(target: Target) -> AnyArray:
    return np.concatenate([_near(target), _rings(target)])


def _near(target: Target) -> AnyArray:
    """Top left corners of labels on and around the thing."""
    x, y, w, h = target.box
    wide, high = target.width, target.height
    cx, cy = target.centre
    across = [x + w / 2 - wide / 2, cx - wide / 2, x, x + w - wide]
    down = [y + h / 2 - high / 2, cy - high / 2, y, y + h - high]
    above_below = [(left, top) for left in across for top in (y - high - 1, y + h + 1)]
    beside = [(left, top) for left in (x - wide - 1, x + w + 1) for top in down]
    inside = [(cx - wide / 2, cy - high / 2 + step * high) for step in (0.0, -1.2, 1.2)]
    corners = [(left, top) for left in across[2:] for top in down[2:]]
    return np.array(inside + above_below + beside + corners, dtype=np.float64)


def _rings(target: Target) -> AnyArray:
    """Top left corners of labels whose centres lie on growing ellipses around the thing."""
    angle = np.arange(_RING_ANGLES) * (2 * np.pi / _RING_ANGLES) - np.pi / 2
    radius = 0.5 + np.arange(_RINGS)[:, None] * 0.75
    x = target.centre[0] + np.cos(angle) * (radius * target.height * 2.2 + target.width / 2)
    y = target.centre[1] + np.sin(angle) * (radius * target.height * 1.6)
    corners = np.stack([x - target.width / 2, y - target.height / 2], axis=-1)
    return corners.reshape(-1, 2)


def _scan(target: Target, image: tuple[int, int]) -> AnyArray:
    """Top left corners all over the image, a plate's height apart where it is not too large."""
    rooms = (image[0] - target.width, image[1] - target.height)
    counts = [min(_SCAN_STEPS, math.ceil(2 * room / target.height) + 1) for room in rooms]
    x, y = (np.linspace(0, room, count) for room, count in zip(rooms, counts, strict=True))
    return np.stack(np.meshgrid(x, y, indexing="ij"), axis=-1).reshape(-1, 2)


def _overlaps(places: AnyArray, target: Target, taken: AnyArray) -> AnyArray:
    hit: AnyArray = np.any(_shared_area(places, target, taken, margin=1.0) > 0, axis=1)
    return hit


def _covered(places: AnyArray, target: Target, others: AnyArray) -> AnyArray:
    """How many other things each place lies on, a part of one counting in part."""
    area = target.width * target.height
    # Boxes of things much larger than a label are mostly air around and behind: they count less.
    size = np.maximum(1.0, others[:, 2] * others[:, 3])
    weight = np.clip(20 * area / size, 0.1, 1.0)
    shared: AnyArray = _shared_area(places, target, others, margin=0.0) / area * weight
    covered: AnyArray = np.minimum(shared.sum(axis=1), 3.0)
    return covered


def _shared_area(places: AnyArray, target: Target, boxes: AnyArray, *, margin: float) -> AnyArray:
    """(P, B) px of each place that each box covers, the boxes grown by a margin."""
    sides = []
    for axis, length in ((0, target.width), (1, target.height)):
        low = np.maximum(places[:, None, axis], boxes[None, :, axis] - margin)
        high = np.minimum(
            places[:, None, axis] + length, (boxes[:, axis] + boxes[:, axis + 2])[None] + margin
        )
        sides.append(np.maximum(0.0, high - low))
    area: AnyArray = sides[0] * sides[1]
    return area


def _own_cost(places: AnyArray, target: Target) -> AnyArray:
    """Covering the thing is fine where it is large, and hides it where it is small."""
    x, y, w, h = target.box
    own = np.array([[x, y, max(w, 1.0), max(h, 1.0)]])
    area = target.width * target.height
    shared = _shared_area(places, target, own, margin=0.0)[:, 0]
    hidden = shared / max(1.0, w * h)
    middle = places + np.array([target.width / 2, target.height / 2])
    away = np.linalg.norm(middle - np.array(target.centre), axis=1)
    roomy = target.inner_px > 0.42 * target.width
    cost: AnyArray
    if roomy:
        # Wherever it goes it should go to the middle, which is where one looks.
        cost = 0.25 * away / math.hypot(max(w, 1.0), max(h, 1.0))
        return cost
    upper = 0.02 * (places[:, 1] - y) / target.height
    straddling = 0.8 * shared / area
    cost = 4.0 * hidden + straddling + np.clip(upper, -0.2, 0.2) + 0.02 * away / target.height
    return cost


def _gap(places: AnyArray, target: Target) -> tuple[AnyArray, AnyArray]:
    """Distance from each place to the nearest point of the thing, and that point."""
    x = target.edge[None, :, 0]
    y = target.edge[None, :, 1]
    dx = np.maximum(np.maximum(places[:, :1] - x, x - (places[:, :1] + target.width)), 0)
    dy = np.maximum(np.maximum(places[:, 1:] - y, y - (places[:, 1:] + target.height)), 0)
    far = np.hypot(dx, dy)
    nearest = far.argmin(axis=1)
    return far[np.arange(len(places)), nearest], target.edge[nearest]
