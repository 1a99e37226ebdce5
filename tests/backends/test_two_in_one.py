"""A two-in-one network in its roles: as a depth model, as a matcher, in a pipeline."""

import json
import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

import rangemask as rm
from rangemask.backends.depth.two_in_one import TwoInOneDepth, TwoInOneDepthConfig
from rangemask.backends.stereo.two_in_one import TwoInOneMatcher
from rangemask.backends.two_in_one import (
    TwoInOneOptions,
    TwoInOneStudent,
    confidence_of,
    image_batch,
    network_size,
)
from rangemask.cli.main import app
from rangemask.errors import InputError
from rangemask.evaluation.opening import open_predictor
from rangemask.models.two_in_one import (
    TwoInOne,
    TwoInOneConfig,
    flipped_depth,
    read_logits,
    save_two_in_one,
)
from rangemask.models.two_in_one.levels import disparity_levels
from rangemask.structures.images import write_image
from support.two_in_one import tiny_network

FULL = (64, 96)
D2D, FOCAL_PX, BASELINE_M = 30.0, 100.0, 0.3


def network(**options: Any) -> TwoInOne:
    return tiny_network(full_size=FULL, d2d=D2D, focal_px=FOCAL_PX, **options).eval()


@pytest.fixture(scope="module")
def student() -> TwoInOneStudent:
    return TwoInOneStudent(network())


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return save_two_in_one(network(), tmp_path_factory.mktemp("two") / "in_one")


def frame(size: tuple[int, int] = FULL, *, fx: float | None = FOCAL_PX) -> rm.StereoFrame:
    random = np.random.default_rng(0)
    height, width = size
    left, right = random.integers(0, 255, (2, height, width, 3), dtype=np.uint8)
    rig = None
    if fx is not None:
        rig = rm.Rig.rectified(
            fx=fx, cx=width / 2, cy=height / 2, baseline_m=BASELINE_M, width=width, height=height
        )
    return rm.StereoFrame(left=left, right=right, rig=rig, name="frame")


def test_at_its_own_size_a_pair_is_answered_as_by_the_network(student: TwoInOneStudent) -> None:
    seen = frame()
    match = TwoInOneMatcher(student)(seen)
    device = torch.device("cpu")
    assert seen.right is not None
    with torch.no_grad():
        found = student.network(
            image_batch(seen.left, FULL, device), image_batch(seen.right, FULL, device)
        )
    np.testing.assert_allclose(match.disparity, found.disparity[0, 0].numpy(), rtol=1e-5)
    columns = np.arange(FULL[1])
    assert np.array_equal(match.occluded, columns - match.disparity < 0)
    assert match.occluded.any()
    assert not match.occluded.all()
    assert not match.filled.any()
    assert match.confidence.min() >= 0
    assert 0 < match.confidence.mean() < 1


def test_disparity_is_in_pixels_of_the_frame(student: TwoInOneStudent) -> None:
    small, large = frame(), frame()
    doubled = [np.kron(image, np.ones((2, 2, 1), np.uint8)) for image in (large.left, large.right)]
    large = rm.StereoFrame(left=doubled[0], right=doubled[1], name="frame")
    width = TwoInOneOptions(input_width_px=96)
    once = TwoInOneMatcher(student, width)(small).disparity
    twice = TwoInOneMatcher(student, width)(large).disparity
    assert twice.shape == (128, 192)
    # The network sees nearly the same picture; Lanczos softens blocks a little.
    assert np.median(twice) == pytest.approx(2 * np.median(once), rel=0.05)


def test_depth_of_one_image_is_d2d_over_disparity(student: TwoInOneStudent) -> None:
    model = TwoInOneDepth(student)
    found = model(frame())
    assert found.kind == "metric_m"
    batch = image_batch(frame().left, FULL, torch.device("cpu"))
    with torch.no_grad():
        disparity = student.network(batch).disparity[0, 0].numpy()
    np.testing.assert_allclose(found.values, D2D / disparity, rtol=1e-5)
    np.testing.assert_allclose(model.native(frame()), D2D / disparity, rtol=1e-5)
    assert found.confidence is not None
    assert found.confidence.shape == FULL


@settings(deadline=None, max_examples=5)
@given(st.floats(0.85, 1.2))
def test_depth_is_scaled_by_the_focal_length(ratio: float) -> None:
    student = TwoInOneStudent(_shared())
    plain = TwoInOneDepth(student)(frame())
    other = TwoInOneDepth(student)(frame(fx=FOCAL_PX * ratio))
    np.testing.assert_allclose(other.values, ratio * plain.values, rtol=1e-4)
    kept = TwoInOneDepth(student, TwoInOneDepthConfig(focal_scaling=False))
    np.testing.assert_allclose(kept(frame(fx=FOCAL_PX * ratio)).values, plain.values)


