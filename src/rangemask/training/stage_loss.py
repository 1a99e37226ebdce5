"""A stage's forward pass and what it minimises."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch

from rangemask.models.config import RangeMaskConfig
from rangemask.models.plain import from_plain
from rangemask.models.rangemask import RangeMask, RangeMaskOutput
from rangemask.training.batch import Batch
from rangemask.training.losses import HeadWeights, JointLossConfig, Loss, joint_loss
from rangemask.training.stages import Stage, asked_of


class StageLoss:
    """Asks the heads that a stage needs and compares what they say.

    Args:
        stage: what is trained.
        student: its configuration.
        options: of the losses by head, such as ``{"depth": {"kind": "l1"}}``; of the joint stage
            also ``weights``.

    Raises:
        InputError: an option is unknown or impossible.
    """

    def __init__(
        self, stage: Stage, student: RangeMaskConfig, options: Mapping[str, Any] | None = None
    ) -> None:
        self.heads = asked_of(stage, student)
        given = dict(options or {})
        relative = student.depth is not None and student.depth.max_depth_m is None
        if relative:
            # Relative depth has neither scale nor zero, so only such a loss can compare it.
            given["depth"] = {"kind": "ssi", **given.get("depth", {})}
        config: JointLossConfig = from_plain(JointLossConfig, given, "loss")
        if relative:
            config = replace(config, depth=replace(config.depth, inverse_truth=True))
        if stage.name != "joint":
            trained = [head for head in stage.trains if head in student.heads]
            config = replace(config, weights=HeadWeights.only(*trained))
        self.config = config

    def __call__(
        self, student: RangeMask, batch: Batch, generator: torch.Generator | None = None
    ) -> Loss:
        """The loss of a batch; see ``with_output``."""
        return self.with_output(student, batch, generator)[0]

    def with_output(
        self, student: RangeMask, batch: Batch, generator: torch.Generator | None = None
    ) -> tuple[Loss, RangeMaskOutput]:
        """The loss of a batch, and what the student said.

        Args:
            student: to ask.
            batch: with the labels of the stage.
            generator: of prompts and random places.

        Raises:
            InputError: labels are missing or do not fit.
            NothingKnownError: nothing is known of any frame.
        """
        output = student(
            batch.images,
            batch.right_images if "stereo" in self.heads else None,
            heads=self.heads,
            deep_supervision=True,
            all_iterates=True,
        )
        return joint_loss(student, output, batch, self.config, generator=generator), output
