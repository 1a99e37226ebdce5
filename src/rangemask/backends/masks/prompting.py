"""Encode an image once, then ask for masks as often as wanted, in pixels of that image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Protocol, TypeAlias

import numpy as np
from numpy.typing import NDArray

from rangemask.errors import InputError
from rangemask.geometry.arrays import BoolMap

PADDING = -10
"""Label of points that only fill up a prompt."""

Points: TypeAlias = Sequence[Sequence[tuple[float, float]]] | NDArray[Any]
Labels: TypeAlias = Sequence[Sequence[int]] | NDArray[Any]


@dataclass(frozen=True, slots=True, eq=False)
class PromptAnswer:
    """Masks for P prompts, M of them each."""

    masks: NDArray[np.bool_]
    """(P, M, H, W) at the size of the image."""
    iou: NDArray[np.float32]
    """(P, M) in [0, 1], how well the model thinks each mask fits."""
    low_res_logits: NDArray[np.float32]
    """(P, M, h, w), inside where positive; can be given back as ``mask_input``."""


class EncodedImage(Protocol):
    """An image that a promptable segmenter has encoded."""

    def predict(
        self,
        points: Points | None = None,
        point_labels: Labels | None = None,
        boxes: Sequence[Sequence[float]] | NDArray[Any] | None = None,
        mask_input: NDArray[Any] | None = None,
        multimask: bool = True,
    ) -> PromptAnswer:
        """Masks for prompts.

        Args:
            points: per prompt its points, x and y in px of the image; P lists.
            point_labels: 1 for inside, 0 for outside, like ``points``; None for all inside.
            boxes: (P, 4), left, top, right, bottom in px.
            mask_input: (P, h, w) or (P, 1, h, w) logits of an earlier answer.
            multimask: several masks per prompt, for ambiguous ones, or one.

        Raises:
            InputError: nothing is asked, a shape is wrong, or a prompt lies outside the image.
        """
        ...

    def masks_at(self, points: Sequence[tuple[float, float]]) -> BoolMap:
        """The best mask at each point, (N, H, W) bool.

        Raises:
            InputError: there are no points, or one lies outside the image.
        """
        ...


def numbers(values: Any, wanted: str) -> NDArray[np.float32]:
    """What a person gave as an array of numbers.

    Raises:
        InputError: it is none; ``wanted`` says what it should have been.
    """
    try:
        return np.asarray(values, dtype=np.float32)
    except (TypeError, ValueError) as error:
        raise InputError(f"{wanted}; got {values!r:.100}.") from error


def stack_points(
    points: Points, labels: Labels | None
) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
    """Prompts of different numbers of points as (P, K, 2) and (P, K), filled up with padding.

    Raises:
        InputError: points are no pairs, or labels do not match them.
    """
    wanted = "points must be a list of prompts, each a list of (x, y), such as [[(120, 80)]]"
    rows = [numbers(row, wanted) for row in points]
    for row in rows:
        if row.ndim != 2 or row.shape[1] != 2:
            raise InputError(f"{wanted}; got {points!r}.")
    marks = [np.ones(len(row)) for row in rows]
    if labels is not None:
        marks = [
            np.atleast_1d(numbers(row, "point_labels must be like [[1, 0]]")) for row in labels
        ]
        if any((mark != mark.round()).any() for mark in marks):
            raise InputError(f"point_labels must be whole numbers, got {labels!r}.")
    if [len(row) for row in rows] != [len(row) for row in marks]:
        raise InputError(
            f"point_labels must have one label per point: {[len(row) for row in rows]} points, "
            f"{[len(row) for row in marks]} labels."
        )
    most = max((len(row) for row in rows), default=0)
    stacked = np.zeros((len(rows), most, 2), dtype=np.float32)
    filled = np.full((len(rows), most), PADDING, dtype=np.int64)
    for index, (row, mark) in enumerate(zip(rows, marks, strict=True)):
        stacked[index, : len(row)] = row
        filled[index, : len(row)] = mark
    return stacked, filled
