"""Middlebury's stereo sets of 2014 and 2021, their benchmark version 3, and ETH3D's two-view sets.

A folder per scene: ``im0.png``, ``im1.png``, ``disp0.pfm`` or ``disp0GT.pfm`` (infinity for
unknown), ``mask0nocc.png`` (255 seen by both cameras), ``calib.txt``.
"""

from __future__ import annotations

import re
from pathlib import Path

from rangemask.data.readers.listed import (
    ListedDataset,
    check_folder,
    frame_name,
    listed,
)
from rangemask.data.readers.stereo_entry import StereoEntry
from rangemask.errors import InputError

_TRUTH = ("disp0GT.pfm", "disp0.pfm")
_DEEPEST = 3
# 2014 gives each scene twice: with exact calibration, and as a user would have it.
_RECTIFICATION = re.compile(r"-(im)?perfect$")


def looks_like_middlebury(path: Path) -> bool:
    """Whether there are scenes in a folder, or whether it is one."""
    return path.is_dir() and next(iter(_scenes(path)), None) is not None


def open_middlebury(path: str | Path) -> ListedDataset:
    """Open scenes; other exposures and lightings (``im1E.png``, ``ambient/``) are left alone.

    Args:
        path: a scene, or a folder of scenes, such as ``MiddEval3`` or ``trainingQ``.

    Raises:
        InputError: there are none, or a scene lacks ``im1.png``.
    """
    root = check_folder(path)
    entries = []
    for left in _scenes(root):
        scene = left.parent
        right = scene / "im1.png"
        if not right.is_file():
            raise InputError(f"{left}: expected its partner {right}, but it does not exist.")
        # One scene at several sizes has one name; its folder's tells them apart.
        name = frame_name(scene.relative_to(root)) if scene != root else frame_name(scene.name)
        entries.append(
            StereoEntry(
                name=name,
                sequence=frame_name(_RECTIFICATION.sub("", scene.name)),
                left=left,
                right=right,
                disparity=_first_file(scene, _TRUTH),
                visible=_first_file(scene, ("mask0nocc.png",)),
                rig=_first_file(scene, ("calib.txt",)),
            )
        )
    return listed(entries, root, "folders of scenes with im0.png and im1.png")


def _scenes(root: Path) -> list[Path]:
    levels = ("/".join(["*"] * depth + ["im0.png"]) for depth in range(_DEEPEST + 1))
    return sorted(path for level in levels for path in root.glob(level))


def _first_file(scene: Path, names: tuple[str, ...]) -> Path | None:
    # ETH3D's truth comes as an archive of its own: two_view_training_gt/SCENE.
    folders = (scene, scene.parent.with_name(f"{scene.parent.name}_gt") / scene.name)
    files = (folder / name for folder in folders for name in names)
    return next((file for file in files if file.is_file()), None)
