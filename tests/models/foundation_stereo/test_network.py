"""The contract of the network, on its tiny twin."""

import pytest
import torch
from torch import Tensor

from rangemask.errors import InputError
from rangemask.models.foundation_stereo.config import FoundationStereoConfig, tiny_config
from rangemask.models.foundation_stereo.features import ImageFeatures, dense_size
from rangemask.models.foundation_stereo.inference import padding_of
from rangemask.models.foundation_stereo.lookup import (
    Cells,
    build_geometry,
    expected_cell,
    look,
    sample,
)
from rangemask.models.foundation_stereo.network import FoundationStereo
from rangemask.models.foundation_stereo.streaming import Slabs
from rangemask.models.foundation_stereo.volume import diagonals, row_correlation, shifted


@pytest.fixture(scope="module")
def network() -> FoundationStereo:
    torch.manual_seed(0)
    built = FoundationStereo(tiny_config()).eval()
    with torch.no_grad():
        for name, buffer in built.named_buffers():
            if name.endswith("running_mean"):
                buffer.normal_(0, 0.1)
    return built


def pair(batch: int = 1, height: int = 32, width: int = 64) -> tuple[Tensor, Tensor]:
    generator = torch.Generator().manual_seed(1)
    left, right = 255 * torch.rand(2, batch, 3, height, width, generator=generator)
    return left, right


@pytest.mark.parametrize("slabs", [Slabs(), Slabs(3, 3), Slabs(1, 1), Slabs(100, 100)])
def test_piece_by_piece_is_the_same(network: FoundationStereo, slabs: Slabs) -> None:
    left, right = pair(2, 64, 96)
    with torch.inference_mode():
        whole = network(left, right, iterations=2, max_disparity_px=64)
        pieces = network(left, right, iterations=2, max_disparity_px=64, slabs=slabs)
    assert whole.logits.std() > 1e-3
    assert whole.disparity_px.shape == (2, 1, 64, 96)
    for expected, found in zip(whole, pieces, strict=True):
        torch.testing.assert_close(found, expected, rtol=0, atol=5e-5)


def test_a_batch_is_its_images(network: FoundationStereo) -> None:
    left, right = pair(2)
    with torch.inference_mode():
        both = network(left, right, iterations=2, max_disparity_px=32)
        second = network(left[1:], right[1:], iterations=2, max_disparity_px=32)
    torch.testing.assert_close(both.disparity_px[1:], second.disparity_px, rtol=0, atol=1e-4)


def test_a_gradient_reaches_every_parameter() -> None:
    torch.manual_seed(0)
    network = FoundationStereo(tiny_config())
    left, right = pair(2, 64, 64)
    found = network(left, right, iterations=2, max_disparity_px=32)
    (found.disparity_px.mean() + found.logits.square().mean()).backward()
    without = [name for name, p in network.named_parameters() if p.grad is None]
    assert without == []
    assert torch.isfinite(found.disparity_px).all()


class Rest(torch.nn.Module):
    """All that is ours between the features of both images and the first round."""

    def __init__(self, network: FoundationStereo) -> None:
        super().__init__()
        self.net = network

    def forward(self, left: ImageFeatures, right: ImageFeatures) -> Tensor:
        volume = self.net.volume(left, right, 8)
        logits = self.net.classifier(volume)[:, 0]
        geometry = build_geometry(volume.permute(0, 2, 3, 4, 1), left.quarter, right.quarter)
        return torch.cat([part.flatten() for part in look(geometry, expected_cell(logits))])


def test_compiles_as_one_graph(network: FoundationStereo) -> None:
    """In part: tracing the vision transformer, EdgeNeXt and the rest too takes a minute."""
    left, right = pair()
    with torch.no_grad():
        both = network.feature(left / 255), network.feature(right / 255)
        rest = Rest(network)
        found = torch.compile(rest, fullgraph=True, backend="eager")(*both)
        torch.testing.assert_close(found, rest(*both))


@pytest.mark.parametrize("slabs", [None, Slabs()])
def test_bfloat16_agrees(network: FoundationStereo, slabs: Slabs | None) -> None:
    left, right = pair()
    with torch.inference_mode():
        exact = network(left, right, iterations=1, max_disparity_px=32, slabs=slabs)
        with torch.autocast("cpu", torch.bfloat16):
            coarse = network(left, right, iterations=1, max_disparity_px=32, slabs=slabs)
    assert coarse.disparity_px.dtype == torch.float32
    assert (coarse.disparity_px - exact.disparity_px).abs().max() < 1.0


