"""``fit``: one stage from its settings to a trained student in a run folder."""

from __future__ import annotations

import json
import logging
import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import torch
from lightning.pytorch.callbacks import (
    Callback,
    EarlyStopping,
    EMAWeightAveraging,
    LearningRateMonitor,
    ModelCheckpoint,
    RichProgressBar,
    TQDMProgressBar,
)
from lightning.pytorch.loggers import TensorBoardLogger

from rangemask.errors import InputError, RangemaskError
from rangemask.models.rangemask import RangeMask
from rangemask.training.config import TrainConfig
from rangemask.training.data import Frames, FramesModule, open_frames
from rangemask.training.metrics_log import MetricsLog, read_rows
from rangemask.training.module import StudentModule
from rangemask.training.plots import write_plots
from rangemask.training.run_folder import RunFolder, Settings, environment
from rangemask.training.scores import DIRECTIONS
from rangemask.training.stages import STAGES, wanted_of
from rangemask.training.students import student_for, trained_card

logger = logging.getLogger(__name__)

_PRECISIONS = ("32-true", "bf16-mixed", "16-mixed")


@dataclass(frozen=True, slots=True, kw_only=True)
class Fitted:
    """What came of a run."""

    folder: Path
    best: Path
    """The student of the best epoch."""
    scores: Mapping[str, float]
    """Of the best epoch, on validation frames."""
    finished: bool
    """Whether it came to its end; an interrupted run can be resumed."""
    reasons: Sequence[str] = ()
    """Why a guard stopped it."""


class OutOfMemoryError(RangemaskError):
    """Training does not fit into the device's memory."""


def fit(config: TrainConfig, *, progress: bool = True) -> Fitted:
    """Train one stage.

    Args:
        config: what, on what, how.
        progress: show bars.

    Raises:
        InputError: settings, data or checkpoints cannot be used, or nothing can be learnt.
        TrainingError: the loss is not finite.
        OutOfMemoryError: with which options to lower.
        OutputError: the run's folder is taken or cannot be written.
    """
    frames = open_frames(config.data, config.run.seed)
    student = student_for(config, frames.classes)
    wanted = wanted_of(STAGES[config.stage], student.config)
    data = FramesModule(
        frames,
        config.data,
        wanted,
        multiple=student.config.multiple_px,
        seed=config.run.seed,
    )
    folder = start_folder(config, frames)
    module = StudentModule(student.train(), config, folder)
    trainer = make_trainer(config, folder, progress=progress)
    checkpoint = folder.last_checkpoint if config.run.resume else None
    with running(config, folder):
        trainer.fit(module, datamodule=data, ckpt_path=checkpoint, weights_only=True)
    return _finish(config, folder, frames, module, trainer)


class JudgeTheEnd(Callback):
    """A run whose steps end within an epoch is judged and saved there, as after a whole one.

    Lightning ends it without either: the last steps, of the smallest rates, would be lost.
    """

    def on_train_batch_end(self, trainer: pl.Trainer, *rest: Any) -> None:
        """Ask for an orderly end at the last step."""
        del rest
        if 0 < trainer.max_steps <= trainer.global_step:
            trainer.should_stop = True


def start_folder(config: Settings, frames: Frames) -> RunFolder:
    """The run's folder, with what it was asked and on what; or the one to go on with.

    Raises:
        InputError: there is nothing to resume, or the data is another.
        OutputError: the folder is taken or cannot be written.
    """
    folder = RunFolder.create(config.run, config.stage)
    if config.run.resume:
        _check_same_data(folder, frames)
        return folder
    folder.write_config(config)
    folder.write_json("environment.json", environment())
    folder.write_json("data.json", frames.to_dict())
    return folder


@contextmanager
def running(config: Settings, folder: RunFolder, *, memory: str | None = None) -> Iterator[None]:
    """What happens within is noted in the folder, and lack of memory is put into words.

    Args:
        config: of the run.
        folder: of the run.
        memory: what to do when memory does not suffice; the options of stages without it.
    """
    folder.write_state(config.stage, "running")
    advice = memory if memory is not None else _memory_advice(config)
    try:
        with _quiet(), _memory_in_words(advice):
            yield
    except BaseException:
        folder.write_state(config.stage, "stopped")
        raise


