"""From pixels to rays and back, for every lens that a ``Rig`` knows."""

from __future__ import annotations

import cv2
import numpy as np

from rangemask.data.synthetic.shapes import Vectors
from rangemask.geometry import Camera
from rangemask.geometry.arrays import BoolMap

MAX_ANGLE_RAD = np.deg2rad(80.0)
"""Rays farther from the axis are left out: there a z depth means little."""

_RAY_ERROR_PX = 0.01
_POINT_ERROR_SHARE = 1e-4


def pixel_rays(camera: Camera, *, shift_px: tuple[float, float] = (0.0, 0.0)) -> Vectors:
    """The direction that each pixel looks in.

    Args:
        camera: with a known size.
        shift_px: where in the pixel, (0, 0) for its centre.

    Returns:
        (H * W, 3), scaled to z = 1, so that a hit's t is its depth; NaN beyond 80 degrees and
        where the lens model has no ray: polynomials of strong lenses turn back towards the axis,
        and OpenCV answers there with rays of other pixels.

    Raises:
        ValueError: the camera's size is unknown.
    """
    if camera.width is None or camera.height is None:
        raise ValueError("rendering needs a rig whose image size is known; use Rig.with_size.")
    x, y = np.meshgrid(
        np.arange(camera.width) + shift_px[0], np.arange(camera.height) + shift_px[1]
    )
    pixels = np.stack([x.ravel(), y.ravel()], axis=-1).astype(np.float64)
    normal = _undistort(camera, pixels)
    rays = np.concatenate([normal, np.ones((len(normal), 1))], axis=1)
    seen = _near_axis(rays)
    if camera.is_distorted:
        found = _distort(camera, np.where(seen[:, None], rays, [0.0, 0.0, 1.0]))
        seen &= np.linalg.norm(found - pixels, axis=1) < _RAY_ERROR_PX
    rays[~seen] = np.nan
    return rays


def project_points(camera: Camera, points: Vectors) -> tuple[Vectors, BoolMap]:
    """Where points of the camera's own frame appear.

    Args:
        camera: any lens.
        points: (N, 3) metres.

    Returns:
        (N, 2) x, y in px, and (N,) whether the image shows them: in front, within 80 degrees,
        inside the image, and not folded into it by a lens polynomial that turned back.
    """
    front = points[:, 2] > 1e-9
    ahead = np.where(front[:, None], points, [0.0, 0.0, 1.0])
    pixels = _distort(camera, ahead)
    inside = front & _near_axis(ahead) & (pixels >= -0.5).all(axis=1)
    if camera.width is not None and camera.height is not None:
        inside &= (pixels[:, 0] < camera.width - 0.5) & (pixels[:, 1] < camera.height - 0.5)
    if camera.is_distorted:
        kept = np.flatnonzero(inside)
        normal = ahead[kept, :2] / ahead[kept, 2:]
        back = _undistort(camera, pixels[kept])
        size = 1.0 + np.linalg.norm(normal, axis=1)
        inside[kept] = np.linalg.norm(back - normal, axis=1) < _POINT_ERROR_SHARE * size**2
    return pixels, inside


def _near_axis(rays: Vectors) -> BoolMap:
    """(N,) whether rays with z > 0 lie within ``MAX_ANGLE_RAD``; NaN does not."""
    near: BoolMap = np.hypot(rays[:, 0], rays[:, 1]) <= np.tan(MAX_ANGLE_RAD) * rays[:, 2]
    return near


def _distort(camera: Camera, points: Vectors) -> Vectors:
    """(N, 2) px of points in front of the camera."""
    if not camera.is_distorted:
        focal, centre = np.array([camera.fx, camera.fy]), np.array([camera.cx, camera.cy])
        straight: Vectors = points[:, :2] / points[:, 2:] * focal + centre
        return straight
    zero, distortion = np.zeros(3), np.asarray(camera.distortion, dtype=np.float64)
    project = cv2.fisheye.projectPoints if camera.model == "fisheye" else cv2.projectPoints
    pixels = project(points.reshape(-1, 1, 3), zero, zero, camera.matrix, distortion)[0]
    return np.asarray(pixels, dtype=np.float64).reshape(-1, 2)


def _undistort(camera: Camera, pixels: Vectors) -> Vectors:
    """Normalised image coordinates, (N, 2)."""
    if len(pixels) == 0:  # OpenCV refuses empty arrays
        return np.zeros((0, 2))
    if not camera.is_distorted:
        centre, focal = np.array([camera.cx, camera.cy]), np.array([camera.fx, camera.fy])
        straight: Vectors = (pixels - centre) / focal
        return straight
    distortion = np.asarray(camera.distortion, dtype=np.float64)
    stop = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 100, 1e-12)
    if camera.model == "fisheye":
        found = cv2.fisheye.undistortPoints(
            pixels.reshape(-1, 1, 2), camera.matrix, distortion, criteria=stop
        )
    else:
        found = cv2.undistortPoints(
            pixels.reshape(-1, 1, 2), camera.matrix, distortion, criteria=stop
        )
    return np.asarray(found, dtype=np.float64).reshape(-1, 2)
