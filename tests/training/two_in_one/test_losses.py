"""Losses, guides and their gradients: the published numbers, and what they mean."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from rangemask.errors import InputError
from rangemask.training.losses.loss import Loss
from rangemask.training.two_in_one import LossConfig
from rangemask.training.two_in_one.guides import (
    cost_guides,
    fused_volume,
    trust_in_pair,
    visibility,
)
from rangemask.training.two_in_one.losses import (
    cost_error,
    divergence,
    guided_target,
    mono_loss,
    outside_difference,
    pair_loss,
    refine_loss,
    slope_difference,
)
from rangemask.training.two_in_one.photometric import (
    dissimilarity,
    photometric_error,
    roughness,
)
from rangemask.training.two_in_one.warping import synthesise, warp
from support.two_in_one import (
    D2D,
    batch_of,
    case,
    decoded,
    error,
    filled_vgg,
    levels,
    logits,
    shifted_pairs,
)

VALUES, MAPS, NORMS = 1e-4, 5e-4, 1e-3
"""Relative bounds: loss values and network outputs; maps that pass through a projection or SSIM,
and gradients; norms of gradients."""
CONFIG = LossConfig()


def check_terms(found: Loss, values: dict[str, Any]) -> None:
    assert set(found.parts) == set(values["terms"].tolist())
    for name, value in found.parts.items():
        assert float(value) == pytest.approx(float(values[f"term_{name}"]), rel=VALUES), name
    total = float(found.total.detach())
    assert total == pytest.approx(float(values["total"]), rel=VALUES)


def check_gradient(found: Tensor, values: dict[str, Any], name: str) -> None:
    assert found.grad is not None
    assert error(found.grad[:, ::4, ::4, ::6], values[f"grad_{name}_slice"]) < MAPS
    norm = float(found.grad.norm())
    assert norm == pytest.approx(float(values[f"grad_{name}_norm"]), rel=NORMS)


def test_stage_1_is_the_published_one() -> None:
    values = case("loss_stage1")
    batch, network = batch_of(values), filled_vgg()
    found = decoded(values, "mono_o")
    loss = mono_loss(found, batch, levels(), D2D, CONFIG, network)
    check_terms(loss, values)
    raw = found.logits
    (raw.grad,) = torch.autograd.grad(loss.total, raw)
    check_gradient(raw, values, "logits")
    assert error(found.disparity, values["mono_disp_o"]) < VALUES
    assert error(found.depth, values["mono_depth_o"]) < VALUES
    seen, _ = synthesise(raw, batch.other_jittered, levels(), batch.shift(D2D))
    assert error(seen, values["synth_img_s"]) < MAPS
    assert error(roughness(found.disparity, batch.other), values["smooth_map"]) < VALUES
    photo = (seen - batch.target_jittered).abs().mean(1, keepdim=True)
    assert error(photo, values["photo_map"]) < MAPS
    for index, (of_seen, of_real) in enumerate(
        zip(network(seen), network(batch.target_jittered), strict=True)
    ):
        assert error(of_seen[:, ::16, ::2, ::3], values[f"vgg_synth_slice_{index}"]) < MAPS
        assert error(of_real[:, ::16, ::2, ::3], values[f"vgg_raw_slice_{index}"]) < VALUES


def test_stage_2_is_the_published_one() -> None:
    values = case("loss_stage2")
    batch, mono = batch_of(values), decoded(values, "mono_s")
    costs = tuple(logits(values, f"cost_{scale}_s") for scale in (3, 2, 1))
    pair = decoded(values, "stereo_s")._replace(costs=costs)
    loss = pair_loss(pair, mono, batch, D2D, CONFIG)
    check_terms(loss, values)
    raw = pair.logits
    raw.grad, *of_costs = torch.autograd.grad(loss.total, (raw, *costs))
    check_gradient(raw, values, "stereo")
    shift = batch.shift(D2D)
    soft = visibility(mono.disparity, batch.direct)
    wanted, within = guided_target(mono, batch, shift)
    seen, _ = warp(batch.other, pair.disparity, shift)
    made, _ = warp(batch.other, mono.disparity, shift)
    assert error(mono.disparity, values["mono_disp_s"]) < VALUES
    assert error(soft, values["occlusion_soft"]) < VALUES
    np.testing.assert_array_equal((soft > 0.8).float().numpy(), values["occ_mask"])
    np.testing.assert_array_equal(within.float().numpy(), values["edge_mask"])
    assert error(wanted, values["fused_image"]) < MAPS
    assert error(made, values["mono_proj"]) < MAPS
    assert error(seen, values["stereo_proj"]) < MAPS
    assert error(photometric_error(seen, wanted), values["photo_map"]) < MAPS
    assert error(roughness(pair.disparity, batch.target), values["smooth_map"]) < VALUES
    slopes = slope_difference(mono.disparity, pair.disparity)
    assert error(slopes, values["grad_map"]) < VALUES
    apart = outside_difference(mono.disparity, pair.disparity, within)
    assert error(apart, values["disp_map"]) < VALUES
    sizes = [(cost.shape[-2], cost.shape[-1]) for cost in costs[::-1]]
    guides = cost_guides(mono.volume, sizes)[::-1]
    for scale, cost, guide, gradient in zip((3, 2, 1), costs, guides, of_costs, strict=True):
        expected = values[f"mono_pvolume_cost_{scale}_slice"]
        assert error(guide.volume[:, ::4, ::2, ::2], expected) < VALUES
        assert error(cost_error(cost, guide), values[f"cost_loss_map_{scale}"]) < VALUES
        norm = float(values[f"grad_cost_{scale}_norm"])
        assert float(gradient.norm()) == pytest.approx(norm, rel=NORMS)


def test_stage_3_is_the_published_one() -> None:
    values = case("loss_stage3")
    batch = batch_of(values)
    mono, pair, refined = (decoded(values, f"{name}_s") for name in ("mono", "stereo", "refine"))
    loss = refine_loss(refined, mono, pair, batch, CONFIG)
    check_terms(loss, values)
    raw = refined.logits
    (raw.grad,) = torch.autograd.grad(loss.total, raw)
    check_gradient(raw, values, "refine")
    opposite = visibility(pair.disparity, batch.direct, opposite=True)
    assert error(opposite, values["occlusion_soft"]) < VALUES
    trust = trust_in_pair(pair.depth, pair.disparity, batch.direct)
    assert error(trust, values["plane_mask"]) < VALUES
    wanted = fused_volume(mono.volume, pair.volume, trust)
    assert error(wanted[:, ::4, ::4, ::6], values["fuse_pvolume_slice"]) < VALUES
    assert error(divergence(wanted, refined.volume), values["kl_map"]) < VALUES


# What they mean


def peaked(pairs: Any, level: int) -> Tensor:
    """Logits that are sure of one level."""
    batch, _, height, width = pairs.target.shape
    found = torch.zeros(batch, 4, height, width)
    found[:, level] = 50
    return found


def test_the_right_disparity_makes_the_other_view_this_one() -> None:
    """A left pixel lies further left in the right image: u' = u - d."""
    pairs, disparity = shifted_pairs(6), torch.full((2, 1, 64, 96), 6.0)
    seen, within = warp(pairs.other, disparity, pairs.shift(1))
    torch.testing.assert_close(seen[..., 6:], pairs.target[..., 6:], rtol=0, atol=1e-4)
    assert not within[..., :6].any()
    assert within[..., 6:].all()
    wrong, _ = warp(pairs.other, disparity, -pairs.shift(1))
    assert (wrong - pairs.target).abs().mean() > 20 * (seen - pairs.target).abs().mean()


