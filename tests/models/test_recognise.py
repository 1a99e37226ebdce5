"""What a file is said to look like."""

import json
from pathlib import Path

import pytest
import torch

from rangemask.models.backbone_weights import canonical_backbone
from rangemask.models.depth_anything import canonical_depth_anything
from rangemask.models.recognise import (
    config_beside,
    describe,
    describe_bytes,
    is_safetensors,
    published_name,
)
from support.golden import HERE, SHARED


def shapes_of(system: str, keys: str, folder: Path = HERE) -> dict[str, tuple[int, ...]]:
    path = folder / system / f"keys_{keys}.json"
    if not path.exists():
        pytest.skip(f"the list of entries of {system} is not beside this checkout")
    listed = json.loads(path.read_text(encoding="utf-8"))
    return {name: tuple(shape) for name, shape in listed.items()}


@pytest.mark.parametrize(
    ("system", "keys", "words", "name"),
    [
        ("dinov2", "vits14", "a ViT-S/14 (small, 384 wide)", "dinov2-small"),
        ("dinov2", "vitb14", "a ViT-B/14 (base, 768 wide)", "dinov2-base"),
        ("dinov2", "vitl14", "a ViT-L/14 (large, 1024 wide)", "dinov2-large"),
        ("dinov2", "vitg14", "a ViT-G/14 (giant, 1536 wide)", "dinov2-giant"),
        ("dinov2", "vits14_reg", "a ViT-S/14 (small, 384 wide) with registers", "dinov2-small-reg"),
        (
            "depth_anything_v2",
            "vitb",
            "a Depth Anything model on a ViT-B/14 (base, 768 wide)",
            "depth-anything-v2-base",
        ),
    ],
)
def test_published_files_are_known(system: str, keys: str, words: str, name: str) -> None:
    """By their authors' names, and by ours, which is what an error of the loader sees."""
    theirs = shapes_of(system, keys)
    weights = {entry: torch.empty(shape, device="meta") for entry, shape in theirs.items()}
    canonical = canonical_backbone if system == "dinov2" else canonical_depth_anything
    ours = {entry: tuple(value.shape) for entry, value in canonical(weights).items()}
    for shapes in (theirs, ours):
        assert describe(shapes) == words
        assert published_name(shapes) == name


@pytest.mark.parametrize("keys", ["full_swin", "decoder"])
def test_two_in_one_is_known(keys: str) -> None:
    shapes = shapes_of("tio_depth", keys)
    assert describe(shapes) == "a TiO-Depth model"
    assert describe({f"decoder.{n[2:]}": s for n, s in shapes.items()}) == "a TiO-Depth model"
    assert published_name(shapes) is None


def test_segment_anything_is_known() -> None:
    shapes = shapes_of("sam2", "hiera_tiny", SHARED)
    assert describe(shapes) == "a Segment Anything model"
    assert published_name(shapes) is None


@pytest.mark.parametrize(
    ("shapes", "words"),
    [
        ({"sam_mask_decoder.iou_token.weight": (1, 256)}, "a Segment Anything model"),
        ({"feature.stem.0.weight": (1,), "cost_agg.x": (1,)}, "a FoundationStereo model"),
        ({"neck.reassemble_stage.x": (1,)}, "a Depth Anything model on another backbone"),
        (
            {
                "backbone.vit.patch_embed.proj.weight": (384, 3, 14, 14),
                "pyramid.project.0.weight": (1,),
                "masks.queries": (1,),
            },
            "a RangeMask model on a ViT-S/14 (small, 384 wide)",
        ),
        (
            {"patch_embed.proj.weight": (768, 3, 16, 16), "reg_token": (1, 4, 768)},
            "a vision transformer 768 wide on patches of 16 px with registers",
        ),
        (
            {"embeddings.patch_embeddings.projection.weight": (384, 3, 14, 14)},
            "a ViT-S/14 (small, 384 wide)",
        ),
        ({"patch_embed.proj.weight": (3,)}, "an unknown model of 1 entries (patch_embed.proj"),
        ({}, "an unknown model of 0 entries (none)"),
    ],
)
def test_others_are_described(shapes: dict[str, tuple[int, ...]], words: str) -> None:
    assert describe(shapes).startswith(words)


def test_a_student_has_no_published_name() -> None:
    shapes = {"backbone.vit.patch_embed.proj.weight": (384, 3, 14, 14), "pyramid.x": (1,)}
    assert published_name({**shapes, "masks.queries": (1,)}) is None
    assert published_name({**shapes, "depth.out.weight": (1,)}) == "depth-anything-v2-small"


def test_first_bytes() -> None:
    length = (100).to_bytes(8, "little")
    assert is_safetensors(length + b'{"a"', 108)
    assert not is_safetensors(length + b'{"a"', 107)
    assert not is_safetensors(length + b'["a"', 108)
    assert not is_safetensors(length, 108)
    assert describe_bytes(length + b'{"a"') is None
    assert describe_bytes(b"PK\x03\x04") is None
    assert describe_bytes(b"\x80\x02\x8a\nl") is None


@pytest.mark.parametrize("content", ["", "[1, 2]", "{", '"text"', "\ud800"])
def test_settings_that_are_none_are_ignored(tmp_path: Path, content: str) -> None:
    (tmp_path / "config.json").write_bytes(content.encode("utf-8", "surrogatepass"))
    assert config_beside(tmp_path / "model.safetensors") == {}
    assert config_beside(tmp_path / "elsewhere" / "model.safetensors") == {}
    (tmp_path / "config.json").write_text('{"model_type": "dinov2"}', encoding="utf-8")
    assert config_beside(tmp_path / "model.safetensors") == {"model_type": "dinov2"}
