"""Networks on the command line: monocular depth and students, good and bad."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch

import rangemask as rm
from support.golden import filled_weights
from support.pairs import PairOnDisk, Run
from support.students import saved_student


@pytest.fixture(scope="session")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Depth Anything V2 small as its authors distribute it, filled by a rule."""
    weights = filled_weights("depth_anything_v2", "vits")
    weights["depth_head.scratch.output_conv2.2.bias"].fill_(0.5)
    path = tmp_path_factory.mktemp("weights") / "depth_anything_v2_vits.pth"
    torch.save(weights, path)
    return path


@pytest.fixture(scope="session")
def student(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved_student(tmp_path_factory.mktemp("students") / "best")


ONE_CAMERA = "fx: 300\nfy: 300\ncx: 160\ncy: 120\nwidth: 320\nheight: 240\n"


def test_relative_depth_of_a_photograph(
    pair: PairOnDisk, run: Run, tmp_path: Path, checkpoint: Path
) -> None:
    model = f"depth-anything-v2-small:{checkpoint}"
    done = run("predict", pair.left, "--depth", model, "--output", "out", "--json")
    assert done.returncode == 0, done.stderr
    said = " ".join(done.stderr.split())
    assert "the depth of this image is relative" in said
    assert "Nothing is segmented" in said
    assert json.loads(done.stdout)["scenes"][0]["objects"] == []
    scene = rm.Scene.load(tmp_path / "out")
    assert scene.depth is None
    assert scene.relative_depth is not None
    folder = tmp_path / "out" / "000"
    assert (folder / "stereo" / "relative_depth.npy").is_file()
    assert (folder / "stereo" / "disparity.png").is_file()
    assert not (folder / "3d").exists()


def test_metric_depth_of_a_photograph(
    pair: PairOnDisk, run: Run, tmp_path: Path, checkpoint: Path
) -> None:
    (tmp_path / "camera.yaml").write_text(ONE_CAMERA)
    model = f"depth-anything-v2-small-metric-indoor:{checkpoint}"
    given = ["--depth", model, "--rig", "camera.yaml", "--masks", "none", "--device", "cpu"]
    done = run("predict", pair.left, *given, "--output", "out", "--precision", "bfloat16")
    assert done.returncode == 0, done.stderr
    scene = rm.Scene.load(tmp_path / "out")
    assert scene.depth is not None
    assert 0 < np.nanmin(scene.depth) < np.nanmax(scene.depth) < 20
    assert (tmp_path / "out" / "000" / "3d" / "cloud.ply").is_file()
    assert scene.provenance.models[0].options["precision"] == "bfloat16"


def test_a_student_plays_all_roles(
    pair: PairOnDisk, run: Run, tmp_path: Path, student: Path
) -> None:
    roles = ["--stereo", f"student:{student}", "--masks", f"student:{student}"]
    done = run("predict", pair.left, pair.right, *roles, "--rig", pair.rig, "--output", "out")
    assert done.returncode == 0, done.stderr
    scene = rm.Scene.load(tmp_path / "out")
    assert scene.disparity is not None
    assert scene.semantic is not None
    assert {model.model for model in scene.provenance.models} == {"student"}


def test_a_pair_can_go_without_a_matcher(
    pair: PairOnDisk, run: Run, tmp_path: Path, student: Path
) -> None:
    models = ["--stereo", "none", "--depth", f"student:{student}", "--masks", f"student:{student}"]
    done = run("predict", pair.left, pair.right, *models, "--output", "out")
    assert done.returncode == 0, done.stderr
    scene = rm.Scene.load(tmp_path / "out")
    assert scene.disparity is None
    assert scene.depth is not None


def test_a_depth_model_fills_what_stereo_cannot_see(
    pair: PairOnDisk, run: Run, tmp_path: Path, student: Path
) -> None:
    given = [pair.left, pair.right, "--rig", pair.rig, "--fill"]
    done = run("predict", *given, "--depth", f"student:{student}", "--output", "out")
    assert done.returncode == 0, done.stderr
    roles = [model.role for model in rm.Scene.load(tmp_path / "out").provenance.models]
    # Random weights may contradict stereo so much that nothing is filled; then it is said.
    assert roles == ["stereo", "depth", "masks"] or "is not filled" in " ".join(done.stderr.split())


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--depth", "depth-anything-v2-small:nowhere.pth"], "nowhere.pth: no such checkpoint"),
        (["--depth", "depth-anything-v3"], "no depth model 'depth-anything-v3'"),
        (["--stereo", "student:nowhere"], "nowhere: no such folder"),
        (["--stereo", "student"], "student:PATH"),
        (["--stereo", "student:nowhere", "--fill"], "--fill is for the matcher sgbm"),
        (["--stereo", "none", "--quality", "fast"], "--quality is for the matcher sgbm"),
        (["--stereo", "none"], "needs a stereo matcher or a depth model"),
        (["--depth", "student:{student}", "--device", "tpu"], "no device 'tpu'"),
        (["--depth", "student:{student}", "--precision", "int3"], "precision must be one of"),
    ],
)
def test_bad_models_are_refused_and_leave_nothing(
    pair: PairOnDisk, run: Run, tmp_path: Path, student: Path, options: list[str], words: str
) -> None:
    options = [option.format(student=student) for option in options]
    done = run("predict", pair.left, pair.right, "--rig", pair.rig, "--output", "out", *options)
    assert done.returncode == 1, done.stderr
    assert words in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "out").exists()
