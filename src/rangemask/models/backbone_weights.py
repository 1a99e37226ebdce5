"""DINOv2 weights as their authors, timm and transformers name them, to the names used here.

Ours are timm's. Where registers are, timm adds the class token's position embedding to the
class token and keeps positions of patches only; published files hold them apart.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

import torch
from torch import Tensor

_TRANSFORMERS = (
    ("embeddings.patch_embeddings.projection.", "patch_embed.proj."),
    ("embeddings.cls_token", "cls_token"),
    ("embeddings.mask_token", "mask_token"),
    ("embeddings.register_tokens", "register_tokens"),
    ("embeddings.position_embeddings", "pos_embed"),
    ("encoder.layer.", "blocks."),
    (".attention.attention.query.", ".attn.q."),
    (".attention.attention.key.", ".attn.k."),
    (".attention.attention.value.", ".attn.v."),
    (".attention.output.dense.", ".attn.proj."),
    (".attention.q_proj.", ".attn.q."),
    (".attention.k_proj.", ".attn.k."),
    (".attention.v_proj.", ".attn.v."),
    (".attention.o_proj.", ".attn.proj."),
    (".layer_scale1.lambda1", ".ls1.gamma"),
    (".layer_scale2.lambda1", ".ls2.gamma"),
    (".mlp.weights_in.", ".mlp.w12."),
    (".mlp.weights_out.", ".mlp.w3."),
    (".mlp.down_proj.", ".mlp.w3."),
    ("layernorm.", "norm."),
)
_PREFIXES = ("dinov2.", "dinov2_with_registers.", "backbone.", "module.", "vit.")
_JOINED = (
    (".attn.qkv.", (".attn.q.", ".attn.k.", ".attn.v.")),
    (".mlp.w12.", (".mlp.gate_proj.", ".mlp.up_proj.")),
)
"""Layers that transformers keeps apart and the others join, in the joined order."""


def canonical_backbone(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights by the names of ``Backbone``'s ``vit``, whoever wrote the file.

    Args:
        weights: from the authors' ``.pth``, from timm, from transformers (releases 4 and 5),
            or of ours. Names that are none of theirs pass unchanged, so that loading strictly
            names them. The mask token, which only pre-training uses, is left out.
    """
    named = {_without_prefix(name): value for name, value in weights.items()}
    if any(name.startswith("embeddings.") for name in named):
        named = _from_transformers(named)
    named.pop("mask_token", None)
    if "register_tokens" in named:
        position = named["pos_embed"]
        named["reg_token"] = named.pop("register_tokens")
        named["cls_token"] = named["cls_token"] + position[:, :1]
        named["pos_embed"] = position[:, 1:]
    return {_swiglu(name): value for name, value in named.items()}


def _without_prefix(name: str) -> str:
    for prefix in _PREFIXES:
        name = name.removeprefix(prefix)
    return name


def _swiglu(name: str) -> str:
    return name.replace(".mlp.w12.", ".mlp.fc1.").replace(".mlp.w3.", ".mlp.fc2.")


def _from_transformers(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    renamed = {}
    for name, value in weights.items():
        for theirs, ours in _TRANSFORMERS:
            name = name.replace(theirs, ours)
        renamed[name] = value
    for joined, parts in _JOINED:
        renamed = _join(renamed, joined, parts)
    return renamed


def _join(weights: Mapping[str, Tensor], joined: str, parts: tuple[str, ...]) -> dict[str, Tensor]:
    first = re.compile(re.escape(parts[0]))
    result = {}
    for name, value in weights.items():
        if first.search(name):
            siblings = [name.replace(parts[0], part) for part in parts]
            if all(sibling in weights for sibling in siblings):
                together = torch.cat([weights[sibling] for sibling in siblings])
                result[name.replace(parts[0], joined)] = together
                continue
        elif any(part in name and name.replace(part, parts[0]) in weights for part in parts[1:]):
            continue
        result[name] = value
    return result
