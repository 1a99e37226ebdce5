"""The Scene Flow sets: FlyingThings3D, Monkaa and Driving (Mayer et al., CVPR 2016).

Images lie below ``frames_cleanpass`` or ``frames_finalpass``, disparity at the same path below
``disparity``, as PFM; the last folder is ``left`` or ``right``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal, TypeAlias

from rangemask.data.readers.listed import (
    ListedDataset,
    check_folder,
    files_below,
    folders_named,
    frame_name,
    listed,
)
from rangemask.data.readers.stereo_entry import StereoEntry
from rangemask.errors import InputError

FramesPass: TypeAlias = Literal["clean", "final"]

_FOLDERS: dict[FramesPass, str] = {"clean": "frames_cleanpass", "final": "frames_finalpass"}
_IMAGES = (".png", ".webp")
_DEEPEST = 2
_EXPECTED = "frames_cleanpass or frames_finalpass with .../left/NNNN.png and .../right/NNNN.png"


def looks_like_sceneflow(path: Path) -> bool:
    """Whether there are frames of a pass at most two folders down."""
    return path.is_dir() and bool(_passes(path))


def open_sceneflow(path: str | Path, *, frames: FramesPass | None = None) -> ListedDataset:
    """Open one of the sets, or a folder that holds several of them.

    There is no calibration: the sets' baseline is 1 in units of the renderer, not metres.

    Args:
        path: the folder that holds ``frames_cleanpass`` and ``disparity``, or one above.
        frames: which images; clean ones where they are there.

    Raises:
        InputError: nothing of the kind is there, or a partner is missing.
    """
    root = check_folder(path)
    found = _passes(root)
    wanted = frames or ("clean" if any(f.name == _FOLDERS["clean"] for f in found) else "final")
    entries = [
        entry
        for frames in found
        if frames.name == _FOLDERS[wanted]
        for entry in _entries(root, frames)
    ]
    return listed(entries, root, _EXPECTED)


def _passes(root: Path) -> list[Path]:
    return folders_named(root, frozenset(_FOLDERS.values()), depth=_DEEPEST)


def _entries(root: Path, frames: Path) -> list[StereoEntry]:
    truth = frames.parent / "disparity"
    entries = []
    for left in files_below(frames, _IMAGES):
        if left.parent.name != "left":
            continue
        scene = left.parent.parent
        right = scene / "right" / left.name
        disparity = truth / scene.relative_to(frames) / "left" / f"{left.stem}.pfm"
        for partner in (right, disparity) if truth.is_dir() else (right,):
            if not partner.is_file():
                raise InputError(f"{left}: expected its partner {partner}, but it does not exist.")
        sequence = frame_name(frames.parent.relative_to(root), scene.relative_to(frames))
        entries.append(
            StereoEntry(
                name=frame_name(sequence, left.stem),
                sequence=sequence,
                left=left,
                right=right,
                disparity=disparity if truth.is_dir() else None,
            )
        )
    return entries
