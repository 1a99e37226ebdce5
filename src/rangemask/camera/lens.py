"""Where a lens images a direction, and up to where its model can be trusted."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from rangemask.geometry.arrays import AnyArray, BoolMap, Matrix
from rangemask.geometry.rig import Camera

_SAMPLES = 4096
_WIDEST_PINHOLE = 20.0
_OUTSIDE = -1e4
_RING = 0.01
"""Half the width of the ring around a cancelled pole that is bridged (tangent of the angle)."""
_NOTHING = 1e-12
_CANCELLED = 2e-3
"""A pole that moves points at the ring's edge by less (some pixels) is one of those."""


def image_of_rays(camera: Camera, rays: AnyArray) -> NDArray[np.float64]:
    """Pixels in which a distorted lens images directions.

    Pinhole: OpenCV's model with 0 to 14 terms. Fisheye: theta_d = theta (1 + k1 theta^2 + k2
    theta^4 + k3 theta^6 + k4 theta^8) (Kannala and Brandt 2006, as in OpenCV), also for
    directions behind the image plane.

    Calibrated rational lenses often have a pole and a zero of their fraction side by side
    within the image (the sample calibration of Arducam's RoAD.B has): OpenCV shows a thin
    ring of displaced pixels there, which is bridged here.

    Args:
        camera: pinhole or fisheye.
        rays: (..., 3) directions in the camera's frame, of any length above zero.

    Returns:
        (..., 2) x, y in px; (-10000, -10000) for directions that the lens cannot image: at
        or behind a pinhole's plane, or past the angle at which the model folds back.
    """
    rays = np.asarray(rays, dtype=np.float64)
    x, y, z = rays[..., 0], rays[..., 1], rays[..., 2]
    if camera.model == "fisheye":
        across = np.hypot(x, y)
        theta = np.arctan2(across, z)
        seen = theta < _fisheye_end(camera)
        stretch = _fisheye_radius(camera, theta) / np.where(across > 0, across, 1.0)
        flat = np.stack([x * stretch, y * stretch], axis=-1)
    else:
        seen = z > 1e-9
        depth = np.where(seen, z, 1.0)
        flat = np.stack([np.where(seen, x, 0.0) / depth, np.where(seen, y, 0.0) / depth], axis=-1)
        if camera.is_distorted:
            lens = _Radial(camera)
            radius = np.hypot(flat[..., 0], flat[..., 1])
            seen &= radius < lens.end
            flat = _bent(camera, np.where(seen[..., None], flat, 0.0), lens.factor(radius * seen))
    pixels = flat * (camera.fx, camera.fy) + (camera.cx, camera.cy)
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


class _Radial:
    """The radial part of OpenCV's pinhole model: a fraction of two polynomials of r^2."""

    def __init__(self, camera: Camera) -> None:
        k1, k2, _, _, k3, k4, k5, k6 = _terms(camera)[:8]
        self._above = np.polynomial.Polynomial((1.0, k1, k2, k3))
        self._below = np.polynomial.Polynomial((1.0, k4, k5, k6))
        self._rings: list[tuple[float, float]] = []
        end = _WIDEST_PINHOLE
        for pole in self._poles():
            if not self._is_cancelled(pole):
                end = min(end, pole)
                break
            self._rings.append((max(pole - _RING, 0.0), pole + _RING))
        self.end = self._first_fold(end)
        """The tangent of the angle from which on the model does not move points outwards."""

    def factor(self, radius: NDArray[np.float64]) -> NDArray[np.float64]:
        """By how much points at an undistorted radius move outwards."""
        factor = self._exact(radius)
        for low, high in self._rings:
            within = (radius > low) & (radius < high)
            ends = self._exact(np.array([low, high]))
            factor = np.where(within, np.interp(radius, (low, high), ends), factor)
        return factor

    def _exact(self, radius: NDArray[np.float64]) -> NDArray[np.float64]:
        square = radius * radius
        below = self._below(square)
        return np.asarray(self._above(square) / np.where(below == 0, 1.0, below))

    def _poles(self) -> list[float]:
        roots = self._below.trim(_NOTHING).roots()
        real = roots[np.abs(roots.imag) < 1e-9].real
        return sorted(math.sqrt(root) for root in real if 0 < root < _WIDEST_PINHOLE**2)

    def _is_cancelled(self, pole: float) -> bool:
        square = pole * pole
        slope = abs(float(self._below.deriv()(square)))
        # Near the pole the factor is above / (slope * (r^2 - pole^2)).
        reach = slope * 2 * pole * _RING
        return abs(float(self._above(square))) * pole < _CANCELLED * reach

    def _first_fold(self, end: float) -> float:
        # Denser near the axis: lenses fold at radii around one, long before the end.
        radius = end * np.linspace(0, 1, _SAMPLES, endpoint=False) ** 2
        back = np.flatnonzero(np.diff(radius * self.factor(radius)) <= 0)
        if len(back):
            return float(radius[back[0]])
        return end if end < _WIDEST_PINHOLE else math.inf


def _terms(camera: Camera) -> tuple[float, ...]:
    return (*camera.distortion, *(0.0,) * 14)[:14]


def _bent(
    camera: Camera, flat: NDArray[np.float64], factor: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Undistorted points of the plane z = 1, (..., 2), to distorted ones."""
    terms = _terms(camera)
    p1, p2, s1, s2, s3, s4, tilt_x, tilt_y = terms[2], terms[3], *terms[8:14]
    x, y = flat[..., 0], flat[..., 1]
    square = x * x + y * y
    across = x * factor + 2 * p1 * x * y + p2 * (square + 2 * x * x) + square * (s1 + s2 * square)
    down = y * factor + p1 * (square + 2 * y * y) + 2 * p2 * x * y + square * (s3 + s4 * square)
    if tilt_x or tilt_y:
        tilted = np.stack([across, down, np.ones_like(across)], axis=-1) @ _tilt(tilt_x, tilt_y).T
        return np.asarray(tilted[..., :2] / tilted[..., 2:])
    return np.stack([across, down], axis=-1)


def _tilt(tilt_x: float, tilt_y: float) -> Matrix:
    """The homography of a sensor that is tilted in its mount (OpenCV's tau_x, tau_y)."""
    cos_x, sin_x = math.cos(tilt_x), math.sin(tilt_x)
    cos_y, sin_y = math.cos(tilt_y), math.sin(tilt_y)
    about_x = np.array([[1.0, 0.0, 0.0], [0.0, cos_x, sin_x], [0.0, -sin_x, cos_x]])
    about_y = np.array([[cos_y, 0.0, -sin_y], [0.0, 1.0, 0.0], [sin_y, 0.0, cos_y]])
    turn = about_y @ about_x
    back = np.array(
        [[turn[2, 2], 0.0, -turn[0, 2]], [0.0, turn[2, 2], -turn[1, 2]], [0.0, 0.0, 1.0]]
    )
    return np.asarray(back @ turn)


def _fisheye_end(camera: Camera) -> float:
    """The angle at which the image of a ray stops moving outwards."""
    theta = np.linspace(0, np.pi, _SAMPLES)
    back = np.flatnonzero(np.diff(_fisheye_radius(camera, theta)) <= 0)
    return float(theta[back[0]]) if len(back) else math.pi


def _fisheye_radius(camera: Camera, theta: NDArray[np.float64]) -> NDArray[np.float64]:
    k1, k2, k3, k4 = camera.distortion
    square = theta * theta
    return theta * (1 + square * (k1 + square * (k2 + square * (k3 + square * k4))))
