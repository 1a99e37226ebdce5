"""DINOv2 weights as their authors, timm and transformers name them, to the names used here.

Ours are timm's. Where registers are, timm adds the class token's position embedding to the
class token and keeps positions of patches only; published files hold them apart.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Mapping

import torch
from torch import Tensor

from rangemask.models.recognise import PATCH_EMBEDDINGS

logger = logging.getLogger(__name__)

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
_HOLDERS = frozenset(
    {
        *("module", "model", "_orig_mod", "teacher", "backbone", "vit", "pretrained"),
        *("dinov2", "dinov2_with_registers"),
    }
)
"""Names of what holds a backbone in training runs and in larger models."""
_JOINED = (
    (".attn.qkv.", (".attn.q.", ".attn.k.", ".attn.v.")),
    (".mlp.w12.", (".mlp.gate_proj.", ".mlp.up_proj.")),
)
"""Layers that transformers keeps apart and the others join, in the joined order."""
_CHUNK = re.compile(r"^blocks\.\d+\.(\d+)\.")
"""The authors' training code wraps blocks in chunks, and counts on through them."""
_UNUSED = "mask_token"
"""Only pre-training uses it; published files hold it all the same."""


def canonical_backbone(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights by the names of ``Backbone``'s ``vit``, whoever wrote the file.

    Args:
        weights: from the authors' ``.pth`` or training runs, from timm, from transformers
            (releases 4 and 5), or of ours; also a larger model that holds a backbone (Depth
            Anything V2, a student), of which the rest is left out with a word in the log.
            Names that are none of theirs pass unchanged, so that loading strictly names them.
            The mask token is left out.
    """
    named = _held(weights, backbone_prefix(weights))
    if any(name.startswith("embeddings.") for name in named):
        named = _from_transformers(named)
    named = {_CHUNK.sub(r"blocks.\1.", name): value for name, value in named.items()}
    named.pop(_UNUSED, None)
    registers, position = named.get("register_tokens"), named.get("pos_embed")
    token = named.get("cls_token")
    if registers is not None and position is not None and token is not None:
        if position.ndim == token.ndim == 3 and position.shape[-1] == token.shape[-1]:
            named["cls_token"] = token + position[:, :1]
            named["pos_embed"] = position[:, 1:]
        named["reg_token"] = named.pop("register_tokens")
    return {_swiglu(name): value for name, value in named.items()}


def backbone_prefix(names: Iterable[str]) -> str:
    """What stands before the names of the one backbone in a file: ``pretrained.``, for one.

    Empty where nothing does, where there are several, or where something else does: then it
    is not for us to say that this is a DINOv2 backbone.
    """
    prefixes = {
        name.removesuffix(ending)
        for name in names
        for ending in PATCH_EMBEDDINGS
        if name.endswith(ending)
    }
    prefix = prefixes.pop() if len(prefixes) == 1 else ""
    return prefix if _HOLDERS.issuperset(prefix.split(".")[:-1]) else ""


def _held(weights: Mapping[str, Tensor], prefix: str) -> dict[str, Tensor]:
    if not prefix:
        return dict(weights)
    named = {n.removeprefix(prefix): value for n, value in weights.items() if n.startswith(prefix)}
    others = sorted({n.partition(".")[0] for n in weights if not n.startswith(prefix)})
    if others:
        logger.warning(
            "taking the backbone %s* of a larger model, and leaving %s out; where that model was "
            "trained as a whole, the backbone is no longer DINOv2's",
            prefix,
            ", ".join(others[:3]),
        )
    return named


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
    result = dict(weights)
    for name in weights:
        siblings = [name.replace(parts[0], part) for part in parts]
        if parts[0] not in name or not all(sibling in weights for sibling in siblings):
            continue
        values = [weights[sibling] for sibling in siblings]
        if len({value.shape for value in values}) == 1 and values[0].ndim:
            result[name.replace(parts[0], joined)] = torch.cat(values)
            for sibling in siblings:
                del result[sibling]
    return result
