"""The whole network: one image or two, at every size of encoder."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rangemask.errors import InputError
from rangemask.models.depth_anything import build_depth_anything
from rangemask.models.published import PUBLISHED
from rangemask.models.two_in_one import (
    Decoder,
    TwoInOne,
    TwoInOneConfig,
    build_encoder,
    build_two_in_one,
    flipped_depth,
    start_encoder,
    starting,
)
from rangemask.models.two_in_one.flipping import combine
from support.golden import HERE, filled_weights
from support.two_in_one import error, tiny_network


def images(seed: int = 0, batch: int = 2) -> torch.Tensor:
    return torch.rand(batch, 3, 64, 96, generator=torch.Generator().manual_seed(seed))


@pytest.fixture
def network() -> TwoInOne:
    return tiny_network().eval()


@pytest.mark.parametrize("pyramid", ["published", "quarter"])
def test_maps_lie_where_they_are_said_to(pyramid: Any) -> None:
    config = TwoInOneConfig.preset("nano", pyramid=pyramid)
    first = 2 if pyramid == "published" else 4
    for detail in (0, 8):
        chosen = TwoInOneConfig.preset("nano", pyramid=pyramid, detail_channels=detail)
        maps = build_encoder(chosen)(images())
        assert len(maps) == 4
        for level, width in enumerate(config.encoder_channels):
            stride = first << level
            assert maps[level].shape == (2, width, 64 // stride, 96 // stride)


@pytest.mark.parametrize(
    ("encoder", "blocks", "width"),
    [("dinov2s", 12, 384), ("dinov2b", 12, 768), ("dinov2l", 24, 1024), ("dinov2g", 40, 1536)],
)
def test_published_decoders_fit_every_size(encoder: str, blocks: int, width: int) -> None:
    with torch.device("meta"):
        model = build_two_in_one(TwoInOneConfig(encoder=encoder))
        maps: Any = model.encoder(torch.empty(1, 3, 384, 1280))
    assert model.encoder.backbone.depth == blocks  # type: ignore[union-attr]
    assert model.encoder.backbone.width == width  # type: ignore[union-attr]
    published = {(96, 192, 640), (192, 96, 320), (384, 48, 160), (768, 24, 80)}
    assert {tuple(level.shape[1:]) for level in maps} == published
    listed = filled_weights("tio_depth", "decoder")
    found = {
        f"1.{name}": tuple(value.shape)
        for name, value in model.decoder.state_dict().items()
        if not name.endswith("num_batches_tracked")
    }
    assert found == {name: tuple(value.shape) for name, value in listed.items()}
    assert not any(p.requires_grad for p in model.encoder.backbone.parameters())  # type: ignore[union-attr]


def test_one_image_or_two(network: TwoInOne) -> None:
    left, right = images(1), images(2)
    alone = network(left)
    assert alone.disparity.shape == alone.depth.shape == (2, 1, 64, 96)
    assert alone.costs == ()
    torch.testing.assert_close(alone.disparity, network(left, path="refine").disparity)
    assert not torch.allclose(alone.disparity, network(left, path="mono").disparity)
    pair = network(left, right)
    assert len(pair.costs) == 3
    assert pair.other is None
    assert not torch.equal(pair.disparity, network(left, left).disparity)
    both = network(left, right, both=True)
    torch.testing.assert_close(both.disparity, pair.disparity)
    assert both.other is not None
    listed = network([left[0], left[1]])
    torch.testing.assert_close(listed.disparity, alone.disparity)


def test_the_config_says_which_path_answers() -> None:
    network = tiny_network(mono_path="mono").eval()
    left = images()
    torch.testing.assert_close(
        network(left).disparity, network(left, path="mono").disparity, rtol=0, atol=0
    )


@pytest.mark.parametrize("pyramid", ["published", "quarter"])
def test_a_gradient_reaches_every_parameter(pyramid: str) -> None:
    network = tiny_network(pyramid=pyramid).train()
    left, right = images(1), images(2)
    total = sum(
        found.logits.square().mean() + sum(cost.square().mean() for cost in found.costs)
        for found in (network(left, path="mono"), network(left), network(left, right))
    )
    total.backward()  # type: ignore[union-attr]
    unused = "vit.mask_token"
    for name, parameter in network.named_parameters():
        assert parameter.requires_grad, name
        if unused not in name:
            assert parameter.grad is not None, name
            assert torch.isfinite(parameter.grad).all(), name
            assert parameter.grad.any(), name


@pytest.mark.parametrize("pair", [False, True])
def test_images_of_a_batch_do_not_see_each_other(pair: bool, network: TwoInOne) -> None:
    left, right = images(1), images(2) if pair else None
    whole = network(left, right).disparity
    for index in range(2):
        partner = None if right is None else right[index : index + 1]
        alone = network(left[index : index + 1], partner).disparity
        torch.testing.assert_close(whole[index : index + 1], alone, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("pair", [False, True])
def test_half_precision_agrees(pair: bool, network: TwoInOne) -> None:
    left, right = images(1), images(2) if pair else None
    expected = network(left, right).disparity
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = network(left, right).disparity
    torch.testing.assert_close(found, expected, rtol=0.05, atol=0.2)


def test_it_compiles_as_one_graph(network: TwoInOne) -> None:
    """A pair; what one image is answered by is compiled with the decoder."""
    left, right = images(1), images(2)
    torch.compiler.reset()
    compiled: Any = torch.compile(network, fullgraph=True, backend="eager")
    with torch.inference_mode():
        expected = network(left, right).disparity
        torch.testing.assert_close(compiled(left, right).disparity, expected)


def test_channels_last_agrees(network: TwoInOne) -> None:
    left = images()
    found = network(left.contiguous(memory_format=torch.channels_last))
    torch.testing.assert_close(found.disparity, network(left).disparity, rtol=1e-4, atol=1e-4)


def test_bad_images_are_refused(network: TwoInOne) -> None:
    with pytest.raises(InputError, match=r"images must be multiples of 32 px, got 64 x 90"):
        network(images()[..., :90])
    with pytest.raises(InputError, match=r"must have one shape, got \(2, 3, 64, 96\) and \(2, 3"):
        network(images(), images()[..., :64])
    with pytest.raises(InputError, match=r"images must be RGB in \[0, 1\]"):
        network(images() * 255)


# Configuration


@pytest.mark.parametrize("encoder", ["nano", "dinov2s", "dinov2g"])
def test_configurations_survive_json(encoder: str) -> None:
    config = TwoInOneConfig.preset(encoder, pyramid="quarter", trained_blocks=2)
    assert TwoInOneConfig.from_dict(config.to_dict()) == config


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"encoder": "swin"}, r"no encoder 'swin'; known: dinov2s, .*, nano, swin-t"),
        ({"pyramid": "half"}, r"pyramid must be one of published, quarter, got 'half'"),
        ({"mono_path": "stereo"}, r"mono_path must be mono or refine, got 'stereo'"),
        ({"detail_channels": -1}, r"detail_channels and trained_blocks must not be negative"),
        ({"trained_blocks": -1}, r"detail_channels and trained_blocks must not be negative"),
        ({"max_disp": 1}, r"expected 0 < min_disp < max_disp"),
        ({"encoder": "swin-t", "pyramid": "quarter"}, r"swin-t has its own scales and widths"),
        ({"encoder": "swin-t", "trained_blocks": 1}, r"swin-t has .* leave .*trained_blocks out"),
    ],
)
def test_impossible_configurations_are_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        TwoInOneConfig(**options)


@pytest.mark.parametrize(("count", "learning"), [(None, 4), (0, 0), (1, 1), (4, 4)])
def test_as_many_blocks_learn_as_asked(count: int | None, learning: int) -> None:
    encoder = build_encoder(TwoInOneConfig.preset("nano", trained_blocks=count))
    flags = [block.attn.qkv.weight.requires_grad for block in encoder.backbone.vit.blocks]
    assert flags == [False] * (4 - learning) + [True] * learning
    assert encoder.backbone.vit.patch_embed.proj.weight.requires_grad == (learning == 4)
    assert all(p.requires_grad for p in encoder.pyramid.parameters())


def test_more_blocks_than_there_are_are_refused() -> None:
    with pytest.raises(InputError, match=r"trained_blocks is 5, but the backbone has 4 blocks"):
        build_encoder(TwoInOneConfig.preset("nano", trained_blocks=5))


# What it starts from


@pytest.fixture
def teacher(tmp_path: Path) -> Any:
    torch.manual_seed(3)
    model = build_depth_anything("nano")
    torch.save(model.state_dict(), tmp_path / "teacher.pth")
    return model


def test_it_starts_from_depth_anything(teacher: Any, tmp_path: Path) -> None:
    model = tiny_network()
    projected = [value.clone() for value in model.encoder.project.parameters()]  # type: ignore[union-attr]
    start_encoder(model, "depth-anything-v2", checkpoint=tmp_path / "teacher.pth")
    for part in ("backbone", "pyramid"):
        found = getattr(model.encoder, part).state_dict()
        for name, value in getattr(teacher, part).state_dict().items():
            torch.testing.assert_close(found[name], value)
    for before, after in zip(projected, model.encoder.project.parameters(), strict=True):  # type: ignore[union-attr]
        torch.testing.assert_close(before, after)
    (source,) = model.card.sources
    assert source.name == "depth-anything-v2-nano"
    assert source.role == "backbone, pyramid"
    assert source.terms == "unknown"
    assert source.sha256 is not None


def test_it_starts_from_dinov2(teacher: Any, tmp_path: Path) -> None:
    model = tiny_network()
    before = model.encoder.pyramid.project[0].weight.clone()  # type: ignore[union-attr,index]
    start_encoder(model, "dinov2", checkpoint=tmp_path / "teacher.pth")
    found = model.encoder.backbone.vit.pos_embed  # type: ignore[union-attr]
    torch.testing.assert_close(found, teacher.backbone.vit.pos_embed)
    torch.testing.assert_close(model.encoder.pyramid.project[0].weight, before)  # type: ignore[union-attr,index]
    assert model.card.sources[0].role == "backbone"


@pytest.mark.parametrize(("size", "terms"), [("small", "commercial-ok"), ("base", "research-only")])
def test_the_card_tells_what_may_be_done(
    size: str, terms: str, teacher: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Depth Anything V2 is free for commercial use in its smallest size only."""
    entry = PUBLISHED[f"depth-anything-v2-{size}"]
    monkeypatch.setattr(starting, "PUBLISHED", {"depth-anything-v2-nano": entry})
    model = tiny_network()
    start_encoder(model, "depth-anything-v2", checkpoint=tmp_path / "teacher.pth")
    assert model.card.terms == terms


