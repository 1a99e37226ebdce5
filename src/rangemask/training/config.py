"""Everything that a training run is told, typed; Hydra's files fill it in."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, TypeAlias, get_args

from rangemask.errors import InputError
from rangemask.models.plain import from_plain

StageName: TypeAlias = Literal[
    "depth", "stereo", "masks", "semantic", "fusion", "joint", "backbone"
]
STAGES: tuple[StageName, ...] = get_args(StageName)
"""What one run trains; a workflow is several of them."""

Precision: TypeAlias = Literal["auto", "float32", "bfloat16", "float16"]
PRECISIONS: tuple[Precision, ...] = get_args(Precision)


@dataclass(frozen=True, kw_only=True, slots=True)
class DataConfig:
    """Which samples, and how they are cut.

    Raises:
        InputError: a number is impossible.
    """

    root: str | None = None
    """Folder of labels: ours, or of any format that ``open_dataset`` reads."""
    kind: str | None = None
    """Of the data set, where it is not found out."""
    validation: str | None = None
    """Another folder to validate on; without it a share of ``root``."""
    validation_share: float = 0.1
    """Of the sequences."""
    train_sequences: tuple[str, ...] | None = None
    """Recordings to learn from, by name; a share of all without it."""
    validation_sequences: tuple[str, ...] | None = None
    """Recordings to validate on, by name."""
    classes: tuple[str, ...] | None = None
    """What masks and semantic heads of a new student learn; those of the data set without it."""
    size_px: tuple[int, ...] = (448, 448)
    """Height and width of examples, rounded to what the student takes."""
    batch_size: int = 4
    workers: int = 4
    min_quality: float = 0.0
    """Frames of a label store below are left out."""
    augmentation: str = "full"
    """none, light or full."""
    limit: int | None = None
    """Use so many frames at most."""

    def __post_init__(self) -> None:
        if len(self.size_px) != 2 or min(self.size_px) < 1:
            raise InputError(f"data.size_px must be height and width, got {self.size_px}.")
        if self.batch_size < 1 or self.workers < 0:
            raise InputError(
                "data.batch_size must be 1 or more and data.workers 0 or more, got "
                f"{self.batch_size} and {self.workers}."
            )
        if not 0 < self.validation_share < 1:
            raise InputError(
                f"data.validation_share must lie within 0 and 1, got {self.validation_share}."
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelConfig:
    """The student, and what it starts from."""

    preset: str = "small"
    """nano, small, base or large; of no meaning with ``start_from``."""
    heads: tuple[str, ...] | None = None
    """Of a new student; what the stage trains without it."""
    start_from: str | None = None
    """A student: a folder that training or ``save_pretrained`` wrote. Heads that it lacks and the
    stage needs are added."""
    backbone: str | None = None
    """Checkpoint of DINOv2, or "download"; random weights without it."""
    depth_anything: str | None = None
    """Checkpoint of Depth Anything V2 for backbone, pyramid and depth head."""
    max_depth_m: float | None = None
    """Farthest depth of a metric depth head; relative without it."""
    head_options: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """Fields of the configurations of new heads by head, such as
    ``{"stereo": {"max_disparity_px": 256}}``."""
    trained_blocks: int | None = None
    """Last blocks of the backbone that learn; -1 for the whole of it. Without it as the student
    says."""
    train_pyramid: bool = True
    """Whether the pyramid that all dense heads share learns as well."""
    checkpointing: bool = False
    """Compute activations twice rather than keep them."""


@dataclass(frozen=True, kw_only=True, slots=True)
class OptimizerConfig:
    """AdamW with warm-up and cosine.

    Raises:
        InputError: a number is impossible.
    """

    lr: float = 1e-4
    weight_decay: float = 0.01
    warmup_share: float = 0.05
    """Of all steps."""
    last_lr_share: float = 0.01
    """Of ``lr``, at the end of the cosine."""
    clip_norm: float = 1.0
    """Of all gradients together; 0 for none."""
    accumulate: int = 1
    """Batches per step."""
    ema_decay: float = 0.0
    """Of the moving average of the weights that is validated and saved; 0 for none."""
    backbone_lr_share: float = 0.1
    """Rate of trained blocks, by ``lr``."""

    def __post_init__(self) -> None:
        if not 0 < self.lr < float("inf"):
            raise InputError(f"optimizer.lr must be positive and finite, got {self.lr}.")
        for name in ("warmup_share", "last_lr_share", "ema_decay"):
            value = getattr(self, name)
            if not 0 <= value <= 1:
                raise InputError(f"optimizer.{name} must lie within [0, 1], got {value}.")
        if self.accumulate < 1:
            raise InputError(f"optimizer.accumulate must be 1 or more, got {self.accumulate}.")
        if self.clip_norm < 0 or self.weight_decay < 0 or self.backbone_lr_share < 0:
            raise InputError(
                "optimizer.clip_norm, weight_decay and backbone_lr_share must not be negative."
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainerConfig:
    """How long, on what.

    Raises:
        InputError: a number is impossible.
    """

    max_epochs: int = 10
    max_steps: int = -1
    """Optimiser steps; -1 for as many as the epochs have."""
    max_minutes: float | None = None
    accelerator: str = "auto"
    devices: int = 1
    precision: Precision = "auto"
    """auto: bfloat16 on a GPU that has it, float16 on another, float32 on a processor."""
    patience: int = 0
    """Stop after so many epochs without a better validation; 0 for never."""
    log_every: int = 10
    """Steps."""
    predictions: int = 6
    """Validation frames whose predictions are kept for the page, every epoch."""

    def __post_init__(self) -> None:
        if self.max_epochs < 1 or self.devices < 1 or self.log_every < 1:
            raise InputError(
                "trainer.max_epochs, trainer.devices and trainer.log_every must be 1 or more."
            )
        if self.patience < 0 or self.predictions < 0:
            raise InputError("trainer.patience and trainer.predictions must not be negative.")


@dataclass(frozen=True, kw_only=True, slots=True)
class RunConfig:
    """Where the run goes."""

    root: str = "runs"
    name: str | None = None
    """Folder below ``root``; the stage's name and a number without it."""
    seed: int = 0
    resume: bool = False
    """Go on with the last checkpoint of the folder ``name``."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TrainConfig:
    """One run.

    Raises:
        InputError: a number is impossible.
    """

    stage: StageName = "depth"
    data: DataConfig = field(default_factory=DataConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    optimizer: OptimizerConfig = field(default_factory=OptimizerConfig)
    trainer: TrainerConfig = field(default_factory=TrainerConfig)
    run: RunConfig = field(default_factory=RunConfig)
    loss: Mapping[str, Any] = field(default_factory=dict)
    """Options of the losses by head."""
    adaptation: Mapping[str, Any] = field(default_factory=dict)
    """Of the stage ``backbone``: fields of ``DinoAdaptationConfig``."""
    guard: Mapping[str, Any] = field(default_factory=dict)
    """Of the stage ``backbone``: fields of ``GuardConfig``."""

    def to_dict(self) -> dict[str, Any]:
        """As plain values."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> TrainConfig:
        """From plain values.

        Raises:
            InputError: an entry is unknown or impossible.
        """
        config: TrainConfig = from_plain(cls, values, "config")
        return config
