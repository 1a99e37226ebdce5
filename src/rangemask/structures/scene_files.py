"""A scene on disk (docs/scene-format.md): ``scene.json`` beside maps that any tool can read."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

import numpy as np

from rangemask.atomic import atomic_folder
from rangemask.errors import InputError
from rangemask.geometry import Camera, Rig
from rangemask.geometry.arrays import AnyArray
from rangemask.geometry.rig import rows
from rangemask.structures.frame import StereoFrame
from rangemask.structures.images import read_array, read_image, write_image
from rangemask.structures.maps import SemanticMap
from rangemask.structures.masks import Rle
from rangemask.structures.objects import Distance, SceneObject
from rangemask.structures.passport import Passport, Provenance
from rangemask.structures.scene import CONFIDENCE_STEPS, MAPS, Scene

FORMAT_VERSION = 1
SCENE_FILE = "scene.json"

_OCCLUDED, _FILLED = 1, 2
_DISTANCE_NUMBERS = ("median", "p10", "p90", "spread", "valid_share", "behind")
_NO_LIMIT = 2**62
_T = TypeVar("_T")


def save_scene(scene: Scene, folder: str | Path, *, overwrite: bool = False) -> Path:
    """Write ``folder/<name>/``, whole or not at all; see ``Scene.save``."""
    target = Path(folder) / scene.name
    with atomic_folder(target, overwrite=overwrite) as staging:
        write_scene(scene, staging)
    return target


def write_scene(scene: Scene, folder: Path) -> None:
    """Write the files of a scene into an existing folder."""
    for name in ("frame", "stereo", "segmentation"):
        (folder / name).mkdir(exist_ok=True)
    write_image(folder / "frame/left.png", scene.frame.left)
    if scene.frame.right is not None:
        write_image(folder / "frame/right.png", scene.frame.right)
    if scene.disparity is not None:
        np.save(folder / "stereo/disparity.npy", scene.disparity)
    if scene.depth is not None:
        np.save(folder / "stereo/depth.npy", scene.depth)
    if scene.relative_depth is not None:
        np.save(folder / "stereo/relative_depth.npy", scene.relative_depth)
    if scene.confidence is not None:
        steps = np.round(scene.confidence * CONFIDENCE_STEPS).astype(np.uint16)
        write_image(folder / "stereo/confidence.png", steps)
    if scene.occluded is not None or scene.filled is not None:
        write_image(folder / "stereo/flags.png", _flags(scene))
    if scene.semantic is not None:
        write_image(folder / "segmentation/semantic.png", scene.semantic.ids)
    _write_json(folder / "segmentation/masks.json", _masks_to_json(scene))
    _write_json(folder / SCENE_FILE, scene_to_json(scene))


def load_scene(folder: str | Path) -> Scene:
    """Read a scene back; see ``Scene.load``."""
    root = _find(Path(folder))
    return _reading(root / SCENE_FILE, lambda path: _scene_from(root, _read_json(path)))


def scene_to_json(scene: Scene) -> dict[str, Any]:
    """What ``scene.json`` holds: objects, distances, rig and provenance as plain values."""
    return {
        "format": "rangemask-scene",
        "format_version": FORMAT_VERSION,
        "name": scene.name,
        "timestamp_s": scene.frame.timestamp_s,
        "width": scene.frame.width,
        "height": scene.frame.height,
        "rig": None if scene.rig is None else rig_to_json(scene.rig),
        "objects": [_object_to_json(thing) for thing in scene.objects],
        "semantic_names": None if scene.semantic is None else list(scene.semantic.names),
        "maps": {name: getattr(scene, name) is not None for name in MAPS},
        "provenance": {
            "rangemask_version": scene.provenance.rangemask_version,
            "licence_class": scene.provenance.licence_class,
            "models": [model.to_dict() for model in scene.provenance.models],
        },
    }


def rig_to_json(rig: Rig) -> dict[str, Any]:
    """A rig as plain values; the same keys as in ``rig.yaml``."""
    return {
        "name": rig.name,
        "left": _camera_to_json(rig.left),
        "right": None if rig.right is None else _camera_to_json(rig.right),
        "rotation": [list(row) for row in rig.rotation],
        "translation_m": list(rig.translation_m),
    }


def rig_from_json(values: dict[str, Any]) -> Rig:
    """The inverse of ``rig_to_json``.

    Raises:
        KeyError: a key is missing.
        ValueError: a value is impossible.
    """
    right = values.get("right")
    x, y, z = (float(value) for value in values.get("translation_m", (0.0, 0.0, 0.0)))
    return Rig(
        left=_camera_from_json(values["left"]),
        right=None if right is None else _camera_from_json(right),
        rotation=rows(values.get("rotation", np.eye(3))),
        translation_m=(x, y, z),
        name=str(values.get("name", "")),
    )


def _find(folder: Path) -> Path:
    if (folder / SCENE_FILE).is_file():
        return folder
    if not folder.is_dir():
        raise InputError(f"{folder}: expected a folder with a saved scene, but there is none.")
    inside = sorted(path.parent for path in folder.glob(f"*/{SCENE_FILE}"))
    if len(inside) == 1:
        return inside[0]
    if inside:
        names = ", ".join(path.name for path in inside[:5])
        raise InputError(f"{folder}: holds {len(inside)} scenes ({names}, ...). Name one of them.")
    raise InputError(f"{folder}: holds no {SCENE_FILE}. Was it written by rangemask?")


def _scene_from(root: Path, data: dict[str, Any]) -> Scene:
    if data.get("format") != "rangemask-scene":
        raise InputError(f"{root / SCENE_FILE}: not a rangemask scene.")
    version = data.get("format_version")
    if not isinstance(version, int) or version > FORMAT_VERSION:
        raise InputError(
            f"{root / SCENE_FILE}: format version {version}, this program reads up to "
            f"{FORMAT_VERSION}. Install a newer rangemask."
        )
    maps = data["maps"]
    flags = None
    if maps["occluded"] or maps["filled"]:
        flags = read_array(root / "stereo/flags.png", max_pixels=_NO_LIMIT)
    masks = _reading(root / "segmentation/masks.json", _read_json)
    return Scene(
        frame=_frame_from(root, data),
        disparity=_load_map(root / "stereo/disparity.npy", maps["disparity"]),
        depth=_load_map(root / "stereo/depth.npy", maps["depth"]),
        relative_depth=_load_map(
            root / "stereo/relative_depth.npy", maps.get("relative_depth", False)
        ),
        confidence=_load_confidence(root / "stereo/confidence.png", maps["confidence"]),
        occluded=(flags & _OCCLUDED) > 0 if flags is not None and maps["occluded"] else None,
        filled=(flags & _FILLED) > 0 if flags is not None and maps["filled"] else None,
        objects=tuple(
            _object_from_json(thing, Rle.from_coco(mask["segmentation"]))
            for thing, mask in zip(data["objects"], masks["annotations"], strict=True)
        ),
        semantic=_load_semantic(root / "segmentation/semantic.png", data["semantic_names"]),
        provenance=Provenance(
            rangemask_version=data["provenance"]["rangemask_version"],
            models=tuple(Passport(**model) for model in data["provenance"]["models"]),
        ),
    )


def _frame_from(root: Path, data: dict[str, Any]) -> StereoFrame:
    right = root / "frame/right.png"
    return StereoFrame(
        read_image(root / "frame/left.png", max_pixels=_NO_LIMIT),
        read_image(right, max_pixels=_NO_LIMIT) if right.is_file() else None,
        None if data["rig"] is None else rig_from_json(data["rig"]),
        data["name"],
        data["timestamp_s"],
    )


def _flags(scene: Scene) -> AnyArray:
    flags = np.zeros((scene.frame.height, scene.frame.width), dtype=np.uint8)
    if scene.occluded is not None:
        flags |= scene.occluded * np.uint8(_OCCLUDED)
    if scene.filled is not None:
        flags |= scene.filled * np.uint8(_FILLED)
    return flags


def _load_map(path: Path, present: bool) -> AnyArray | None:
    return _reading(path, lambda file: np.load(file, allow_pickle=False)) if present else None


def _load_confidence(path: Path, present: bool) -> AnyArray | None:
    if not present:
        return None
    steps = read_array(path, max_pixels=_NO_LIMIT)
    return (steps / CONFIDENCE_STEPS).astype(np.float32)


def _load_semantic(path: Path, names: list[str] | None) -> SemanticMap | None:
    if names is None:
        return None
    return SemanticMap(read_array(path, max_pixels=_NO_LIMIT), tuple(names))


def _masks_to_json(scene: Scene) -> dict[str, Any]:
    """COCO's results layout: what annotators and pycocotools read."""
    labels = sorted({thing.label for thing in scene.objects})
    return {
        "images": [
            {
                "id": 1,
                "file_name": "frame/left.png",
                "width": scene.frame.width,
                "height": scene.frame.height,
            }
        ],
        "categories": [{"id": i, "name": label} for i, label in enumerate(labels, start=1)],
        "annotations": [
            {
                "id": thing.id,
                "image_id": 1,
                "category_id": labels.index(thing.label) + 1,
                "segmentation": thing.rle.to_coco(),
                "area": thing.area,
                "bbox": list(thing.box),
                "iscrowd": 0,
                "score": thing.score,
            }
            for thing in scene.objects
        ],
    }


