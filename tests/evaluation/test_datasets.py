import json
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from rangemask.data.sample import Dataset, Sample
from rangemask.errors import InputError, RangemaskError
from rangemask.evaluation.alignment import true_depth_m
from rangemask.evaluation.classes import ClassListError
from rangemask.evaluation.datasets import (
    DatasetReport,
    EvaluationOptions,
    as_predictor,
    evaluate_dataset,
)
from rangemask.evaluation.frames import JudgeOptions
from rangemask.evaluation.objects import judge_objects, object_scores
from rangemask.evaluation.predictors import Prediction, SavedScenes
from rangemask.structures import (
    DepthMap,
    MaskSet,
    Segmentation,
    SemanticMap,
    StereoFrame,
)
from support.judged import HEIGHT, WIDTH, Knowing, Listed, pipeline_of, rendered


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return rendered(tmp_path_factory.mktemp("judged") / "store")


def judged(
    dataset: Dataset,
    *,
    kinds: tuple[str, ...] | None = None,
    depth: bool = False,
    **changes: object,
) -> DatasetReport:
    pipeline = pipeline_of(Knowing(dataset, **changes), depth=depth)
    options = None if kinds is None else EvaluationOptions(judge=JudgeOptions(kinds=kinds))
    return evaluate_dataset(pipeline, dataset, options=options)


def test_the_truth_gets_perfect_numbers(dataset: Dataset) -> None:
    report = judged(dataset, depth=True)
    totals = report.totals
    assert len(report.frames) == len(dataset)
    assert not report.failed
    assert not report.notes
    for metric in ("epe_px", "bad_05", "bad_1", "bad_2", "bad_3"):
        assert totals["disparity"][metric] == 0
    assert totals["disparity"]["density"] == 1
    for kind in ("stereo_depth", "depth"):
        assert totals[kind]["abs_rel"] == pytest.approx(0, abs=1e-6)
        assert [totals[kind][f"delta_{i}"] for i in (1, 2, 3)] == [1, 1, 1]
    assert totals["semantic"]["mean_iou"] == totals["semantic"]["pixel_accuracy"] == 1
    for metric in ("ap", "ap50", "ap75", "ap_labels", "mean_iou", "boundary_f", "recall"):
        assert totals["masks"][metric] == 1
    assert totals["objects"]["missed"] == 0
    assert totals["objects"]["truths"] == totals["masks"]["truths"]
    assert totals["objects"]["within_10"] > 0.9  # measured within masks, not over all of them
    assert totals["time"]["median_s"] > 0
    assert all(sum(one.histogram) == one.histogram[0] for one in report.curves.values())


def test_disparity_off_by_a_known_amount(dataset: Dataset) -> None:
    totals = judged(dataset, disparity=lambda px: px + 1.5, kinds=("disparity",)).totals
    assert set(totals) == {"disparity", "time"}
    assert totals["disparity"]["epe_px"] == pytest.approx(1.5, abs=1e-5)
    assert [totals["disparity"][f"bad_{n}"] for n in ("05", "1", "2", "3")] == [1, 1, 0, 0]


