"""Pairs to learn from: opened, split, and doubted before anything is learnt from them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import fields, is_dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from rangemask.camera.pair_check import PairCheck, check_pair
from rangemask.data.readers import open_dataset
from rangemask.data.readers.listed import ListedDataset, frame_name
from rangemask.data.sample import Dataset, Sample
from rangemask.data.store import StoredLabels
from rangemask.errors import InputError
from rangemask.structures import StereoFrame
from rangemask.training.data import Frames, open_frames
from rangemask.training.two_in_one.config import PairDataConfig

logger = logging.getLogger(__name__)

_ASPECT_TOLERANCE = 1.25
_SHOWN = 3
_LABEL_FILES = frozenset(
    {"disparity", "depth", "masks", "semantic", "visible", "improved", "points"}
)
"""What entries of readers call the files that may be missing."""


class Recordings:
    """Several data sets as one, each a recording, or several, of its own.

    Args:
        parts: by name.

    Raises:
        InputError: there are none.
    """

    def __init__(self, parts: dict[str, Dataset]) -> None:
        if not parts:
            raise InputError("there are no recordings.")
        self.parts = parts
        self._places = [(name, i) for name, part in parts.items() for i in range(len(part))]

    @property
    def names(self) -> tuple[str, ...]:
        """Of the samples, the recording's name before each."""
        return tuple(
            frame_name(name, one) for name, part in self.parts.items() for one in part.names
        )

    @property
    def sequences(self) -> tuple[str, ...]:
        """The recording of each sample."""
        return tuple(name for name, _ in self._places)

    @property
    def classes(self) -> tuple[str, ...]:
        """None: nothing is learnt of them here."""
        return ()

    def __len__(self) -> int:
        return len(self._places)

    def __getitem__(self, index: int) -> Sample:
        name, number = self._places[index]
        sample = self.parts[name][number]
        frame = replace(sample.frame, name=frame_name(name, sample.name))
        return replace(sample, frame=frame, sequence=name)

    def __iter__(self) -> Iterator[Sample]:
        return (self[index] for index in range(len(self)))


def open_pairs(config: PairDataConfig, seed: int) -> Frames:
    """Open and split pairs.

    A folder of recordings, each with ``left/`` and ``right/``, is taken as one data set.

    Raises:
        InputError: there is no data, a partner is missing, or it cannot be split.
    """
    validating = config.kind if config.validation_kind is None else config.validation_kind
    return open_frames(
        config.frames(),
        seed,
        opener=partial(_open, kind=config.kind),
        held_out=partial(_open, kind=validating),
    )


def _open(root: str, kind: str | None) -> Dataset:
    found = recordings_below(Path(root)) if kind is None else []
    if not found:
        return open_dataset(root, kind)
    return Recordings({frame_name(path.name): open_dataset(path) for path in found})


def recordings_below(root: Path) -> list[Path]:
    """Folders in a folder that hold ``left/`` and ``right/``; none where the folder itself does."""
    if not root.is_dir() or _has_pair(root):
        return []
    return [path for path in sorted(root.iterdir()) if path.is_dir() and _has_pair(path)]


def _has_pair(folder: Path) -> bool:
    return (folder / "left").is_dir() and (folder / "right").is_dir()


def without_labels(data: Dataset) -> Dataset:
    """The same samples, of which the images alone are read, as far as their reader allows it."""
    if isinstance(data, StoredLabels):
        return data.only((), pairs=True)
    if isinstance(data, Recordings):
        return Recordings({name: without_labels(part) for name, part in data.parts.items()})
    if isinstance(data, ListedDataset):
        return replace(data, entries=tuple(_bare(entry) for entry in data.entries))
    return data


def _bare(entry: Any) -> Any:
    if not is_dataclass(entry) or isinstance(entry, type):
        return entry
    labels = _LABEL_FILES & {field.name for field in fields(entry)}
    return replace(entry, **dict.fromkeys(labels))