def make_trainer(
    config: TrainConfig,
    folder: RunFolder,
    *,
    progress: bool,
    callbacks: Sequence[Callback] | None = None,
    validates: bool = True,
) -> pl.Trainer:
    """Lightning's trainer of a run.

    Args:
        config: of the run.
        folder: of the run.
        progress: show bars.
        callbacks: instead of those of stages with a score.
        validates: whether there is a validation loop.
    """
    settings = config.trainer
    minutes = settings.max_minutes
    several = settings.devices > 1
    # A batch may ask nothing of some parts, such as prompts that are all points.
    on_processor = settings.accelerator == "cpu" or not torch.cuda.is_available()
    # On processors the workers are made from this one: no command has to be run again.
    way = "ddp_spawn" if on_processor else "ddp"
    chosen = _callbacks(config, folder) if callbacks is None else list(callbacks)
    with _quiet():
        return pl.Trainer(
            max_epochs=settings.max_epochs,
            max_steps=settings.max_steps,
            max_time=None if minutes is None else {"seconds": minutes * 60},  # type: ignore[dict-item]
            accelerator=settings.accelerator,
            devices=settings.devices,
            strategy=f"{way}_find_unused_parameters_true" if several else "auto",
            precision=precision_of(config),  # type: ignore[arg-type]
            accumulate_grad_batches=config.optimizer.accumulate,
            gradient_clip_val=config.optimizer.clip_norm or None,
            callbacks=[*chosen, *([_bar()] if progress else [])],
            logger=[
                MetricsLog(folder.metrics_csv),
                TensorBoardLogger(folder.path, name="", version="tensorboard"),
            ],
            log_every_n_steps=settings.log_every,
            enable_progress_bar=progress,
            enable_model_summary=False,
            num_sanity_val_steps=0,
            limit_val_batches=None if validates else 0,
            use_distributed_sampler=False,
            deterministic="warn",
        )


def precision_of(config: TrainConfig) -> str:
    """Lightning's word for the precision."""
    asked, device = config.trainer.precision, config.trainer.accelerator
    if asked != "auto":
        words = dict(zip(("float32", "bfloat16", "float16"), _PRECISIONS, strict=True))
        return words[asked]
    if device == "cpu" or not torch.cuda.is_available():
        return _PRECISIONS[0]
    return _PRECISIONS[1] if torch.cuda.is_bf16_supported() else _PRECISIONS[2]


def _callbacks(config: TrainConfig, folder: RunFolder) -> list[Callback]:
    score = STAGES[config.stage].score
    found: list[Callback] = [
        ModelCheckpoint(
            dirpath=folder.checkpoints,
            filename="best",
            monitor=f"val/{score}",
            mode=DIRECTIONS[score],
            save_last=True,
            enable_version_counter=False,
        ),
        LearningRateMonitor(logging_interval="step"),
        JudgeTheEnd(),
    ]
    if config.trainer.patience:
        found.append(
            EarlyStopping(
                monitor=f"val/{score}", mode=DIRECTIONS[score], patience=config.trainer.patience
            )
        )
    if config.optimizer.ema_decay:
        found.append(EMAWeightAveraging(decay=config.optimizer.ema_decay))
    return found


def _bar() -> Callback:
    try:
        return RichProgressBar()
    except ModuleNotFoundError:
        return TQDMProgressBar()


