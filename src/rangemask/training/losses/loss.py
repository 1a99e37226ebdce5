"""What a loss says, and how it averages: over the pixels of a frame, then over the frames.

Every frame counts the same, however much of it is known. So the loss of a batch is the mean of
the losses of its frames, and gradients accumulated over small batches are those of a large one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from rangemask.errors import InputError


class NothingKnownError(InputError):
    """No frame of a batch has a label to learn from."""


class Loss(NamedTuple):
    """What a batch costs."""

    total: Tensor
    """(), float32, to be minimised."""
    parts: dict[str, Tensor]
    """What it is made of, each () and detached, before weighting: for logs."""
    skipped: tuple[str, ...] = ()
    """Names of the frames that taught nothing, because nothing is known of them."""


def full_precision(like: Tensor) -> torch.autocast:
    """No autocast within: losses are sums over many pixels, and half precision loses them."""
    return torch.autocast(like.device.type, enabled=False)


def check_range(
    name: str, value: float, least: float, most: float = float("inf"), *, open_: bool = False
) -> None:
    """Fail in words unless a number is finite and in [least, most], or (least, most] if open.

    Raises:
        InputError: it is not.
    """
    if not (least < value if open_ else least <= value) or not value <= most or value == torch.inf:
        start, end = "(" if open_ else "[", ")" if most == torch.inf else "]"
        raise InputError(f"{name} must be in {start}{least:g}, {most:g}{end}, got {value}.")


def check_choice(name: str, value: str, known: Sequence[str]) -> None:
    """Fail in words unless a name is known.

    Raises:
        InputError: it is not.
    """
    if value not in known:
        raise InputError(f"{name} must be one of {', '.join(known)}, got {value!r}.")


def check_shape(what: str, found: Tensor, expected: Sequence[int]) -> None:
    """Fail in words unless a tensor has a shape.

    Raises:
        InputError: it has another one.
    """
    if tuple(found.shape) != tuple(expected):
        raise InputError(
            f"{what} must be {tuple(expected)} like the prediction, got {tuple(found.shape)}; "
            "labels and images go through the same crops and sizes."
        )


def trust(known: Tensor, weight: Tensor | None) -> Tensor:
    """How much each pixel counts: its weight where it is known, else 0.

    Args:
        known: (B, H, W) bool.
        weight: (B, H, W) in [0, 1]; None: full.

    Raises:
        InputError: the shapes differ.
    """
    if weight is None:
        return known.float()
    check_shape("the weight", weight, known.shape)
    # A comparison with NaN is false: such a weight is none.
    return torch.where(known & (weight > 0), weight, 0).float()


def weighted_mean(values: Tensor, weight: Tensor) -> Tensor:
    """Mean per frame, (B, ...) to (B,); 0 where nothing has weight.

    Args:
        values: (B, ...), finite everywhere.
        weight: (B, ...).
    """
    total = weight.flatten(1).sum(1)
    # The sum is at least the smallest weight, so that tiny weights teach in full too.
    return (values * weight).flatten(1).sum(1) / torch.where(total > 0, total, 1)


def connected_zero(*outputs: Tensor) -> Tensor:
    """0 that depends on tensors in name only: their gradients are 0 instead of missing.

    For data-parallel training, where a parameter without a gradient is an error.
    """
    return sum(
        (torch.where(torch.zeros_like(output, dtype=torch.bool), output, 0).sum().float())
        for output in outputs
    ) + torch.zeros((), device=outputs[0].device)


def loss_of_frames(
    parts: Mapping[str, Tensor],
    weights: Mapping[str, float],
    usable: Tensor,
    names: Sequence[str],
    lacking: str,
) -> Loss:
    """The loss of a batch from those of its frames.

    Args:
        parts: (B,) each.
        weights: of each part in the total.
        usable: (B,) bool, frames that teach something.
        names: of the frames.
        lacking: what the others lack, for the message.

    Raises:
        NothingKnownError: no frame is usable.
    """
    flags = usable.tolist()
    skipped = tuple(name for name, flag in zip(names, flags, strict=True) if not flag)
    if len(skipped) == len(names):
        raise NothingKnownError(
            f"none of the frames {', '.join(names)} has {lacking}; leave them out of the "
            "data set, or look at how they were labelled."
        )
    means = {
        name: torch.where(usable, part, 0).sum() / (len(names) - len(skipped))
        for name, part in parts.items()
    }
    total = torch.stack([weights[name] * mean for name, mean in means.items()]).sum()
    return Loss(total, {name: mean.detach() for name, mean in means.items()}, skipped)
