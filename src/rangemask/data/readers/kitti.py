"""KITTI's stereo benchmarks of 2012 and 2015 (Geiger et al., CVPR 2012; Menze and Geiger, 2015).

16-bit PNG, disparity = value / 256, 0 for unknown. ``disp_occ`` knows pixels that the right
camera does not see too, ``disp_noc`` does not; their difference is what is occluded.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal, TypeAlias

import numpy as np

from rangemask.data.readers.listed import ListedDataset, check_folder, listed
from rangemask.data.readers.stereo_entry import StereoEntry
from rangemask.errors import InputError
from rangemask.geometry import Rig
from rangemask.geometry.arrays import Matrix

KittiSplit: TypeAlias = Literal["training", "testing"]

_PAIRS = (("image_2", "image_3"), ("colored_0", "colored_1"), ("image_0", "image_1"))
_GREY = "image_0"
_ALL_PIXELS = ("disp_occ_0", "disp_occ")
_VISIBLE_PIXELS = ("disp_noc_0", "disp_noc")
_CALIBRATIONS = ("calib_cam_to_cam", "calib")
_EXPECTED = (
    "training/image_2 and image_3 (2015), colored_0 and colored_1 or image_0 and image_1 (2012) "
    "with frames NNNNNN_10.png"
)


def looks_like_kitti(path: Path) -> bool:
    """Whether a folder has KITTI's stereo pairs; raw drives and odometry number otherwise."""
    return path.is_dir() and _pair_in(_split_folder(path, None)) is not None


def open_kitti(path: str | Path, *, split: KittiSplit | None = None) -> ListedDataset:
    """Open KITTI 2012 or 2015; only frames ``NNNNNN_10`` have truth and are listed.

    Args:
        path: the folder that holds ``training`` and ``testing``, or one of them.
        split: which of them; training where it is there. Testing has no disparity.

    Raises:
        InputError: nothing of the kind is there, or a partner is missing.
    """
    folder = _split_folder(check_folder(path), split)
    pair = _pair_in(folder)
    if pair is None:
        raise InputError(f"{path}: found no samples. Expected {_EXPECTED}.")
    everywhere = _first_folder(folder, _ALL_PIXELS)
    both_see = _first_folder(folder, _VISIBLE_PIXELS)
    calibrations = _first_folder(folder, _CALIBRATIONS)
    entries = []
    for left in sorted((folder / pair[0]).glob("*_10.png")):
        truth = everywhere or both_see
        number = left.stem.removesuffix("_10")
        rig = None if calibrations is None else _partner(calibrations / f"{number}.txt", left)
        entries.append(
            StereoEntry(
                name=left.stem,
                sequence=left.stem,
                left=left,
                right=_partner(folder / pair[1] / left.name, left),
                disparity=None if truth is None else _partner(truth / left.name, left),
                visible=None if both_see is None else _partner(both_see / left.name, left),
                visible_is_disparity=True,
                rig=_grey_rig(rig) if rig is not None and pair[0] == _GREY else rig,
            )
        )
    return listed(entries, Path(path), _EXPECTED)


def _split_folder(root: Path, split: KittiSplit | None) -> Path:
    if split is not None:
        return check_folder(root / split)
    return next((root / name for name in ("training", "testing") if (root / name).is_dir()), root)


def _pair_in(folder: Path) -> tuple[str, str] | None:
    for left, right in _PAIRS:
        if (folder / right).is_dir() and next((folder / left).glob("*_10.png"), None) is not None:
            return left, right
    return None


def _first_folder(folder: Path, names: tuple[str, ...]) -> Path | None:
    return next((folder / name for name in names if (folder / name).is_dir()), None)


def _partner(path: Path, left: Path) -> Path:
    if not path.is_file():
        raise InputError(f"{left}: expected its partner {path}, but it does not exist.")
    return path


def _grey_rig(path: Path) -> Rig:
    """The grey cameras' calibration; ``Rig.load`` gives the colour cameras', 0.5 % wider apart."""
    numbers: dict[str, Matrix] = {}
    try:
        for line in path.read_text(encoding="utf-8").splitlines():
            name, _, values = line.partition(":")
            if name.strip() in {"P0", "P1", "P_rect_00", "P_rect_01"}:
                matrix = np.array([float(value) for value in values.split()])
                numbers[name.strip().replace("_rect_0", "")] = matrix.reshape(3, 4)
        left, right = numbers["P0"], numbers["P1"]
        return Rig.rectified(
            fx=float(left[0, 0]),
            fy=float(left[1, 1]),
            cx=float(left[0, 2]),
            cy=float(left[1, 2]),
            baseline_m=float(left[0, 3] - right[0, 3]) / float(left[0, 0]),
            doffs_px=float(right[0, 2] - left[0, 2]),
            name=path.stem,
        )
    except (OSError, ArithmeticError, LookupError, ValueError) as error:
        raise InputError(
            f"{path}: expected the grey cameras' matrices P0 and P1 (P_rect_00 and P_rect_01), "
            f"3 x 4 numbers each ({type(error).__name__}: {error})."
        ) from error
