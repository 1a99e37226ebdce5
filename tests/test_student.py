"""The student path: one network in all roles, frames in, scenes out."""

import logging
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch

import rangemask as rm
from rangemask.backends.depth.student import StudentDepth
from rangemask.backends.masks.prompting import stack_points
from rangemask.backends.masks.student import StudentMasksConfig, StudentSegmenter
from rangemask.backends.stereo.student import StudentMatcher
from rangemask.backends.student import Student, StudentConfig, network_size
from rangemask.errors import InputError
from rangemask.models.config import RangeMaskConfig
from rangemask.models.depth_anything import canonical_depth_anything
from rangemask.models.rangemask import RangeMask, build_rangemask
from rangemask.models.weights import sha256_of
from rangemask.structures import StereoFrame
from support.golden import case_id, cases, filled_weights, relative_error
from support.students import nano_student, saved_student


@pytest.fixture(scope="module")
def student() -> RangeMask:
    return nano_student()


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved_student(tmp_path_factory.mktemp("students") / "all")


def count_passes(network: RangeMask) -> list[int]:
    seen: list[int] = []
    network.backbone.vit.patch_embed.proj.register_forward_hook(
        lambda _module, given, _result: seen.append(len(given[0]))
    )
    return seen


def test_a_pair_becomes_a_scene_in_one_pass(frame: StereoFrame) -> None:
    network = nano_student()
    passes = count_passes(network)
    scene = network.predict(frame)
    assert passes == [2]
    assert scene.disparity is not None
    assert scene.disparity.shape == (48, 64)
    assert scene.depth is not None
    known = np.isfinite(scene.depth)
    expected = 60 * 0.1 / (scene.disparity[known] + 2.0)
    np.testing.assert_allclose(scene.depth[known], expected, rtol=1e-4)
    assert scene.objects
    assert {thing.label for thing in scene.objects} <= {"person", "chair"}
    assert scene.semantic is not None
    assert scene.semantic.names == ("unknown", "person", "chair")
    assert [model.role for model in scene.provenance.models] == ["stereo", "masks"]


def test_one_image_with_a_metric_head_is_in_metres(frame: StereoFrame) -> None:
    network = nano_student()
    passes = count_passes(network)
    scene = network.predict(StereoFrame(frame.left, rig=frame.rig))
    assert passes == [1]
    assert scene.disparity is None
    assert scene.depth is not None
    assert 0 < np.nanmin(scene.depth) <= np.nanmax(scene.depth) <= 10
    assert [model.role for model in scene.provenance.models] == ["depth", "masks"]


