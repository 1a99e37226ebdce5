"""What training sees of samples: tensors, one example or a batch of one size."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import torch
from torch import Tensor


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Example:
    """One frame with what is known of it; None for kinds of labels that are not there."""

    name: str
    image: Tensor
    """(3, H, W) float32 RGB in [0, 1], the left one of a pair."""
    right_image: Tensor | None = None
    """The same of the right camera, rectified."""
    disparity: Tensor | None = None
    """(H, W) float32 px of this image's width, NaN where unknown."""
    depth: Tensor | None = None
    """(H, W) float32, NaN where unknown: metres, or relative where the stage is told so."""
    weight: Tensor | None = None
    """(H, W) float32 in [0, 1]: trust in disparity and depth; None: full."""
    semantic: Tensor | None = None
    """(H, W) int64: 1 + index of the head's class; 0 is unknown and teaches nothing."""
    masks: Tensor | None = None
    """(N, H, W) bool."""
    mask_classes: Tensor | None = None
    """(N,) int64, index of the mask head's class."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Batch:
    """B examples of one size; a kind of label is there if all examples have it."""

    names: tuple[str, ...]
    images: Tensor
    """(B, 3, H, W)."""
    right_images: Tensor | None = None
    disparity: Tensor | None = None
    """(B, H, W) px, NaN where unknown."""
    depth: Tensor | None = None
    """(B, H, W), NaN where unknown."""
    weight: Tensor | None = None
    """(B, H, W) in [0, 1]."""
    semantic: Tensor | None = None
    """(B, H, W) int64, 0 for unknown."""
    masks: tuple[Tensor, ...] | None = None
    """Per example (N, H, W) bool."""
    mask_classes: tuple[Tensor, ...] | None = None
    """Per example (N,) int64."""

    def __len__(self) -> int:
        return len(self.names)

    def to(self, device: torch.device | str) -> Batch:
        """All tensors on a device."""
        return _moved(self, torch.device(device))


def collate(examples: Sequence[Example]) -> Batch:
    """Examples of one size to a batch.

    A weight is made where only some have one.
    """
    weighted = [_weighted(example) for example in examples]
    some_weight = any(example.weight is not None for example in examples)
    return Batch(
        names=tuple(example.name for example in examples),
        images=torch.stack([example.image for example in examples]),
        right_images=_stacked([example.right_image for example in examples]),
        disparity=_stacked([example.disparity for example in examples]),
        depth=_stacked([example.depth for example in examples]),
        weight=torch.stack(weighted) if some_weight else None,
        semantic=_stacked([example.semantic for example in examples]),
        masks=_listed([example.masks for example in examples]),
        mask_classes=_listed([example.mask_classes for example in examples]),
    )


def _weighted(example: Example) -> Tensor:
    height, width = example.image.shape[-2:]
    return torch.ones(height, width) if example.weight is None else example.weight


def _stacked(values: Sequence[Tensor | None]) -> Tensor | None:
    found = [value for value in values if value is not None]
    return torch.stack(found) if len(found) == len(values) else None


def _listed(values: Sequence[Tensor | None]) -> tuple[Tensor, ...] | None:
    found = tuple(value for value in values if value is not None)
    return found if len(found) == len(values) else None


def _moved(values: Batch, device: torch.device) -> Batch:
    def move(value: Any) -> Any:
        if isinstance(value, Tensor):
            return value.to(device, non_blocking=True)
        if isinstance(value, tuple) and value and isinstance(value[0], Tensor):
            return tuple(move(one) for one in value)
        return value

    moved = {entry.name: move(getattr(values, entry.name)) for entry in fields(values)}
    return replace(values, **moved)
