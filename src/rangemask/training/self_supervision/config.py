"""What self-supervised adaptation of the backbone is told; the defaults are careful ones."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, TypeAlias, get_args

from rangemask.errors import InputError
from rangemask.models.presets import PATCH_PX

Learned: TypeAlias = Literal["blocks", "lora"]
TargetRule: TypeAlias = Literal["sinkhorn", "centre"]


def demand(holds: bool, wanted: str, found: object) -> None:
    """Refuse a value in words.

    Raises:
        InputError: it does not hold.
    """
    if not holds:
        raise InputError(f"{wanted}, got {found!r}.")


def _share(name: str, value: float) -> None:
    demand(0 <= value <= 1, f"{name} must lie in [0, 1]", value)


def _span(name: str, value: tuple[float, float]) -> None:
    demand(
        len(value) == 2 and 0 < value[0] <= value[1] <= 1,
        f"{name} must be two shares, smaller first, in (0, 1]",
        value,
    )


@dataclass(frozen=True, kw_only=True, slots=True)
class AdapterConfig:
    """Which numbers of the backbone learn.

    Raises:
        InputError: a number is impossible.
    """

    learned: Learned = "lora"
    """``lora`` adds low-rank products to matrices of attention (arXiv 2106.09685), which keeps
    all published weights; ``blocks`` lets the last blocks and the final norm learn."""
    blocks: int = 4
    """How many of the last blocks learn or get adapters; 0 for all (``lora`` only)."""
    rank: int = 8
    """Of the low-rank products."""
    alpha: float = 8.0
    """The products are scaled by ``alpha / rank``."""
    dropout: float = 0.0
    """Of what goes into the low-rank products, in the student only."""
    mlp: bool = False
    """Give adapters to the two matrices of each MLP as well."""

    def __post_init__(self) -> None:
        demand(
            self.learned in get_args(Learned),
            f"learned must be one of {', '.join(get_args(Learned))}",
            self.learned,
        )
        least = 0 if self.learned == "lora" else 1
        demand(self.blocks >= least, f"blocks must be at least {least}", self.blocks)
        demand(self.rank >= 1, "rank must be at least 1", self.rank)
        demand(self.alpha > 0, "alpha must be positive", self.alpha)
        demand(0 <= self.dropout < 1, "dropout must lie in [0, 1)", self.dropout)


@dataclass(frozen=True, kw_only=True, slots=True)
class CropConfig:
    """Views of an image (multi-crop, arXiv 2006.09882; numbers of DINOv2).

    Raises:
        InputError: a size is no multiple of 14, or a share is impossible.
    """

    global_px: int = 224
    """Side of the two large views."""
    local_px: int = 98
    """Side of the small ones."""
    local_views: int = 6
    """Small views per image."""
    global_scale: tuple[float, float] = (0.32, 1.0)
    """Share of the image's area that a large view shows."""
    local_scale: tuple[float, float] = (0.05, 0.32)
    """The same of a small one."""
    flip: float = 0.5
    """Chance to be mirrored. 0 where left and right differ in meaning."""
    jitter: float = 0.8
    """Chance of other brightness, contrast, saturation and hue."""
    strength: float = 1.0
    """Of that change: 1 is DINO's (0.4, 0.4, 0.2, 0.1)."""
    grey: float = 0.2
    """Chance to lose colour."""
    blur: tuple[float, float, float] = (1.0, 0.1, 0.5)
    """Chance of blur: first large view, second, small ones."""
    solarise: float = 0.2
    """Chance that the second large view has its bright parts inverted."""

    def __post_init__(self) -> None:
        for name in ("global_px", "local_px"):
            value = getattr(self, name)
            demand(
                value >= PATCH_PX and value % PATCH_PX == 0,
                f"{name} must be a positive multiple of {PATCH_PX}",
                value,
            )
        demand(self.local_views >= 0, "local_views must not be negative", self.local_views)
        _span("global_scale", self.global_scale)
        _span("local_scale", self.local_scale)
        for name in ("flip", "jitter", "strength", "grey", "solarise"):
            _share(name, getattr(self, name))
        for chance in self.blur:
            _share("blur", chance)


@dataclass(frozen=True, kw_only=True, slots=True)
class MaskConfig:
    """Patches of large views that are hidden from the student (iBOT, arXiv 2111.07832).

    Raises:
        InputError: a share is impossible.
    """

    hidden_views: float = 0.5
    """Share of large views with hidden patches; at least one view has some."""
    ratio: tuple[float, float] = (0.1, 0.5)
    """Least and greatest share of patches that are hidden in such a view."""
    aspect: float = 0.3
    """Least ratio of sides of a hidden block; the greatest is its inverse."""

    def __post_init__(self) -> None:
        _share("hidden_views", self.hidden_views)
        _span("ratio", self.ratio)
        demand(self.ratio[1] < 1, "ratio must leave a patch to see: below 1", self.ratio)
        demand(0 < self.aspect <= 1, "aspect must lie in (0, 1]", self.aspect)


