"""Losses of the depth head: laws, and what they do with the unknown."""

import math
from collections.abc import Callable
from dataclasses import replace
from typing import get_args

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from rangemask.errors import InputError
from rangemask.training.batch import Batch
from rangemask.training.losses import DepthLossConfig, NothingKnownError, depth_loss
from rangemask.training.losses.depth import (
    _MEASURES,
    DepthLossKind,
    _error,
    aligned,
    depth_truth,
    gradient_matching,
    normalised,
)

KINDS = get_args(DepthLossKind)
SSI = ("ssi", "ssi-trim")
Make = Callable[..., Batch]


def smooth(count: int = 2, side: int = 14) -> Tensor:
    """Maps of 1 to 5 that vary."""
    return 1 + 4 * torch.rand(count, side, side)


def batch_of(truth: Tensor, **labels: Tensor) -> Batch:
    """For a metric head."""
    names = tuple(f"frame{index}" for index in range(len(truth)))
    images = torch.zeros(len(truth), 3, *truth.shape[1:])
    return Batch(names=names, images=images, depth=truth, **labels)


def inverse_batch(truth: Tensor) -> Batch:
    """For a relative head."""
    names = tuple(f"frame{index}" for index in range(len(truth)))
    images = torch.zeros(len(truth), 3, *truth.shape[1:])
    return Batch(names=names, images=images, disparity=truth)


@pytest.mark.parametrize("kind", KINDS)
def test_the_truth_costs_nothing(kind: DepthLossKind) -> None:
    truth = smooth()
    config = DepthLossConfig(kind=kind, gradient_weight=0.5)
    loss = depth_loss(truth.clone(), batch_of(truth), config, max_depth_m=10)
    assert loss.total.item() == pytest.approx(0, abs=1e-6)
    worse = depth_loss(truth.flip(1), batch_of(truth), config, max_depth_m=10)
    assert worse.total > 0.1


@settings(deadline=None, max_examples=20)
@given(
    kind=st.sampled_from(SSI),
    scale=st.floats(0.01, 100),
    shift=st.floats(-50, 50),
    seed=st.integers(0, 1000),
)
def test_scale_and_shift_cost_nothing(
    kind: DepthLossKind, scale: float, shift: float, seed: int
) -> None:
    """Of the prediction and of the truth, which MiDaS needs for data of many kinds."""
    random = torch.Generator().manual_seed(seed)
    predicted = torch.rand(2, 9, 11, generator=random)
    truth = 60 + torch.rand(2, 9, 11, generator=random)
    config = DepthLossConfig(kind=kind)
    expected = depth_loss(predicted, inverse_batch(truth), config).total
    moved = depth_loss(predicted * scale + shift * scale, inverse_batch(truth), config).total
    torch.testing.assert_close(moved, expected, rtol=5e-3, atol=1e-3)
    other = depth_loss(predicted, inverse_batch(truth * scale), config).total
    torch.testing.assert_close(other, expected, rtol=5e-3, atol=1e-3)


@settings(deadline=None, max_examples=20)
@given(scale=st.floats(0.01, 100), seed=st.integers(0, 1000))
def test_silog_forgives_the_share_of_the_scale_that_it_is_told(scale: float, seed: int) -> None:
    random = torch.Generator().manual_seed(seed)
    truth = 1 + torch.rand(2, 9, 11, generator=random)
    predicted = truth * torch.rand(2, 9, 11, generator=random).add(0.5)
    blind = DepthLossConfig(kind="silog", variance_focus=1.0)
    expected = depth_loss(predicted, batch_of(truth), blind, max_depth_m=10).total
    moved = depth_loss(predicted * scale, batch_of(truth), blind, max_depth_m=10).total
    torch.testing.assert_close(moved, expected, rtol=1e-3, atol=1e-4)
    half = DepthLossConfig(kind="silog", variance_focus=0.5, root=False)
    pure = depth_loss(truth * scale, batch_of(truth), half, max_depth_m=10).total
    torch.testing.assert_close(pure, torch.tensor(0.5 * math.log(scale) ** 2), rtol=1e-3, atol=1e-5)


