"""The work grid: disparity on a coarser raster, with the direction each point is seen in."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from rangemask.backends.masks.geometry.config import GeometryConfig
from rangemask.geometry import Rig
from rangemask.geometry.arrays import BoolMap, FloatMap
from rangemask.structures import DepthMap

ASSUMED_FOCAL_SHARE = 0.9
"""Focal length over image width where no rig says otherwise."""


@dataclass(frozen=True, slots=True)
class Grid:
    """Every ``step``-th pixel of the image, after a median against speckle.

    A plane in space is a plane here: ``disparity = a x + b y + c`` with (a, b, c) along its
    normal, since 1 / z is linear in the viewing direction.
    """

    step: int
    disparity_px: FloatMap
    """(h, w), NaN where unknown; the disparity of the pair without doffs, so 0 is infinity."""
    x: NDArray[np.float32]
    """(w,) tangent of the viewing angle to the right."""
    y: NDArray[np.float32]
    """(h,) tangent of the viewing angle downward."""
    full_px: FloatMap
    """(H, W) the same disparity at the image's size."""

    @property
    def known(self) -> BoolMap:
        """(h, w)."""
        return np.isfinite(self.disparity_px)


def make_grid(depth: DepthMap, rig: Rig | None, config: GeometryConfig) -> Grid:
    """Bring depth to disparity on the work grid.

    Args:
        depth: metric, or up to scale; then one unit of it is taken for the baseline.
        rig: of the frame; a lens of 58 degrees is assumed without one.
        config: the grid's width and the least confidence.
    """
    height, width = depth.values.shape
    fx = ASSUMED_FOCAL_SHARE * width if rig is None else rig.fx
    fy = fx if rig is None else rig.fy
    centre = ((width - 1) / 2, (height - 1) / 2) if rig is None else (rig.cx, rig.cy)
    # A single camera's depth has no baseline; one tenth of a unit stands in for it.
    baseline = 1.0 if rig is None else rig.baseline_m or 0.1
    known = np.isfinite(depth.values) & (depth.values > 0)
    if depth.confidence is not None:
        known &= depth.confidence >= config.min_confidence
    if depth.filled is not None:
        known &= ~depth.filled
    full = np.full((height, width), np.nan, dtype=np.float32)
    np.divide(np.float32(fx * baseline), depth.values, out=full, where=known)
    step = max(1, math.ceil(width / config.work_width_px))
    start = (step - 1) // 2
    calm = known_median(full)
    return Grid(
        step=step,
        disparity_px=np.ascontiguousarray(calm[start::step, start::step]),
        x=((np.arange(start, width, step) - centre[0]) / fx).astype(np.float32),
        y=((np.arange(start, height, step) - centre[1]) / fy).astype(np.float32),
        full_px=full,
    )


def known_median(values: FloatMap) -> FloatMap:
    """A 5 x 5 median that leaves unknown pixels unknown and does not mix them in.

    Unknown neighbours are stood in for by the values of the pixel itself, by way of the
    nearest larger of two medians: one with the unknown taken for near, one for far.
    """
    known = np.isfinite(values)
    if not known.any():
        return values
    low = cv2.medianBlur(np.where(known, values, np.float32(-1e6)), 5)
    high = cv2.medianBlur(np.where(known, values, np.float32(1e6)), 5)
    # Where both agree there is no unknown majority; elsewhere the pixel keeps its value.
    agreed = np.abs(high - low) < 1e5
    mean = (low + high) / 2
    return np.where(known, np.where(agreed, mean, values), np.float32(np.nan)).astype(np.float32)
