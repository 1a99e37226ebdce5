"""Names of weights: the authors' files and transformers' older ones to transformers' models."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import TypeAlias

import torch
from torch import Tensor

from rangemask.models.sam2.presets import SIZES

Shapes: TypeAlias = Mapping[str, tuple[int, ...]]
Rule: TypeAlias = tuple[str, str | Callable[[re.Match[str]], str]]

_AUTHORS_TRUNK = "image_encoder.trunk."
_TRUNK = "vision_encoder.backbone."
_GRID = "shared_embedding.positional_embedding"
_GRIDS = (f"prompt_encoder.{_GRID}", "shared_image_embedding.positional_embedding")
"""Fourier frequencies of positions, held twice: for prompts and for the image."""
_POINT_KINDS = "prompt_encoder.point_embeddings"
"""Negative, positive, upper left and lower right: four entries there, four rows of one here."""
_NEW_IN_2_1 = ("no_obj_embed_spatial", "occlusion_spatial_embedding_parameter")

_VIDEO_ONLY = (
    "memory_",
    "mask_downsample.",
    "object_pointer_proj.",
    "temporal_positional_encoding_projection_layer.",
    "no_memory_positional_encoding",
    "no_object_pointer",
    "occlusion_spatial_embedding_parameter",
)
"""What the model of single images has no part for."""


def _of_three(match: re.Match[str]) -> str:
    return f"{match[1]}.{('proj_in', 'layers.0', 'proj_out')[int(match[2])]}."


def _of_two(match: re.Match[str]) -> str:
    return f".mlp.{('proj_in', 'proj_out')[int(match[1])]}."


def _downsampler(match: re.Match[str]) -> str:
    # Threes of convolution, norm and activation, and a last convolution.
    layer, part = divmod(int(match[1]), 3)
    if layer == 4:
        return "mask_downsampler.final_conv."
    return f"mask_downsampler.layers.{layer}.{('conv', 'layer_norm')[part]}."


_RENAMED: Mapping[str, str] = MappingProxyType(
    {
        "no_mem_embed": "no_memory_embedding",
        "no_mem_pos_enc": "no_memory_positional_encoding",
        "no_obj_ptr": "no_object_pointer",
        "no_obj_embed_spatial": "occlusion_spatial_embedding_parameter",
        "maskmem_tpos_enc": "memory_temporal_positional_encoding",
    }
)
_AUTHORS: tuple[Rule, ...] = (
    (r"^image_encoder\.trunk\.", _TRUNK),
    (r"^image_encoder\.neck\.convs\.(\d+)\.conv\.", r"vision_encoder.neck.convs.\1."),
    (r"patch_embed\.proj\.", "patch_embed.projection."),
    (r"^sam_prompt_encoder\.pe_layer\.positional_encoding_gaussian_matrix$", _GRIDS[0]),
    (r"^sam_", ""),
    (r"mask_downscaling\.0\.", "mask_embed.conv1."),
    (r"mask_downscaling\.1\.", "mask_embed.layer_norm1."),
    (r"mask_downscaling\.3\.", "mask_embed.conv2."),
    (r"mask_downscaling\.4\.", "mask_embed.layer_norm2."),
    (r"mask_downscaling\.6\.", "mask_embed.conv3."),
    (r"output_upscaling\.0\.", "upscale_conv1."),
    (r"output_upscaling\.1\.", "upscale_layer_norm."),
    (r"output_upscaling\.3\.", "upscale_conv2."),
    (r"\.mlp\.layers\.([01])\.", _of_two),
    (r"^obj_ptr_proj\.", "object_pointer_proj."),
    (r"(output_hypernetworks_mlps\.\d+)\.layers\.([012])\.", _of_three),
    (r"(iou_prediction_head|pred_obj_score_head)\.layers\.([012])\.", _of_three),
    (r"(object_pointer_proj)\.layers\.([012])\.", _of_three),
    (r"^obj_ptr_tpos_proj\.", "temporal_positional_encoding_projection_layer."),
    (r"^memory_encoder\.out_proj\.", "memory_encoder.projection."),
    (r"^memory_encoder\.pix_feat_proj\.", "memory_encoder.feature_projection."),
    (r"^memory_encoder\.fuser\.", "memory_encoder.memory_fuser."),
    (r"\.gamma$", ".scale"),
    (r"\.dwconv\.", ".depthwise_conv."),
    (r"\.pwconv(\d)\.", r".pointwise_conv\1."),
    (r"mask_downsampler\.encoder\.(\d+)\.", _downsampler),
    (r"\.norm_final_attn\.", ".layer_norm_final_attn."),
    (r"\.norm(\d?)\.", r".layer_norm\1."),
    (r"\.out_proj\.", ".o_proj."),
)


def canonical_sam2(weights: Mapping[str, Tensor], *, video: bool) -> dict[str, Tensor]:
    """Weights by the names of transformers' ``Sam2Model`` or ``Sam2VideoModel``.

    Names that are known to nobody pass unchanged, so that loading strictly names them.

    Args:
        weights: from the authors' file, or as either of transformers' models saves them.
        video: whether memory is wanted too; without it what belongs to it is left out.
    """
    theirs = any(name.startswith(_AUTHORS_TRUNK) for name in weights)
    rules = _AUTHORS if theirs else ()
    result: dict[str, Tensor] = {}
    kinds: dict[int, Tensor] = {}
    for name, value in weights.items():
        name = _RENAMED.get(name, name) if theirs else name
        for pattern, new in rules:
            name = re.sub(pattern, new, name)
        kind = re.fullmatch(rf"{re.escape(_POINT_KINDS)}\.(\d)\.weight", name)
        if kind is not None:
            kinds[int(kind[1])] = value
        elif video or not name.startswith(_VIDEO_ONLY):
            result[name] = value
    if kinds and all(value.ndim == 2 for value in kinds.values()):
        rows = [kinds[index] for index in sorted(kinds)]
        result["prompt_encoder.point_embed.weight"] = torch.cat(rows)
    for one, other in (_GRIDS, _GRIDS[::-1]):
        if one in result:
            result.setdefault(other, result[one])
    return result


def size_of(shapes: Shapes) -> str | None:
    """The name of the size that weights are of, such as ``tiny``; None where they tell of none.

    Args:
        shapes: shape by name, as in the file.
    """
    trunk = next((p for p in (_AUTHORS_TRUNK, _TRUNK) if any(n.startswith(p) for n in shapes)), "")
    position = shapes.get(f"{trunk}pos_embed")
    if not trunk or position is None or len(position) != 4:
        return None
    blocks = {
        m[1] for m in (re.match(rf"{re.escape(trunk)}blocks\.(\d+)\.", n) for n in shapes) if m
    }
    for name, size in SIZES.items():
        if (size.width, sum(size.blocks)) == (position[1], len(blocks)):
            return name
    return None


def is_older(shapes: Shapes) -> bool:
    """Whether these are weights of the first SAM 2, whose entries 2.1 has and two more.

    Args:
        shapes: shape by name, as in the file.
    """
    remembers = any(name in shapes for name in ("maskmem_tpos_enc", _RENAMED["maskmem_tpos_enc"]))
    return remembers and not any(name in shapes for name in _NEW_IN_2_1)
