"""What stands out from the planes, cut into instances along depth discontinuities."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import find_objects
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from rangemask.backends.masks.geometry.config import GeometryConfig
from rangemask.backends.masks.geometry.grid import Grid
from rangemask.geometry.arrays import BoolMap, FloatMap

_MARGIN = 1.6
"""What stands out is nearer than its background by so many times the noise ..."""
_MARGIN_SHARE = 0.01
"""... plus this share of its disparity."""
_CLEAR = 2.5
"""An object stands out by so many margins somewhere (its upper decile), or is a ripple."""

Labels = NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class Found:
    """Instances on the work grid."""

    labels: Labels
    """(h, w), 1, 2, ...; 0 for none."""
    scores: tuple[float, ...]
    """One per instance, 0 to 1."""


def find_instances(grid: Grid, background_px: FloatMap, config: GeometryConfig) -> Found:
    """Instances on the work grid.

    Args:
        grid: disparity.
        background_px: (h, w) disparity of the nearest structure in each direction, 0 for none.
        config: thresholds.
    """
    rise = grid.disparity_px - background_px
    margin = _margin(grid.disparity_px, config)
    with np.errstate(invalid="ignore"):
        raised = (rise > margin) & (grid.disparity_px >= config.min_disparity_px)
    raised = cv2.morphologyEx(
        raised.astype(np.uint8), cv2.MORPH_OPEN, np.ones((3, 3), dtype=np.uint8)
    ).astype(bool)
    labels = _connected(grid.disparity_px, raised, config)
    least = max(4.0, config.min_area_share * labels.size)
    kept = np.zeros_like(labels)
    scores: list[float] = []
    for number, box in enumerate(find_objects(labels), start=1):
        if box is None:
            continue
        inside = labels[box] == number
        if inside.sum() < least:
            continue
        clear = float(np.quantile((rise[box] / margin[box])[inside], 0.9))
        if clear < _CLEAR:
            continue
        scores.append(_score(clear, inside))
        kept[box][inside] = len(scores)
    return Found(_to_contact(kept, grid, background_px, margin), tuple(scores))


def _margin(disparity_px: FloatMap, config: GeometryConfig) -> FloatMap:
    margin: FloatMap = _MARGIN_SHARE * np.abs(disparity_px) + np.float32(_MARGIN * config.noise_px)
    return margin


def _connected(disparity_px: FloatMap, raised: BoolMap, config: GeometryConfig) -> Labels:
    """Components of raised pixels whose neighbours lie on one surface."""
    numbers = np.arange(raised.size).reshape(raised.shape)
    edges = []
    for first, second in (
        ((slice(None), slice(None, -1)), (slice(None), slice(1, None))),
        ((slice(None, -1), slice(None)), (slice(1, None), slice(None))),
    ):
        near = np.fmax(disparity_px[first], disparity_px[second])
        with np.errstate(invalid="ignore"):
            step = np.abs(disparity_px[first] - disparity_px[second])
            smooth = step < config.jump_share * near + 2 * config.noise_px
        joined = raised[first] & raised[second] & smooth
        edges.append(np.stack([numbers[first][joined], numbers[second][joined]]))
    one, other = np.concatenate(edges, axis=1)
    graph = coo_matrix((np.ones(one.size, dtype=np.int8), (one, other)), shape=(raised.size,) * 2)
    _, component = connected_components(graph, directed=False)
    component = component.reshape(raised.shape)
    _, labels = np.unique(component[raised], return_inverse=True)
    found = np.zeros(raised.shape, dtype=np.int32)
    found[raised] = labels + 1
    return found


def _to_contact(labels: Labels, grid: Grid, background_px: FloatMap, margin: FloatMap) -> Labels:
    """Grow instances down to the line where they touch what they stand on.

    Near its foot an object is as far as the floor and does not stand out. Below the lowest
    pixel of each of its columns, pixels belong to it as long as they are as far as that pixel
    and the floor there is not nearer yet.
    """
    grown = labels.copy()
    above = grown[0].copy()
    foot = grid.disparity_px[0].copy()
    for row in range(1, len(labels)):
        own = grown[row] > 0
        foot = np.where(own, grid.disparity_px[row], foot)
        with np.errstate(invalid="ignore"):
            same = np.abs(grid.disparity_px[row] - foot) < margin[row]
            floor_beyond = background_px[row] < foot
            may = ~own & (above > 0) & same & floor_beyond & (background_px[row] > 0)
        grown[row][may] = above[may]
        above = grown[row]
    return grown


def _score(clear: float, inside: BoolMap) -> float:
    """How clearly it stands out, and how compact it is."""
    contrast = 1 - np.exp(-(clear - _CLEAR + 1) / 4)
    return float(np.clip(0.3 + 0.7 * contrast * np.sqrt(inside.mean()), 0, 1))
