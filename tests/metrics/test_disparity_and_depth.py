import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from rangemask.errors import InputError
from rangemask.metrics import depth_metrics, disparity_metrics, sparsification

relaxed = settings(deadline=None, max_examples=60)
shapes = hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=8)


def maps(low: float, high: float) -> st.SearchStrategy[np.ndarray]:
    values = st.one_of(st.floats(low, high), st.just(np.nan), st.just(np.inf))
    return hnp.arrays(np.float64, (5, 6), elements=values)


def test_a_case_computed_by_hand() -> None:
    truth = np.array([[10.0, 10, 10, 10, 100, np.inf]])
    found = np.array([[10.4, 11.5, 14.0, np.nan, 104.0, 3.0]])
    metrics = disparity_metrics(found, truth)
    assert metrics.pixels == 5
    assert metrics.density == 0.8
    assert metrics.epe_px == pytest.approx((0.4 + 1.5 + 4 + 4) / 4)
    assert metrics.rmse_px == pytest.approx(math.sqrt((0.16 + 2.25 + 16 + 16) / 4))
    assert (metrics.bad_05, metrics.bad_05_given) == (0.8, 0.75)
    assert (metrics.bad_1, metrics.bad_1_given) == (0.8, 0.75)
    assert (metrics.bad_2, metrics.bad_2_given) == (0.6, 0.5)
    assert (metrics.bad_3, metrics.bad_3_given) == (0.6, 0.5)
    # 104 for 100 is off by more than 3 px but by less than 5 %.
    assert (metrics.d1, metrics.d1_given) == (0.4, 0.25)


@relaxed
@given(found=maps(0, 50), truth=maps(1, 50))
def test_disparity_agrees_with_a_plain_loop(found: np.ndarray, truth: np.ndarray) -> None:
    errors, bad_2, bad_2_given, d1, pixels = [], 0, 0, 0, 0
    for p, t in zip(found.ravel(), truth.ravel(), strict=True):
        if not math.isfinite(t):
            continue
        pixels += 1
        if not math.isfinite(p):
            bad_2, d1 = bad_2 + 1, d1 + 1
            continue
        errors.append(abs(p - t))
        bad_2 += errors[-1] > 2
        bad_2_given += errors[-1] > 2
        d1 += errors[-1] > 3 and errors[-1] > 0.05 * t
    metrics = disparity_metrics(found, truth)
    assert metrics.pixels == pixels
    if pixels:
        assert metrics.bad_2 == pytest.approx(bad_2 / pixels)
        assert metrics.d1 == pytest.approx(d1 / pixels)
        assert metrics.density == pytest.approx(len(errors) / pixels)
    else:
        assert math.isnan(metrics.bad_2)
    if errors:
        assert metrics.epe_px == pytest.approx(np.mean(errors))
        assert metrics.bad_2_given == pytest.approx(bad_2_given / len(errors))
    else:
        assert math.isnan(metrics.epe_px)


@relaxed
@given(found=maps(0, 50), truth=maps(1, 50))
def test_bad_n_falls_with_n(found: np.ndarray, truth: np.ndarray) -> None:
    metrics = disparity_metrics(found, truth)
    if metrics.pixels:
        assert metrics.bad_05 >= metrics.bad_1 >= metrics.bad_2 >= metrics.bad_3 >= metrics.d1


def test_valid_says_where_to_look() -> None:
    truth, found = np.ones((2, 2)), np.array([[1.0, 9.0], [1.0, 1.0]])
    valid = np.array([[True, False], [True, True]])
    assert disparity_metrics(found, truth).bad_2 == 0.25
    assert disparity_metrics(found, truth, valid=valid).bad_2 == 0
    assert disparity_metrics(found, truth, valid=valid).pixels == 3


@relaxed
@given(truth=maps(0.5, 80))
def test_the_truth_itself_has_no_error(truth: np.ndarray) -> None:
    disparity = disparity_metrics(truth, truth)
    depth = depth_metrics(truth, truth)
    if disparity.pixels:
        assert (disparity.epe_px, disparity.bad_05, disparity.density) == (0, 0, 1)
        assert (depth.rmse_m, depth.abs_rel, depth.silog, depth.delta_1) == (0, 0, 0, 1)


