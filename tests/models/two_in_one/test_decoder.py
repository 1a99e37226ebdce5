"""What the decoder promises, on a tiny one."""

import math
from collections.abc import Callable
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional as F

from rangemask.errors import InputError
from rangemask.models.two_in_one import Decoder, load_published_decoder
from rangemask.models.two_in_one.decoder import FINAL_BRANCH, MATCHING, SHARED
from rangemask.models.two_in_one.matching import row_correlation
from rangemask.models.two_in_one.parts import shifted

CHANNELS = (6, 8, 10, 12)
SIZE = (32, 64)


def tiny(**options: Any) -> Decoder:
    torch.manual_seed(1)
    decoder = Decoder(
        CHANNELS, decoder_ch_num=(8, 32, 48, 48), out_ch=9, max_disp=40, d2d=30, **options
    )
    for parameter in decoder.parameters():
        if not parameter.any():  # offsets begin at 0, and then teach what is before them nothing
            torch.nn.init.normal_(parameter, std=0.1)
    return decoder.eval()


def pyramid(seed: int, batch: int = 2) -> list[Tensor]:
    random = torch.Generator().manual_seed(seed)
    return [
        torch.randn(batch, width, SIZE[0] >> (i + 1), SIZE[1] >> (i + 1), generator=random)
        for i, width in enumerate(CHANNELS)
    ]


@pytest.fixture
def decoder() -> Decoder:
    return tiny()


def paths(decoder: Decoder) -> dict[str, Callable[..., Any]]:
    return {
        "mono": decoder,
        "refine": lambda maps: decoder(maps, path="refine"),
        "stereo": lambda maps: decoder(maps, [level.flip(-1) for level in maps]),
    }


PATHS = ("mono", "refine", "stereo")


@pytest.mark.parametrize("path", PATHS)
def test_outputs_are_what_they_are_said_to_be(path: str, decoder: Decoder) -> None:
    found = paths(decoder)[path](pyramid(1))
    assert found.logits.shape == found.volume.shape == (2, 9, *SIZE)
    assert found.disparity.shape == found.depth.shape == (2, 1, *SIZE)
    assert ((found.disparity >= 2) & (found.disparity <= 40)).all()
    torch.testing.assert_close(found.depth * found.disparity, torch.full((2, 1, *SIZE), 30.0))
    torch.testing.assert_close(found.volume.sum(1), torch.ones(2, *SIZE))
    assert found.disparity.std() > 1e-3
    assert len(found.costs) == (3 if path == "stereo" else 0)


@pytest.mark.parametrize("path", PATHS)
def test_a_gradient_reaches_everything_that_the_path_uses(path: str, decoder: Decoder) -> None:
    found = paths(decoder.train())[path](pyramid(1))
    (found.logits.square().mean() + sum(cost.square().mean() for cost in found.costs)).backward()
    used = set(SHARED)
    if path == "refine":
        used = used - {3, 8, 13, 17} | set(FINAL_BRANCH)
    if path == "stereo":
        used |= set(MATCHING)
    for name, parameter in decoder.named_parameters():
        index = int(name.split(".")[1])
        assert (parameter.grad is not None) == (index in used), name
        if index in used:
            assert torch.isfinite(parameter.grad).all()  # type: ignore[arg-type]
            assert parameter.grad.any(), name  # type: ignore[union-attr]


@pytest.mark.parametrize("path", PATHS)
def test_images_of_a_batch_do_not_see_each_other(path: str, decoder: Decoder) -> None:
    run, maps = paths(decoder)[path], pyramid(1)
    both = run(maps).disparity
    for index in range(2):
        alone = run([level[index : index + 1] for level in maps]).disparity
        torch.testing.assert_close(both[index : index + 1], alone, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_agrees(path: str, dtype: torch.dtype, decoder: Decoder) -> None:
    maps = pyramid(1)
    expected = paths(decoder)[path](maps)
    with torch.autocast("cpu", dtype=dtype):
        found = paths(decoder)[path](maps)
    assert found.disparity.dtype == torch.float32
    torch.testing.assert_close(found.disparity, expected.disparity, rtol=0.03, atol=0.1)


def test_it_compiles_as_one_graph(decoder: Decoder) -> None:
    """What answers one image; a pair is compiled with the whole network."""
    maps = pyramid(1)
    torch.compiler.reset()
    expected = decoder(maps, path="refine")
    compiled: Any = torch.compile(decoder, fullgraph=True, backend="eager")
    with torch.inference_mode():
        found = compiled(maps, path="refine")
    torch.testing.assert_close(found.disparity, expected.disparity)


def test_channels_last_agrees(decoder: Decoder) -> None:
    maps = pyramid(1)
    last = [level.contiguous(memory_format=torch.channels_last) for level in maps]
    torch.testing.assert_close(decoder(last).logits, decoder(maps).logits, rtol=1e-4, atol=1e-4)


def test_the_other_view_is_the_same_pair_seen_from_there(decoder: Decoder) -> None:
    left, right = pyramid(1), pyramid(2)
    found = decoder(left, right)
    swapped = decoder(right, left, direct=-1)
    assert found.other is not None
    torch.testing.assert_close(found.other.disparity, swapped.disparity)
    torch.testing.assert_close(found.other.costs, swapped.costs)
    cheap = decoder(left, right, both=False)
    torch.testing.assert_close(cheap.disparity, found.disparity)
    assert cheap.other is None


def test_a_mirrored_pair_gives_the_mirrored_cost(decoder: Decoder) -> None:
    """The only thing that tells left from right is ``direct``."""
    query, key = torch.randn(1, 4, 3, 12), torch.randn(1, 4, 3, 12)
    shift = torch.tensor([[0.3, 2.0, 30.0]])
    found = row_correlation(query.flip(-1), key.flip(-1), -shift).flip(-1)
    torch.testing.assert_close(found, row_correlation(query, key, shift))


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 1000), scale=st.floats(-20, 20))
def test_correlation_is_that_of_resampled_features(seed: int, scale: float) -> None:
    """The clear, slow way: the other view's features are resampled for each level."""
    random = torch.Generator().manual_seed(seed)
    query, key = torch.randn(2, 2, 4, 3, 9, generator=random)
    shift = scale * torch.rand(2, 5, generator=random)
    expected = []
    for level in range(5):
        x = torch.linspace(-1, 1, 9) + shift[:, level, None] * 2 / 8
        y = torch.linspace(-1, 1, 3)
        grid = torch.stack([x[:, None].expand(2, 3, 9), y[None, :, None].expand(2, 3, 9)], dim=-1)
        moved = F.grid_sample(key, grid, padding_mode="border", align_corners=True)
        expected.append((query * moved).sum(1) / math.sqrt(4))
    found = row_correlation(query, key, shift)
    torch.testing.assert_close(found, torch.stack(expected, dim=1), rtol=1e-4, atol=1e-4)


