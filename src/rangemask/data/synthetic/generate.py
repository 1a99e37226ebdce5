"""Random scenes: rooms, table tops, open ground; the same for the same seed."""

from __future__ import annotations

import colorsys
import math
from dataclasses import replace
from typing import Literal, TypeAlias

import numpy as np

from rangemask.data.synthetic.materials import Material, Pattern
from rangemask.data.synthetic.scene import SyntheticScene, Thing, camera_pose
from rangemask.data.synthetic.shapes import Box, Capsule, Cylinder, Plane, Shape, Sphere
from rangemask.geometry.arrays import Matrix

SceneKind: TypeAlias = Literal["room", "table", "outdoor"]
SCENE_KINDS: tuple[SceneKind, ...] = ("room", "table", "outdoor")

_HALF_VIEW_RAD = math.radians(24.0)
"""Objects stand within this angle of the axis: inside the view of common lenses."""
_UP_TO_SIDE = 0.9
"""The middle of an object may be this much of that angle above or below the axis."""
_TRIES = 60


def random_scene(
    seed: int, *, kind: SceneKind = "room", n_objects: int | None = None
) -> SyntheticScene:
    """Objects that stand on a floor or a table, apart from each other, in view of the camera.

    Args:
        seed: the same seed gives the same scene.
        kind: ``room`` (floor, walls, people and furniture-sized objects at 1.2 to 7 m),
            ``table`` (small objects at 0.5 to 1.6 m) or ``outdoor`` (ground and sky).
        n_objects: how many; 3 to 7 without it. Fewer when no more fit.

    Raises:
        ValueError: the kind is unknown or the number negative.
    """
    if kind not in SCENE_KINDS:
        raise ValueError(f"kind must be one of {SCENE_KINDS}, got {kind!r}.")
    random = np.random.default_rng(seed)
    count = int(random.integers(3, 8)) if n_objects is None else n_objects
    if count < 0:
        raise ValueError(f"n_objects must not be negative, got {count}.")
    structure, pose, (near_m, far_m) = _surroundings(kind, random)
    things = list(structure)
    taken: list[tuple[float, float]] = []
    for _ in range(count):
        placed = _place(random, kind, structure, np.asarray(pose), (near_m, far_m), taken)
        if placed is None:
            break
        spot, thing = placed
        taken.append(spot)
        things.append(thing)
    light = (float(random.uniform(-0.8, 0.8)), -0.8, float(random.uniform(-0.8, -0.2)))
    return SyntheticScene(things=tuple(things), camera_pose=pose, light=light)


def _surroundings(
    kind: SceneKind, random: np.random.Generator
) -> tuple[list[Thing], tuple[tuple[float, float, float, float], ...], tuple[float, float]]:
    cell_m = 0.08 if kind == "table" else 0.4
    floor = _thing("floor", Plane((0, 0, 0), (0, -1, 0)), _material(random, cell_m, grey=True))
    if kind == "outdoor":
        pose = camera_pose(random.uniform(1.2, 1.8), pitch_rad=random.uniform(0.03, 0.2))
        return [floor], pose, (1.5, 7.5)
    if kind == "table":
        pose = camera_pose(random.uniform(0.3, 0.6), pitch_rad=random.uniform(0.3, 0.6))
        wall = Plane((0, 0, random.uniform(1.9, 2.6)), (0, 0, -1))
        return [floor, _thing("wall", wall, _material(random, 0.15, grey=True))], pose, (0.55, 1.5)
    depth_m, half_m = random.uniform(5.5, 9.0), random.uniform(2.5, 4.0)
    walls: list[Shape] = [Plane((0, 0, depth_m), (0, 0, -1))]
    walls += [Plane((x, 0, 0), (-x, 0, 0)) for x in (-half_m, half_m) if random.random() < 0.6]
    pose = camera_pose(random.uniform(0.8, 1.7), pitch_rad=random.uniform(0.0, 0.25))
    made = [_thing("wall", wall, _material(random, 0.5, grey=True)) for wall in walls]
    return [floor, *made], pose, (1.3, min(7.0, depth_m - 0.8))


def _place(
    random: np.random.Generator,
    kind: SceneKind,
    structure: list[Thing],
    pose: Matrix,
    range_m: tuple[float, float],
    taken: list[tuple[float, float]],
) -> tuple[tuple[float, float], Thing] | None:
    """An object at a free spot, in view and clear of the walls; None where no more fits."""
    radius_m = 0.12 if kind == "table" else 0.4
    for _ in range(_TRIES):
        spot = _free_spot(random, *range_m, taken, radius_m=radius_m)
        if spot is None:
            return None
        thing = _object(random, spot, kind)
        if _in_view(thing, pose) and _clear_of_walls(thing, structure):
            return spot, thing
    return None


def _in_view(thing: Thing, pose: Matrix) -> bool:
    """Whether its middle lies within the view, up and down too."""
    balls = np.array([shape.bound[0] for shape, _ in thing.parts])
    middle = (balls.min(axis=0) + balls.max(axis=0)) / 2
    x, y, z = (middle - pose[:3, 3]) @ pose[:3, :3]
    limit = math.tan(_HALF_VIEW_RAD)
    return bool(z > 0 and abs(y) <= _UP_TO_SIDE * limit * z and abs(x) <= 1.3 * limit * z)


