"""Promptable masks: points, boxes and a previous mask, on the tokens of the shared backbone.

Segment Anything's prompt encoder and two-way decoder (arXiv 2304.02643) from transformers, for
any grid and any image size. Encode an image once, then ask as often as wanted:

    embedding = head.embed(tokens, fine)
    answer = head.predict(embedding, image_size=(518, 518), points=..., point_labels=...)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from timm.layers.norm import LayerNorm2d
from torch import Tensor, nn
from torch.nn import functional as F
from transformers.models.sam.configuration_sam import (
    SamConfig,
    SamMaskDecoderConfig,
    SamPromptEncoderConfig,
    SamVisionConfig,
)
from transformers.models.sam.modeling_sam import SamPromptEncoder

from rangemask.errors import InputError
from rangemask.models.heads.masks.prompt_decoder import UPSCALING, PromptDecoder
from rangemask.models.heads.masks.prompts import PADDINGS, check_prompts

TOKEN_LAYERS = 4
"""Backbone layers that come in, shallow to deep."""


@dataclass(frozen=True, kw_only=True, slots=True)
class PromptHeadConfig:
    """The promptable mask head."""

    width: int = 256
    """Channels of the image embedding, a multiple of 16 and of twice ``heads``."""
    heads: int = 4
    """Attention heads of the two-way decoder."""
    depth: int = 2
    """Two-way blocks."""
    mlp_width: int = 1024
    """Hidden channels of the decoder's MLP."""
    multimask_outputs: int = 3
    """Masks of an ambiguous prompt: whole, part, sub-part."""
    mask_channels: int = 16
    """Hidden channels of the encoder of previous masks, a multiple of 4."""
    chunk: int = 4
    """Prompts decoded at once; bounds the memory, and larger ones are slower on a processor."""

    def __post_init__(self) -> None:
        for name in ("width", "heads", "depth", "mlp_width", "multimask_outputs", "chunk"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} must be at least 1, got {getattr(self, name)}.")
        if self.width % 16 or self.width % (2 * self.heads):
            raise InputError(
                f"width must be a multiple of 16 and of twice heads ({self.heads}), got "
                f"{self.width}."
            )
        if self.mask_channels < 4 or self.mask_channels % 4:
            raise InputError(
                f"mask_channels must be a positive multiple of 4, got {self.mask_channels}."
            )


class PromptEmbedding(NamedTuple):
    """What is computed once per image, whatever is asked of it."""

    image: Tensor
    """(B, D, h, w)."""
    fine: Tensor
    """(B, D / 8, 4h, 4w)."""
    positions: Tensor
    """(1, D, h, w), encoded centres of the patches."""


class PromptOutput(NamedTuple):
    """Answers to P prompts per image, M masks each."""

    mask_logits: Tensor
    """(B, P, M, 4h, 4w); inside where positive."""
    iou: Tensor
    """(B, P, M) in [0, 1], how well the head thinks each mask fits."""


