"""Files of SAM 2.1, as its authors and transformers write them, and files of something else."""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor
from transformers import Sam2Model, Sam2VideoModel

import rangemask
from rangemask.errors import InputError, UnknownNameError
from rangemask.models.sam2.loading import load_sam2, load_sam2_video
from rangemask.models.sam2.names import canonical_sam2, is_older, size_of
from rangemask.models.sam2.presets import SIZES, image_config, size_named, video_config
from rangemask.models.sam2.prompting import computing, decode, encode
from support.golden import HERE, filled_weights
from support.sam2 import NANO, nano_sam2, nano_sam2_video

PUBLISHED = ("tiny", "small", "base-plus", "large")


def listed(size: str) -> dict[str, Tensor]:
    path = HERE / "sam2" / f"keys_hiera_{size}.json"
    shapes = json.loads(path.read_text(encoding="utf-8"))
    return {name: torch.empty(shape, device="meta") for name, shape in shapes.items()}


def shapes_of(weights: Any) -> dict[str, tuple[int, ...]]:
    return {name: tuple(value.shape) for name, value in weights.items()}


# Names and sizes


@pytest.mark.parametrize("video", [False, True])
@pytest.mark.parametrize("size", ["tiny", "small"])
def test_every_published_entry_has_its_place(size: str, video: bool) -> None:
    with torch.device("meta"):
        if video:
            network: Any = Sam2VideoModel(video_config(SIZES[size]))
        else:
            network = Sam2Model(image_config(SIZES[size]))
    found = canonical_sam2(listed(size), video=video)
    assert shapes_of(found) == shapes_of(network.state_dict())


def authors_trunk(size: str) -> dict[str, tuple[int, ...]]:
    """Entries of an encoder by the authors' configuration and code, in their names."""
    numbers = SIZES[size]
    width, side = numbers.width, numbers.background
    found: dict[str, tuple[int, ...]] = {
        "pos_embed": (1, width, side, side),
        "pos_embed_window": (1, width, 8, 8),
        "patch_embed.proj.weight": (width, 3, 7, 7),
        "patch_embed.proj.bias": (width,),
    }
    starts = [sum(numbers.blocks[:stage]) for stage in range(1, 4)]
    for block in range(sum(numbers.blocks)):
        out = 2 * width if block in starts else width
        parts: dict[str, tuple[int, ...]] = {
            "norm1": (width,),
            "attn.qkv": (3 * out, width),
            "attn.proj": (out, out),
            "norm2": (out,),
            "mlp.layers.0": (4 * out, out),
            "mlp.layers.1": (out, 4 * out),
        }
        if out != width:
            parts["proj"] = (out, width)
        for part, shape in parts.items():
            found[f"blocks.{block}.{part}.weight"] = shape
            found[f"blocks.{block}.{part}.bias"] = shape[:1]
        width = out
    return {f"image_encoder.trunk.{name}": shape for name, shape in found.items()}


@pytest.mark.parametrize("size", PUBLISHED)
def test_larger_sizes_have_their_places_too(size: str) -> None:
    """Their lists are not at hand, but the encoders' entries follow from the configurations."""
    tiny = shapes_of(listed("tiny"))
    shapes = {n: s for n, s in tiny.items() if not n.startswith("image_encoder.trunk.")}
    shapes |= authors_trunk(size)
    for level in range(4):
        channels = SIZES[size].width * 2 ** (3 - level)
        shapes[f"image_encoder.neck.convs.{level}.conv.weight"] = (256, channels, 1, 1)
    if size in {"tiny", "small"}:
        assert shapes == shapes_of(listed(size))
    weights = {name: torch.empty(shape, device="meta") for name, shape in shapes.items()}
    assert size_of(shapes) == size
    with torch.device("meta"):
        network = Sam2VideoModel(video_config(SIZES[size]))
    found = canonical_sam2(weights, video=True)
    assert shapes_of(found) == shapes_of(network.state_dict())


@pytest.mark.parametrize(
    ("size", "millions"),
    [("tiny", 38.9), ("small", 46.0), ("base-plus", 80.8), ("large", 224.4)],
)
def test_sizes_are_the_published_ones(size: str, millions: float) -> None:
    """As the authors' table counts them, cut off after a digit."""
    with torch.device("meta"):
        network = Sam2VideoModel(video_config(SIZES[size]))
    count = sum(value.numel() for value in network.parameters())
    assert count // 100_000 / 10 == millions


