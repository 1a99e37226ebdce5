"""Whoever wrote the file, the features are those of whoever wrote it."""

import json
import logging
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import save_file
from torch import Tensor

import rangemask
from rangemask.models import backbone as backbone_module
from rangemask.models.backbone import Backbone, build_backbone
from rangemask.models.backbone_weights import backbone_prefix, canonical_backbone
from rangemask.models.presets import VIT_SIZES, VitSize
from support.checkpoints import authors, release_5, save_all, transformers_backbone
from support.golden import HERE

SEEN = 518
"""Where the position embedding is not resized, all libraries agree."""
FORMATS = ("saved", "release 5", "release 4", "authors")


def images(height: int, width: int) -> Tensor:
    return torch.randn(1, 3, height, width, generator=torch.Generator().manual_seed(2))


def load(name: str, checkpoint: Path) -> Backbone:
    return rangemask.load_backbone(name, checkpoint=checkpoint, device="cpu")


def close(found: Tensor, expected: Tensor) -> None:
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def same_features(found: Backbone, expected: Tensor, pixels: Tensor) -> None:
    """``expected``: (B, 1 + R + N, C), normed."""
    with torch.inference_mode():
        features = found.forward_features(pixels)
    tokens = features.tokens[-1].flatten(2).transpose(1, 2)
    close(tokens, expected[:, -tokens.shape[1] :])
    close(features.class_tokens[-1], expected[:, 0])


