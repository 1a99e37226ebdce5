"""Middlebury's ``calib.txt`` (2014 and later), also written by ETH3D's two-view sets.

``cam0=[f 0 cx0; 0 f cy; 0 0 1]``, ``doffs`` = cx1 - cx0 in px, ``baseline`` in millimetres.
"""

from __future__ import annotations

import re
from pathlib import Path

from rangemask.camera.rig_files.fields import Fields, Size, saying
from rangemask.camera.rig_files.form import RigFormat, rectified_of
from rangemask.camera.rig_files.numbers import number_list
from rangemask.camera.rig_files.source import Source
from rangemask.geometry.rig import Camera, Rig

_TITLE = "Middlebury calib.txt"
_MM = 1000.0
_CAM0 = re.compile(r"^\s*cam0\s*=", re.MULTILINE)


def _recognises(source: Source) -> bool:
    return _CAM0.search(source.text) is not None


def _read(source: Source, size: Size | None) -> Rig:
    values: dict[str, object] = {}
    for line in source.lines:
        name, sign, value = line.partition("=")
        if sign:
            values[name.strip()] = _matrix(value) if "[" in value else value.strip()
    fields = Fields(source.path, values)
    fx, fy, cx, cy = fields.intrinsics("cam0")
    doffs_px = _doffs_px(fields, (fx, fy, cx, cy))
    width, height = fields.size("width", "height", size) or (None, None)
    with saying(source.path):
        return Rig.rectified(
            fx=fx,
            fy=fy,
            cx=cx,
            cy=cy,
            baseline_m=fields.positive("baseline", "millimetres") / _MM,
            width=width,
            height=height,
            doffs_px=doffs_px,
            name=source.path.stem,
        )


def _doffs_px(fields: Fields, left: tuple[float, float, float, float]) -> float:
    stated_px = fields.number("doffs") if fields.has("doffs") else None
    if not fields.has("cam1"):
        return fields.number("doffs") if stated_px is None else stated_px
    fx, fy, cx, cy = fields.intrinsics("cam1")
    if max(abs(fx / left[0] - 1), abs(fy / left[1] - 1)) > 1e-3 or abs(cy - left[3]) > 0.5:
        raise fields.error("cam1", "the focal length and cy of cam0, as in a rectified pair")
    measured_px = cx - left[2]
    if stated_px is None:
        return measured_px
    if abs(measured_px - stated_px) > 1:
        raise fields.error("doffs", f"cx of cam1 less cx of cam0, {measured_px:g}")
    return stated_px


def _matrix(text: str) -> list[list[str]]:
    return [row.replace(",", " ").split() for row in text.strip().strip("[]").split(";")]


def _write(rig: Rig, path: Path) -> dict[Path, str]:
    right, baseline_m = rectified_of(rig, _TITLE)
    lines = [
        f"cam0={_bracketed(rig.left)}",
        f"cam1={_bracketed(right)}",
        f"doffs={number_list([rig.doffs_px])}",
        f"baseline={number_list([baseline_m * _MM])}",
    ]
    if rig.size is not None:
        lines += [f"width={rig.size[0]}", f"height={rig.size[1]}"]
    return {path: "\n".join(lines) + "\n"}


def _bracketed(camera: Camera) -> str:
    rows = (number_list(row).replace(",", "") for row in camera.matrix)
    return f"[{'; '.join(rows)}]"


MIDDLEBURY = RigFormat(
    name="middlebury",
    title=_TITLE,
    recognises=_recognises,
    read=_read,
    write=_write,
)
