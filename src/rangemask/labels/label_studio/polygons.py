"""Masks as polygons that a person can pull at, and polygons as masks.

A polygon has no holes and is in one piece. So each part of a mask is a polygon of its own, and a
part with a hole is cut in two along the row through the hole's middle, until no part has one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray

from rangemask.errors import InputError
from rangemask.geometry.arrays import AnyArray, BoolMap

Points: TypeAlias = NDArray[np.float64]
"""(N, 2) x, y in px; pixel (0, 0) covers 0 to 1 in both."""

SAME_PX = 0.05
"""Corners that moved by less are where they were: Label Studio stores percent, not pixels."""
_FAR = 3.0


@dataclass(frozen=True, slots=True, eq=False)
class Piece:
    """One part of a mask without holes."""

    x: int
    y: int
    pixels: BoolMap
    """(h, w) of its box, whose left top corner is at x, y."""
    outline: Points

    def paint(self, mask: BoolMap) -> None:
        """Set its pixels in a mask of the whole image."""
        height, width = self.pixels.shape
        mask[self.y : self.y + height, self.x : self.x + width] |= self.pixels


def pieces_of(mask: BoolMap, tolerance_px: float) -> list[Piece]:
    """A mask as parts without holes, from top to bottom.

    Parts and holes that are smaller than what an outline may be off, (4 tolerance)² px, get no
    outline of their own, but for the largest part.

    Args:
        mask: (H, W) bool.
        tolerance_px: how far an outline may be from the pixels' edges; 0 keeps every step.
    """
    least = (4 * tolerance_px) ** 2
    found = list(_parts(*_cropped(mask)))
    large = [part for part in found if np.count_nonzero(part[2]) >= least]
    if not large and found:
        large = [max(found, key=lambda part: int(np.count_nonzero(part[2])))]
    pieces: list[Piece] = []
    waiting = large[::-1]
    while waiting:
        x, y, pixels = waiting.pop()
        row = _row_through_hole(pixels, least)
        if row is None:
            outline = _simple(_outline(_filled(pixels)), tolerance_px) + np.array([x, y])
            pieces.append(Piece(x, y, pixels, outline))
        else:
            upper, lower = _parts(x, y, pixels[:row]), _parts(x, y + row, pixels[row:])
            waiting += [*upper, *lower][::-1]
    return pieces


def rasterise(points: Points, height: int, width: int) -> BoolMap:
    """The pixels whose centres are inside a polygon (even-odd).

    Args:
        points: (N, 2) corners, px.
        height: of the image, px.
        width: of the image, px.

    Returns:
        (H, W) bool.

    Raises:
        InputError: there are fewer than three corners, or one is far from the image.
    """
    if points.ndim != 2 or points.shape[1] != 2 or len(points) < 3:
        raise InputError(f"a polygon needs three corners or more, got an array {points.shape}.")
    limit = _FAR * max(height, width)
    if not (np.isfinite(points).all() and (np.abs(points) <= limit).all()):
        raise InputError(f"a polygon leaves its image of {width} x {height} px by far.")
    start, stop = points, np.roll(points, -1, axis=0)
    down = start[:, 1] <= stop[:, 1]
    top, bottom = np.where(down[:, None], start, stop), np.where(down[:, None], stop, start)
    first = np.clip(np.ceil(top[:, 1] - 0.5), 0, height).astype(np.int64)
    last = np.clip(np.ceil(bottom[:, 1] - 0.5), 0, height).astype(np.int64)
    counts = last - first
    edge = np.repeat(np.arange(len(points)), counts)
    rows = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts) + first[edge]
    rise = bottom[edge, 1] - top[edge, 1]
    share = (rows + 0.5 - top[edge, 1]) / rise
    crossing = top[edge, 0] + share * (bottom[edge, 0] - top[edge, 0])
    columns = np.clip(np.ceil(crossing - 0.5), 0, width).astype(np.int64)
    flips = np.bincount(rows * (width + 1) + columns, minlength=height * (width + 1))
    inside = np.cumsum(flips.reshape(height, width + 1), axis=1) % 2 == 1
    return np.ascontiguousarray(inside[:, :width])


def same_points(one: Points, other: Points) -> bool:
    """Whether two outlines are one but for rounding."""
    return one.shape == other.shape and bool((np.abs(one - other) <= SAME_PX).all())


def _cropped(mask: BoolMap) -> tuple[int, int, BoolMap]:
    """The box of what is inside, which is mostly much less than the image, and its place."""
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    if not len(rows):
        return 0, 0, mask[:0, :0]
    x, y = int(columns[0]), int(rows[0])
    return x, y, mask[y : rows[-1] + 1, x : columns[-1] + 1]


def _parts(x: int, y: int, mask: BoolMap) -> Iterator[tuple[int, int, BoolMap]]:
    """Connected parts (by edges, not corners) of a box at x, y, with their own boxes' places."""
    if not mask.size:
        return
    labels, boxes = _components(mask, connectivity=4)
    for number, (left, top, width, height, _) in enumerate(boxes[1:], start=1):
        crop = labels[top : top + height, left : left + width] == number
        yield x + int(left), y + int(top), crop


