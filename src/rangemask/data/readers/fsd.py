"""FSD, the FoundationStereo data set: colour-coded disparity (docs/datasets.md)."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from rangemask.data.frame_sources import find_rig_file
from rangemask.data.readers.disparity_codes import FSD_BASES, DisparityCode
from rangemask.data.readers.listed import (
    ListedDataset,
    by_stem,
    check_folder,
    files_below,
    folders_named,
    frame_name,
    listed,
    partner_of,
)
from rangemask.data.readers.stereo_entry import StereoEntry
from rangemask.errors import InputError

_DEEPEST = 5
_EXPECTED = "folders with left/rgb, right/rgb and left/disparity"


def looks_like_fsd(path: Path) -> bool:
    """Whether ``left/rgb`` is there, at most five folders down."""
    return path.is_dir() and bool(_scenes(path))


def open_fsd(path: str | Path, *, base: Literal[255, 256] = 255) -> ListedDataset:
    """Open FSD, or anything of its layout.

    Args:
        path: a scene with ``left/rgb``, ``right/rgb`` and ``left/disparity``, or a folder above.
        base: of the colour code; see ``decode_fsd``.

    Raises:
        InputError: nothing of the kind is there, a partner is missing, or another base.
    """
    if base not in FSD_BASES:
        raise InputError(f"the base of FSD's colours is 255 or 256, got {base}.")
    root = check_folder(path)
    code: DisparityCode = "fsd-255" if base == 255 else "fsd-256"
    entries = [entry for scene in _scenes(root) for entry in _entries(root, scene, code)]
    return listed(entries, root, _EXPECTED)


def _scenes(root: Path) -> list[Path]:
    left = folders_named(root, frozenset({"left"}), depth=_DEEPEST)
    return [folder.parent for folder in left if (folder / "rgb").is_dir()]


def _entries(root: Path, scene: Path, code: DisparityCode) -> list[StereoEntry]:
    lefts, rights, truth = scene / "left/rgb", scene / "right/rgb", scene / "left/disparity"
    partners = by_stem(files_below(check_folder(rights), deep=False), rights)
    disparities = (
        by_stem(files_below(truth, (".png",), deep=False), truth) if truth.is_dir() else {}
    )
    sequence = frame_name(scene.relative_to(root)) if scene != root else frame_name(scene.name)
    return [
        StereoEntry(
            name=frame_name(scene.relative_to(root), stem),
            sequence=sequence,
            left=left,
            right=partner_of(left, stem, partners, rights),
            disparity=partner_of(left, stem, disparities, truth) if truth.is_dir() else None,
            code=code,
            rig=find_rig_file(scene),
        )
        for stem, left in by_stem(files_below(lefts, deep=False), lefts).items()
    ]
