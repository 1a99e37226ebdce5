"""The JSON that Arducam's UVC stereo cameras keep in their flash memory.

The translation is in centimetres, without a label (Arducam's ROS node multiplies by 0.01),
and the distortion has 14 terms. ``rectifiedRotation`` follows from the rest and is not read.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from rangemask.camera.rig_files.fields import Fields, Size, saying
from rangemask.camera.rig_files.form import RigFormat, pair_of, size_of
from rangemask.camera.rig_files.source import Source
from rangemask.errors import InputError
from rangemask.geometry.rig import Camera, Rig, rows

_TITLE = "Arducam JSON"
_CM = 100.0
_TERMS = 14


def _recognises(source: Source) -> bool:
    return "cameraData" in (source.tree or {})


def _read(source: Source, size: Size | None) -> Rig:
    fields = Fields(source.path, source.tree)
    entries = fields.values["cameraData"]
    if not isinstance(entries, list):
        raise fields.error("cameraData", "a list of two cameras")
    cameras: dict[str, Fields] = {}
    for place, entry in enumerate(entries[:8]):
        camera = Fields(source.path, entry, f"cameraData[{place}].")
        cameras[camera.word("name").lower()] = camera
    if not {"left", "right"} <= cameras.keys():
        raise fields.error("cameraData", "cameras named left and right", sorted(cameras))
    pose = cameras["left"].section("extrinsics")
    if pose.word("to_cam").lower() != "right":
        raise pose.error("to_cam", "right")
    rotation = pose.rotation("rotationMatrix")
    x, y, z = (value / _CM for value in pose.numbers("translation", 3))
    left, right = _camera(cameras["left"], size), _camera(cameras["right"], size)
    with saying(source.path):
        return Rig(
            left=left,
            right=right,
            rotation=rows(rotation),
            translation_m=(x, y, z),
            name=source.path.stem,
        )


def _camera(fields: Fields, size: Size | None) -> Camera:
    return fields.camera(
        fields.intrinsics("intrinsicMatrix"),
        fields.size("width", "height", size),
        distortion=fields.numbers("dist_coeff", 4, 5, 8, 12, _TERMS),
    )


def _write(rig: Rig, path: Path) -> dict[Path, str]:
    right = pair_of(rig, _TITLE)
    size_of(rig, _TITLE)
    left_entry, right_entry = _entry("left", rig.left), _entry("right", right)
    left_entry["extrinsics"] = {
        "to_cam": "right",
        "rotationMatrix": [list(row) for row in rig.rotation],
        "translation": [value * _CM for value in rig.translation_m],
    }
    return {path: json.dumps({"cameraData": [left_entry, right_entry]}, indent=4) + "\n"}


def _entry(name: str, camera: Camera) -> dict[str, Any]:
    if camera.model != "pinhole":
        raise InputError(
            f"an {_TITLE} file holds pinhole lenses, the {name} one is {camera.model}. "
            "Save as rig.yaml, which holds every rig."
        )
    terms = camera.distortion + (0.0,) * (_TERMS - len(camera.distortion))
    return {
        "name": name,
        "width": camera.width,
        "height": camera.height,
        "intrinsicMatrix": camera.matrix.tolist(),
        "dist_coeff": list(terms),
    }


ARDUCAM = RigFormat(
    name="arducam",
    title=_TITLE,
    recognises=_recognises,
    read=_read,
    write=_write,
)
