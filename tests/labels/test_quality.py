"""Scores of one image's labels."""

import numpy as np
import pytest

from rangemask.labels.quality import image_quality, mask_quality, rounded, stereo_quality
from rangemask.structures import MaskSet, StereoMatch


def test_exposure_counts_black_and_blown_out_pixels() -> None:
    image = np.full((10, 10, 3), 128, dtype=np.uint8)
    assert image_quality(image) == {"exposure": 1.0}
    image[:3] = 0
    image[9:] = 255
    assert image_quality(image) == {"exposure": 0.6}


def test_coverage_is_of_what_both_cameras_see() -> None:
    disparity = np.full((4, 10), 3, dtype=np.float32)
    disparity[:, :2] = np.nan
    disparity[:2, 2:4] = np.nan
    hidden = np.zeros((4, 10), dtype=bool)
    hidden[:, :2] = True
    match = StereoMatch(
        disparity=disparity,
        confidence=np.where(np.isfinite(disparity), np.float32(0.5), np.float32(0)),
        occluded=hidden,
        filled=np.zeros((4, 10), dtype=bool),
    )
    assert stereo_quality(match, match.confidence) == {"coverage": 0.875, "trust": 0.5}


def test_a_match_of_nothing_has_no_quality() -> None:
    unknown = np.full((4, 4), np.nan, dtype=np.float32)
    nothing = np.zeros((4, 4), dtype=bool)
    none = np.zeros((4, 4), dtype=np.float32)
    match = StereoMatch(disparity=unknown, confidence=none, occluded=nothing, filled=nothing)
    assert stereo_quality(match, none) == {"coverage": 0.0, "trust": 0.0}


def test_masks_count_by_area_and_no_objects_are_no_fault() -> None:
    masks = np.zeros((2, 4, 5), dtype=bool)
    masks[0, :3] = True
    masks[1, 3] = True
    found = MaskSet.from_dense(masks, scores=[1.0, 0.2])
    assert mask_quality(found) == {"masks": pytest.approx(0.8)}
    assert mask_quality(MaskSet(4, 5)) == {}


def test_scores_have_four_digits() -> None:
    assert rounded(0.123456) == 0.1235
    assert rounded(1.0) == 1.0