_CACHE: dict[str, TwoInOne] = {}


def _shared() -> TwoInOne:
    return _CACHE.setdefault("network", network())


@pytest.mark.parametrize(
    ("focal_px", "fx", "words"),
    [
        (FOCAL_PX, None, "the frame has no rig"),
        (None, FOCAL_PX, "the training's is not known"),
        (FOCAL_PX, 3 * FOCAL_PX, "3.00 times the training's"),
    ],
)
def test_another_lens_is_said_once(
    focal_px: float | None, fx: float | None, words: str, caplog: pytest.LogCaptureFixture
) -> None:
    model = TwoInOneDepth(TwoInOneStudent(tiny_network(full_size=FULL, focal_px=focal_px)))
    with caplog.at_level(logging.WARNING):
        for _ in range(2):
            assert model(frame(fx=fx)).kind == "metric_m"
    (line,) = [record.getMessage() for record in caplog.records]
    assert words in line


def test_without_a_baseline_depth_has_no_scale(caplog: pytest.LogCaptureFixture) -> None:
    model = TwoInOneDepth(TwoInOneStudent(tiny_network(full_size=FULL, metric=False)))
    with caplog.at_level(logging.WARNING):
        assert model(frame(fx=None)).kind == "up_to_scale"
    assert not caplog.records
    assert not model.metric
    assert model.passport.options["d2d_px_m"] is None


@pytest.mark.parametrize("flip", ["fpp", "gpp", "mspp"])
def test_a_second_look_is_that_of_the_protocol(student: TwoInOneStudent, flip: Any) -> None:
    model = TwoInOneDepth(student, TwoInOneDepthConfig(flip=flip))
    batch = image_batch(frame().left, FULL, torch.device("cpu"))

    def depth_of(images: torch.Tensor) -> torch.Tensor:
        if images.shape[-1] == FULL[1]:
            return student.network(images).depth
        assert images.shape[-2:] == (42, 64)
        fitting = torch.nn.functional.interpolate(
            images, size=(64, 64), mode="bilinear", align_corners=True
        )
        depth = student.network(fitting).depth
        return torch.nn.functional.interpolate(
            depth, size=(42, 64), mode="bilinear", align_corners=True
        )

    with torch.no_grad():
        expected = flipped_depth(depth_of, batch, flip)[0, 0].numpy()
    np.testing.assert_allclose(model.native(frame()), expected, rtol=1e-5)
    assert not np.allclose(expected, TwoInOneDepth(student).native(frame()), rtol=1e-5)
    assert model.passport.options["flip"] == flip


def test_confidence_is_the_share_near_the_answer() -> None:
    levels = disparity_levels(9, 2, 24, like=torch.zeros(()))
    logits = torch.full((1, 9, 1, 3), -50.0)
    logits[0, 4, 0, 0] = 50  # one level
    logits[0, :, 0, 1] = 0  # all alike
    logits[0, (0, 8), 0, 2] = 50  # two peaks, the answer between them
    found = confidence_of(read_logits(logits, levels, 1.0), levels)[0, 0]
    assert found[0] == pytest.approx(1)
    assert found[1] == pytest.approx(3 / 9)
    assert found[2] == pytest.approx(0, abs=1e-6)


@pytest.mark.parametrize(
    ("size", "width", "expected"),
    [
        ((375, 1242), None, (384, 1280)),
        ((370, 1226), None, (384, 1280)),
        ((376, 1241), None, (384, 1280)),
        ((480, 640), None, (608, 800)),
        ((480, 640), 320, (256, 320)),
        ((40, 400), 100, (64, 96)),
    ],
)
def test_sizes_of_the_input(
    size: tuple[int, int], width: int | None, expected: tuple[int, int]
) -> None:
    options = TwoInOneOptions(input_width_px=width)
    assert network_size(TwoInOneConfig(), frame(size), options) == expected


def test_a_folder_plays_both_roles_in_a_pipeline(folder: Path) -> None:
    pipeline = rm.Pipeline(
        f"student:{folder}", None, depth=f"student:{folder}", device="cpu", precision="float32"
    )
    assert isinstance(pipeline.stereo, TwoInOneMatcher)
    assert isinstance(pipeline.depth, TwoInOneDepth)
    assert pipeline.stereo.student is pipeline.depth.student, "loaded once"
    pair = pipeline(frame())
    assert pair.disparity is not None
    assert pair.depth is not None
    np.testing.assert_allclose(pair.depth, FOCAL_PX * BASELINE_M / pair.disparity, rtol=1e-5)
    alone = pipeline(replace(frame(), right=None))
    assert alone.disparity is None
    assert alone.depth is not None
    (passport,) = alone.provenance.models
    assert passport.role == "depth"
    assert passport.weights == "in_one"
    assert passport.weights_sha256 is not None
    assert passport.options["architecture"] == "two-in-one"


