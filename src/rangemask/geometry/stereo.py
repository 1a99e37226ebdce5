"""Disparity and depth of a rectified pair: ``depth_m = fx * baseline_m / (disparity + doffs)``."""

from __future__ import annotations

import numpy as np

from rangemask.geometry.arrays import AnyArray, FloatMap
from rangemask.geometry.rig import Rig


def focal_times_baseline(rig: Rig) -> float:
    """Depth of a (disparity + doffs) of one pixel: fx * baseline, px * m.

    Raises:
        ValueError: the rig has no baseline, or is not rectified.
    """
    if rig.baseline_m is None:
        raise ValueError(
            "the rig has no baseline, so disparity has no scale in metres. "
            "Give the rig of a calibrated pair."
        )
    if not rig.is_rectified:
        raise ValueError(
            "the rig is not rectified, so disparity is not defined along rows. "
            "Rectify the pair first."
        )
    return rig.fx * rig.baseline_m


def depth_from_disparity(disparity_px: AnyArray, rig: Rig) -> FloatMap:
    """Metric depth along the left optical axis.

    Args:
        disparity_px: any shape, px; not finite where unknown.
        rig: a rectified pair.

    Returns:
        depth in metres, float32, same shape, NaN where disparity + doffs is not positive.

    Raises:
        ValueError: see ``focal_times_baseline``.
    """
    shifted_px = np.asarray(disparity_px, dtype=np.float64) + rig.doffs_px
    known = np.isfinite(shifted_px) & (shifted_px > 0)
    depth_m = np.full(shifted_px.shape, np.nan)
    np.divide(focal_times_baseline(rig), shifted_px, out=depth_m, where=known)
    return depth_m.astype(np.float32)


def disparity_from_depth(depth_m: AnyArray, rig: Rig) -> FloatMap:
    """Disparity in px of points at a depth in metres; NaN where depth is not positive.

    Raises:
        ValueError: see ``focal_times_baseline``.
    """
    depth = np.asarray(depth_m, dtype=np.float64)
    known = np.isfinite(depth) & (depth > 0)
    disparity_px = np.full(depth.shape, np.nan)
    np.divide(focal_times_baseline(rig), depth, out=disparity_px, where=known)
    return (disparity_px - rig.doffs_px).astype(np.float32)


def depth_error_from_disparity_error(
    depth_m: AnyArray, rig: Rig, *, disparity_error_px: float = 0.5
) -> FloatMap:
    """How far off a depth is for an error of its disparity, to first order.

    ``d(depth) = depth^2 / (fx * baseline) * d(disparity)``: it grows with the square of range.

    Args:
        depth_m: any shape, metres.
        rig: a rectified pair.
        disparity_error_px: error of the disparity, px.

    Raises:
        ValueError: see ``focal_times_baseline``.
    """
    depth = np.asarray(depth_m, dtype=np.float64)
    return (depth**2 * (abs(disparity_error_px) / focal_times_baseline(rig))).astype(np.float32)
