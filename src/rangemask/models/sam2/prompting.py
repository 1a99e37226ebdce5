"""An image to features once, and prompts on them to masks, many at a time."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from transformers import Sam2Model

from rangemask.models.images import normalise

LIMIT = 32.0
"""Logits are given within these bounds, as published."""


class Sam2Features(NamedTuple):
    """What the encoder says of images; of stride 16, 8 and 4 px of its input."""

    embedding: Tensor
    """(B, C, h, w)"""
    middle: Tensor
    """(B, C / 4, 2h, 2w)"""
    fine: Tensor
    """(B, C / 8, 4h, 4w)"""
    positions: Tensor
    """(1, C, h, w), where in the image each place of the embedding is."""


class Sam2Answer(NamedTuple):
    """What the decoder says of P prompts, M masks each."""

    logits: Tensor
    """(P, M, 4h, 4w) float32 in [-32, 32], inside where positive."""
    iou: Tensor
    """(P, M) float32 in [0, 1], how well each mask fits by the decoder's own estimate."""


def computing(network: nn.Module) -> AbstractContextManager[object]:
    """The precision that a network was loaded in, for everything that runs within."""
    weight = next(part.weight for part in network.modules() if isinstance(part, nn.Conv2d))
    halves = weight.dtype != torch.float32
    return torch.autocast(weight.device.type, weight.dtype, enabled=halves)


def resized(images: Tensor, side_px: int) -> Tensor:
    """Images as the authors resize them: a square whatever the aspect, without aliasing.

    Args:
        images: (B, 3, H, W) uint8.
        side_px: of the network's input.

    Returns:
        (B, 3, side, side) float32, ImageNet-normalised.
    """
    scaled = images.float() / 255
    size = (side_px, side_px)
    return normalise(F.interpolate(scaled, size=size, mode="bilinear", antialias=True))


def encode(network: Sam2Model, images: Tensor) -> Sam2Features:
    """Features of normalised images.

    Args:
        network: on the device of the images.
        images: (B, 3, S, S) of the network's input size, see ``resized``.
    """
    levels = network.vision_encoder(images).fpn_hidden_states
    decoder = network.mask_decoder
    # Single images are frames without memory: an embedding of its own says so.
    nothing_yet = network.no_memory_embedding.view(1, -1, 1, 1)
    return Sam2Features(
        levels[2] + nothing_yet,
        decoder.conv_s1(levels[1]),
        decoder.conv_s0(levels[0]),
        network.get_image_wide_positional_embeddings(),
    )


def decode(
    network: Sam2Model,
    features: Sam2Features,
    *,
    points: Tensor | None = None,
    labels: Tensor | None = None,
    boxes: Tensor | None = None,
    masks: Tensor | None = None,
    multimask: bool = False,
) -> Sam2Answer:
    """Masks for P prompts on one image.

    Args:
        network: that made the features.
        features: of a batch of one.
        points: (P, K, 2), x and y in px of the network's input.
        labels: (P, K), 1 inside, 0 outside.
        boxes: (P, 4), left, top, right, bottom in px of the network's input.
        masks: (P, 4h, 4w) logits of an earlier answer.
        multimask: three masks per prompt, or one: that for unambiguous prompts if it is stable,
            otherwise the best of the three.
    """
    tokens, image = _attended(network, features, points, labels, boxes, masks)
    kinds = network.mask_decoder.num_mask_tokens
    iou = network.mask_decoder.iou_prediction_head(tokens[:, 1]).float()
    logits = _logits(network, tokens, image, features, range(1 if multimask else 0, kinds))
    if multimask:
        iou = iou[:, 1:]
    else:
        logits, iou = _single(network, logits, iou)
    return Sam2Answer(logits.clamp(-LIMIT, LIMIT), iou)


def decode_sure(
    network: Sam2Model, features: Sam2Features, points: Tensor, min_iou: float
) -> Sam2Answer:
    """Of the three masks for each of P single points those that the decoder is sure of.

    Masks are made only for prompts with one that is sure enough.

    Args:
        network: that made the features.
        features: of a batch of one.
        points: (P, 2), x and y in px of the network's input, all inside.
        min_iou: masks with a smaller estimate are left out.

    Returns:
        One mask per row: (n, 4h, 4w) and (n,).
    """
    inside = torch.ones(len(points), 1, dtype=torch.long, device=points.device)
    tokens, image = _attended(network, features, points[:, None], inside, None, None)
    decoder = network.mask_decoder
    iou = decoder.iou_prediction_head(tokens[:, 1]).float()[:, 1:]
    sure = iou >= min_iou
    rows = sure.any(1)
    kinds = range(1, decoder.num_mask_tokens)
    logits = _logits(network, tokens[rows], image[rows], features, kinds)[sure[rows]]
    return Sam2Answer(logits.clamp(-LIMIT, LIMIT), iou[sure])


def _attended(
    network: Sam2Model,
    features: Sam2Features,
    points: Tensor | None,
    labels: Tensor | None,
    boxes: Tensor | None,
    masks: Tensor | None,
) -> tuple[Tensor, Tensor]:
    """Tokens (P, T, C) and image (P, h * w, C) after they have attended to each other."""
    tokens, dense = _prompt_tokens(network, points, labels, boxes, masks)
    image = (features.embedding + dense).flatten(2).transpose(1, 2)[:, None]
    positions = features.positions.flatten(2).transpose(1, 2)[:, None]
    transformer = network.mask_decoder.transformer
    first, *others = transformer.layers
    queries, image = _first_block(first, tokens, image, positions)
    for layer in others:
        queries, image, _ = layer(queries, image, tokens, positions, None)
    seen, _ = transformer.final_attn_token_to_image(queries + tokens, image + positions, image)
    return transformer.layer_norm_final_attn(queries + seen)[0], image[:, 0]


