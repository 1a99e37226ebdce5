"""The ray caster: a scene and a rig in; both images and exact ground truth out."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from rangemask.data.synthetic.rays import pixel_rays, project_points
from rangemask.data.synthetic.scene import CLASS_NAMES, SyntheticScene, checked_pose
from rangemask.data.synthetic.sensor import SensorConfig, expose
from rangemask.data.synthetic.shapes import Vectors
from rangemask.geometry import Camera, Rig, disparity_from_depth
from rangemask.geometry.arrays import BoolMap, FloatMap, Matrix
from rangemask.structures import SemanticMap, StereoFrame

_SELF_HIT_SHARE = 1e-5
"""A surface does not hide itself: hits this near the end of a ray of sight do not count."""


@dataclass(frozen=True, slots=True)
class SyntheticObject:
    """One object of the scene, seen or not."""

    id: int
    """Its value in ``SyntheticSample.instance_ids``."""
    name: str
    """Its class, one of ``CLASS_NAMES``."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SyntheticSample:
    """One rendered frame with its exact truth; maps are (H, W) on the left grid unless named."""

    frame: StereoFrame
    depth_m: FloatMap
    """z in the left camera's frame; NaN where only sky is."""
    instance_ids: NDArray[np.uint16]
    """1, 2, ... in the order of ``SyntheticScene.objects``; 0 for structure and sky."""
    semantic: SemanticMap
    objects: tuple[SyntheticObject, ...]
    """All objects of the scene by id, those that are hidden or out of view too."""
    right_depth_m: FloatMap | None = None
    """On the right grid, z in the right camera's frame; None without a right camera."""
    occluded: BoolMap | None = None
    """Left pixels whose surface the right camera does not see: hidden, or outside its image.
    False for the sky, and for pixels that no ray belongs to."""
    disparity: FloatMap | None = None
    """px; None for rigs that are not rectified pairs."""
    right_disparity: FloatMap | None = None
    """On the right grid: right pixel x matches left pixel x + disparity."""

    def masks(self) -> BoolMap:
        """(N, H, W) bool, one per item of ``objects``; empty for those that are not seen."""
        ids = np.array([thing.id for thing in self.objects], dtype=np.uint16)
        return np.equal(self.instance_ids[None], ids[:, None, None])


def render(
    scene: SyntheticScene,
    rig: Rig,
    *,
    seed: int = 0,
    sensor: SensorConfig | None = None,
    pose: Matrix | None = None,
    samples: int = 1,
    name: str = "synthetic",
) -> SyntheticSample:
    """Render what a rig sees.

    Args:
        scene: what is there.
        rig: one or two cameras of any lens, with a known image size.
        seed: of the sensor's noise.
        sensor: noise, blur and exposure.
        pose: (4, 4) left camera to world; the scene's own without it.
        samples: rays per pixel along x and along y for the colours; the truth is always that
            of the pixel's centre.
        name: of the frame.

    Raises:
        ValueError: the rig's size is unknown, samples is not positive, or the pose is no
            rotation and translation.
    """
    if samples < 1:
        raise ValueError(f"samples must be at least 1, got {samples}.")
    sensor = sensor if sensor is not None else SensorConfig()
    random = np.random.default_rng(seed)
    left_pose = scene.pose if pose is None else checked_pose(pose)
    left = _View(scene, rig.left, left_pose)
    left_image = expose(left.radiance(samples), sensor, random, right=False)
    alone = SyntheticSample(
        frame=StereoFrame(left_image, None, rig, name),
        depth_m=left.depth_m,
        instance_ids=left.instance_ids,
        semantic=SemanticMap(left.class_ids, CLASS_NAMES),
        objects=tuple(SyntheticObject(i, t.name) for i, t in enumerate(scene.objects, start=1)),
    )
    if rig.right is None:
        return alone
    right = _View(scene, rig.right, left_pose @ _right_to_left(rig))
    right_image = expose(right.radiance(samples), sensor, random, right=True)
    known = rig.is_rectified and rig.baseline_m is not None
    return replace(
        alone,
        frame=StereoFrame(left_image, right_image, rig, name),
        right_depth_m=right.depth_m,
        occluded=_occluded(scene, left, right),
        disparity=disparity_from_depth(left.depth_m, rig) if known else None,
        right_disparity=disparity_from_depth(right.depth_m, rig) if known else None,
    )