def test_l1_is_the_mean_error_of_the_known() -> None:
    truth = torch.full((1, 4, 4), 2.0)
    truth[0, 0, 0] = torch.nan
    predicted = torch.full((1, 4, 4), 2.5)
    predicted[0, 0, 0] = torch.inf
    loss = depth_loss(predicted, batch_of(truth), DepthLossConfig(kind="l1"), max_depth_m=10)
    assert loss.total.item() == pytest.approx(0.5)
    config = DepthLossConfig(kind="log-l1")
    loss = depth_loss(predicted, batch_of(truth), config, max_depth_m=10)
    assert loss.total.item() == pytest.approx(math.log(2.5 / 2))


def test_weights_average() -> None:
    truth, weight = torch.full((1, 1, 2), 1.0), torch.tensor([[[1.0, 0.25]]])
    predicted = torch.tensor([[[2.0, 6.0]]])
    config = DepthLossConfig(kind="l1")
    loss = depth_loss(predicted, batch_of(truth, weight=weight), config, max_depth_m=10)
    assert loss.total.item() == pytest.approx((1 + 0.25 * 5) / 1.25)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("bad", [math.nan, 0.0])
def test_only_known_pixels_have_a_gradient(kind: DepthLossKind, bad: float) -> None:
    """Even where the network says what has no logarithm."""
    truth, known = smooth(), torch.rand(2, 14, 14) > 0.4
    predicted = torch.where(known, smooth(), bad).requires_grad_()
    config = DepthLossConfig(kind=kind, gradient_weight=1.0, trimmed=0.0)
    depth_loss(
        predicted, batch_of(torch.where(known, truth, torch.nan)), config, max_depth_m=10
    ).total.backward()
    assert predicted.grad is not None
    assert (predicted.grad[~known] == 0).all()
    assert (predicted.grad[known] != 0).float().mean() > 0.9


@pytest.mark.parametrize("kind", KINDS)
def test_weight_zero_is_unknown(kind: DepthLossKind) -> None:
    truth, predicted, known = smooth(), smooth(), torch.rand(2, 14, 14) > 0.4
    config = DepthLossConfig(kind=kind, gradient_weight=0.5)
    unknown = batch_of(torch.where(known, truth, torch.nan))
    expected = depth_loss(predicted, unknown, config, max_depth_m=10)
    for outside in (0.0, torch.nan):
        weight = torch.where(known, 1.0, outside)
        loss = depth_loss(predicted, batch_of(truth, weight=weight), config, max_depth_m=10)
        torch.testing.assert_close(loss.total, expected.total)


@pytest.mark.parametrize("kind", KINDS)
def test_a_batch_is_the_mean_of_its_frames(kind: DepthLossKind) -> None:
    truth, predicted = smooth(), smooth()
    truth[0, :9] = torch.nan
    config = DepthLossConfig(kind=kind, gradient_weight=0.5)
    both = depth_loss(predicted, batch_of(truth), config, max_depth_m=10)
    singles = [
        depth_loss(predicted[i : i + 1], batch_of(truth[i : i + 1]), config, max_depth_m=10)
        for i in range(2)
    ]
    torch.testing.assert_close(both.total, (singles[0].total + singles[1].total) / 2)


@pytest.mark.parametrize("kind", KINDS)
def test_a_frame_of_which_nothing_is_known_is_left_out_by_name(kind: DepthLossKind) -> None:
    truth = smooth()
    truth[1] = torch.nan
    predicted = smooth().requires_grad_()
    config = DepthLossConfig(kind=kind, gradient_weight=0.5)
    loss = depth_loss(predicted, batch_of(truth), config, max_depth_m=10)
    alone = depth_loss(predicted[:1], batch_of(truth[:1]), config, max_depth_m=10)
    assert loss.skipped == ("frame1",)
    torch.testing.assert_close(loss.total, alone.total)
    loss.total.backward()
    assert predicted.grad is not None
    assert (predicted.grad[1] == 0).all()
    assert torch.isfinite(predicted.grad).all()


