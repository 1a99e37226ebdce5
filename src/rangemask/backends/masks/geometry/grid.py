"""The grid that geometry works on: disparity, its noise, and the rays behind its pixels.

Stereo errs by the same amount of disparity near and far, and a plane of space is a plane of
(x, y, disparity) (Labayrade et al., IV 2002). So all is done in disparity, never in depth.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np

from rangemask.backends.masks.geometry.config import GeometryConfig
from rangemask.geometry import Rig
from rangemask.geometry.arrays import AnyArray, FloatMap
from rangemask.structures import DepthMap, StereoFrame

ASSUMED_FOCAL_SHARE = 0.9
"""Focal length over image width of a common lens; only for frames without a rig."""
_NEAREST_SHARE = 0.1
_RELATIVE_NOISE = 0.004
_SMALL_GAP = 4
_LEAST_PX, _MOST_PX = 1e-3, 1e5
_LEAST_DEPTH, _MOST_DEPTH = 1e-9, 1e12


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Grid:
    """Every ``stride``-th pixel of the image, from ``offset`` on."""

    full_px: FloatMap
    """(H, W) disparity of the full image, px, NaN where not trusted."""
    disparity_px: FloatMap
    """(h, w) the same on the grid."""
    dense_px: FloatMap
    """(h, w) on the grid, small holes filled from the background, NaN in large ones."""
    weight: FloatMap
    """(H, W) how far disparity is to be believed, 0 (unknown) to 1, full image."""
    stride: int
    offset: int
    noise_px: float
    """Standard deviation of disparity."""
    focal: tuple[float, float]
    """fx, fy in grid pixels."""
    centre: tuple[float, float]
    """cx, cy in grid pixels."""

    def sample(self, full: FloatMap) -> FloatMap:
        """(h, w): a full-size map at the grid's pixels."""
        return full[self.offset :: self.stride, self.offset :: self.stride]

    @property
    def shape(self) -> tuple[int, int]:
        """(h, w)."""
        return self.disparity_px.shape[0], self.disparity_px.shape[1]

    def tolerance(self, disparity_px: AnyArray, sigmas: float) -> FloatMap:
        """So many standard deviations at each disparity, px."""
        spread = np.hypot(np.float32(self.noise_px), np.float32(_RELATIVE_NOISE) * disparity_px)
        return np.asarray(np.float32(sigmas) * spread, np.float32)


def make_grid(frame: StereoFrame, depth: DepthMap, config: GeometryConfig) -> Grid | None:
    """The grid of a frame; None where no depth is known."""
    full = _trusted_disparity(depth, frame.rig, config)
    if not np.isfinite(full).any():
        return None
    stride = max(1, math.ceil(frame.width / config.work_width_px - 0.25))
    offset = (min(stride, *full.shape) - 1) // 2
    small = np.ascontiguousarray(_calm(full)[offset::stride, offset::stride])
    fx, fy, cx, cy = _pinhole(frame)
    return Grid(
        full_px=full,
        disparity_px=small,
        dense_px=fill_holes(small, stride),
        weight=_weight(full, depth.confidence),
        stride=stride,
        offset=offset,
        noise_px=max(config.noise_px, _measured_noise(small)),
        focal=(fx / stride, fy / stride),
        centre=((cx - offset) / stride, (cy - offset) / stride),
    )


def _pinhole(frame: StereoFrame) -> tuple[float, float, float, float]:
    if frame.rig is not None:
        return frame.rig.fx, frame.rig.fy, frame.rig.cx, frame.rig.cy
    focal = ASSUMED_FOCAL_SHARE * frame.width
    return focal, focal, (frame.width - 1) / 2, (frame.height - 1) / 2


def _trusted_disparity(depth: DepthMap, rig: Rig | None, config: GeometryConfig) -> FloatMap:
    values = depth.values
    known = (values > _LEAST_DEPTH) & (values < _MOST_DEPTH)
    if depth.filled is not None:
        known &= ~depth.filled
    if depth.confidence is not None:
        known &= depth.confidence >= config.min_confidence
    inverse = np.full(values.shape, np.nan, np.float32)
    np.divide(np.float32(1), values, out=inverse, where=known)
    if not known.any():
        return inverse
    if depth.kind == "metric_m" and rig is not None and rig.baseline_m is not None:
        scale = rig.fx * rig.baseline_m
    else:
        nearest = float(np.percentile(inverse[known][:: 1 + known.sum() // 20000], 98))
        scale = _NEAREST_SHARE * values.shape[1] / nearest
    disparity_px = inverse * np.float32(scale)
    possible = (disparity_px > _LEAST_PX) & (disparity_px < _MOST_PX)
    return np.where(possible, disparity_px, np.float32(np.nan)).astype(np.float32)


def _calm(disparity_px: FloatMap) -> FloatMap:
    """Known pixels as the median of 5 x 5; next to much unknown they stay what they are."""
    known = np.isfinite(disparity_px)
    low = cv2.medianBlur(np.where(known, disparity_px, np.float32(-1e6)), 5)
    high = cv2.medianBlur(np.where(known, disparity_px, np.float32(1e6)), 5)
    sure = known & (low > -1e5) & (high < 1e5)
    return np.where(sure, (low + high) / 2, disparity_px).astype(np.float32)


def _weight(disparity_px: FloatMap, confidence: FloatMap | None) -> FloatMap:
    believed = np.float32(1) if confidence is None else confidence
    return np.where(np.isfinite(disparity_px), believed, np.float32(0)).astype(np.float32)


def _measured_noise(disparity_px: FloatMap) -> float:
    """From second differences along rows, which planes do not have; 0 where too few are known."""
    if disparity_px.shape[1] < 5:
        return 0.0
    bend = disparity_px[:, :-4] - 2 * disparity_px[:, 2:-2] + disparity_px[:, 4:]
    known = np.isfinite(bend)
    if known.sum() < 100:
        return 0.0
    # Of three values with weights 1, -2, 1; the median is deaf to edges.
    return min(float(np.median(np.abs(bend[known]))) / 0.6745 / math.sqrt(6.0), 1.5)


def fill_holes(disparity_px: FloatMap, stride: int) -> FloatMap:
    """Fill small gaps along rows, and those that an object's shadow explains.

    What is hidden from the right camera lies behind what hides it (Hirschmueller, PAMI 2008,
    section 2.6), and is as wide as disparity steps there. Other holes may be sky.
    """
    height, width = disparity_px.shape
    known = np.isfinite(disparity_px)
    columns = np.arange(width)
    before = np.maximum.accumulate(np.where(known, columns, -1), axis=1)
    after = np.minimum.accumulate(np.where(known, columns, width)[:, ::-1], axis=1)[:, ::-1]
    framed = np.pad(disparity_px, ((0, 0), (1, 1)), constant_values=np.nan)
    rows = np.arange(height)[:, None]
    left, right = framed[rows, before + 1], framed[rows, after + 1]
    shadow = np.nan_to_num(right - left) / stride
    fill = ~known & (after - before - 1 <= np.maximum(1.3 * shadow + _SMALL_GAP, _SMALL_GAP))
    filled = np.where(fill, np.fmin(left, right), disparity_px).astype(np.float32)
    # Rows are filled one by one: the median takes out streaks that their neighbours do not have.
    calm = cv2.medianBlur(np.nan_to_num(filled), 5)
    return np.where(fill & (calm > 0), calm, filled).astype(np.float32)
