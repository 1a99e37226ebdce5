"""Segments that belong to one thing are joined; things grow down to what they stand on."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import find_objects
from scipy.sparse import coo_matrix
from scipy.sparse.csgraph import connected_components

from rangemask.backends.masks.geometry.grid import Grid
from rangemask.backends.masks.geometry.segments import Labels, neighbours, renumber
from rangemask.backends.masks.geometry.splitting import STRONG_SIGMAS
from rangemask.geometry.arrays import BoolMap, FloatMap

_RATIO = 0.4
_RATIO_STANDING = 0.15
_CONTACT = 0.3


def merge(grid: Grid, labels: Labels, count: int, background_px: FloatMap) -> tuple[Labels, int]:
    """Join neighbours whose gap in depth is small beside their size: an arm before its trunk.

    Gap and size are both in units of the unknown scale, so that their ratio has none. Two that
    stand on the floor in different places are two things, even with a small gap.
    """
    if count < 2:
        return labels, count
    inverse = (1 / np.maximum(np.nan_to_num(grid.dense_px), 0.1)).astype(np.float32)
    size = _extent(labels, count, grid, inverse)
    stands = _stands(grid, labels, count, background_px)
    one, other, gap, length = _contacts(labels, count, inverse)
    ratio = gap / np.maximum(np.minimum(size[one], size[other]), 1e-9)
    area = np.bincount(labels.ravel(), minlength=count + 1)
    broad = length >= _CONTACT * np.sqrt(np.minimum(area[one], area[other]))
    limit = np.where(stands[one] & stands[other], _RATIO_STANDING, _RATIO)
    joined = broad & (ratio < limit)
    graph = coo_matrix(
        (np.ones(joined.sum(), np.bool_), (one[joined], other[joined])), shape=(count + 1,) * 2
    )
    _, group = connected_components(graph, directed=False)
    return renumber(group[labels], labels > 0)


def _contacts(
    labels: Labels, count: int, inverse: FloatMap
) -> tuple[NDArray[np.intp], NDArray[np.intp], NDArray[np.float64], NDArray[np.intp]]:
    """Pairs of segments that touch: both numbers, mean gap of inverse disparity, contact length."""
    keys, gaps = [], []
    for a, b in neighbours():
        touching = (labels[a] != labels[b]) & (labels[a] > 0) & (labels[b] > 0)
        one, other = labels[a][touching].astype(np.intp), labels[b][touching].astype(np.intp)
        keys.append(np.minimum(one, other) * (count + 1) + np.maximum(one, other))
        gaps.append(np.abs(inverse[a] - inverse[b])[touching])
    pair, which, length = np.unique(np.concatenate(keys), return_inverse=True, return_counts=True)
    gap = np.bincount(which, np.concatenate(gaps), minlength=len(pair)) / np.maximum(length, 1)
    return pair // (count + 1), pair % (count + 1), gap, length


def _stands(grid: Grid, labels: Labels, count: int, background_px: FloatMap) -> BoolMap:
    """(count + 1,): segments whose lower rim fades into the surroundings over some width."""
    rim = np.zeros(labels.shape, np.bool_)
    rim[:-1] = (labels[:-1] > 0) & (labels[1:] == 0)
    near = grid.dense_px - background_px < grid.tolerance(grid.dense_px, STRONG_SIGMAS)
    feet = np.bincount(labels[rim & near], minlength=count + 1)
    columns = np.bincount(labels[rim], minlength=count + 1)
    return np.asarray((feet >= 3) & (feet >= 0.25 * columns), np.bool_)


def _extent(labels: Labels, count: int, grid: Grid, inverse: FloatMap) -> NDArray[np.float64]:
    """Diagonal of each segment at its own depth, in units of depth."""
    y, x = np.nonzero(labels)
    of = labels[y, x]
    size = np.zeros((2, count + 1))
    for number, box in enumerate(find_objects(labels, count), start=1):
        if box is not None:
            rows, columns = box
            size[:, number] = columns.stop - columns.start, rows.stop - rows.start
    size /= np.array(grid.focal)[:, None]
    area = np.maximum(np.bincount(of, minlength=count + 1), 1)
    mean_inverse = np.bincount(of, inverse[y, x], minlength=count + 1) / area
    return np.asarray(np.hypot(size[0], size[1]) * mean_inverse, np.float64)


def grow_to_contact(grid: Grid, labels: Labels, background_px: FloatMap) -> Labels:
    """Extend instances down to where they touch what they stand on.

    Near its foot an object is hardly nearer than the floor, so it does not stand out. Going
    down a column, a pixel still belongs to the object above as long as its disparity is nearer
    to that of the object's foot than to that of the floor.
    """
    rise = cv2.blur(np.nan_to_num(grid.dense_px - background_px, nan=-9.0), (5, 3))
    foot_px = _foot(grid.dense_px, labels)
    grown = labels.copy()
    foot = foot_px[0]
    for row in range(1, len(labels)):
        own = grown[row] > 0
        foot = np.where(own, foot_px[row], foot)
        above = grown[row - 1]
        gap = foot - background_px[row]
        joins = ~own & (above > 0) & (gap > 0) & (rise[row] > 0.5 * gap)
        grown[row][joins] = above[joins]
    return grown


def _foot(disparity_px: FloatMap, labels: Labels) -> FloatMap:
    """Disparity of each pixel of an object, averaged over the objects' pixels nearby."""
    inside = (labels > 0).astype(np.float32)
    total = cv2.blur(np.where(labels > 0, disparity_px, 0).astype(np.float32), (5, 3))
    return np.asarray(total / np.maximum(cv2.blur(inside, (5, 3)), 1e-3), np.float32)
