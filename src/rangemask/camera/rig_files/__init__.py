"""Calibration files of every common tool, read and written (docs/rig-files.md)."""

from __future__ import annotations

from pathlib import Path

from rangemask.atomic import atomic_file
from rangemask.camera.rig_files import ros
from rangemask.camera.rig_files.arducam import ARDUCAM
from rangemask.camera.rig_files.fields import Size
from rangemask.camera.rig_files.form import RigFormat
from rangemask.camera.rig_files.foundation_stereo import FOUNDATION_STEREO
from rangemask.camera.rig_files.kalibr import KALIBR
from rangemask.camera.rig_files.kitti import KITTI
from rangemask.camera.rig_files.middlebury import MIDDLEBURY
from rangemask.camera.rig_files.opencv import OPENCV
from rangemask.camera.rig_files.ours import OURS
from rangemask.camera.rig_files.source import Source
from rangemask.errors import InputError
from rangemask.geometry.rig import Rig

__all__ = ["FORMATS", "load_rig", "save_rig"]

FORMATS: tuple[RigFormat, ...] = (
    OPENCV,
    MIDDLEBURY,
    KITTI,
    ARDUCAM,
    KALIBR,
    ros.ROS,
    OURS,
    FOUNDATION_STEREO,
)
"""In the order of asking: from the plainest mark to the weakest."""


def load_rig(path: str | Path, *, image_size: Size | None = None) -> Rig:
    """Read a calibration file; what it holds says of which format it is.

    Args:
        path: the file; for a ROS ``camera_info`` pair one of the two, or their folder.
        image_size: (width, height) in px, for files that do not state it.

    Raises:
        InputError: the file is missing, of no known format, or holds impossible values.
    """
    path = Path(path)
    _check_size(image_size)
    if path.is_dir():
        return ros.read_folder(path, image_size)
    source = Source.read(path)
    for form in FORMATS:
        if form.recognises(source):
            return form.read(source, image_size)
    tree = path.suffix.lower() in (".yaml", ".yml", ".json") and source.tree is None
    broken = f" As YAML or JSON it is damaged: {source.problem}." if tree else ""
    raise InputError(
        f"{path}: expected a calibration file, found none that is known.{broken} Known are: "
        f"{', '.join(form.title for form in FORMATS)} (see docs/rig-files.md)."
    )


def save_rig(rig: Rig, path: str | Path, *, format: str | None = None) -> None:
    """Write a calibration file.

    Args:
        rig: what to write.
        path: the file; for a ROS pair the left file or a folder.
        format: a name of ``FORMATS``; without it the name decides: calib.txt (Middlebury),
            K.txt (FoundationStereo), calib_cam_to_cam.txt (KITTI), a .yaml with "camchain" in
            its name (Kalibr); any other .yaml, .yml or .json is the program's own.

    Raises:
        InputError: the format is unknown or cannot hold this rig.
        OutputError: the file cannot be written.
    """
    path = Path(path)
    form = _named(format) if format is not None else _by_name(path)
    for target, text in form.write(rig, path).items():
        with atomic_file(target) as staging:
            staging.write_text(text, encoding="utf-8")


def _named(name: str) -> RigFormat:
    found = next((form for form in FORMATS if form.name == name), None)
    if found is None:
        known = ", ".join(sorted(form.name for form in FORMATS))
        raise InputError(f"expected a rig file format ({known}), found {name!r}.")
    return found


def _by_name(path: Path) -> RigFormat:
    name = path.name.lower()
    by_name = {
        "calib.txt": MIDDLEBURY,
        "k.txt": FOUNDATION_STEREO,
        "calib_cam_to_cam.txt": KITTI,
    }
    if name in by_name:
        return by_name[name]
    if path.suffix.lower() not in (".yaml", ".yml", ".json"):
        raise InputError(
            f"{path}: the name does not say which rig file format to write. End it in .yaml, or "
            f"give format: {', '.join(sorted(form.name for form in FORMATS))}."
        )
    return KALIBR if "camchain" in name else OURS


def _check_size(size: Size | None) -> None:
    if size is not None and (len(size) != 2 or min(size) < 1):
        raise InputError(f"image_size: expected (width, height) in px, found {size}.")