class _View:
    """One camera in the world and what its pixels hit."""

    def __init__(self, scene: SyntheticScene, camera: Camera, pose: Matrix) -> None:
        self.scene, self.camera, self.pose = scene, camera, pose
        self.origin = pose[:3, 3]
        self.rays = rays = pixel_rays(camera) @ pose[:3, :3].T
        self.t, self.part = _cast(scene, self.origin, rays)
        self.points = self.origin + np.where(np.isfinite(self.t), self.t, np.nan)[:, None] * rays
        self.shape = (camera.height or 0, camera.width or 0)

    @property
    def depth_m(self) -> FloatMap:
        depth = np.where(np.isfinite(self.t), self.t, np.nan)
        return depth.reshape(self.shape).astype(np.float32)

    @property
    def class_ids(self) -> NDArray[np.uint8]:
        """Class of each pixel; 0 for the sky."""
        of_part = [CLASS_NAMES.index(t.name) for t in self.scene.things for _ in t.parts]
        return np.array([*of_part, 0], dtype=np.uint8)[self.part].reshape(self.shape)

    @property
    def instance_ids(self) -> NDArray[np.uint16]:
        ids, of_part = 0, []
        for thing in self.scene.things:
            ids += thing.is_object
            of_part += [ids if thing.is_object else 0] * len(thing.parts)
        return np.array([*of_part, 0], dtype=np.uint16)[self.part].reshape(self.shape)

    def radiance(self, samples: int) -> NDArray[np.float32]:
        """(H, W, 3) RGB in [0, 1]."""
        if samples == 1:
            return self._shade(self.rays, self.t, self.part)
        total: NDArray[np.float32] = np.zeros((*self.shape, 3), dtype=np.float32)
        places = (np.arange(samples) + 0.5) / samples - 0.5
        for x in places:
            for y in places:
                rays = pixel_rays(self.camera, shift_px=(x, y)) @ self.pose[:3, :3].T
                total += self._shade(rays, *_cast(self.scene, self.origin, rays))
        return total / np.float32(samples**2)

    def _shade(self, rays: Vectors, t: Vectors, part: NDArray[np.intp]) -> NDArray[np.float32]:
        colours = np.zeros((len(rays), 3), dtype=np.float32)
        colours[np.isfinite(rays[:, 0]) & ~np.isfinite(t)] = self.scene.sky
        light = np.asarray(self.scene.light) / np.linalg.norm(self.scene.light)
        parts = [pair for thing in self.scene.things for pair in thing.parts]
        for number, (shape, material) in enumerate(parts):
            seen = np.flatnonzero(part == number)
            if seen.size == 0:
                continue
            ways = rays[seen]
            points = self.origin + t[seen, None] * ways
            normals = shape.normals(points)
            facing = np.clip(normals @ light, 0, None)
            shade = self.scene.ambient + (1 - self.scene.ambient) * facing
            # A surface seen at a slant is squeezed: its footprint grows.
            slant = np.abs(np.einsum("ni,ni->n", normals, ways))
            slant /= np.linalg.norm(ways, axis=1)
            footprint_m = t[seen] / self.camera.fx / np.clip(slant, 0.05, 1)
            colours[seen] = material.colours(points, footprint_m) * shade[:, None].astype(
                np.float32
            )
        shaded: NDArray[np.float32] = np.clip(colours, 0, 1).reshape(*self.shape, 3)
        return shaded


def _cast(
    scene: SyntheticScene, origin: Vectors, rays: Vectors
) -> tuple[Vectors, NDArray[np.intp]]:
    """First hit of each ray: t (infinity for none) and the number of the part, -1 for none."""
    best = np.full(len(rays), np.inf)
    part = np.full(len(rays), -1, dtype=np.intp)
    square = np.einsum("ni,ni->n", rays, rays)
    number = -1
    for thing in scene.things:
        for shape, _ in thing.parts:
            number += 1
            near = _may_hit(shape.bound, origin, rays, square)
            t = shape.hit(origin, rays[near])
            closer = t < best[near]
            best[near[closer]] = t[closer]
            part[near[closer]] = number
    return best, part


def _may_hit(
    bound: tuple[tuple[float, float, float], float],
    origin: Vectors,
    rays: Vectors,
    square: Vectors,
) -> NDArray[np.intp]:
    """Rays that pass through the sphere around a shape."""
    centre, radius = np.asarray(bound[0]) - origin, bound[1]
    if not np.isfinite(radius):
        return np.flatnonzero(np.isfinite(square))
    along = rays @ centre
    away = float(centre @ centre) - radius**2
    if away <= 0:
        return np.flatnonzero(np.isfinite(square))
    return np.flatnonzero((along > 0) & (along * along >= square * away))


def _occluded(scene: SyntheticScene, left: _View, right: _View) -> BoolMap:
    """By an exact ray of sight from the right camera to each left pixel's surface."""
    known = np.isfinite(left.points[:, 0])
    sight = left.points[known] - right.origin
    t, _ = _cast(scene, right.origin, sight)
    in_right = sight @ right.pose[:3, :3]
    _, inside = project_points(right.camera, in_right)
    hidden = np.zeros(len(known), dtype=bool)
    hidden[known] = (t < 1 - _SELF_HIT_SHARE) | ~inside
    return hidden.reshape(left.shape)


def _right_to_left(rig: Rig) -> Matrix:
    """(4, 4), the inverse of ``x_right = R x_left + t``."""
    rotation, translation = np.asarray(rig.rotation), np.asarray(rig.translation_m)
    pose = np.eye(4)
    pose[:3, :3] = rotation.T
    pose[:3, 3] = -rotation.T @ translation
    return pose
