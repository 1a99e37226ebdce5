import csv
import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from rangemask.cli.main import app
from rangemask.errors import InputError, OutputError, RangemaskError
from support.judged import rendered
from support.students import saved_student

runner = CliRunner()
WIDE = {"COLUMNS": "160"}


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("eval") / "store"
    rendered(root, frames=2)
    return root


@pytest.fixture(scope="module")
def student(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return saved_student(tmp_path_factory.mktemp("eval") / "student")


def said(*arguments: object) -> str:
    done = runner.invoke(app, ["eval", *map(str, arguments)], env=WIDE)
    if done.exception is not None and done.exit_code != 0:
        raise done.exception
    return done.stdout


def test_a_student_from_the_command_line_to_the_page(
    store: Path, student: Path, tmp_path: Path
) -> None:
    output = tmp_path / "out"
    table = said(student, store, "--output", output, "--device", "cpu")
    for words in ("disparity", "depth of one image", "classes of pixels", "masks", "2 frames"):
        assert words in table
    report = json.loads((output / "report.json").read_text())
    assert report["format"] == "rangemask-evaluation"
    assert report["totals"]["disparity"]["epe_px"] > 0
    assert report["totals"]["objects"]["truths"] > 0
    assert set(report["frames"]) == {"scene00000", "scene00001"}
    with (output / "frames.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [row["frame"] for row in rows] == ["scene00000", "scene00001"]
    mean = np.mean([float(row["disparity.epe_px"]) for row in rows])
    assert report["totals"]["disparity"]["epe_px"] == pytest.approx(mean)
    assert "Worst frames" in (output / "report.html").read_text(encoding="utf-8")
    with pytest.raises(OutputError, match="already exists"):
        said(student, store, "--output", output)


def test_two_runs_beside_each_other(store: Path, student: Path, tmp_path: Path) -> None:
    arguments = (student, store, "--against", "sgbm+geometry", "--resamples", 20, "--device", "cpu")
    arguments = (*arguments, "--kinds", "disparity,masks")
    output = tmp_path / "out"
    found = json.loads(said(*arguments, "--json", "--output", output))
    row = found["differences"]["disparity"]["epe_px"]
    assert row["second"] < row["first"]
    assert row["low"] <= row["difference"] <= row["high"]
    assert found["seed"] == 0
    table = said("sgbm", store, "--against", "sgbm+geometry", "--resamples", 5)
    assert "A: sgbm\n" in table
    assert "B: sgbm+geometry\n" in table
    assert "With 2 frames" in table
    assert "masks" not in table
    page = (output / "report.html").read_text(encoding="utf-8")
    assert "Frames that differ most" in page
    assert json.loads((output / "report.json").read_text())["format"] == "rangemask-comparison"


def test_teachers_by_role_by_name_and_with_the_word_run(store: Path) -> None:
    totals = [
        json.loads(said(*words, "--kinds", "disparity", "--json"))["totals"]["disparity"]
        for words in (("--stereo", "sgbm", store), ("sgbm", store), ("run", "sgbm", store))
    ]
    assert totals[0] == totals[1] == totals[2]
    assert totals[0]["epe_px"] < 2


def test_options_reach_the_evaluation(store: Path) -> None:
    found = json.loads(
        said("sgbm", store, "--limit", 1, "--weighted", "--max-depth", 1.0, "--json")
    )
    assert list(found["frames"]) == ["scene00000"]
    assert "weight" in found["notes"][-1]
    everywhere = json.loads(said("sgbm", store, "--limit", 1, "--json"))
    near = found["totals"]["stereo_depth"]["pixels"]
    assert near < everywhere["totals"]["stereo_depth"]["pixels"]
    named = said("sgbm", store, "--dataset-kind", "rangemask", "--min-depth", 0.1)
    assert "depth from disparity" in named


def test_help_says_both_forms() -> None:
    text = said("--help")
    assert "RUN DATASET" in text
    assert "disparity" in text
    assert "--against" in said("run", "--help")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("alone",), r"expected RUN and DATASET.*got alone.*eval disparity\|depth\|masks"),
        (("a", "b", "c"), "got a b c"),
        (("a", "b", "--stereo", "sgbm"), "got a b --stereo sgbm"),
        (("sgbm", "nowhere"), "nowhere: expected a data set"),
    ],
)
def test_wrong_words_speak(words: tuple[str, ...], message: str) -> None:
    with pytest.raises(InputError, match=message):
        said(*words)


def test_strict_fails_where_a_frame_failed(tmp_path: Path) -> None:
    root = tmp_path / "store"
    rendered(root, frames=2)
    next(root.rglob("scene00001*.npy")).write_bytes(b"no array")
    table = said("sgbm", root)
    assert "1 failed: scene00001" in table
    with pytest.raises(RangemaskError, match=r"1 frames failed, and --strict"):
        said("sgbm", root, "--strict")


def test_interrupted_it_shows_what_was_done(
    store: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    import rich.progress

    def impatient(indices: list[int], *_: object, **__: object) -> object:
        yield indices[0]
        raise KeyboardInterrupt

    monkeypatch.setattr(rich.progress, "track", impatient)
    arguments = ["eval", "sgbm", str(store), "--against", "sgbm", "--output", str(tmp_path / "out")]
    done = runner.invoke(app, arguments, env=WIDE)
    assert done.exit_code != 0
    assert "1 frames of" in done.stdout
    assert json.loads((tmp_path / "out" / "report.json").read_text())["stopped"] is True
