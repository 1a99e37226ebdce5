"""Numbers of all sizes of SAM 2.1, as the authors' configurations have them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from transformers import (
    Sam2Config,
    Sam2HieraDetConfig,
    Sam2MaskDecoderConfig,
    Sam2PromptEncoderConfig,
    Sam2VideoConfig,
    Sam2VideoMaskDecoderConfig,
    Sam2VideoPromptEncoderConfig,
    Sam2VisionConfig,
)

from rangemask.errors import UnknownNameError

PREFIX = "sam2.1-"
EMBEDDING_STRIDE_PX = 16
"""Pixels of the network's input per pixel of the image embedding."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Sam2Size:
    """One size: its Hiera encoder (arXiv 2306.00989), and the width of what follows."""

    width: int
    """Channels of the first stage; every stage doubles them."""
    heads: int
    """Attention heads of the first stage; every stage doubles them."""
    blocks: tuple[int, int, int, int]
    """Blocks of each stage."""
    global_blocks: tuple[int, ...]
    """Blocks that attend to the whole image; the others attend within windows."""
    windows: tuple[int, int, int, int] = (8, 4, 14, 7)
    """Side of the windows of each stage, tokens."""
    background: int = 7
    """Side of the position embedding that is stretched over the image, tokens."""
    image_size_px: int = 1024
    """Both sides of the network's input."""
    hidden: int = 256
    """Channels of the image embedding and of the decoder."""


SIZES: Mapping[str, Sam2Size] = MappingProxyType(
    {
        "nano": Sam2Size(
            width=16,
            heads=1,
            blocks=(1, 1, 2, 1),
            global_blocks=(3,),
            windows=(8, 4, 4, 2),
            image_size_px=128,
            hidden=128,
        ),
        "tiny": Sam2Size(width=96, heads=1, blocks=(1, 2, 7, 2), global_blocks=(5, 7, 9)),
        "small": Sam2Size(width=96, heads=1, blocks=(1, 2, 11, 2), global_blocks=(7, 10, 13)),
        "base-plus": Sam2Size(
            width=112, heads=2, blocks=(2, 3, 16, 3), global_blocks=(12, 16, 20), background=14
        ),
        "large": Sam2Size(
            width=144,
            heads=2,
            blocks=(2, 6, 36, 4),
            global_blocks=(23, 33, 43),
            windows=(8, 4, 16, 8),
        ),
    }
)
"""By what follows ``sam2.1-``. ``nano`` is ours, for tests; nothing is published for it."""


def size_named(name: str) -> Sam2Size:
    """The numbers of ``sam2.1-tiny`` and so on.

    Raises:
        UnknownNameError: no size has that name.
    """
    size = name.removeprefix(PREFIX)
    if not name.startswith(PREFIX) or size not in SIZES:
        known = ", ".join(f"{PREFIX}{known}" for known in SIZES)
        raise UnknownNameError(f"no SAM 2.1 model {name!r}; known: {known}.")
    return SIZES[size]


def image_config(size: Sam2Size) -> Sam2Config:
    """What transformers builds an image model from."""
    return Sam2Config(
        vision_config=_vision(size),
        prompt_encoder_config=Sam2PromptEncoderConfig(**_prompts(size)),
        mask_decoder_config=Sam2MaskDecoderConfig(**_decoder(size)),
    )


def video_config(size: Sam2Size) -> Sam2VideoConfig:
    """What transformers builds a video model from."""
    side = size.image_size_px // EMBEDDING_STRIDE_PX
    return Sam2VideoConfig(
        vision_config=_vision(size),
        prompt_encoder_config=Sam2VideoPromptEncoderConfig(**_prompts(size)),
        mask_decoder_config=Sam2VideoMaskDecoderConfig(**_decoder(size)),
        image_size=size.image_size_px,
        memory_attention_hidden_size=size.hidden,
        memory_attention_feed_forward_hidden_size=8 * size.hidden,
        memory_attention_rope_feat_sizes=[side, side],
        memory_encoder_hidden_size=size.hidden,
        mask_downsampler_embed_dim=size.hidden,
        memory_fuser_embed_dim=size.hidden,
        memory_fuser_intermediate_dim=4 * size.hidden,
    )


def _vision(size: Sam2Size) -> Sam2VisionConfig:
    widths = [size.width * 2**stage for stage in range(4)]
    sides = [size.image_size_px // stride for stride in (4, 8, 16)]
    backbone = Sam2HieraDetConfig(
        hidden_size=size.width,
        num_attention_heads=size.heads,
        image_size=[size.image_size_px] * 2,
        window_positional_embedding_background_size=[size.background] * 2,
        blocks_per_stage=list(size.blocks),
        embed_dim_per_stage=widths,
        num_attention_heads_per_stage=[size.heads * 2**stage for stage in range(4)],
        window_size_per_stage=list(size.windows),
        global_attention_blocks=list(size.global_blocks),
    )
    return Sam2VisionConfig(
        backbone_config=backbone,
        backbone_channel_list=widths[::-1],
        backbone_feature_sizes=[[side, side] for side in sides],
        fpn_hidden_size=size.hidden,
    )


def _prompts(size: Sam2Size) -> dict[str, Any]:
    return {"hidden_size": size.hidden, "image_size": size.image_size_px}


def _decoder(size: Sam2Size) -> dict[str, Any]:
    return {
        "hidden_size": size.hidden,
        "mlp_dim": 8 * size.hidden,
        "iou_head_hidden_dim": size.hidden,
    }
