"""From queries to objects: instances without NMS, panoptic segments, masks at full size.

Every query is one object or none, so nothing has to be suppressed: instances are the queries
that are sure enough (Mask2Former, arXiv 2112.01527, section 4), and a panoptic map gives every
pixel to one of them (MaskFormer, arXiv 2107.06278, section 3.4).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from rangemask.errors import InputError


class Instances(NamedTuple):
    """Objects of one image, best first; their masks may overlap."""

    labels: Tensor
    """(n,) int64, index of the class."""
    scores: Tensor
    """(n,) in [0, 1]: class probability times the mean mask probability inside the mask."""
    mask_logits: Tensor
    """(n, h, w)."""
    queries: Tensor
    """(n,) int64, which query it was."""


class PanopticOutput(NamedTuple):
    """Segments of one image; no two share a pixel."""

    ids: Tensor
    """(h, w) int64, index of the segment or -1 where there is none."""
    labels: Tensor
    """(n,) int64, index of the class."""
    scores: Tensor
    """(n,) in [0, 1], the class probability; best first."""


def instances(
    class_logits: Tensor,
    mask_logits: Tensor,
    *,
    min_score: float = 0.5,
    max_instances: int = 100,
    mask_threshold: float = 0.0,
) -> list[Instances]:
    """The objects of every image of a batch.

    Args:
        class_logits: (B, N, K + 1), the last class is "no object".
        mask_logits: (B, N, h, w).
        min_score: objects below are left out, in [0, 1].
        max_instances: most objects per image.
        mask_threshold: logit above which a pixel is inside. Masks without a pixel are left out.

    Raises:
        InputError: shapes that do not fit, or options out of range.
    """
    _check(class_logits, mask_logits, min_score=min_score)
    if max_instances < 1:
        raise InputError(f"max_instances must be at least 1, got {max_instances}.")
    found = []
    for sure, labels, masks in _best_classes(class_logits, mask_logits):
        # The score cannot exceed the class probability, so that most queries end here.
        keep = torch.nonzero(sure >= min_score).squeeze(1)
        scores = sure[keep] * _certainty(masks[keep], mask_threshold)
        order = scores.argsort(descending=True, stable=True)[:max_instances]
        order = order[(scores[order] >= min_score) & (scores[order] > 0)]
        keep = keep[order]
        found.append(Instances(labels[keep], scores[order], masks[keep], keep))
    return found


def panoptic(
    class_logits: Tensor,
    mask_logits: Tensor,
    *,
    min_score: float = 0.5,
    min_area: float = 0.0,
    overlap_threshold: float = 0.8,
    stuff: Sequence[int] = (),
) -> list[PanopticOutput]:
    """One segment per pixel, for every image of a batch.

    A pixel goes to the query with the largest class probability times mask probability, where
    that mask holds it at all (probability at least 1/2). A segment that keeps too small a part
    of its own mask is hidden behind others and is dropped (MaskFormer, section 3.4).

    Args:
        class_logits: (B, N, K + 1), the last class is "no object".
        mask_logits: (B, N, h, w).
        min_score: queries whose class probability is below are left out, in [0, 1].
        min_area: smallest share of the image that a segment covers, in [0, 1].
        overlap_threshold: smallest share of its own mask that a segment keeps, in [0, 1].
        stuff: classes that are amorphous (floor, wall): their segments become one.

    Raises:
        InputError: shapes that do not fit, or options out of range.
    """
    _check(
        class_logits,
        mask_logits,
        min_score=min_score,
        min_area=min_area,
        overlap_threshold=overlap_threshold,
    )
    none = class_logits.shape[-1] - 1
    found = []
    for sure, labels, masks in _best_classes(class_logits, mask_logits, with_none=True):
        keep = torch.nonzero((labels != none) & (sure >= min_score)).squeeze(1)
        keep = keep[sure[keep].argsort(descending=True, stable=True)]
        labels, sure = labels[keep], sure[keep]
        ids, kept = _assigned(sure, masks[keep], min_area, overlap_threshold)
        found.append(_numbered(ids, kept, labels, sure, stuff))
    return found


def masks_at_size(mask_logits: Tensor, height: int, width: int, threshold: float = 0.0) -> Tensor:
    """Masks at the size of an image, (n, height, width) bool.

    Bilinear between pixel centres (as ``F.interpolate`` without ``align_corners``), one mask at
    a time and only inside its bounding box: logits at full size never exist for more than one.

    Args:
        mask_logits: (n, h, w).
        height: px.
        width: px.
        threshold: logit above which a pixel is inside.

    Raises:
        InputError: wrong shape or size.
    """
    if mask_logits.ndim != 3 or 0 in mask_logits.shape[1:]:
        raise InputError(f"mask_logits must be (n, h, w), got {tuple(mask_logits.shape)}.")
    if height < 1 or width < 1:
        raise InputError(f"height and width must be at least 1 px, got {height} and {width}.")
    masks = mask_logits.new_zeros((len(mask_logits), height, width), dtype=torch.bool)
    y_low, y_high, y_share = _taps(mask_logits, mask_logits.shape[1], height)
    x_low, x_high, x_share = _taps(mask_logits, mask_logits.shape[2], width)
    tops, bottoms = _touched(mask_logits.amax(2) > threshold, y_low, y_high)
    lefts, rights = _touched(mask_logits.amax(1) > threshold, x_low, x_high)
    # One transfer to the host for all boxes, not one for each.
    boxes = torch.stack(
        [tops, bottoms, lefts, rights, y_low[tops.clamp(max=height - 1)]], dim=1
    ).tolist()
    for mask, logits, box in zip(masks, mask_logits, boxes, strict=True):
        top, bottom, left, right, first = box
        if top >= bottom:
            continue
        rows, columns = slice(top, bottom), slice(left, right)
        wide = torch.lerp(
            logits[first:].index_select(1, x_low[columns]),
            logits[first:].index_select(1, x_high[columns]),
            x_share[columns],
        )
        full = torch.lerp(
            wide.index_select(0, y_low[rows] - first),
            wide.index_select(0, y_high[rows] - first),
            y_share[rows, None],
        )
        torch.gt(full, threshold, out=mask[rows, columns])
    return masks


def _best_classes(
    class_logits: Tensor, mask_logits: Tensor, *, with_none: bool = False
) -> list[tuple[Tensor, Tensor, Tensor]]:
    """Per image: probability and index of the best class of each query, and the masks."""
    probabilities = class_logits.detach().float().softmax(-1)
    best = (probabilities if with_none else probabilities[..., :-1]).max(-1)
    return list(zip(best.values, best.indices, mask_logits.detach(), strict=True))


def _certainty(mask_logits: Tensor, threshold: float) -> Tensor:
    """Mean mask probability inside each mask, (n,); 0 for a mask without a pixel."""
    inside = mask_logits > threshold
    total = (mask_logits.float().sigmoid() * inside).sum((1, 2))
    return total / inside.sum((1, 2)).clamp(min=1)


def _assigned(
    sure: Tensor, mask_logits: Tensor, min_area: float, overlap_threshold: float
) -> tuple[Tensor, Tensor]:
    """Query of every pixel, (h, w), -1 for none; and whether each query keeps a segment, (n,)."""
    count, height, width = mask_logits.shape
    if count == 0:
        nobody = torch.full((height, width), -1, device=mask_logits.device)
        return nobody, torch.zeros(0, dtype=torch.bool, device=mask_logits.device)
    claimed = (mask_logits.float().sigmoid() * sure[:, None, None]).argmax(0)
    inside = mask_logits.gather(0, claimed[None])[0] >= 0
    held = torch.bincount(claimed[inside], minlength=count)
    own = (mask_logits >= 0).sum((1, 2))
    kept = (held > 0) & (held >= overlap_threshold * own) & (held >= min_area * (height * width))
    return torch.where(inside & kept[claimed], claimed, -1), kept


def _numbered(
    ids: Tensor, kept: Tensor, labels: Tensor, sure: Tensor, stuff: Sequence[int]
) -> PanopticOutput:
    """Segments counted without gaps, those of one stuff class joined."""
    amorphous = torch.isin(labels, torch.tensor(stuff, dtype=labels.dtype, device=labels.device))
    same = (labels[:, None] == labels) & amorphous & kept
    index = torch.arange(len(labels), device=labels.device)
    # The first query of a stuff class stands for all of them: argmax gives the first.
    head = torch.where(amorphous & kept, same.int().argmax(1), index) if len(labels) else index
    heads = kept & (head == index)
    number = heads.cumsum(0) - 1
    table = torch.cat([number[head], number.new_full((1,), -1)])  # the last one serves id -1
    return PanopticOutput(table[ids], labels[heads], sure[heads])


def _taps(like: Tensor, source: int, target: int) -> tuple[Tensor, Tensor, Tensor]:
    """Lower and upper neighbour of every output pixel and the share of the upper one."""
    centres = torch.arange(target, device=like.device, dtype=torch.float32) + 0.5
    position = (centres * (source / target) - 0.5).clamp(min=0)
    low = position.long().clamp(max=source - 1)
    return low, (low + 1).clamp(max=source - 1), (position - low).to(like.dtype)


def _touched(above: Tensor, low: Tensor, high: Tensor) -> tuple[Tensor, Tensor]:
    """First and end output pixel of each mask along one axis, (n,) each; 0 and 0 for none.

    What interpolates to more than the threshold has a neighbour above it.

    Args:
        above: (n, source) bool, whether the line holds anything above the threshold.
        low: (target,) lower neighbours.
        high: (target,) upper neighbours.
    """
    first = above.int().argmax(1)
    last = above.shape[1] - 1 - above.flip(1).int().argmax(1)
    some = above.any(1)
    start = torch.searchsorted(high, first) * some
    return start, torch.searchsorted(low, last, right=True) * some


def _check(class_logits: Tensor, mask_logits: Tensor, **shares: float) -> None:
    if class_logits.ndim != 3 or mask_logits.ndim != 4:
        raise InputError(
            "expected class_logits (B, N, K + 1) and mask_logits (B, N, h, w), got "
            f"{tuple(class_logits.shape)} and {tuple(mask_logits.shape)}."
        )
    if class_logits.shape[:2] != mask_logits.shape[:2] or class_logits.shape[2] < 2:
        raise InputError(
            "class_logits and mask_logits must agree in images and queries, with at least one "
            f"class and no-object, got {tuple(class_logits.shape)} and "
            f"{tuple(mask_logits.shape)}."
        )
    for name, share in shares.items():
        if not 0 <= share <= 1:
            raise InputError(f"{name} must be in [0, 1], got {share}.")
