"""A pair seen in a mirror: left and right change places."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor

from rangemask.training.augmentation.sampling import UNKNOWN, map_labels
from rangemask.training.batch import Example

_CRACK_PX = 1.0
"""A column whose two neighbours are this much nearer shows what lies behind them by mistake."""


def mirrored(example: Example) -> Example:
    """Left-right, images and labels alike; of a pair this alone makes no valid pair."""
    flipped = map_labels(example, lambda values, _: values.flip(-1))
    right = example.right_image
    return replace(
        flipped,
        image=example.image.flip(-1),
        right_image=None if right is None else right.flip(-1),
    )


def can_swap(example: Example) -> bool:
    """Whether the labels can be carried over to the right view.

    They can where disparity tells their way. Masks cannot at all: what the left view does not
    see of an object would have to be unknown, and a mask has no such value.
    """
    if example.right_image is None or example.masks is not None:
        return False
    has_labels = any(getattr(example, name) is not None for name in UNKNOWN)
    return example.disparity is not None or not has_labels


def swapped(example: Example) -> Example:
    """The pair in a mirror: the right image mirrored is the new left one, and the other way.

    The new left view's labels are those of the old right one: the old left ones moved along
    their disparity, the nearest surface winning, unknown where the old left view saw nothing.

    Args:
        example: a pair that ``can_swap``.
    """
    right = example.right_image
    assert right is not None  # noqa: S101 - can_swap said so
    labelled = example
    if example.disparity is not None:
        labelled = _on_right_view(example, right_sources(example.disparity))
    return mirrored(replace(labelled, image=right, right_image=example.image))


def right_sources(disparity: Tensor) -> Tensor:
    """Which left pixel each right pixel shows.

    Args:
        disparity: (H, W) px of the left view, NaN where unknown.

    Returns:
        (H, W) int64: index into the left view's H * W pixels, -1 where no known one lands.
    """
    height, width = disparity.shape
    pixels = height * width
    value = torch.nan_to_num(disparity, nan=-1.0)
    column = torch.arange(width)
    landing = torch.floor(column - value + 0.5).long()
    seen = (value >= 0) & (landing >= 0)
    source = torch.arange(pixels).view(height, width)
    target = torch.where(seen, source - column + landing, pixels)
    # Bits of floats that are not negative sort as the floats do: one number tells which surface
    # is nearest and where it came from, and ties are broken the same way on every machine.
    bits = value.clamp(min=0).view(torch.int32).long()
    keys = torch.full((pixels + 1,), -1, dtype=torch.int64)
    keys.scatter_reduce_(0, target.flatten(), ((bits << 32) | source).flatten(), "amax")
    keys = keys[:-1].view(height, width)
    nearest = (keys >> 32).int().view(torch.float32).masked_fill(keys < 0, -torch.inf)
    return (keys & 0xFFFFFFFF).masked_fill((keys < 0) | _cracks(nearest), -1)


def _cracks(nearest: Tensor) -> Tensor:
    """(H, W): pixels left open by a surface that the right view sees wider than the left one."""
    between = torch.zeros_like(nearest, dtype=torch.bool)
    nearer = torch.minimum(nearest[:, :-2], nearest[:, 2:])
    between[:, 1:-1] = nearer > nearest[:, 1:-1] + _CRACK_PX
    return between


def _on_right_view(example: Example, sources: Tensor) -> Example:
    nothing = sources < 0
    index = sources.clamp(min=0)

    def change(values: Tensor, unknown: float) -> Tensor:
        return values.flatten()[index].masked_fill(nothing, unknown)

    return map_labels(example, change)
