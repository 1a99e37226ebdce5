"""What a file of weights looks like: from its first bytes, its entries, its config beside it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rangemask.models.presets import VIT_SIZES

Shapes = Mapping[str, tuple[int, ...]]

PATCH_EMBEDDINGS = (
    "patch_embed.proj.weight",
    "embeddings.patch_embeddings.projection.weight",
)
"""The entry that every vision transformer has, as its authors and as transformers name it."""
CONFIG_FILE = "config.json"
"""What transformers writes beside the weights."""

_LENGTH_BYTES = 8
_PICKLE = "a plain Python pickle, refused, since reading it would run code; ask for safetensors"
_NO_WEIGHTS = (
    (b"version https://git-lfs", "a Git LFS pointer to one; run `git lfs pull`"),
    (b"<", "a web page: the download was refused or redirected; download it again"),
    (b"\x1f\x8b", "a gzip archive; unpack it"),
    (b"\x89HDF", "an HDF5 file; take the PyTorch or safetensors one"),
    # torch writes protocol 2.
    *((bytes((0x80, protocol)), _PICKLE) for protocol in (3, 4, 5)),
)


def describe_bytes(head: bytes) -> str | None:
    """In words what a file is, where its first bytes say that it is no checkpoint.

    Args:
        head: the first bytes of the file, 64 or so.
    """
    if not head:
        return "an empty file; download it again"
    return next((words for magic, words in _NO_WEIGHTS if head.lstrip().startswith(magic)), None)


def is_safetensors(head: bytes, size_bytes: int) -> bool:
    """Whether a file begins as safetensors do: the length of the header, then JSON."""
    length = int.from_bytes(head[:_LENGTH_BYTES], "little")
    return head[_LENGTH_BYTES:].startswith(b"{") and length <= size_bytes - _LENGTH_BYTES


def describe(shapes: Shapes) -> str:
    """In words: which published model has entries like these.

    Args:
        shapes: shape by name, as in the file or by our names.
    """
    names = set(shapes)
    if any("sam_mask_decoder" in name or "mask_decoder.iou" in name for name in names):
        return "a Segment Anything model"
    if any(name.startswith(("feature.", "cost_agg.", "update_block.")) for name in names):
        return "a FoundationStereo model"
    if any(name.startswith(("1._convs.", "_convs.", "decoder._convs.")) for name in names):
        return "a TiO-Depth model"
    vit = _vit(shapes)
    on = f"on {vit[0] if vit else 'another backbone'}"
    if _is_depth_anything(names):
        return f"a Depth Anything model {on}"
    if any(name.startswith("pyramid.") for name in names):
        return f"a RangeMask model {on}"
    return vit[0] if vit else f"an unknown model of {len(shapes)} entries ({_first(names)})"


def published_name(shapes: Shapes) -> str | None:
    """The name to load a file by, where its entries tell: ``dinov2-base-reg``, for one.

    Whether depth is relative or metric they do not tell.
    """
    vit = _vit(shapes)
    if vit is None or vit[1] is None:
        return None
    if _is_depth_anything(set(shapes)):
        return f"depth-anything-v2-{vit[1].removesuffix('-reg')}"
    plain = describe(shapes) == vit[0]
    return f"dinov2-{vit[1]}" if plain else None


def _is_depth_anything(names: set[str]) -> bool:
    theirs = any(name.startswith(("depth_head.", "neck.reassemble_stage.")) for name in names)
    heads = {name.partition(".")[0] for name in names}
    return theirs or heads == {"backbone", "pyramid", "depth"}


def _vit(shapes: Shapes) -> tuple[str, str | None] | None:
    """In words, and size with or without ``-reg`` where it is one of DINOv2's."""
    entry = next((name for name in shapes if name.endswith(PATCH_EMBEDDINGS)), None)
    if entry is None or len(shapes[entry]) != 4:
        return None
    width, patch_px = shapes[entry][0], shapes[entry][-1]
    registers = any(name.endswith(("register_tokens", "reg_token")) for name in shapes)
    words, suffix = (" with registers", "-reg") if registers else ("", "")
    for name, size in VIT_SIZES.items():
        if size.width == width and patch_px == 14:
            return f"a ViT-{name[0].upper()}/14 ({name}, {width} wide){words}", f"{name}{suffix}"
    return f"a vision transformer {width} wide on patches of {patch_px} px{words}", None


def _first(names: set[str]) -> str:
    return ", ".join(sorted(names)[:2]) or "none"


def config_beside(weights: Path) -> dict[str, Any]:
    """The settings that transformers wrote beside a file of weights; empty without any.

    A file that cannot be read as such is taken for somebody else's.
    """
    try:
        values = json.loads((weights.parent / CONFIG_FILE).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return values if isinstance(values, dict) else {}
