"""Loss of the automatic mask head: matched queries find an object, the others find none."""

from __future__ import annotations

from dataclasses import dataclass
from typing import get_args

import torch
from torch import Tensor
from torch.nn import functional as F

from rangemask.models.heads.masks.automatic import MaskOutput
from rangemask.training.batch import Batch
from rangemask.training.losses.loss import (
    Loss,
    check_choice,
    check_range,
    connected_zero,
    full_precision,
    loss_of_frames,
)
from rangemask.training.losses.mask_terms import MaskLossKind, dice_loss, mask_divergence
from rangemask.training.losses.matching import (
    CostWeights,
    Objects,
    Pairs,
    match,
    mean_per_frame,
    objects_of,
    shares_of,
)
from rangemask.training.losses.points import masks_at, uncertain_points, values_at


@dataclass(frozen=True, kw_only=True, slots=True)
class MaskLossConfig:
    """Weights of classes and masks, in the loss and in matching (Mask2Former, section 4.1).

    Raises:
        InputError: a name is unknown or a number impossible.
    """

    class_weight: float = 2.0
    mask_weight: float = 5.0
    """Of the cross-entropy per pixel."""
    dice_weight: float = 5.0
    kind: MaskLossKind = "bce"
    """Cross-entropy of masks: plain or focal."""
    no_object_weight: float = 0.1
    """Of queries without an object in the class loss."""
    auxiliary_weight: float = 1.0
    """Of each earlier block of the head (deep supervision)."""
    points: int | None = None
    """Compare masks at so many places, most of them where the mask is unsure (Mask2Former: 12544);
    None: in all cells of the grid, which needs no random numbers."""
    oversampling: float = 3.0
    """Of ``points``: random places per wanted one, of which the least sure are taken."""
    unsure_share: float = 0.75
    """Of ``points``: share that is taken so; the others are anywhere."""

    def __post_init__(self) -> None:
        check_choice("kind", self.kind, get_args(MaskLossKind))
        for name in ("class_weight", "mask_weight", "dice_weight", "auxiliary_weight"):
            check_range(name, getattr(self, name), 0)
        check_range("no_object_weight", self.no_object_weight, 0, 1, open_=True)
        check_range("oversampling", self.oversampling, 1)
        check_range("unsure_share", self.unsure_share, 0, 1)
        if self.points is not None:
            check_range("points", self.points, 1)

    @property
    def costs(self) -> CostWeights:
        """What matching goes by."""
        return CostWeights(self.class_weight, self.mask_weight, self.dice_weight, self.kind)


def mask_loss(
    output: MaskOutput,
    batch: Batch,
    config: MaskLossConfig | None = None,
    *,
    generator: torch.Generator | None = None,
) -> Loss:
    """Class, cross-entropy and dice of matched queries; "no object" for the others.

    A frame without objects teaches that there are none.

    Args:
        output: of the automatic head, called with ``deep_supervision``.
        batch: with masks and their classes.
        config: weights; None for the defaults.
        generator: of random places, where ``config.points`` asks for them.

    Raises:
        InputError: there are no masks, their shape is another, or their classes do not fit.
    """
    config = MaskLossConfig() if config is None else config
    objects = objects_of(batch, output.class_logits.shape[-1] - 1)
    size = (output.mask_logits.shape[-2], output.mask_logits.shape[-1])
    with full_precision(output.mask_logits):
        shares = shares_of(objects, size) if config.points is None else None
        answers = [(output.class_logits, output.mask_logits), *output.auxiliary]
        losses = [
            _of_answer(classes.float(), masks.float(), objects, shares, config, generator)
            for classes, masks in answers
        ]
        weights = {
            "class": config.class_weight,
            "mask": config.mask_weight,
            "dice": config.dice_weight,
        }
        parts = dict(losses[0])
        if output.auxiliary:
            parts["auxiliary"] = torch.stack(
                [weights[name] * part for loss in losses[1:] for name, part in loss.items()]
            ).sum(0)
        return loss_of_frames(
            parts,
            weights | {"auxiliary": config.auxiliary_weight},
            torch.ones(len(batch), dtype=torch.bool, device=output.mask_logits.device),
            batch.names,
            "masks",
        )


def _of_answer(
    class_logits: Tensor,
    mask_logits: Tensor,
    objects: Objects,
    shares: Tensor | None,
    config: MaskLossConfig,
    generator: torch.Generator | None,
) -> dict[str, Tensor]:
    """(B,) each."""
    frames = len(class_logits)
    pairs = match(
        class_logits,
        mask_logits,
        objects,
        config.costs,
        shares=shares,
        points=config.points,
        generator=generator,
    )
    logits, truth = _compared(
        mask_logits[pairs.frame, pairs.query], objects, pairs, shares, config, generator
    )
    divergence = mask_divergence(logits, truth, config.kind).mean(-1)
    return {
        "class": _class_loss(class_logits, objects, pairs, config.no_object_weight),
        "mask": mean_per_frame(divergence, pairs, frames) + connected_zero(mask_logits),
        "dice": mean_per_frame(dice_loss(logits, truth), pairs, frames),
    }


def _compared(
    masks: Tensor,
    objects: Objects,
    pairs: Pairs,
    shares: Tensor | None,
    config: MaskLossConfig,
    generator: torch.Generator | None,
) -> tuple[Tensor, Tensor]:
    """Logits of the pairs and their truths, (T, P) each."""
    if shares is not None:
        return masks.flatten(1), shares[pairs.frame, pairs.object]
    if config.points is None or len(masks) == 0:
        return masks.flatten(1), masks.flatten(1)
    places = uncertain_points(
        masks,
        config.points,
        oversampling=config.oversampling,
        share=config.unsure_share,
        generator=generator,
    )
    first = torch.tensor([0, *objects.counts[:-1]], device=masks.device).cumsum(0)
    truth = torch.cat(objects.masks)[first[pairs.frame] + pairs.object]
    return values_at(masks[:, None], places)[:, 0], masks_at(truth, places)


def _class_loss(
    class_logits: Tensor, objects: Objects, pairs: Pairs, no_object_weight: float
) -> Tensor:
    """(B,), mean over the queries, weighted."""
    none = class_logits.shape[-1] - 1
    wanted = torch.full(class_logits.shape[:2], none, device=class_logits.device)
    first = torch.tensor([0, *objects.counts[:-1]], device=class_logits.device).cumsum(0)
    classes = torch.cat(objects.classes)
    wanted[pairs.frame, pairs.query] = classes[first[pairs.frame] + pairs.object]
    entropy = F.cross_entropy(class_logits.transpose(1, 2), wanted, reduction="none")
    weight = torch.where(wanted == none, no_object_weight, 1.0)
    return (entropy * weight).sum(1) / weight.sum(1)