def test_what_is_not_published_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no depth-anything-v2 has been published for nano, only"):
        start_encoder(tiny_network(), "depth-anything-v2")
    with pytest.raises(InputError, match=r"start must be one of dinov2, depth-anything-v2, got"):
        start_encoder(tiny_network(), "imagenet")  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"an encoder Identity cannot start from dinov2"):
        start_encoder(TwoInOne(torch.nn.Identity(), Decoder()))
    torch.save({"a": torch.ones(1)}, tmp_path / "a.pth")
    with pytest.raises(InputError, match=r"these are not the weights of dinov2-nano"):
        start_encoder(tiny_network(), checkpoint=tmp_path / "a.pth")


# Second looks


CASE = dict(np.load(HERE / "tio_depth" / "case_metrics.npz"))


@pytest.mark.parametrize("flip", ["fpp", "gpp", "mspp"])
def test_second_looks_are_the_published_ones(flip: Any) -> None:
    name = "ms_small_depth_of_flipped_input" if flip == "mspp" else "pp_depth_of_flipped_input"
    depth, second = torch.from_numpy(CASE["pp_depth"]), torch.from_numpy(CASE[name])
    assert error(combine(depth, second, flip), CASE[f"{flip}_depth"]) < 1e-5


@settings(deadline=None, max_examples=20)
@given(flip=st.sampled_from(["fpp", "gpp"]), seed=st.integers(0, 100))
def test_a_model_without_sides_needs_no_second_look(flip: Any, seed: int) -> None:
    def depth_of(seen: torch.Tensor) -> torch.Tensor:
        return 1 + seen.mean(1, keepdim=True)

    found = flipped_depth(depth_of, images(seed), flip)
    torch.testing.assert_close(found, depth_of(images(seed)))


def test_near_things_come_from_the_smaller_image() -> None:
    """Its disparities are smaller as it is, so its depths are multiplied by 2 / 3."""
    sizes = []

    def depth_of(seen: torch.Tensor) -> torch.Tensor:
        sizes.append(tuple(seen.shape[-2:]))
        return torch.full((len(seen), 1, *seen.shape[-2:]), 6.0 if len(sizes) == 2 else 5.0)

    found = flipped_depth(depth_of, images(), "mspp")
    assert sizes == [(64, 96), (42, 64)]
    torch.testing.assert_close(found, torch.full((2, 1, 64, 96), 4.0), rtol=1e-4, atol=0)
    assert flipped_depth(depth_of, images(), "none").unique().tolist() == [5.0]


def test_unknown_second_looks_are_refused() -> None:
    with pytest.raises(InputError, match=r"flip must be one of none, fpp, gpp, mspp, got 'tta'"):
        flipped_depth(lambda seen: seen, images(), "tta")  # type: ignore[arg-type]
    with pytest.raises(InputError, match=r"flip must be fpp, gpp or mspp, got 'none'"):
        combine(torch.ones(1, 1, 2, 2), torch.ones(1, 1, 2, 2), "none")
