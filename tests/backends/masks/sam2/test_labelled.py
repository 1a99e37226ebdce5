"""Things by their names, through any detector."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import rangemask
from rangemask.backends.masks.sam2 import Sam2MasksConfig, Sam2Segmenter, segmenter
from rangemask.backends.protocols import Detections, Segmenter, TextDetector
from rangemask.errors import InputError, UnknownNameError
from rangemask.structures import StereoFrame
from support.sam2 import NANO, PASSPORT, FixedDetector, nano_sam2, picture, tiny_detector

CHAIR, LAMP = [5.0, 5.0, 40.0, 40.0], [30.0, 20.0, 85.0, 55.0]


@pytest.fixture(scope="module")
def network() -> Any:
    return nano_sam2()


@pytest.fixture
def frame() -> StereoFrame:
    return StereoFrame(picture(60, 90))


def made(network: Any, detector: Any, **options: Any) -> Sam2Segmenter:
    return Sam2Segmenter(network, PASSPORT, Sam2MasksConfig(**options), detector)


def test_label_and_score_travel_with_the_mask(network: Any, frame: StereoFrame) -> None:
    detector = FixedDetector([("chair", 0.5, CHAIR), ("lamp", 0.9, LAMP)])
    found: Segmenter = made(network, detector, nms_iou=1.0, min_region_px=0)
    result = found(frame, labels=["lamp", "chair", "dog"])
    assert detector.asked == [("lamp", "chair", "dog")]
    assert result.labels == ("lamp", "chair")
    encoded = made(network, detector).encode(frame.left)
    alone = encoded.predict(boxes=[LAMP, CHAIR])
    np.testing.assert_array_equal(result.masks.dense(), alone.masks[:, 0])
    np.testing.assert_allclose(
        result.scores, [0.9 * alone.iou[0, 0], 0.5 * alone.iou[1, 0]], rtol=1e-5
    )


def test_of_one_thing_with_two_names_the_surer_remains(network: Any, frame: StereoFrame) -> None:
    box = [5.5, 5.0, 40.0, 40.0]
    detector = FixedDetector([("stool", 0.4, CHAIR), ("chair", 0.6, box), ("stool", 0.1, CHAIR)])
    result = made(network, detector)(frame, labels=["stool", "chair"])
    assert result.labels == ("chair",)


def test_boxes_may_reach_over_the_border(network: Any, frame: StereoFrame) -> None:
    detector = FixedDetector(
        [("a", 0.9, [-20, -5, 100, 70]), ("b", 0.9, [95, 10, 120, 40]), ("c", 0.9, [5, 5, 5, 9])]
    )
    result = made(network, detector)(frame, labels=["a", "b", "c"])
    assert result.labels == ("a",)


def test_nothing_found_is_nothing(network: Any, frame: StereoFrame) -> None:
    result = made(network, FixedDetector([]))(frame, labels=["dog"])
    assert len(result) == 0
    assert (result.masks.height, result.masks.width) == (60, 90)


def test_most_masks_hold_for_names_too(network: Any, frame: StereoFrame) -> None:
    detector = FixedDetector([("chair", 0.5, CHAIR), ("lamp", 0.9, LAMP)])
    result = made(network, detector, max_masks=1, nms_iou=1.0)(frame, labels=["lamp", "chair"])
    assert result.labels == ("lamp",)


def test_the_detector_is_made_when_names_are_asked(network: Any, frame: StereoFrame) -> None:
    detector = FixedDetector([("chair", 0.5, CHAIR)])
    calls: list[int] = []

    def make() -> TextDetector:
        calls.append(1)
        return detector

    found = made(network, make, points_per_side=2)
    found(frame)
    found(frame, labels=["object"])
    found.prepare()
    assert calls == []
    assert found.passport == PASSPORT
    found.prepare(["chair"])
    assert calls == [1]
    found(frame, labels=["chair"])
    found(frame, labels=["chair"])
    assert calls == [1]
    passport = found.passport
    assert passport.model == NANO
    assert passport.licence == "Apache-2.0, CC-BY-NC-4.0"
    assert passport.licence_class == "research-only"
    assert passport.options["detector"] == "fixed"
    assert passport.options["detector_sha256"] == "ab" * 32
    assert passport.options["detector_box_threshold"] == 0.3


@pytest.mark.parametrize("labels", [[], "chair", ()])
def test_labels_must_be_a_list_of_names(network: Any, frame: StereoFrame, labels: Any) -> None:
    found = made(network, FixedDetector([]))
    with pytest.raises(InputError, match="labels must be a list of names"):
        found(frame, labels=labels)


def test_without_a_detector_names_are_refused(network: Any, frame: StereoFrame) -> None:
    with pytest.raises(InputError, match="made without a detector and knows no names"):
        made(network, None)(frame, labels=["chair"])


@pytest.mark.parametrize(
    ("boxes", "labels", "scores"),
    [
        (np.zeros((1, 4)), ("a", "b"), np.zeros(2)),
        (np.zeros((2, 3)), ("a", "b"), np.zeros(2)),
        (np.zeros((1, 4)), ("a",), np.zeros((1, 1))),
    ],
)
def test_detections_belong_together(boxes: Any, labels: Any, scores: Any) -> None:
    with pytest.raises(InputError, match=r"one box \(left, top, right, bottom\), label and score"):
        Detections(boxes, labels, scores)


# By name, as users load it

Load = Callable[..., Any]


@pytest.fixture
def load(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, network: Any) -> Load:
    """``load_masks("sam2.1-tiny")`` with the nano network for the tiny one."""
    file = tmp_path / "sam2.1_hiera_tiny.pt"
    file.write_bytes(b"weights")
    monkeypatch.setattr(segmenter, "load_sam2", lambda *_, **__: (network, file))

    def load(**options: Any) -> Any:
        return rangemask.load_masks("sam2.1-tiny", checkpoint=file, device="cpu", **options)

    return load


def test_the_whole_path_runs_offline(load: Load, tmp_path: Path, frame: StereoFrame) -> None:
    folder = tiny_detector(tmp_path / "dino")
    found = load(detector=f"grounding-dino-tiny:{folder}", box_threshold=0.0, max_masks=3)
    result = found(frame, labels=["Traffic light", "dog"])
    assert 0 < len(result) <= 3
    assert set(result.labels) <= {"Traffic light", "dog"}
    passport = found.passport
    assert passport.options["detector"] == "grounding-dino-tiny"
    assert passport.options["detector_weights"] == "model.safetensors"
    assert len(str(passport.options["detector_sha256"])) == 64
    assert passport.options["detector_box_threshold"] == 0.0
    assert passport.licence == "Apache-2.0"
    assert passport.licence_class == "commercial-ok"
    other = load(detector_checkpoint=str(folder), box_threshold=1.0)
    assert len(other(frame, labels=["dog"])) == 0


def test_a_scene_names_both_models(load: Load, tmp_path: Path, frame: StereoFrame) -> None:
    folder = tiny_detector(tmp_path / "dino")
    masks = load(detector_checkpoint=str(folder), box_threshold=0.0, max_masks=2)
    pipeline = rangemask.Pipeline(stereo="sgbm", masks=masks, labels=["person"])
    scene = pipeline(StereoFrame(frame.left, frame.left))
    (_, passport) = scene.provenance.models
    assert passport.model == "sam2.1-tiny"
    assert passport.options["detector"] == "grounding-dino-tiny"
    assert {thing.label for thing in scene.objects} == {"person"}


def test_impossible_names_of_options_are_refused(load: Load, frame: StereoFrame) -> None:
    with pytest.raises(InputError, match=r"sam2\.1-tiny has no option 'points'"):
        load(points=3)
    with pytest.raises(UnknownNameError, match=r"no text model 'yolo'; known: grounding-dino-tiny"):
        load(detector="yolo")(frame, labels=["dog"])
    with pytest.raises(InputError, match=r"box_threshold must be in \[0, 1\], got 3"):
        load(box_threshold=3, detector_checkpoint="nowhere")(frame, labels=["dog"])
    with pytest.raises(InputError, match="no such checkpoint"):
        load(detector_checkpoint="nowhere")(frame, labels=["dog"])
