"""SA-1B (Kirillov et al., ICCV 2023) and SA-V's training set (Ravi et al., 2024): masks as JSON."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np

from rangemask.data.readers.image_masks import SHAPE_ERRORS, mask_set, rle_of
from rangemask.data.readers.listed import (
    ListedDataset,
    by_stem,
    check_folder,
    files_below,
    frame_name,
    listed,
    partner_of,
    read_json,
)
from rangemask.data.sample import Sample
from rangemask.errors import InputError
from rangemask.structures import StereoFrame

SavLabels: TypeAlias = Literal["manual", "auto"]

LABEL_STEP = 4
"""SA-V labels every 4th frame: 6 of 24 per second."""

_SAV_KINDS: tuple[SavLabels, ...] = ("manual", "auto")
_FRAME_FOLDERS = (".", "JPEGImages_24fps", "JPEGImages", "frames")


@dataclass(frozen=True, slots=True, kw_only=True)
class Sa1bEntry:
    """One image of SA-1B and its JSON file."""

    name: str
    source: Path
    labels: Path

    @property
    def sequence(self) -> str:
        """Each image is its own."""
        return self.name

    def read(self) -> Sample:
        """Read image and masks; the score is ``predicted_iou``, no larger than 1.

        Raises:
            InputError: a file is missing, damaged or about another image.
        """
        frame = StereoFrame.read(self.source, name=self.name)
        data = read_json(self.labels)
        try:
            about = str(data["image"]["file_name"])
            rows = [(row["segmentation"], row["predicted_iou"]) for row in data["annotations"]]
        except SHAPE_ERRORS as error:
            raise InputError(
                f"{self.labels}: not labels of SA-1B ({type(error).__name__}: {error}). Expected "
                '{"image": {...}, "annotations": [{"segmentation": ..., "predicted_iou": ...}]}.'
            ) from error
        if Path(about).stem != self.source.stem:
            raise InputError(f"{self.labels}: is about {about}, not {self.source.name}.")
        rles = [rle_of(value, frame, self.labels) for value, _ in rows]
        scores = [_score(value, self.labels) for _, value in rows]
        masks = mask_set(frame, rles, scores=scores)
        return Sample(frame=frame, sequence=self.sequence, masks=masks)


@dataclass(frozen=True, slots=True, kw_only=True)
class SavEntry:
    """One labelled frame of a video of SA-V, as an image, and the video's JSON file."""

    name: str
    sequence: str
    source: Path
    labels: Path
    label_number: int

    def read(self) -> Sample:
        """Read image and masks; objects that are not to be seen are left out.

        Raises:
            InputError: a file is missing or damaged, or has no labels of that frame.
        """
        frame = StereoFrame.read(self.source, name=self.name)
        data = read_json(self.labels)
        try:
            row = list(data["masklet"][self.label_number])
            count = len(data["masklet"])
        except SHAPE_ERRORS as error:
            count = len(found) if isinstance(found := _masklet(data), list) else 0
            raise InputError(
                f'{self.labels}: expected "masklet" to list masks of frame {self.label_number} '
                f"(image {self.source.name}), found {count} labelled frames "
                f"({type(error).__name__}). Labels are of every {LABEL_STEP}th frame of the video."
            ) from error
        scores = _stability(data, self.label_number, (count, len(row)), self.labels)
        rles = [None if value is None else rle_of(value, frame, self.labels) for value in row]
        seen = [(rle, score) for rle, score in zip(rles, scores, strict=True) if rle and rle.area]
        masks = mask_set(frame, [rle for rle, _ in seen], scores=[score for _, score in seen])
        return Sample(frame=frame, sequence=self.sequence, masks=masks)


def looks_like_sa1b(path: Path) -> bool:
    """Whether there are files ``sa_N.json``."""
    return path.is_dir() and any(
        next(path.glob(pattern), None) for pattern in ("sa_[0-9]*.json", "*/sa_[0-9]*.json")
    )


def open_sa1b(path: str | Path) -> ListedDataset:
    """Open SA-1B: ``sa_N.jpg`` beside ``sa_N.json``, also in folders ``sa_000000``.

    Raises:
        InputError: nothing of the kind is there, or an image or a JSON file is alone.
    """
    root = check_folder(path)
    images = by_stem(files_below(root, (".jpg", ".jpeg", ".png")), root)
    labels = by_stem(files_below(root, (".json",)), root)
    for stem, file in labels.items():
        partner_of(file, stem, images, root)
    entries = [
        Sa1bEntry(name=frame_name(stem), source=image, labels=partner_of(image, stem, labels, root))
        for stem, image in images.items()
    ]
    return listed(entries, root, "sa_N.jpg beside sa_N.json")


