"""Between pixels with depth and points of the left camera's frame (straight lenses)."""

from __future__ import annotations

import numpy as np

from rangemask.geometry.arrays import AnyArray, FloatMap, PointArray
from rangemask.geometry.rig import Rig


def back_project(depth_m: FloatMap, rig: Rig) -> PointArray:
    """The point that each pixel sees.

    Args:
        depth_m: (H, W) metres, NaN where unknown.
        rig: straight left camera whose size, where stated, is W x H.

    Returns:
        (H, W, 3) float32 metres, x right, y down, z forward; NaN where depth is unknown.

    Raises:
        ValueError: the lens is distorted, or the map does not have the rig's size.
    """
    height, width = _check(depth_m, rig)
    x = (np.arange(width, dtype=np.float32) - np.float32(rig.cx)) / np.float32(rig.fx)
    y = (np.arange(height, dtype=np.float32) - np.float32(rig.cy)) / np.float32(rig.fy)
    points = np.empty((height, width, 3), dtype=np.float32)
    np.multiply(depth_m, x[None, :], out=points[..., 0])
    np.multiply(depth_m, y[:, None], out=points[..., 1])
    points[..., 2] = depth_m
    return points


def back_project_pixels(pixels: AnyArray, depth_m: AnyArray, rig: Rig) -> PointArray:
    """Points behind single pixels.

    Args:
        pixels: (..., 2) x, y in px.
        depth_m: (...,) metres.
        rig: straight left camera.

    Returns:
        (..., 3) float32 metres.

    Raises:
        ValueError: the lens is distorted.
    """
    _check_straight(rig)
    xy = np.asarray(pixels, dtype=np.float64)
    z = np.asarray(depth_m, dtype=np.float64)
    x = (xy[..., 0] - rig.cx) / rig.fx * z
    y = (xy[..., 1] - rig.cy) / rig.fy * z
    return np.stack([x, y, z], axis=-1).astype(np.float32)


def project(points_m: AnyArray, rig: Rig) -> FloatMap:
    """Where points of the left camera's frame appear in the left image.

    Args:
        points_m: (..., 3) metres.
        rig: straight left camera.

    Returns:
        (..., 2) float32 x, y in px; NaN for points not in front of the camera.

    Raises:
        ValueError: the lens is distorted.
    """
    _check_straight(rig)
    points = np.asarray(points_m, dtype=np.float64)
    z = np.where(points[..., 2] > 0, points[..., 2], np.nan)
    x = points[..., 0] / z * rig.fx + rig.cx
    y = points[..., 1] / z * rig.fy + rig.cy
    return np.stack([x, y], axis=-1).astype(np.float32)


def _check_straight(rig: Rig) -> None:
    if rig.left.is_distorted:
        raise ValueError("the left lens is distorted; rectify the images first.")


def _check(depth_m: FloatMap, rig: Rig) -> tuple[int, int]:
    _check_straight(rig)
    if depth_m.ndim != 2:
        raise ValueError(f"expected a depth map of shape (H, W), got {depth_m.shape}.")
    height, width = depth_m.shape
    if rig.size is not None and rig.size != (width, height):
        raise ValueError(f"the map is {width} x {height} px, the rig is for {rig.size}.")
    return height, width
