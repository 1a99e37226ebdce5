"""The thorough way: semi-global matching of both views on census costs, in strips of rows."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rangemask.backends.stereo.sgbm.census import (
    OUTSIDE_COST,
    CensusView,
    CostVolume,
    fill_costs,
    view_of,
)
from rangemask.backends.stereo.sgbm.paths import (
    add_vertical_paths,
    jump_penalties,
    transpose_slices,
)
from rangemask.backends.stereo.sgbm.span import DisparitySpan
from rangemask.backends.stereo.sgbm.views import TwoViews
from rangemask.backends.stereo.sgbm.winner import Winners, find_winners
from rangemask.geometry.arrays import FloatMap, ImageArray

STRIP_ENTRIES = 64_000_000
"""Of a cost volume, one byte each; five such volumes are held at a time."""

STRIP_OVERLAP_ROWS = 24
"""Paths gather evidence over these rows before their results are used."""

FAIR_MARGIN = 40.0
"""Cost by which a winner with certainty 1/2 beats the others."""


def match_semiglobal(left: ImageArray, right: ImageArray, span: DisparitySpan) -> TwoViews:
    """Disparities of both views of an (H, W, 3) RGB pair."""
    shape = left.shape[:2]
    left_view, right_view = view_of(left), view_of(right)
    left_px, right_px, margin = (np.empty(shape, np.float32) for _ in range(3))
    for start, stop in strips(shape, span.count):
        first, last = max(start - STRIP_OVERLAP_ROWS, 0), min(stop + STRIP_OVERLAP_ROWS, shape[0])
        inner = slice(start - first, stop - first)
        found = _match_strip(left_view.rows(first, last), right_view.rows(first, last), span)
        left_px[start:stop] = found.left_px[inner]
        right_px[start:stop] = found.right_px[inner]
        margin[start:stop] = found.margin[inner]
    return TwoViews(left_px, right_px, margin / (margin + np.float32(FAIR_MARGIN)))


def strips(shape: tuple[int, int], count: int) -> list[tuple[int, int]]:
    """Row ranges whose cost volumes stay within ``STRIP_ENTRIES``, of about equal height."""
    height, width = shape
    most_rows = max(STRIP_ENTRIES // (width * count), 2 * STRIP_OVERLAP_ROWS)
    number = -(-height // most_rows)
    edges = [height * index // number for index in range(number + 1)]
    return list(itertools.pairwise(edges))


@dataclass(frozen=True, slots=True, eq=False)
class _Strip:
    """Both views of some rows, (h, W) each, and the margin of the left one's winners."""

    left_px: FloatMap
    right_px: FloatMap
    margin: FloatMap


def _match_strip(left: CensusView, right: CensusView, span: DisparitySpan) -> _Strip:
    height, width = left.grey.shape
    costs = np.empty((span.count, height, width), np.uint8)
    fill_costs(left, right, span, costs)
    mirrored = np.empty_like(costs)
    _see_from_right(costs, span, mirrored)
    work = _Workspace(span, height, width)
    found = _Strip(*(np.empty((height, width), np.float32) for _ in range(3)))
    work.aggregate(costs, left.grey, Winners(found.left_px, found.margin))
    work.aggregate(mirrored, right.grey, Winners(found.right_px))
    return found


def _see_from_right(costs: CostVolume, span: DisparitySpan, out: CostVolume) -> None:
    """The same costs on the right view's grid: right pixel x at d is left pixel x + d."""
    width = costs.shape[2]
    for index in range(span.count):
        shift_px = span.first_px + index
        target = slice(max(-shift_px, 0), min(width, width - shift_px))
        if target.start >= target.stop:
            out[index] = OUTSIDE_COST
            continue
        out[index, :, : target.start] = OUTSIDE_COST
        out[index, :, target.stop :] = OUTSIDE_COST
        source = slice(max(shift_px, 0), min(width, width + shift_px))
        out[index, :, target] = costs[index, :, source]


class _Workspace:
    """Volumes that are written over and over: fresh memory costs more than the arithmetic."""

    def __init__(self, span: DisparitySpan, height: int, width: int) -> None:
        self.span = span
        self.vertical = np.empty((span.count, height, width), np.uint8)
        self.turned = np.empty((span.count, width, height), np.uint8)
        self.turned_paths = np.empty((span.count, width, height), np.uint8)

    def aggregate(self, costs: CostVolume, grey: NDArray[np.uint8], out: Winners) -> None:
        """Four paths, then the winners into ``out``; the costs are overwritten."""
        add_vertical_paths(costs, jump_penalties(grey), self.vertical)
        transpose_slices(costs, self.turned)
        turned_grey = np.ascontiguousarray(grey.T)
        add_vertical_paths(self.turned, jump_penalties(turned_grey), self.turned_paths)
        transpose_slices(self.turned_paths, costs)
        find_winners(self.vertical, costs, self.span, out)
