"""One rectified pair with true disparity, as all stereo data sets have it."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rangemask.data.map_files import read_valid
from rangemask.data.readers.disparity_codes import DisparityCode, read_coded
from rangemask.data.readers.listed import fitting
from rangemask.data.sample import Sample
from rangemask.errors import InputError
from rangemask.geometry import Rig
from rangemask.structures import StereoFrame


def read_frame(
    name: str, left: Path, right: Path | None = None, rig: Path | Rig | None = None
) -> StereoFrame:
    """A frame; what is wrong with it, or between its files, is said with their names.

    Raises:
        InputError: a file is missing or damaged, sizes differ, or the calibration does not fit.
    """
    loaded = Rig.load(rig) if isinstance(rig, Path) else rig
    try:
        return StereoFrame.read(left, right, rig=loaded, name=name)
    except InputError as error:
        if any(str(file) in str(error) for file in (left, right) if file is not None):
            raise
        also = f" and {rig}" if isinstance(rig, Path) else ""
        raise InputError(f"{left}{also}: {error}") from error


@dataclass(frozen=True, slots=True, kw_only=True)
class StereoEntry:
    """Where a pair and its labels are."""

    name: str
    sequence: str
    left: Path
    right: Path
    disparity: Path | None = None
    """Of the left image."""
    code: DisparityCode = "map"
    visible: Path | None = None
    """Marks pixels that both cameras see: a mask, or a disparity map that knows only those."""
    visible_is_disparity: bool = False
    rig: Path | Rig | None = None
    """A calibration file, or what was read from one."""

    @property
    def source(self) -> Path:
        """The left image."""
        return self.left

    def read(self) -> Sample:
        """Read the files.

        Raises:
            InputError: one is missing, damaged, or of another size than the left image.
        """
        frame = read_frame(self.name, self.left, self.right, self.rig)
        disparity = visible = None
        if self.disparity is not None:
            disparity = fitting(read_coded(self.disparity, self.code), self.disparity, frame)
        if self.visible is not None and self.visible_is_disparity:
            visible = np.isfinite(fitting(read_coded(self.visible, "map"), self.visible, frame))
        elif self.visible is not None:
            visible = fitting(read_valid(self.visible), self.visible, frame)
        return Sample(frame=frame, sequence=self.sequence, disparity=disparity, visible=visible)