def test_a_relative_head_says_that_it_is_relative(
    frame: StereoFrame, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        scene = nano_student(("depth", "masks"), max_depth_m=None).predict(frame)
    assert "relative" in caplog.text
    assert scene.depth is None
    assert scene.relative_depth is not None
    assert not any(thing.distance.known for thing in scene.objects)


def test_what_no_head_can_measure_is_refused(frame: StereoFrame) -> None:
    single = StereoFrame(frame.left)
    with pytest.raises(InputError, match="one image needs a depth model"):
        nano_student(("stereo", "masks")).predict(single)
    with pytest.raises(InputError, match=r"no depth head, so it cannot be a depth model"):
        nano_student(("masks",)).predict(single)


def test_roles_of_one_pipeline_share_the_network(folder: Path, frame: StereoFrame) -> None:
    name = f"student:{folder}"
    pipeline = rm.Pipeline(stereo=name, masks=name)
    assert isinstance(pipeline.stereo, StudentMatcher)
    assert isinstance(pipeline.masks, StudentSegmenter)
    assert pipeline.stereo.student is pipeline.masks.student
    passes = count_passes(pipeline.stereo.student.network)
    first = pipeline(frame)
    assert passes == [2]
    other = StereoFrame(frame.right, frame.left, frame.rig, "other")
    pipeline(other)
    assert passes == [2, 2]
    again = pipeline(frame)
    np.testing.assert_array_equal(first.disparity, again.disparity)
    (passport, _) = first.provenance.models
    assert passport.model == "student"
    assert passport.weights == "all"
    assert len(passport.weights_sha256 or "") == 64
    assert passport.licence_class == "unknown"


def test_a_student_goes_with_other_models(folder: Path, frame: StereoFrame) -> None:
    scene = rm.Pipeline(stereo="sgbm", masks=f"student:{folder}")(frame)
    assert [model.model for model in scene.provenance.models] == ["sgbm", "student"]


def test_each_role_can_be_loaded(folder: Path, frame: StereoFrame) -> None:
    match = rm.load_stereo(f"student:{folder}", device="cpu")(frame)
    assert match.disparity.shape == (48, 64)
    assert not match.filled.any()
    beyond = np.arange(64) < np.nan_to_num(match.disparity, nan=0)
    np.testing.assert_array_equal(match.occluded, beyond)
    depth = rm.load_depth("student", checkpoint=folder, device="cpu")(frame)
    assert depth.kind == "metric_m"
    found = rm.load_masks(f"student:{folder}", min_score=0.0, max_instances=3)(frame)
    assert 0 < len(found.masks) <= 3


def test_disparity_scales_with_the_width(folder: Path, frame: StereoFrame) -> None:
    """The same network input, shown at twice the size: twice the pixels."""
    small = rm.load_stereo(f"student:{folder}", input_size_px=56)
    double = [np.repeat(np.repeat(x, 2, 0), 2, 1) for x in (frame.left, frame.right)]
    large = small(StereoFrame(*double)).disparity
    once = small(frame).disparity
    assert once.shape == (48, 64)
    assert np.nanmedian(large) == pytest.approx(2 * np.nanmedian(once), rel=0.05)


def test_labels_select_classes(folder: Path, frame: StereoFrame) -> None:
    masks = rm.load_masks(f"student:{folder}", min_score=0.0)
    every = masks(frame).labels
    persons = masks(frame, labels=["person"]).labels
    assert set(persons) <= {"person"}
    assert len(persons) == every.count("person")
    with pytest.raises(InputError, match="does not know dog; it knows person, chair"):
        masks(frame, labels=["dog"])


def test_points_boxes_and_masks_are_answered(student: RangeMask, frame: StereoFrame) -> None:
    segmenter = StudentSegmenter(Student(student))
    passes = count_passes(student)
    encoded = segmenter.encode(frame.left)
    assert passes == [1]
    answer = encoded.predict(
        points=[[(10, 12)], [(30, 20), (40, 25)]], point_labels=[[1], [1, 0]], multimask=True
    )
    assert answer.masks.shape == (2, 3, 48, 64)
    assert answer.masks.dtype == bool
    assert answer.iou.shape == (2, 3)
    assert answer.low_res_logits.shape[:2] == (2, 3)
    one = encoded.predict(points=[[(10, 12)]], multimask=True)
    np.testing.assert_allclose(one.iou[0], answer.iou[0], rtol=1e-3)
    boxed = encoded.predict(
        boxes=[(5, 5, 30, 30)], mask_input=answer.low_res_logits[:1, :1], multimask=False
    )
    assert boxed.masks.shape == (1, 1, 48, 64)
    many = encoded.masks_at([(10, 12), (30, 20), (63, 47)])
    assert many.shape == (3, 48, 64)
    assert passes == [1]  # encoded once, asked four times


@pytest.mark.parametrize(
    ("asked", "words"),
    [
        ({}, "nothing|give"),
        ({"points": []}, "point|prompt"),
        ({"points": [[(64, 10)]]}, "outside"),
        ({"points": [[(-1, 10)]]}, "outside"),
        ({"points": [[(np.nan, 10)]]}, "NaN|finite"),
        ({"points": [(3, 4, 5)]}, r"list of \(x, y\)"),
        ({"points": "here"}, r"list of \(x, y\)"),
        ({"points": [[(3, 4)]], "point_labels": [[1, 0]]}, "one label per point"),
        ({"points": [[(3, 4)]], "point_labels": [[7]]}, "label"),
        ({"points": [[(3, 4)]], "point_labels": [1, 1]}, "one label per point"),
        ({"points": [[(3, 4)]], "point_labels": [["a"]]}, "point_labels must be"),
        ({"points": [[(3, 4)]], "point_labels": [[0.9]]}, "whole numbers"),
        ({"points": [[3, 4, 5, 6]]}, r"list of \(x, y\)"),
        ({"boxes": [(1, 2, 3, 4), (1, 2)]}, r"boxes must be \(P, 4\)"),
        ({"mask_input": [[1, 2], [3]]}, r"mask_input must be"),
        ({"boxes": [(30, 5, 10, 20)]}, "box"),
        ({"boxes": [(3, 5, 10)]}, "box"),
        ({"boxes": [(3, 5, 10, 99)]}, "outside"),
        ({"mask_input": np.full((1, 8, 8), np.nan)}, "NaN"),
    ],
)
def test_bad_prompts_are_refused(
    student: RangeMask, frame: StereoFrame, asked: dict, words: str
) -> None:
    encoded = StudentSegmenter(Student(student)).encode(frame.left)
    with pytest.raises(InputError, match=words):
        encoded.predict(**asked)
    with pytest.raises(InputError):
        encoded.masks_at([])


def test_padding_points_do_not_count() -> None:
    points, labels = stack_points([[(1, 2)], [(3, 4), (5, 6)]], None)
    assert points.shape == (2, 2, 2)
    assert labels.tolist() == [[1, -10], [1, 1]]


def test_heads_that_are_not_there_are_named(frame: StereoFrame) -> None:
    depth_only = Student(nano_student(("depth",)))
    with pytest.raises(InputError, match="no stereo head, so it cannot be a stereo model"):
        StudentMatcher(depth_only)
    with pytest.raises(InputError, match="no masks or semantic head"):
        StudentSegmenter(depth_only)
    prompts_only = StudentSegmenter(Student(nano_student(("prompts",))))
    with pytest.raises(InputError, match="finds nothing by itself"):
        prompts_only(frame)
    with pytest.raises(InputError, match="cannot be prompted"):
        StudentSegmenter(Student(nano_student(("masks",)))).encode(frame.left)


def test_a_semantic_student_gives_classes_and_no_objects(frame: StereoFrame) -> None:
    found = StudentSegmenter(Student(nano_student(("semantic",))))(frame)
    assert len(found.masks) == 0
    assert found.semantic is not None
    assert found.semantic.ids.shape == (48, 64)


def test_classes_of_the_semantic_head_can_be_asked_for(frame: StereoFrame) -> None:
    masks = StudentSegmenter(Student(nano_student(("semantic",))))
    assert masks(frame, labels=["person"]).semantic is not None
    with pytest.raises(InputError, match="does not know dog; it knows person, chair"):
        masks(frame, labels=["dog"])


SMALL_CASES = [path for path in cases("depth_anything_v2") if "vits" in path.stem]


@pytest.mark.parametrize("path", SMALL_CASES, ids=case_id)
def test_depth_anything_in_a_student_gives_its_published_depth(path: Path) -> None:
    """Not only the network: resizing to it and back is the published one, too."""
    with np.load(path) as arrays:
        case = dict(arrays)
    farthest_m = float(case["metric_max_depth"]) or None
    config = RangeMaskConfig.preset("small", ["depth"], max_depth_m=farthest_m)
    network = build_rangemask(config)
    weights = filled_weights("depth_anything_v2", "vits", int(case["seed"]))
    weights["depth_head.scratch.output_conv2.2.bias"].fill_(0.5)
    network.load_state_dict(dict(canonical_depth_anything(weights)))
    found = StudentDepth(Student(network))(StereoFrame(case["image_rgb"])).values
    step = int(case.get("depth_step", 1))
    assert relative_error(found[::step, ::step], case["depth"]) < 1e-4


def test_predicting_leaves_a_model_in_training_as_it_was(frame: StereoFrame) -> None:
    network = nano_student(("depth", "semantic")).train()
    before = {name: value.clone() for name, value in network.state_dict().items()}
    network.predict(frame)
    assert network.training
    for name, value in network.state_dict().items():
        assert torch.equal(value, before[name]), name


def test_a_role_that_joins_late_gets_its_answer(frame: StereoFrame) -> None:
    student = Student(nano_student(("depth", "masks", "prompts")))
    StudentDepth(student)(frame)
    assert len(StudentSegmenter(student)(frame).masks) > 0
    assert student.look(frame, StudentConfig()).prompts is None, "nobody reads it"


def test_a_pair_without_a_rig_is_in_metres_by_the_depth_head(frame: StereoFrame) -> None:
    pair = StereoFrame(frame.left, frame.right)
    scene = nano_student(("depth", "stereo", "masks")).predict(pair)
    assert scene.depth is not None
    assert scene.disparity is None
    relative = nano_student(("depth", "stereo", "masks"), max_depth_m=None).predict(pair)
    assert relative.disparity is not None


def test_strips_are_refused() -> None:
    strip = np.zeros((4, 100, 3), dtype=np.uint8)
    student = Student(nano_student(("depth", "masks", "prompts")))
    with pytest.raises(InputError, match="16 times as long as wide, got 100 x 4"):
        StudentDepth(student)(StereoFrame(strip))
    with pytest.raises(InputError, match="16 times as long as wide"):
        StudentSegmenter(student).encode(strip)


def test_tiny_frames_work() -> None:
    """Masks are larger than the frame then."""
    tiny = StereoFrame(np.random.default_rng(0).integers(0, 256, (9, 13, 3), dtype=np.uint8))
    scene = nano_student().predict(tiny)
    assert scene.objects


def test_the_hash_is_that_of_what_was_loaded(tmp_path: Path, frame: StereoFrame) -> None:
    folder = saved_student(tmp_path / "one")
    expected = sha256_of(folder / "model.safetensors")
    matcher = rm.load_stereo(f"student:{folder / 'model.safetensors'}")
    shutil.rmtree(folder)
    assert matcher.passport.weights == "one"
    assert matcher.passport.weights_sha256 == expected
    assert matcher(frame).disparity.shape == (48, 64)


def test_a_stereo_matcher_needs_two_images(student: RangeMask, frame: StereoFrame) -> None:
    with pytest.raises(InputError, match="needs a right image"):
        StudentMatcher(Student(student))(StereoFrame(frame.left))


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"input_size_px": 0}, "must be positive"),
        ({"speed": 1}, "has no option 'speed'"),
        ({"min_score": 2.0}, r"min_score must be in \[0, 1\]"),
        ({"max_instances": 0}, "at least 1"),
    ],
)
def test_bad_options_are_refused(folder: Path, options: dict[str, float], words: str) -> None:
    with pytest.raises(InputError, match=words):
        rm.load_masks(f"student:{folder}", **options)


