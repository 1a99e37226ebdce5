"""KITTI's protocols: the published numbers, and what they leave out."""

from dataclasses import asdict
from typing import Any

import numpy as np
import pytest

from rangemask.errors import InputError
from rangemask.metrics.kitti import (
    KittiDepthMetrics,
    depth_of_kitti,
    eigen_depth_metrics,
    garg_crop,
    kitti2015_depth_metrics,
    kitti2015_disparity_metrics,
    resized,
)
from support.golden import HERE

CASE = dict(np.load(HERE / "tio_depth" / "case_metrics.npz"))
PREDICTED, TRUTH = CASE["depth_pred"][0, 0], CASE["depth_gt"][0, 0]


def row(found: KittiDepthMetrics) -> list[float]:
    m = found.depth
    return [
        *(m.abs_rel, m.sq_rel, m.rmse_m, m.rmse_log, m.delta_1, m.delta_2, m.delta_3),
        found.median_ratio,
    ]


def test_published_numbers() -> None:
    assert row(eigen_depth_metrics(PREDICTED, TRUTH)) == pytest.approx(CASE["kitti"], rel=1e-5)
    assert row(eigen_depth_metrics(PREDICTED, TRUTH, median_scaling=True)) == pytest.approx(
        CASE["kitti_median_scaled"], rel=1e-5
    )
    assert row(kitti2015_depth_metrics(PREDICTED, TRUTH)) == pytest.approx(
        CASE["kitti2015"], rel=1e-5
    )
    found = kitti2015_disparity_metrics(CASE["disp_pred"][0, 0], CASE["disp_gt"][0, 0])
    assert [found.epe_px, 100 * found.d1] == pytest.approx(CASE["epe_d1"], rel=1e-5)


def test_a_perfect_prediction_has_no_error() -> None:
    truth = np.random.default_rng(0).uniform(2, 70, (40, 120)).astype(np.float32)
    found = asdict(eigen_depth_metrics(truth, truth).depth)
    assert found["abs_rel"] == found["rmse_m"] == found["rmse_log"] == 0
    assert found["delta_1"] == 1
    assert found["pixels"] == garg_crop(40, 120).sum()


def test_truth_beyond_the_cap_counts_as_the_cap_or_not_at_all() -> None:
    truth = np.full((40, 120), 10.0)
    truth[:, 60:] = 100
    predicted = np.where(truth > 80, 200.0, 20.0)
    kept = eigen_depth_metrics(predicted, truth)
    left_out = eigen_depth_metrics(predicted, truth, keep_beyond_cap=False)
    assert kept.depth.abs_rel == pytest.approx(0.5, abs=0.03)
    assert left_out.depth.abs_rel == pytest.approx(1)
    assert left_out.depth.pixels < kept.depth.pixels
    assert kitti2015_depth_metrics(predicted, truth).depth.pixels == 40 * 60


def test_unknown_truth_is_left_out() -> None:
    truth = np.full((40, 120), 10.0)
    truth[:, ::2], truth[::2] = np.nan, 0
    found = eigen_depth_metrics(np.full((20, 60), 10.0), truth)
    assert found.depth.abs_rel == 0
    assert 0 < found.depth.pixels < garg_crop(40, 120).sum() / 3


def test_maps_are_resized_with_pixel_centres_in_place() -> None:
    ramp = np.tile(np.arange(8, dtype=np.float32) + 0.5, (4, 1))
    wide = resized(ramp, (8, 16))
    np.testing.assert_allclose(wide[3, 1:-1], (np.arange(16) + 0.5)[1:-1] / 2, atol=1e-5)


def test_depth_of_the_stereo_set() -> None:
    found = depth_of_kitti(np.array([[54.0, 0.0, np.nan]]))
    np.testing.assert_allclose(found, [[7.2154, np.nan, np.nan]], rtol=1e-6)


@pytest.mark.parametrize("bad", [0.0, np.nan, -1.0, np.inf])
def test_predictions_must_be_whole(bad: float) -> None:
    predicted = np.ones((4, 6))
    predicted[1, 1] = bad
    with pytest.raises(InputError, match=r"a depth for every pixel, .*; 1 of 24 are not"):
        eigen_depth_metrics(predicted, np.ones((4, 6)))


def test_the_cap_must_be_positive() -> None:
    with pytest.raises(InputError, match=r"cap_m must be positive, got 0"):
        eigen_depth_metrics(np.ones((4, 6)), np.ones((4, 6)), cap_m=0)


def test_nothing_known_is_nan() -> None:
    found: Any = eigen_depth_metrics(np.ones((4, 6)), np.zeros((4, 6)))
    assert found.depth.pixels == 0
    assert np.isnan(found.depth.abs_rel)
    assert np.isnan(found.median_ratio)