@pytest.fixture(scope="module", params=[False, True], ids=["plain", "registers"])
def written(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[str, Any, dict[str, Path]]:
    model = transformers_backbone(registers=request.param)
    files = save_all(tmp_path_factory.mktemp("written"), model)
    return f"dinov2-nano{'-reg' if request.param else ''}", model, files


@pytest.mark.parametrize("kind", FORMATS)
def test_features_are_those_of_transformers(
    written: tuple[str, Any, dict[str, Path]], kind: str
) -> None:
    name, model, files = written
    pixels = images(SEEN, SEEN)
    with torch.inference_mode():
        expected = model(pixels).last_hidden_state
    same_features(load(name, files[kind]), expected, pixels)


def test_all_formats_are_one_model(written: tuple[str, Any, dict[str, Path]]) -> None:
    name, _, files = written
    first, *others = (load(name, files[kind]).state_dict() for kind in FORMATS)
    for other in others:
        assert list(other) == list(first)
        assert all(torch.equal(other[entry], first[entry]) for entry in first)


def test_registers_resize_positions_as_transformers_does(
    written: tuple[str, Any, dict[str, Path]],
) -> None:
    """With registers the rule has no offset, and both follow it; without, only we do."""
    name, model, files = written
    pixels = images(70, 126)
    with torch.inference_mode():
        expected = model(pixels).last_hidden_state
        found = load(name, files["authors"]).forward_features(pixels).class_tokens[-1]
    if name.endswith("-reg"):
        same_features(load(name, files["authors"]), expected, pixels)
    else:
        assert 0.5 > (found - expected[:, 0]).abs().max() > 1e-3


@pytest.mark.parametrize("kind", FORMATS)
def test_gated_mlps_as_the_giant_has(
    kind: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    gated = VitSize(width=96, depth=4, heads=3, swiglu=True, layers=(0, 1, 2, 3))
    monkeypatch.setattr(backbone_module, "VIT_SIZES", {**VIT_SIZES, "gated": gated})
    model: Any = transformers_backbone(swiglu=True)
    checkpoint = save_all(tmp_path, model)[kind]
    pixels = images(SEEN, SEEN)
    with torch.inference_mode():
        expected = model(pixels).last_hidden_state
    same_features(load("dinov2-gated", checkpoint), expected, pixels)


@pytest.mark.parametrize("suffix", ["", "-reg"])
def test_features_are_those_of_timm(suffix: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    theirs = f"vit_small_patch14_{'reg4_' if suffix else ''}dinov2"
    model = timm.create_model(theirs, pretrained=False).eval()
    with torch.no_grad():
        for value in model.parameters():  # 1e-5 is what LayerScale starts from
            if value.ndim == 1:
                value.add_(0.05)
    save_file(model.state_dict(), tmp_path / "model.safetensors")
    pixels = images(SEEN, SEEN)
    with torch.inference_mode():
        expected = model.forward_features(pixels)
    same_features(load(f"dinov2-small{suffix}", tmp_path), expected, pixels)


@pytest.mark.parametrize(
    ("keys", "name"),
    [
        ("vits14", "dinov2-small"),
        ("vitb14", "dinov2-base"),
        ("vitl14", "dinov2-large"),
        ("vitg14", "dinov2-giant"),
        ("vits14_reg", "dinov2-small-reg"),
    ],
)
def test_every_published_entry_has_its_place(keys: str, name: str) -> None:
    listed = json.loads((HERE / "dinov2" / f"keys_{keys}.json").read_text(encoding="utf-8"))
    with torch.device("meta"):
        expected = {n: v.shape for n, v in build_backbone(name).vit.state_dict().items()}
        published = {entry: torch.empty(shape) for entry, shape in listed.items()}
    found = {entry: value.shape for entry, value in canonical_backbone(published).items()}
    assert found == expected
    assert len(found) == len(published) - 1
    assert "mask_token" in published


@pytest.mark.parametrize("suffix", ["", "_reg4"])
@pytest.mark.parametrize("size", ["base", "large", "giant"])
def test_every_entry_of_timm_has_its_place(size: str, suffix: str) -> None:
    with torch.device("meta"):
        theirs = timm.create_model(f"vit_{size}_patch14{suffix}_dinov2", pretrained=False)
        ours = build_backbone(f"dinov2-{size}{'-reg' if suffix else ''}").vit
    found = {n: v.shape for n, v in canonical_backbone(theirs.state_dict()).items()}
    assert found == {n: v.shape for n, v in ours.state_dict().items()}


# A backbone inside something else


@pytest.fixture(scope="module")
def plain() -> dict[str, Tensor]:
    """The authors' names."""
    torch.manual_seed(0)
    weights = dict(build_backbone("dinov2-nano").vit.state_dict())
    return {**weights, "mask_token": torch.zeros(1, 96)}


def same_weights(found: dict[str, Tensor], plain: dict[str, Tensor]) -> None:
    expected = {name: value for name, value in plain.items() if name != "mask_token"}
    assert found.keys() == expected.keys()
    assert all(torch.equal(found[name], expected[name]) for name in expected)


@pytest.mark.parametrize(
    "prefix",
    ["module.", "model.", "_orig_mod.", "backbone.", "vit.", "module.backbone.", "dinov2."],
)
def test_prefixes_of_training_runs_are_taken_off(
    plain: dict[str, Tensor], prefix: str, caplog: pytest.LogCaptureFixture
) -> None:
    same_weights(canonical_backbone({f"{prefix}{n}": v for n, v in plain.items()}), plain)
    assert not caplog.records


@pytest.mark.parametrize(
    ("prefix", "other"),
    [
        ("pretrained.", "depth_head.projects.0.weight"),
        ("backbone.", "neck.convs.0.weight"),
        ("backbone.vit.", "pyramid.project.0.weight"),
        ("teacher.backbone.", "teacher.dino_head.mlp.0.weight"),
        ("dinov2.", "classifier.weight"),
    ],
)
def test_the_backbone_of_a_larger_model_is_taken_with_a_word(
    plain: dict[str, Tensor], prefix: str, other: str, caplog: pytest.LogCaptureFixture
) -> None:
    weights = {**{f"{prefix}{n}": v for n, v in plain.items()}, other: torch.ones(2)}
    same_weights(canonical_backbone(weights), plain)
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert f"taking the backbone {prefix}* of a larger model" in record.getMessage()
    assert f"leaving {other.partition('.')[0]} out" in record.getMessage()


def test_chunks_of_blocks_are_counted_through(plain: dict[str, Tensor]) -> None:
    """The authors' training code names block 3 ``blocks.1.3`` where chunks hold two blocks."""
    chunked = {}
    for name, value in plain.items():
        head, _, rest = name.partition(".")
        index = rest.partition(".")[0]
        inside = f"blocks.{int(index) // 2}.{rest}" if head == "blocks" else name
        chunked[inside] = value
    assert "blocks.1.3.norm1.weight" in chunked
    same_weights(canonical_backbone(chunked), plain)


@pytest.mark.parametrize(
    ("names", "prefix"),
    [
        (["patch_embed.proj.weight"], ""),
        (["a.patch_embed.proj.weight"], ""),
        (["image_encoder.trunk.patch_embed.proj.weight"], ""),
        (["vit.patch_embed.proj.weight", "model.patch_embed.proj.weight"], ""),
        (["teacher.backbone.patch_embed.proj.weight", "other"], "teacher.backbone."),
        (["dinov2.embeddings.patch_embeddings.projection.weight"], "dinov2."),
        ([], ""),
    ],
)
def test_only_known_holders_are_prefixes(names: list[str], prefix: str) -> None:
    assert backbone_prefix(names) == prefix


def test_names_of_nobody_pass_unchanged() -> None:
    weights = {"conv.weight": torch.ones(1), "register_tokens": torch.ones(1)}
    assert canonical_backbone(weights) == weights


def _entries() -> list[str]:
    plain = list(build_backbone("dinov2-nano").vit.state_dict())
    theirs = transformers_backbone(registers=True).state_dict()
    return [*plain, *theirs, *authors(dict(theirs)), *(f"pretrained.{name}" for name in plain)]


@pytest.fixture(scope="module")
def entries() -> list[str]:
    return _entries()


@settings(deadline=None, max_examples=100)
@given(data=st.data())
def test_any_mixture_of_entries_passes(entries: list[str], data: st.DataObject) -> None:
    """Half a file, or two at once: it is for the strict loading to say what is wrong."""
    names = data.draw(st.lists(st.sampled_from(entries), max_size=30))
    shapes = data.draw(st.sampled_from([(), (2,), (1, 2, 3), (1, 3, 3)]))
    found = canonical_backbone({name: torch.zeros(shapes) for name in names})
    assert len(found) <= len(set(names))


def test_halves_of_a_joined_layer_stay_apart() -> None:
    parts = {
        f"embeddings.encoder.layer.0.attention.{part}_proj.weight": torch.ones(width, 3)
        for part, width in (("q", 4), ("k", 2), ("v", 2))
    }
    assert not any("qkv" in name for name in canonical_backbone(parts))


def test_what_transformers_writes_is_known(
    written: tuple[str, Any, dict[str, Path]], caplog: pytest.LogCaptureFixture
) -> None:
    """Its releases name attention in two ways; whichever this one writes, it is one of them."""
    name, _, files = written
    found = canonical_backbone(release_5(files["saved"]))
    assert found.keys() == build_backbone(name).vit.state_dict().keys()
    assert not caplog.records
