"""OpenCV FileStorage (YAML, or its JSON): one or two cameras under the names people use."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from rangemask.camera.rig_files.fields import Fields, Size, saying
from rangemask.camera.rig_files.form import RigFormat, size_of
from rangemask.camera.rig_files.numbers import number_list
from rangemask.camera.rig_files.source import Source
from rangemask.errors import InputError
from rangemask.geometry.arrays import Matrix
from rangemask.geometry.rig import Camera, LensModel, Rig, rows

# Names are compared without case and punctuation: camera_matrix_1 is cameraMatrix1.
_SIDES = (("1", "2"), ("0", "1"), ("l", "r"), ("left", "right"))
_K = ("k", "m", "cm", "cameramatrix", "intrinsicmatrix", "intrinsics", "mtx")
_D = ("d", "dist", "distcoeffs", "distcoeff", "distortioncoefficients", "distortion")
_ROTATION = ("r", "rotation", "rotationmatrix")
_TRANSLATION = ("t", "translation", "translationvector", "tvec")
_MODEL = ("model", "cameramodel", "distortionmodel", "lensmodel")
_FISHEYE = ("fisheye", "equidistant", "kannalabrandt", "kannalabrandt4", "kannalabrandt8")
_PARTNER = {"intrinsics": "extrinsics", "extrinsics": "intrinsics"}

_COUNTS = (4, 5, 8, 12, 14)
_TITLE = "OpenCV"


def _recognises(source: Source) -> bool:
    head = source.text.lstrip()
    return head.startswith(("%YAML:", "<?xml", "<opencv_storage")) or "opencv-matrix" in head


def _read(source: Source, size: Size | None) -> Rig:
    if source.text.lstrip().startswith("<"):
        raise InputError(
            f"{source.path}: expected OpenCV's YAML, found its XML. Write the file again "
            "with a name that ends in .yaml (cv::FileStorage chooses by the name)."
        )
    fields = Fields(source.path, _with_partner(source), "")
    size = _size(fields, size)
    model = _model(fields)
    sides = next((sides for sides in _SIDES if _has_pair(fields, sides)), None)
    if sides is None:
        return _read_single(fields, size, model)
    left, right = (_camera(fields, side, size, model) for side in sides)
    r, t = _spelling(fields, _ROTATION), _spelling(fields, _TRANSLATION)
    if r is None or t is None:
        raise _missing(
            fields, "the pose of the right camera", "R and T (x_right = R x_left + T, T in metres)"
        )
    rotation = fields.rotation(r)
    x, y, z = fields.numbers(t, 3)
    with saying(source.path):
        return Rig(
            left=left,
            right=right,
            rotation=rows(rotation),
            translation_m=(x, y, z),
            name=source.path.stem,
        )


def _has_pair(fields: Fields, sides: tuple[str, str]) -> bool:
    return all(_spelling(fields, _named(_K, side)) is not None for side in sides)


def _read_single(fields: Fields, size: Size | None, model: LensModel) -> Rig:
    if _spelling(fields, _K) is None:
        raise _missing(
            fields, "camera matrices", "K1 and K2 for a pair, or camera_matrix for one camera"
        )
    return Rig(left=_camera(fields, "", size, model), name=fields.path.stem)


def _with_partner(source: Source) -> dict[str, object]:
    """Values by plain spelling; OpenCV's stereo sample writes its two halves as two files."""
    values: dict[str, object] = {}
    stem = source.path.stem.lower()
    if stem in _PARTNER:
        partner = source.path.with_name(f"{_PARTNER[stem]}{source.path.suffix}")
        if partner.is_file():
            values |= _plain(Source.read(partner))
    return values | _plain(source)


def _plain(source: Source) -> dict[str, object]:
    if source.tree is None:
        raise InputError(
            f"{source.path}: expected OpenCV's YAML, but it is damaged: {source.problem}."
        )
    return {_bare(key): value for key, value in source.tree.items()}


def _bare(name: str) -> str:
    return "".join(letter for letter in name.lower() if letter.isalnum())


def _spelling(fields: Fields, names: tuple[str, ...]) -> str | None:
    return next((name for name in names if name in fields.values), None)


def _missing(fields: Fields, what: str, names: str) -> InputError:
    found = ", ".join(list(fields.values)[:12]) or "nothing"
    return InputError(f"{fields.path}: expected {what} ({names}), found only: {found}.")


def _named(names: tuple[str, ...], side: str) -> tuple[str, ...]:
    """K1, 1K; with no side the names alone."""
    return (*(name + side for name in names), *(side + name for name in names))


def _camera(fields: Fields, side: str, size: Size | None, model: LensModel) -> Camera:
    k = _spelling(fields, _named(_K, side)) or ""
    d = _spelling(fields, _named(_D, side))
    if d is None and model == "fisheye":
        raise _missing(fields, "four distortion coefficients of each fisheye lens", f"D{side}")
    counts = (4,) if model == "fisheye" else _COUNTS
    distortion = () if d is None else fields.numbers(d, *counts)
    return fields.camera(fields.intrinsics(k), size, model=model, distortion=distortion)


def _size(fields: Fields, size: Size | None) -> Size | None:
    for name in ("imagesize", "size"):
        if name in fields.values:
            return fields.size_list(name)
    for width_name, height_name in (("imagewidth", "imageheight"), ("width", "height")):
        if width_name in fields.values:
            return fields.size(width_name, height_name, size)
    return size


def _model(fields: Fields) -> LensModel:
    name = fields.values.get(_spelling(fields, _MODEL) or "")
    if isinstance(name, str) and _bare(name) in _FISHEYE:
        return "fisheye"
    flag = fields.values.get(_spelling(fields, ("fisheye", "fisheyemodel")) or "")
    return "fisheye" if flag in (1, "1", "true") else "pinhole"


def _write(rig: Rig, path: Path) -> dict[Path, str]:
    if path.suffix.lower() in (".xml", ".json"):
        raise InputError(f"{path}: OpenCV files are written as YAML; end the name in .yaml.")
    model = rig.left.model
    lines = ["%YAML:1.0\n---\n"]
    if rig.size is not None:
        width, height = size_of(rig, _TITLE)
        lines.append(f"image_width: {width}\nimage_height: {height}\n")
    lines.append(f"model: {model}\n")
    if rig.right is None:
        lines += _lines("camera_matrix", rig.left.matrix)
        lines += _lines("distortion_coefficients", _row(rig.left))
        return {path: "".join(lines)}
    if rig.right.model != model:
        raise InputError(
            f"an {_TITLE} file holds one lens model, the rig has {model} and {rig.right.model}. "
            "Save as rig.yaml, which holds every rig."
        )
    for number, camera in enumerate((rig.left, rig.right), start=1):
        lines += _lines(f"K{number}", camera.matrix)
        lines += _lines(f"D{number}", _row(camera))
    lines += _lines("R", np.asarray(rig.rotation))
    lines += _lines("T", np.asarray(rig.translation_m).reshape(3, 1))
    return {path: "".join(lines)}


def _row(camera: Camera) -> Matrix:
    return np.array([camera.distortion or (0.0,) * 5])


def _lines(name: str, matrix: Matrix) -> list[str]:
    rows_count, cols = matrix.shape
    return [
        f"{name}: !!opencv-matrix\n   rows: {rows_count}\n   cols: {cols}\n   dt: d\n",
        f"   data: [ {number_list(matrix.flat)} ]\n",
    ]


OPENCV = RigFormat(
    name="opencv",
    title=_TITLE,
    recognises=_recognises,
    read=_read,
    write=_write,
)