def _first_block(
    block: Any, tokens: Tensor, image: Tensor, positions: Tensor
) -> tuple[Tensor, Tensor]:
    """The first block of the two-way transformer, (1, P, T, C) and (P, 1, N, C).

    All prompts meet the same image here, unless they bring masks, so that it is looked at once.

    Args:
        block: of transformers.
        tokens: (1, P, T, C)
        image: (1, 1, N, C), or (P, 1, N, C) where prompts have masks.
        positions: (1, 1, N, C)
    """
    count = tokens.shape[1]
    if len(image) == count:
        queries, image, _ = block(tokens, image, tokens, positions, None)
        return queries, image
    queries, _ = block.self_attn(tokens, tokens, tokens)
    queries = block.layer_norm1(queries)
    # One attention with the tokens of all prompts, which do not see each other.
    asking = (queries + tokens).flatten(1, 2)[:, None]
    placed = image + positions
    seen, _ = block.cross_attn_token_to_image(asking, placed, image)
    queries = block.layer_norm2(queries + seen.view_as(queries))
    queries = block.layer_norm3(queries + block.mlp(queries))
    back = block.cross_attn_image_to_token
    heads = (-1, (back.num_attention_heads, back.head_dim))
    asked = back.q_proj(placed[0]).unflatten(*heads).transpose(1, 2)
    key = back.k_proj(queries + tokens)[0].unflatten(*heads).transpose(1, 2)
    value = back.v_proj(queries)[0].unflatten(*heads).transpose(1, 2)
    told = F.scaled_dot_product_attention(asked.expand(count, -1, -1, -1), key, value)
    seen = back.o_proj(told.transpose(1, 2).flatten(2))
    return queries, block.layer_norm4(image + seen[:, None])


def _prompt_tokens(
    network: Sam2Model,
    points: Tensor | None,
    labels: Tensor | None,
    boxes: Tensor | None,
    masks: Tensor | None,
) -> tuple[Tensor, Tensor]:
    """Tokens of outputs and prompts, (1, P, T, C), and what is added to the image embedding."""
    decoder, encoder = network.mask_decoder, network.prompt_encoder
    outputs = torch.cat(
        [decoder.obj_score_token.weight, decoder.iou_token.weight, decoder.mask_tokens.weight]
    )
    places, dense = encoder(
        None if points is None else points[None],
        None if labels is None else labels[None],
        None if boxes is None else boxes[None],
        None if masks is None else masks[:, None],
    )
    if masks is None:
        dense = encoder.no_mask_embed.weight.view(1, -1, 1, 1)
    count = len(dense) if places is None else places.shape[1]
    tokens = outputs.expand(1, count, -1, -1)
    if places is not None:
        tokens = torch.cat([tokens, places], dim=2)
    return tokens, dense


def _logits(
    network: Sam2Model, tokens: Tensor, image: Tensor, features: Sam2Features, kinds: range
) -> Tensor:
    """Masks of the wanted kinds, (P, len(kinds), 4h, 4w) float32, from what attended."""
    decoder = network.mask_decoder
    coarse = image.transpose(1, 2).unflatten(-1, features.embedding.shape[-2:])
    middle = decoder.upscale_layer_norm(decoder.upscale_conv1(coarse) + features.middle)
    fine = decoder.upscale_conv2(decoder.activation(middle)) + features.fine
    fine = decoder.activation(fine)
    weights = torch.stack(
        [decoder.output_hypernetworks_mlps[kind](tokens[:, 2 + kind]) for kind in kinds], dim=1
    )
    masks: Tensor = (weights @ fine.flatten(2)).unflatten(-1, fine.shape[-2:]).float()
    return masks


def _single(network: Sam2Model, logits: Tensor, iou: Tensor) -> tuple[Tensor, Tensor]:
    """One mask of four, (P, 1, ...): the first where it is stable, else the surest of the rest.

    A mask is stable whose area hardly changes with the threshold (the authors' code, "dynamic
    multimask via stability").
    """
    decoder = network.mask_decoder
    chosen = iou[:, 1:].argmax(1) + 1
    if decoder.dynamic_multimask_via_stability:
        delta = decoder.dynamic_multimask_stability_delta
        first = logits[:, 0].flatten(1)
        stable = stability(first, delta) >= decoder.dynamic_multimask_stability_thresh
        chosen = torch.where(stable, 0, chosen)
    else:
        chosen = torch.zeros_like(chosen)
    index = torch.arange(len(iou), device=iou.device)
    return logits[index, chosen][:, None], iou[index, chosen][:, None]


def stability(logits: Tensor, delta: float) -> Tensor:
    """IoU of the masks at two thresholds, ``delta`` above and below zero; (...) of (..., N).

    Masks that are empty at both are taken for stable.
    """
    inner = (logits > delta).sum(-1)
    outer = (logits > -delta).sum(-1)
    return torch.where(outer > 0, inner / outer.clamp(min=1), 1.0)
