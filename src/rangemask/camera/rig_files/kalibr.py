"""Kalibr's camchain: ``cam0``, ``cam1`` with ``T_cn_cnm1`` (x_cam1 = T x_cam0, metres)."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from rangemask.camera.rig_files.fields import Fields, Size, saying
from rangemask.camera.rig_files.form import RigFormat, pair_of, size_of
from rangemask.camera.rig_files.numbers import number_list
from rangemask.camera.rig_files.source import Source
from rangemask.errors import InputError
from rangemask.geometry.rig import Camera, Rig, rows

_TITLE = "Kalibr camchain"
_OTHER_MODELS = ("omni", "ds", "eucm")


def _recognises(source: Source) -> bool:
    tree = source.tree or {}
    cam = tree.get("cam0")
    return isinstance(cam, dict) and ("camera_model" in cam or "intrinsics" in cam)


def _read(source: Source, size: Size | None) -> Rig:
    fields = Fields(source.path, source.tree)
    left = _camera(fields.section("cam0"), size)
    if "cam1" not in fields.values:
        return Rig(left=left, name=source.path.stem)
    cam1 = fields.section("cam1")
    right = _camera(cam1, size)
    pose = cam1.matrix("T_cn_cnm1", 4, 4)
    if not np.allclose(pose[3], (0, 0, 0, 1)):
        raise cam1.error("T_cn_cnm1", "a rigid motion whose last row is 0 0 0 1")
    x, y, z = (float(value) for value in pose[:3, 3])
    with saying(source.path, "cam1.T_cn_cnm1"):
        cam1_rotation = Fields(source.path, {"rotation": pose[:3, :3].tolist()}, "cam1.T_cn_cnm1.")
        return Rig(
            left=left,
            right=right,
            rotation=rows(cam1_rotation.rotation("rotation")),
            translation_m=(x, y, z),
            name=source.path.stem,
        )


def _camera(fields: Fields, size: Size | None) -> Camera:
    model = fields.word("camera_model")
    if model != "pinhole":
        known = ", ".join(_OTHER_MODELS)
        raise InputError(
            f"{fields.path}: {fields.where}camera_model: expected pinhole, found {model[:40]!r}. "
            f"Kalibr's other models ({known}) are not supported: calibrate again with "
            "--models pinhole-equi (wide lenses) or pinhole-radtan."
        )
    fx, fy, cx, cy = fields.numbers("intrinsics", 4)
    if min(fx, fy) <= 0:
        raise fields.error("intrinsics", "fx fy cx cy with fx, fy > 0")
    if fields.has("resolution"):
        size = fields.size_list("resolution")
    lens = fields.word("distortion_model") if fields.has("distortion_model") else "none"
    if lens == "none":
        return fields.camera((fx, fy, cx, cy), size)
    if lens not in ("radtan", "equidistant", "equi"):
        raise fields.error("distortion_model", "radtan, equidistant or none")
    return fields.camera(
        (fx, fy, cx, cy),
        size,
        model="pinhole" if lens == "radtan" else "fisheye",
        distortion=fields.numbers("distortion_coeffs", 4),
    )


def _write(rig: Rig, path: Path) -> dict[Path, str]:
    text = _camera_text("cam0", rig.left, rig)
    if rig.right is not None:
        right = pair_of(rig, _TITLE)
        text += _camera_text("cam1", right, rig)
        text += "  T_cn_cnm1:\n"
        for row, shift in zip(rig.rotation, rig.translation_m, strict=True):
            text += f"  - [{number_list((*row, shift))}]\n"
        text += "  - [0.0, 0.0, 0.0, 1.0]\n"
    return {path: text}


def _camera_text(name: str, camera: Camera, rig: Rig) -> str:
    width, height = size_of(rig, _TITLE)
    distortion = camera.distortion
    if any(distortion[4:]):
        raise InputError(
            f"a {_TITLE} file holds four distortion coefficients, the rig has {len(distortion)}. "
            "Save as rig.yaml, which holds every rig."
        )
    lens = "equidistant" if camera.model == "fisheye" else "radtan"
    return (
        f"{name}:\n"
        "  camera_model: pinhole\n"
        f"  intrinsics: [{number_list((camera.fx, camera.fy, camera.cx, camera.cy))}]\n"
        f"  distortion_model: {lens}\n"
        f"  distortion_coeffs: [{number_list((distortion or (0.0,) * 4)[:4])}]\n"
        f"  resolution: [{width}, {height}]\n"
    )


KALIBR = RigFormat(
    name="kalibr",
    title=_TITLE,
    recognises=_recognises,
    read=_read,
    write=_write,
)
