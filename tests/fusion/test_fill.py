from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rangemask.errors import InputError
from rangemask.fusion.fill import FILLED_CONFIDENCE, FillConfig, fill_depth
from rangemask.fusion.measure import MeasureConfig
from rangemask.structures import DepthMap

SHAPE = (60, 80)
HOLE = (slice(20, 40), slice(30, 50))


def slope() -> np.ndarray:
    """(H, W): a floor from 1 m at the bottom to 4 m at the top."""
    rows = np.linspace(0.25, 1.0, SHAPE[0])[:, None]
    return np.broadcast_to(1 / rows, SHAPE).astype(np.float32)


def relative_of(depth_m: np.ndarray) -> DepthMap:
    return DepthMap(values=(5 / depth_m - 2).astype(np.float32), kind="relative_inverse")


def with_hole(depth_m: np.ndarray) -> DepthMap:
    values = depth_m.copy()
    values[HOLE] = np.nan
    confidence = np.where(np.isfinite(values), 0.9, 0.0).astype(np.float32)
    return DepthMap(values=values, confidence=confidence)


@settings(deadline=None, max_examples=20)
@given(seed=st.integers(0, 99), share=st.floats(0.01, 0.6), local=st.booleans())
def test_a_perfect_map_fills_perfectly(seed: int, share: float, local: bool) -> None:
    depth_m = slope()
    hidden = np.random.default_rng(seed).random(SHAPE) < share
    stereo = DepthMap(values=np.where(hidden, np.float32(np.nan), depth_m))
    found = fill_depth(stereo, relative_of(depth_m), FillConfig(local=local))
    assert found.kind == "metric_m"
    np.testing.assert_allclose(found.values, depth_m, rtol=1e-4)
    np.testing.assert_array_equal(found.values[~hidden], depth_m[~hidden])
    np.testing.assert_array_equal(found.filled, hidden)
    assert found.confidence is not None
    assert (found.confidence[~hidden] == 1).all(), "a map without confidence is trusted"
    assert (found.confidence[hidden] <= FILLED_CONFIDENCE).all()
    assert (found.confidence[hidden] > 0.2).all()


def test_filled_pixels_are_not_measured_by_default() -> None:
    assert MeasureConfig().min_confidence > FILLED_CONFIDENCE


@pytest.mark.parametrize("kind", ["relative_inverse", "up_to_scale", "metric_m"])
def test_any_kind_of_map_fills(kind: str) -> None:
    """A metric model that is off by a third is brought to stereo's metres, too."""
    depth_m = slope()
    mono = relative_of(depth_m)
    if kind != "relative_inverse":
        mono = DepthMap(values=depth_m * np.float32(1.33), kind=kind)  # type: ignore[arg-type]
    found = fill_depth(with_hole(depth_m), mono)
    np.testing.assert_allclose(found.values, depth_m, rtol=1e-4)


def test_what_was_not_seen_is_replaced_and_what_was_seen_is_not() -> None:
    depth_m = slope()
    stereo = with_hole(depth_m)
    guessed, hidden = np.zeros(SHAPE, dtype=bool), np.zeros(SHAPE, dtype=bool)
    guessed[:5], hidden[-5:] = True, True
    values = stereo.values.copy()
    values[guessed | hidden] = 9.0
    confidence = np.full(SHAPE, 0.9, np.float32)
    confidence[10:12] = 0.15
    values[10:12] = 7.0
    stereo = DepthMap(values=values, confidence=confidence, filled=guessed)
    found = fill_depth(stereo, relative_of(depth_m), occluded=hidden)
    replaced = guessed | hidden
    replaced[HOLE] = True
    np.testing.assert_array_equal(found.filled, replaced)
    np.testing.assert_allclose(found.values[replaced], depth_m[replaced], rtol=1e-4)
    np.testing.assert_array_equal(found.values[~replaced], values[~replaced])
    np.testing.assert_array_equal(found.confidence[~replaced], confidence[~replaced])  # type: ignore[index]
    unsure = fill_depth(stereo, relative_of(depth_m), FillConfig(replace_below=0.2))
    np.testing.assert_allclose(unsure.values[10:12], depth_m[10:12], rtol=1e-4)
    assert unsure.filled is not None
    assert unsure.filled[10:12].all()
    assert not unsure.filled[-5:].any()
    confidence[10:12] = 0.05
    assert fill_depth(stereo, relative_of(depth_m)).values[10, 0] != 7.0
    kept = fill_depth(stereo, relative_of(depth_m), FillConfig(replace_below=0.0))
    assert kept.values[10, 0] == 7.0


def test_where_the_model_knows_nothing_stereo_stays() -> None:
    depth_m = slope()
    mono = relative_of(depth_m)
    mono.values[HOLE[0], 30:40] = np.nan
    stereo = with_hole(depth_m)
    found = fill_depth(stereo, mono)
    assert found.filled is not None
    assert np.isnan(found.values[HOLE[0], 30:40]).all()
    assert not found.filled[HOLE[0], 30:40].any()
    assert found.filled[HOLE[0], 40:50].all()
    near = fill_depth(stereo, relative_of(depth_m), FillConfig(max_depth_m=2.0))
    inside = np.zeros(SHAPE, dtype=bool)
    inside[HOLE] = True
    np.testing.assert_array_equal(np.isfinite(near.values[inside]), depth_m[inside] <= 2.0)