def test_a_sure_volume_makes_the_other_view_this_one() -> None:
    pairs = shifted_pairs(6)
    some_px = torch.tensor([2.0, 4.0, 6.0, 8.0])
    seen, volume = synthesise(peaked(pairs, 2), pairs.other, some_px, pairs.shift(1))
    torch.testing.assert_close(seen[..., 6:], pairs.target[..., 6:], rtol=0, atol=1e-4)
    torch.testing.assert_close(volume.sum(1), torch.ones(2, 64, 96))


@settings(deadline=None, max_examples=20)
@given(scale=st.floats(0.1, 10))
def test_a_rig_stretches_disparity(scale: float) -> None:
    """Images whose focal length times baseline is not that of the network."""
    pairs = shifted_pairs(6)._replace(focal_baseline=torch.full((2,), 30 * scale))
    disparity = torch.full((2, 1, 64, 96), 6 / scale)
    seen, _ = warp(pairs.other, disparity, pairs.shift(30))
    torch.testing.assert_close(seen[..., 7:], pairs.target[..., 7:], rtol=0, atol=1e-3)


def test_equal_pictures_are_alike() -> None:
    image = torch.rand(2, 3, 8, 9, generator=torch.Generator().manual_seed(0))
    assert dissimilarity(image, image).abs().max() < 1e-5
    assert photometric_error(image, image).abs().max() < 1e-5
    assert photometric_error(image, 1 - image).mean() > 0.3
    with pytest.raises(InputError, match=r"the second picture must be \(2, 3, 8, 9\)"):
        dissimilarity(image, image[:, :2])


