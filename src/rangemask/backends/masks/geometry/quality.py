"""What tells an object from a ripple, a shadow or a wall: a score per segment."""

from __future__ import annotations

from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from rangemask.backends.masks.geometry.config import GeometryConfig
from rangemask.backends.masks.geometry.grid import Grid
from rangemask.backends.masks.geometry.planes import Plane
from rangemask.backends.masks.geometry.segments import Labels, neighbours
from rangemask.geometry.arrays import BoolMap, FloatMap

Doubles: TypeAlias = NDArray[np.float64]

_AWAY = 3
_PLAIN_RISE = 20.0
"""Standard deviations from which an object stands out without doubt."""
_PLAIN_AREA = 0.001
_LEAST_KNOWN = 0.4
_LEAST_WEIGHT = 0.2
_LEAST_OUTLINE = 0.05
_LOW = 0.15
"""In parts of the camera's height above the floor."""
_FLAT = 0.08
"""Height over length."""

# Logistic regression on 450 segments of five kinds of made-up scenes, matched by sgbm; rounded.
# Leaving out any one kind keeps all signs and moves a coefficient by up to a factor of two.
_OF_RISE, _OF_WEIGHT, _OF_OUTLINE, _OF_AREA, _CONSTANT = 1.2, 2.6, 4.0, 2.6, -8.0


def scores(
    grid: Grid,
    labels: Labels,
    count: int,
    background_px: FloatMap,
    floor: Plane | None,
    config: GeometryConfig,
) -> Doubles:
    """(count + 1,) from 0 to 1, 0 for what is no object; the first is of no segment.

    A logistic function of how far it stands out, how well its depth is known, how much of its
    outline is its own (something farther beyond it), and its size.
    """
    inside = labels > 0
    of = labels[inside]
    area = np.bincount(of, minlength=count + 1).astype(np.float64)

    def mean(values: FloatMap) -> Doubles:
        total = np.bincount(of, values[inside].astype(np.float64), minlength=count + 1)
        return np.asarray(total / np.maximum(area, 1), np.float64)

    rise = (grid.dense_px - background_px) / grid.tolerance(grid.dense_px, 1)
    # Where no surroundings are known, nothing speaks against an object.
    rise = np.where(np.isnan(background_px), _PLAIN_RISE, np.nan_to_num(rise))
    (rises,) = _quantiles(rise[inside], of, count, (0.5,))
    (depth_px,) = _quantiles(np.nan_to_num(grid.dense_px)[inside], of, count, (0.5,))
    weight = mean(grid.sample(grid.weight))
    known = mean(np.isfinite(grid.disparity_px).astype(np.float32))
    own_outline = _own_outline(grid, labels, count, rises)
    odds = (
        _OF_RISE * np.log(np.clip(rises, 0.5, _PLAIN_RISE))
        + _OF_WEIGHT * np.minimum(weight, 0.6)
        + _OF_OUTLINE * np.minimum(own_outline, 0.5)
        + _OF_AREA * np.clip(np.log(np.maximum(area, 1) / (_PLAIN_AREA * labels.size)), -1, 2)
        + _CONSTANT
    )
    least = max(config.min_area_px / grid.stride**2, config.min_area_share * labels.size, 1.0)
    good = (area >= least) & (known >= _LEAST_KNOWN) & (own_outline >= _LEAST_OUTLINE)
    good &= (weight >= _LEAST_WEIGHT) | (own_outline >= 0.3)
    good &= grid.noise_px <= config.max_depth_error * depth_px
    if floor is not None:
        good &= ~_slabs(grid, labels, count, floor)
    return np.where(good, 1 / (1 + np.exp(-odds)), 0.0)


def _slabs(grid: Grid, labels: Labels, count: int, floor: Plane) -> BoolMap:
    """(count + 1,): lawns, kerbs and carpets, which are low over the floor and far longer."""
    inside = labels > 0
    of = labels[inside]
    disparity = np.nan_to_num(grid.dense_px[inside], nan=1.0)
    # The point of a pixel lies 1 - floor / own disparity of the camera's height above the floor.
    height = np.clip(1 - floor.disparity(grid.shape)[inside] / disparity, 0, 1)
    (high,) = _quantiles(height, of, count, (0.9,))
    (fx, _), (cx, _) = grid.focal, grid.centre
    away = (1 / disparity).astype(np.float32)
    across = ((np.nonzero(inside)[1] - cx) / fx * away).astype(np.float32)
    wide, deep = (
        np.diff(_quantiles(v, of, count, (0.05, 0.95)), axis=0)[0] for v in (across, away)
    )
    long = np.maximum(wide, deep) / floor.height(grid)
    return np.asarray((high < _LOW) & (high < _FLAT * long), np.bool_)


def _quantiles(
    values: FloatMap, of: NDArray[np.int32], count: int, shares: tuple[float, ...]
) -> Doubles:
    """(len(shares), count + 1) quantiles of the values of each segment, 0 for empty ones."""
    if len(values) == 0:
        return np.zeros((len(shares), count + 1))
    order = np.lexsort((values, of))
    ends = np.searchsorted(of[order], np.arange(count + 2))
    length = np.diff(ends)
    place = ends[:-1] + (np.asarray(shares)[:, None] * length).astype(np.intp)
    ordered = values[order].astype(np.float64)
    return np.where(length > 0, ordered[np.minimum(place, len(ordered) - 1)], 0.0)


def _own_outline(grid: Grid, labels: Labels, count: int, rises: Doubles) -> Doubles:
    """Share of each outline beyond which it is farther; where nothing is known, half of it.

    Neighbours are looked up some pixels away, since matchers smear steps.
    """
    d = grid.dense_px
    columns = np.broadcast_to(np.arange(d.shape[1]) * grid.stride, d.shape)
    limit_sigmas = np.clip(0.5 * rises, 1.5, 3.0).astype(np.float32)
    farther, total = np.zeros((2, count + 1))
    for a, b in neighbours(_AWAY):
        for here, there in ((a, b), (b, a)):
            edge = (labels[here] != labels[there]) & (labels[here] > 0)
            of, own, other = labels[here][edge], d[here][edge], d[there][edge]
            beyond = other < own - grid.tolerance(own, 1) * limit_sigmas[of]
            unknown = np.isnan(other - own)
            # Left of this the right camera sees nothing, whatever is there.
            blind = np.isnan(other) & (columns[there][edge] < own)
            total += np.bincount(of[~blind], minlength=count + 1)
            farther += np.bincount(of[beyond], minlength=count + 1)
            farther += np.bincount(of[unknown & ~blind], minlength=count + 1) / 2
    share: Doubles = farther / np.maximum(total, 1)
    return share
