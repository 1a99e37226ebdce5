"""``adapt_backbone``: the stage that trains the backbone on images without labels, under guard."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import Callback, LearningRateMonitor, ModelCheckpoint
from safetensors.torch import save_file
from torch import Tensor
from torch.optim.lr_scheduler import LambdaLR

from rangemask.atomic import atomic_file
from rangemask.errors import InputError
from rangemask.models.backbone import Backbone, build_backbone
from rangemask.models.loading import load_backbone
from rangemask.models.plain import from_plain
from rangemask.models.pretrained import from_pretrained
from rangemask.training.batch import Batch
from rangemask.training.config import TrainConfig
from rangemask.training.data import Frames, FramesModule, open_frames, reading
from rangemask.training.examples import Wanted, to_example
from rangemask.training.fit import Fitted, make_trainer, running, start_folder
from rangemask.training.losses import Loss
from rangemask.training.module import TrainingError
from rangemask.training.plots import write_plots
from rangemask.training.self_supervision.adaptation import BackboneAdaptation
from rangemask.training.self_supervision.config import DinoAdaptationConfig
from rangemask.training.self_supervision.guard import GuardConfig, GuardRail, Verdict
from rangemask.training.self_supervision.held_out import held_out
from rangemask.training.self_supervision.parameters import parameter_groups
from rangemask.training.self_supervision.schedules import learning_rate_factor
from rangemask.training.self_supervision.supervisor import FILE, Supervisor
from rangemask.training.students import DOWNLOAD

logger = logging.getLogger(__name__)

STAGE = "backbone"
WEIGHTS = "backbone.safetensors"
_PATCH_PX = 14
FEW_IMAGES, FEW_RECORDINGS = 10_000, 10
"""With fewer, adaptation mostly harms (docs/backbone-adaptation.md)."""


class AdaptationModule(pl.LightningModule):
    """Self-supervision as Lightning runs it; the guard looks after every epoch.

    Args:
        adaptation: student, teacher and heads.
        supervisor: stops it.
        seed: of views and hidden patches.
    """

    def __init__(self, adaptation: BackboneAdaptation, supervisor: Supervisor, seed: int) -> None:
        super().__init__()
        self.adaptation = adaptation
        self.supervisor = supervisor
        self.seed = seed
        self.verdict: Verdict | None = None
        self._steps = 1

    @property
    def progress(self) -> float:
        """Share of the optimiser's steps that are done."""
        return min(self.global_step / self._steps, 1.0)

    def training_step(self, batch: Batch, index: int) -> Tensor:
        """The loss of a batch of images.

        Raises:
            TrainingError: it is not finite.
        """
        generator = torch.Generator()
        generator.manual_seed(self.seed * 1_000_003 + self.global_step * 1_009 + index)
        loss: Loss = self.adaptation(batch.images, generator, self.progress)
        if not bool(torch.isfinite(loss.total)):
            raise TrainingError(
                f"the loss is not finite at step {self.global_step} (frames "
                f"{', '.join(batch.names)}). Lower optimizer.lr; the last good backbone is kept."
            )
        parts = {f"train/{name}": part for name, part in loss.parts.items()}
        self.log_dict({"train/loss": loss.total.detach(), **parts}, batch_size=len(batch))
        return loss.total

    def on_train_batch_end(self, outputs: Any, batch: Batch, batch_idx: int) -> None:
        """The teacher follows every step."""
        del outputs, batch, batch_idx
        self.adaptation.after_step(self.progress)

    def on_train_epoch_end(self) -> None:
        """Ask the guard; go back and stop where it says so."""
        self.verdict = self.supervisor.check()
        self.log_dict({f"val/{name}": v for name, v in self.verdict.numbers.named().items()})
        if not self.verdict.ok:
            logger.error(
                "the guard stops training and brings the last good backbone back: %s",
                "; ".join(self.verdict.reasons),
            )
            self.trainer.should_stop = True

    def configure_optimizers(self) -> Any:
        """AdamW with layer-wise rates; the backbone waits for its heads."""
        config = self.adaptation.config
        self._steps = max(int(self.trainer.estimated_stepping_batches), 1)
        groups = parameter_groups(self.adaptation.student, config)
        flags = [bool(group["backbone"]) for group in groups]
        optimizer = torch.optim.AdamW(groups, lr=config.lr)

        def factor(step: int, *, backbone: bool) -> float:
            return learning_rate_factor(config, step / self._steps, backbone=backbone)

        schedule = LambdaLR(optimizer, [partial(factor, backbone=flag) for flag in flags])
        return {
            "optimizer": optimizer,
            "lr_scheduler": {"scheduler": schedule, "interval": "step"},
        }


