"""KITTI: ``calib_cam_to_cam.txt`` of the raw and scene-flow sets, and ``P0:`` .. ``P3:`` lines.

The projection matrices map points of camera 0, so that ``P[0, 3] = fx * t_x`` holds each
camera's offset from it, and the baseline of the colour pair is (P2[0, 3] - P3[0, 3]) / fx.
"""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np

from rangemask.camera.rig_files.fields import Fields, Size, saying
from rangemask.camera.rig_files.form import RigFormat, rectified_of
from rangemask.camera.rig_files.numbers import number_list
from rangemask.camera.rig_files.source import Source
from rangemask.errors import InputError
from rangemask.geometry.arrays import Matrix
from rangemask.geometry.rig import Camera, Rig

_TITLE = "KITTI calibration"
_LINE = re.compile(r"^\s*(P[0-3]|P_rect_0\d|S_rect_0\d|S_0\d|K_0\d)\s*:", re.MULTILINE)
_PAIRS = (("P_rect_02", "P_rect_03"), ("P_rect_00", "P_rect_01"), ("P2", "P3"), ("P0", "P1"))


def _recognises(source: Source) -> bool:
    return _LINE.search(source.text) is not None


def _read(source: Source, size: Size | None) -> Rig:
    values: dict[str, object] = {}
    for line in source.lines:
        name, sign, value = line.partition(":")
        if sign:
            values[name.strip()] = value.split()
    fields = Fields(source.path, values)
    pair = next((pair for pair in _PAIRS if fields.has(pair[0]) and fields.has(pair[1])), None)
    if pair is None:
        raise InputError(
            f"{source.path}: expected two projection matrices (P_rect_02 and P_rect_03, or P2 and "
            f"P3), found only: {', '.join(list(values)[:12])}."
        )
    left, right = (fields.matrix(name, 3, 4) for name in pair)
    size_name = pair[0].replace("P_", "S_")
    if pair[0].startswith("P_rect") and fields.has(size_name):
        size = fields.size_list(size_name)
    return _rig(fields, pair, left, right, size)


def _rig(
    fields: Fields, pair: tuple[str, str], left: Matrix, right: Matrix, size: Size | None
) -> Rig:
    (fx, fy, cx, cy), (right_fx, _, right_cx, right_cy) = (
        Fields(fields.path, {name: matrix[:, :3].tolist()}).intrinsics(name)
        for name, matrix in zip(pair, (left, right), strict=True)
    )
    if abs(right_fx / fx - 1) > 1e-3 or abs(right_cy - cy) > 0.5:
        raise fields.error(pair[1], f"the focal length and cy of {pair[0]}")
    baseline_m = float(left[0, 3] - right[0, 3]) / fx
    if baseline_m <= 0:
        raise InputError(
            f"{fields.path}: {pair[0]}, {pair[1]}: expected a positive baseline "
            f"({pair[0]}[0, 3] - {pair[1]}[0, 3]) / fx, found {baseline_m:g} m. "
            "Are left and right swapped?"
        )
    width, height = size or (None, None)
    with saying(fields.path):
        return Rig.rectified(
            fx=fx,
            fy=fy,
            cx=cx,
            cy=cy,
            baseline_m=baseline_m,
            doffs_px=right_cx - cx,
            width=width,
            height=height,
            name=fields.path.stem,
        )


def _write(rig: Rig, path: Path) -> dict[Path, str]:
    """The short form where the size is unknown, else the long one, which states it."""
    right, baseline_m = rectified_of(rig, _TITLE)
    left_p, right_p = _projection(rig.left, 0.0), _projection(right, -baseline_m)
    if rig.size is None:
        return {path: f"P2: {left_p}\nP3: {right_p}\n"}
    size = _spaced(np.asarray(rig.size))
    identity = _spaced(np.eye(3))
    lines = (
        f"S_rect_02: {size}\nR_rect_02: {identity}\nP_rect_02: {left_p}\n"
        f"S_rect_03: {size}\nR_rect_03: {identity}\nP_rect_03: {right_p}\n"
    )
    return {path: lines}


def _projection(camera: Camera, shift_m: float) -> str:
    return _spaced(np.column_stack([camera.matrix, (camera.fx * shift_m, 0.0, 0.0)]))


def _spaced(matrix: Matrix) -> str:
    return number_list(matrix.flat).replace(",", "")


KITTI = RigFormat(
    name="kitti",
    title=_TITLE,
    recognises=_recognises,
    read=_read,
    write=_write,
)