def test_predict_and_save_are_methods_too(tmp_path: Path) -> None:
    model = rm.load_model(network().save_pretrained(tmp_path / "saved"), device="cpu")
    pair, alone = (model.predict(one) for one in (frame(), replace(frame(), right=None)))
    assert pair.disparity is not None
    assert alone.disparity is None
    assert alone.depth is not None
    assert not pair.objects
    found = model.predict(frame(), masks="geometry")
    assert {one.role for one in found.provenance.models} == {"stereo", "masks"}


def test_from_the_command_line(folder: Path, tmp_path: Path) -> None:
    images = {}
    for name, image in (("left", frame().left), ("right", frame().right)):
        assert image is not None
        images[name] = tmp_path / f"{name}.png"
        write_image(images[name], image)
    rig = tmp_path / "rig.yaml"
    seen = frame().rig
    assert seen is not None
    seen.save(rig)
    model = f"student:{folder}"
    common = ["--masks", "none", "--device", "cpu", "--rig", str(rig)]
    pair = [str(images["left"]), str(images["right"]), "--stereo", model]
    alone = [str(images["left"]), "--stereo", "none", "--depth", model]
    for number, words in enumerate((pair, alone)):
        out = tmp_path / f"out{number}"
        done = CliRunner().invoke(app, ["predict", *words, *common, "--output", str(out)])
        assert done.exit_code == 0, done.output
        (scene,) = out.rglob("scene.json")
        assert rm.Scene.load(scene.parent).depth is not None


def test_evaluation_judges_both_roles(folder: Path) -> None:
    predictor = open_predictor(f"student:{folder}", device="cpu")
    said = predictor(frame())
    assert said.disparity is not None
    assert said.stereo_depth_m is not None
    assert said.depth is not None
    assert said.depth.kind == "metric_m"
    again = open_predictor(folder, device="cpu", depth_options={"flip": "fpp"})(frame())
    assert again.depth is not None
    assert not np.allclose(again.depth.values, said.depth.values)


def test_a_training_run_is_judged_by_its_best(tmp_path: Path) -> None:
    network().save_pretrained(tmp_path / "best")
    state = {"format": "rangemask-run", "format_version": 1, "state": "done"}
    (tmp_path / "run.json").write_text(json.dumps(state))
    (tmp_path / "data.json").write_text(json.dumps({"train": ["frame"]}))
    for name in (tmp_path, f"student:{tmp_path}"):
        predictor = open_predictor(name, device="cpu")
        assert predictor.trained_on == {"frame"}
        assert predictor.kinds == {"disparity", "depth"}


def test_half_precision_says_about_the_same(folder: Path) -> None:
    full, half = (
        rm.load_stereo(f"student:{folder}", device="cpu", precision=precision)(frame()).disparity
        for precision in ("float32", "bfloat16")
    )
    assert np.median(np.abs(half - full) / full) < 0.05
    assert not np.array_equal(half, full)


def test_looking_does_not_teach(student: TwoInOneStudent) -> None:
    before = {name: value.clone() for name, value in student.network.state_dict().items()}
    student.network.train()
    TwoInOneMatcher(student)(frame())
    assert student.network.training
    student.network.train(False)
    for name, value in student.network.state_dict().items():
        assert torch.equal(value, before[name]), name


@pytest.mark.parametrize(
    ("ask", "words"),
    [
        (lambda f: rm.load_masks(f"student:{f}", device="cpu"), "no masks.*--masks geometry"),
        (lambda f: rm.load_stereo(f"student:{f}", device="cpu", flip="fpp"), "no option 'flip'"),
        (lambda f: rm.load_depth(f"student:{f}", device="cpu", flip="twice"), "flip must be one"),
        (lambda f: rm.load_depth(f"student:{f}", device="cpu", input_width_px=0), "positive"),
        (lambda f: rm.load_depth(f"student:{f}", device="cpu", fusion=True), "no option 'fusion'"),
    ],
)
def test_what_it_cannot_do_is_said(folder: Path, ask: Callable[[Path], object], words: str) -> None:
    with pytest.raises(InputError, match=words):
        ask(folder)


def test_frames_that_do_not_fit_are_refused(student: TwoInOneStudent) -> None:
    with pytest.raises(InputError, match=r"needs a right image.*--depth student:PATH"):
        TwoInOneMatcher(student)(replace(frame(), right=None))
    with pytest.raises(InputError, match="40 x 20 px is too small"):
        TwoInOneDepth(student)(frame((20, 40)))
    with pytest.raises(InputError, match="16 times as long"):
        TwoInOneDepth(student)(frame((32, 600)))