@dataclass(frozen=True, kw_only=True, slots=True)
class ProjectionConfig:
    """The heads that are used in training only. They start from random numbers.

    Raises:
        InputError: a number is impossible.
    """

    prototypes: int = 4096
    """Outputs of a head. DINOv2's 65536 suit 142 million images."""
    hidden: int = 2048
    """Channels between the layers."""
    bottleneck: int = 256
    """Channels before the prototypes."""
    layers: int = 3
    """Of the MLP before the prototypes."""
    shared: bool = False
    """One head for class tokens and patches (iBOT) or one each (DINOv2)."""

    def __post_init__(self) -> None:
        for name in ("prototypes", "hidden", "bottleneck", "layers"):
            demand(getattr(self, name) >= 1, f"{name} must be at least 1", getattr(self, name))
        demand(self.prototypes >= 2, "prototypes must be at least 2", self.prototypes)


@dataclass(frozen=True, kw_only=True, slots=True)
class DinoAdaptationConfig:
    """DINO + iBOT + KoLeo with an averaged teacher (DINOv2, arXiv 2304.07193, section 4).

    ``progress`` is the share of optimiser steps done, in [0, 1].

    Raises:
        InputError: a number is impossible.
    """

    adapters: AdapterConfig = field(default_factory=AdapterConfig)
    """What learns."""
    crops: CropConfig = field(default_factory=CropConfig)
    """Views of images."""
    masks: MaskConfig = field(default_factory=MaskConfig)
    """Hidden patches."""
    heads: ProjectionConfig = field(default_factory=ProjectionConfig)
    """Heads that are thrown away afterwards."""
    dino_weight: float = 1.0
    """Of the cross-entropy between class tokens."""
    ibot_weight: float = 1.0
    """Of the cross-entropy between hidden patches."""
    koleo_weight: float = 0.1
    """Of what keeps class tokens of a batch apart."""
    targets: TargetRule = "sinkhorn"
    """How the teacher's outputs are kept from falling onto one prototype."""
    centre_momentum: float = 0.9
    """Of the running centre (``targets="centre"`` only)."""
    student_temperature: float = 0.1
    """Of the student's softmax."""
    teacher_temperature: tuple[float, float] = (0.04, 0.07)
    """Of the teacher's: at the start, and from ``temperature_warmup`` on."""
    temperature_warmup: float = 0.3
    """Progress at which the teacher's temperature is reached, linearly."""
    momentum: tuple[float, float] = (0.998, 1.0)
    """Of the teacher's average: at the start and at the end, along a cosine. Slower than DINOv2's
    0.994, whose steps see 2048 images or more: a fast teacher of small batches says ever less."""
    head_warmup: float = 0.2
    """Progress until which only the heads learn. The published backbones come without theirs,
    and the gradient of random heads is what ruins features."""
    frozen_prototypes: float = 0.05
    """Progress until which the last layer of the heads stays as it is (DINO's first epoch)."""
    learn_mask_token: bool = False
    """Learn what stands for a hidden patch. It lies before all blocks, so that its gradient costs
    the memory of training them all."""
    lr: float = 1e-4
    """AdamW's, of the heads and of the last block."""
    layer_decay: float = 0.8
    """The learning rate falls by this factor per block, towards the input."""
    weight_decay: float = 0.04
    """Of matrices; biases, norms and scales have none."""
    lr_warmup: float = 0.05
    """Progress over which a learning rate rises, counted from where its parameters start."""
    lr_end: float = 0.01
    """Share of the learning rate that is left at the end of the cosine."""
    clip_norm: float = 3.0
    """Gradients are to be scaled down to this norm."""
    gradient_checkpointing: bool = False
    """Compute blocks again in the backward pass: less memory, a third more time."""

    def __post_init__(self) -> None:
        for name in ("dino_weight", "ibot_weight", "koleo_weight", "weight_decay"):
            demand(getattr(self, name) >= 0, f"{name} must not be negative", getattr(self, name))
        demand(
            self.dino_weight + self.ibot_weight > 0,
            "dino_weight or ibot_weight must be positive",
            (self.dino_weight, self.ibot_weight),
        )
        demand(
            self.targets in get_args(TargetRule),
            f"targets must be one of {', '.join(get_args(TargetRule))}",
            self.targets,
        )
        temperatures = (self.student_temperature, *self.teacher_temperature)
        demand(min(temperatures) > 0, "temperatures must be positive", temperatures)
        for name in ("centre_momentum", "temperature_warmup", "head_warmup"):
            _share(name, getattr(self, name))
        for name in ("frozen_prototypes", "lr_warmup", "lr_end"):
            _share(name, getattr(self, name))
        for value in self.momentum:
            _share("momentum", value)
        demand(self.lr > 0, "lr must be positive", self.lr)
        demand(0 < self.layer_decay <= 1, "layer_decay must lie in (0, 1]", self.layer_decay)
        demand(self.clip_norm > 0, "clip_norm must be positive", self.clip_norm)
