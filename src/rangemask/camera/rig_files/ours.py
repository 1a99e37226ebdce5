"""``rig.yaml``: the program's own file, and the short form of straight cameras (docs/rig-files.md).

Both may be YAML or JSON.
"""

from __future__ import annotations

import json
from pathlib import Path

import yaml

from rangemask.camera.rig_files.fields import Fields, Size, saying
from rangemask.camera.rig_files.form import RigFormat
from rangemask.camera.rig_files.source import Source
from rangemask.errors import InputError
from rangemask.geometry.rig import Camera, Rig, rows
from rangemask.structures.scene_files import rig_to_json

FORMAT = "rangemask-rig"
VERSION = 1


def _recognises(source: Source) -> bool:
    tree = source.tree
    if tree is None:
        return False
    short = {"baseline_m", "fx"} <= tree.keys() or {"fx", "cx"} <= tree.keys()
    return tree.get("format") == FORMAT or "left" in tree or short


def _read(source: Source, size: Size | None) -> Rig:
    fields = Fields(source.path, source.tree)
    if fields.has("format") and fields.word("format") != FORMAT:
        raise fields.error("format", FORMAT)
    if fields.has("format_version") and fields.number("format_version") > VERSION:
        raise fields.error("format_version", f"at most {VERSION} (a newer rangemask wrote it?)")
    name = fields.word("name") if fields.has("name") else source.path.stem
    if "left" in fields.values:
        return _read_full(fields, size, name)
    return _read_short(fields, size, name)


def _read_full(fields: Fields, size: Size | None, name: str) -> Rig:
    left = _camera(fields.section("left"), size)
    right = _camera(fields.section("right"), size) if fields.has("right") else None
    rotation = fields.rotation("rotation") if fields.has("rotation") else None
    if right is None:
        translation = (0.0, 0.0, 0.0)
    else:
        x, y, z = fields.numbers("translation_m", 3)
        translation = (x, y, z)
    with saying(fields.path):
        if rotation is None:
            return Rig(left=left, right=right, translation_m=translation, name=name)
        return Rig(
            left=left, right=right, rotation=rows(rotation), translation_m=translation, name=name
        )


def _camera(fields: Fields, size: Size | None) -> Camera:
    model = fields.word("model") if fields.has("model") else "pinhole"
    if model not in ("pinhole", "fisheye"):
        raise fields.error("model", "pinhole or fisheye")
    counts = (0, 4, 5, 8, 12, 14) if model == "pinhole" else (4,)
    given = fields.has("distortion") or model == "fisheye"
    return fields.camera(
        (
            fields.positive("fx", "px"),
            fields.positive("fy", "px"),
            fields.number("cx"),
            fields.number("cy"),
        ),
        fields.size("width", "height", size),
        model="fisheye" if model == "fisheye" else "pinhole",
        distortion=fields.numbers("distortion", *counts) if given else (),
    )


def _read_short(fields: Fields, size: Size | None, name: str) -> Rig:
    doffs = "doffs_px" if "doffs_px" in fields.values else "doffs"
    for unknown in ("fx", "baseline_m", doffs):
        if unknown in fields.values and fields.values[unknown] is None:
            raise InputError(
                f"{fields.path}: {unknown}: expected a number, found null (unknown): without it "
                "the rig has no scale in metres. Calibrate the camera, or work without a rig."
            )
    width, height = fields.size("width", "height", size) or (None, None)
    fx = fields.positive("fx", "px")
    if "baseline_m" not in fields.values and doffs not in fields.values:
        fy = fields.positive("fy", "px") if fields.has("fy") else fx
        centre = fields.number("cx"), fields.number("cy")
        left = fields.camera((fx, fy, *centre), fields.size("width", "height", size))
        return Rig(left=left, name=name)
    with saying(fields.path):
        return Rig.rectified(
            fx=fx,
            fy=fields.positive("fy", "px") if fields.has("fy") else fx,
            cx=fields.number("cx"),
            cy=fields.number("cy"),
            baseline_m=fields.positive("baseline_m", "metres"),
            doffs_px=fields.number(doffs) if doffs in fields.values else 0.0,
            width=width,
            height=height,
            name=name,
        )


def _write(rig: Rig, path: Path) -> dict[Path, str]:
    values = {"format": FORMAT, "format_version": VERSION, **rig_to_json(rig)}
    if path.suffix.lower() == ".json":
        return {path: json.dumps(values, indent=2, allow_nan=False) + "\n"}
    text = yaml.safe_dump(values, sort_keys=False, default_flow_style=None, width=100)
    return {path: text}


OURS = RigFormat(
    name="rangemask",
    title="rig.yaml",
    recognises=_recognises,
    read=_read,
    write=_write,
)