def test_what_is_missing_is_bad(dataset: Dataset) -> None:
    def upper_half(px: np.ndarray) -> np.ndarray:
        out = px.copy()
        out[HEIGHT // 2 :] = np.nan
        return out

    found = judged(dataset, disparity=upper_half, kinds=("disparity",)).totals["disparity"]
    assert found["epe_px"] == 0
    assert found["bad_3"] == pytest.approx(1 - found["density"])
    assert 0.2 < found["density"] < 0.8


@pytest.mark.parametrize("kind", ["metric_m", "up_to_scale", "relative_inverse"])
def test_depth_without_metres_is_fitted_and_said_so(dataset: Dataset, kind: str) -> None:
    def told(depth: DepthMap) -> DepthMap:
        if kind == "relative_inverse":
            return DepthMap(values=3 / depth.values + np.float32(7), kind=kind)
        return DepthMap(values=depth.values * np.float32(1.2), kind=kind)

    pipeline = pipeline_of(Knowing(dataset, depth=told), depth=True, stereo=False, masks=False)
    report = evaluate_dataset(pipeline, dataset)
    off = 0.2 if kind == "metric_m" else 0
    assert report.totals["depth"]["abs_rel"] == pytest.approx(off, abs=1e-4)
    assert report.totals["depth"]["rmse_log"] == pytest.approx(np.log(1 + off), abs=1e-4)
    assert any("relative" in note for note in report.notes) == (kind != "metric_m")


def test_classes_are_matched_by_name_not_by_number(dataset: Dataset) -> None:
    def shuffled(found: Segmentation) -> Segmentation:
        names = found.semantic.names
        other = (names[0], "sofa", *names[:0:-1])
        table = np.array([other.index(name) for name in names], dtype=np.uint8)
        return Segmentation(found.masks, SemanticMap(table[found.semantic.ids], other))

    totals = judged(dataset, found=shuffled).totals["semantic"]
    assert totals["mean_iou"] == totals["pixel_accuracy"] == 1


def test_classes_that_the_predictor_lacks_are_named_and_count_as_other(dataset: Dataset) -> None:
    def only_objects(found: Segmentation) -> Segmentation:
        names = found.semantic.names
        ids = (found.semantic.ids == names.index("object")).astype(np.uint8)
        return Segmentation(found.masks, SemanticMap(ids, ("unknown", "object")))

    report = judged(dataset, found=only_objects, kinds=("semantic",))
    assert report.totals["semantic"] == {
        "mean_iou": 1,
        "pixel_accuracy": 1,
        "iou/object": 1,
    }
    assert "floor, wall, person" in report.notes[0]


def test_class_lists_without_a_common_name_are_both_listed(dataset: Dataset) -> None:
    def foreign(found: Segmentation) -> Segmentation:
        ids = np.minimum(found.semantic.ids, 1)
        return Segmentation(found.masks, SemanticMap(ids, ("unknown", "zebra")))

    with pytest.raises(ClassListError, match=r"\(zebra\) .* \(floor, wall"):
        judged(dataset, found=foreign)
    assert "disparity" in judged(dataset, found=foreign, kinds=("disparity", "masks")).totals


def test_half_of_the_masks_is_half_of_the_recall(dataset: Dataset) -> None:
    def every_second(found: Segmentation) -> Segmentation:
        return Segmentation(found.masks.select(range(0, len(found.masks), 2)), found.semantic)

    true = [len(sample.masks) for sample in dataset]
    kept = sum((count + 1) // 2 for count in true)
    totals = judged(dataset, found=every_second).totals
    assert totals["masks"]["recall"] == pytest.approx(kept / sum(true))
    assert totals["masks"]["mean_iou"] == pytest.approx(kept / sum(true))
    assert totals["masks"]["boundary_f"] == pytest.approx(kept / sum(true))
    assert totals["masks"]["precision"] == 1
    assert totals["objects"]["missed"] == pytest.approx(1 - kept / sum(true))


def test_labels_that_are_all_wrong_leave_masks_without(dataset: Dataset) -> None:
    def nameless(found: Segmentation) -> Segmentation:
        masks = replace(found.masks, labels=("thing",) * len(found.masks))
        return Segmentation(masks, None)

    report = judged(dataset, found=nameless)
    assert report.totals["masks"]["ap"] == 1
    assert "ap_labels" not in report.totals["masks"]
    assert any("whatever they are called" in note for note in report.notes)


def test_one_wrong_label_lowers_only_what_asks_for_labels(dataset: Dataset) -> None:
    def all_persons(found: Segmentation) -> Segmentation:
        return Segmentation(replace(found.masks, labels=("person",) * len(found.masks)), None)

    totals = judged(dataset, found=all_persons).totals["masks"]
    assert totals["ap"] == 1
    assert totals["ap_labels"] < 1


def test_objects_by_hand() -> None:
    masks = np.zeros((3, 20, 30), dtype=bool)
    for i in range(3):
        masks[i, 2:18, 10 * i + 1 : 10 * i + 9] = True
    depth_m = np.full((20, 30), 2.0, dtype=np.float32)
    depth_m[:, 20:] = 4.0
    truth = MaskSet.from_dense(masks)
    prediction = Prediction(masks=truth.select([0, 2]), sure=(0, 1), distances_m=(2.06, np.nan))
    found = judge_objects(truth, depth_m, prediction)
    assert [(one.true_m, one.found) for one in found] == [(2, True), (2, False), (4, True)]
    scores = object_scores(found, np.ones(3))
    assert scores["median_error"] == pytest.approx(0.03)
    assert [scores[f"within_{n}"] for n in (2, 5, 10)] == pytest.approx([0, 1 / 3, 1 / 3])
    assert (scores["missed"], scores["unmeasured"]) == pytest.approx((1 / 3, 1 / 3))
    # The missed one twice, the measured one not at all.
    again = object_scores(found, np.array([0.0, 2.0, 1.0]))
    assert again["missed"] == pytest.approx(2 / 3)
    assert np.isnan(again["median_error"])
    # Objects of unknown depth have no true distance.
    depth_m[:, :10] = np.nan
    assert len(judge_objects(truth, depth_m, prediction)) == 2


def changed(dataset: Dataset, **values: object) -> Listed:
    return Listed([replace(sample, **values) for sample in dataset], dataset.classes)


def test_pixels_that_both_cameras_see_are_judged_apart(dataset: Dataset) -> None:
    left = np.zeros((HEIGHT, WIDTH), dtype=bool)
    left[:, : WIDTH // 2] = True
    seen = changed(dataset, visible=left)

    def right_is_wrong(px: np.ndarray) -> np.ndarray:
        return px + np.where(left, 0, 4).astype(np.float32)

    totals = judged(seen, disparity=right_is_wrong, kinds=("disparity",)).totals
    assert totals["disparity_visible"]["bad_3"] == 0
    assert 0.3 < totals["disparity"]["bad_3"] < 0.7


def test_weights_count_only_where_asked(dataset: Dataset) -> None:
    left = np.zeros((HEIGHT, WIDTH), dtype=np.float32)
    left[:, : WIDTH // 2] = 1
    trusted = changed(dataset, weight=left)

    def right_is_wrong(px: np.ndarray) -> np.ndarray:
        return px + 4 * (1 - left)

    pipeline = pipeline_of(Knowing(trusted, disparity=right_is_wrong), masks=False)
    plain = evaluate_dataset(pipeline, trusted)
    options = EvaluationOptions(judge=JudgeOptions(weighted=True))
    weighted = evaluate_dataset(pipeline, trusted, options=options)
    assert plain.totals["disparity"]["epe_px"] > 1
    assert weighted.totals["disparity"]["epe_px"] == pytest.approx(0, abs=1e-6)
    assert weighted.totals["stereo_depth"]["abs_rel"] == pytest.approx(0, abs=1e-6)
    assert any("weight" in note for note in weighted.notes)


class Failing(Knowing):
    """Fails on some frames."""

    bad: Sequence[str] = ()

    def match(self, frame: StereoFrame) -> object:
        if frame.name in self.bad:
            raise InputError(f"{frame.name}: no idea.")
        return super().match(frame)


def test_frames_that_fail_are_named_and_the_others_go_on(dataset: Dataset) -> None:
    knowing = Failing(dataset)
    knowing.bad = dataset.names[1:2]
    report = evaluate_dataset(pipeline_of(knowing), dataset)
    assert report.failed == {dataset.names[1]: f"{dataset.names[1]}: no idea."}
    assert len(report.frames) == len(dataset) - 1
    knowing.bad = dataset.names
    with pytest.raises(RangemaskError, match=r"all 4 frames failed.*no idea"):
        evaluate_dataset(pipeline_of(knowing), dataset)


def test_sizes_that_differ_are_said(dataset: Dataset) -> None:
    class Small:
        name, kinds, labels, trained_on = "small", frozenset({"disparity"}), None, frozenset()

        def __call__(self, _: StereoFrame) -> Prediction:
            return Prediction(disparity=np.ones((4, 5), dtype=np.float32))

    with pytest.raises(RangemaskError, match=r"\(84, 112\), the prediction \(4, 5\)"):
        evaluate_dataset(Small(), dataset)


def test_nothing_that_the_predictor_says_is_labelled(dataset: Dataset) -> None:
    masks_only = changed(dataset, disparity=None, weight=None, semantic=None)
    pipeline = pipeline_of(Knowing(dataset), masks=False)
    with pytest.raises(InputError, match=r"frames have masks, and truth says disparity"):
        evaluate_dataset(pipeline, masks_only)
    bare = changed(dataset, disparity=None, weight=None, semantic=None, masks=None)
    with pytest.raises(InputError, match="no labels that can be measured"):
        evaluate_dataset(pipeline, bare)


def test_interrupted_it_reports_what_was_done(dataset: Dataset) -> None:
    def impatient(indices: Sequence[int]) -> Iterator[int]:
        yield from indices[:2]
        raise KeyboardInterrupt

    def at_once(_: Sequence[int]) -> Iterator[int]:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        evaluate_dataset(pipeline_of(Knowing(dataset)), dataset, progress=at_once)
    report = evaluate_dataset(pipeline_of(Knowing(dataset)), dataset, progress=impatient)
    assert report.stopped
    assert len(report.frames) == 2
    assert report.totals["disparity"]["epe_px"] == 0


def test_who_looks_for_no_objects_is_not_judged_by_them(dataset: Dataset, tmp_path: Path) -> None:
    pipeline = pipeline_of(Knowing(dataset), masks=False)
    kinds = {"disparity", "stereo_depth"}
    assert set(evaluate_dataset(pipeline, dataset).totals) == {*kinds, "time"}
    for sample in dataset:
        pipeline(sample.frame).save(tmp_path)
    assert set(evaluate_dataset(tmp_path, dataset).totals) == kinds


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (lambda: EvaluationOptions(limit=0), "at least one frame, got 0"),
        (lambda: JudgeOptions(kinds=("deth",)), "some of disparity, depth.*got deth"),
        (lambda: JudgeOptions(kinds=()), "got nothing"),
        (lambda: JudgeOptions(min_depth_m=3, max_depth_m=2), "min_depth < max_depth, got 3, 2"),
    ],
)
def test_impossible_options_speak(options: object, words: str) -> None:
    with pytest.raises(InputError, match=words):
        options()


def test_a_limit_spreads_the_frames(dataset: Dataset) -> None:
    pipeline = pipeline_of(Knowing(dataset))
    report = evaluate_dataset(pipeline, dataset, options=EvaluationOptions(limit=2))
    assert [frame.name for frame in report.frames] == [dataset.names[0], dataset.names[-1]]


def test_saved_scenes_are_matched_by_name(dataset: Dataset, tmp_path: Path) -> None:
    pipeline = pipeline_of(Knowing(dataset, disparity=lambda px: px + 1))
    for sample in list(dataset)[:3]:
        pipeline(sample.frame).save(tmp_path)
    report = evaluate_dataset(tmp_path, dataset)
    assert report.not_predicted == dataset.names[3:]
    assert report.totals["disparity"]["epe_px"] == pytest.approx(1, abs=1e-5)
    assert report.totals["masks"]["ap_labels"] == 1
    assert "time" not in report.totals
    assert json.loads(json.dumps(report.to_dict(), allow_nan=False))["format_version"] == 1
    with pytest.raises(InputError, match=r"no saved scene has the name.*scene00000.*scene00003"):
        evaluate_dataset(tmp_path, Listed([dataset[3]]))


def test_saved_scenes_of_other_pictures_are_refused(dataset: Dataset, tmp_path: Path) -> None:
    sample: Sample = dataset[0]
    pipeline_of(Knowing(dataset))(sample.frame).save(tmp_path)
    scenes = SavedScenes(name="saved", folders={sample.name: tmp_path / sample.name})
    darker = replace(sample.frame, left=sample.frame.left // 2)
    with pytest.raises(InputError, match="shows another picture"):
        scenes(darker)
    cut = StereoFrame(sample.frame.left[:40].copy(), name=sample.name)
    with pytest.raises(InputError, match=r"112 x 84 px, the data set's frame 112 x 40"):
        scenes(cut)
    with pytest.raises(InputError, match="no scene was saved"):
        scenes(replace(sample.frame, name="other"))


def test_frames_that_were_learnt_from_are_told_and_can_be_left_out(dataset: Dataset) -> None:
    first, *others = dataset.names
    learnt = replace(as_predictor(pipeline_of(Knowing(dataset))), trained_on=frozenset({first}))
    assert "1 of 4 frames have names" in evaluate_dataset(learnt, dataset).notes[0]
    options = EvaluationOptions(held_out=True)
    report = evaluate_dataset(learnt, dataset, options=options)
    assert [frame.name for frame in report.frames] == others
    assert not report.notes
    everything = replace(learnt, trained_on=frozenset(dataset.names))
    with pytest.raises(InputError, match="none is held out"):
        evaluate_dataset(everything, dataset, options=options)


def test_one_image_is_judged_by_what_can_be_said_of_it(dataset: Dataset) -> None:
    """Of frames without a right image a matcher says nothing, and masks are found all the same."""
    single = Listed(
        [replace(one, frame=replace(one.frame, right=None), disparity=None) for one in dataset],
        dataset.classes,
    )
    stereo = pipeline_of(Knowing(dataset))
    assert set(evaluate_dataset(stereo, single).totals) == {"semantic", "masks", "time"}
    both = pipeline_of(Knowing(dataset), depth=True)
    known = Listed([replace(one, depth=DepthMap(values=true_depth_m(one))) for one in dataset])
    alone = Listed([replace(one, frame=replace(one.frame, right=None)) for one in known])
    found = evaluate_dataset(both, alone).totals
    assert "disparity" not in found
    assert found["depth"]["abs_rel"] == 0
    assert found["objects"]["missed"] == 0


def test_images_that_have_to_be_rectified_first_are_refused(dataset: Dataset) -> None:
    sample = dataset[0]
    lens = replace(sample.frame.rig.left, distortion=(0.1, 0.0, 0.0, 0.0))
    frame = replace(sample.frame, rig=replace(sample.frame.rig, left=lens, right=lens))
    raw = Listed([replace(sample, frame=frame)], dataset.classes)

    class Blank(Knowing):
        def match(self, frame: StereoFrame) -> object:
            self.change_disparity = lambda _: np.full(frame.left.shape[:2], 4.0)
            return super().match(frame)

    with pytest.raises(RangemaskError, match="is not rectified"):
        evaluate_dataset(pipeline_of(Blank(dataset), masks=False), raw)