def pair_of(sample: Sample) -> StereoFrame:
    """The frame of a sample, when it is a pair.

    Raises:
        InputError: its right image is missing.
    """
    if sample.frame.right is None:
        raise InputError(
            f"{sample.name}: has no right image. Learning without labels needs rectified pairs: "
            "left/ and right/ with files of the same names."
        )
    return sample.frame


def focal_baseline_of(frame: StereoFrame, width: int | None = None) -> float | None:
    """Focal length times baseline, px m, at a width of the image; None without a baseline."""
    rig = frame.rig
    if rig is None or rig.baseline_m is None:
        return None
    scale = 1.0 if width is None else width / frame.width
    return rig.fx * rig.baseline_m * scale


def d2d_of_data(frames: Frames, width: int) -> float | None:
    """Focal length times baseline of the first pair, px m at a width; None without a baseline."""
    data = without_labels(frames.train)
    return focal_baseline_of(pair_of(data[frames.train_indices[0]]), width)


def focal_of_data(frames: Frames, width: int) -> float | None:
    """Focal length of the first pair, px at a width; None without a rig."""
    data = without_labels(frames.train)
    frame = pair_of(data[frames.train_indices[0]])
    return None if frame.rig is None else frame.rig.fx * width / frame.width


def doubts(frames: Frames, count: int, full_size: Sequence[int]) -> list[str]:
    """What is wrong with some pairs, spread over all, in words; a log's warnings.

    Args:
        frames: opened.
        count: of the pairs to look at.
        full_size: height and width, px, that pairs are brought to.

    Raises:
        InputError: a pair has no right image or cannot be read.
    """
    if count == 0:
        return []
    chosen = np.unique(np.linspace(0, len(frames.train_indices) - 1, count).round().astype(int))
    data = without_labels(frames.train)
    pairs = [pair_of(data[frames.train_indices[place]]) for place in chosen]
    return [
        *_geometry({pair.name: check_pair(pair) for pair in pairs}),
        *_scale(pairs),
        *_stretched(pairs[0], full_size),
    ]


def _geometry(checks: dict[str, PairCheck]) -> Iterator[str]:
    kinds: dict[str, Callable[[PairCheck], bool]] = {
        "left and right are the same picture": lambda one: one.identical,
        "left and right are swapped: exchange the two folders": lambda one: bool(one.swapped),
        "rows of left and right disagree: rectify the images first (rangemask predict does, given "
        "the rig of the raw cameras)": lambda one: one.rows_agree is False,
    }
    for words, is_so in kinds.items():
        named = [name for name, check in checks.items() if is_so(check)]
        if named:
            shown = ", ".join(named[:_SHOWN]) + (", ..." if len(named) > _SHOWN else "")
            worst = max(checks[name].row_offset_px for name in named)
            by = f", by {worst:.1f} px at most" if worst > 1 and "rows" in words else ""
            yield (
                f"{words} ({len(named)} of {len(checks)} pairs looked at: {shown}{by}). What is "
                "learnt from such pairs is wrong."
            )


def _scale(pairs: Sequence[StereoFrame]) -> Iterator[str]:
    without = [pair.name for pair in pairs if focal_baseline_of(pair) is None]
    if without:
        yield (
            f"no baseline is known ({len(without)} of {len(pairs)} pairs looked at, such as "
            f"{without[0]}): disparity is learnt all the same, but depth has no metric scale. Put "
            "a rig file (rig.yaml, calib.json) with focal length and baseline beside the images."
        )


def _stretched(pair: StereoFrame, full_size: Sequence[int]) -> Iterator[str]:
    height, width = full_size
    stretch = (width / height) / (pair.width / pair.height)
    if max(stretch, 1 / stretch) > _ASPECT_TOLERANCE:
        fitting = max(round(width * pair.height / pair.width / 32), 1) * 32
        yield (
            f"images of {pair.width} x {pair.height} px are brought to {width} x {height}, which "
            f"changes their proportions; augmentation.full_size=[{fitting},{width}] keeps them."
        )


def tell_doubts(frames: Frames, count: int, full_size: Sequence[int]) -> list[str]:
    """Write the doubts to the log, and give them."""
    found = doubts(frames, count, full_size)
    for one in found:
        logger.warning(one)
    return found