def test_depth_computed_by_hand() -> None:
    metrics = depth_metrics(np.array([[2.0, 4.0, 0.0]]), np.array([[1.0, 4.0, 5.0]]))
    assert (metrics.pixels, metrics.density) == (3, pytest.approx(2 / 3))
    assert metrics.mae_m == 0.5
    assert metrics.rmse_m == pytest.approx(math.sqrt(0.5))
    assert metrics.abs_rel == 0.5
    assert metrics.sq_rel == 0.5
    assert metrics.rmse_log == pytest.approx(math.sqrt(math.log(2) ** 2 / 2))
    assert metrics.silog == pytest.approx(100 * math.log(2) / 2)
    assert (metrics.delta_1, metrics.delta_2, metrics.delta_3) == (0.5, 0.5, 0.5)


@relaxed
@given(found=maps(0.1, 90), truth=maps(0.5, 90))
def test_depth_agrees_with_a_plain_loop(found: np.ndarray, truth: np.ndarray) -> None:
    pairs = [
        (p, t)
        for p, t in zip(found.ravel(), truth.ravel(), strict=True)
        if math.isfinite(p) and math.isfinite(t) and 1 < t < 80
    ]
    metrics = depth_metrics(found, truth, min_depth_m=1, max_depth_m=80)
    if not pairs:
        assert math.isnan(metrics.rmse_m)
        return
    n = len(pairs)
    logs = [math.log(p / t) for p, t in pairs]
    assert metrics.rmse_m == pytest.approx(math.sqrt(sum((p - t) ** 2 for p, t in pairs) / n))
    assert metrics.abs_rel == pytest.approx(sum(abs(p - t) / t for p, t in pairs) / n)
    assert metrics.sq_rel == pytest.approx(sum((p - t) ** 2 / t for p, t in pairs) / n)
    assert metrics.rmse_log == pytest.approx(math.sqrt(sum(x * x for x in logs) / n))
    variance = sum(x * x for x in logs) / n - (sum(logs) / n) ** 2
    assert metrics.silog == pytest.approx(100 * math.sqrt(max(variance, 0)), abs=1e-4)
    for value, k in ((metrics.delta_1, 1), (metrics.delta_2, 2), (metrics.delta_3, 3)):
        assert value == pytest.approx(sum(max(p / t, t / p) < 1.25**k for p, t in pairs) / n)


@relaxed
@given(truth=maps(1, 50), scale=st.floats(0.2, 5))
def test_silog_is_blind_to_scale(truth: np.ndarray, scale: float) -> None:
    metrics = depth_metrics(truth * scale, truth)
    if metrics.pixels:
        assert metrics.silog == pytest.approx(0, abs=1e-5)
        assert metrics.abs_rel == pytest.approx(abs(scale - 1))


def test_what_does_not_belong_together_is_refused() -> None:
    with pytest.raises(InputError, match="same frame"):
        disparity_metrics(np.ones((2, 2)), np.ones((3, 2)))
    with pytest.raises(InputError, match=r"\(H, W\)"):
        disparity_metrics(np.ones(2), np.ones(2))
    with pytest.raises(InputError, match="valid must be bool"):
        disparity_metrics(np.ones((2, 2)), np.ones((2, 2)), valid=np.ones((2, 2)))
    with pytest.raises(InputError, match="min_depth < max_depth"):
        depth_metrics(np.ones((2, 2)), np.ones((2, 2)), min_depth_m=3, max_depth_m=2)


def test_metrics_become_plain_values() -> None:
    values = disparity_metrics(np.ones((2, 2)), np.ones((2, 2))).to_dict()
    assert values["bad_2"] == 0
    assert depth_metrics(np.ones((2, 2)), np.ones((2, 2))).to_dict()["delta_1"] == 1


def test_a_confidence_that_knows_the_errors_beats_chance() -> None:
    random = np.random.default_rng(0)
    error = (random.random(5000) < 0.2).astype(float)
    knows = sparsification(error, 1 - error)
    guesses = sparsification(error, random.random(5000))
    assert knows.area == pytest.approx(knows.best_area)
    # (e - r) / (1 - r), integrated over r until all errors are gone at r = e.
    e = error.mean()
    expected = (e + (1 - e) * math.log(1 - e)) / e
    assert knows.ratio_to_random == pytest.approx(expected, abs=0.01)
    assert guesses.ratio_to_random == pytest.approx(1, abs=0.05)
    assert sparsification(error, error).ratio_to_random > 1.5