def _clear_of_walls(thing: Thing, structure: list[Thing]) -> bool:
    walls = [shape for part in structure if part.name == "wall" for shape, _ in part.parts]
    for wall in walls:
        if not isinstance(wall, Plane):
            continue
        normal = np.asarray(wall.normal) / np.linalg.norm(wall.normal)
        for shape, _ in thing.parts:
            centre, radius_m = shape.bound
            if (np.asarray(centre) - np.asarray(wall.point)) @ normal < radius_m:
                return False
    return True


def _free_spot(
    random: np.random.Generator,
    near_m: float,
    far_m: float,
    taken: list[tuple[float, float]],
    *,
    radius_m: float,
) -> tuple[float, float] | None:
    """A place (x, z) on the floor, in view, two radii from all others."""
    for _ in range(_TRIES):
        z = random.uniform(near_m, far_m)
        x = z * math.tan(random.uniform(-_HALF_VIEW_RAD, _HALF_VIEW_RAD))
        if all(math.hypot(x - a, z - b) > 2 * radius_m for a, b in taken):
            return x, z
    return None


def _object(random: np.random.Generator, spot: tuple[float, float], kind: SceneKind) -> Thing:
    x, z = spot
    size = 0.3 if kind == "table" else 1.0
    what = random.choice(["box", "sphere", "cylinder"] + (["person"] * 2 if size == 1 else []))
    if what == "person":
        return _person(random, x, z)
    material = _material(random, 0.25 * size)
    if what == "sphere":
        radius_m = size * random.uniform(0.18, 0.38)
        return _thing("object", Sphere((x, -radius_m, z), radius_m), material)
    height_m = size * random.uniform(0.35, 1.3)
    if what == "cylinder":
        radius_m = size * random.uniform(0.12, 0.32)
        return _thing("object", Cylinder((x, -height_m / 2, z), radius_m, height_m), material)
    width_m, depth_m = (size * random.uniform(0.25, 0.55) for _ in range(2))
    yaw_rad = random.uniform(-math.pi, math.pi)
    box = Box((x, -height_m / 2, z), (width_m, height_m, depth_m), yaw_rad)
    return _thing("object", box, material)


def _person(random: np.random.Generator, x: float, z: float) -> Thing:
    """Legs, trunk, arms and head; 1.5 to 1.9 m tall, feet on the floor."""
    tall = random.uniform(1.5, 1.9)
    turn = random.uniform(-math.pi, math.pi)
    step = random.uniform(0.0, 0.14) * tall
    cos, sin = math.cos(turn), math.sin(turn)

    def at(side: float, up: float, ahead: float = 0.0) -> tuple[float, float, float]:
        side, ahead = side * tall, ahead * tall
        return x + cos * side + sin * ahead, -up * tall, z - sin * side + cos * ahead

    trousers, shirt, skin = (_material(random, 0.15) for _ in range(3))
    stride = step / tall
    swing = random.uniform(0.0, 0.15)
    parts: list[tuple[Shape, Material]] = []
    for side, sign in ((-0.055, 1), (0.055, -1)):
        foot, hip = at(side, 0.045, sign * stride), at(side, 0.48)
        parts.append((Capsule(foot, hip, 0.045 * tall), trousers))
        hand, shoulder = at(2.7 * side, 0.45, -sign * swing), at(2.2 * side, 0.78)
        parts.append((Capsule(hand, shoulder, 0.03 * tall), shirt))
    parts.append((Capsule(at(0, 0.52), at(0, 0.76), 0.09 * tall), shirt))
    parts.append((Sphere(at(0, 0.925), 0.075 * tall), _skin(skin)))
    return Thing(name="person", parts=tuple(parts))


def _skin(material: Material) -> Material:
    """One of the colours that people have; the pattern's brightness picks it."""
    tone = max(material.light) * 4 % 1
    light = (0.55 + 0.42 * tone, 0.38 + 0.4 * tone, 0.28 + 0.38 * tone)
    red, green, blue = (0.6 * value for value in light)
    return replace(material, light=light, dark=(red, green, blue), pattern="noise", cell_m=0.08)


def _thing(name: str, shape: Shape, material: Material) -> Thing:
    return Thing(name=name, parts=((shape, material),))


def _material(random: np.random.Generator, cell_m: float, *, grey: bool = False) -> Material:
    hue, vivid = random.random(), random.uniform(0.05, 0.2) if grey else random.uniform(0.3, 0.8)
    patterns: list[Pattern] = ["noise", "noise", "noise", "checker", "stripes"]
    light = colorsys.hsv_to_rgb(hue, vivid, random.uniform(0.75, 1.0))
    # colorsys answers a negative hue with negative colours.
    shifted = (hue + random.uniform(-0.1, 0.1)) % 1.0
    dark = colorsys.hsv_to_rgb(shifted, vivid, random.uniform(0.1, 0.3))
    return Material(
        light=light,
        dark=dark,
        pattern=patterns[int(random.integers(len(patterns)))],
        cell_m=cell_m * random.uniform(0.7, 1.4),
        seed=int(random.integers(2**31)),
    )