@pytest.mark.parametrize("size", PUBLISHED)
def test_windows_and_backgrounds_are_the_published_ones(size: str) -> None:
    """From the authors' configurations; what ``Sam2Model`` makes of them."""
    with torch.device("meta"):
        trunk = Sam2Model(image_config(SIZES[size])).vision_encoder.backbone
    windows = [block.window_size for block in trunk.blocks]
    ends = {"tiny": 7, "small": 7, "base-plus": 7, "large": 8}
    assert windows[0] == 8
    assert windows[-1] == ends[size]
    globals_at = {
        "tiny": [5, 7, 9],
        "small": [7, 10, 13],
        "base-plus": [12, 16, 20],
        "large": [23, 33, 43],
    }
    assert [i for i, window in enumerate(windows) if window == 0] == globals_at[size]
    assert trunk.pos_embed.shape[-1] == (14 if size == "base-plus" else 7)


def test_sizes_are_recognised() -> None:
    assert size_of(shapes_of(listed("tiny"))) == "tiny"
    assert size_of(shapes_of(listed("small"))) == "small"
    for size in SIZES:
        with torch.device("meta"):
            network = Sam2Model(image_config(SIZES[size]))
        assert size_of(shapes_of(network.state_dict())) == size
    assert size_of({"blocks.0.norm1.weight": (3,)}) is None
    assert not is_older(shapes_of(listed("tiny")))


@pytest.mark.parametrize("name", ["sam2.1-huge", "sam2-tiny", "tiny", ""])
def test_unknown_names_are_refused(name: str) -> None:
    with pytest.raises(UnknownNameError, match=r"known: sam2\.1-nano, sam2\.1-tiny"):
        size_named(name)


# transformers' files


