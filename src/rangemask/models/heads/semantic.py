"""Semantic head: batch norm and a 1 x 1 convolution on the tokens of several layers.

The linear probe with which DINOv2 is evaluated (arXiv 2304.07193, section 7.4): cheap, and a
measure of what the frozen features know.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rangemask.errors import InputError

LAYERS = 4
"""Backbone layers that are concatenated."""
MOST_CLASSES = 255
"""Ids are 8-bit, and 0 is kept for the unknown."""
AT_ONCE = 8
"""Classes that are enlarged together; bounds the memory of ``ids``."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SemanticHeadConfig:
    """Classes of the semantic head.

    Raises:
        InputError: there are none or too many, or a name is empty or comes twice.
    """

    classes: tuple[str, ...] = ("object",)
    """Names, in the order of the logits. One class alone stands against all else (sigmoid);
    several compete (softmax)."""

    def __post_init__(self) -> None:
        check_classes(self.classes)


def check_classes(classes: Sequence[str]) -> None:
    """Fail in words unless these are 1 to 255 different names."""
    if not isinstance(classes, tuple):
        raise InputError(f"classes must be a tuple of names, got {classes!r}.")
    if not 1 <= len(classes) <= MOST_CLASSES:
        raise InputError(f"there must be 1 to {MOST_CLASSES} classes, got {len(classes)}.")
    if "" in classes or len(set(classes)) < len(classes):
        raise InputError(f"classes must be names, each once, got {tuple(classes)}.")


class SemanticHead(nn.Module):
    """A class per pixel.

    Args:
        config: the classes.
        token_channels: C of the backbone.
    """

    def __init__(self, config: SemanticHeadConfig, token_channels: int) -> None:
        super().__init__()
        self.config = config
        self.norm = nn.BatchNorm2d(LAYERS * token_channels)
        self.classify = nn.Conv2d(LAYERS * token_channels, len(config.classes), 1)

    def forward(self, tokens: Sequence[Tensor]) -> Tensor:
        """Logits on the patch grid.

        Args:
            tokens: four of (B, C, h, w).

        Returns:
            (B, K, h, w).
        """
        logits: Tensor = self.classify(self.norm(torch.cat(list(tokens), dim=1)))
        return logits


def semantic_logits_at(logits: Tensor, size: tuple[int, int]) -> Tensor:
    """Logits at another size, bilinear: (B, K, h, w) to (B, K, H, W)."""
    return F.interpolate(logits.float(), size=size, mode="bilinear", align_corners=False)


def semantic_ids(logits: Tensor, size: tuple[int, int]) -> Tensor:
    """The class of each pixel at the input's size.

    The answer is that of the enlarged logits, but only a few classes exist at that size at a
    time: 150 classes of a 1280 x 720 image would be 0.5 GB.

    Args:
        logits: (B, K, h, w).
        size: H, W.

    Returns:
        (B, H, W) uint8: 1 + the index of the class; 0 where one class alone is not there.
    """
    if logits.shape[1] == 1:
        return (semantic_logits_at(logits, size)[:, 0] > 0).to(torch.uint8)
    best, ids = semantic_logits_at(logits[:, :AT_ONCE], size).max(dim=1)
    for start in range(AT_ONCE, logits.shape[1], AT_ONCE):
        rival, index = semantic_logits_at(logits[:, start : start + AT_ONCE], size).max(dim=1)
        ids = torch.where(rival > best, index + start, ids)
        best = torch.maximum(best, rival)
    return (ids + 1).to(torch.uint8)