def test_the_two_readings_differ() -> None:
    left, right = pair()
    found = []
    for attention in ("disparity", "heads"):
        torch.manual_seed(0)
        network = FoundationStereo(tiny_config(attention)).eval()  # type: ignore[arg-type]
        with torch.inference_mode():
            found.append(network(left, right, iterations=1, max_disparity_px=64).logits)
    assert (found[0] - found[1]).abs().max() > 1e-4


@pytest.mark.parametrize(
    ("shape", "options", "words"),
    [
        ((1, 3, 40, 64), {}, "multiples of 32 px, got 40 x 64"),
        ((1, 4, 32, 64), {}, r"a pair is two tensors \(B, 3, H, W\) of one size"),
        ((1, 3, 32, 64), {"iterations": 0}, "iterations must be 1 or more"),
        ((1, 3, 32, 64), {"max_disparity_px": 100}, "positive multiple of 32, got 100"),
        ((1, 3, 32, 64), {"slabs": Slabs()}, "there are no gradients"),
    ],
)
def test_what_cannot_be_is_said(
    network: FoundationStereo,
    shape: tuple[int, ...],
    options: dict[str, int],
    words: str,
) -> None:
    images = torch.zeros(shape)
    given = {"iterations": 1, "max_disparity_px": 32, **options}
    with pytest.raises(InputError, match=words):
        network(images, images, **given)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"vit": "huge"}, "no vision transformer 'huge'"),
        ({"attention": "rows"}, "attention must be one of"),
        ({"volume_channels": 30}, "volume_channels must be a multiple of 4"),
        ({"edge_widths": (49, 96, 160, 304)}, "multiple of 8 channels, got 130"),
    ],
)
def test_impossible_sizes_are_refused(options: dict[str, object], words: str) -> None:
    with pytest.raises(InputError, match=words):
        FoundationStereoConfig(**options)  # type: ignore[arg-type]


def test_the_branch_sees_multiples_of_112() -> None:
    assert dense_size(448, 640) == (448, 672)
    assert dense_size(1088, 1920) == (784, 1344)
    assert dense_size(1920, 1088) == (1344, 784)


def test_padding_is_even_as_published() -> None:
    assert tuple(padding_of(150, 210)) == (7, 7, 5, 5)
    assert tuple(padding_of(151, 211)) == (6, 7, 4, 5)
    assert tuple(padding_of(64, 64)) == (0, 0, 0, 0)


def test_pairs_a_disparity_apart_by_the_slow_way() -> None:
    generator = torch.Generator().manual_seed(2)
    left, right = torch.randn(2, 5, 3, 7, generator=generator)
    found = diagonals(row_correlation(left, right), 9)
    moved = shifted(right, 9)
    for d in range(9):
        for x in range(7):
            partner = right[:, :, x - d] if x >= d else torch.zeros(5, 3)
            expected = (left[:, :, x] * partner).sum(0)
            torch.testing.assert_close(found[:, d, x], expected)
            torch.testing.assert_close(moved[..., d, x], partner)


def test_lines_are_read_linearly_and_0_outside() -> None:
    values = torch.arange(1.0, 12.0)  # 11 cells
    cells = Cells(values[:, None], 11, 1, torch.zeros(5, dtype=torch.long))
    places = torch.tensor([5.25, -0.5, 10.5, -100.0, 1e9])
    found = sample(cells, places)[..., 0]
    torch.testing.assert_close(found[0], torch.arange(2.25, 11.0))
    torch.testing.assert_close(found[1, 4], torch.tensor(0.5))
    torch.testing.assert_close(found[2, 4], torch.tensor(5.5))
    assert (found[3:] == 0).all()
    pairs = sample(cells, places * 0 + 4.0, 2)[0, :, 0]  # means 1.5, 3.5, .., 9.5 around 2
    torch.testing.assert_close(pairs, torch.tensor([0, 0, 1.5, 3.5, 5.5, 7.5, 9.5, 0, 0]))