def bent(depth_m: np.ndarray) -> DepthMap:
    """A monocular map that drifts by a fifth from left to right."""
    drift = np.linspace(-0.2, 0.2, SHAPE[1], dtype=np.float32)
    return relative_of(depth_m * np.exp(drift))


def test_local_correction_follows_stereo_nearby() -> None:
    depth_m = slope()

    def error(local: bool) -> float:
        found = fill_depth(with_hole(depth_m), bent(depth_m), FillConfig(local=local))
        return float(np.abs(found.values[HOLE] / depth_m[HOLE] - 1).mean())

    assert error(local=True) < 0.7 * error(local=False)


def test_what_stands_in_front_does_not_bend_the_background() -> None:
    """The map has the object a tenth too near; the hole beside it is background."""
    depth_m = slope() * 0 + 4.0
    depth_m[:, :30] = 1.0
    depth_m += np.random.default_rng(1).normal(0, 0.01, SHAPE).astype(np.float32)
    wrong = depth_m.copy()
    wrong[10:50, :30] *= 0.9
    stereo = DepthMap(values=depth_m.copy())
    stereo.values[20:40, 30:34] = np.nan
    found = fill_depth(stereo, relative_of(wrong))
    assert np.abs(found.values / depth_m - 1)[20:40, 30:34].max() < 0.01


def test_far_from_all_evidence_nothing_is_corrected() -> None:
    depth_m = slope()
    stereo = DepthMap(values=depth_m.copy())
    stereo.values[:, 30:] = np.nan
    mono = bent(depth_m)
    plain = fill_depth(stereo, mono, FillConfig(local=False))
    found = fill_depth(stereo, mono)
    np.testing.assert_allclose(found.values[:, 70:], plain.values[:, 70:], rtol=1e-6)
    assert found.confidence is not None
    assert plain.confidence is not None
    np.testing.assert_allclose(found.confidence[:, 70:], plain.confidence[:, 70:], rtol=1e-4)


def test_confidence_tells_good_from_bad() -> None:
    """On the right the model and stereo disagree all over the place."""
    depth_m = slope()
    random = np.random.default_rng(2)
    noisy = depth_m.copy()
    noisy[:, 40:] *= np.exp(random.normal(0, 0.2, (SHAPE[0], 40))).astype(np.float32)
    hidden = random.random(SHAPE) < 0.2
    stereo = DepthMap(values=np.where(hidden, np.float32(np.nan), depth_m))
    found = fill_depth(stereo, relative_of(noisy))
    assert found.confidence is not None
    left, right = (found.confidence[:, part][hidden[:, part]] for part in (np.s_[:30], np.s_[50:]))
    assert left.min() > 0.2
    assert np.median(right) < 0.19
    half = replace(relative_of(noisy), confidence=np.full(SHAPE, 0.5, np.float32))
    again = fill_depth(stereo, half)
    np.testing.assert_allclose(again.confidence[hidden], 0.5 * found.confidence[hidden], rtol=1e-5)  # type: ignore[index]


def test_large_images_give_the_same() -> None:
    """Evidence is thinned there."""
    rows = np.linspace(0.25, 1.0, 900)[:, None]
    depth_m = np.broadcast_to(1 / rows, (900, 1000)).astype(np.float32)
    drift = np.linspace(-0.2, 0.2, 1000, dtype=np.float32)
    stereo = DepthMap(values=depth_m.copy())
    stereo.values[400:500, 400:500] = np.nan
    found = fill_depth(stereo, relative_of(depth_m * np.exp(drift)))
    assert np.abs(found.values / depth_m - 1).max() < 0.02


def test_a_stereo_map_without_holes_stays() -> None:
    depth_m = slope()
    found = fill_depth(DepthMap(values=depth_m), relative_of(depth_m))
    np.testing.assert_array_equal(found.values, depth_m)
    assert found.filled is not None
    assert not found.filled.any()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("min_confidence", -0.1),
        ("replace_below", 1.5),
        ("reach", 0.0),
        ("reach", 2.0),
        ("max_depth_m", 0.0),
    ],
)
def test_impossible_settings_are_refused(name: str, value: float) -> None:
    with pytest.raises(InputError, match=name):
        FillConfig(**{name: value})  # type: ignore[arg-type]


def test_what_cannot_be_filled_is_refused_in_words() -> None:
    depth_m = slope()
    stereo, mono = with_hole(depth_m), relative_of(depth_m)
    with pytest.raises(InputError, match="occluded must have shape"):
        fill_depth(stereo, mono, occluded=np.zeros((3, 3), dtype=bool))
    with pytest.raises(InputError, match="must be in metres"):
        fill_depth(replace(stereo, kind="up_to_scale"), mono)
    with pytest.raises(InputError, match="80 x 50 px but the reference is 80 x 60"):
        fill_depth(stereo, DepthMap(values=mono.values[:50], kind=mono.kind))
    with pytest.raises(InputError, match="known pixels in common"):
        fill_depth(stereo, mono, occluded=np.ones(SHAPE, dtype=bool))
