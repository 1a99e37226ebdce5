"""Encode an image once, then ask for masks as often as wanted, in pixels of that image."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from rangemask.errors import InputError
from rangemask.geometry.arrays import BoolMap
from rangemask.models.heads.masks.prompts import check_prompts

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


class Prompts(NamedTuple):
    """P prompts on one image, checked; as a batch of one, in px of the image."""

    points: Tensor | None
    """(1, P, K, 2) float32, x and y."""
    labels: Tensor | None
    """(1, P, K), 1 inside, 0 outside, negative for padding."""
    boxes: Tensor | None
    """(1, P, 4) float32, left, top, right, bottom."""
    masks: Tensor | None
    """(1, P, h, w) float32 logits."""

    def scaled(
        self, ratio_yx: tuple[float, float], *, keep_centres: bool
    ) -> tuple[Tensor | None, Tensor | None]:
        """Points and boxes in px of a network's input.

        Args:
            ratio_yx: height and width of the input over those of the image.
            keep_centres: whether centres of pixels, which are at integers, stay where they are in
                the picture; otherwise numbers are plainly multiplied.
        """
        shift = 0.5 if keep_centres else 0.0

        def moved(places: Tensor) -> Tensor:
            return (places + shift) * places.new_tensor(ratio_yx[::-1]) - shift

        points = None if self.points is None else moved(self.points)
        corners = None if self.boxes is None else moved(self.boxes.unflatten(-1, (2, 2)))
        return points, None if corners is None else corners.flatten(-2)


class EncodedImage(Protocol):
    """An image that a promptable segmenter has encoded."""

    def predict(
        self,
        points: Points | None = None,
        point_labels: Labels | None = None,
        boxes: Sequence[Sequence[float]] | NDArray[Any] | None = None,
        mask_input: NDArray[Any] | None = None,
        multimask: bool = False,
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


def read_prompts(
    points: Points | None,
    labels: Labels | None,
    boxes: Sequence[Sequence[float]] | NDArray[Any] | None,
    mask_input: NDArray[Any] | None,
    *,
    image_size: tuple[int, int],
    device: torch.device,
) -> Prompts:
    """What a person asks for, checked, on the device that will answer.

    Args:
        points: as for ``EncodedImage.predict``.
        labels: likewise.
        boxes: likewise.
        mask_input: likewise.
        image_size: height and width of the image, px.
        device: of the network.

    Raises:
        InputError: nothing is asked, a shape is wrong, or a prompt lies outside the image.
    """
    where = marks = corners = previous = None
    if labels is not None and points is None:
        raise InputError("point_labels come with points; no points are given.")
    if points is not None:
        stacked, filled = stack_points(points, labels)
        where = torch.from_numpy(stacked)[None].to(device)
        marks = torch.from_numpy(filled)[None].to(device)
    if boxes is not None:
        corners = torch.from_numpy(numbers(boxes, "boxes must be (P, 4)"))[None].to(device)
    if mask_input is not None:
        masks = numbers(mask_input, "mask_input must be (P, h, w)")
        masks = masks[:, 0] if masks.ndim == 4 and masks.shape[1] == 1 else masks
        previous = torch.from_numpy(masks)[None].to(device)
    check_prompts(
        1,
        image_size=image_size,
        points=where,
        point_labels=marks,
        boxes=corners,
        mask_input=previous,
    )
    return Prompts(where, marks, corners, previous)
