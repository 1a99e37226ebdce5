"""How masks are compared, and where."""

from typing import get_args

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision.ops import sigmoid_focal_loss

from rangemask.training.losses.mask_terms import (
    MaskLossKind,
    dice_loss,
    dice_of_pairs,
    divergence_of_pairs,
    mask_divergence,
    shares_on_grid,
)
from rangemask.training.losses.points import (
    masks_at,
    pixels_inside,
    uncertain_points,
    uniform,
    values_at,
)

KINDS = get_args(MaskLossKind)


@pytest.mark.parametrize("kind", KINDS)
def test_shares_that_are_met_cost_nothing(kind: MaskLossKind) -> None:
    truth = torch.rand(3, 50)
    logits = truth.logit().requires_grad_()
    loss = mask_divergence(logits, truth, kind).mean() + dice_loss(logits, truth).mean()
    assert loss.item() == pytest.approx(0, abs=1e-6)
    loss.backward()
    assert logits.grad is not None
    assert logits.grad.abs().max() < 1e-6
    assert mask_divergence(-logits, truth, kind).mean() > 0.1
    assert (dice_loss(-logits, truth) > 0.01).all()


def test_the_published_losses_for_masks_without_shares() -> None:
    truth, logits = (torch.rand(3, 50) > 0.6).float(), torch.randn(3, 50)
    entropy = torch.nn.functional.binary_cross_entropy_with_logits(logits, truth, reduction="none")
    torch.testing.assert_close(mask_divergence(logits, truth, "bce"), entropy)
    focal = sigmoid_focal_loss(logits, truth, alpha=0.25, gamma=2)
    torch.testing.assert_close(mask_divergence(logits, truth, "focal"), focal)


@pytest.mark.parametrize("kind", KINDS)
def test_costs_of_pairs_are_losses(kind: MaskLossKind) -> None:
    truth, logits = (torch.rand(2, 3, 50) > 0.6).float(), torch.randn(2, 4, 50)
    wide = logits[:, :, None].expand(2, 4, 3, 50), truth[:, None].expand(2, 4, 3, 50)
    expected = mask_divergence(*wide, kind).mean(-1)
    torch.testing.assert_close(divergence_of_pairs(logits, truth, kind), expected)
    torch.testing.assert_close(dice_of_pairs(logits, truth), dice_loss(*wide))


def test_costs_with_shares_rank_as_losses_do() -> None:
    """Cross-entropy and divergence differ by a constant per truth."""
    truth, logits = torch.rand(1, 3, 50), torch.randn(1, 4, 50)
    wide = logits[:, :, None].expand(1, 4, 3, 50), truth[:, None].expand(1, 4, 3, 50)
    difference = divergence_of_pairs(logits, truth, "bce") - mask_divergence(*wide, "bce").mean(-1)
    torch.testing.assert_close(difference, difference[:, :1].expand(1, 4, 3))


def test_shares_keep_the_area() -> None:
    masks = torch.zeros(2, 56, 56, dtype=torch.bool)
    masks[0, 14:42, 7:21] = True
    shares = shares_on_grid(masks, (16, 16))
    assert shares.mean((1, 2)).tolist() == pytest.approx([14 * 28 / 56**2, 0], abs=0.01)
    assert shares_on_grid(masks[:0], (16, 16)).shape == (0, 16, 16)


def test_values_at_centres_are_the_values() -> None:
    maps = torch.rand(2, 3, 4, 5)
    y, x = torch.meshgrid((torch.arange(4) + 0.5) / 4, (torch.arange(5) + 0.5) / 5, indexing="ij")
    points = torch.stack([x, y], -1).flatten(0, 1).expand(2, 20, 2)
    torch.testing.assert_close(values_at(maps, points), maps.flatten(2))
    masks = maps[0] > 0.5
    torch.testing.assert_close(masks_at(masks, points[:1]), masks.flatten(1).float())


def test_places_are_where_masks_are_unsure(generator: torch.Generator) -> None:
    """A border in the middle: most places are near it, the rest everywhere."""
    ramp = torch.linspace(-8, 8, 16).expand(1, 16, 16)
    places = uncertain_points(ramp, 400, oversampling=3, share=0.75, generator=generator)
    assert places.shape == (1, 400, 2)
    assert ((places >= 0) & (places <= 1)).all()
    near = ((places[..., 0] - 0.5).abs() < 0.17).float().mean()
    assert 0.75 <= near < 0.95
    again = torch.Generator().manual_seed(0)
    same = uncertain_points(ramp, 400, oversampling=3, share=0.75, generator=again)
    assert torch.equal(places, same)


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 10_000), density=st.floats(0, 1))
def test_random_pixels_are_inside(seed: int, density: float) -> None:
    random = torch.Generator().manual_seed(seed)
    masks = torch.rand(3, 6, 9, generator=random) < density
    masks[0] = False
    pixels, found = pixels_inside(masks, 5, random)
    assert found.tolist() == masks.flatten(1).any(1).tolist()
    for mask, places in zip(masks[found], pixels[found].long(), strict=True):
        assert mask[places[:, 1], places[:, 0]].all()


def test_random_pixels_are_all_equally_likely(generator: torch.Generator) -> None:
    mask = torch.tensor([[[1, 0, 0, 0], [0, 1, 1, 1]]], dtype=torch.bool)
    pixels, _ = pixels_inside(mask, 4000, generator)
    index = (pixels[0, :, 1] * 4 + pixels[0, :, 0]).long()
    share = torch.bincount(index, minlength=8) / 4000
    expected = torch.tensor([0.25, 0, 0, 0, 0, 0.25, 0.25, 0.25])
    torch.testing.assert_close(share, expected, atol=0.03, rtol=0)


def test_random_numbers_without_a_generator_follow_the_global_seed() -> None:
    device = torch.device("cpu")
    torch.manual_seed(3)
    first = uniform(4, device=device)
    torch.manual_seed(3)
    assert torch.equal(first, uniform(4, device=device))
    assert not torch.equal(first, uniform(4, device=device))
