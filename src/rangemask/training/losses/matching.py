"""Which query answers for which object: Hungarian matching (DETR, arXiv 2005.12872)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from rangemask.errors import InputError
from rangemask.training.batch import Batch
from rangemask.training.losses.loss import check_shape
from rangemask.training.losses.mask_terms import (
    MaskLossKind,
    dice_of_pairs,
    divergence_of_pairs,
    shares_on_grid,
)
from rangemask.training.losses.points import masks_at, uniform, values_at

IMPOSSIBLE = 1e6
"""Cost that stands for NaN: a diverged network still gets an assignment, and a NaN loss."""


class Objects(NamedTuple):
    """What there is to be found, per frame; objects without a pixel are not there."""

    masks: tuple[Tensor, ...]
    """(M, H, W) bool."""
    classes: tuple[Tensor, ...]
    """(M,) int64."""

    @property
    def counts(self) -> list[int]:
        """Objects per frame."""
        return [len(masks) for masks in self.masks]


class Pairs(NamedTuple):
    """Queries and the objects they answer for; T of them in the batch."""

    frame: Tensor
    """(T,) int64."""
    query: Tensor
    """(T,) int64."""
    object: Tensor
    """(T,) int64, in the frame."""


class CostWeights(NamedTuple):
    """What matching goes by."""

    class_: float
    mask: float
    dice: float
    kind: MaskLossKind


def objects_of(batch: Batch, classes: int) -> Objects:
    """The objects of a batch.

    Args:
        batch: with masks, and their classes unless the head has one only.
        classes: K of the head.

    Raises:
        InputError: there are no masks, their shape is another, or their classes do not fit.
    """
    if batch.masks is None:
        raise InputError("mask heads learn from instance masks, and these frames have none.")
    if batch.mask_classes is None and classes > 1:
        raise InputError(
            f"the masks of these frames have no classes, but the head tells {classes} apart; give "
            "it one class, or label the masks."
        )
    given = batch.mask_classes
    masks, labels = [], []
    for index, found in enumerate(batch.masks):
        check_shape("masks", found, (len(found), *batch.images.shape[-2:]))
        there = found.flatten(1).any(1)
        ids = found.new_zeros(len(found), dtype=torch.long) if given is None else given[index]
        check_shape("classes of masks", ids, (len(found),))
        wrong = (ids < 0) | (ids >= classes)
        if bool(wrong.any()):
            raise InputError(
                f"a mask of {batch.names[index]} has the class {int(ids[wrong][0])}, but the head "
                f"knows 0 to {classes - 1}; give it the class list of the data set."
            )
        masks.append(found[there])
        labels.append(ids[there])
    return Objects(tuple(masks), tuple(labels))


def shares_of(objects: Objects, size: tuple[int, int]) -> Tensor:
    """Truths on the grid of the logits, (B, M, h * w) with zeros behind a frame's last object."""
    on_grid = [shares_on_grid(masks, size).flatten(1) for masks in objects.masks]
    return torch.nn.utils.rnn.pad_sequence(on_grid, batch_first=True)


@torch.no_grad()
def match(
    class_logits: Tensor,
    mask_logits: Tensor,
    objects: Objects,
    weights: CostWeights,
    *,
    shares: Tensor | None = None,
    points: int | None = None,
    generator: torch.Generator | None = None,
) -> Pairs:
    """The cheapest assignment of queries to objects, for every frame.

    Where there are more objects than queries, the dearest objects stay without.

    Args:
        class_logits: (B, N, K + 1).
        mask_logits: (B, N, h, w).
        objects: to be found.
        weights: of the costs.
        shares: of ``shares_of``, where they are at hand already.
        points: compare masks at so many random places; None: on the whole grid.
        generator: of the random places.
    """
    counts = objects.counts
    if max(counts) == 0:
        nothing = torch.zeros(0, dtype=torch.long, device=mask_logits.device)
        return Pairs(nothing, nothing, nothing)
    if points is None:
        size = (mask_logits.shape[-2], mask_logits.shape[-1])
        truth = shares_of(objects, size) if shares is None else shares
        logits = mask_logits.float().flatten(2)
    else:
        places = uniform(len(counts), points, 2, device=mask_logits.device, generator=generator)
        logits = values_at(mask_logits.float(), places)
        truth = torch.nn.utils.rnn.pad_sequence(
            [masks_at(m, place[None]) for m, place in zip(objects.masks, places, strict=True)],
            batch_first=True,
        )
    cost = weights.mask * divergence_of_pairs(logits, truth, weights.kind)
    cost = cost + weights.dice * dice_of_pairs(logits, truth)
    ids = torch.nn.utils.rnn.pad_sequence(list(objects.classes), batch_first=True)
    likely = class_logits.float().softmax(-1)
    wanted = ids[:, None].expand(-1, likely.shape[1], -1)
    cost = cost - weights.class_ * likely.gather(2, wanted)
    return _assigned(cost.nan_to_num(IMPOSSIBLE, IMPOSSIBLE, -IMPOSSIBLE), counts)


def _assigned(cost: Tensor, counts: Sequence[int]) -> Pairs:
    frames, queries, found = [], [], []
    for frame, (matrix, count) in enumerate(zip(cost.cpu().numpy(), counts, strict=True)):
        rows, columns = linear_sum_assignment(matrix[:, :count])
        frames.append(np.full(len(rows), frame))
        queries.append(rows)
        found.append(columns)
    return Pairs(
        *(
            torch.from_numpy(np.concatenate(part).astype(np.int64)).to(cost.device)
            for part in (frames, queries, found)
        )
    )


def mean_per_frame(values: Tensor, pairs: Pairs, frames: int) -> Tensor:
    """Mean over the pairs of each frame, (T,) to (B,); 0 for a frame without."""
    ones = torch.ones_like(values)
    count = values.new_zeros(frames).index_add(0, pairs.frame, ones)
    return values.new_zeros(frames).index_add(0, pairs.frame, values) / count.clamp(min=1)
