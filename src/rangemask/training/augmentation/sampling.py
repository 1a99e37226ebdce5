"""Examples cut, scaled and padded: images are interpolated, labels never are.

Pixel centres lie at integers, so that scaling by s moves x to ``(x + 0.5) s - 0.5``
(docs/conventions.md); both images of a pair are sampled alike, which keeps them rectified.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional
from torchvision.transforms.v2 import functional as F

from rangemask.errors import InputError
from rangemask.training.batch import Example

UNKNOWN: dict[str, float] = {
    "disparity": float("nan"),
    "depth": float("nan"),
    "weight": 0.0,
    "semantic": 0,
    "masks": 0,
}
"""Labels that lie on the image's grid, and what stands for "nothing is known here"."""

Size = tuple[int, int]
"""Height and width, px."""


def pictures(example: Example) -> Tensor:
    """(1 or 2, 3, H, W): a copy of the left image and of the right one, if there is one."""
    if example.right_image is None:
        return example.image[None].clone()
    return torch.stack([example.image, example.right_image])


def with_pictures(example: Example, images: Tensor) -> Example:
    """The example with other images, (1 or 2, 3, H, W)."""
    return replace(example, image=images[0], right_image=images[1] if len(images) > 1 else None)


def map_labels(example: Example, change: Callable[[Tensor, float], Tensor]) -> Example:
    """The example with each of its label maps changed.

    Args:
        example: any.
        change: gets (..., H, W) and the value that stands for unknown.
    """
    found = {name: getattr(example, name) for name in UNKNOWN}
    changed: dict[str, Any] = {
        name: change(value, UNKNOWN[name]) for name, value in found.items() if value is not None
    }
    return replace(example, **changed)


def take_labels(example: Example, rows: Tensor, columns: Tensor) -> Example:
    """Labels of the pixels at these rows and columns, unknown outside; images stay.

    Args:
        example: H x W px.
        rows: (H',) int64.
        columns: (W',) int64.
    """
    height, width = example.image.shape[-2:]
    off_rows, off_columns = ((i < 0) | (i >= n) for i, n in ((rows, height), (columns, width)))
    row, column = rows.clamp(0, height - 1), columns.clamp(0, width - 1)
    cut = bool(off_rows.any() or off_columns.any())

    def change(values: Tensor, unknown: float) -> Tensor:
        taken = values.index_select(-2, row).index_select(-1, column)
        if cut:
            taken[..., off_rows, :] = unknown
            taken[..., off_columns] = unknown
        return taken

    return without_empty_masks(map_labels(example, change))


def without_empty_masks(example: Example) -> Example:
    """Leaves out objects of which no pixel is left."""
    if example.masks is None:
        return example
    seen = example.masks.flatten(1).any(dim=1)
    if bool(seen.all()):
        return example
    classes = example.mask_classes
    return replace(
        example,
        masks=example.masks[seen],
        mask_classes=classes[seen] if classes is not None else None,
    )


def scaled_disparity(example: Example, factor: float) -> Example:
    """Disparity in px of an image that is so much wider."""
    if example.disparity is None:
        return example
    return replace(example, disparity=example.disparity * factor)


def resized_window(example: Example, top: int, left: int, window: Size, size: Size) -> Example:
    """The same window of both images brought to a size, and the labels with it.

    Args:
        example: any size.
        top: first row of the window, px; may be negative.
        left: first column.
        window: px; what lies outside of the image repeats its border, without labels.
        size: of the result, px.
    """
    height, width = example.image.shape[-2:]
    rows = _sources(size[0], window[0]) + top
    columns = _sources(size[1], window[1]) + left
    labelled = scaled_disparity(take_labels(example, rows, columns), size[1] / window[1])
    images = pictures(example)
    inside = top >= 0 and left >= 0 and top + window[0] <= height and left + window[1] <= width
    if inside:
        images = F.crop(images, top, left, *window)
    else:
        images = images.index_select(-2, (torch.arange(window[0]) + top).clamp(0, height - 1))
        images = images.index_select(-1, (torch.arange(window[1]) + left).clamp(0, width - 1))
    return with_pictures(labelled, _resized(images, size))


def fit_scale(example: Example, size: Size | None) -> float:
    """The factor by which ``fit`` scales."""
    if size is None:
        return 1.0
    height, width = example.image.shape[-2:]
    return min(size[0] / height, size[1] / width)


def fit(example: Example, size: Size | None, *, multiple: int = 1) -> Example:
    """The whole picture as large as fits into a size, with its proportions.

    What is left over, below and to the right, repeats the border and has no labels: as the
    networks themselves pad what they are given.

    Args:
        example: any size.
        size: of the result, px; None: the example's own, made up to the multiple.
        multiple: of the result's sides where ``size`` is None, px.
    """
    height, width = example.image.shape[-2:]
    if size is None:
        size = (height + -height % multiple, width + -width % multiple)
        scale = 1.0
    else:
        scale = fit_scale(example, size)
    if size == (height, width):
        return example
    inner = (
        min(max(round(height * scale), 1), size[0]),
        min(max(round(width * scale), 1), size[1]),
    )
    rows = _sources(inner[0], height, count=size[0])
    columns = _sources(inner[1], width, count=size[1])
    labelled = scaled_disparity(take_labels(example, rows, columns), inner[1] / width)
    images = _resized(pictures(example), inner)
    margin = (0, size[1] - inner[1], 0, size[0] - inner[0])
    return with_pictures(labelled, functional.pad(images, margin, mode="replicate"))


def check_size(size: Size | None, multiple: int) -> None:
    """Fail in words unless a network that works in steps of ``multiple`` px takes the size.

    Raises:
        InputError: it does not.
    """
    if multiple < 1:
        raise InputError(f"multiple must be at least 1 px, got {multiple}.")
    if size is None:
        return
    if len(size) != 2 or min(size) < multiple or any(side % multiple for side in size):
        near = " x ".join(str(max(round(side / multiple), 1) * multiple) for side in size)
        raise InputError(
            f"the size (height, width) must be multiples of {multiple} px, got {tuple(size)}; "
            f"{near} would fit."
        )


def _sources(count_inside: int, source: int, *, count: int | None = None) -> Tensor:
    """(count,) int64: the pixel under each centre when ``source`` px become ``count_inside``.

    It goes on beyond them where ``count`` is larger.
    """
    centres = torch.arange(count_inside if count is None else count, dtype=torch.float64) + 0.5
    return (centres * (source / count_inside)).floor().long()


def _resized(images: Tensor, size: Size) -> Tensor:
    if images.shape[-2:] == size:
        return images
    resized: Tensor = F.resize(images, list(size), antialias=True)
    return resized
