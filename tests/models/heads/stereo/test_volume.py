"""Arithmetic on volumes against slow, plain references."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from rangemask.models.heads.stereo.parts import Upsampling, bilinear_shares, convex_upsample
from rangemask.models.heads.stereo.volume import (
    TILE,
    correlation_volume,
    inside,
    look_up,
    mass_around,
    probabilities,
    soft_argmin,
)


def noise(*shape: int, seed: int = 0) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def shares_of(logits: Tensor) -> Tensor:
    return probabilities(logits, inside(logits.shape[1], logits.shape[-1], logits))


def plain_volume(left: Tensor, right: Tensor, groups: int, cells: int) -> Tensor:
    batch, channels, height, width = left.shape
    volume = torch.zeros(batch, groups, cells, height, width)
    for d in range(min(cells, width)):
        product = left[..., d:] * right[..., : width - d]
        split = product.view(batch, groups, channels // groups, height, width - d)
        volume[:, :, d, :, d:] = split.mean(dim=2)
    return volume


@settings(deadline=None, max_examples=25)
@given(
    cells=st.integers(1, 12),
    width=st.one_of(st.integers(1, 10), st.integers(TILE - 1, 2 * TILE + 1)),
    groups=st.sampled_from([1, 2, 4]),
    seed=st.integers(0, 99),
)
def test_correlation_is_the_plain_one(cells: int, width: int, groups: int, seed: int) -> None:
    left, right = noise(2, 8, 3, width, seed=seed), noise(2, 8, 3, width, seed=seed + 100)
    volume = correlation_volume(left, right, groups, cells)
    torch.testing.assert_close(volume, plain_volume(left, right, groups, cells))
    there = inside(cells, width, volume).expand_as(volume)
    assert not volume[~there].any()
    assert volume[there].all()


def test_correlation_has_the_gradient_of_the_plain_one() -> None:
    """Tiles overlap in the right image: what reaches a pixel from two of them adds up."""
    pair = [noise(1, 8, 2, TILE + 9, seed=i).requires_grad_() for i in range(2)]
    weight = noise(1, 4, 11, 2, TILE + 9, seed=2)
    fast, plain = (
        torch.autograd.grad((make(*pair, 4, 11) * weight).sum(), pair)
        for make in (correlation_volume, plain_volume)
    )
    torch.testing.assert_close(fast, plain)


def test_a_shift_is_found() -> None:
    wide = torch.nn.functional.normalize(noise(1, 32, 4, 30), dim=1)
    for shift in (0, 1, 5):
        left, right = wide[..., : 30 - shift], wide[..., shift:]
        volume = correlation_volume(left, right, 1, 8)[:, 0]
        assert (volume.argmax(dim=1)[..., shift:] == shift).all()


def test_cells_beyond_the_border_have_no_probability() -> None:
    probability = shares_of(noise(1, 6, 2, 4))
    assert not probability.masked_select(~inside(6, 4, probability)).any()
    torch.testing.assert_close(probability.sum(dim=1), torch.ones(1, 2, 4))
    assert torch.equal(probability[0, :, 0, 0], torch.tensor([1.0, 0, 0, 0, 0, 0]))


def test_soft_argmin_is_the_mean() -> None:
    probability = shares_of(noise(2, 5, 3, 7))
    slow = sum(d * probability[:, d : d + 1] for d in range(5))
    torch.testing.assert_close(soft_argmin(probability), slow)


@settings(deadline=None, max_examples=25)
@given(disparity=st.floats(-9, 14), radius=st.integers(1, 3))
def test_look_up_interpolates(disparity: float, radius: int) -> None:
    """A volume that holds d at cell d is read as the place asked for, and 0 outside."""
    volume = torch.arange(6.0).view(1, 6, 1, 1) + 1
    found = look_up(volume, torch.full((1, 1, 1, 1), disparity), radius)[0, :, 0, 0]
    assert found.shape == (2 * radius + 1,)
    for offset, value in zip(range(-radius, radius + 1), found.tolist(), strict=True):
        place = disparity + offset
        if 0 <= place <= 5:
            assert value == pytest.approx(place + 1, abs=1e-4)
        elif place <= -1 or place >= 6:
            assert value == pytest.approx(0, abs=1e-4)


def test_confidence_tells_a_peak_from_a_plain() -> None:
    peak = shares_of(torch.zeros(1, 20, 1, 40).index_fill(1, torch.tensor([7]), 50.0))
    flat = shares_of(torch.zeros(1, 20, 1, 40))
    at_peak = torch.full((1, 1, 1, 40), 7.0)
    assert mass_around(peak, at_peak)[..., 20:].min() > 0.999
    assert mass_around(peak, at_peak + 5)[..., 20:].max() < 0.001
    torch.testing.assert_close(
        mass_around(flat, at_peak + 0.5)[..., 20:], torch.full((1, 1, 1, 20), 3 / 20)
    )


def test_convex_upsampling_keeps_constants_and_stays_within_its_neighbours() -> None:
    weights = noise(2, 144, 3, 5)
    constant = convex_upsample(torch.full((2, 1, 3, 5), 7.0), weights)
    torch.testing.assert_close(constant, torch.full((2, 12, 20), 7.0))
    values = noise(2, 1, 3, 5, seed=3)
    upsampled = convex_upsample(values, weights)
    assert upsampled.max() <= values.max() + 1e-6
    assert upsampled.min() >= values.min() - 1e-6


def test_convex_upsampling_puts_each_weight_in_its_place() -> None:
    """Weights that pick a neighbour per sub-pixel copy just that neighbour there."""
    values = torch.arange(12.0).view(1, 1, 3, 4)
    weights = torch.full((1, 9, 16, 3, 4), -50.0)
    weights[:, 4] = 0  # the cell itself
    weights[:, 4, 2] = -50
    weights[:, 5, 2] = 0  # first row, third column: the cell to the right
    upsampled = convex_upsample(values, weights.flatten(1, 2))
    expected = values[0, 0].repeat_interleave(4, 0).repeat_interleave(4, 1)
    expected[0::4, 2::4] = torch.cat([values[0, 0, :, 1:], values[0, 0, :, -1:]], dim=1)
    torch.testing.assert_close(upsampled[0], expected)


def plane(height: int, width: int) -> Tensor:
    """2 + 0.5 x - 0.25 y on pixel centres; one cell is one px here."""
    y, x = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
    return 2 + 0.5 * x - 0.25 * y


def test_bilinear_shares_keep_a_plane_in_the_interior() -> None:
    coarse = torch.nn.functional.avg_pool2d(plane(20, 28)[None, None], 4)
    logits = bilinear_shares().log().flatten()[:, None, None].expand(1, 144, 5, 7)
    inner = (..., slice(4, -4), slice(4, -4))
    upsampled = convex_upsample(coarse, logits)
    torch.testing.assert_close(upsampled[inner], plane(20, 28)[None][inner])


def test_upsampling_starts_smooth() -> None:
    torch.manual_seed(0)
    upsample, inner = Upsampling(16), (..., slice(4, -4), slice(4, -4))
    coarse = torch.nn.functional.avg_pool2d(plane(20, 28)[None, None], 4)
    with torch.inference_mode():
        upsampled = upsample(coarse / 4, 0.1 * noise(1, 16, 5, 7))
    assert (upsampled - plane(20, 28))[inner].abs().max() < 0.3
