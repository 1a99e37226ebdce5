"""Networks on the command line: monocular depth and students, good and bad.

Most of these run in this process, since torch takes seconds to import; two as a user does.
"""

import json
import logging
import re
import runpy
import signal
from collections.abc import Iterator
from pathlib import Path
from subprocess import CompletedProcess
from textwrap import dedent
from typing import Protocol

import numpy as np
import pytest
import torch
from typer.main import get_command

import rangemask as rm
from rangemask.cli.main import app, main
from rangemask.structures.images import read_image, write_image
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


class RunHere(Protocol):
    """``rangemask`` in this process."""

    def __call__(self, *arguments: object) -> CompletedProcess[str]: ...


@pytest.fixture
def run_here(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Iterator[RunHere]:
    """Run the command line in this process, in the same folder as ``run`` does."""
    monkeypatch.chdir(tmp_path)
    logger = logging.getLogger("rangemask")
    before = (logger.handlers, logger.level, logger.propagate)
    terminate = signal.getsignal(signal.SIGTERM)

    def call(*arguments: object) -> CompletedProcess[str]:
        given = [str(argument) for argument in arguments]
        with pytest.raises(SystemExit) as ended:
            main(given)
        printed = capsys.readouterr()
        assert isinstance(ended.value.code, int)
        return CompletedProcess(given, ended.value.code, printed.out, printed.err)

    yield call
    signal.signal(signal.SIGTERM, terminate)
    logger.handlers, logger.level, logger.propagate = before


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
    report = (tmp_path / "out" / "report.html").read_text(encoding="utf-8")
    assert "Depth is relative, without metres, so distances are unknown." in report


def test_metric_depth_of_a_photograph(
    pair: PairOnDisk, run_here: RunHere, tmp_path: Path, checkpoint: Path
) -> None:
    (tmp_path / "camera.yaml").write_text(ONE_CAMERA)
    model = f"depth-anything-v2-small-metric-indoor:{checkpoint}"
    given = ["--depth", model, "--rig", "camera.yaml", "--masks", "none", "--device", "cpu"]
    done = run_here("predict", pair.left, *given, "--output", "out", "--precision", "bfloat16")
    assert done.returncode == 0, done.stderr
    scene = rm.Scene.load(tmp_path / "out")
    assert scene.depth is not None
    assert 0 < np.nanmin(scene.depth) < np.nanmax(scene.depth) < 20
    assert (tmp_path / "out" / "000" / "3d" / "cloud.ply").is_file()
    assert scene.provenance.models[0].options["precision"] == "bfloat16"


def test_metric_depth_of_a_photograph_gives_objects_with_distances(
    pair: PairOnDisk, run_here: RunHere, tmp_path: Path, checkpoint: Path
) -> None:
    """Random weights mean nothing, but what geometry finds in their depth is measured in it."""
    model = f"depth-anything-v2-small-metric-indoor:{checkpoint}"
    done = run_here("predict", pair.left, "--depth", model, "--output", "out", "--json")
    assert done.returncode == 0, done.stderr
    objects = json.loads(done.stdout)["scenes"][0]["objects"]
    assert objects
    assert all(0 < thing["distance"]["median"] < 20 for thing in objects)
    # Without a rig nobody knows where a pixel looks.
    assert not (tmp_path / "out" / "000" / "3d").exists()
    assert objects[0]["centroid"] is None or None in objects[0]["centroid"]


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
    pair: PairOnDisk, run_here: RunHere, tmp_path: Path, student: Path
) -> None:
    models = ["--stereo", "none", "--depth", f"student:{student}", "--masks", f"student:{student}"]
    done = run_here("predict", pair.left, pair.right, *models, "--output", "out")
    assert done.returncode == 0, done.stderr
    scene = rm.Scene.load(tmp_path / "out")
    assert scene.disparity is None
    assert scene.depth is not None


def test_a_depth_model_fills_what_stereo_cannot_see(
    pair: PairOnDisk, run_here: RunHere, tmp_path: Path, student: Path
) -> None:
    given = [pair.left, pair.right, "--rig", pair.rig, "--fill"]
    done = run_here("predict", *given, "--depth", f"student:{student}", "--output", "out")
    assert done.returncode == 0, done.stderr
    roles = [model.role for model in rm.Scene.load(tmp_path / "out").provenance.models]
    # Random weights may contradict stereo so much that nothing is filled; then it is said.
    assert roles == ["stereo", "depth", "masks"] or "is not filled" in " ".join(done.stderr.split())


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (["--depth", "depth-anything-v2-small:nowhere.pth"], "nowhere.pth: no such checkpoint"),
        (["--depth", "depth-anything-v2-small:{pair.rig}"], "rig.yaml: a checkpoint ends in"),
        (["--depth", "depth-anything-v2-base:{checkpoint}"], "load it as depth-anything-v2-small"),
        (["--depth", "depth-anything-v3"], "no depth model 'depth-anything-v3'"),
        (["--stereo", "student:nowhere"], "nowhere: no such folder"),
        (["--stereo", "student"], "student:PATH"),
        (["--stereo", "student:nowhere", "--fill"], "cannot fill by itself, only sgbm can"),
        (["--stereo", "none", "--depth", "student:{student}", "--fill"], "has no matcher"),
        (["--stereo", "none", "--quality", "fast"], "--quality is for the matcher sgbm"),
        (["--stereo", "none"], "needs a stereo matcher or a depth model"),
        (["--depth", "student:{student}", "--device", "tpu"], "no device 'tpu'"),
        (["--depth", "student:{student}", "--precision", "int3"], "precision must be one of"),
    ],
)
def test_bad_models_are_refused_and_leave_nothing(
    pair: PairOnDisk,
    run_here: RunHere,
    tmp_path: Path,
    student: Path,
    checkpoint: Path,
    options: list[str],
    words: str,
) -> None:
    options = [
        option.format(student=student, checkpoint=checkpoint, pair=pair) for option in options
    ]
    done = run_here(
        "predict", pair.left, pair.right, "--rig", pair.rig, "--output", "out", *options
    )
    assert done.returncode == 1, done.stderr
    assert words in " ".join(done.stderr.split())
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "out").exists()


def test_the_page_on_single_images_is_true(
    pair: PairOnDisk, tmp_path: Path, checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its options exist, its rig is one, its snippet runs."""
    page = (Path(__file__).parents[2] / "docs" / "monocular.md").read_text(encoding="utf-8")
    # Narrow terminals cut the names of long options.
    known = get_command(app).commands["predict"].params  # type: ignore[attr-defined]
    options = set(re.findall(r"--[a-z][a-z-]+", page))
    assert {"--depth", "--fill", "--device"} <= options
    assert options <= {name for parameter in known for name in parameter.opts}
    rig = page.split("will do:\n\n")[1].split("\n\n")[0]
    (tmp_path / "camera.yaml").write_text(dedent(rig))
    assert rm.Rig.load(tmp_path / "camera.yaml").baseline_m is None
    monkeypatch.chdir(tmp_path)
    write_image(tmp_path / "photo.jpg", read_image(pair.left)[:140, :140])
    (tmp_path / checkpoint.name).symlink_to(checkpoint)
    (tmp_path / "snippet.py").write_text(page.split("```python\n")[1].split("```")[0])
    scene = runpy.run_path(str(tmp_path / "snippet.py"))["scene"]
    assert scene.relative_depth is not None
