"""Where a lens images a direction, and up to where its model can be trusted."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from rangemask.geometry.arrays import AnyArray, BoolMap
from rangemask.geometry.rig import Camera

_SAMPLES = 4096
_WIDEST_PINHOLE = 20.0
_OUTSIDE = -1e4


def image_of_rays(camera: Camera, rays: AnyArray) -> NDArray[np.float64]:
    """Pixels in which a distorted lens images directions.

    Fisheye: theta_d = theta (1 + k1 theta^2 + k2 theta^4 + k3 theta^6 + k4 theta^8)
    (Kannala and Brandt 2006, as in OpenCV), also for directions behind the image plane.

    Args:
        camera: pinhole or fisheye.
        rays: (..., 3) directions in the camera's frame, of any length above zero.

    Returns:
        (..., 2) x, y in px; (-10000, -10000) for directions that the lens cannot image: at
        or behind a pinhole's plane, or past the angle at which the model folds back.
    """
    rays = np.asarray(rays, dtype=np.float64)
    x, y, z = rays[..., 0], rays[..., 1], rays[..., 2]
    across = np.hypot(x, y)
    if camera.model == "fisheye":
        theta = np.arctan2(across, z)
        seen = theta < _turning_point(camera)
        stretch = _fisheye_radius(camera, theta) / np.where(across > 0, across, 1.0)
        pixels = np.stack(
            [camera.fx * x * stretch + camera.cx, camera.fy * y * stretch + camera.cy], axis=-1
        )
    else:
        ahead = z > 1e-9
        depth = np.where(ahead, z, 1.0)
        seen = ahead & (across / depth < _turning_point(camera))
        flat = np.where(seen[..., None], rays / depth[..., None], (0.0, 0.0, 1.0))
        pixels = _project_pinhole(camera, flat)
    result: NDArray[np.float64] = np.where(seen[..., None], pixels, _OUTSIDE)
    return result


def inside(camera: Camera, rays: AnyArray) -> BoolMap:
    """Whether directions fall between the centres of the border pixels; (...,) bool."""
    width, height = camera.size or (0, 0)
    return inside_image(image_of_rays(camera, rays), width, height)


def inside_image(pixels: AnyArray, width: int, height: int) -> BoolMap:
    """Whether (..., 2) pixels lie between the centres of the border pixels."""
    x, y = pixels[..., 0], pixels[..., 1]
    result: BoolMap = (x >= 0) & (x <= width - 1) & (y >= 0) & (y <= height - 1)
    return result


def _project_pinhole(camera: Camera, rays: NDArray[np.float64]) -> NDArray[np.float64]:
    if not camera.is_distorted:
        return np.stack(
            [camera.fx * rays[..., 0] + camera.cx, camera.fy * rays[..., 1] + camera.cy], axis=-1
        )
    none = np.zeros(3)
    pixels, _ = cv2.projectPoints(
        rays.reshape(-1, 1, 3), none, none, camera.matrix, np.array(camera.distortion)
    )
    return np.asarray(pixels, dtype=np.float64).reshape(*rays.shape[:-1], 2)


def _turning_point(camera: Camera) -> float:
    """The radius (tangent, or angle for fisheye) at which the image of a ray stops moving out."""
    if camera.model == "fisheye":
        radius = np.linspace(0, np.pi, _SAMPLES)
        image = _fisheye_radius(camera, radius)
        end = float(np.pi)
    else:
        # Denser near the axis: lenses fold at radii around one, long before the end.
        radius = _WIDEST_PINHOLE * np.linspace(0, 1, _SAMPLES) ** 2
        image = _pinhole_radius(camera, radius)
        end = float("inf")
    back = np.flatnonzero(~(np.diff(image) > 0))
    return float(radius[back[0]]) if len(back) else end


def _fisheye_radius(camera: Camera, theta: NDArray[np.float64]) -> NDArray[np.float64]:
    k1, k2, k3, k4 = camera.distortion
    square = theta * theta
    return theta * (1 + square * (k1 + square * (k2 + square * (k3 + square * k4))))


def _pinhole_radius(camera: Camera, radius: NDArray[np.float64]) -> NDArray[np.float64]:
    """Radial part of OpenCV's model; NaN from the first pole of its denominator on."""
    k1, k2, _, _, k3, k4, k5, k6 = (*camera.distortion, *(0.0,) * 8)[:8]
    square = radius * radius
    above = 1 + square * (k1 + square * (k2 + square * k3))
    below = 1 + square * (k4 + square * (k5 + square * k6))
    pole = np.maximum.accumulate(below <= 1e-6)
    return np.where(pole, np.nan, radius * above / np.where(pole, 1.0, below))
