import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from rangemask.cli.labelstudio import app
from rangemask.errors import InputError
from support.label_studio import annotated, bytes_of, make_store, written

runner = CliRunner()


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return make_store(tmp_path / "labels")


def tasks_of(store: Path, *options: str) -> list[dict[str, object]]:
    output = store.parent / "out" / "tasks.json"
    done = runner.invoke(app, ["export", str(store), "--output", str(output), *options])
    assert done.exit_code == 0, done.output
    found: list[dict[str, object]] = json.loads(output.read_text())
    return found


def test_export_says_what_it_wrote(store: Path) -> None:
    output = store.parent / "tasks.json"
    arguments = ["export", str(store), "--output", str(output)]
    done = runner.invoke(app, arguments, env={"COLUMNS": "300"})
    assert done.exit_code == 0
    assert "2 tasks with 6 masks" in done.stdout
    assert "2 masks have no pixels" in done.stdout
    assert "polygons" not in done.stdout
    assert str(output.with_name("label_config.xml")) in done.stdout
    done = runner.invoke(app, [*arguments, "--shape", "polygon"], env={"COLUMNS": "300"})
    assert "4 masks are 8 polygons" in done.stdout
    done = runner.invoke(app, [*arguments, "--json"])
    assert json.loads(done.stdout)["regions"] == 4


def test_options_reach_the_tasks(store: Path) -> None:
    (task, _) = tasks_of(
        store, "--shape", "polygon", "--tolerance", "2", "--image-url", "https://host/x"
    )
    assert isinstance(task["data"], dict)
    assert task["data"]["image"] == "https://host/x/images/frame%200.png"
    assert task["data"]["rangemask"]["tolerance_px"] == 2


def test_import_says_what_it_did(store: Path) -> None:
    tasks = annotated(tasks_of(store), lambda regions: regions.pop(), frames=1)
    tasks[0]["annotations"] *= 2
    path = written(store, tasks)
    before = bytes_of(store)
    done = runner.invoke(app, ["import", str(store), str(path), "--dry-run"])
    assert done.exit_code == 0
    assert "frames (nothing was written): 1 corrected, 1 unchanged" in done.stdout
    assert bytes_of(store) == before
    done = runner.invoke(app, ["import", str(store), str(path), "--project", "12"])
    assert done.exit_code == 0
    assert "frames: 1 corrected, 1 unchanged" in done.stdout
    assert "masks: 5 kept, 0 changed, 0 new, 1 deleted" in done.stdout
    assert "several annotations" in done.stdout
    arguments = ["import", str(store), str(path), "--accept-all", "--json"]
    done = runner.invoke(app, arguments)
    assert done.exit_code == 0
    assert json.loads(done.stdout)["frames"] == {"unchanged": ["frame 0"], "accepted": ["frame 1"]}


def test_frames_that_could_not_be_taken_fail_the_command(store: Path) -> None:
    def rotate(regions: list[dict[str, object]]) -> None:
        regions[0]["image_rotation"] = 90

    path = written(store, annotated(tasks_of(store), rotate, frames=1))
    done = runner.invoke(app, ["import", str(store), str(path), "--json"])
    assert done.exit_code == 1
    assert isinstance(done.exception, InputError)
    assert "1 frames were left as they were: frame 0" in str(done.exception)
    assert json.loads(done.stdout)["frames"] == {"unchanged": ["frame 1"]}


def test_an_export_of_something_else_fails(store: Path) -> None:
    tasks_of(store)
    done = runner.invoke(app, ["import", str(store), str(store / "manifest.json")])
    assert isinstance(done.exception, InputError)
    assert "not a list of tasks" in str(done.exception)
