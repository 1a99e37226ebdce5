"""Loss of all heads that are on: of a stage with one head, and of the workflow."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import torch
from torch import Tensor

from rangemask.errors import InputError
from rangemask.models.config import HEADS, RangeMaskConfig
from rangemask.models.rangemask import RangeMask, RangeMaskOutput
from rangemask.training.batch import Batch
from rangemask.training.losses.depth import DepthLossConfig, depth_loss
from rangemask.training.losses.fusion import FusionLossConfig, fusion_loss
from rangemask.training.losses.loss import Loss, NothingKnownError, check_range, connected_zero
from rangemask.training.losses.masks import MaskLossConfig, mask_loss
from rangemask.training.losses.prompts import PromptLossConfig, prompt_loss
from rangemask.training.losses.semantic import SemanticLossConfig, semantic_loss
from rangemask.training.losses.stereo import StereoLossConfig, stereo_loss


@dataclass(frozen=True, kw_only=True, slots=True)
class HeadWeights:
    """How much each head counts; 0 leaves it out.

    Raises:
        InputError: a weight is negative, or all are 0.
    """

    depth: float = 1.0
    stereo: float = 1.0
    masks: float = 1.0
    prompts: float = 1.0
    semantic: float = 1.0
    fusion: float = 1.0

    def __post_init__(self) -> None:
        for head in HEADS:
            check_range(f"the weight of {head}", getattr(self, head), 0)
        if not any(getattr(self, head) for head in HEADS):
            raise InputError("one head must have a weight above 0; with none, nothing is learned.")

    @classmethod
    def only(cls, *heads: str) -> HeadWeights:
        """1 for some heads, 0 for the others.

        Raises:
            InputError: a name is unknown.
        """
        unknown = sorted(set(heads) - set(HEADS))
        if unknown:
            raise InputError(f"no head {', '.join(unknown)}; known: {', '.join(HEADS)}.")
        return cls(**{head: float(head in heads) for head in HEADS})


@dataclass(frozen=True, kw_only=True, slots=True)
class JointLossConfig:
    """Losses of all heads, and how much each counts."""

    weights: HeadWeights = field(default_factory=HeadWeights)
    depth: DepthLossConfig = field(default_factory=DepthLossConfig)
    stereo: StereoLossConfig = field(default_factory=StereoLossConfig)
    masks: MaskLossConfig = field(default_factory=MaskLossConfig)
    prompts: PromptLossConfig = field(default_factory=PromptLossConfig)
    semantic: SemanticLossConfig = field(default_factory=SemanticLossConfig)
    fusion: FusionLossConfig = field(default_factory=FusionLossConfig)


def joint_loss(
    model: RangeMask,
    output: RangeMaskOutput,
    batch: Batch,
    config: JointLossConfig | None = None,
    *,
    generator: torch.Generator | None = None,
) -> Loss:
    """Weighted sum over the heads that answered and have a weight.

    A head that nothing is known for in this batch is left out of it; labels of a kind that no
    frame has are an error, because that head would never learn.

    Args:
        model: whose heads answered; the prompt head is asked here.
        output: of the model, with ``deep_supervision`` and ``all_iterates``.
        batch: with labels of all these heads.
        config: losses and weights; None for the defaults.
        generator: of prompts and random places.

    Returns:
        Parts are named ``head/part``, and ``head`` is its total; skipped are the frames that
        taught nothing to one of the heads.

    Raises:
        InputError: no head is on, or labels are missing or do not fit.
        NothingKnownError: nothing is known for any of the heads.
    """
    config = JointLossConfig() if config is None else config
    terms = _terms(model, output, batch, config, generator)
    if not terms:
        raise InputError("no head that has a weight has answered; there is nothing to learn.")
    parts: dict[str, Tensor] = {}
    totals: list[Tensor] = []
    skipped: list[str] = []
    unknown: list[NothingKnownError] = []
    for head, (outputs, compare) in terms.items():
        try:
            loss = compare()
        except NothingKnownError as error:
            unknown.append(error)
            totals.append(connected_zero(*outputs))
            skipped.extend(batch.names)
            continue
        totals.append(getattr(config.weights, head) * loss.total)
        parts[head] = loss.total.detach()
        parts |= {f"{head}/{name}": part for name, part in loss.parts.items()}
        skipped.extend(loss.skipped)
    if len(unknown) == len(terms):
        raise unknown[0]
    return Loss(torch.stack(totals).sum(), parts, tuple(dict.fromkeys(skipped)))


_Term = tuple[tuple[Tensor, ...], Callable[[], Loss]]


def _terms(
    model: RangeMask,
    output: RangeMaskOutput,
    batch: Batch,
    config: JointLossConfig,
    generator: torch.Generator | None,
) -> dict[str, _Term]:
    """Per head that is on: what it said, and what compares it."""
    farthest_m, widest_px = limits_of(model.config)
    depth, stereo, masks, embedding, semantic = output
    head = model.prompts
    every: dict[str, _Term] = {}
    if depth is not None:
        every["depth"] = (
            (depth,),
            lambda: depth_loss(depth, batch, config.depth, max_depth_m=farthest_m),
        )
    if stereo is not None:
        every["stereo"] = (
            (stereo.coarse_px, *stereo.iterates),
            lambda: stereo_loss(stereo, batch, config.stereo, max_disparity_px=widest_px),
        )
    if masks is not None:
        every["masks"] = (
            (masks.class_logits, masks.mask_logits),
            lambda: mask_loss(masks, batch, config.masks, generator=generator),
        )
    if embedding is not None and head is not None:
        every["prompts"] = (
            (embedding.image, embedding.fine),
            lambda: prompt_loss(head, embedding, batch, config.prompts, generator=generator),
        )
    if semantic is not None:
        every["semantic"] = (
            (semantic,),
            lambda: semantic_loss(semantic, batch, config.semantic),
        )
    refined = tuple(
        value
        for value in (
            None if stereo is None else stereo.disparity_px,
            depth,
            None if masks is None else masks.mask_logits,
        )
        if value is not None
    )
    if model.fusion is not None and refined:
        every["fusion"] = (
            refined,
            lambda: fusion_loss(
                output,
                batch,
                config.fusion,
                max_depth_m=farthest_m,
                max_disparity_px=widest_px,
                inverse_truth=config.depth.inverse_truth and farthest_m is None,
            ),
        )
    return {name: term for name, term in every.items() if getattr(config.weights, name)}


def limits_of(config: RangeMaskConfig) -> tuple[float | None, float | None]:
    """Farthest depth in metres and largest disparity in px that a student can state."""
    farthest_m = None if config.depth is None else config.depth.max_depth_m
    widest_px = None if config.stereo is None else float(config.stereo.max_disparity_px)
    return farthest_m, widest_px
