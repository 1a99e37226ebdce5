"""Everything that ``rangemask train two-in-one`` is told, typed; the published settings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, TypeAlias, get_args

from rangemask.errors import InputError
from rangemask.models.plain import from_plain
from rangemask.training.config import (
    DataConfig,
    OptimizerConfig,
    Precision,
    RunConfig,
    TrainConfig,
    TrainerConfig,
)
from rangemask.training.two_in_one.augmentation import AugmentationConfig
from rangemask.training.two_in_one.losses import LossConfig
from rangemask.training.two_in_one.schedule import ScheduleConfig

Start: TypeAlias = Literal["auto", "none", "dinov2", "depth-anything-v2"]
STARTS: tuple[Start, ...] = get_args(Start)
STAGE = "two-in-one"
SEED = 2021
"""The published one."""
_MULTIPLE_PX = 32


@dataclass(frozen=True, kw_only=True, slots=True)
class PairDataConfig:
    """Which pairs; labels are not needed, and are looked at for validation alone.

    Raises:
        InputError: a number is impossible.
    """

    root: str | None = None
    """Folder of rectified pairs: ``left/`` and ``right/``, folders of such recordings, a store of
    ours, or whatever else ``open_dataset`` reads."""
    kind: str | None = None
    """Of the data set, where it is not found out."""
    validation: str | None = None
    """Another folder to validate on; without it a share of ``root``."""
    validation_kind: str | None = None
    """Of ``validation``, where it is not ``kind``."""
    validation_share: float = 0.1
    """Of the frames, as whole recordings."""
    train_sequences: tuple[str, ...] | None = None
    """Recordings to learn from, by name; a share of all without it."""
    validation_sequences: tuple[str, ...] | None = None
    """Recordings to validate on, by name."""
    batch_size: int = 8
    workers: int = 4
    limit: int | None = None
    """Use so many pairs at most."""
    checked_pairs: int = 8
    """Looked at before training: are they rectified, is left on the left? 0 for none."""
    cap_m: float = 80.0
    """Truth beyond it is left out of validation."""

    def __post_init__(self) -> None:
        if self.checked_pairs < 0 or not self.cap_m > 0:
            raise InputError(
                "data.checked_pairs must not be negative and data.cap_m must be positive, got "
                f"{self.checked_pairs} and {self.cap_m}."
            )
        self.frames()

    def frames(self) -> DataConfig:
        """What opens and splits them."""
        shared = {
            name: getattr(self, name)
            for name in (
                "root",
                "kind",
                "validation",
                "validation_share",
                "train_sequences",
                "validation_sequences",
                "batch_size",
                "workers",
                "limit",
            )
        }
        return DataConfig(**shared)


@dataclass(frozen=True, kw_only=True, slots=True)
class PairTrainerConfig:
    """On what, and what is kept.

    Raises:
        InputError: a number is impossible.
    """

    accelerator: str = "auto"
    precision: Precision = "float32"
    """As published; auto takes bfloat16 on a GPU that has it."""
    max_minutes: float | None = None
    log_every: int = 10
    """Batches."""
    predictions: int = 6
    """Validation pairs whose predictions are kept for the page, every epoch."""

    def __post_init__(self) -> None:
        self.trainer(1)

    def trainer(self, epochs: int) -> TrainerConfig:
        """For Lightning."""
        return TrainerConfig(max_epochs=epochs, **asdict(self))


@dataclass(frozen=True, kw_only=True, slots=True)
class TwoInOneTrainConfig:
    """One run.

    Raises:
        InputError: a setting is impossible.
    """

    stage: str = STAGE
    encoder: str = "dinov2b"
    """dinov2s, dinov2b, dinov2l, dinov2g, swin-t or nano."""
    model: Mapping[str, Any] = field(default_factory=dict)
    """Other fields of ``TwoInOneConfig``; None stands for its default. ``d2d`` is taken from the
    data, ``mono_path`` from the stages that have learnt."""
    start: Start = "auto"
    """What the encoder's weights are: ``dinov2`` (what ``auto`` means for encoders on DINOv2) or
    ``depth-anything-v2``; ``none`` leaves them random."""
    checkpoint: str | None = None
    """The file for ``start``; downloaded, or taken from the cache, without it."""
    start_from: str | None = None
    """A two-in-one model to go on with: a folder that training wrote. ``encoder``, ``model`` and
    ``start`` are then of no meaning."""
    perceptual: str | None = None
    """VGG-19's file for the perceptual terms; downloaded, or taken from the cache, without it."""
    data: PairDataConfig = field(default_factory=PairDataConfig)
    augmentation: AugmentationConfig = field(default_factory=AugmentationConfig)
    loss: LossConfig = field(default_factory=LossConfig)
    schedule: ScheduleConfig = field(default_factory=ScheduleConfig)
    epochs: int | None = None
    """Bring the whole schedule to so many epochs, in proportion; None leaves it."""
    trainer: PairTrainerConfig = field(default_factory=PairTrainerConfig)
    run: RunConfig = field(default_factory=lambda: RunConfig(seed=SEED))

    def __post_init__(self) -> None:
        if self.stage != STAGE:
            raise InputError(f"stage must be {STAGE}, got {self.stage!r}.")
        if self.start not in STARTS:
            raise InputError(f"start must be one of {', '.join(STARTS)}, got {self.start!r}.")
        if self.epochs is not None and self.epochs < 1:
            raise InputError(f"epochs must be 1 or more, got {self.epochs}.")
        for name in ("full_size", "crop_size"):
            size = getattr(self.augmentation, name)
            if any(side % _MULTIPLE_PX for side in size):
                nearest = [max(round(side / _MULTIPLE_PX), 1) * _MULTIPLE_PX for side in size]
                raise InputError(
                    f"augmentation.{name} must be multiples of {_MULTIPLE_PX} px, got "
                    f"{list(size)}; {nearest} is near."
                )

    @property
    def plan(self) -> ScheduleConfig:
        """The schedule in the epochs that were asked for."""
        return self.schedule if self.epochs is None else self.schedule.scaled(self.epochs)

    def plain(self) -> TrainConfig:
        """What Lightning's trainer is made of; each stage steps by itself, unclipped."""
        return TrainConfig(
            data=self.data.frames(),
            trainer=self.trainer.trainer(self.plan.epochs),
            optimizer=OptimizerConfig(clip_norm=0.0),
            run=self.run,
        )

    def to_dict(self) -> dict[str, Any]:
        """As plain values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> TwoInOneTrainConfig:
        """From plain values.

        Raises:
            InputError: an entry is unknown or impossible.
        """
        config: TwoInOneTrainConfig = from_plain(cls, values, "config")
        return config
