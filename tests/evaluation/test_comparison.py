"""The bootstrap on data whose answer is known."""

import math
from dataclasses import replace

import numpy as np
import pytest

from rangemask.errors import InputError
from rangemask.evaluation.classes import ClassCounts, class_scores
from rangemask.evaluation.comparison import compare_reports
from rangemask.evaluation.datasets import DatasetReport
from rangemask.evaluation.frames import ALL_LABELS, FrameResult
from rangemask.evaluation.totals import Pool
from rangemask.metrics import mask_hits
from rangemask.structures import MaskSet


def report_of(frames: list[FrameResult], name: str = "run") -> DatasetReport:
    return DatasetReport(
        predictor=name, dataset="data", frames=tuple(frames), totals=Pool(frames).totals()
    )


def with_errors(errors: np.ndarray, *, sequence: str | None = None) -> DatasetReport:
    return report_of(
        [
            FrameResult(
                name=f"{i:03}",
                sequence=f"{i}" if sequence is None else sequence,
                values={"disparity": {"epe_px": float(error), "density": 1 - float(error)}},
            )
            for i, error in enumerate(errors)
        ]
    )


@pytest.fixture
def errors() -> np.ndarray:
    return np.random.default_rng(3).uniform(0.2, 0.8, 40)


def test_a_run_does_not_differ_from_itself(errors: np.ndarray) -> None:
    found = compare_reports(with_errors(errors), with_errors(errors), resamples=200)
    for one in found.differences:
        assert (one.difference, one.low, one.high) == (0, 0, 0)
        assert not one.real
        assert one.better == "neither"


def test_noise_that_is_alike_is_no_difference(errors: np.ndarray) -> None:
    noise = np.random.default_rng(4).normal(0, 0.05, errors.size)
    second = with_errors(errors + noise - noise.mean())
    (epe, _) = compare_reports(with_errors(errors), second, resamples=500).differences
    assert epe.low < 0 < epe.high
    assert epe.better == "neither"


def test_a_small_shift_on_every_frame_is_found(errors: np.ndarray) -> None:
    """Paired: far smaller than the spread between frames."""
    noise = np.random.default_rng(5).normal(0, 0.02, errors.size)
    second = with_errors(errors - 0.02 + noise)
    epe, density = compare_reports(with_errors(errors), second, resamples=500).differences
    assert np.std(errors) > 0.15
    assert epe.high < 0
    assert epe.better == "second"
    assert density.low > 0
    assert density.better == "second"
    back = compare_reports(second, with_errors(errors), resamples=500).differences[0]
    assert back.better == "first"


def test_the_interval_is_that_of_the_mean(errors: np.ndarray) -> None:
    """Its half-width is 1.96 standard errors of the paired differences."""
    apart = np.random.default_rng(6).normal(0.1, 0.05, errors.size)
    epe = compare_reports(with_errors(errors), with_errors(errors + apart)).differences[0]
    expected = 1.96 * apart.std() / math.sqrt(errors.size)
    assert (epe.high - epe.low) / 2 == pytest.approx(expected, rel=0.1)
    assert epe.difference == pytest.approx(apart.mean())


def test_the_seed_decides(errors: np.ndarray) -> None:
    pair = with_errors(errors), with_errors(errors[::-1])
    first, again, other = (
        compare_reports(*pair, resamples=50, seed=seed).to_dict() for seed in (1, 1, 2)
    )
    assert first == again
    assert first["differences"] != other["differences"]


def test_few_frames_prove_nothing(errors: np.ndarray) -> None:
    few = errors[:5]
    found = compare_reports(with_errors(few), with_errors(few + 1), resamples=50)
    assert found.differences[0].low > 0
    assert not found.differences[0].real
    assert "With 5 frames" in found.notes[0]


def test_frames_of_one_recording_are_warned_of(errors: np.ndarray) -> None:
    pair = [with_errors(errors, sequence="one") for _ in range(2)]
    assert "40 frames are of 1 recordings" in compare_reports(*pair, resamples=5).notes[0]


def test_only_frames_of_both_count(errors: np.ndarray) -> None:
    second = errors.copy()
    second[0] = np.nan  # nothing was given there
    found = compare_reports(with_errors(errors), with_errors(second[:30]), resamples=20)
    assert len(found.frames) == 30
    assert "30 frames are compared; 10 more" in found.notes[0]
    epe = found.differences[0]
    assert epe.frames == 29
    assert epe.first == epe.second == pytest.approx(errors[1:30].mean())


def test_nothing_in_common_speaks(errors: np.ndarray) -> None:
    first = with_errors(errors)
    other = report_of([FrameResult(name="x", values={"depth": {"abs_rel": 1.0}})], "other")
    with pytest.raises(InputError, match="no frame in common"):
        compare_reports(first, other)
    depth = {"depth": {"abs_rel": 1.0}}
    other = report_of([FrameResult(name="000", values=depth, seconds=0.1)], "other")
    first = report_of([replace(frame, seconds=0.1) for frame in first.frames])
    with pytest.raises(InputError, match=r"run was judged by disparity, other by depth"):
        compare_reports(first, other)
    with pytest.raises(InputError, match="at least one resample, got 0"):
        compare_reports(first, first, resamples=0)


def with_classes(names: tuple[str, ...], hits: list[int]) -> DatasetReport:
    frames = []
    for i, hit in enumerate(hits):
        counts = ClassCounts(
            hits=dict.fromkeys(names, hit),
            truth=dict.fromkeys(names, 100),
            predicted=dict.fromkeys(names, 100),
            pixels=100 * len(names),
            right=hit * len(names),
        )
        values = {"semantic": class_scores(counts)}
        frames.append(FrameResult(name=str(i), sequence=str(i), values=values, classes=counts))
    return report_of(frames)


def test_classes_are_compared_where_both_know_them() -> None:
    hits = [50] * 8
    first = with_classes(("wall", "floor"), hits)
    second = with_classes(("floor", "person"), [80] * 8)
    found = compare_reports(first, second, resamples=20)
    assert {one.metric for one in found.differences} == {"mean_iou", "iou/floor"}
    assert found.differences[0].better == "second"
    assert found.differences[0].first == pytest.approx(50 / 150)
    assert "both know: floor." in found.notes[-1]
    with pytest.raises(InputError, match="nothing to compare"):
        compare_reports(first, with_classes(("person",), hits))
    same = compare_reports(first, with_classes(("wall", "floor"), [80] * 8), resamples=20)
    assert "pixel_accuracy" in {one.metric for one in same.differences}


def test_mask_precision_is_resampled_whole() -> None:
    """Counting a frame twice is the same as having it twice."""
    random = np.random.default_rng(0)
    frames = []
    for i in range(6):
        truth = MaskSet.from_dense(random.random((3, 6, 8)) < 0.5)
        scores = random.random(4).tolist()
        noisy = np.concatenate([truth.dense() ^ (random.random((3, 6, 8)) < 0.1)] * 2)[:4]
        found = mask_hits(MaskSet.from_dense(noisy, scores=scores), truth)
        values = dict.fromkeys(("truths", "predictions", "matched", "mean_iou", "boundary_f"), 1.0)
        frames.append(FrameResult(name=str(i), values={"masks": values}, hits={ALL_LABELS: found}))
    counts = np.array([2.0, 0, 1, 0, 3, 0])
    repeated = [frames[i] for i, count in enumerate(counts) for _ in range(int(count))]
    counted, listed = Pool(frames).totals(counts)["masks"], Pool(repeated).totals()["masks"]
    assert 0 < listed["ap50"] < 1
    assert counted == pytest.approx(listed)
