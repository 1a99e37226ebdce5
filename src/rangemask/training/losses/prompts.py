"""Loss of the promptable head: ask for objects that are known, then correct it."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, get_args

import torch
from torch import Tensor

from rangemask.errors import InputError
from rangemask.models.heads.masks.promptable import PromptEmbedding, PromptHead, PromptOutput
from rangemask.training.batch import Batch
from rangemask.training.losses.loss import (
    Loss,
    NothingKnownError,
    check_choice,
    check_range,
    full_precision,
    loss_of_frames,
)
from rangemask.training.losses.mask_terms import (
    MaskLossKind,
    dice_loss,
    mask_divergence,
    shares_on_grid,
)
from rangemask.training.losses.matching import objects_of
from rangemask.training.losses.points import uniform
from rangemask.training.losses.prompting import PromptSampling, corrected, first_prompts

QualityKind = Literal["l1", "mse"]


@dataclass(frozen=True, kw_only=True, slots=True)
class PromptLossConfig:
    """Weights, and how often the head is asked again.

    Raises:
        InputError: a name is unknown or a number impossible.
    """

    mask_weight: float = 20.0
    """Of the entropy per pixel; 20 : 1 to dice as in Segment Anything, section 3."""
    dice_weight: float = 1.0
    iou_weight: float = 1.0
    """Of the head's own estimate of its IoU."""
    kind: MaskLossKind = "focal"
    """Entropy of masks: plain or focal."""
    iou_kind: QualityKind = "mse"
    """Square of the error of the estimated IoU (Segment Anything), or its size (SAM 2)."""
    rounds: int = 1
    """How often the head is corrected after its first answer: with a point where it is wrong and
    its own mask. The first round has all masks of an ambiguous prompt, the others one; with 0
    the token of the single mask learns nothing."""
    sampling: PromptSampling = field(default_factory=PromptSampling)
    """How prompts are made."""

    def __post_init__(self) -> None:
        for name in ("mask_weight", "dice_weight", "iou_weight", "rounds"):
            check_range(name, getattr(self, name), 0)
        check_choice("kind", self.kind, get_args(MaskLossKind))
        check_choice("iou_kind", self.iou_kind, get_args(QualityKind))


def prompt_loss(
    head: PromptHead,
    embedding: PromptEmbedding,
    batch: Batch,
    config: PromptLossConfig | None = None,
    *,
    generator: torch.Generator | None = None,
) -> Loss:
    """Ask for known objects, compare, correct, compare again.

    Of several masks for one prompt only the best one learns (Segment Anything, section 3); all of
    them learn how good they are. Frames without objects are not decoded.

    Args:
        head: to be asked.
        embedding: of the batch's images, ``RangeMaskOutput.prompts``.
        batch: with masks; their classes do not matter.
        config: weights and rounds; None for the defaults.
        generator: of objects and prompts.

    Raises:
        InputError: there are no masks, or their shape is another.
        NothingKnownError: no frame has an object.
    """
    config = PromptLossConfig() if config is None else config
    masks, usable = asked_for(batch, config.sampling.objects, generator)
    seen = PromptEmbedding(embedding.image[usable], embedding.fine[usable], embedding.positions)
    size = (masks.shape[-2], masks.shape[-1])
    grid = (embedding.fine.shape[-2], embedding.fine.shape[-1])
    with full_precision(masks):
        shares = shares_on_grid(masks.flatten(0, 1), grid)
    shares = shares.unflatten(0, masks.shape[:2]).flatten(2)
    prompts = first_prompts(masks, config.sampling, generator)
    previous, losses = None, []
    for turn in range(config.rounds + 1):
        answer = head(
            seen, image_size=size, mask_input=previous, multimask=turn == 0, **prompts._asdict()
        )
        best, parts = _compare(answer, shares, config)
        losses.append(parts)
        if turn < config.rounds:
            previous = best.detach()
            prompts = corrected(prompts, previous, masks, generator)
    where = usable.nonzero()[:, 0]
    return loss_of_frames(
        {
            name: shares.new_zeros(len(batch)).index_put(
                (where,), torch.stack([parts[name] for parts in losses]).mean(0)
            )
            for name in losses[0]
        },
        {"mask": config.mask_weight, "dice": config.dice_weight, "iou": config.iou_weight},
        usable,
        batch.names,
        "an object to be asked for",
    )


def asked_for(
    batch: Batch, most: int, generator: torch.Generator | None = None
) -> tuple[Tensor, Tensor]:
    """Random objects of every frame that has some.

    A frame with fewer than others is asked for the same ones again, by other prompts.

    Args:
        batch: with masks.
        most: largest number of objects per frame.
        generator: of the choice.

    Returns:
        (F, P, H, W) bool for the F frames with objects, and (B,) bool: which they are.

    Raises:
        InputError: there are no masks, or their shape is another.
        NothingKnownError: no frame has an object.
    """
    if batch.masks is None:
        raise InputError("mask heads learn from instance masks, and these frames have none.")
    objects = objects_of(_without_classes(batch), 1)
    count = min(max(objects.counts), most)
    if count == 0:
        raise NothingKnownError(
            f"none of the frames {', '.join(batch.names)} has an object to be asked for."
        )
    chosen = []
    for masks in objects.masks:
        if len(masks):
            order = uniform(len(masks), device=masks.device, generator=generator).argsort()
            chosen.append(masks[order.repeat(-(-count // len(masks)))[:count]])
    usable = torch.tensor(objects.counts, device=batch.masks[0].device) > 0
    return torch.stack(chosen), usable


def _without_classes(batch: Batch) -> Batch:
    return Batch(names=batch.names, images=batch.images, masks=batch.masks)


def _compare(
    answer: PromptOutput, shares: Tensor, config: PromptLossConfig
) -> tuple[Tensor, dict[str, Tensor]]:
    """The best mask of each prompt, (F, P, h, w), and losses of the frames, (F,) each."""
    with full_precision(answer.mask_logits):
        logits = answer.mask_logits.float().flatten(3)
        truth = shares[:, :, None].expand(logits.shape)
        mask = mask_divergence(logits, truth, config.kind).mean(-1)
        dice = dice_loss(logits, truth)
        cost = config.mask_weight * mask + config.dice_weight * dice
        best = cost.detach().argmin(-1, keepdim=True)
        error = answer.iou.float() - _iou(logits.detach(), truth)
        error = error.abs() if config.iou_kind == "l1" else error.square()
        parts = {
            "mask": mask.gather(2, best).mean((1, 2)),
            "dice": dice.gather(2, best).mean((1, 2)),
            "iou": error.mean((1, 2)),
        }
        index = best[..., None].expand(-1, -1, -1, logits.shape[-1])
        chosen = logits.gather(2, index)[:, :, 0]
        return chosen.unflatten(2, answer.mask_logits.shape[-2:]), parts


def _iou(logits: Tensor, truth: Tensor) -> Tensor:
    """IoU of masks on the grid, (F, P, M); 1 where both are empty."""
    inside, there = logits > 0, truth > 0.5
    union = (inside | there).sum(-1)
    return torch.where(union > 0, (inside & there).sum(-1) / union.clamp(min=1), 1.0)
