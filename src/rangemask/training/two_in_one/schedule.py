"""Three stages that add up: when each begins, what it trains, and at which rate."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Literal, NamedTuple, TypeAlias

import torch
from torch import nn

from rangemask.errors import InputError
from rangemask.models.two_in_one import TwoInOne
from rangemask.models.two_in_one.decoder import FINAL_BRANCH, MATCHING, SHARED

StageName: TypeAlias = Literal["mono", "pair", "refine"]
STAGES: tuple[StageName, ...] = ("mono", "pair", "refine")
"""By the published numbers 1, 2, 3."""


@dataclass(frozen=True, kw_only=True, slots=True)
class StageSchedule:
    """When a stage learns.

    Raises:
        InputError: it begins before epoch 1, or milestones do not ascend.
    """

    first_epoch: int
    """Counted from 1; the stage goes on to the end."""
    milestones: tuple[int, ...]
    """After these epochs its rate falls, whether it has begun or not."""

    def __post_init__(self) -> None:
        if self.first_epoch < 1:
            raise InputError(f"first_epoch is counted from 1, got {self.first_epoch}.")
        if list(self.milestones) != sorted(self.milestones):
            raise InputError(f"milestones must ascend, got {self.milestones}.")


@dataclass(frozen=True, kw_only=True, slots=True)
class ScheduleConfig:
    """The published schedule.

    Raises:
        InputError: a number is impossible.
    """

    epochs: int = 50
    lr: float = 1e-4
    betas: tuple[float, ...] = (0.5, 0.999)
    """Of Adam, one instance per stage."""
    decay: float = 0.5
    """By which a rate falls at a milestone."""
    shared_factor: float = 0.1
    """Rate of the shared decoder in the stages ``pair`` and ``refine``, by ``lr``."""
    mono: StageSchedule = field(
        default_factory=lambda: StageSchedule(first_epoch=1, milestones=(20, 30, 40, 45))
    )
    pair: StageSchedule = field(
        default_factory=lambda: StageSchedule(first_epoch=21, milestones=(30, 40, 45))
    )
    refine: StageSchedule = field(
        default_factory=lambda: StageSchedule(first_epoch=31, milestones=(40, 45))
    )

    def __post_init__(self) -> None:
        if self.epochs < 1:
            raise InputError(f"epochs must be 1 or more, got {self.epochs}.")
        if not 0 < self.lr < float("inf"):
            raise InputError(f"lr must be positive and finite, got {self.lr}.")
        if len(self.betas) != 2 or not all(0 <= beta < 1 for beta in self.betas):
            raise InputError(f"betas must be two numbers within [0, 1), got {self.betas}.")
        if not 0 < self.decay <= 1 or self.shared_factor < 0:
            raise InputError(
                "decay must lie within (0, 1] and shared_factor must not be negative, got "
                f"{self.decay} and {self.shared_factor}."
            )
        if self.mono.first_epoch != 1:
            raise InputError(
                f"the stage mono, which the others build on, begins at epoch 1, not "
                f"{self.mono.first_epoch}."
            )

    def stage(self, name: StageName) -> StageSchedule:
        """The schedule of a stage."""
        return {"mono": self.mono, "pair": self.pair, "refine": self.refine}[name]

    def active(self, epoch: int) -> tuple[StageName, ...]:
        """The stages that learn in an epoch, counted from 1, in their order."""
        return tuple(name for name in STAGES if epoch >= self.stage(name).first_epoch)

    def rate(self, name: StageName, epoch: int) -> float:
        """The learning rate of a stage in an epoch, for parameters of factor 1."""
        stage = self.stage(name)
        fallen = sum(milestone < epoch for milestone in stage.milestones)
        return self.lr * self.decay**fallen if epoch >= stage.first_epoch else 0.0

    def scaled(self, epochs: int) -> ScheduleConfig:
        """The same schedule in fewer or more epochs: all of it moves in proportion.

        Args:
            epochs: the new number.
        """

        def moved(stage: StageSchedule) -> StageSchedule:
            ends = (*stage.milestones, stage.first_epoch - 1)
            *milestones, before = (round(end * epochs / self.epochs) for end in ends)
            # However few epochs there are, every stage has one.
            first = min(before + 1, epochs)
            return StageSchedule(first_epoch=first, milestones=tuple(milestones))

        return replace(
            self,
            epochs=epochs,
            mono=moved(self.mono),
            pair=moved(self.pair),
            refine=moved(self.refine),
        )


class ParameterGroup(NamedTuple):
    """Parameters of one rate."""

    parameters: Mapping[str, nn.Parameter]
    """By their names in the network."""
    factor: float
    """Of the stage's rate."""


def parameter_groups(
    model: TwoInOne, stage: StageName, shared_factor: float = 0.1
) -> tuple[ParameterGroup, ...]:
    """What a stage trains; what is frozen is left out.

    ``mono``: encoder and shared decoder; ``pair``: matching modules, and slowly the shared
    decoder; ``refine``: final branch, and slowly the shared decoder. The encoder learns in
    ``mono`` alone.

    Args:
        model: the network.
        stage: which.
        shared_factor: see ``ScheduleConfig``.

    Raises:
        InputError: there is no such stage.
    """
    if stage not in STAGES:
        raise InputError(f"stage must be one of {', '.join(STAGES)}, got {stage!r}.")
    shared = _decoder_parameters(model, SHARED)
    if stage == "mono":
        encoder = {
            f"encoder.{name}": parameter
            for name, parameter in model.encoder.named_parameters()
            if parameter.requires_grad
        }
        return (ParameterGroup({**encoder, **shared}, 1.0),)
    own = _decoder_parameters(model, MATCHING if stage == "pair" else FINAL_BRANCH)
    return ParameterGroup(own, 1.0), ParameterGroup(shared, shared_factor)


def make_optimizers(model: TwoInOne, config: ScheduleConfig) -> dict[StageName, torch.optim.Adam]:
    """One Adam per stage, each with its own moments, also of the decoder that they share.

    Rates are 0 until ``set_rates`` is called with an epoch.

    Args:
        model: the network, with what is not to learn frozen.
        config: of the schedule.
    """
    first, second = config.betas
    made: dict[StageName, torch.optim.Adam] = {}
    for stage in STAGES:
        groups = [
            {"params": list(group.parameters.values()), "lr": 0.0, "factor": group.factor}
            for group in parameter_groups(model, stage, config.shared_factor)
        ]
        made[stage] = torch.optim.Adam(groups, lr=0.0, betas=(first, second))
    return made


def set_rates(
    optimizers: Mapping[StageName, torch.optim.Optimizer], config: ScheduleConfig, epoch: int
) -> None:
    """Give optimisers the rates of an epoch; nothing has to be remembered to resume.

    Args:
        optimizers: of ``make_optimizers``.
        config: of the schedule.
        epoch: counted from 1.
    """
    for stage, optimizer in optimizers.items():
        rate = config.rate(stage, epoch)
        for group in optimizer.param_groups:
            group["lr"] = rate * group["factor"]


def _decoder_parameters(model: TwoInOne, layers: range) -> dict[str, nn.Parameter]:
    return {
        f"decoder.{name}": parameter
        for name, parameter in model.decoder.named_parameters()
        if int(name.split(".")[1]) in layers
    }