def test_students_are_asked_for_with_their_folder(tmp_path: Path, folder: Path) -> None:
    with pytest.raises(InputError, match="student:PATH"):
        rm.load_stereo("student")
    with pytest.raises(InputError, match="no such folder"):
        rm.load_stereo(f"student:{tmp_path / 'nothing'}")
    with pytest.raises(InputError, match="names its checkpoint"):
        rm.load_stereo(f"student:{folder}", checkpoint=folder)


def test_network_sizes_keep_the_aspect() -> None:
    config = nano_student(("depth",)).config
    assert network_size(config, 480, 640, StudentConfig(input_size_px=518)) == (518, 686)
    with_stereo = nano_student(("stereo",)).config
    assert network_size(with_stereo, 480, 640, StudentConfig(input_size_px=518)) == (504, 700)
    assert network_size(config, 5, 500, StudentConfig())[0] == 224


def test_fusion_can_be_left_out(frame: StereoFrame) -> None:
    network = nano_student()
    assert network.fusion is not None
    assert network.fusion.map_change is not None
    torch.nn.init.normal_(network.fusion.map_change.weight)
    fused = StudentMatcher(Student(network))(frame).disparity
    plain = StudentMatcher(Student(network), StudentConfig(fusion=False))(frame).disparity
    assert not np.allclose(fused, plain, equal_nan=True)
    masks = StudentMasksConfig(fusion=False)
    assert StudentSegmenter(Student(network), masks).passport.options["fusion"] is False


def test_the_page_runs(frame: StereoFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The snippet of docs/student.md, with Depth Anything V2 as its authors distribute it."""
    page = Path(__file__).resolve().parents[1] / "docs" / "student.md"
    (snippet,) = re.findall(r"```python\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    monkeypatch.chdir(tmp_path)
    torch.save(filled_weights("depth_anything_v2", "vits"), "depth_anything_v2_vits.pth")
    known = {"frame": frame}
    exec(compile(snippet, str(page), "exec"), known)  # noqa: S102 - our own page
    scene = known["scene"]
    assert scene.relative_depth is not None
    assert scene.provenance.licence_class == "commercial-ok"
    assert (tmp_path / "runs" / "start" / "README.md").is_file()
