"""KITTI's raw recordings (Geiger et al., IJRR 2013): days, drives, cameras, laser.

``DATE/DATE_drive_NNNN_sync/image_02/data/NNNNNNNNNN.png``, ``image_03`` for the right eye, the
day's calibration files beside the drives. Depth is the laser's, or the denser one of KITTI's depth
benchmark (Uhrig et al., 3DV 2017).
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, TypeAlias, get_args

from rangemask.data.map_files import read_depth
from rangemask.data.readers.kitti_splits import EIGEN_TRAIN_DRIVES, eigen_test
from rangemask.data.readers.listed import (
    ListedDataset,
    check_folder,
    fitting,
    frame_name,
    listed,
)
from rangemask.data.readers.stereo_entry import read_frame
from rangemask.data.readers.velodyne import CAM_FILE, velodyne_depth
from rangemask.data.sample import Sample
from rangemask.errors import InputError
from rangemask.structures import DepthMap

RawDepth: TypeAlias = Literal["auto", "improved", "velodyne", "velodyne-forward", "none"]
"""Of the depth benchmark, of the laser as the camera sees it, the same measured from the laser as
the Eigen protocol's numbers have it; auto takes the first of the first two that a frame has."""
SPLITS = ("eigen-train", "eigen-test")

_DATE = re.compile(r"\d{4}_\d\d_\d\d")
_DRIVE = re.compile(r"(\d{4}_\d\d_\d\d)_drive_(\d{4})(_sync)?")
_IMPROVED = ("", "train", "val", "data_depth_annotated/train", "data_depth_annotated/val")
_IMAGE_SUFFIXES = (".png", ".jpg")
_EXPECTED = "DATE/DATE_drive_NNNN_sync/image_02/data/NNNNNNNNNN.png (or .jpg)"


@dataclass(frozen=True, slots=True, kw_only=True)
class RawEntry:
    """Where one frame of a drive is."""

    drive: Path
    left: Path
    right: Path | None
    improved: Path | None
    points: Path | None
    forward: bool = False

    @property
    def name(self) -> str:
        """The drive and the number."""
        return frame_name(self.drive.name, self.left.stem)

    @property
    def sequence(self) -> str:
        """The drive."""
        return self.drive.name

    @property
    def source(self) -> Path:
        """The left image."""
        return self.left

    def read(self) -> Sample:
        """Read the files.

        Raises:
            InputError: one is missing, damaged, or does not fit the left image.
        """
        day = self.drive.parent
        rig = day / CAM_FILE
        frame = read_frame(self.name, self.left, self.right, rig if rig.is_file() else None)
        depth = None
        if self.improved is not None:
            depth = fitting(read_depth(self.improved), self.improved, frame)
        elif self.points is not None:
            shape = (frame.height, frame.width)
            depth = velodyne_depth(self.points, day, shape, forward=self.forward)
        found = None if depth is None else DepthMap(values=depth)
        return Sample(frame=frame, sequence=self.sequence, depth=found)


def looks_like_kitti_raw(path: Path) -> bool:
    """Whether a folder holds days with drives, or is such a day."""
    return path.is_dir() and next(_drives(path), None) is not None


def open_kitti_raw(
    path: str | Path, *, split: str | Path | None = None, depth: RawDepth = "auto"
) -> ListedDataset:
    """Open KITTI raw.

    Args:
        path: the folder that holds days, or one day; or a list file, as for ``split``, in the
            folder that holds the days.
        split: ``eigen-train`` (all frames of its 33 drives) or ``eigen-test`` (its 697 frames), of
            those that are there; or a file of lines ``DATE/DRIVE NUMBER [l]`` as published lists
            have them, all of whose frames must be there. All frames without it.
        depth: which depth, where there is one.

    Raises:
        InputError: nothing of the kind is there, a line is of another form, or a frame of a list
            is missing.
    """
    if depth not in get_args(RawDepth):
        raise InputError(f"depth must be one of {', '.join(get_args(RawDepth))}, got {depth!r}.")
    root = Path(path)
    if root.is_file():
        if split is not None:
            raise InputError(f"{root}: is a list of frames itself; do not give {split} as well.")
        root, split = root.parent, root
    root = check_folder(root)
    drives = {_plain(drive.name): drive for drive in _drives(root)}
    if split == "eigen-test":
        wanted = eigen_test()
        chosen = [
            (drive, number)
            for name, drive in drives.items()
            for number in wanted.get(name, ())
            if _image(drive, 2, number) is not None
        ]
    elif isinstance(split, str | Path) and str(split) not in SPLITS:
        chosen = list(_read_list(Path(split), drives, root))
    else:
        known = EIGEN_TRAIN_DRIVES if split == "eigen-train" else tuple(drives)
        chosen = [
            (drive, number)
            for name, drive in drives.items()
            if name in known
            for number in _numbers(drive)
        ]
    expected = _EXPECTED if split is None else f"{_EXPECTED} of the frames of {split}"
    return listed(_entries(chosen, root, depth), root, expected)


