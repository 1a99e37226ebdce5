from dataclasses import replace

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import rangemask as rm
from rangemask.errors import InputError
from rangemask.fusion.align import AlignmentFit, align, fit_alignment
from rangemask.structures import DepthMap

SHAPE = (24, 32)
METHODS = ("least-squares", "robust")


def room(seed: int = 0, shape: tuple[int, int] = SHAPE) -> np.ndarray:
    """(H, W) depth from 1 to 8 m."""
    random = np.random.default_rng(seed)
    return np.exp(random.uniform(0, np.log(8), shape)).astype(np.float32)


def relative_of(depth_m: np.ndarray, scale: float = 7.0, shift: float = -3.0) -> DepthMap:
    values = (scale / depth_m.astype(np.float64) + shift).astype(np.float32)
    return DepthMap(values=values, kind="relative_inverse")


def spoilt(depth_m: np.ndarray, share: float, seed: int, how: str = "anywhere") -> np.ndarray:
    """The same with so many pixels wrong: anywhere, or all of them much too near."""
    random = np.random.default_rng([seed, 1])
    wrong = random.random(depth_m.shape) < share
    other = random.uniform(0.3, 20, depth_m.shape) if how == "anywhere" else 0.1 * depth_m
    return np.where(wrong, other, depth_m).astype(np.float32)


@settings(deadline=None, max_examples=60)
@given(
    seed=st.integers(0, 999),
    scale=st.floats(1e-3, 1e3),
    shift=st.floats(-3, 3),
    known=st.floats(0.05, 1.0),
    method=st.sampled_from(METHODS),
)
def test_any_scale_and_shift_are_found(
    seed: int, scale: float, shift: float, known: float, method: str
) -> None:
    """The shift is in units of the scale: more of it than float32 can hold is lost on the way."""
    depth_m = room(seed)
    seen = np.random.default_rng([seed, 3]).random(SHAPE) < known
    assume(seen.sum() >= 20)
    reference = DepthMap(values=np.where(seen, depth_m, np.float32(np.nan)))
    found = align(relative_of(depth_m, scale, shift * scale), reference, method=method)  # type: ignore[arg-type]
    assert found.kind == "metric_m"
    np.testing.assert_allclose(found.values, depth_m, rtol=1e-4)
    assert found.confidence is not None
    assert found.confidence.min() > 0.99


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 999), factor=st.floats(1e-3, 1e3), method=st.sampled_from(METHODS))
def test_any_factor_is_found(seed: int, factor: float, method: str) -> None:
    depth_m = room(seed)
    scaled = DepthMap(values=(depth_m * np.float32(factor)), kind="up_to_scale")
    found = align(scaled, DepthMap(values=depth_m), method=method)  # type: ignore[arg-type]
    np.testing.assert_allclose(found.values, depth_m, rtol=1e-5)
    assert fit_alignment(scaled, DepthMap(values=depth_m)).shift == 0


@settings(deadline=None, max_examples=40)
@given(
    seed=st.integers(0, 999),
    scale=st.floats(1e-2, 1e2),
    shift=st.floats(-3, 3),
    method=st.sampled_from(METHODS),
)
def test_the_result_does_not_depend_on_the_units_of_the_relative_map(
    seed: int, scale: float, shift: float, method: str
) -> None:
    random = np.random.default_rng([seed, 2])
    depth_m = room(seed)
    noisy = 1 / depth_m + random.normal(0, 0.05, SHAPE)
    reference = DepthMap(values=spoilt(depth_m, 0.2 if method == "robust" else 0.0, seed))
    first = DepthMap(values=noisy.astype(np.float32), kind="relative_inverse")
    other = replace(first, values=(scale * (first.values + shift)).astype(np.float32))
    a, b = (align(one, reference, method=method) for one in (first, other))  # type: ignore[arg-type]
    both = np.isfinite(a.values) & np.isfinite(b.values)
    assert both.sum() >= np.isfinite(a.values).sum() - 2
    np.testing.assert_allclose(b.values[both] ** -1.0, a.values[both] ** -1.0, atol=2e-4)


@settings(deadline=None, max_examples=40)
@given(
    seed=st.integers(0, 999),
    share=st.floats(0, 0.4),
    how=st.sampled_from(["anywhere", "too near"]),
    kind=st.sampled_from(["relative_inverse", "up_to_scale"]),
)
def test_gross_outliers_do_not_move_the_robust_fit(
    seed: int, share: float, how: str, kind: str
) -> None:
    depth_m = room(seed, (48, 64))
    relative = relative_of(depth_m)
    if kind == "up_to_scale":
        relative = DepthMap(values=3 * depth_m, kind="up_to_scale")
    reference = DepthMap(values=spoilt(depth_m, share, seed, how))
    fit = fit_alignment(relative, reference)
    np.testing.assert_allclose(fit.apply(relative).values, depth_m, rtol=1e-3)
    assert fit.inlier_share == pytest.approx(1 - share, abs=0.06)