def adapt_backbone(config: TrainConfig, *, progress: bool = True) -> Fitted:
    """Adapt a backbone to images, or stop where its features get worse.

    Leaves ``best/backbone.safetensors``, plain DINOv2 weights that ``load_backbone`` and
    ``model.backbone`` take. Heads that were trained on the old backbone have to be trained anew.

    Args:
        config: of the run; ``config.adaptation`` and ``config.guard`` are this stage's own.
        progress: show bars.

    Raises:
        InputError: settings, images or weights cannot be used.
        TrainingError: the loss is not finite.
    """
    settings = _settings(config)
    guard_config: GuardConfig = from_plain(GuardConfig, config.guard, "guard")
    frames = open_frames(config.data, config.run.seed)
    _doubts(frames)
    data = _data(config, frames)
    torch.manual_seed(config.run.seed)
    backbone = _backbone(config)
    guard = GuardRail(backbone, held_out(data.val_dataloader()), guard_config)
    adaptation = BackboneAdaptation(backbone, settings)
    folder = start_folder(config, frames)
    kept = folder.checkpoints / FILE
    before = kept.read_bytes() if config.run.resume and kept.is_file() else None
    supervisor = Supervisor(adaptation, guard, folder.checkpoints)
    if before is not None:  # what was good last, not what this process begins with
        kept.write_bytes(before)
    module = AdaptationModule(adaptation, supervisor, config.run.seed)
    plain = replace(config, optimizer=replace(config.optimizer, clip_norm=settings.clip_norm))
    trainer = make_trainer(
        plain, folder, progress=progress, callbacks=_callbacks(folder.checkpoints), validates=False
    )
    checkpoint = folder.last_checkpoint if config.run.resume else None
    with running(config, folder):
        trainer.fit(
            module,
            train_dataloaders=_loader(data, trainer),
            ckpt_path=checkpoint,
            weights_only=True,
        )
    target = folder.path / "best" / WEIGHTS
    weights = {name: value.cpu().contiguous() for name, value in adaptation.product().items()}
    with atomic_file(target) as staging:
        save_file(weights, staging, metadata={"format": "pt"})
    write_plots(folder)
    stopped = supervisor.stopped
    scores = {} if module.verdict is None else module.verdict.numbers.named()
    state = "finished" if stopped is None else "stopped by the guard"
    reasons = [] if stopped is None else list(stopped.reasons)
    folder.write_state(STAGE, state, best=scores, reasons=reasons)
    return Fitted(
        folder=folder.path, best=target, scores=scores, finished=stopped is None, reasons=reasons
    )


def _loader(data: FramesModule, trainer: pl.Trainer) -> Any:
    data.trainer = trainer
    return data.train_dataloader()


def _callbacks(folder: Path) -> list[Callback]:
    return [
        ModelCheckpoint(
            dirpath=folder, filename="epoch", save_last=True, enable_version_counter=False
        ),
        LearningRateMonitor(logging_interval="step"),
    ]


def _doubts(frames: Frames) -> None:
    """Say when the images are too few for this to do any good; it is the user's to decide."""
    sequences = frames.train.sequences
    recordings = len({sequences[index] for index in frames.train_indices})
    images = len(frames.train_indices)
    if images < FEW_IMAGES or recordings < FEW_RECORDINGS:
        logger.warning(
            "%d images of %d recordings: with fewer than %d images or %d recordings, adapting the "
            "backbone mostly harms its features. Heads on the published backbone, or "
            "model.trained_blocks with labels, are the better choice; see "
            "docs/backbone-adaptation.md.",
            images,
            recordings,
            FEW_IMAGES,
            FEW_RECORDINGS,
        )


def _settings(config: TrainConfig) -> DinoAdaptationConfig:
    given: Mapping[str, Any] = {
        "lr": config.optimizer.lr,
        "gradient_checkpointing": config.model.checkpointing,
        **config.adaptation,
    }
    settings: DinoAdaptationConfig = from_plain(DinoAdaptationConfig, given, "adaptation")
    return settings


def _backbone(config: TrainConfig) -> Backbone:
    model = config.model
    name = f"dinov2-{model.preset}"
    if model.start_from is not None:
        return from_pretrained(model.start_from).backbone
    if model.backbone is not None:
        where = None if model.backbone == DOWNLOAD else model.backbone
        return load_backbone(name, checkpoint=where, device="cpu", precision="float32")
    if model.preset != "nano":
        raise InputError(
            "adapting a backbone needs one that has learnt: model.backbone=FILE, "
            f"model.backbone={DOWNLOAD}, or model.start_from=FOLDER."
        )
    return build_backbone(name)


def _data(config: TrainConfig, frames: Frames) -> FramesModule:
    """Images to learn from without labels; held-out ones with those that there are, for probes."""
    module = FramesModule(
        frames,
        replace(config.data, augmentation="none"),
        Wanted(needs=frozenset()),
        multiple=_PATCH_PX,
        seed=config.run.seed,
    )
    if frames.classes:
        probing = Wanted(needs=frozenset({"semantic"}), classes=frames.classes)
        try:
            to_example(frames.val[frames.val_indices[0]], probing)
        except InputError:
            logger.info("no labels to probe features with: drift and retrieval alone are watched")
        else:
            module.val_set.wanted = probing
            module.val_set.data = reading(frames.val, probing)
    return module