def _object_to_json(thing: SceneObject) -> dict[str, Any]:
    distance = thing.distance
    return {
        "id": thing.id,
        "label": thing.label,
        "score": thing.score,
        "area_px": thing.area,
        "box_px": list(thing.box),
        "distance": {
            "median": _known(distance.median),
            "p10": _known(distance.p10),
            "p90": _known(distance.p90),
            "spread": _known(distance.spread),
            "valid_share": distance.valid_share,
            "pixels": distance.pixels,
            "layers": distance.layers,
            "behind": _known(distance.behind),
            "guessed": distance.guessed,
        },
        "centroid": [_known(value) for value in thing.centroid],
        "extent": [_known(value) for value in thing.extent],
    }


def _object_from_json(values: dict[str, Any], rle: Rle) -> SceneObject:
    distance = values["distance"]
    numbers = {name: _number(distance[name]) for name in _DISTANCE_NUMBERS}
    x, y, z = (_number(value) for value in values["centroid"])
    along_x, along_y, along_z = (_number(value) for value in values["extent"])
    return SceneObject(
        id=int(values["id"]),
        label=str(values["label"]),
        score=float(values["score"]),
        rle=rle,
        distance=Distance(
            **numbers,
            pixels=int(distance["pixels"]),
            layers=int(distance["layers"]),
            guessed=bool(distance.get("guessed", False)),
        ),
        centroid=(x, y, z),
        extent=(along_x, along_y, along_z),
    )