def open_kitti_eigen_train(path: str | Path) -> ListedDataset:
    """``open_kitti_raw(path, split="eigen-train")``."""
    return open_kitti_raw(path, split="eigen-train")


def open_kitti_eigen_test(path: str | Path) -> ListedDataset:
    """``open_kitti_raw(path, split="eigen-test")``."""
    return open_kitti_raw(path, split="eigen-test")


def _drives(root: Path) -> Iterator[Path]:
    days = [root] if _DATE.fullmatch(root.resolve().name) else []
    days += [day for day in sorted(root.iterdir()) if _DATE.fullmatch(day.name) and day.is_dir()]
    for day in days:
        for drive in sorted(day.iterdir()):
            if _DRIVE.fullmatch(drive.name) and (drive / "image_02").is_dir():
                yield drive


def _plain(drive: str) -> str:
    return drive.removesuffix("_sync")


def _numbers(drive: Path) -> list[int]:
    data = drive / "image_02" / "data"
    if not data.is_dir():
        return []
    return sorted(
        int(file.stem)
        for file in data.iterdir()
        if file.suffix.lower() in _IMAGE_SUFFIXES and file.stem.isdigit()
    )


def _image(drive: Path, camera: int, number: int) -> Path | None:
    files = (drive / f"image_{camera:02d}/data/{number:010d}{end}" for end in _IMAGE_SUFFIXES)
    return next((file for file in files if file.is_file()), None)


def _read_list(file: Path, drives: dict[str, Path], root: Path) -> Iterator[tuple[Path, int]]:
    try:
        lines = file.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError) as error:
        raise InputError(
            f"{file}: cannot be read as a list of frames ({error}). Known splits: "
            f"{', '.join(SPLITS)}."
        ) from error
    for count, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        fields = line.split()
        name = fields[0].split("/")[-1]
        if not 2 <= len(fields) <= 3 or not _DRIVE.fullmatch(name) or not fields[1].isdigit():
            raise InputError(
                f"{file}, line {count}: expected DATE/DATE_drive_NNNN_sync NUMBER [l], found "
                f"{line.strip()[:80]!r}."
            )
        if fields[2:] not in ([], ["l"], ["2"]):
            raise InputError(
                f"{file}, line {count}: frames of the right camera are not read, found "
                f"{fields[2]!r}; expected l."
            )
        drive, number = drives.get(_plain(name)), int(fields[1])
        if drive is None or _image(drive, 2, number) is None:
            raise InputError(
                f"{file}, line {count}: {root} has no left image {number} of {name}; expected "
                f"{_EXPECTED}."
            )
        yield drive, number


def _entries(chosen: Iterable[tuple[Path, int]], root: Path, depth: RawDepth) -> Iterator[RawEntry]:
    bases: dict[Path, list[Path]] = {}
    for drive, number in chosen:
        if drive not in bases:
            bases[drive] = _improved_folders(drive, root)
        left = _image(drive, 2, number)
        assert left is not None  # noqa: S101 - it was listed
        maps = [base / f"{number:010d}.png" for base in bases[drive]]
        improved = next((file for file in maps if file.is_file()), None)
        points = drive / f"velodyne_points/data/{number:010d}.bin"
        improved = improved if depth in ("auto", "improved") else None
        laser = depth.startswith("velodyne") or (depth == "auto" and improved is None)
        yield RawEntry(
            drive=drive,
            left=left,
            right=_image(drive, 3, number),
            improved=improved,
            points=points if laser and points.is_file() else None,
            forward=depth == "velodyne-forward",
        )


def _improved_folders(drive: Path, root: Path) -> list[Path]:
    inside = "proj_depth/groundtruth/image_02"
    places = [drive / inside, *(root / part / drive.name / inside for part in _IMPROVED)]
    return [place for place in places if place.is_dir()]
