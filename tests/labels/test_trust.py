"""Laws of the weight of each pixel."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from rangemask.errors import InputError
from rangemask.labels.trust import TrustConfig, agreeing, agreement, left_right, mirrored, weigh
from rangemask.structures import StereoFrame, StereoMatch

CONFIG = TrustConfig()
MAPS = hnp.arrays(
    np.float32,
    (4, 9),
    elements=st.one_of(st.floats(0, 60, width=32, allow_subnormal=False), st.just(float("nan"))),
)


def match_of(disparity: np.ndarray, confidence: float = 0.8) -> StereoMatch:
    known = np.isfinite(disparity)
    nothing = np.zeros(disparity.shape, dtype=bool)
    return StereoMatch(
        disparity=disparity,
        confidence=np.where(known, np.float32(confidence), np.float32(0)),
        occluded=nothing,
        filled=nothing,
    )


@settings(deadline=None, max_examples=60)
@given(first=MAPS, second=MAPS)
def test_agreement_is_a_factor_that_falls_with_the_difference(
    first: np.ndarray, second: np.ndarray
) -> None:
    factor = agreement(first, second, CONFIG)
    assert factor.dtype == np.float32
    assert ((factor >= 0) & (factor <= 1)).all()
    unknown = ~np.isfinite(first - second)
    assert (factor[unknown] == CONFIG.unconfirmed).all()
    worse = agreement(first, second + 2 * np.sign(second - first + 1e-9), CONFIG)
    assert (worse[~unknown] <= factor[~unknown] + 1e-6).all()


def test_agreement_knows_full_and_no_trust() -> None:
    disparity = np.full((1, 4), 10, dtype=np.float32)
    second = np.array([[10, 11, 12, 13.5]], dtype=np.float32)
    np.testing.assert_allclose(agreement(disparity, second, CONFIG), [[1, 1, 0.5, 0]])


def test_large_disparities_may_differ_by_a_share() -> None:
    disparity = np.full((1, 2), 200, dtype=np.float32)
    second = np.array([[202, 206]], dtype=np.float32)
    np.testing.assert_allclose(agreement(disparity, second, CONFIG), [[1, 0.5]])


@settings(deadline=None, max_examples=30)
@given(shift=st.integers(0, 6))
def test_a_pair_of_one_disparity_is_consistent_where_it_is_seen(shift: int) -> None:
    disparity = np.full((3, 12), shift, dtype=np.float32)
    factor = left_right(disparity, disparity, CONFIG)
    assert (factor[:, shift:] == 1).all()
    assert (factor[:, :shift] == 0).all()


def test_what_a_nearer_surface_hides_is_not_trusted() -> None:
    disparity = np.full((1, 20), 2, dtype=np.float32)
    right = np.full((1, 20), 2, dtype=np.float32)
    right[0, 5:9] = 8  # the right camera sees something near there
    factor = left_right(disparity, right, CONFIG)
    assert (factor[0, 7:11] == 0).all()
    assert (factor[0, 12:] == 1).all()


def test_weights_are_zero_where_nothing_is_known_seen_or_matched() -> None:
    disparity = np.array([[5, np.nan, 5, 5]], dtype=np.float32)
    match = match_of(disparity)
    hidden = np.array([[False, False, True, False]])
    guessed = np.array([[False, False, False, True]])
    match = StereoMatch(
        disparity=disparity, confidence=match.confidence, occluded=hidden, filled=guessed
    )
    half = np.full((1, 4), 0.5, dtype=np.float32)
    np.testing.assert_allclose(weigh(match), [[0.8, 0, 0, 0]])
    np.testing.assert_allclose(weigh(match, half, half), [[0.2, 0, 0, 0]])


def test_a_mirrored_pair_mirrors_back(frame: StereoFrame) -> None:
    twice = mirrored(mirrored(frame))
    assert frame.right is not None
    assert twice.right is not None
    assert np.array_equal(twice.left, frame.left)
    assert np.array_equal(twice.right, frame.right)
    with pytest.raises(InputError, match="a single image has no left-right consistency"):
        mirrored(StereoFrame(frame.left))


def test_share_that_agrees() -> None:
    factor = np.array([[1, 0.6, 0.4, 0]], dtype=np.float32)
    assert agreeing(factor, np.ones((1, 4), dtype=bool)) == 0.5
    assert agreeing(factor, np.zeros((1, 4), dtype=bool)) == 0


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"agree_px": 3.0, "differ_px": 1.0}, "agree_px < differ_px, got 3.0 and 1.0"),
        ({"agree_share": 0.2}, "agree_share < differ_share"),
        ({"unconfirmed": 1.5}, "unconfirmed must lie within"),
        ({"agree_px": -1.0}, "agree_px < differ_px"),
    ],
)
def test_impossible_limits_speak(options: dict[str, float], message: str) -> None:
    with pytest.raises(InputError, match=message):
        TrustConfig(**options)