@pytest.fixture(scope="module")
def saved(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("saved")
    nano_sam2().save_pretrained(folder / "image")
    nano_sam2_video().save_pretrained(folder / "video")
    weights = load_file(folder / "video" / "model.safetensors")
    # Of what is held twice, published files may hold one.
    del weights["shared_image_embedding.positional_embedding"]
    save_file(weights, folder / "once.safetensors")
    torch.save({"model": weights}, folder / "pickled.pt")
    return {
        "image": folder / "image",
        "video": folder / "video",
        "file": folder / "video" / "model.safetensors",
        "once": folder / "once.safetensors",
        "pickled": folder / "pickled.pt",
    }


@pytest.mark.parametrize("kind", ["image", "video", "file", "once", "pickled"])
def test_what_transformers_saves_is_loaded(saved: dict[str, Path], kind: str) -> None:
    network, source = load_sam2(NANO, checkpoint=saved[kind], device="cpu")
    theirs = nano_sam2() if kind == "image" else nano_sam2_video()
    expected = theirs.state_dict()
    for name, value in network.state_dict().items():
        torch.testing.assert_close(value, expected[name], rtol=0, atol=0)
    assert source.is_file()
    assert not network.training
    assert not any(value.requires_grad for value in network.parameters())


@pytest.mark.parametrize("kind", ["video", "once"])
def test_the_memory_is_loaded_for_video(saved: dict[str, Path], kind: str) -> None:
    network, _ = load_sam2_video(NANO, checkpoint=saved[kind], device="cpu")
    expected = dict(nano_sam2_video().state_dict())
    assert network.state_dict().keys() == expected.keys()
    for name, value in network.state_dict().items():
        torch.testing.assert_close(value, expected[name], rtol=0, atol=0)
    # What no file holds is there all the same.
    fresh = dict(nano_sam2_video().named_buffers())
    assert dict(network.named_buffers()).keys() == fresh.keys()
    for name, value in network.named_buffers():
        torch.testing.assert_close(value, fresh[name], rtol=0, atol=0)


def test_images_only_are_not_enough_for_video(saved: dict[str, Path]) -> None:
    with pytest.raises(InputError, match=r"not the weights of sam2\.1-nano; of .* missing \("):
        load_sam2_video(NANO, checkpoint=saved["image"], device="cpu")


@pytest.mark.parametrize("precision", ["bfloat16", "float16"])
def test_halves_agree_and_keep_norms_exact(saved: dict[str, Path], precision: str) -> None:
    exact, _ = load_sam2(NANO, checkpoint=saved["image"], device="cpu", precision="float32")
    halves, _ = load_sam2(NANO, checkpoint=saved["image"], device="cpu", precision=precision)
    assert halves.vision_encoder.backbone.blocks[0].layer_norm1.weight.dtype == torch.float32
    assert halves.mask_decoder.conv_s0.weight.dtype == getattr(torch, precision)
    images = torch.randn(1, 3, 128, 128, generator=torch.Generator().manual_seed(0))
    points = torch.tensor([[[60.0, 40.0]]])
    inside = torch.ones(1, 1, dtype=torch.long)
    answers = []
    for network in (exact, halves):
        with torch.inference_mode(), computing(network):
            features = encode(network, images)
            answers.append(decode(network, features, points=points, labels=inside, multimask=True))
    assert answers[1].logits.dtype == answers[1].iou.dtype == torch.float32
    error = (answers[1].logits - answers[0].logits).norm() / answers[0].logits.norm()
    assert 0 < error < 0.05
    assert (answers[1].iou - answers[0].iou).abs().max() < 0.02


# Files that are something else


@pytest.fixture(scope="module")
def tiny() -> dict[str, Tensor]:
    return filled_weights("sam2", "hiera_tiny")


def saved_as(folder: Path, weights: Any, name: str = "sam2.1_hiera_tiny.pt") -> Path:
    torch.save({"model": weights}, folder / name)
    return folder / name


def test_another_size_is_recognised(tiny: dict[str, Tensor], tmp_path: Path) -> None:
    path = saved_as(tmp_path, tiny)
    with pytest.raises(
        InputError, match=r"weights of sam2\.1-tiny, not of sam2\.1-small\. Load them as sam2\.1-t"
    ):
        rangemask.load_masks("sam2.1-small", checkpoint=path, device="cpu")


def test_the_first_sam_2_is_recognised(tiny: dict[str, Tensor], tmp_path: Path) -> None:
    new = ("no_obj_embed_spatial", "obj_ptr_tpos_proj.weight", "obj_ptr_tpos_proj.bias")
    older = {name: value for name, value in tiny.items() if name not in new}
    path = saved_as(tmp_path, older, "sam2_hiera_tiny.pt")
    with pytest.raises(InputError, match=r"weights of the first SAM 2, not of SAM 2\.1"):
        load_sam2("sam2.1-tiny", checkpoint=path, device="cpu")


def test_missing_and_unknown_entries_are_named(tiny: dict[str, Tensor], tmp_path: Path) -> None:
    changed = dict(tiny)
    del changed["sam_mask_decoder.iou_token.weight"]
    changed["sam_mask_decoder.iou_tokens.weight"] = tiny["sam_mask_decoder.iou_token.weight"]
    path = saved_as(tmp_path, changed)
    with pytest.raises(InputError) as caught:
        load_sam2("sam2.1-tiny", checkpoint=path, device="cpu")
    message = str(caught.value)
    assert "1 missing (mask_decoder.iou_token.weight)" in message
    assert "1 unknown (mask_decoder.iou_tokens.weight)" in message


def test_a_point_kind_that_is_missing_is_seen(tiny: dict[str, Tensor], tmp_path: Path) -> None:
    changed = dict(tiny)
    del changed["sam_prompt_encoder.point_embeddings.3.weight"]
    path = saved_as(tmp_path, changed)
    with pytest.raises(InputError, match=r"prompt_encoder\.point_embed\.weight is \[3, 256\]"):
        load_sam2("sam2.1-tiny", checkpoint=path, device="cpu")


def test_damaged_weights_are_named(tiny: dict[str, Tensor], tmp_path: Path) -> None:
    name = "image_encoder.trunk.blocks.3.attn.qkv.bias"
    changed = tiny | {name: torch.full_like(tiny[name], torch.nan)}
    path = saved_as(tmp_path, changed)
    with pytest.raises(InputError, match=r"blocks\.3\.attn\.qkv\.bias holds NaN"):
        load_sam2("sam2.1-tiny", checkpoint=path, device="cpu")


def test_a_file_that_is_cut_off_is_said_to_be(tiny: dict[str, Tensor], tmp_path: Path) -> None:
    path = saved_as(tmp_path, tiny)
    path.write_bytes(path.read_bytes()[:1_000_000])
    with pytest.raises(InputError, match="damaged, cut off"):
        load_sam2("sam2.1-tiny", checkpoint=path, device="cpu")


def test_other_models_are_recognised(tmp_path: Path) -> None:
    shapes = json.loads((HERE / "dinov2" / "keys_vits14.json").read_text(encoding="utf-8"))
    torch.save({n: torch.zeros(s) for n, s in shapes.items()}, tmp_path / "dinov2.pth")
    with pytest.raises(InputError, match=r"not the weights of sam2\.1-tiny.*ViT-S/14"):
        load_sam2("sam2.1-tiny", checkpoint=tmp_path / "dinov2.pth", device="cpu")
    with pytest.raises(InputError, match="no such checkpoint"):
        load_sam2("sam2.1-tiny", checkpoint=tmp_path / "nothing.pt", device="cpu")