def test_a_batch_of_which_nothing_is_known_speaks() -> None:
    truth = torch.full((2, 4, 4), torch.nan)
    with pytest.raises(NothingKnownError, match="frame0, frame1 has a known depth"):
        depth_loss(smooth(side=4), batch_of(truth), max_depth_m=10)


@pytest.mark.parametrize("kind", KINDS)
def test_half_precision_in_is_full_precision_within(kind: DepthLossKind) -> None:
    truth, predicted = smooth(), smooth()
    config = DepthLossConfig(kind=kind, gradient_weight=0.5)
    expected = depth_loss(predicted.bfloat16().float(), batch_of(truth), config, max_depth_m=10)
    with torch.autocast("cpu", torch.bfloat16):
        loss = depth_loss(predicted.bfloat16(), batch_of(truth), config, max_depth_m=10)
    assert loss.total.dtype == torch.float32
    torch.testing.assert_close(loss.total, expected.total)


@pytest.mark.parametrize("kind", KINDS)
def test_gradients_are_right(kind: DepthLossKind) -> None:
    """Against differences; the measure is computed in double here, the loss itself is float32."""
    truth, weight = smooth(1, 4).double(), torch.rand(1, 4, 4).double()
    config = DepthLossConfig(kind=kind, trimmed=0.0)
    predicted = smooth(1, 4).double().requires_grad_()
    assert torch.autograd.gradcheck(
        lambda p: _MEASURES[kind](_error(p, truth, weight, config), weight, config), predicted
    )


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("constant", ["predicted", "truth", "both"])
def test_constant_maps_have_finite_gradients(kind: DepthLossKind, constant: str) -> None:
    truth = smooth() if constant == "predicted" else torch.full((2, 14, 14), 2.0)
    start = smooth() if constant == "truth" else torch.full((2, 14, 14), 0.0)
    predicted = start.requires_grad_()
    config = DepthLossConfig(kind=kind, gradient_weight=0.5)
    loss = depth_loss(predicted, batch_of(truth), config, max_depth_m=10)
    loss.total.backward()
    assert predicted.grad is not None
    assert torch.isfinite(loss.total)
    assert torch.isfinite(predicted.grad).all()


def test_least_squares_does_not_learn_the_world_inside_out() -> None:
    """A map that runs against the truth is as far from it as can be, and is driven to turn."""
    truth = smooth(1)
    weight = torch.ones_like(truth)
    torch.testing.assert_close(aligned(3 * truth + 2, truth, weight), truth)
    config = DepthLossConfig(kind="ssi", gradient_weight=0.0)
    against = (-truth + 0.1 * torch.randn_like(truth)).requires_grad_()
    loss = depth_loss(against, inverse_batch(truth), config)
    unrelated = depth_loss(torch.rand_like(truth), inverse_batch(truth), config)
    assert loss.total > unrelated.total
    loss.total.backward()
    assert against.grad is not None
    assert (against.grad * (truth - truth.mean())).sum() < 0


def test_robust_normalisation() -> None:
    known = torch.ones(1, 1, 4, dtype=torch.bool)
    values = torch.tensor([[[1.0, 2.0, 3.0, 1000.0]]])
    known[..., 3] = False
    expected = torch.tensor([-1.5, 0, 1.5])
    torch.testing.assert_close(normalised(values, known)[0, 0, :3], expected)


def test_trimming_forgives_the_worst() -> None:
    """Of the errors as they are after normalisation, the largest fifth teaches nothing."""
    error = torch.arange(1.0, 11).view(1, 2, 5).requires_grad_()
    config = DepthLossConfig(kind="ssi-trim", trimmed=0.2)
    value = _MEASURES["ssi-trim"](error, torch.ones(1, 2, 5), config)
    assert value.item() == pytest.approx(sum(range(1, 9)) / 10 / 2)
    value.sum().backward()
    assert error.grad is not None
    assert (error.grad.flatten() > 0).tolist() == 8 * [True] + 2 * [False]


