"""``BackboneAdaptation``: the objective of DINOv2 for a backbone that is there already."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

import torch
from torch import Tensor, nn

from rangemask.models.backbone import Backbone
from rangemask.models.images import normalise
from rangemask.training.losses.loss import Loss
from rangemask.training.self_supervision.adapters import adapt, plain_state, set_checkpointing
from rangemask.training.self_supervision.config import DinoAdaptationConfig
from rangemask.training.self_supervision.crops import GLOBAL_VIEWS, Crops, multi_crop
from rangemask.training.self_supervision.losses import (
    Bounded,
    Targets,
    dino_loss,
    ibot_loss,
    information,
    koleo_loss,
)
from rangemask.training.self_supervision.masks import block_masks
from rangemask.training.self_supervision.schedules import (
    backbone_learns,
    teacher_momentum,
    teacher_temperature,
)
from rangemask.training.self_supervision.student import Said, Student
from rangemask.training.self_supervision.teacher import EmaTeacher


class _Seen(NamedTuple):
    """Of the large views, per kind of token: the teacher's targets."""

    class_tokens: tuple[Tensor, ...]
    """Per large view, (B, K)."""
    patches: Tensor | None
    """(R, K), hidden patches."""


class BackboneAdaptation(nn.Module):
    """Student, teacher and heads; tensors in, losses out; no optimiser and no loop.

    A step is ``training_step``, backward, clipping to ``config.clip_norm``, the optimiser (over
    ``parameters.parameter_groups``), then ``after_step``. During the warm-up of the heads the
    backbone gets no gradients at all: optimisers have to skip parameters without
    (``zero_grad(set_to_none=True)``, the default), and DistributedDataParallel has to be told to
    find unused parameters.

    Args:
        backbone: a plain one; what learns of it is chosen and changed in place.
        config: everything else.

    Raises:
        InputError: the backbone has fewer blocks than are to learn, or adapters already.
    """

    def __init__(self, backbone: Backbone, config: DinoAdaptationConfig) -> None:
        super().__init__()
        self.config = config
        adapt(backbone, config.adapters)
        set_checkpointing(backbone, enable=config.gradient_checkpointing)
        self.student = Student(backbone, config)
        self.teacher = EmaTeacher(self.student)
        options = (config.heads.prototypes, config.targets, config.centre_momentum)
        self.class_targets, self.patch_targets = Targets(*options), Targets(*options)

    @property
    def backbone(self) -> Backbone:
        """The student's."""
        return self.student.backbone

    def forward(self, images: Tensor, generator: torch.Generator, progress: float) -> Loss:
        """``training_step``, under the name that wrappers call."""
        return self.training_step(images, generator, progress)

    def training_step(self, images: Tensor, generator: torch.Generator, progress: float) -> Loss:
        """Loss of a batch, with new views and new hidden patches.

        Args:
            images: (B, 3, H, W) float RGB in [0, 1], of any size.
            generator: where random numbers come from.
            progress: share of optimiser steps done, in [0, 1].

        Returns:
            ``parts``: ``dino``, ``ibot``, ``koleo``; ``dino_excess`` and ``ibot_excess``, what
            the first two are above the entropy of their targets, which is small where targets
            say nothing as well; ``information``, what DINO's targets tell of which view they are
            of, in nats, 0 once the teacher has collapsed; ``spread`` of class tokens.

        Raises:
            InputError: these are no images.
        """
        crops = multi_crop(images, self.config.crops, generator)
        side = self.config.crops.global_px // self.backbone.patch_px
        masks = block_masks(len(crops.large), (side, side), self.config.masks, generator)
        return self.loss_of_views(crops, masks.to(images.device), progress)

    def loss_of_views(self, crops: Crops, masks: Tensor, progress: float) -> Loss:
        """The same for views that are made already.

        Args:
            crops: views, RGB in [0, 1].
            masks: (2 * B, h, w) bool, patches of large views to hide; any number of them.
            progress: share of optimiser steps done.
        """
        asked = masks if self.config.ibot_weight and bool(masks.any()) else None
        targets = self._targets(crops, asked, progress)
        learning = {
            "learn_backbone": backbone_learns(self.config, progress),
            "learn_prototypes": progress >= self.config.frozen_prototypes,
        }
        large: Said = self.student(normalise(crops.large), hidden=masks, asked=asked, **learning)
        per_view = large.class_cosines.chunk(GLOBAL_VIEWS)
        small: tuple[Tensor, ...] = ()
        if len(crops.small):
            said: Said = self.student(normalise(crops.small), **learning)
            small = said.class_cosines.split(len(per_view[0]))
        temperature = self.config.student_temperature
        dino = dino_loss(per_view, small, targets.class_tokens, temperature)
        ibot = None
        if asked is not None and large.patch_cosines is not None and targets.patches is not None:
            ibot = ibot_loss(large.patch_cosines, targets.patches, asked, temperature)
        views = large.class_token.chunk(GLOBAL_VIEWS)
        koleo = torch.stack([koleo_loss(view) for view in views]).mean()
        told = information(torch.cat(targets.class_tokens))
        return self._total(dino, ibot, koleo, told, large.class_token)

    def after_step(self, progress: float) -> None:
        """Move the teacher; to be called after every step of the optimiser."""
        self.teacher.update(self.student, teacher_momentum(self.config, progress))

    @contextmanager
    def averaged(self) -> Iterator[Backbone]:
        """The backbone with the teacher's numbers, for a while: what is worth keeping."""
        with self.teacher.lent(self.student):
            yield self.backbone

    def product(self) -> dict[str, Tensor]:
        """The teacher's backbone as plain DINOv2 weights, adapters merged, cloned."""
        with self.averaged() as backbone:
            return {name: value.clone() for name, value in plain_state(backbone).items()}

    def learnt(self) -> dict[str, Tensor]:
        """All that training changes here, by name: enough to come back to this point.

        The optimiser's moments are not among it.
        """
        found = {
            name: parameter.data
            for name, parameter in self.named_parameters()
            if parameter.requires_grad
        }
        return found | dict(self.named_buffers())

    def _targets(self, crops: Crops, asked: Tensor | None, progress: float) -> _Seen:
        temperature = teacher_temperature(self.config, progress)
        said: Said = self.teacher.see(self.student, normalise(crops.large), asked=asked)
        class_tokens = self.class_targets(said.class_cosines, temperature).chunk(GLOBAL_VIEWS)
        if said.patch_cosines is None:
            return _Seen(class_tokens, None)
        return _Seen(class_tokens, self.patch_targets(said.patch_cosines, temperature))

    def _total(
        self, dino: Bounded, ibot: Bounded | None, koleo: Tensor, told: Tensor, class_token: Tensor
    ) -> Loss:
        config = self.config
        total = config.dino_weight * dino.loss + config.koleo_weight * koleo
        parts = {"dino": dino.loss, "dino_excess": dino.excess, "koleo": koleo}
        if ibot is not None:
            total = total + config.ibot_weight * ibot.loss
            parts |= {"ibot": ibot.loss, "ibot_excess": ibot.excess}
        parts |= {"information": told, "spread": spread(class_token)}
        return Loss(total, {name: value.detach() for name, value in parts.items()})


@torch.no_grad()
def spread(tokens: Tensor) -> Tensor:
    """Root of the summed variances of unit vectors, from rows (N, C).

    About 1 for vectors in all directions, 0 where all are the same.
    """
    with torch.autocast(tokens.device.type, enabled=False):
        unit = nn.functional.normalize(tokens.float(), dim=-1)
        return unit.std(0, unbiased=False).square().sum().sqrt()
