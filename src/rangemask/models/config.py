"""``RangeMaskConfig``: what a student is made of; a part that is None does not exist."""

from __future__ import annotations

import dataclasses
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal, TypeAlias

from rangemask.errors import InputError
from rangemask.models.backbone import parse_name
from rangemask.models.heads.depth import DepthHeadConfig
from rangemask.models.heads.fusion import FusionHeadConfig
from rangemask.models.heads.masks.automatic import MaskHeadConfig
from rangemask.models.heads.masks.promptable import PromptHeadConfig
from rangemask.models.heads.semantic import SemanticHeadConfig
from rangemask.models.heads.stereo import StereoHeadConfig
from rangemask.models.plain import from_plain
from rangemask.models.presets import PATCH_PX

HEADS = ("depth", "stereo", "masks", "prompts", "semantic", "fusion")
"""Names of the parts that can be left out."""
PRESETS = ("nano", "small", "base", "large")
Preset: TypeAlias = Literal["nano", "small", "base", "large"]
INPUT_PX = 518
"""Of Depth Anything V2, and of DINOv2 itself."""
NANO_INPUT_PX = 224
STEREO_MULTIPLE_PX = 28
"""The stereo head needs sides that are multiples of 4, the backbone of 14."""

_NANO_STEREO = StereoHeadConfig(max_disparity_px=96, iterations=2)
_NANO_MASKS = MaskHeadConfig(queries=30, width=96, mask_width=32)
_NANO_PROMPTS = PromptHeadConfig(width=64, mlp_width=128, mask_channels=8)


@dataclass(frozen=True, kw_only=True, slots=True)
class RangeMaskConfig:
    """A student: one backbone and the heads that read it.

    Raises:
        InputError: no head is there, the fusion head has nothing to refine, or a number is
            impossible.
    """

    backbone: str = "dinov2-small"
    """``dinov2-{nano,small,base,large,giant}[-reg]``."""
    input_size_px: int = INPUT_PX
    """Short side of the network's input, to which predictions bring images; it is rounded to a
    multiple of 14, of 28 with a stereo head."""
    trained_blocks: int = 0
    """Last blocks of the backbone that learn; the rest of it is frozen."""
    depth: DepthHeadConfig | None = None
    stereo: StereoHeadConfig | None = None
    masks: MaskHeadConfig | None = None
    prompts: PromptHeadConfig | None = None
    semantic: SemanticHeadConfig | None = None
    fusion: FusionHeadConfig | None = None

    def __post_init__(self) -> None:
        parse_name(self.backbone)
        if not self.heads:
            raise InputError(f"a student needs a head; choose of {', '.join(HEADS)}.")
        if self.fusion is not None and not {"depth", "stereo", "masks"} & set(self.heads):
            raise InputError("the fusion head refines depth, stereo or masks; there are none.")
        if self.input_size_px < PATCH_PX:
            raise InputError(
                f"input_size_px must be at least {PATCH_PX}, got {self.input_size_px}."
            )
        if self.trained_blocks < 0:
            raise InputError(f"trained_blocks must not be negative, got {self.trained_blocks}.")

    @property
    def heads(self) -> tuple[str, ...]:
        """The heads that are there."""
        return tuple(name for name in HEADS if getattr(self, name) is not None)

    @property
    def multiple_px(self) -> int:
        """What both sides of the input must be multiples of."""
        return PATCH_PX if self.stereo is None else STEREO_MULTIPLE_PX

    @classmethod
    def preset(
        cls,
        name: Preset | str,
        heads: Collection[str] = HEADS,
        *,
        classes: tuple[str, ...] = ("object",),
        max_depth_m: float | None = None,
    ) -> RangeMaskConfig:
        """A student of a size.

        Args:
            name: nano (for tests and processors), small, base or large.
            heads: which heads it has.
            classes: names for the automatic masks and the semantic head.
            max_depth_m: farthest metric depth; None for a relative depth head.

        Raises:
            InputError: a name is unknown.
        """
        if name not in PRESETS:
            raise InputError(f"no preset {name!r}; known: {', '.join(PRESETS)}.")
        unknown = sorted(set(heads) - set(HEADS))
        if unknown:
            raise InputError(f"no head {', '.join(unknown)}; known: {', '.join(HEADS)}.")
        nano = name == "nano"
        every: dict[str, Any] = {
            "depth": DepthHeadConfig(max_depth_m=max_depth_m),
            "stereo": _NANO_STEREO if nano else StereoHeadConfig(),
            "masks": replace(_NANO_MASKS if nano else MaskHeadConfig(), classes=classes),
            "prompts": _NANO_PROMPTS if nano else PromptHeadConfig(),
            "semantic": SemanticHeadConfig(classes=classes),
            "fusion": FusionHeadConfig(width=16) if nano else FusionHeadConfig(),
        }
        chosen = {head: every[head] for head in HEADS if head in heads}
        size_px = NANO_INPUT_PX if nano else INPUT_PX
        return cls(backbone=f"dinov2-{name}", input_size_px=size_px, **chosen)

    def to_dict(self) -> dict[str, Any]:
        """As plain values, for JSON."""
        return dataclasses.asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> RangeMaskConfig:
        """From plain values.

        Raises:
            InputError: an entry is unknown or impossible.
        """
        config: RangeMaskConfig = from_plain(cls, values, "config")
        return config