def test_gradient_matching_counts_slopes_at_all_scales() -> None:
    ramp = torch.arange(16.0).expand(1, 16, 16).clone()
    weight = torch.ones(1, 16, 16)
    assert gradient_matching(ramp, weight, 1).item() == pytest.approx(1)
    assert gradient_matching(ramp, weight, 3).item() == pytest.approx(1 + 2 + 4)
    # What is unknown between two columns leaves no slope across it.
    ramp[..., 8:] += 100
    weight[..., 8] = 0
    assert gradient_matching(ramp, weight, 1).item() == pytest.approx(1)
    assert gradient_matching(ramp[:, :1, :1], weight[:, :1, :1], 4).item() == 0


def test_metric_heads_learn_metres_within_their_range() -> None:
    depth = torch.tensor([[[-1.0, 0.0, 2.0, 11.0, torch.inf, torch.nan]]])
    _, known = depth_truth(batch_of(depth), max_depth_m=10)
    assert known.tolist() == [[[False, False, True, False, False, False]]]


def test_relative_heads_learn_inverse_depth(make_batch: Make) -> None:
    depth = torch.tensor([[[-1.0, 0.0, 2.0, torch.inf, torch.nan]]])
    truth, known = depth_truth(batch_of(depth), max_depth_m=None)
    assert known.tolist() == [[[False, False, True, True, False]]]
    assert truth[known].tolist() == [0.5, 0.0]
    disparity = torch.tensor([[[-1.0, 0.0, 2.0, torch.inf, torch.nan]]])
    for batch, inverse in (
        (replace(batch_of(depth), disparity=disparity), False),
        (batch_of(disparity), True),
    ):
        truth, known = depth_truth(batch, max_depth_m=None, inverse=inverse)
        assert known.tolist() == [[[False, True, True, False, False]]]
        assert truth[known].tolist() == [0.0, 2.0]


def test_labels_that_do_not_suit_speak(make_batch: Make) -> None:
    predicted = smooth(2, 56)
    with pytest.raises(InputError, match="metres, and these frames have none"):
        depth_loss(predicted, make_batch(disparity=predicted), max_depth_m=10)
    config = DepthLossConfig(inverse_truth=True)
    with pytest.raises(InputError, match="relative inverse depth"):
        depth_loss(predicted, batch_of(predicted), config, max_depth_m=10)
    with pytest.raises(InputError, match="depth or disparity, and these frames have none"):
        depth_loss(predicted, make_batch())
    with pytest.raises(InputError, match=r"truth must be \(2, 56, 56\)"):
        depth_loss(predicted, make_batch(depth=smooth(2, 14)), max_depth_m=10)
    batch = make_batch(depth=predicted, weight=torch.ones(2, 3, 3))
    with pytest.raises(InputError, match="weight must be"):
        depth_loss(predicted, batch, max_depth_m=10)
    batch = make_batch(depth=predicted)
    with pytest.raises(InputError, match="importance must be"):
        depth_loss(predicted, batch, max_depth_m=10, importance=torch.ones(2, 3, 3))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"kind": "l2"}, "kind must be one of l1"),
        ({"variance_focus": 1.5}, r"variance_focus must be in \[0, 1\]"),
        ({"variance_focus": math.nan}, "variance_focus"),
        ({"trimmed": 1.0}, "trimmed"),
        ({"gradient_weight": -1.0}, r"gradient_weight must be in \[0, inf\)"),
        ({"gradient_scales": 0}, "gradient_scales"),
    ],
)
def test_impossible_options_speak(options: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        DepthLossConfig(**options)  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", KINDS)
def test_over_fits(kind: DepthLossKind) -> None:
    truth = smooth(2, 16)
    batch = batch_of(truth) if kind not in SSI else inverse_batch(truth)
    raw = torch.zeros(2, 16, 16).normal_(std=0.1).requires_grad_()
    optimizer = torch.optim.Adam([raw], lr=0.03)
    config = DepthLossConfig(kind=kind)
    start = last = math.nan
    for step in range(400):
        for group in optimizer.param_groups:
            group["lr"] = 0.03 * (1 - step / 400)
        metres = None if kind in SSI else 10.0
        predicted = raw if metres is None else metres * raw.sigmoid()
        loss = depth_loss(predicted, batch, config, max_depth_m=metres).total
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        last = loss.item()
        start = last if step == 0 else start
    assert last < 0.02 * start
