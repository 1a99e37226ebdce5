"""Solids and planes that a ray can hit, in world coordinates, metres."""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

Vectors: TypeAlias = NDArray[np.float64]
Point: TypeAlias = tuple[float, float, float]

NEAREST_T = 1e-6
"""Hits nearer than this (in ray lengths) are the ray's own start."""


class Shape(Protocol):
    """What a ray can hit."""

    @property
    def bound(self) -> tuple[Point, float]:
        """Centre and radius of a sphere around it; infinite for planes."""
        ...

    def hit(self, origin: Vectors, rays: Vectors) -> Vectors:
        """Where rays meet the surface first.

        Args:
            origin: (3,) start of all rays.
            rays: (N, 3) directions of any length.

        Returns:
            (N,) t of ``origin + t * ray``, infinity where it misses.
        """
        ...

    def normals(self, points: Vectors) -> Vectors:
        """Outward unit normals at (N, 3) points of the surface."""
        ...


@dataclass(frozen=True, slots=True)
class Plane:
    """An endless plane through ``point``; ``normal`` points to the side that light falls on.

    Raises:
        ValueError: a number is not finite, or the normal has no direction.
    """

    point: Point
    normal: Point

    def __post_init__(self) -> None:
        _check_finite("point", self.point)
        _check_finite("normal", self.normal)
        if not np.linalg.norm(self.normal) > 0:
            raise ValueError(f"normal must be a direction, got {self.normal}.")

    @property
    def bound(self) -> tuple[Point, float]:
        """It has no end."""
        return self.point, math.inf

    def hit(self, origin: Vectors, rays: Vectors) -> Vectors:
        """See ``Shape``."""
        normal = np.asarray(self.normal)
        toward = rays @ normal
        t = np.full(len(rays), np.inf)
        np.divide((np.asarray(self.point) - origin) @ normal, toward, out=t, where=toward != 0)
        return np.where(t > NEAREST_T, t, np.inf)

    def normals(self, points: Vectors) -> Vectors:
        """See ``Shape``."""
        normal = np.asarray(self.normal) / np.linalg.norm(self.normal)
        return np.broadcast_to(normal, points.shape)


@dataclass(frozen=True, slots=True)
class Sphere:
    """A ball.

    Raises:
        ValueError: a number is not finite, or the radius not positive.
    """

    centre: Point
    radius_m: float

    def __post_init__(self) -> None:
        _check_finite("centre", self.centre)
        _check_positive("radius_m", self.radius_m)

    @property
    def bound(self) -> tuple[Point, float]:
        """Itself."""
        return self.centre, self.radius_m

    def hit(self, origin: Vectors, rays: Vectors) -> Vectors:
        """See ``Shape``."""
        start = origin - np.asarray(self.centre)
        a = np.einsum("ni,ni->n", rays, rays)
        b = rays @ start
        return _nearest_root(a, b, float(start @ start) - self.radius_m**2)

    def normals(self, points: Vectors) -> Vectors:
        """See ``Shape``."""
        normals: Vectors = (points - np.asarray(self.centre)) / self.radius_m
        return normals


@dataclass(frozen=True, slots=True)
class Box:
    """A box turned about the vertical (y) axis.

    Raises:
        ValueError: a number is not finite, or a size not positive.
    """

    centre: Point
    size_m: Point
    yaw_rad: float = 0.0

    def __post_init__(self) -> None:
        _check_finite("centre", self.centre)
        _check_finite("yaw_rad", (self.yaw_rad,))
        _check_positive("size_m", *self.size_m)

    @property
    def bound(self) -> tuple[Point, float]:
        """Half its diagonal."""
        return self.centre, math.hypot(*self.size_m) / 2

    @property
    def _turn(self) -> Vectors:
        """World to box coordinates."""
        cos, sin = math.cos(self.yaw_rad), math.sin(self.yaw_rad)
        return np.array([[cos, 0.0, sin], [0.0, 1.0, 0.0], [-sin, 0.0, cos]])

    def hit(self, origin: Vectors, rays: Vectors) -> Vectors:
        """Slabs (Kay and Kajiya, SIGGRAPH 1986)."""
        turn = self._turn
        half = np.asarray(self.size_m, dtype=np.float64) / 2
        start = turn @ (origin - np.asarray(self.centre))
        with np.errstate(divide="ignore", invalid="ignore"):
            inverse = 1.0 / (rays @ turn.T)
            first, second = (-half - start) * inverse, (half - start) * inverse
        enter: Vectors = np.fmax.reduce(np.fmin(first, second), axis=1)
        leave: Vectors = np.fmin.reduce(np.fmax(first, second), axis=1)
        t = np.where(enter > NEAREST_T, enter, leave)
        return np.where((enter <= leave) & (t > NEAREST_T), t, np.inf)

    def normals(self, points: Vectors) -> Vectors:
        """See ``Shape``."""
        turn = self._turn
        half = np.asarray(self.size_m, dtype=np.float64) / 2
        local: Vectors = (points - np.asarray(self.centre)) @ turn.T / half
        axis = np.abs(local).argmax(axis=1)
        normals = np.zeros_like(local)
        rows = np.arange(len(local))
        normals[rows, axis] = np.sign(local[rows, axis])
        return normals @ turn


