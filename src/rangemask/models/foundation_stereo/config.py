"""Sizes of FoundationStereo."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Literal, TypeAlias

from rangemask.errors import InputError
from rangemask.models.presets import DPT_SIZES, VIT_SIZES

AttentionAxis: TypeAlias = Literal["disparity", "heads"]
ATTENTION_AXES: tuple[AttentionAxis, ...] = ("disparity", "heads")

MULTIPLE_PX = 32
"""What image sides are padded to, and what the largest disparity is a multiple of."""
QUARTER = 4
"""Pixels per cell of the volume: it lives at a quarter of the image's size."""
MAX_DISPARITY_PX = 416
"""Published; no weight depends on it."""
ITERATIONS = 32
"""Published."""
RADIUS = 4
"""Cells to either side that the lookup reads."""
LEVELS = 2
"""Of the lookup's pyramids."""
GROUPS = 8
"""Of channels that are correlated."""
HEADS = 4
"""Of the disparity transformer."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FoundationStereoConfig:
    """What a FoundationStereo network is made of; the defaults are the published ViT-S model.

    Raises:
        InputError: a size is unknown or impossible.
    """

    vit: str = "small"
    """Size of the frozen Depth Anything branch: a name of ``VIT_SIZES``."""
    attention: AttentionAxis = "disparity"
    """What the disparity transformer attends over; see docs/foundation-stereo.md."""
    edge_widths: tuple[int, int, int, int] = (48, 96, 160, 304)
    """Channels of EdgeNeXt's stages."""
    edge_depths: tuple[int, int, int, int] = (3, 3, 9, 3)
    """Blocks of EdgeNeXt's stages."""
    context_widths: tuple[int, int] = (64, 96)
    """Channels of the context network at full and at half size."""
    hidden: int = 128
    """Channels of the recurrent state, and of the context at a quarter."""
    volume_channels: int = 28
    """Channels of the cost volume."""
    projected: int = 12
    """Channels per image that are concatenated in the volume."""
    transformer_layers: int = 4
    """Of the disparity transformer."""

    def __post_init__(self) -> None:
        if self.vit not in VIT_SIZES:
            raise InputError(f"no vision transformer {self.vit!r}; known: {', '.join(VIT_SIZES)}.")
        if self.attention not in ATTENTION_AXES:
            raise InputError(
                f"attention must be one of {', '.join(ATTENTION_AXES)}, got {self.attention!r}."
            )
        if self.volume_channels % HEADS:
            raise InputError(
                f"volume_channels must be a multiple of {HEADS}, got {self.volume_channels}."
            )
        if self.fine_channels % GROUPS:
            raise InputError(
                f"the finest features must have a multiple of {GROUPS} channels, got "
                f"{self.fine_channels}; change edge_widths."
            )

    @property
    def dense_channels(self) -> int:
        """Channels that the Depth Anything branch gives."""
        return DPT_SIZES[self.vit].fused // 2

    @property
    def fine_channels(self) -> int:
        """Channels of the features at a quarter."""
        return 2 * self.edge_widths[0] + self.dense_channels


VARIANTS: Mapping[str, str] = MappingProxyType({"vits": "small", "vitl": "large"})
"""Published sizes, as ``cfg.yaml`` calls them, to names here."""


def tiny_config(attention: AttentionAxis = "disparity") -> FoundationStereoConfig:
    """A twin of the published networks that is small enough for tests."""
    return FoundationStereoConfig(
        vit="nano",
        attention=attention,
        edge_widths=(16, 16, 24, 32),
        edge_depths=(1, 1, 1, 1),
        context_widths=(8, 12),
        hidden=16,
        volume_channels=8,
        projected=4,
        transformer_layers=1,
    )