def _camera_to_json(camera: Camera) -> dict[str, Any]:
    return {
        "width": camera.width,
        "height": camera.height,
        "model": camera.model,
        "fx": camera.fx,
        "fy": camera.fy,
        "cx": camera.cx,
        "cy": camera.cy,
        "distortion": list(camera.distortion),
    }


def _camera_from_json(values: dict[str, Any]) -> Camera:
    width, height = values.get("width"), values.get("height")
    return Camera(
        fx=float(values["fx"]),
        fy=float(values["fy"]),
        cx=float(values["cx"]),
        cy=float(values["cy"]),
        width=None if width is None else int(width),
        height=None if height is None else int(height),
        model=values.get("model") or "pinhole",
        distortion=tuple(float(value) for value in values.get("distortion") or ()),
    )


def _known(value: float) -> float | None:
    """JSON has no NaN; unknown is null there."""
    return value if math.isfinite(value) else None


def _number(value: float | None) -> float:
    return math.nan if value is None else float(value)


def _write_json(path: Path, data: dict[str, Any]) -> None:
    path.write_text(json.dumps(data, indent=2, allow_nan=False) + "\n", encoding="utf-8")


def _read_json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def _reading(path: Path, read: Callable[[Path], _T]) -> _T:
    """Read one file of a scene; what is wrong with it is said with its name."""
    try:
        return read(path)
    except InputError as error:
        if str(path.parent) in str(error):
            raise
        raise InputError(f"{path}: {error}") from error
    except (OSError, KeyError, TypeError, ValueError, EOFError) as error:
        raise InputError(
            f"{path}: the saved scene is damaged ({type(error).__name__}: {error})."
        ) from error