@dataclass(frozen=True, slots=True)
class Cylinder:
    """An upright cylinder with flat ends.

    Raises:
        ValueError: a number is not finite, or a size not positive.
    """

    centre: Point
    radius_m: float
    height_m: float

    def __post_init__(self) -> None:
        _check_finite("centre", self.centre)
        _check_positive("radius_m", self.radius_m)
        _check_positive("height_m", self.height_m)

    @property
    def bound(self) -> tuple[Point, float]:
        """Half its diagonal."""
        return self.centre, math.hypot(self.radius_m, self.height_m / 2)

    def hit(self, origin: Vectors, rays: Vectors) -> Vectors:
        """See ``Shape``."""
        start = origin - np.asarray(self.centre)
        flat = rays[:, [0, 2]]
        a = np.einsum("ni,ni->n", flat, flat)
        side = _nearest_root(
            a, flat @ start[[0, 2]], float(start[0] ** 2 + start[2] ** 2) - self.radius_m**2
        )
        with np.errstate(invalid="ignore"):
            outside = np.abs(start[1] + side * rays[:, 1]) > self.height_m / 2
        best = np.where(outside, np.inf, side)
        for end in (-self.height_m / 2, self.height_m / 2):
            t = np.full(len(rays), np.inf)
            np.divide(end - start[1], rays[:, 1], out=t, where=rays[:, 1] != 0)
            with np.errstate(invalid="ignore"):
                x, z = start[0] + t * rays[:, 0], start[2] + t * rays[:, 2]
                inside = (x * x + z * z <= self.radius_m**2) & (t > NEAREST_T)
            best = np.where(inside & (t < best), t, best)
        return best

    def normals(self, points: Vectors) -> Vectors:
        """See ``Shape``."""
        local = points - np.asarray(self.centre)
        at_end = np.abs(np.abs(local[:, 1]) - self.height_m / 2) < 1e-6
        normals: Vectors = local / self.radius_m
        normals[:, 1] = 0.0
        normals[at_end] = 0.0
        normals[at_end, 1] = np.sign(local[at_end, 1])
        return normals


@dataclass(frozen=True, slots=True)
class Capsule:
    """All points within ``radius_m`` of the segment from ``start`` to ``end``.

    Raises:
        ValueError: a number is not finite, or the radius not positive.
    """

    start: Point
    end: Point
    radius_m: float
    _ends: tuple[Sphere, Sphere] = field(init=False, repr=False)

    def __post_init__(self) -> None:
        ends = (Sphere(self.start, self.radius_m), Sphere(self.end, self.radius_m))
        object.__setattr__(self, "_ends", ends)

    @property
    def bound(self) -> tuple[Point, float]:
        """Half its length and a radius."""
        middle = (np.asarray(self.start) + np.asarray(self.end)) / 2
        reach = float(np.linalg.norm(np.asarray(self.end) - np.asarray(self.start))) / 2
        return (float(middle[0]), float(middle[1]), float(middle[2])), reach + self.radius_m

    def hit(self, origin: Vectors, rays: Vectors) -> Vectors:
        """The nearest of the open tube and the two balls."""
        foot, axis, length = self._axis()
        start = origin - foot
        along_ray, along_start = rays @ axis, float(start @ axis)
        across = rays - along_ray[:, None] * axis
        across_start = start - along_start * axis
        side = _nearest_root(
            np.einsum("ni,ni->n", across, across),
            across @ across_start,
            float(across_start @ across_start) - self.radius_m**2,
        )
        with np.errstate(invalid="ignore"):
            place = along_start + side * along_ray
            best = np.where((place >= 0) & (place <= length), side, np.inf)
        for ball in self._ends:
            best = np.minimum(best, ball.hit(origin, rays))
        return best

    def normals(self, points: Vectors) -> Vectors:
        """See ``Shape``."""
        foot, axis, length = self._axis()
        place = np.clip((points - foot) @ axis, 0.0, length)
        return (points - foot - place[:, None] * axis) / self.radius_m

    def _axis(self) -> tuple[Vectors, Vectors, float]:
        foot = np.asarray(self.start, dtype=np.float64)
        along = np.asarray(self.end) - foot
        length = float(np.linalg.norm(along))
        return foot, along / max(length, 1e-12), length


def _check_finite(name: str, values: tuple[float, ...]) -> None:
    if not all(math.isfinite(value) for value in values):
        raise ValueError(f"{name} must be finite numbers, got {values}.")


def _check_positive(name: str, *sizes_m: float) -> None:
    if not all(0 < size_m < math.inf for size_m in sizes_m):
        raise ValueError(f"{name} must be positive, got {sizes_m}.")


def _nearest_root(a: Vectors, b: Vectors, c: float) -> Vectors:
    """Smallest root beyond the start of ``a t^2 + 2 b t + c``, infinity without one."""
    inside = b * b - a * c
    real = (inside >= 0) & (a > 0)
    root = np.sqrt(np.where(real, inside, 0.0))
    safe = np.where(a > 0, a, 1.0)
    near, far = (-b - root) / safe, (-b + root) / safe
    t = np.where(near > NEAREST_T, near, far)
    return np.where(real & (t > NEAREST_T), t, np.inf)