class PromptHead(nn.Module):
    """Masks of what is pointed at.

    Args:
        config: sizes.
        token_channels: C of the backbone's tokens.
        pyramid_channels: P of the pyramid's finest level.
    """

    def __init__(
        self, config: PromptHeadConfig, token_channels: int, pyramid_channels: int
    ) -> None:
        super().__init__()
        self.config = config
        self.neck = nn.Sequential(
            nn.Conv2d(TOKEN_LAYERS * token_channels, config.width, 1, bias=False),
            LayerNorm2d(config.width),
        )
        self.fine = nn.Conv2d(pyramid_channels, config.width // 8, 1)
        self.encoder = SamPromptEncoder(_encoder_config(config))
        # As published: the random frequencies of the positions are fixed, not learned.
        self.encoder.shared_embedding.positional_embedding.requires_grad_(False)
        self.decoder = PromptDecoder(_decoder_config(config))

    def embed(self, tokens: tuple[Tensor, ...], fine: Tensor) -> PromptEmbedding:
        """Prepare a batch of images.

        Args:
            tokens: four of (B, C, h, w), normed patch features, shallow to deep.
            fine: (B, P, 4h, 4w), the finest level of the pyramid.

        Raises:
            InputError: the shapes do not fit each other.
        """
        _check_shapes(tokens, fine)
        image = self.neck(torch.cat(tokens, dim=1))
        height, width = image.shape[-2:]
        positions = self._encoded(_patch_centres(height, width, image)).permute(2, 0, 1)
        return PromptEmbedding(image, self.fine(fine), positions[None].to(image.dtype))

    def predict(
        self,
        embedding: PromptEmbedding,
        *,
        image_size: tuple[int, int],
        points: Tensor | None = None,
        point_labels: Tensor | None = None,
        boxes: Tensor | None = None,
        mask_input: Tensor | None = None,
        multimask: bool = True,
    ) -> PromptOutput:
        """Answer prompts after checking them; ``forward`` is the same without the checks.

        Args:
            embedding: of ``embed``.
            image_size: height and width of the network's input, px.
            points: (B, P, K, 2), x and y in px of the network's input, pixel centres at
                integers.
            point_labels: (B, P, K), 1 inside the object, 0 outside; -1 or -10 for padding,
                which counts as not given.
            boxes: (B, P, 4), left, top, right, bottom in px.
            mask_input: (B, P, any, any), logits of a previous answer.
            multimask: several masks per prompt, for ambiguous ones, or one.

        Raises:
            InputError: see ``check_prompts``.
        """
        check_prompts(
            embedding.image.shape[0],
            image_size=image_size,
            points=points,
            point_labels=point_labels,
            boxes=boxes,
            mask_input=mask_input,
        )
        answer: PromptOutput = self(
            embedding,
            image_size=image_size,
            points=points,
            point_labels=point_labels,
            boxes=boxes,
            mask_input=mask_input,
            multimask=multimask,
        )
        return answer

    def forward(
        self,
        embedding: PromptEmbedding,
        *,
        image_size: tuple[int, int],
        points: Tensor | None = None,
        point_labels: Tensor | None = None,
        boxes: Tensor | None = None,
        mask_input: Tensor | None = None,
        multimask: bool = True,
    ) -> PromptOutput:
        """Answer prompts, unchecked; arguments as for ``predict``."""
        sparse, visible = self._sparse(image_size, points, point_labels, boxes)
        asked = [kind for kind in (sparse, mask_input) if kind is not None]
        if not asked:
            raise InputError("nothing is asked: give points, boxes or a mask.")
        prompts = asked[0].shape[1]
        masks, iou = [], []
        for start in range(0, prompts, self.config.chunk):
            part = slice(start, start + self.config.chunk)
            logits, quality = self.decoder.decode(
                embedding.image,
                embedding.positions,
                embedding.fine,
                None if sparse is None else sparse[:, part],
                None if visible is None else visible[:, part],
                self._dense(None if mask_input is None else mask_input[:, part], embedding),
                multimask,
            )
            masks.append(logits)
            iou.append(quality)
        if len(masks) == 1:
            return PromptOutput(masks[0], iou[0].sigmoid())
        return PromptOutput(torch.cat(masks, dim=1), torch.cat(iou, dim=1).sigmoid())

    def _sparse(
        self,
        image_size: tuple[int, int],
        points: Tensor | None,
        point_labels: Tensor | None,
        boxes: Tensor | None,
    ) -> tuple[Tensor | None, Tensor | None]:
        """Tokens of points and boxes, (B, P, T, D), and which of them are no padding, (B, P, T)."""
        if points is None and boxes is None:
            return None, None
        labels, visible, corners = point_labels, None, None
        if labels is not None:
            given = labels >= 0
            labels = labels.masked_fill(~given, PADDINGS[-1])
            # Behind the points the encoder puts one "not a point", or the two corners of a box.
            visible = F.pad(given, (0, 1 if boxes is None else 2), value=True)
        if points is not None:
            points = _in_unit_image(points, image_size)
        if boxes is not None:
            corners = _in_unit_image(boxes.unflatten(-1, (2, 2)), image_size).flatten(-2)
        # In half precision a Fourier feature would lose the pixel.
        with torch.autocast(self.fine.weight.device.type, enabled=False):
            sparse, _ = self.encoder(points, labels, corners, None)
        return sparse.to(self.fine.weight.dtype), visible

    def _dense(self, mask_input: Tensor | None, embedding: PromptEmbedding) -> Tensor:
        """What previous masks add to the image, (B, P, D, h, w), or (1, 1, D, 1, 1) without."""
        if mask_input is None:
            return self.encoder.no_mask_embed.weight[None, :, :, None, None]
        size = embedding.fine.shape[-2:]
        masks = mask_input.flatten(0, 1)[:, None].to(self.fine.weight.dtype)
        if masks.shape[-2:] != size:
            masks = F.interpolate(masks, size=size, mode="bilinear")
        dense: Tensor = self.encoder.mask_embed(masks)
        return dense.view(*mask_input.shape[:2], *dense.shape[1:])

    def _encoded(self, places: Tensor) -> Tensor:
        """Encode places in the unit image, (..., 2)."""
        # As the library's `SamPositionalEmbedding`, but without a matrix product, which autocast
        # would round: in half precision a Fourier feature would lose the pixel.
        frequencies = self.encoder.shared_embedding.positional_embedding.float()
        centred = (2 * places - 1)[..., None] * frequencies
        angles = 2 * torch.pi * (centred[..., 0, :] + centred[..., 1, :])
        return torch.cat([angles.sin(), angles.cos()], dim=-1)


def _encoder_config(config: PromptHeadConfig) -> SamConfig:
    """Of a prompt encoder that sees an image of one pixel and one patch.

    It divides coordinates by the fixed side of its image: by 1 here, so that it takes what is
    already normalised, and what it says in place of a mask broadcasts over any grid.
    """
    vision = SamVisionConfig(num_pos_feats=config.width // 2)
    vision.scale = 1  # as published; transformers' own default serves to load weights only
    return SamConfig(
        vision_config=vision,
        prompt_encoder_config=SamPromptEncoderConfig(
            hidden_size=config.width,
            image_size=1,
            patch_size=1,
            mask_input_channels=config.mask_channels,
        ),
    )


def _decoder_config(config: PromptHeadConfig) -> SamMaskDecoderConfig:
    attention: dict[str, Any] = {"attn_implementation": "sdpa"}
    return SamMaskDecoderConfig(
        hidden_size=config.width,
        mlp_dim=config.mlp_width,
        num_hidden_layers=config.depth,
        num_attention_heads=config.heads,
        num_multimask_outputs=config.multimask_outputs,
        iou_head_hidden_dim=config.width,
        **attention,
    )


def _in_unit_image(places: Tensor, image_size: tuple[int, int]) -> Tensor:
    """Pixel coordinates (..., 2), centres at integers, to the unit image as the encoder has it.

    The encoder adds half a pixel of its own, which would be half of the unit image.
    """
    height, width = image_size
    size = torch.tensor([width, height], dtype=torch.float32, device=places.device)
    return (places.float() + 0.5) / size - 0.5


def _patch_centres(height: int, width: int, like: Tensor) -> Tensor:
    """Places x, y of all patch centres in the unit image, (height, width, 2)."""
    rows, columns = (
        (torch.arange(side, device=like.device, dtype=torch.float32) + 0.5) / side
        for side in (height, width)
    )
    return torch.stack(torch.meshgrid(columns, rows, indexing="xy"), dim=-1)


def _check_shapes(tokens: tuple[Tensor, ...], fine: Tensor) -> None:
    shapes = {tuple(level.shape) for level in tokens}
    if len(tokens) != TOKEN_LAYERS or len(shapes) != 1:
        raise InputError(
            f"the prompt head needs {TOKEN_LAYERS} token maps of one shape (B, C, h, w), got "
            f"{[tuple(level.shape) for level in tokens]}."
        )
    batch, _, height, width = tokens[0].shape
    expected = (batch, UPSCALING * height, UPSCALING * width)
    if (fine.shape[0], *fine.shape[2:]) != expected:
        raise InputError(
            f"the fine features must be (B, P, 4h, 4w) = ({batch}, P, {expected[1]}, "
            f"{expected[2]}), got {tuple(fine.shape)}."
        )
