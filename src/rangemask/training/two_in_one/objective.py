"""One iteration: the losses of the stages that learn, one after the other."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from typing import NamedTuple

import torch
from torch import Tensor, nn

from rangemask.models.two_in_one import Decoded, TwoInOne
from rangemask.training.losses.loss import Loss, full_precision
from rangemask.training.two_in_one.batch import PairBatch
from rangemask.training.two_in_one.losses import LossConfig, mono_loss, pair_loss, refine_loss
from rangemask.training.two_in_one.photometric import PerceptualFeatures
from rangemask.training.two_in_one.schedule import StageName


class StageResult(NamedTuple):
    """What a stage costs, and what it saw."""

    stage: StageName
    loss: Loss
    seen: Decoded
    """Of the stage's path: ``mono`` of the other view, ``pair`` and ``refine`` of the target."""


class TwoInOneObjective(nn.Module):
    """The losses of all stages.

    Args:
        config: rates of the terms.
        perceptual: VGG-19 with its weights; None leaves its terms out. It is not trained.
    """

    def __init__(
        self, config: LossConfig | None = None, perceptual: PerceptualFeatures | None = None
    ) -> None:
        super().__init__()
        self.config = LossConfig() if config is None else config
        self.perceptual = perceptual

    def stages(
        self, model: TwoInOne, batch: PairBatch, active: Collection[StageName]
    ) -> Iterator[StageResult]:
        """The loss of one stage after the other.

        Before the next one is asked for, the caller clears the stage's gradients, goes backward
        and steps with the stage's optimiser. As published, ``mono`` learns from the other view
        before its step; the target is then seen by the network as it is after that step, and
        the other view's features are kept from before it.

        Args:
            model: in training mode, where batch statistics move in every pass.
            batch: pairs.
            active: the stages that learn; ``mono`` is always computed.
        """
        size = (batch.target.shape[-2], batch.target.shape[-1])
        d2d = model.decoder.d2d
        other_maps = model.encoder(batch.other_jittered)
        mono_other = model.decoder(other_maps, size=size)
        with full_precision(batch.target):
            levels = model.decoder.levels(batch.target)
            loss = mono_loss(mono_other, batch, levels, d2d, self.config, self.perceptual)
        other_maps = _detached(other_maps)
        yield StageResult("mono", loss, mono_other)
        del mono_other, loss  # frees the graph before the next one is made
        if not {"pair", "refine"} & set(active):
            return
        with torch.no_grad():
            maps = model.encoder(batch.target_jittered)
            mono = model.decoder(maps, size=size)
        pair = model.decoder(maps, other_maps, size, batch.direct, both=False)
        with full_precision(batch.target):
            loss = pair_loss(pair, mono, batch, d2d, self.config)
        yield StageResult("pair", loss, pair)
        pair = Decoded(*(value.detach() for value in pair[:4]))
        del loss
        if "refine" not in active:
            return
        refined = model.decoder(maps, size=size, path="refine")
        with full_precision(batch.target):
            loss = refine_loss(refined, mono, pair, batch, self.config)
        yield StageResult("refine", loss, refined)


def _detached(values: Collection[Tensor]) -> tuple[Tensor, ...]:
    return tuple(value.detach() for value in values)
