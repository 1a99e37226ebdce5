"""Disparity between whole pixels, from the images themselves.

Semi-global matching compares whole pixels, and the parabola through its costs leans towards
them. One step of Lucas and Kanade (IJCAI 1981) along rows, from a disparity smoothed within
its surface, takes most of that lean away: it matters for distances, since at 6 m a tenth of a
pixel is a percent on a common rig.
"""

from __future__ import annotations

import cv2
import numpy as np

from rangemask.geometry.arrays import FloatMap, ImageArray

_SURFACE_PX = 0.7
"""Disparities farther apart than this are of two surfaces and are not mixed."""
_SMOOTHING_DIAMETER = 7
_WINDOW_SIGMA_PX = 3.0
_PRESMOOTH_SIGMA_PX = 0.7
_OUTLIER_GREY = 20.0
"""Grey difference from which a pixel counts half."""
_LEAST_TEXTURE = 2.0
"""Added to the squared gradient: without texture nothing moves."""
_LONGEST_STEP_PX = 0.5


def refine_subpixel(left: ImageArray, right: ImageArray, disparity_px: FloatMap) -> FloatMap:
    """One gradient step of the disparity.

    Args:
        left: (H, W, 3) uint8 RGB.
        right: (H, W, 3) uint8 RGB.
        disparity_px: (H, W) float32, NaN where unknown, right to about half a pixel.

    Returns:
        (H, W) float32, NaN where it was.
    """
    first, second = _grey(left), _grey(right)
    known = np.isfinite(disparity_px)
    # Unknown pixels lie far from any surface, so that the bilateral filter leaves them out.
    apart = np.where(known, disparity_px, np.float32(-1e4))
    smooth = _same(cv2.bilateralFilter(apart, _SMOOTHING_DIAMETER, _SURFACE_PX, 3.0))
    x = np.arange(first.shape[1], dtype=np.float32)[None] - smooth
    y = np.broadcast_to(np.arange(first.shape[0], dtype=np.float32)[:, None], x.shape)

    def seen_from_left(values: FloatMap) -> FloatMap:
        return _same(cv2.remap(values, x, y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE))

    error = first - seen_from_left(second)
    slope = (seen_from_left(_along_rows(second)) + _along_rows(first)) / 2
    weight = known / (1 + (error / np.float32(_OUTLIER_GREY)) ** 2)
    total = _window(weight) + np.float32(1e-6)
    mean_error, mean_slope = _window(weight * error) / total, _window(weight * slope) / total
    # Without the means: a difference of exposure is no displacement.
    shared = _window(weight * error * slope) / total - mean_error * mean_slope
    texture = _window(weight * slope * slope) / total - mean_slope**2
    step = np.clip(-shared / (texture + _LEAST_TEXTURE), -_LONGEST_STEP_PX, _LONGEST_STEP_PX)
    return np.where(known, smooth + step, np.float32(np.nan)).astype(np.float32)


def _grey(image: ImageArray) -> FloatMap:
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32)
    return _same(cv2.GaussianBlur(grey, (0, 0), _PRESMOOTH_SIGMA_PX))


def _along_rows(grey: FloatMap) -> FloatMap:
    # Five taps: three would take fine texture for flatter than it is, and step too far.
    kernel = np.array([[1.0, -8.0, 0.0, 8.0, -1.0]], dtype=np.float32) / np.float32(12)
    return _same(cv2.filter2D(grey, -1, kernel))


def _window(values: FloatMap) -> FloatMap:
    return _same(cv2.GaussianBlur(values, (0, 0), _WINDOW_SIGMA_PX))


def _same(values: object) -> FloatMap:
    """OpenCV's annotations allow any number; its results are what went in."""
    return np.asarray(values, dtype=np.float32)
