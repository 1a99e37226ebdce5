"""All that a prediction leaves on disk (docs/scene-format.md): scene, pictures, point cloud."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from rangemask.atomic import atomic_folder
from rangemask.errors import InputError
from rangemask.fusion.cleaning import CloudCleaning
from rangemask.fusion.cloud import PointCloud, cloud_from_depth
from rangemask.structures import DepthMap, Scene
from rangemask.structures.scene_files import write_scene
from rangemask.view.pictures import write_pictures


@dataclass(frozen=True, kw_only=True, slots=True)
class CloudConfig:
    """Which points a cloud has.

    Raises:
        InputError: a value is not positive.
    """

    cleaning: CloudCleaning = field(default_factory=lambda: CloudCleaning(min_confidence=0.2))
    max_distance_m: float | None = None
    """Points farther along the optical axis are left out, m."""
    voxel_m: float | None = None
    """One point per cube of this edge, m; all points without it."""
    keep_raw: bool = False
    """Whether to write the cloud before cleaning, too."""

    def __post_init__(self) -> None:
        for name in ("max_distance_m", "voxel_m"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise InputError(f"{name} must be a positive number of metres, got {value}.")


def save_prediction(
    scene: Scene,
    folder: str | Path,
    *,
    overwrite: bool = False,
    cloud: CloudConfig | None = None,
) -> Path:
    """Write ``folder/<name>/`` with scene, pictures and point cloud, whole or not at all.

    Args:
        scene: what was found.
        folder: where the scene's own folder goes.
        overwrite: replace an earlier result.
        cloud: which points; no cloud without it, nor for a scene without metric depth.

    Returns:
        the folder that was written.

    Raises:
        OutputError: it exists and overwrite is off, or it cannot be written.
    """
    target = Path(folder) / scene.name
    with atomic_folder(target, overwrite=overwrite) as staging:
        write_scene(scene, staging)
        write_pictures(scene, staging)
        if cloud is not None and scene.depth is not None and scene.rig is not None:
            (staging / "3d").mkdir()
            scene_cloud(scene, cloud).save(staging / "3d" / "cloud.ply")
            if cloud.keep_raw:
                scene_cloud(scene, None).save(staging / "3d" / "cloud_raw.ply")
    return target


def scene_cloud(scene: Scene, config: CloudConfig | None) -> PointCloud:
    """The coloured points of a scene; each carries the id of its object, 0 for none.

    Args:
        scene: with metric depth and a rig.
        config: which points; all that are known without it.

    Raises:
        InputError: the scene has no metric depth or no rig.
    """
    if scene.depth is None or scene.rig is None:
        raise InputError(f"{scene.name}: a point cloud needs depth in metres and a rig.")
    depth = DepthMap(values=scene.depth, confidence=scene.confidence, filled=scene.filled)
    ids = scene.instance_ids()
    if config is None:
        return cloud_from_depth(depth, scene.rig, scene.frame.left, ids)
    cloud = cloud_from_depth(depth, scene.rig, scene.frame.left, ids, cleaning=config.cleaning)
    if config.max_distance_m is not None:
        cloud = cloud.within(max_range_m=config.max_distance_m)
    return cloud if config.voxel_m is None else cloud.voxels(config.voxel_m)