def _row_through_hole(pixels: BoolMap, least: float) -> int | None:
    """A row that the largest hole crosses: cut there, it is no hole any more."""
    holes = _holes(pixels)
    holes = holes[holes[:, cv2.CC_STAT_AREA] >= max(least, 1)]
    if not len(holes):
        return None
    _, top, _, height, _ = holes[holes[:, cv2.CC_STAT_AREA].argmax()]
    return int(top + (height + 1) // 2)


def _filled(pixels: BoolMap) -> BoolMap:
    labels, _ = _components(~np.pad(pixels, 1), connectivity=8)
    filled: BoolMap = labels[1:-1, 1:-1] != labels[0, 0]
    return filled


def _holes(pixels: BoolMap) -> AnyArray:
    """Boxes and areas of what a part surrounds. Corners lead out, as they do not join parts."""
    labels, boxes = _components(~np.pad(pixels, 1), connectivity=8)
    boxes[:, :2] -= 1
    outside = int(labels[0, 0])
    # 0 is the part itself.
    return boxes[[number for number in range(1, len(boxes)) if number != outside]]


def _components(mask: BoolMap, *, connectivity: int) -> tuple[AnyArray, AnyArray]:
    _, labels, boxes, _ = cv2.connectedComponentsWithStats(
        mask.astype(np.uint8), connectivity=connectivity
    )
    return labels, boxes


def _outline(pixels: BoolMap) -> Points:
    """The corners of a part without holes, along the pixels' edges, clockwise."""
    padded = np.pad(pixels, 1)
    stride = padded.shape[1]
    # Of each edge between inside and outside, with the inside on its right: start and stop, where
    # the corner at the left top of pixel i has the number i.
    flat = padded.ravel()
    inside = np.flatnonzero(flat)
    starts, stops, owners = [], [], []
    for step, start, stop in (
        (-stride, 0, 1),
        (1, 1, stride + 1),
        (stride, stride + 1, stride),
        (-1, stride, 0),
    ):
        own = inside[~flat[inside + step]]
        starts.append(own + start)
        stops.append(own + stop)
        owners.append(own)
    corners = _walk(np.concatenate(starts), np.concatenate(stops), np.concatenate(owners))
    points = np.stack([corners % stride, corners // stride], axis=1).astype(np.float64) - 1
    before, after = points - np.roll(points, 1, axis=0), np.roll(points, -1, axis=0) - points
    return np.asarray(points[(before != after).any(axis=1)])


def _walk(starts: AnyArray, stops: AnyArray, owners: AnyArray) -> NDArray[np.int64]:
    """Edges in order. Where two leave a corner, the way goes on along the same pixel."""
    leaving: dict[int, list[int]] = {}
    for edge, start in enumerate(starts.tolist()):
        leaving.setdefault(start, []).append(edge)
    to, owner = stops.tolist(), owners.tolist()
    edge = first = int(starts.argmin())
    corners = []
    while True:
        corners.append(int(starts[edge]))
        ways = leaving[to[edge]]
        edge = ways[0] if len(ways) == 1 else _of_owner(ways, owner, owner[edge])
        if edge == first:
            return np.array(corners, dtype=np.int64)


def _of_owner(ways: list[int], owner: list[int], own: int) -> int:
    return next(way for way in ways if owner[way] == own)


def _simple(outline: Points, tolerance_px: float) -> Points:
    """Fewer corners (Douglas, Peucker 1973); the outline as it is where too few would be left."""
    if tolerance_px == 0:
        return outline
    few = cv2.approxPolyDP(outline.astype(np.float32)[:, None], tolerance_px, True)[:, 0]
    return few.astype(np.float64) if len(few) >= 3 else outline
