"""The sgbm matcher as a whole: laws on made pairs, and bounds on a real one."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from rangemask.backends.options import LoadOptions
from rangemask.backends.protocols import StereoMatcher
from rangemask.backends.registry import load_stereo
from rangemask.backends.stereo.sgbm import SgbmConfig, SgbmMatcher, build
from rangemask.data.samples import motorcycle
from rangemask.errors import InputError
from rangemask.geometry import Rig
from rangemask.metrics.confidence import sparsification
from rangemask.metrics.disparity import disparity_metrics
from rangemask.structures import StereoFrame, StereoMatch

QUALITIES = ("best", "fast")
HEIGHT, WIDTH = 60, 160


def texture(height: int, width: int, seed: int = 0) -> np.ndarray:
    random = np.random.default_rng(seed)
    grain = random.integers(0, 256, (height, width, 3), dtype=np.uint8)
    return np.asarray(cv2.GaussianBlur(grain, (3, 3), 0))


def shifted(shift_px: int, *, height: int = HEIGHT, width: int = WIDTH) -> StereoFrame:
    """A wall with one disparity everywhere: left x shows what right x - shift shows."""
    margin = abs(shift_px)
    wide = texture(height, width + 2 * margin)
    left = wide[:, margin : margin + width]
    right = wide[:, margin + shift_px : margin + shift_px + width]
    return StereoFrame(np.ascontiguousarray(left), np.ascontiguousarray(right))


def step(near_px: int = 20, far_px: int = 6) -> tuple[StereoFrame, np.ndarray]:
    """A near square before a far wall, and the true disparity."""
    wall = texture(120, 240, 1)
    truth = np.full((120, 200), far_px, np.float32)
    truth[30:90, 70:140] = near_px
    right = wall[:, far_px : far_px + 200].copy()
    left = wall[:, :200].copy()
    square = texture(60, 70, 2)
    left[30:90, 70:140] = square
    right[30:90, 70 - near_px : 140 - near_px] = square
    return StereoFrame(left, right), truth


def match(frame: StereoFrame, quality: str = "best", **options: object) -> StereoMatch:
    return load_stereo("sgbm", quality=quality, **options)(frame)


@pytest.mark.parametrize("quality", QUALITIES)
@pytest.mark.parametrize("shift_px", [0, 1, 7, 30])
def test_one_shift_is_found_everywhere_even_in_the_left_strip(quality: str, shift_px: int) -> None:
    found = match(shifted(shift_px), quality, fill=True)
    assert np.isfinite(found.disparity).all()
    assert np.abs(np.median(found.disparity) - shift_px) < 0.1
    assert np.mean(np.abs(found.disparity - shift_px) < 0.6) > 0.98


@pytest.mark.parametrize("quality", QUALITIES)
def test_what_the_right_image_shows_is_matched_up_to_the_border(quality: str) -> None:
    """OpenCV alone leaves a strip as wide as the search range."""
    found = match(shifted(7), quality, min_disparity_px=0, max_disparity_px=63)
    assert np.isfinite(found.disparity[:, 12:]).mean() > 0.98
    assert np.isnan(found.disparity[:, :5]).mean() > 0.9
    assert found.occluded[:, :5].mean() > 0.9
    assert not found.occluded[:, 12:].any()


@pytest.mark.parametrize("quality", QUALITIES)
def test_swapping_and_mirroring_both_images_changes_nothing(quality: str) -> None:
    """The mirrored right view is a left view of the same disparities."""
    frame, _ = step()
    assert frame.right is not None
    turned = StereoFrame(
        np.ascontiguousarray(frame.right[:, ::-1]), np.ascontiguousarray(frame.left[:, ::-1])
    )
    here, there = match(frame, quality, fill=True), match(turned, quality, fill=True)
    for found in (here, there):
        shares = [np.mean(np.abs(found.disparity - value) < 1) for value in (6, 20)]
        assert shares[0] == pytest.approx(0.825, abs=0.03)
        assert shares[1] == pytest.approx(0.175, abs=0.03)


@pytest.mark.parametrize("quality", QUALITIES)
def test_crossed_views_have_negative_disparities(quality: str) -> None:
    found = match(shifted(-4), quality, fill=True, min_disparity_px=-8, max_disparity_px=8)
    assert np.mean(np.abs(found.disparity + 4) < 0.6) > 0.99


@pytest.mark.parametrize("quality", QUALITIES)
def test_turning_the_pair_upside_down_turns_the_result(quality: str) -> None:
    frame, truth = step()
    assert frame.right is not None
    upside = StereoFrame(
        np.ascontiguousarray(frame.left[::-1]), np.ascontiguousarray(frame.right[::-1])
    )
    found = match(upside, quality, fill=True).disparity[::-1]
    assert np.mean(np.abs(found - truth) < 1) > 0.95


@pytest.mark.parametrize("quality", QUALITIES)
def test_a_step_is_sharp_and_its_shadow_is_occluded_and_filled_from_behind(quality: str) -> None:
    frame, truth = step()
    found = match(frame, quality, fill=True)
    assert np.mean(np.abs(found.disparity - truth) > 1) < 0.03
    # The right camera does not see the 14 px of wall to the left of the near square.
    shadow = np.s_[35:85, 58:68]
    assert found.occluded[shadow].mean() > 0.8
    assert found.filled[shadow].mean() > 0.8
    assert np.median(found.disparity[shadow]) == pytest.approx(6, abs=0.5)
    assert np.mean(found.confidence[shadow]) < 0.5 * np.mean(found.confidence[5:25, 60:180])


@pytest.mark.parametrize("quality", QUALITIES)
def test_filling_adds_flagged_pixels_and_keeps_the_others(quality: str) -> None:
    frame, _ = step()
    bare, filled = match(frame, quality), match(frame, quality, fill=True)
    given = np.isfinite(bare.disparity)
    assert not bare.filled.any()
    assert np.array_equal(filled.filled, ~given)
    assert np.array_equal(filled.disparity[given], bare.disparity[given])
    assert np.array_equal(filled.confidence[given], bare.confidence[given])
    assert not bare.confidence[~given].any()
    assert not (bare.occluded & given).any()


@pytest.mark.parametrize("quality", QUALITIES)
def test_nothing_to_see_is_unknown(quality: str) -> None:
    blank = np.full((HEIGHT, WIDTH, 3), 120, np.uint8)
    for options in ({}, {"min_disparity_px": 0, "max_disparity_px": 31}):
        found = match(StereoFrame(blank, blank.copy()), quality, fill=True, **options)
        told = np.isfinite(found.disparity) & ~found.filled
        assert told.mean() < 0.01
        assert found.confidence.max() < 0.35


@pytest.mark.parametrize("quality", QUALITIES)
def test_a_blank_wall_between_textures_is_not_matched_with_confidence(quality: str) -> None:
    frame = shifted(7)
    assert frame.right is not None
    left, right = frame.left.copy(), frame.right.copy()
    left[:, 60:120] = 90
    right[:, 53:113] = 90
    found = match(StereoFrame(left, right), quality, fill=True)
    inside = np.s_[:, 75:105]
    wrong = np.abs(found.disparity[inside] - 7) > 1
    assert (wrong & (found.confidence[inside] > 0.5)).mean() < 0.01


@pytest.mark.parametrize("quality", QUALITIES)
def test_images_that_do_not_match_give_little_and_trust_it_less(quality: str) -> None:
    frame = StereoFrame(texture(HEIGHT, WIDTH, 3), texture(HEIGHT, WIDTH, 4))
    found = match(frame, quality, min_disparity_px=0, max_disparity_px=31)
    given = np.isfinite(found.disparity)
    assert given.mean() < 0.4
    assert found.confidence[given].mean() < 0.05


@pytest.mark.parametrize("quality", QUALITIES)
def test_a_darker_right_image_does_not_matter(quality: str) -> None:
    frame, truth = step()
    assert frame.right is not None
    darker = (frame.right * 0.8 + 5).astype(np.uint8)
    found = match(StereoFrame(frame.left, darker), quality, fill=True)
    assert np.mean(np.abs(found.disparity - truth) > 1) < 0.04


@pytest.mark.parametrize("quality", QUALITIES)
@pytest.mark.parametrize(
    "shape", [(1, 1), (2, 2), (1, 9), (9, 1), (3, 5), (8, 8), (20, 400), (300, 12)]
)
def test_odd_sizes_give_maps_of_that_size(quality: str, shape: tuple[int, int]) -> None:
    height, width = shape
    frame = shifted(2, height=height, width=width)
    for options in ({}, {"min_disparity_px": -3, "max_disparity_px": 40}, {"min_disparity_px": 9}):
        found = match(frame, quality, fill=True, **options)
        assert found.disparity.shape == shape


@pytest.mark.parametrize("quality", QUALITIES)
def test_the_same_pair_gives_the_same_bits(quality: str) -> None:
    frame, _ = step()
    first, second = match(frame, quality, fill=True), match(frame, quality, fill=True)
    for name in ("disparity", "confidence", "occluded", "filled"):
        assert np.array_equal(getattr(first, name), getattr(second, name), equal_nan=True)


def test_distances_of_the_rig_limit_the_search() -> None:
    rig = Rig.rectified(
        fx=100.0, cx=79.5, cy=29.5, baseline_m=0.1, width=WIDTH, height=HEIGHT, doffs_px=3.0
    )
    frame = shifted(7)
    # 10 px m: 7 px + 3 px of doffs is 1 m.
    told = StereoFrame(frame.left, frame.right, rig)
    found = match(told, near_m=0.8, far_m=4.0, fill=True)
    assert np.mean(np.abs(found.disparity - 7) < 0.6) > 0.99
    too_near = match(told, near_m=0.3, far_m=0.6)
    assert (
        np.nanmean(np.abs(too_near.disparity - 7) < 0.6) < 0.01
        or not np.isfinite(too_near.disparity).any()
    )


@pytest.mark.parametrize(
    ("quality", "filled_bad", "bare_bad", "given", "auc"),
    [("best", 0.060, 0.040, 0.895, 0.25), ("fast", 0.070, 0.048, 0.885, 0.28)],
)
def test_motorcycle_stays_as_good_as_it_is(
    quality: str, filled_bad: float, bare_bad: float, given: float, auc: float
) -> None:
    frame, truth = motorcycle()
    filled = match(frame, quality, fill=True)
    metrics = disparity_metrics(filled.disparity, truth)
    assert metrics.density == 1
    assert metrics.bad_2 <= filled_bad
    bare = disparity_metrics(np.where(filled.filled, np.nan, filled.disparity), truth)
    assert bare.bad_2_given <= bare_bad
    assert bare.density >= given
    known = np.isfinite(truth)
    off = np.abs(filled.disparity[known] - truth[known]) > 2
    curve = sparsification(off.astype(np.float64), filled.confidence[known])
    assert curve.ratio_to_random <= auc


def test_one_image_is_not_a_pair() -> None:
    frame = StereoFrame(texture(8, 8), name="mono")
    with pytest.raises(InputError, match=r"mono.*left and a right image"):
        match(frame)


def test_the_registry_builds_it_and_it_says_what_it_is() -> None:
    matcher = build(LoadOptions(), quality="fast")
    assert isinstance(matcher, StereoMatcher)
    assert (matcher.name, matcher.config.quality) == ("sgbm", "fast")
    assert matcher.passport.licence == "Apache-2.0 (OpenCV)"
    assert matcher.passport.weights is None
    assert matcher.passport.options["quality"] == "fast"
    assert SgbmMatcher().config == SgbmConfig()
    with pytest.raises(InputError, match="no weights"):
        build(LoadOptions(checkpoint="sgbm.pth"))
    with pytest.raises(InputError, match="no option 'speed'"):
        build(LoadOptions(), speed=3)
    with pytest.raises(InputError, match="quality must be"):
        build(LoadOptions(), quality="good")