def _finish(
    config: TrainConfig,
    folder: RunFolder,
    frames: Frames,
    module: StudentModule,
    trainer: pl.Trainer,
) -> Fitted:
    """Students of the best and the last epoch, curves, and the end of the run's story."""
    checkpoint = trainer.checkpoint_callback
    best_path = Path(getattr(checkpoint, "best_model_path", "") or folder.last_checkpoint)
    scores = best_scores(folder, STAGES[config.stage].score)
    finished = trainer.state.finished and not trainer.interrupted
    for name, path in (("last", folder.last_checkpoint), ("best", best_path)):
        if path.is_file():
            export(module.student, path, folder.path / name, config, frames, scores)
    write_plots(folder)
    state = "finished" if finished else "stopped"
    folder.write_state(config.stage, state, best=dict(scores), epochs=trainer.current_epoch)
    return Fitted(
        folder=folder.path, best=folder.path / "best", scores=scores, finished=bool(finished)
    )


def export(
    student: RangeMask,
    checkpoint: Path,
    target: Path,
    config: TrainConfig,
    frames: Frames,
    scores: Mapping[str, float],
) -> None:
    """A checkpoint as a student that ``load_model`` takes."""
    state = torch.load(checkpoint, weights_only=True, map_location="cpu")["state_dict"]
    prefix = "student."
    weights = {
        name.removeprefix(prefix): value for name, value in state.items() if name.startswith(prefix)
    }
    student.cpu().load_state_dict(weights)
    before = student.card
    student.card = replace(
        trained_card(
            before,
            frames.sources,
            f"Stage {config.stage} on {len(frames.train_indices)} frames, validated on "
            f"{len(frames.val_indices)} (fingerprint {frames.fingerprint[:12]}).",
        ),
        metrics={**before.metrics, **{f"val/{name}": value for name, value in scores.items()}},
    )
    student.save_pretrained(target, overwrite=True)
    student.card = before


def best_scores(folder: RunFolder, score: str) -> dict[str, float]:
    """Validation scores of the epoch that was best in one of them."""
    best: dict[str, float] = {}
    direction = DIRECTIONS[score]
    for row in read_rows(folder.metrics_csv):
        found = {
            name.removeprefix("val/"): value
            for name, value in row.items()
            if name.startswith("val/")
        }
        if score not in found:
            continue
        better = found[score] < best.get(score, math.inf)
        if direction == "max":
            better = found[score] > best.get(score, -math.inf)
        best = found if better else best
    return best


def _check_same_data(folder: RunFolder, frames: Frames) -> None:
    before: dict[str, Any] = json.loads((folder.path / "data.json").read_text(encoding="utf-8"))
    if before.get("fingerprint") != frames.fingerprint:
        raise InputError(
            f"{folder.path}: the data has changed since the run began, so it cannot go on as if "
            "it had not. Start a new run with model.start_from of this one's last/."
        )


@contextmanager
def _memory_in_words(advice: str) -> Iterator[None]:
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise OutOfMemoryError(
            f"the device's memory does not suffice ({str(error).splitlines()[0][:160]}). {advice}"
        ) from error


def _memory_advice(config: Settings) -> str:
    if not isinstance(config, TrainConfig):
        return "The last checkpoint is kept."
    return (
        f"Lower data.batch_size (now {config.data.batch_size}) and raise optimizer.accumulate (now "
        f"{config.optimizer.accumulate}) as much; or data.size_px (now "
        f"{list(config.data.size_px)}); or set model.checkpointing=true or "
        "trainer.precision=bfloat16. The last checkpoint is kept."
    )


@contextmanager
def _quiet() -> Iterator[None]:
    """Lightning's advice that is no news here."""
    said = logging.getLogger("lightning.pytorch")
    level = said.level
    said.setLevel(logging.WARNING)
    with warnings.catch_warnings():
        for text in (
            ".*does not have many workers.*",
            ".*The number of training batches.*smaller than the logging interval.*",
            ".*Checkpoint directory.*exists and is not empty.*",
            ".*Experiment logs directory.*exists and is not empty.*",
            ".*You're resuming from a checkpoint that ended before the epoch ended.*",
            ".*isinstance.treespec, LeafSpec.*",
            ".*GPU available but not used.*",
            ".*could not find the monitored key.*",
        ):
            warnings.filterwarnings("ignore", text)
        try:
            yield
        finally:
            said.setLevel(level)
