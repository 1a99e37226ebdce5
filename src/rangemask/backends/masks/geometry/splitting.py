"""What stands out from the surroundings, cut into segments along steps of disparity."""

from __future__ import annotations

import cv2
import numpy as np

from rangemask.backends.masks.geometry.grid import Grid
from rangemask.backends.masks.geometry.segments import Labels, label_graph, neighbours
from rangemask.geometry.arrays import BoolMap, FloatMap

STRONG_SIGMAS = 4.0
_WEAK_SIGMAS = 2.0
_CUT_SIGMAS = 1.7
_CUT_SHARE = 0.02
_LEAST_CORE = 12
_RINGS = 5
_LAYER_SHARE = 0.1
_VALLEY = 0.3


def stands_out(grid: Grid, background_px: FloatMap) -> BoolMap:
    """(h, w): nearer than the surroundings, by hysteresis (Canny 1986)."""
    rise = grid.dense_px - background_px
    weak = (rise > grid.tolerance(grid.dense_px, _WEAK_SIGMAS)) | (
        np.isnan(background_px) & np.isfinite(grid.dense_px)
    )
    strong = (rise > grid.tolerance(grid.dense_px, STRONG_SIGMAS)) | np.isnan(background_px)
    opened = cv2.morphologyEx(weak.astype(np.uint8), cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
    count, labels = cv2.connectedComponents(opened, connectivity=4)
    seeded = np.bincount(labels[strong & (opened > 0)], minlength=count) >= 4
    seeded[0] = False
    return np.asarray(seeded[labels], np.bool_)


def split(grid: Grid, raised: BoolMap) -> tuple[Labels, int]:
    """Segments of raised pixels on one surface each: 0 none, 1, 2, ...

    Matchers smear a step over some pixels, so that neighbour by neighbour one gets across. So
    smooth places come first, apart from all bends, and the rest is shared out between them.
    """
    smooth = raised & ~_bends(grid)
    labels, count = _components(grid, smooth)
    crumbs = np.bincount(labels.ravel(), minlength=count + 1) < _LEAST_CORE
    labels[crumbs[labels]] = 0
    labels = _share_out(grid, labels, raised)
    rest, more = _components(grid, raised & (labels == 0))
    labels = np.where(rest > 0, rest + count, labels)
    labels = _two_layers(grid, labels, count + more)
    return _pieces(labels)


def _bends(grid: Grid) -> BoolMap:
    """(h, w): where disparity bends sharply along rows or columns."""
    d = grid.dense_px
    limit = _step_limit(grid, d)
    reach = 2
    bent = np.zeros(d.shape, np.bool_)
    for axis in (0, 1):
        ends = [(0, 0), (0, 0)]
        ends[axis] = (reach, reach)
        padded = np.moveaxis(np.pad(d, ends, mode="edge"), axis, 0)
        second = padded[: -2 * reach] - 2 * padded[reach:-reach] + padded[2 * reach :]
        bent |= np.moveaxis(np.abs(second), 0, axis) > limit
    return bent


def _step_limit(grid: Grid, disparity_px: FloatMap) -> FloatMap:
    """A larger step of disparity between neighbours parts two surfaces, px."""
    by_noise = grid.tolerance(disparity_px, _CUT_SIGMAS)
    return np.asarray(np.fmax(by_noise, np.float32(_CUT_SHARE) * disparity_px), np.float32)


def _components(grid: Grid, inside: BoolMap) -> tuple[Labels, int]:
    """Components of pixels whose neighbours are at nearly one disparity."""
    d = grid.dense_px
    numbers = np.arange(d.size, dtype=np.int32).reshape(d.shape)
    first, second = [], []
    for a, b in neighbours():
        nearer = np.fmax(d[a], d[b])
        limit = _step_limit(grid, nearer)
        joined = inside[a] & inside[b] & (np.abs(d[a] - d[b]) <= limit)
        first.append(numbers[a][joined])
        second.append(numbers[b][joined])
    return label_graph(inside, np.concatenate(first), np.concatenate(second))


def _share_out(grid: Grid, labels: Labels, raised: BoolMap) -> Labels:
    """Give raised pixels without a segment to the neighbour most like them, ring by ring."""
    d = np.pad(grid.dense_px, 1, constant_values=np.nan)
    grown = np.pad(labels, 1)
    inner = (slice(1, -1), slice(1, -1))
    limit = 2 * _step_limit(grid, grid.dense_px)
    for _ in range(_RINGS):
        best = limit.copy()
        choice = np.zeros(labels.shape, np.int32)
        for dy, dx in ((0, 1), (0, -1), (1, 0), (-1, 0)):
            there = (slice(1 + dy, d.shape[0] - 1 + dy), slice(1 + dx, d.shape[1] - 1 + dx))
            step = np.where(grown[there] > 0, np.abs(d[there] - grid.dense_px), np.inf)
            wins = step < best
            best = np.where(wins, step, best)
            choice = np.where(wins, grown[there], choice)
        fresh = raised & (grown[inner] == 0) & (choice > 0)
        if not fresh.any():
            break
        grown[inner][fresh] = choice[fresh]
    return grown[inner].copy()


def _two_layers(grid: Grid, labels: Labels, count: int) -> Labels:
    """Cut segments whose disparities fall into two heaps with a valley between them."""
    inside = labels > 0
    order = np.argsort(labels[inside], kind="stable")
    place = np.flatnonzero(inside)[order]
    ends = np.searchsorted(labels.ravel()[place], np.arange(1, count + 2))
    flat = labels.ravel().copy()
    fresh = count
    for number in range(1, count + 1):
        pixels = place[ends[number - 1] : ends[number]]
        if len(pixels) < 4 * _LEAST_CORE:
            continue
        at = _valley(grid.dense_px.ravel()[pixels], grid)
        if at is not None:
            fresh += 1
            flat[pixels[grid.dense_px.ravel()[pixels] > at]] = fresh
    return flat.reshape(labels.shape)


def _valley(d: FloatMap, grid: Grid) -> float | None:
    """Where a histogram has a deep valley with much on both sides; None without one."""
    low, high = (float(value) for value in np.percentile(d, [1, 99]))
    middle = np.array([(low + high) / 2], np.float32)
    width = float(grid.tolerance(middle, 1.0)[0])
    bins = int((high - low) / width) + 1
    if bins < 4:
        return None
    heights = np.histogram(d, bins=min(bins, 512), range=(low, high))[0].astype(np.float64)
    heights = np.convolve(heights, [0.25, 0.5, 0.25], mode="same")
    left = np.maximum.accumulate(heights)
    right = np.maximum.accumulate(heights[::-1])[::-1]
    below = np.cumsum(heights)
    both = np.minimum(below, below[-1] - below) >= _LAYER_SHARE * below[-1]
    depth = np.where(both, heights / np.maximum(np.minimum(left, right), 1e-9), 1.0)
    at = int(depth.argmin())
    return float(low + (at + 0.5) * (high - low) / len(heights)) if depth[at] < _VALLEY else None


def _pieces(labels: Labels) -> tuple[Labels, int]:
    """Connected pieces of each segment, each a segment of its own."""
    numbers = np.arange(labels.size, dtype=np.int32).reshape(labels.shape)
    first, second = [], []
    for a, b in neighbours():
        joined = (labels[a] == labels[b]) & (labels[a] > 0)
        first.append(numbers[a][joined])
        second.append(numbers[b][joined])
    return label_graph(labels > 0, np.concatenate(first), np.concatenate(second))
