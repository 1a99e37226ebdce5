"""A synthetic scene: things made of shapes, structure around them, and light."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from rangemask.data.synthetic.materials import Colour, Material
from rangemask.data.synthetic.shapes import Point, Shape
from rangemask.geometry.arrays import Matrix

CLASS_NAMES = ("unknown", "floor", "wall", "object", "person")
"""Semantic ids of the renders, in order."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Thing:
    """One object, or one piece of structure such as the floor.

    Raises:
        ValueError: the class is unknown, or it has no shapes.
    """

    name: str
    """One of ``CLASS_NAMES``; floor and wall are structure, the rest are objects."""
    parts: tuple[tuple[Shape, Material], ...]

    def __post_init__(self) -> None:
        if self.name not in CLASS_NAMES[1:]:
            raise ValueError(f"class must be one of {CLASS_NAMES[1:]}, got {self.name!r}.")
        if not self.parts:
            raise ValueError(f"a {self.name} needs at least one shape.")

    @property
    def is_object(self) -> bool:
        """Whether it has an instance id."""
        return self.name not in {"floor", "wall"}


@dataclass(frozen=True, slots=True, kw_only=True)
class SyntheticScene:
    """World coordinates: x right, y down, z forward, metres; the floor is usually y = 0.

    Raises:
        ValueError: the pose is no rotation and translation, the light has no direction, or
            ambient is not within [0, 1].
    """

    things: tuple[Thing, ...]
    camera_pose: tuple[tuple[float, float, float, float], ...]
    """4 x 4, left camera to world, where the scene is meant to be seen from."""
    light: Point = (-0.4, -0.8, -0.45)
    """Direction towards the light."""
    ambient: float = 0.5
    """Share of the light that comes from everywhere."""
    sky: Colour = (0.62, 0.72, 0.86)

    def __post_init__(self) -> None:
        checked_pose(self.camera_pose)
        if not 0 < np.linalg.norm(self.light) < np.inf:
            raise ValueError(f"light must be a direction, got {self.light}.")
        if not 0 <= self.ambient <= 1:
            raise ValueError(f"ambient must lie within [0, 1], got {self.ambient}.")

    @property
    def pose(self) -> Matrix:
        """(4, 4) left camera to world."""
        return np.asarray(self.camera_pose, dtype=np.float64)

    @property
    def objects(self) -> tuple[Thing, ...]:
        """The things with an instance id; the first has id 1."""
        return tuple(thing for thing in self.things if thing.is_object)


def checked_pose(pose: ArrayLike) -> Matrix:
    """A pose as a (4, 4) matrix.

    Raises:
        ValueError: it is not 4 x 4, or not a rotation and a translation.
    """
    matrix = np.asarray(pose, dtype=np.float64)
    if matrix.shape != (4, 4):
        raise ValueError(f"a pose must be a 4 x 4 matrix, got shape {matrix.shape}.")
    turn = matrix[:3, :3]
    off = np.abs(turn @ turn.T - np.eye(3)).max()
    # Written so that NaN fails too.
    if not (off < 1e-6 and np.linalg.det(turn) > 0 and np.isfinite(matrix[:3, 3]).all()):
        raise ValueError(f"a pose must be a rotation and a finite translation, got {matrix}.")
    if not np.array_equal(matrix[3], (0, 0, 0, 1)):
        raise ValueError(f"the last row of a pose must be 0 0 0 1, got {matrix[3]}.")
    return matrix


def camera_pose(
    height_m: float,
    *,
    pitch_rad: float = 0.0,
    yaw_rad: float = 0.0,
    x_m: float = 0.0,
    z_m: float = 0.0,
) -> tuple[tuple[float, float, float, float], ...]:
    """A camera above the floor.

    Args:
        height_m: above y = 0.
        pitch_rad: looking down is positive.
        yaw_rad: looking right is positive.
        x_m: to the right.
        z_m: forward.

    Returns:
        4 x 4, camera to world.
    """
    cos, sin = np.cos(pitch_rad), np.sin(pitch_rad)
    pitch = np.array([[1, 0, 0], [0, cos, sin], [0, -sin, cos]])
    cos, sin = np.cos(yaw_rad), np.sin(yaw_rad)
    yaw = np.array([[cos, 0, sin], [0, 1, 0], [-sin, 0, cos]])
    pose = np.eye(4)
    pose[:3, :3] = yaw @ pitch
    pose[:3, 3] = (x_m, -height_m, z_m)
    a, b, c, d = (tuple(float(value) for value in row) for row in pose)
    return a, b, c, d  # type: ignore[return-value]  # rows of four