def test_shifts_move_features() -> None:
    features = torch.randn(1, 2, 4, 6)
    assert torch.allclose(shifted(features, torch.zeros(1, 2, 4, 6)), features, atol=1e-5)
    right = torch.zeros(1, 2, 4, 6)
    right[:, 0] = 2
    moved = shifted(features, right)
    torch.testing.assert_close(moved[..., :4], features[..., 2:], rtol=1e-4, atol=1e-4)
    assert moved[..., 4:].abs().max() < 1e-4


# Weights


@pytest.mark.parametrize("prefix", ["", "1."])
@pytest.mark.parametrize("counted", [True, False])
def test_published_names_load(prefix: str, counted: bool, decoder: Decoder) -> None:
    weights = {
        f"{prefix}{name}": value
        for name, value in decoder.state_dict().items()
        if counted or not name.endswith("num_batches_tracked")
    }
    other = Decoder(CHANNELS, decoder_ch_num=(8, 32, 48, 48), out_ch=9, max_disp=40, d2d=30)
    other.load_state_dict(weights)
    torch.testing.assert_close(other.eval()(pyramid(1)).logits, decoder(pyramid(1)).logits)


def test_a_file_of_the_whole_published_model_loads(decoder: Decoder, tmp_path: Any) -> None:
    weights = {f"1.{name}": value for name, value in decoder.state_dict().items()}
    torch.save({"model_params": {**weights, "0.patch_embed.x": torch.ones(2)}}, tmp_path / "a.pth")
    other = Decoder(CHANNELS, decoder_ch_num=(8, 32, 48, 48), out_ch=9, max_disp=40, d2d=30)
    load_published_decoder(other, tmp_path / "a.pth")
    torch.testing.assert_close(other.eval()(pyramid(1)).logits, decoder(pyramid(1)).logits)


def test_files_of_something_else_are_refused(decoder: Decoder, tmp_path: Any) -> None:
    torch.save({"a": torch.ones(2)}, tmp_path / "a.pth")
    with pytest.raises(InputError, match=r"a\.pth: holds no decoder of TiO-Depth"):
        load_published_decoder(decoder, tmp_path / "a.pth")
    torch.save({f"1.{n}": v for n, v in decoder.state_dict().items()}, tmp_path / "b.pth")
    with pytest.raises(InputError, match=r"b\.pth: these are not the weights of .*another shape"):
        load_published_decoder(Decoder(), tmp_path / "b.pth")


# Bad input


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"encoder_channels": (1, 2, 3)}, r"encoder_channels must be four positive numbers"),
        ({"decoder_ch_num": (8, 8, 16, 16)}, r"decoder_ch_num must be 16 or more at scales 1 to 3"),
        ({"decoder_ch_num": (0, 16, 16, 16)}, r"decoder_ch_num must be four positive numbers"),
        ({"out_ch": 1}, r"out_ch must be 2 levels or more, got 1"),
        ({"min_disp": 5, "max_disp": 5}, r"expected 0 < min_disp < max_disp, got 5 and 5 px"),
        ({"d2d": 0}, r"d2d is focal length .* must be positive, got 0"),
    ],
)
def test_impossible_numbers_are_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        Decoder(**options)


def test_bad_maps_are_refused(decoder: Decoder) -> None:
    maps = pyramid(1)
    with pytest.raises(InputError, match=r"expected four maps .* of \(6, 8, 10, 12\) channels"):
        decoder(maps[::-1])
    with pytest.raises(InputError, match=r"expected four maps"):
        decoder(maps[:3])
    with pytest.raises(InputError, match=r"maps must be 2 cells high and wide"):
        decoder([*maps[:3], maps[3][:, :, :1]])
    with pytest.raises(InputError, match=r"maps of both views must have the same shapes"):
        decoder(maps, [*maps[:3], maps[3][..., :2]])
    with pytest.raises(InputError, match=r"direct must be one number or one per view \(2,\)"):
        decoder(maps, maps, direct=torch.ones(3))
    with pytest.raises(InputError, match=r"path must be mono or refine, got 'both'"):
        decoder(maps, path="both")
