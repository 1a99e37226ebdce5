"""SAM's two-way mask decoder for many prompts on one image, at a fraction of the arithmetic.

The weights, their names and the result are those of transformers' ``SamMaskDecoder`` (Segment
Anything, arXiv 2304.02643, section 3 and appendix A); a test holds the two side by side. What
differs is the order of work:

- attention between a few tokens and a whole grid moves the projection of the grid onto the
  tokens (``q (W x) = (q W) x``), so that no per-prompt copy of the grid is projected;
- what all prompts share is computed once;
- the upscaling runs before pixels are put in their places, as plain matrix products.

Beyond it: tokens that are padding are seen by nobody, and fine features of the image join the
last upscaling, as in SAM 2 (arXiv 2408.00714, section 4).
"""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers.models.sam.configuration_sam import SamMaskDecoderConfig
from transformers.models.sam.modeling_sam import (
    SamAttention,
    SamMaskDecoder,
    SamTwoWayAttentionBlock,
)

UPSCALING = 4
"""Side of a patch in mask pixels: two transposed convolutions of stride 2."""


class PromptDecoder(SamMaskDecoder):
    """A ``SamMaskDecoder`` that decodes many prompts of one image faster."""

    def __init__(self, config: SamMaskDecoderConfig) -> None:
        super().__init__(config)
        for module in self.modules():
            if isinstance(module, SamAttention):
                # It adds the same to everything that is looked at, which a softmax cannot see:
                # no gradient would ever reach it.
                module.k_proj.bias.requires_grad_(False)

    def decode(
        self,
        image: Tensor,
        positions: Tensor,
        fine: Tensor,
        sparse: Tensor | None,
        visible: Tensor | None,
        dense: Tensor,
        multimask: bool,
    ) -> tuple[Tensor, Tensor]:
        """Masks and their quality.

        Args:
            image: (B, D, h, w).
            positions: (1, D, h, w), encoded places of the patches.
            fine: (B, D / 8, 4h, 4w), added before the last activation.
            sparse: (B, P, T, D) tokens of points and boxes, or None.
            visible: (B, P, T) bool, False where a token is padding; None where none is.
            dense: (B, P, D, h, w) what previous masks add to the image; 1 where they agree.
            multimask: all masks but the first one, or the first one only.

        Returns:
            mask logits (B, P, M, 4h, 4w) and IoU logits (B, P, M).
        """
        grid = image.shape[-2], image.shape[-1]
        place = positions.flatten(2).transpose(1, 2)[:, None]
        keys = (image[:, None] + dense).flatten(3).transpose(2, 3)
        prompts = keys.shape[1] if sparse is None else sparse.shape[1]
        outputs = torch.cat([self.iou_token.weight, self.mask_tokens.weight])
        tokens = outputs.expand(image.shape[0], prompts, -1, -1)
        if sparse is not None:
            tokens = torch.cat([tokens, sparse], dim=2)
        seen = None
        if visible is not None:
            seen = F.pad(visible, (len(outputs), 0), value=True)
        queries, keys = self._two_way(tokens, keys, place, seen)
        first, last = (1, self.num_mask_tokens) if multimask else (0, 1)
        hyper = torch.stack(
            [
                self.output_hypernetworks_mlps[index](queries[:, :, 1 + index])
                for index in range(first, last)
            ],
            dim=-1,
        )
        masks = self._masks(keys, fine, hyper, grid)
        return masks, self.iou_prediction_head(queries[:, :, 0])[..., first:last]

    def _two_way(
        self, tokens: Tensor, keys: Tensor, place: Tensor, seen: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Tokens and image look at each other in turn.

        Args:
            tokens: (B, P, T, D).
            keys: (B, P or 1, hw, D), the image.
            place: (1, 1, hw, D).
            seen: (B, P, T) bool, which tokens may be looked at, or None for all.

        Returns:
            tokens (B, P, T, D) and image (B, P, hw, D).
        """
        allowed = None if seen is None else seen.flatten(0, 1)[:, None, None]
        queries = tokens
        for module in self.transformer.layers:
            layer = cast("SamTwoWayAttentionBlock", module)
            asking = queries if layer.skip_first_layer_pe else queries + tokens
            found = layer.self_attn(asking, asking, queries, attention_similarity=allowed)[0]
            queries = found if layer.skip_first_layer_pe else queries + found
            queries = layer.layer_norm1(queries)
            placed = keys + place
            found = tokens_to_image(layer.cross_attn_token_to_image, queries + tokens, placed, keys)
            queries = layer.layer_norm2(queries + found)
            queries = layer.layer_norm3(queries + layer.mlp(queries))
            found = image_to_tokens(
                layer.cross_attn_image_to_token, placed, queries + tokens, queries, seen
            )
            keys = layer.layer_norm4(keys + found)
        last = self.transformer.final_attn_token_to_image
        found = tokens_to_image(last, queries + tokens, keys + place, keys)
        return self.transformer.layer_norm_final_attn(queries + found), keys

    def _masks(self, keys: Tensor, fine: Tensor, hyper: Tensor, grid: tuple[int, int]) -> Tensor:
        """Upscale the image of every prompt and multiply it by the prompt's masks.

        A transposed convolution whose stride is its kernel is a linear map of each pixel onto
        its sub-pixels; all that follows it here is per pixel, so that sub-pixels stay channels
        until there are only masks left to rearrange.

        Args:
            keys: (B, P, hw, D).
            fine: (B, D / 8, 4h, 4w).
            hyper: (B, P, D / 8, M).
            grid: h and w.

        Returns:
            (B, P, M, 4h, 4w).
        """
        norm = self.upscale_layer_norm
        half = _subpixels(self.upscale_conv1, keys)
        half = self.activation(F.layer_norm(half, norm.normalized_shape, norm.weight, norm.bias))
        full = _subpixels(self.upscale_conv2, half)
        # In place: the largest tensor here, and its producer does not need it again.
        full = self.activation(full.add_(_subpixel_order(fine, grid)))
        masks = full.flatten(2, -2) @ hyper
        batch, prompts, _, count = masks.shape
        masks = masks.view(batch, prompts, *grid, 2, 2, 2, 2, count)
        # batch, prompt, mask, then row and column, each coarse, half, full
        masks = masks.permute(0, 1, 8, 2, 4, 6, 3, 5, 7)
        size = (UPSCALING * grid[0], UPSCALING * grid[1])
        arranged: Tensor = masks.reshape(batch, prompts, count, *size)
        return arranged


def tokens_to_image(
    attention: SamAttention, asking: Tensor, placed: Tensor, image: Tensor
) -> Tensor:
    """Cross attention of tokens (B, P, T, D) to an image (B, P or 1, hw, D).

    Args:
        attention: whose weights to use.
        asking: (B, P, T, D), the tokens with their positions.
        placed: the image with its positions, which is looked at.
        image: the image, which is taken from.

    Returns:
        (B, P, T, D).
    """
    heads = attention.num_attention_heads
    asking = attention.q_proj(asking).unflatten(-1, (heads, -1)) * attention.scaling
    key = attention.k_proj.weight.unflatten(0, (heads, -1))
    value = attention.v_proj.weight.unflatten(0, (heads, -1))
    # Without the key's bias, which adds the same to all pixels.
    asking = torch.einsum("bpthc,hcd->bphtd", asking, key)
    shape = asking.shape
    rows = _folded(asking, image.shape[1])
    share = (rows @ placed.transpose(-1, -2)).softmax(-1)
    taken = (share @ image).view(shape)
    taken = torch.einsum("bphtd,hcd->bpthc", taken, value).flatten(-2) + attention.v_proj.bias
    found: Tensor = attention.out_proj(taken)
    return found


def image_to_tokens(
    attention: SamAttention, placed: Tensor, key: Tensor, value: Tensor, seen: Tensor | None
) -> Tensor:
    """Cross attention of an image (B, P or 1, hw, D) to tokens (B, P, T, D).

    Args:
        attention: whose weights to use.
        placed: the image with its positions, which looks.
        key: the tokens with their positions.
        value: the tokens.
        seen: (B, P, T) bool, or None for all.

    Returns:
        (B, P, hw, D).
    """
    heads = attention.num_attention_heads
    key = attention.k_proj(key).unflatten(-1, (heads, -1)) * attention.scaling
    value = attention.v_proj(value).unflatten(-1, (heads, -1))
    query = attention.q_proj.weight.unflatten(0, (heads, -1))
    out = attention.out_proj.weight.unflatten(1, (heads, -1))
    level = torch.einsum("bpthc,hc->bpht", key, attention.q_proj.bias.unflatten(0, (heads, -1)))
    if seen is not None:
        level = level.masked_fill(~seen[:, :, None], float("-inf"))
    key = torch.einsum("bpthc,hcd->bphtd", key, query)
    shape = key.shape
    rows = _folded(key, placed.shape[1])
    logits = (rows @ placed.transpose(-1, -2)).view(*shape[:-1], -1)
    share = (logits + level[..., None]).softmax(-2).flatten(2, 3)
    # The shares of a head add up to 1: a bias in the values is one in the result, for less.
    value = torch.einsum("bpthc,dhc->bphtd", value, out) + attention.out_proj.bias / heads
    found: Tensor = share.transpose(-1, -2) @ value.flatten(2, 3)
    return found


def _folded(rows: Tensor, images: int) -> Tensor:
    """(B, P, heads, T, D) to (B, P, heads * T, D), or to (B, 1, P * heads * T, D) for one image."""
    return rows.flatten(1, 3)[:, None] if images == 1 else rows.flatten(2, 3)


def _subpixels(convolution: nn.ConvTranspose2d, pixels: Tensor) -> Tensor:
    """A transposed convolution, kernel and stride 2, on (..., C): (..., 2, 2, C')."""
    weight = convolution.weight.permute(2, 3, 1, 0)
    bias = None if convolution.bias is None else convolution.bias.repeat(4)
    finer = F.linear(pixels, weight.flatten(0, 2), bias)
    return finer.view(*finer.shape[:-1], *weight.shape[:3])


def _subpixel_order(fine: Tensor, grid: tuple[int, int]) -> Tensor:
    """(B, C, 4h, 4w) to (B, 1, hw, 2, 2, 2, 2, C), the order that two upscalings give."""
    batch, channels = fine.shape[:2]
    parts = fine.reshape(batch, channels, grid[0], 2, 2, grid[1], 2, 2)
    return parts.permute(0, 2, 5, 3, 6, 4, 7, 1).flatten(1, 2)[:, None]