def test_disparity_may_change_at_edges_of_the_picture() -> None:
    disparity = torch.ones(1, 1, 6, 8)
    disparity[..., 4:] = 5
    flat, edge = torch.zeros(1, 3, 6, 8), torch.zeros(1, 3, 6, 8)
    edge[..., 4:] = 1
    rough = roughness(disparity, flat)
    assert rough[..., 3:5].min() == 4
    assert rough[..., :3].max() == 0
    assert roughness(disparity, edge).sum() < 0.2 * rough.sum()
    turned = roughness(disparity.transpose(2, 3), flat.transpose(2, 3))
    torch.testing.assert_close(turned, rough.transpose(2, 3))


def test_what_something_nearer_hides_is_not_visible() -> None:
    """Left of a near object lies what only the left camera sees."""
    disparity = torch.full((2, 1, 32, 96), 4.0)
    disparity[..., 48:72] = 24
    seen = visibility(disparity, torch.tensor([1.0, -1.0]))
    assert seen[0, 0, 16, 32:44].max() < 0.3
    assert seen[0, 0, 16, 76:90].min() > 0.9
    assert seen[1, 0, 16, 76:88].max() < 0.3
    assert seen[1, 0, 16, 30:44].min() > 0.9
    other = visibility(disparity, torch.tensor([-1.0, 1.0]), opposite=True)
    torch.testing.assert_close(other, seen)


def test_the_pair_teaches_flat_places() -> None:
    depth = torch.full((1, 1, 32, 64), 10.0)
    depth[..., 32:] = 5
    trust = trust_in_pair(depth, 20 / depth, torch.ones(1))
    assert trust[..., 4:28, 4:28].min() > 0.999
    # Beyond the border lies nothing, which looks like an edge; as published.
    assert trust[..., 0, :].max() == 0
    assert trust[..., 16, 30:34].min() < 1
    trusting = fused_volume(torch.zeros(1, 3, 32, 64), torch.ones(1, 3, 32, 64), trust)
    torch.testing.assert_close(trusting, trust.expand(-1, 3, -1, -1))


def test_guides_are_of_the_size_of_the_costs() -> None:
    """Whatever the pyramid: quarter size, or patches of 14 px."""
    volume = torch.rand(1, 5, 28, 42).softmax(1)
    for guide, size in zip(cost_guides(volume, [(8, 12), (4, 6), (2, 3)]), (8, 4, 2), strict=True):
        assert guide.volume.shape == (1, 5, size, size * 3 // 2)
        torch.testing.assert_close(guide.volume.sum(1), torch.ones(guide.volume[:, 0].shape))
        assert ((guide.confidence > 0) & (guide.confidence <= 1)).all()


def test_confidence_is_the_mass_around_the_peak() -> None:
    volume = torch.tensor([0.5, 0.2, 0.1, 0.1, 0.1]).view(1, 5, 1, 1).expand(1, 5, 2, 2)
    (guide,) = cost_guides(volume, [(2, 2)])
    torch.testing.assert_close(guide.confidence, torch.full((1, 1, 2, 2), 0.7))
    (guide,) = cost_guides(volume.roll(2, 1), [(2, 2)])
    torch.testing.assert_close(guide.confidence, torch.full((1, 1, 2, 2), 0.8))


def test_negative_rates_are_refused() -> None:
    with pytest.raises(InputError, match=r"stereo_cost must be in \[0, inf\), got -1"):
        LossConfig(stereo_cost=-1)