@pytest.mark.parametrize("share", [0.3, 0.45])
def test_outliers_that_agree_with_each_other_do_not_move_it_either(share: float) -> None:
    """A second line, all at half the depth, beside pixels that scatter by a twentieth."""
    depth_m = room(3, (96, 128))
    random = np.random.default_rng(4)
    relative = relative_of(depth_m * np.exp(random.normal(0, 0.05, depth_m.shape)))
    wrong = random.random(depth_m.shape) < share
    reference = DepthMap(values=np.where(wrong, np.float32(0.5), np.float32(1)) * depth_m)
    found = align(relative, reference)
    assert np.nanmedian(np.abs(found.values / depth_m - 1)) < 0.04


def test_least_squares_is_moved_by_outliers() -> None:
    """Or else the robust fit would not be needed."""
    depth_m = room()
    reference = DepthMap(values=spoilt(depth_m, 0.3, 1, "too near"))
    found = align(relative_of(depth_m), reference, method="least-squares")
    assert np.nanmedian(np.abs(found.values / depth_m - 1)) > 0.5


def test_least_squares_is_the_textbook_one() -> None:
    """Against NumPy's own solver, with the square root of confidence as the weight of a row."""
    random = np.random.default_rng(2)
    depth_m = room()
    relative = relative_of(depth_m)
    noisy = (1 / (1 / depth_m + random.uniform(0, 0.05, SHAPE))).astype(np.float32)
    confidence = random.uniform(0.3, 1, SHAPE).astype(np.float32)
    reference = DepthMap(values=noisy, confidence=confidence)
    fit = fit_alignment(relative, reference, method="least-squares")
    root = np.sqrt(confidence.astype(np.float64)).ravel()
    rows = np.stack([relative.values.ravel(), np.ones(noisy.size)], axis=1) * root[:, None]
    scale, shift = np.linalg.lstsq(rows, root / noisy.ravel().astype(np.float64))[0]
    assert (fit.scale, fit.shift) == pytest.approx((scale, shift), rel=1e-6)
    assert fit.pixels == noisy.size


def test_a_wall_that_fills_the_image_does_not_hide_what_stands_in_front() -> None:
    """Half of the pixels at one depth say nothing of the scale; stereo sees them without noise."""
    random = np.random.default_rng(3)
    depth_m = room(shape=(96, 128))
    depth_m[:, :80] = 3.0
    relative = relative_of(depth_m)
    noise = random.normal(0, 0.03, depth_m.shape).astype(np.float32)
    found = align(replace(relative, values=relative.values + noise), DepthMap(values=depth_m))
    assert np.nanmedian(np.abs(found.values / depth_m - 1)[:, 80:]) < 0.02


