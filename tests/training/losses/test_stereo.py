"""Losses of the stereo head."""

import math
from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from rangemask.errors import InputError
from rangemask.models.heads.stereo import StereoOutput
from rangemask.training.batch import Batch
from rangemask.training.losses import NothingKnownError, StereoLossConfig, stereo_loss
from rangemask.training.losses.stereo import coarse_truth
from support.students import nano_student

Make = Callable[..., Batch]


def answer(full: Tensor, coarse: Tensor | None = None, count: int = 1) -> StereoOutput:
    coarse = full[:, ::4, ::4] if coarse is None else coarse
    return StereoOutput(full, torch.ones_like(full), coarse, (full,) * count)


def planes(count: int = 2) -> Tensor:
    """Disparities of 1 to 5 px, constant in cells of 4 px, beside the edge where none matches."""
    truth = 1 + 4 * torch.rand(count, 7, 7)
    return truth.repeat_interleave(4, 1).repeat_interleave(4, 2)


def test_the_truth_costs_nothing(make_batch: Make) -> None:
    truth = planes()
    batch = make_batch(2, 28, 28, disparity=truth)
    loss = stereo_loss(answer(truth, count=3), batch)
    assert loss.total.item() == 0
    off = stereo_loss(answer(truth + 3, count=3), batch)
    assert off.parts["coarse"].item() == pytest.approx(2.5)
    assert off.parts["iterates"].item() == pytest.approx(3 * (1 + 0.9 + 0.81))
    assert off.parts["epe_px"].item() == pytest.approx(3)
    assert off.total.item() == pytest.approx(2.5 + 3 * 2.71)
    config = StereoLossConfig(coarse_weight=0.0, iterate_weight=2.0, gamma=1.0)
    assert stereo_loss(answer(truth + 3), batch, config).total.item() == pytest.approx(6)


def test_later_refinements_count_more(make_batch: Make) -> None:
    truth = planes()
    batch = make_batch(2, 28, 28, disparity=truth)
    good, bad = truth, truth + 1
    output = answer(truth)._replace(iterates=(bad, good))
    early = stereo_loss(output, batch).parts["iterates"]
    late = stereo_loss(output._replace(iterates=(good, bad)), batch).parts["iterates"]
    assert (early.item(), late.item()) == (pytest.approx(0.9), pytest.approx(1.0))


def test_a_cell_takes_a_disparity_that_some_surface_has() -> None:
    """Never a mean of two, and never an unknown one."""
    truth = torch.full((1, 4, 8), 2.0)
    truth[..., 7] = 8.0
    truth[..., 0, 4] = 0
    weight = torch.ones(1, 4, 8)
    weight[0, 0, 4] = 0
    weight[..., 4:, :4] = 0
    median, trusted = coarse_truth(truth, weight, (1, 2))
    assert median[0, 0, 1] == 2
    assert trusted[0, 0, 1].item() == pytest.approx(15 / 16)


def test_the_volume_is_not_asked_for_what_lies_beyond_the_right_image() -> None:
    truth = torch.full((1, 4, 12), 5.0)
    _, trusted = coarse_truth(truth, torch.ones(1, 4, 12), (1, 3))
    assert trusted.flatten().tolist() == [0, 0, 1]


def test_disparities_out_of_range_are_left_out(make_batch: Make) -> None:
    truth = planes()
    truth[:, :8] = 50.0
    truth[:, 8:12] = -1.0
    truth[:, 12:16] = torch.inf
    predicted = torch.zeros_like(truth).requires_grad_()
    batch = make_batch(2, 28, 28, disparity=truth)
    stereo_loss(answer(predicted), batch, max_disparity_px=48).total.backward()
    assert predicted.grad is not None
    assert (predicted.grad[:, :16] == 0).all()
    assert (predicted.grad[:, 16:, 8:] != 0).all()
    # The config has the last word.
    loss = stereo_loss(
        answer(predicted), batch, StereoLossConfig(max_disparity_px=60), max_disparity_px=48
    )
    assert loss.parts["epe_px"] > 10


