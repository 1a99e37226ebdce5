"""The student as Lightning trains it."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from torch import Tensor, nn
from torch.optim.lr_scheduler import LambdaLR

from rangemask.errors import RangemaskError
from rangemask.models.rangemask import RangeMask
from rangemask.training.batch import Batch
from rangemask.training.config import OptimizerConfig, TrainConfig
from rangemask.training.predictions import keep_predictions
from rangemask.training.run_folder import RunFolder
from rangemask.training.scores import Scores
from rangemask.training.stage_loss import StageLoss
from rangemask.training.stages import STAGES, Stage


class TrainingError(RangemaskError):
    """Training cannot go on; says why and what to change."""


class StudentModule(pl.LightningModule):
    """One stage of a student's training.

    Args:
        student: on any device; everything that the stage does not train is frozen here.
        config: of the run.
        folder: where bad batches and predictions go; None keeps none.
    """

    def __init__(
        self, student: RangeMask, config: TrainConfig, folder: RunFolder | None = None
    ) -> None:
        super().__init__()
        self.student = student
        self.config = config
        self.folder = folder
        self.stage = STAGES[config.stage]
        self.loss = StageLoss(self.stage, student.config, config.loss)
        self._scores: Scores | None = None
        self._kept = 0
        self.learning = freeze_but(student, self.stage, config)

    def training_step(self, batch: Batch, index: int) -> Tensor:
        """The loss of a batch.

        Raises:
            TrainingError: it is not finite.
        """
        loss = self.loss(self.student, batch, self._generator(self.global_step, index))
        if not bool(torch.isfinite(loss.total)):
            self._stop_at(batch, loss.parts)
        values = {f"train/{name}": part for name, part in loss.parts.items()}
        self.log_dict(
            {"train/loss": loss.total.detach(), **values}, batch_size=len(batch), sync_dist=False
        )
        return loss.total

    def on_train_epoch_start(self) -> None:
        """Frozen parts stay as they are, running statistics too."""
        for name, part in self.student.named_children():
            part.train(name in self.learning)

    def on_validation_epoch_start(self) -> None:
        """Begin to count."""
        self._scores, self._kept = Scores(self.student.config), 0

    def validation_step(self, batch: Batch, index: int) -> None:
        """Loss and scores of a batch."""
        loss, output = self.loss.with_output(self.student, batch, self._generator(0, index))
        self.log("val/loss", loss.total, batch_size=len(batch), on_epoch=True, sync_dist=True)
        if self._scores is not None:
            self._scores.update(output, batch)
        room = self.config.trainer.predictions - self._kept
        if self.folder is not None and room > 0 and self.trainer.is_global_zero:
            epoch = self.folder.predictions / f"epoch_{self.current_epoch:03}"
            self._kept += keep_predictions(epoch, self.student.config, output, batch, room)

    def on_validation_epoch_end(self) -> None:
        """Log the scores."""
        if self._scores is not None:
            found = {f"val/{name}": value for name, value in self._scores.result().items()}
            self.log_dict(found, sync_dist=True)

    def configure_optimizers(self) -> Any:
        """AdamW with warm-up and cosine, stepped with every optimiser step."""
        optimizer = torch.optim.AdamW(
            parameter_groups(self.student, self.config.optimizer),
            lr=self.config.optimizer.lr,
            weight_decay=self.config.optimizer.weight_decay,
        )
        steps = int(self.trainer.estimated_stepping_batches)
        schedule = LambdaLR(optimizer, warmup_cosine(steps, self.config.optimizer))
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": schedule, "interval": "step"},
        }

    def _generator(self, step: int, index: int) -> torch.Generator:
        """Random places of a loss: the same for the same step, so that a resumed run agrees."""
        generator = torch.Generator()
        generator.manual_seed(self.config.run.seed * 1_000_003 + step * 1_009 + index)
        return generator

    def _stop_at(self, batch: Batch, parts: dict[str, Tensor]) -> None:
        said = ", ".join(f"{name} {float(part):g}" for name, part in parts.items())
        where = ""
        if self.folder is not None:
            path = self.folder.path / "bad_batch.pt"
            torch.save(plain_batch(batch), path)
            where = f" The batch is in {path}; the last checkpoint before stays beside it."
        raise TrainingError(
            f"the loss is not finite at step {self.global_step} ({said}; frames "
            f"{', '.join(batch.names)}).{where} Look at its labels, lower optimizer.lr, or train "
            "with trainer.precision=float32."
        )


def plain_batch(batch: Batch) -> dict[str, Any]:
    """A batch as a table of tensors and names, which ``torch.load(weights_only=True)`` reads."""
    values = {name: getattr(batch, name) for name in batch.__dataclass_fields__}
    return {
        name: list(value) if isinstance(value, tuple) else value
        for name, value in values.items()
        if value is not None
    }


def freeze_but(student: RangeMask, stage: Stage, config: TrainConfig) -> frozenset[str]:
    """Freeze a student but for what a stage trains; gives the names of the parts that learn."""
    student.requires_grad_(False)
    learning = {head for head in stage.trains if head in student.config.heads}
    dense = set(stage.asks) & set(student.config.heads) - {"semantic"}
    if config.model.train_pyramid and student.pyramid is not None and dense:
        learning.add("pyramid")
    for name in learning:
        getattr(student, name).requires_grad_(True)
    if student.config.trained_blocks:
        student.freeze()  # the backbone's part of it
        learning.add("backbone")
    return frozenset(learning)


def parameter_groups(network: nn.Module, config: OptimizerConfig) -> list[dict[str, Any]]:
    """What learns, by rate and decay: norms and biases do not decay, the backbone learns slower."""
    groups: dict[tuple[bool, bool], list[nn.Parameter]] = {}
    for name, parameter in network.named_parameters():
        if parameter.requires_grad:
            slow, plain = name.startswith("backbone."), parameter.ndim < 2
            groups.setdefault((slow, plain), []).append(parameter)
    return [
        {
            "params": parameters,
            "lr": config.lr * (config.backbone_lr_share if slow else 1.0),
            "weight_decay": 0.0 if plain else config.weight_decay,
        }
        for (slow, plain), parameters in sorted(groups.items())
    ]


def warmup_cosine(steps: int, config: OptimizerConfig) -> Callable[[int], float]:
    """Factor of the rate at each step: linear up, then half a cosine down."""
    warm = round(config.warmup_share * steps)

    def factor(step: int) -> float:
        if step < warm:
            return (step + 1) / (warm + 1)
        progress = min((step - warm) / max(steps - warm, 1), 1.0)
        last = config.last_lr_share
        return last + (1 - last) * 0.5 * (1 + math.cos(math.pi * progress))

    return factor


def load_batch(path: str | Path) -> Batch:
    """A batch that was kept because its loss was not finite."""
    values = torch.load(path, weights_only=True)
    lists = {"names", "masks", "mask_classes"}
    known: dict[str, Any] = {n: tuple(v) if n in lists else v for n, v in values.items()}
    return Batch(**known)