def test_equal_confidence_is_chance_whatever_the_order() -> None:
    error = np.sort(np.random.default_rng(0).random(1000))
    result = sparsification(error, np.full(1000, 0.5))
    np.testing.assert_allclose(result.error, error.mean())
    assert result.ratio_to_random == pytest.approx(1)


def test_no_errors_have_no_ratio() -> None:
    assert math.isnan(sparsification(np.zeros(3), np.arange(3)).ratio_to_random)


@pytest.mark.parametrize(
    ("error", "confidence", "words"),
    [
        (np.ones(3), np.ones(2), "one shape"),
    ],
)
def test_sparsification_refuses(error: np.ndarray, confidence: np.ndarray, words: str) -> None:
    with pytest.raises(InputError, match=words):
        sparsification(error, confidence)
    with pytest.raises(InputError, match="one step"):
        sparsification(error, error, steps=0)
    with pytest.raises(InputError, match="valid must be bool"):
        sparsification(error, error, valid=np.ones(3))


def test_unknown_pixels_do_not_sparsify() -> None:
    """As if they had been left out by hand."""
    random = np.random.default_rng(1)
    error, confidence, valid = random.random(90), random.random(90), random.random(90) < 0.5
    left_out = sparsification(error[valid][2:], confidence[valid][2:])
    first, second = np.flatnonzero(valid)[:2]
    error[first], confidence[second] = np.nan, np.inf
    result = sparsification(error, confidence, valid=valid)
    assert result.pixels == valid.sum() - 2
    assert result.to_dict() == left_out.to_dict()


def test_nothing_known_has_no_curve() -> None:
    values = sparsification(np.full(3, np.nan), np.ones(3), steps=2).to_dict()
    assert values["pixels"] == 0
    assert np.isnan([*values["error"], values["area"], values["random_area"]]).all()
    assert math.isnan(values["ratio_to_random"])


@relaxed
@given(
    error=hnp.arrays(np.float64, 12, elements=st.floats(0.1, 5)),
    confidence=hnp.arrays(np.float64, 12, elements=st.floats(0, 1), unique=True),
)
def test_sparsification_agrees_with_a_plain_loop(error: np.ndarray, confidence: np.ndarray) -> None:
    """Where the shares fall between pixels nothing has to be interpolated."""
    order = sorted(range(12), key=lambda i: confidence[i])
    kept = [np.mean([error[i] for i in order[gone:]]) for gone in range(12)]
    result = sparsification(error, confidence, steps=12)
    np.testing.assert_allclose(result.error, kept)
    assert result.best_area <= result.area * (1 + 1e-9)


@pytest.mark.parametrize("measure", [disparity_metrics, depth_metrics])
def test_a_weight_of_two_is_the_pixel_twice(measure: Callable[..., Any]) -> None:
    random = np.random.default_rng(2)
    found, truth = random.uniform(1, 9, (2, 4, 6))
    found[0, 0], truth[1, 1] = np.nan, np.nan
    weight = random.integers(0, 3, (4, 6))
    weight[0, 0] = 2
    often = weight.ravel()
    repeated = [np.repeat(values.ravel(), often)[None] for values in (found, truth)]
    counted = measure(found, truth, weight=weight.astype(np.float32)).to_dict()
    listed = measure(*repeated).to_dict()
    for name in counted.keys() - {"pixels"}:
        assert counted[name] == pytest.approx(listed[name]), name
    assert counted["pixels"] == 23
    assert 0 < counted["density"] < 1


def test_weights_that_cannot_be_speak() -> None:
    ones = np.ones((2, 3))
    with pytest.raises(InputError, match=r"weight has shape \(3, 2\), the truth \(2, 3\)"):
        disparity_metrics(ones, ones, weight=ones.T.astype(np.float32))
    with pytest.raises(InputError, match="known and not negative"):
        depth_metrics(ones, ones, weight=-ones.astype(np.float32))
    nothing = depth_metrics(ones, ones, weight=0 * ones.astype(np.float32))
    assert np.isnan(nothing.abs_rel)
    assert np.isnan(disparity_metrics(ones, ones, weight=0 * ones.astype(np.float32)).bad_1)