def test_only_known_pixels_have_a_gradient(make_batch: Make) -> None:
    truth = planes()
    known = (torch.rand(2, 7, 7) > 0.4).repeat_interleave(4, 1).repeat_interleave(4, 2)
    full = torch.where(known, truth + 1, torch.nan).requires_grad_()
    coarse = torch.where(known, truth + 1, torch.nan)[:, ::4, ::4].clone().requires_grad_()
    batch = make_batch(2, 28, 28, disparity=torch.where(known, truth, torch.nan))
    expected = stereo_loss(answer(full, coarse, 2), batch).total
    expected.backward()
    for grad, there in ((full.grad, known), (coarse.grad, known[:, ::4, ::4])):
        assert grad is not None
        assert (grad[~there] == 0).all()
        assert (grad[there] != 0).float().mean() > 0.7
    batch = make_batch(2, 28, 28, disparity=truth, weight=known.float())
    torch.testing.assert_close(stereo_loss(answer(full, coarse, 2), batch).total, expected)


def test_a_batch_is_the_mean_of_its_frames(make_batch: Make) -> None:
    truth, weight = planes(3), torch.rand(3, 28, 28)
    truth[0, :20] = torch.nan
    truth[2] = torch.nan
    predicted = planes(3)
    both = stereo_loss(answer(predicted), make_batch(3, 28, 28, disparity=truth, weight=weight))
    singles = [
        stereo_loss(
            answer(predicted[i : i + 1]),
            make_batch(1, 28, 28, disparity=truth[i : i + 1], weight=weight[i : i + 1]),
        ).total
        for i in range(2)
    ]
    torch.testing.assert_close(both.total, (singles[0] + singles[1]) / 2)
    assert both.skipped == ("frame2",)


def test_a_batch_of_which_nothing_is_known_speaks(make_batch: Make) -> None:
    batch = make_batch(2, 28, 28, disparity=torch.full((2, 28, 28), 99.0))
    with pytest.raises(NothingKnownError, match="frame0, frame1 has a known disparity of at most"):
        stereo_loss(answer(planes()), batch, max_disparity_px=48)


def test_half_precision_in_is_full_precision_within(make_batch: Make) -> None:
    truth, predicted = planes(), planes().bfloat16()
    batch = make_batch(2, 28, 28, disparity=truth)
    expected = stereo_loss(answer(predicted.float()), batch)
    with torch.autocast("cpu", torch.bfloat16):
        loss = stereo_loss(answer(predicted), batch)
    torch.testing.assert_close(loss.total, expected.total)


def test_labels_that_do_not_suit_speak(make_batch: Make) -> None:
    with pytest.raises(InputError, match="learns from disparity"):
        stereo_loss(answer(planes()), make_batch(2, 28, 28))
    small = make_batch(2, 28, 28, disparity=torch.ones(2, 14, 14))
    with pytest.raises(InputError, match="disparity must be"):
        stereo_loss(answer(planes()), small)
    with pytest.raises(InputError, match="must divide the disparity map of 28 x 28, got 5 x 7"):
        coarse_truth(planes(), torch.ones(2, 28, 28), (5, 7))


@pytest.mark.parametrize(
    "options",
    [
        {"gamma": 0.0},
        {"gamma": 1.1},
        {"coarse_weight": -1.0},
        {"iterate_weight": math.inf},
        {"smooth_px": 0.0},
        {"max_disparity_px": 0.0},
    ],
)
def test_impossible_options_speak(options: dict[str, float]) -> None:
    with pytest.raises(InputError, match=f"{next(iter(options))} must be in"):
        StereoLossConfig(**options)


def test_over_fits(make_batch: Make) -> None:
    """The stereo head of a student, from random weights."""
    model = nano_student(("stereo",)).train()
    wide = torch.rand(1, 3, 14, 19).repeat_interleave(4, 2).repeat_interleave(4, 3)
    left, right = wide[..., :56], wide[..., 20:]
    truth = torch.full((1, 56, 56), 20.0)
    truth[..., :20] = torch.nan
    batch = Batch(names=("a",), images=left, right_images=right, disparity=truth)
    assert model.stereo is not None
    optimizer = torch.optim.Adam(
        [part for part in model.parameters() if part.requires_grad], lr=3e-3
    )
    start = last = math.nan
    for step in range(80):
        for group in optimizer.param_groups:
            group["lr"] = 3e-3 * (1 - step / 80)
        output = model(left, right, all_iterates=True).stereo
        loss = stereo_loss(output, batch, max_disparity_px=96).total
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        last = loss.item()
        start = last if step == 0 else start
    assert last < 0.02 * start
