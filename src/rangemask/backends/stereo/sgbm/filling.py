"""Guesses for pixels without a match.

Along its row an unmatched pixel takes the farther of its two matched neighbours: what is hidden
from the right camera lies behind what hides it (Hirschmueller, PAMI 2008, section 2.6). The
strip at the left border, which the right camera does not see at all, has a neighbour on one side
only; it goes on with the slope that the surface has there.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.lib.stride_tricks import sliding_window_view
from numpy.typing import NDArray

from rangemask.geometry.arrays import FloatMap

MEDIAN_PX = 5

SLOPE_PX = 12
"""The slope is the difference of two runs of that many pixels."""

CONTINUOUS_PX = 6.0
"""Two runs that differ by more, all told, are not one surface."""

SLOPE_ROWS = 15
"""Neighbouring rows whose median slope is taken."""

SLOPE_TRUST, MOST_CHANGE_PX = 0.75, 12.0
LEAST_STRIP_PX, SKIPPED_PX = 4, 2


def fill_from_background(disparity_px: FloatMap) -> FloatMap:
    """(H, W) without NaN, unless nothing is known at all."""
    known = np.isfinite(disparity_px)
    filled_px = _fill_rows(disparity_px)
    if np.isnan(filled_px).any():
        filled_px = _fill_rows(filled_px.T).T
    return np.ascontiguousarray(_slope_left_strip(filled_px, known))


def smooth(disparity_px: FloatMap) -> FloatMap:
    """(H, W) without streaks and single outliers; edges stay where they are."""
    return np.asarray(cv2.medianBlur(disparity_px, MEDIAN_PX), np.float32)


def _fill_rows(disparity_px: FloatMap) -> FloatMap:
    width = disparity_px.shape[1]
    known = np.isfinite(disparity_px)
    columns = np.arange(width, dtype=np.int32)
    before = np.maximum.accumulate(np.where(known, columns, -1), axis=1)
    after = np.minimum.accumulate(np.where(known, columns, width)[:, ::-1], axis=1)[:, ::-1]
    framed = np.pad(disparity_px, ((0, 0), (1, 1)), constant_values=np.nan)
    rows = np.arange(disparity_px.shape[0])[:, None]
    return np.asarray(np.fmin(framed[rows, before + 1], framed[rows, after + 1]), np.float32)


def _slope_left_strip(filled_px: FloatMap, known: NDArray[np.bool_]) -> FloatMap:
    """The same, with the part left of each row's first match on a slope."""
    width = filled_px.shape[1]
    first = np.where(known.any(axis=1), known.argmax(axis=1), 0)
    rows = np.nonzero((first >= LEAST_STRIP_PX) & (first + SKIPPED_PX + 2 * SLOPE_PX < width))[0]
    if rows.size == 0:
        return filled_px
    runs = sliding_window_view(filled_px, 2 * SLOPE_PX, axis=1)[rows, first[rows] + SKIPPED_PX]
    rise_px = np.median(runs[:, SLOPE_PX:], axis=1) - np.median(runs[:, :SLOPE_PX], axis=1)
    slopes = np.zeros(len(first))
    slopes[rows] = np.where(np.ptp(runs, axis=1) < CONTINUOUS_PX, rise_px / SLOPE_PX, 0.0)
    padded = np.pad(slopes, SLOPE_ROWS // 2, mode="edge")
    steady = SLOPE_TRUST * np.median(sliding_window_view(padded, SLOPE_ROWS), axis=1)
    strip = np.minimum(np.arange(width) - first[rows, None], 0)
    change_px = np.clip(steady[rows, None] * strip, -MOST_CHANGE_PX, MOST_CHANGE_PX)
    sloped_px = filled_px.copy()
    sloped_px[rows] += change_px.astype(np.float32)
    return sloped_px
