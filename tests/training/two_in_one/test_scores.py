"""Scores of a two-in-one network: right answers get right numbers, in any unit of disparity."""

import pytest
import torch

from rangemask.models.two_in_one import TwoInOneConfig, build_two_in_one
from rangemask.training.two_in_one.pairs import JudgedPair
from rangemask.training.two_in_one.scores import (
    PairScores,
    choice,
    depth_like_truth,
    disparities,
    left_right_consistency,
    score,
)

SHIFT = 4


@pytest.fixture
def pair() -> JudgedPair:
    """A wall 4 px away, 2.5 m: focal length times baseline is 10; truth at twice the size."""
    wide = torch.rand(1, 3, 32, 64 + SHIFT, generator=torch.Generator().manual_seed(1))
    return JudgedPair(
        name="wall",
        left=wide[..., :-SHIFT],
        right=wide[..., SHIFT:],
        focal_baseline=torch.tensor([10.0]),
        truth=torch.full((64, 128), 2.5),
        truth_scale=20.0,
        offset_px=0.0,
        metric=True,
    )


@pytest.mark.parametrize("d2d", [10.0, 25.0])
def test_the_right_answer_costs_nothing_whatever_rig_the_network_has_in_mind(
    pair: JudgedPair, d2d: float
) -> None:
    right = torch.full((1, 1, 32, 64), SHIFT * d2d / 10)
    found = score(right, pair, d2d, 80.0)
    assert found["abs_rel"] == pytest.approx(0, abs=1e-5)
    assert found["rmse_m"] == pytest.approx(0, abs=1e-5)
    wrong = score(2 * right, pair, d2d, 80.0)
    assert wrong["abs_rel"] == pytest.approx(0.5)
    assert wrong["rmse_m"] == pytest.approx(1.25)
    assert wrong["photo"] > 3 * found["photo"]


def test_doffs_and_caps_count(pair: JudgedPair) -> None:
    right = torch.full((1, 1, 32, 64), 4.0)
    moved = pair._replace(offset_px=8.0)
    assert depth_like_truth(right, moved, 10.0)[0, 0] == pytest.approx(20 / 16)
    assert "abs_rel" not in score(right, pair, 10.0, 2.0), "all truth lies beyond the cap"
    assert set(score(right, pair._replace(metric=False), 10.0, 2.0)) == {"photo", "abs_rel"}
    assert set(score(right, pair._replace(truth=None), 10.0, 80.0)) == {"photo"}


def test_every_path_that_has_learnt_is_asked(pair: JudgedPair) -> None:
    torch.manual_seed(0)
    config = TwoInOneConfig.preset("nano", out_ch=5, detail_channels=0)
    model = build_two_in_one(config).train(False)
    found = disparities(model, pair, ("mono", "pair"))
    assert list(found) == ["mono", "pair"]
    assert torch.equal(found["mono"], model(pair.left, path="mono").disparity)
    assert torch.equal(found["pair"], model(pair.left, pair.right).disparity)
    assert list(disparities(model, pair, ("mono", "pair", "refine"))) == ["mono", "pair", "refine"]


def test_consistent_answers_agree() -> None:
    left = torch.full((1, 1, 8, 32), 4.0)
    share, apart = left_right_consistency(left, left)
    assert (share, apart) == (1.0, 0.0)
    share, apart = left_right_consistency(left, left + 2)
    assert (share, apart) == (0.0, 2.0)
    half = left.clone()
    half[..., 16:] += 5  # whose partners are the plain half's, or its own
    seen = torch.zeros_like(left, dtype=torch.bool)
    seen[..., 6:12] = True
    assert left_right_consistency(left, half, seen)[0] == 1.0
    assert left_right_consistency(left, half)[0] < 1.0


def test_scores_are_means_by_path() -> None:
    scores = PairScores()
    scores.add("mono", {"photo": 1.0})
    scores.add("mono", {"photo": 3.0, "abs_rel": 0.5})
    scores.add("pair", {"photo": 0.5})
    assert scores.result() == {"mono_photo": 2.0, "mono_abs_rel": 0.5, "pair_photo": 0.5}


def test_the_best_epoch_has_the_most_stages_then_the_least_error() -> None:
    early = choice({"mono_photo": 0.01}, ["mono"])
    pair = {"mono_photo": 0.5, "pair_photo": 0.9}
    assert choice(pair, ["mono", "pair"]) < early
    assert choice(pair | {"pair_photo": 0.8}, ["mono", "pair"]) < choice(pair, ["mono", "pair"])
    both = pair | {"mono_abs_rel": 0.2, "pair_abs_rel": 0.1}
    assert choice(both, ["mono", "pair"]) == pytest.approx(0.15 / 1.15 - 2)
    refined = both | {"refine_abs_rel": 0.1}
    assert choice(refined, ["mono", "pair", "refine"]) == pytest.approx(0.1 / 1.1 - 3)
