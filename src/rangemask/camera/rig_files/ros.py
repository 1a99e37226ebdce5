"""ROS ``camera_info`` YAML: one file per camera; a pair is two files, left and right.

``x_rectified = R x`` with R the rectification matrix, and the right projection matrix holds
``P[0, 3] = -fx * baseline``. The pose between the raw cameras follows from the two.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rangemask.camera.plan import plan_rectification
from rangemask.camera.rig_files.fields import Fields, Size, saying
from rangemask.camera.rig_files.form import RigFormat, pair_of, size_of
from rangemask.camera.rig_files.numbers import number_list
from rangemask.camera.rig_files.source import Source
from rangemask.errors import InputError
from rangemask.geometry.arrays import Matrix
from rangemask.geometry.rig import Camera, LensModel, Rig, rows

_TITLE = "ROS camera_info"
_SUFFIXES = (".yaml", ".yml")
_TERMS: dict[str, tuple[LensModel, tuple[int, ...]]] = {
    "plumb_bob": ("pinhole", (0, 4, 5)),
    "rational_polynomial": ("pinhole", (8, 12, 14)),
    "equidistant": ("fisheye", (4,)),
}
_SIDE = re.compile(r"left|right", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class _Info:
    camera: Camera
    rectification: Matrix
    projection: Matrix


def _recognises(source: Source) -> bool:
    tree = source.tree or {}
    return "camera_matrix" in tree and ("distortion_model" in tree or "projection_matrix" in tree)


def _read(source: Source, size: Size | None) -> Rig:
    info = _info(source, size)
    partner = _partner(source.path)
    if partner is None:
        return Rig(left=info.camera, name=source.path.stem)
    if not partner.is_file():
        raise InputError(
            f"{source.path}: expected its partner {partner.name} beside it, but there is none. "
            "For one camera alone, take left and right out of the file's name."
        )
    other = _info(Source.read(partner), size)
    if _is_left(source.path):
        return _rig(source.path, info, other)
    return _rig(partner, other, info)


def read_folder(folder: Path, size: Size | None) -> Rig:
    """Read the pair that a folder holds.

    Raises:
        InputError: there is not exactly one left and one right file, or see ``Rig.load``.
    """
    found = [path for path in sorted(folder.iterdir()) if path.suffix.lower() in _SUFFIXES]
    left = [path for path in found if _partner(path) in found and _is_left(path)]
    if len(left) != 1:
        names = ", ".join(path.name for path in found[:6]) or "no YAML file"
        raise InputError(
            f"{folder}: expected the two camera_info files of a pair (left.yaml and right.yaml), "
            f"found {names}. Or name one calibration file."
        )
    return _read(Source.read(left[0]), size)


def _partner(path: Path) -> Path | None:
    """The file of the other camera by its name; None for a name without left or right."""
    sides = list(_SIDE.finditer(path.stem))
    if not sides:
        return None
    last = sides[-1]
    side = last.group()
    other = "right" if side.lower() == "left" else "left"
    other = other.upper() if side.isupper() else other.title() if side[0].isupper() else other
    return path.with_name(path.stem[: last.start()] + other + path.stem[last.end() :] + path.suffix)


def _is_left(path: Path) -> bool:
    return str(_SIDE.findall(path.stem)[-1]).lower() == "left"


def _info(source: Source, size: Size | None) -> _Info:
    fields = Fields(source.path, source.tree)
    name = fields.word("distortion_model") if fields.has("distortion_model") else "plumb_bob"
    if name not in _TERMS:
        raise fields.error("distortion_model", " or ".join(_TERMS))
    model, counts = _TERMS[name]
    given = fields.has("distortion_coefficients") or model == "fisheye"
    camera = fields.camera(
        fields.intrinsics("camera_matrix"),
        fields.size("image_width", "image_height", size),
        model=model,
        distortion=fields.numbers("distortion_coefficients", *counts) if given else (),
    )
    stereo = _partner(source.path) is not None
    return _Info(
        camera,
        fields.rotation("rectification_matrix") if stereo else np.eye(3),
        _projection(fields) if stereo else np.eye(3, 4),
    )


def _projection(fields: Fields) -> Matrix:
    projection = fields.matrix("projection_matrix", 3, 4)
    # Says what is wrong with the left three columns.
    Fields(fields.path, {"projection_matrix": projection[:, :3].tolist()}).intrinsics(
        "projection_matrix"
    )
    return projection


def _rig(left_path: Path, left: _Info, right: _Info) -> Rig:
    shift_m = _shift_m(right.projection) - _shift_m(left.projection)
    if not shift_m.any():
        raise InputError(
            f"{left_path}: projection_matrix: expected -fx * baseline in the fourth column of the "
            "right camera's, found 0. Were the cameras calibrated as a pair?"
        )
    if shift_m[0] > 0:
        raise InputError(
            f"{left_path}: projection_matrix: expected a positive baseline, found "
            f"{-shift_m[0]:g} m. Are the left and right files swapped?"
        )
    # x_r = R_r^T (R_l x_l + shift)
    rotation = right.rectification.T @ left.rectification
    x, y, z = (float(value) for value in right.rectification.T @ shift_m)
    with saying(left_path):
        return Rig(
            left=left.camera,
            right=right.camera,
            rotation=rows(rotation),
            translation_m=(x, y, z),
            name=left_path.stem,
        )


def _shift_m(projection: Matrix) -> Matrix:
    """The t of P = K [I | t]."""
    fx, fy, cx, cy = projection[0, 0], projection[1, 1], projection[0, 2], projection[1, 2]
    x, y, z = projection[:, 3]
    return np.array([(x - cx * z) / fx, (y - cy * z) / fy, z])


def _write(rig: Rig, path: Path) -> dict[Path, str]:
    size_of(rig, _TITLE)
    if rig.right is None:
        k = np.column_stack([rig.left.matrix, np.zeros(3)])
        if _partner(path) is not None:
            raise InputError(
                f"{path}: a {_TITLE} file of one camera has neither left nor right in its name."
            )
        return {path: _text("camera", _Info(rig.left, np.eye(3), k))}
    right = pair_of(rig, _TITLE)
    left_path, right_path = _pair_paths(path)
    if rig.is_rectified:
        rotations, cameras = (np.eye(3), np.eye(3)), (rig.left, right)
    else:
        plan = plan_rectification(rig)
        rotations, cameras = (plan.left_rotation, plan.right_rotation), (plan.camera, plan.camera)
    infos = []
    for raw, rotation, new, shift in zip(
        (rig.left, right), rotations, cameras, (0.0, -(rig.baseline_m or 0.0)), strict=True
    ):
        projection = np.column_stack([new.matrix, (new.fx * shift, 0.0, 0.0)])
        infos.append(_Info(raw, rotation, projection))
    return {left_path: _text("left", infos[0]), right_path: _text("right", infos[1])}


def _pair_paths(path: Path) -> tuple[Path, Path]:
    if path.suffix.lower() not in _SUFFIXES:
        return path / "left.yaml", path / "right.yaml"
    partner = _partner(path)
    if partner is None:
        raise InputError(
            f"{path}: a pair is written as two {_TITLE} files: expected left or right in the name "
            "(left.yaml), or a folder."
        )
    return (path, partner) if _is_left(path) else (partner, path)


def _text(name: str, info: _Info) -> str:
    camera = info.camera
    distortion = camera.distortion or (0.0,) * 5
    if camera.model == "fisheye":
        model = "equidistant"
    else:
        model = "plumb_bob" if len(distortion) <= 5 else "rational_polynomial"
    return (
        f"image_width: {camera.width}\nimage_height: {camera.height}\ncamera_name: {name}\n"
        + _matrix_text("camera_matrix", camera.matrix)
        + f"distortion_model: {model}\n"
        + _matrix_text("distortion_coefficients", np.array([distortion]))
        + _matrix_text("rectification_matrix", info.rectification)
        + _matrix_text("projection_matrix", info.projection)
    )


def _matrix_text(name: str, matrix: Matrix) -> str:
    count, width = matrix.shape
    return f"{name}:\n  rows: {count}\n  cols: {width}\n  data: [{number_list(matrix.flat)}]\n"


ROS = RigFormat(
    name="ros",
    title=_TITLE,
    recognises=_recognises,
    read=_read,
    write=_write,
)
