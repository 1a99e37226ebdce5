"""``RangeMaskConfig``: what a student is made of; a part that is None does not exist."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, Literal, TypeAlias, get_args, get_type_hints

from rangemask.errors import InputError
from rangemask.models.backbone import parse_name
from rangemask.models.heads.depth import DepthHeadConfig
from rangemask.models.heads.fusion import FusionHeadConfig
from rangemask.models.heads.masks.automatic import MaskHeadConfig
from rangemask.models.heads.masks.promptable import PromptHeadConfig
from rangemask.models.heads.semantic import SemanticHeadConfig
from rangemask.models.heads.stereo import StereoHeadConfig
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
        config: RangeMaskConfig = _from_dict(cls, values, "config")
        return config


def _from_dict(cls: Any, values: Any, where: str) -> Any:
    if not isinstance(values, Mapping):
        raise InputError(f"{where} must be a table of settings, got {values!r}.")
    known = [entry.name for entry in fields(cls)]
    unknown = sorted(set(values) - set(known))
    if unknown:
        raise InputError(f"{where} has no {', '.join(unknown)}; it knows {', '.join(known)}.")
    hints = get_type_hints(cls)
    read = {name: _value(hints[name], value, f"{where}.{name}") for name, value in values.items()}
    try:
        return cls(**read)
    except TypeError as error:
        raise InputError(f"{where}: {error}.") from error


def _value(hint: Any, value: Any, where: str) -> Any:
    """A value of JSON as a field of that type wants it."""
    options = get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    if value is None and type(None) in options:
        return None
    (kind,) = [option for option in options if option is not type(None)]
    if dataclasses.is_dataclass(kind):
        return _from_dict(kind, value, where)
    origin = typing.get_origin(kind)
    if origin is tuple and isinstance(value, Sequence) and not isinstance(value, str):
        (item, *_) = get_args(kind)
        return tuple(_value(item, part, f"{where}[{i}]") for i, part in enumerate(value))
    if kind is float and type(value) is int:
        return float(value)
    if origin is None and isinstance(value, kind) and (kind is bool or type(value) is not bool):
        return value
    if origin is typing.Literal and value in get_args(kind):
        return value
    raise InputError(f"{where} must be {getattr(kind, '__name__', kind)}, got {value!r}.")
