"""Images as networks take them: checked, of a fitting size, normalised."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, TypeAlias

import torch
from torch import Tensor
from torch.nn import functional as F

from rangemask.errors import InputError

MEAN = (0.485, 0.456, 0.406)
"""Of ImageNet, RGB in [0, 1]."""
DEVIATION = (0.229, 0.224, 0.225)

Fit: TypeAlias = Literal["pad", "resize", "strict"]
FITS: tuple[Fit, ...] = ("pad", "resize", "strict")

_SLACK = 0.5
"""Resampling overshoots [0, 1] a little; 8-bit values left undivided overshoot it by far."""


def check_images(images: Tensor | Sequence[Tensor]) -> Tensor:
    """A batch (B, 3, H, W) of float RGB images in [0, 1], or an error in words.

    Args:
        images: (B, 3, H, W), or a sequence of (3, H, W) of one size. The check reads the
            values, and is left out while a graph is traced: compiled code gives NaN for NaN.

    Raises:
        InputError: another shape or type, no image, several sizes, NaN or infinite values,
            or values far outside [0, 1].
    """
    if not isinstance(images, Tensor):
        images = _stacked(images)
    if images.ndim != 4 or images.shape[1] != 3:
        raise InputError(f"images must have shape (B, 3, H, W), got {tuple(images.shape)}.")
    if not images.is_floating_point():
        raise InputError(
            f"images must be float, RGB in [0, 1], got {images.dtype}; divide 8-bit by 255."
        )
    if 0 in images.shape:
        raise InputError(f"there is nothing in images of shape {tuple(images.shape)}.")
    if not (torch.compiler.is_compiling() or images.is_meta):
        _check_values(images)
    return images


def _check_values(images: Tensor) -> None:
    low, high = (float(value) for value in images.aminmax())
    if not (low > -float("inf") and high < float("inf")):  # aminmax hands NaN on
        where = [i for i, image in enumerate(images) if not torch.isfinite(image).all()]
        raise InputError(f"image {where[0]} of the batch holds NaN or infinite values.")
    if low < -_SLACK or high > 1 + _SLACK:
        raise InputError(
            f"images must be RGB in [0, 1], got {low:g} to {high:g}; divide 8-bit by 255 and "
            "do not normalise, which is done here."
        )


def _stacked(images: Sequence[Tensor]) -> Tensor:
    if not images:
        raise InputError("there are no images in the batch.")
    sizes = sorted({tuple(image.shape) for image in images})
    if len(sizes) > 1:
        shown = ", ".join(map(str, sizes[:3]))
        raise InputError(
            f"the images of a batch must have one size, got {shown}. Resize or crop them, or "
            "give them one at a time."
        )
    return torch.stack(list(images))


def fit_to_multiple(images: Tensor, multiple: int, fit: Fit) -> Tensor:
    """Images whose height and width are multiples of a number.

    Args:
        images: (B, 3, H, W).
        multiple: px.
        fit: ``pad`` repeats the last row and column to the right and at the bottom; ``resize``
            scales to the nearest multiple, bilinear with antialiasing; ``strict`` refuses.

    Raises:
        InputError: an unknown rule, or strict and no multiple.
    """
    if fit not in FITS:
        raise InputError(f"fit must be one of {', '.join(FITS)}, got {fit!r}.")
    height, width = images.shape[-2:]
    if height % multiple == 0 and width % multiple == 0:
        return images
    if fit == "strict":
        raise InputError(
            f"images must be multiples of {multiple} px, got {height} x {width}; "
            'pad or resize them, or pass fit="pad".'
        )
    if fit == "pad":
        return F.pad(images, (0, -width % multiple, 0, -height % multiple), mode="replicate")
    size = [max(round(side / multiple), 1) * multiple for side in (height, width)]
    return F.interpolate(images, size=size, mode="bilinear", antialias=True)


def normalise(images: Tensor) -> Tensor:
    """Images in [0, 1] with ImageNet's mean taken away, divided by its deviation."""
    mean = images.new_tensor(MEAN).view(1, 3, 1, 1)
    deviation = images.new_tensor(DEVIATION).view(1, 3, 1, 1)
    return (images - mean) / deviation
