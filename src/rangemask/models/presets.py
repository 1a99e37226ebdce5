"""Numbers of all sizes, in one file: vision transformers, pyramids, students."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

PATCH_PX = 14
"""Side of a DINOv2 patch."""
GRID = 37
"""Side of the patch grid that the published position embedding was trained on (518 px)."""
REGISTERS = 4
"""Register tokens of the ``-reg`` variants (arXiv 2309.16588)."""


@dataclass(frozen=True, kw_only=True, slots=True)
class VitSize:
    """A DINOv2 vision transformer (arXiv 2304.07193, table 17) and how DPT taps it."""

    width: int
    """Channels of a token."""
    depth: int
    """Number of blocks."""
    heads: int
    swiglu: bool = False
    """SwiGLU instead of an MLP (giant only)."""
    layers: tuple[int, int, int, int]
    """Blocks that a DPT head reads, shallow to deep (Depth Anything V2)."""
    layer_scale: float = 1e-5
    """What LayerScale starts from; matters for random weights only."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DptSize:
    """Channels of a DPT pyramid (arXiv 2103.13413), as Depth Anything V2 chose them."""

    reassembled: tuple[int, int, int, int]
    """Per tapped layer, shallow to deep, after its projection."""
    fused: int
    """Of every fused level."""


VIT_SIZES: Mapping[str, VitSize] = MappingProxyType(
    {
        "nano": VitSize(width=96, depth=4, heads=3, layers=(0, 1, 2, 3), layer_scale=1.0),
        "small": VitSize(width=384, depth=12, heads=6, layers=(2, 5, 8, 11)),
        "base": VitSize(width=768, depth=12, heads=12, layers=(2, 5, 8, 11)),
        "large": VitSize(width=1024, depth=24, heads=16, layers=(4, 11, 17, 23)),
        "giant": VitSize(width=1536, depth=40, heads=24, swiglu=True, layers=(9, 19, 29, 39)),
    }
)
"""``nano`` is ours, for tests and processors; the others are published."""

DPT_SIZES: Mapping[str, DptSize] = MappingProxyType(
    {
        "nano": DptSize(reassembled=(24, 48, 96, 96), fused=32),
        "small": DptSize(reassembled=(48, 96, 192, 384), fused=64),
        "base": DptSize(reassembled=(96, 192, 384, 768), fused=128),
        "large": DptSize(reassembled=(256, 512, 1024, 1024), fused=256),
        "giant": DptSize(reassembled=(1536, 1536, 1536, 1536), fused=384),
    }
)


def backbone_names() -> tuple[str, ...]:
    """``dinov2-small`` to ``dinov2-giant``, with and without ``-reg``, and ``dinov2-nano``."""
    return tuple(f"dinov2-{size}{suffix}" for suffix in ("", "-reg") for size in VIT_SIZES)
