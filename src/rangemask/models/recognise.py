"""What a file of weights looks like, from the names and shapes of its entries."""

from __future__ import annotations

from collections.abc import Mapping

from rangemask.models.presets import VIT_SIZES

Shapes = Mapping[str, tuple[int, ...]]

_PATCH_EMBEDDINGS = (
    "patch_embed.proj.weight",
    "embeddings.patch_embeddings.projection.weight",
)


def describe(shapes: Shapes) -> str:
    """In words: which published model has entries like these.

    Args:
        shapes: shape by name, as in the file.
    """
    names = set(shapes)
    if any("sam_mask_decoder" in name or "mask_decoder.iou" in name for name in names):
        return "a Segment Anything model"
    vit = _vit(shapes)
    if any(name.startswith(("depth_head.", "neck.reassemble_stage.")) for name in names):
        return f"a Depth Anything model on {vit or 'another backbone'}"
    if any(name.startswith(("feature.", "cost_agg.", "update_block.")) for name in names):
        return "a FoundationStereo model"
    if any(name.startswith("pyramid.") for name in names):
        return f"a RangeMask model on {vit or 'another backbone'}"
    return vit or f"an unknown model of {len(shapes)} entries, such as {next(iter(shapes), '-')}"


def _vit(shapes: Shapes) -> str | None:
    entry = next((name for name in shapes if name.endswith(_PATCH_EMBEDDINGS)), None)
    if entry is None or len(shapes[entry]) != 4:
        return None
    width, patch_px = shapes[entry][0], shapes[entry][-1]
    registers = any(name.endswith(("register_tokens", "reg_token")) for name in shapes)
    suffix = " with registers" if registers else ""
    for name, size in VIT_SIZES.items():
        if size.width == width and patch_px == 14:
            return f"a ViT-{name[0].upper()}/14 ({name}, {width} wide){suffix}"
    return f"a vision transformer {width} wide on patches of {patch_px} px{suffix}"