def test_what_is_no_evidence_is_left_out() -> None:
    depth_m = room()
    wrong = np.zeros(SHAPE, dtype=bool)
    wrong[: SHAPE[0] // 3] = True
    values = np.where(wrong, np.float32(0.5), depth_m)
    relative = relative_of(depth_m)
    unsure = DepthMap(values=values, confidence=np.where(wrong, 0.2, 0.9).astype(np.float32))
    guessed = DepthMap(values=values, filled=wrong)
    for reference in (unsure, guessed):
        np.testing.assert_allclose(align(relative, reference).values, depth_m, rtol=1e-4)
        assert fit_alignment(relative, reference).pixels == (~wrong).sum()
    let_in = fit_alignment(relative, unsure, min_confidence=0.0)
    assert let_in.pixels == wrong.size


@pytest.mark.parametrize("method", METHODS)
def test_confidence_is_weight(method: str) -> None:
    """Two sets of pixels disagree by a little; the fit follows the one that is trusted."""
    depth_m = room()
    left = np.zeros(SHAPE, dtype=bool)
    left[:, ::2] = True
    noise = np.random.default_rng(4).normal(0, 0.02, SHAPE)
    values = (1 / (1 / depth_m + noise + np.where(left, 0, 0.02))).astype(np.float32)
    shifts = []
    for trust in (1.0, 0.31):
        confidence = np.where(left, trust, 1.31 - trust).astype(np.float32)
        reference = DepthMap(values=values, confidence=confidence)
        fit = fit_alignment(relative_of(depth_m, 1, 0), reference, method=method)  # type: ignore[arg-type]
        shifts.append(fit.shift)
    assert 0 < shifts[0] < 0.009 < 0.011 < shifts[1] < 0.02


def test_what_lies_beyond_the_fit_is_unknown() -> None:
    depth_m = room()
    relative = relative_of(depth_m)
    relative.values[0, :] = -3.0  # inverse depth 0: sky
    relative.values[1, :] = -4.0  # behind the camera
    relative.values[2, :] = np.nan
    reference = depth_m.copy()
    reference[:3] = np.nan
    found = align(relative, DepthMap(values=reference))
    assert np.isnan(found.values[:3]).all()
    assert found.confidence is not None
    assert not found.confidence[:3].any()
    assert np.isfinite(found.values[3:]).all()
    near = align(relative, DepthMap(values=reference), max_depth_m=4.0)
    np.testing.assert_array_equal(np.isfinite(near.values[3:]), depth_m[3:] <= 4.0)


def test_confidence_falls_with_range_and_keeps_the_models_own() -> None:
    fit = AlignmentFit(
        kind="relative_inverse", scale=1, shift=0, residual=0.1, inlier_share=1, pixels=100
    )
    values = np.array([[1, 1 / 2, 1 / 4, 0.09, 0.05]], dtype=np.float32)
    relative = DepthMap(values=values, kind="relative_inverse")
    found = fit.apply(relative)
    assert found.confidence is not None
    np.testing.assert_allclose(found.confidence, [[0.8, 0.5, 0.2, 0, 0]], rtol=1e-5)
    np.testing.assert_allclose(found.values, [[1, 2, 4, np.nan, np.nan]])
    own = replace(relative, confidence=np.full((1, 5), 0.5, np.float32), filled=values > 0.5)
    again = fit.apply(own)
    assert again.confidence is not None
    np.testing.assert_allclose(again.confidence, 0.5 * found.confidence)
    assert again.filled is own.filled


def test_large_maps_are_sampled_and_the_same_every_time() -> None:
    depth_m = room(shape=(400, 500))
    random = np.random.default_rng(5)
    relative = relative_of(depth_m)
    noise = random.normal(0, 0.1, depth_m.shape).astype(np.float32)
    relative = replace(relative, values=relative.values + noise)
    reference = DepthMap(values=spoilt(depth_m, 0.3, 6))
    fits = [fit_alignment(relative, reference) for _ in range(2)]
    assert fits[0] == fits[1]
    assert fits[0].pixels == depth_m.size
    assert (fits[0].scale, fits[0].shift) == pytest.approx((1 / 7, 3 / 7), rel=0.01)
    assert fits[0].residual == pytest.approx(0.1 / 7, rel=0.15)


def test_the_public_name() -> None:
    assert rm.align is align


@pytest.mark.parametrize("method", METHODS)
def test_what_cannot_be_aligned_is_refused_in_words(method: str) -> None:
    depth_m = room()
    relative, reference = relative_of(depth_m), DepthMap(values=depth_m)

    def refused(match: str, one: DepthMap, other: DepthMap, **options: float) -> None:
        with pytest.raises(InputError, match=match):
            align(one, other, method=method, **options)  # type: ignore[arg-type]

    refused("32 x 24 px but the reference is 32 x 20", relative, DepthMap(values=depth_m[:20]))
    refused("in metres already", reference, reference)
    refused("must be in metres, got .* relative_inverse", relative, relative)
    few = np.full(SHAPE, np.nan, np.float32)
    few[0, :9] = depth_m[0, :9]
    refused("9 known pixels in common, at least 10", relative, DepthMap(values=few))
    unsure = replace(reference, confidence=np.full(SHAPE, 0.2, np.float32))
    refused("0 known pixels", relative, unsure)
    flat = replace(relative, values=np.full(SHAPE, 5, np.float32))
    refused("one and the same value", flat, reference)
    refused("one depth", relative, DepthMap(values=np.full(SHAPE, 5, np.float32)))
    random = np.random.default_rng(8)
    other = replace(relative, values=random.random(SHAPE, dtype=np.float32))
    refused("nothing in common", other, DepthMap(values=room(9)))
    refused("contradicts the reference", replace(relative, values=-relative.values), reference)
    refused("max_depth_m must be a positive", relative, reference, max_depth_m=0.0)
    refused("min_confidence must be within", relative, reference, min_confidence=2.0)


def test_other_mistakes_speak() -> None:
    relative, reference = relative_of(room()), DepthMap(values=room())
    with pytest.raises(InputError, match=r"one of least-squares, robust, got 'median'"):
        align(relative, reference, method="median")  # type: ignore[arg-type]
    fit = fit_alignment(relative, reference)
    with pytest.raises(InputError, match="for relative_inverse maps, got a up_to_scale"):
        fit.apply(replace(reference, kind="up_to_scale"))
