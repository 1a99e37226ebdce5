"""Loss of the semantic head: cross-entropy per pixel, or per patch from the shares of classes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from rangemask.errors import InputError
from rangemask.models.heads.semantic import semantic_logits_at
from rangemask.training.batch import Batch
from rangemask.training.losses.loss import (
    Loss,
    check_choice,
    check_range,
    check_shape,
    full_precision,
    loss_of_frames,
    weighted_mean,
)

Resolution: TypeAlias = Literal["pixels", "patches"]
KEPT_AT_ONCE = 2**25
"""Logits of enlarged maps that may be kept for the backward pass (128 MiB); beyond it, a frame
at a time is enlarged, and once more on the way back."""


@dataclass(frozen=True, kw_only=True, slots=True)
class SemanticLossConfig:
    """How classes are compared.

    Raises:
        InputError: a name is unknown or a weight impossible.
    """

    resolution: Resolution = "pixels"
    """``pixels``: enlarged logits against each pixel, what the head is judged by. ``patches``:
    logits as they are against the shares of the classes in each patch, 14 x 14 times fewer; 0 is
    reached where the shares are met."""
    class_weights: tuple[float, ...] | None = None
    """One per class of the head; for one class alone, of its pixels and of all else. None: 1."""
    unknown_is_other: bool = False
    """For one class alone: unlabelled pixels are not of it; else they teach nothing."""

    def __post_init__(self) -> None:
        check_choice("resolution", self.resolution, get_args(Resolution))
        for weight in self.class_weights or ():
            check_range("class_weights", weight, 0)
        if self.class_weights is not None and not sum(self.class_weights) > 0:
            raise InputError("class_weights must have one above 0; with none, nothing is learned.")


def semantic_loss(logits: Tensor, batch: Batch, config: SemanticLossConfig | None = None) -> Loss:
    """Cross-entropy of several classes, binary cross-entropy of one class alone.

    One class alone learns what it is not from pixels with the id 2, "something else"; with
    ``unknown_is_other`` from all that have the id 0.

    Args:
        logits: (B, K, h, w).
        batch: with semantic labels.
        config: how to compare; None for the default.

    Raises:
        InputError: there are no labels, or they do not fit the head's classes.
        NothingKnownError: no pixel of the batch has a label that counts.
    """
    config = SemanticLossConfig() if config is None else config
    if batch.semantic is None:
        raise InputError("a semantic head learns from semantic labels, and these frames have none.")
    check_shape("the semantic labels", batch.semantic, (len(logits), *batch.images.shape[-2:]))
    labels = _labels(batch.semantic, logits.shape[1], config)
    _check_labels(labels, batch, logits.shape[1])
    class_weight = _class_weight(config, logits)
    weight = class_weight[labels]
    with full_precision(logits):
        compare = _per_pixel if config.resolution == "pixels" else _per_patch
        entropy = compare(_competing(logits.float()), labels, class_weight)
        return loss_of_frames(
            {"cross_entropy": entropy},
            {"cross_entropy": 1.0},
            (weight > 0).flatten(1).any(1),
            batch.names,
            "a semantic label of a class that counts",
        )


def _labels(ids: Tensor, classes: int, config: SemanticLossConfig) -> Tensor:
    if classes == 1 and config.unknown_is_other:
        return torch.where(ids == 0, 2, ids)
    return ids


def _competing(logits: Tensor) -> Tensor:
    """One class alone as two: a sigmoid is a softmax against a logit of 0."""
    return F.pad(logits, (0, 0, 0, 0, 0, 1)) if logits.shape[1] == 1 else logits


def _check_labels(labels: Tensor, batch: Batch, classes: int) -> None:
    most = 2 if classes == 1 else classes
    wrong = ((labels < 0) | (labels > most)).flatten(1).any(1).tolist()
    if any(wrong):
        frame = wrong.index(True)
        raise InputError(
            f"the semantic labels of {batch.names[frame]} go from {int(labels[frame].min())} to "
            f"{int(labels[frame].max())}, but the head knows 0 (unknown) to {most}; give the "
            "head the class list of the data set."
        )


def _class_weight(config: SemanticLossConfig, logits: Tensor) -> Tensor:
    """(classes + 1,), of each id; 0 for the unknown."""
    count = max(logits.shape[1], 2)
    given = config.class_weights
    if given is not None and len(given) != count:
        what = "2 weights (the class, all else)" if logits.shape[1] == 1 else f"{count} weights"
        raise InputError(f"class_weights must be {what} for this head, got {len(given)}.")
    return torch.tensor([0.0, *(given or [1.0] * count)], device=logits.device)


def _per_pixel(logits: Tensor, labels: Tensor, class_weight: Tensor) -> Tensor:
    """(B,), of logits enlarged to the labels' size."""
    if logits.shape[1] * labels.numel() <= KEPT_AT_ONCE:
        return _enlarged_entropy(logits, labels, class_weight)
    frames = [
        checkpoint(_enlarged_entropy, one, ids, class_weight, use_reentrant=False)
        for one, ids in zip(logits.split(1), labels.split(1), strict=True)
    ]
    return torch.cat(frames)


def _enlarged_entropy(logits: Tensor, labels: Tensor, class_weight: Tensor) -> Tensor:
    size = (labels.shape[-2], labels.shape[-1])
    entropy = F.cross_entropy(
        semantic_logits_at(logits, size), labels - 1, ignore_index=-1, reduction="none"
    )
    return weighted_mean(entropy, class_weight[labels])


def _per_patch(logits: Tensor, labels: Tensor, class_weight: Tensor) -> Tensor:
    """(B,), Kullback-Leibler divergence: cross-entropy less what no answer could avoid."""
    (batch, classes, rows, columns), (height, width) = logits.shape, labels.shape[-2:]
    if height % rows or width % columns:
        raise InputError(
            f"patches of {rows} x {columns} do not divide labels of {height} x {width}."
        )
    row = torch.arange(height, device=labels.device) // (height // rows)
    column = torch.arange(width, device=labels.device) // (width // columns)
    patch = row[:, None] * columns + column
    share = logits.new_zeros(batch, (classes + 1) * rows * columns)
    index = (labels * (rows * columns) + patch).flatten(1)
    share.scatter_add_(1, index, class_weight[labels].flatten(1))
    share = share.view(batch, classes + 1, rows, columns)[:, 1:]
    total = share.sum(1)
    share = share / torch.where(total > 0, total, 1)[:, None]
    entropy = -(share * logits.log_softmax(1)).sum(1)
    return weighted_mean(entropy + torch.xlogy(share, share).sum(1), total)