def looks_like_sav(path: Path) -> bool:
    """Whether there are files ``ID_manual.json`` or ``ID_auto.json``."""
    return path.is_dir() and any(next(path.glob(f"*_{kind}.json"), None) for kind in _SAV_KINDS)


def open_sav(path: str | Path, *, labels: SavLabels | None = None) -> ListedDataset:
    """Open SA-V's training set; its videos must lie there as images.

    Frames are ``ID/NNNNN.jpg`` beside the JSON files or in ``JPEGImages_24fps``; the number is
    the frame's in the video, from 0. Only labelled frames, every 4th, are listed.

    Args:
        path: the folder with ``ID_manual.json`` and ``ID_auto.json``.
        labels: which of the two; the manual ones of a video where it has them.

    Raises:
        InputError: nothing of the kind is there, a video's frames are missing, or they are not
            numbered from 0.
    """
    root = check_folder(path)
    files: dict[str, Path] = {}
    for kind in (labels,) if labels is not None else _SAV_KINDS:
        for file in sorted(root.glob(f"*_{kind}.json")):
            files.setdefault(file.stem.removesuffix(f"_{kind}"), file)
    entries = [
        SavEntry(
            name=frame_name(video, image.stem),
            sequence=frame_name(video),
            source=image,
            labels=file,
            label_number=number // LABEL_STEP,
        )
        for video, file in files.items()
        for number, image in numbered(_frames_of(root, video, file)).items()
        if number % LABEL_STEP == 0
    ]
    return listed(entries, root, f"ID_{labels or 'manual'}.json and folders ID with its frames")


def numbered(folder: Path) -> dict[int, Path]:
    """Images of a folder by the frame number that is their name.

    Raises:
        InputError: a name is no number, there is no frame 0, or a labelled frame is missing.
    """
    images: dict[int, Path] = {}
    for image in files_below(folder, deep=False):
        if not (image.stem.isascii() and image.stem.isdigit()):
            raise InputError(f"{image}: expected the frame's number in the video as its name.")
        clash = images.setdefault(int(image.stem), image)
        if clash is not image:
            raise InputError(f"{clash} and {image} are one frame; remove one of them.")
    if 0 not in images:
        raise InputError(
            f"{folder}: expected frames numbered from 0, found no frame 0. "
            "(ffmpeg counts from 1 without -start_number 0.)"
        )
    gap = next((n for n in range(0, max(images), LABEL_STEP) if n not in images), None)
    if gap is not None:
        raise InputError(
            f"{folder}: frame {gap} is missing. Labels are of every {LABEL_STEP}th frame, numbered "
            "as in the video at 24 frames per second."
        )
    return images


def _score(value: Any, path: Path) -> float:
    if not isinstance(value, int | float) or not math.isfinite(value):
        raise InputError(f"{path}: a score is not a finite number ({value!r}).")
    # Predicted by a network that may overshoot.
    return min(max(float(value), 0.0), 1.0)


def _masklet(data: Any) -> Any:
    return data.get("masklet") if isinstance(data, dict) else None


def _stability(data: Any, number: int, size: tuple[int, int], path: Path) -> list[float]:
    """Scores of one frame's masks: automatic labels have them by frame or by object."""
    table = data.get("masklet_stability_score")
    if table is None:
        return [1.0] * size[1]
    try:
        scores = np.asarray(table, dtype=np.float64)
    except SHAPE_ERRORS as error:
        raise InputError(f"{path}: masklet_stability_score is no table of numbers.") from error
    if scores.shape == size:
        return [_score(float(value), path) for value in scores[number]]
    if scores.shape == size[::-1]:
        return [_score(float(value), path) for value in scores[:, number]]
    raise InputError(
        f"{path}: expected masklet_stability_score of {size[0]} frames x {size[1]} objects, found "
        f"{scores.shape}."
    )


def _frames_of(root: Path, video: str, labels: Path) -> Path:
    found = next((root / f / video for f in _FRAME_FOLDERS if (root / f / video).is_dir()), None)
    if found is None:
        movie = root / f"{video}.mp4"
        hint = (
            f" Video files are not read; extract {movie.name}, such as by: ffmpeg -i {movie.name} "
            f"-start_number 0 {video}/%05d.jpg"
            if movie.is_file()
            else ""
        )
        raise InputError(
            f"{labels}: expected the video's frames as images in {root / video}, "
            f"but there is no such folder.{hint}"
        )
    return found
