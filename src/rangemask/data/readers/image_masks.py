"""Masks of one image from what the formats have: run lengths, maps of ids."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rangemask.data.map_files import read_labels
from rangemask.data.readers.listed import fitting
from rangemask.errors import InputError
from rangemask.geometry.arrays import AnyArray
from rangemask.structures import MaskSet, Rle, StereoFrame
from rangemask.structures.masks import encode_masks

SHAPE_ERRORS = (ArithmeticError, AttributeError, LookupError, TypeError, ValueError)
"""What JSON or YAML of another shape than expected leads to."""

BORDER = 255
"""In maps of ids (VOC, YouTube-VOS): the pixel's owner is not told."""

_MOST_IDS = 10_000


def mask_set(
    frame: StereoFrame,
    rles: Sequence[Rle],
    labels: Sequence[str] | None = None,
    scores: Sequence[float] | None = None,
) -> MaskSet:
    """The instances of a frame; labels are "object" and scores 1 unless given."""
    return MaskSet(
        frame.height,
        frame.width,
        tuple(rles),
        ("object",) * len(rles) if labels is None else tuple(labels),
        (1.0,) * len(rles) if scores is None else tuple(scores),
    )


def rle_of(value: Any, frame: StereoFrame, path: Path) -> Rle:
    """A mask of the frame's size from COCO's dict with compressed runs.

    Raises:
        InputError: it is none, or of another size.
    """
    try:
        height, width = (int(number) for number in value["size"])
        compressed = isinstance(value["counts"], str)
    except SHAPE_ERRORS as error:
        raise InputError(f"{path}: a mask is no COCO run lengths ({error!r}).") from error
    if (height, width) != (frame.height, frame.width):
        raise InputError(
            f"{path}: a mask has {width} x {height} px, but the image of {frame.name} has "
            f"{frame.width} x {frame.height} px."
        )
    if not compressed:
        raise InputError(f"{path}: expected compressed COCO run lengths (text), found others.")
    try:
        return Rle.from_coco(value)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def read_ids(path: Path, frame: StereoFrame) -> AnyArray:
    """Instance ids of a frame's pixels, 0 for none and for borders.

    A map of 0 and 255 alone is one mask (DAVIS 2016), else 255 is a border.

    Raises:
        InputError: the file is missing, damaged or of another size than the frame.
    """
    ids = fitting(read_labels(path), path, frame)
    if ids.dtype == np.uint8 and ((ids > 0) & (ids < BORDER)).any():
        return np.where(ids == BORDER, 0, ids).astype(ids.dtype)
    return ids


def masks_by_id(ids: AnyArray, path: Path) -> dict[int, Rle]:
    """One mask per id but 0, in the order of ids.

    Raises:
        InputError: there are so many that it is no map of ids.
    """
    numbers = [int(number) for number in np.unique(ids) if number]
    if len(numbers) > _MOST_IDS:
        raise InputError(f"{path}: expected ids of masks, found {len(numbers)} different ones.")
    return {number: encode_masks(np.equal(ids, number)[None])[0] for number in numbers}
