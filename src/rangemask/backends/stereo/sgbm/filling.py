"""Guesses for pixels without a match.

Along its row an unmatched pixel takes the farther of its two matched neighbours: what is hidden
from the right camera lies behind what hides it (Hirschmueller, PAMI 2008, section 2.6).
"""

from __future__ import annotations

import cv2
import numpy as np

from rangemask.geometry.arrays import FloatMap

MEDIAN_PX = 5


def fill_from_background(disparity_px: FloatMap) -> FloatMap:
    """(H, W) without NaN, unless nothing is known at all."""
    filled = _fill_rows(disparity_px)
    if np.isnan(filled).any():
        filled = _fill_rows(filled.T).T
    return np.ascontiguousarray(filled)


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
