import json
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from rangemask.cli.main import app
from rangemask.data.map_files import write_map
from rangemask.errors import InputError
from rangemask.structures.images import write_image

runner = CliRunner()


@pytest.fixture
def files(tmp_path: Path) -> tuple[Path, Path]:
    found, true = tmp_path / "found.npy", tmp_path / "true.npy"
    write_map(found, np.full((4, 5), 2.0, dtype=np.float32))
    write_map(true, np.full((4, 5), 2.5, dtype=np.float32))
    return found, true


@pytest.mark.parametrize(
    ("kind", "key", "value"), [("disparity", "epe_px", 0.5), ("depth", "abs_rel", 0.2)]
)
def test_json_and_table(files: tuple[Path, Path], kind: str, key: str, value: float) -> None:
    arguments = ["eval", kind, *map(str, files)]
    done = runner.invoke(app, [*arguments, "--json"])
    assert done.exit_code == 0
    assert json.loads(done.stdout)["mean"][key] == pytest.approx(value)
    table = runner.invoke(app, arguments, env={"COLUMNS": "160"})
    assert table.exit_code == 0
    assert key in table.stdout
    assert "found" in table.stdout


def test_several_frames_have_a_mean(tmp_path: Path) -> None:
    for side in ("found", "true"):
        (tmp_path / side).mkdir()
        for name in ("1", "2"):
            ids = np.eye(6, dtype=np.uint8)
            write_image(tmp_path / side / f"{name}.png", ids)
    write_image(tmp_path / "true" / "3.png", np.eye(6, dtype=np.uint8))
    arguments = ["eval", "masks", str(tmp_path / "found"), str(tmp_path / "true")]
    table = runner.invoke(app, arguments, env={"COLUMNS": "160"})
    assert "mean" in table.stdout
    assert "without prediction: 3" in table.stdout
    assert json.loads(runner.invoke(app, [*arguments, "--json"]).stdout)["mean"]["ap"] == 1


def test_options_reach_the_measurement(files: tuple[Path, Path], tmp_path: Path) -> None:
    def mean(*arguments: object) -> dict[str, float]:
        done = runner.invoke(app, ["eval", *map(str, arguments), "--json"])
        return json.loads(done.stdout)["mean"]

    half = np.zeros((4, 5), dtype=np.uint8)
    half[:2] = 255
    write_image(tmp_path / "nonocc.png", half)
    assert mean("disparity", *files, "--valid-mask", tmp_path / "nonocc.png")["pixels"] == 10
    assert mean("depth", *files, "--valid-mask", tmp_path / "nonocc.png")["pixels"] == 10
    assert mean("depth", *files, "--max-depth", 2)["pixels"] == 0
    assert mean("depth", *files, "--min-depth", 3)["rmse_m"] is None
    write_image(tmp_path / "mm.png", np.full((4, 5), 2500, dtype=np.uint16))
    assert mean("depth", tmp_path / "mm.png", files[1], "--scale", 1000)["rmse_m"] == 0
    ids = np.ones((4, 5), dtype=np.uint8)
    write_image(tmp_path / "all.png", ids)
    write_image(tmp_path / "most.png", ids - np.eye(4, 5, dtype=np.uint8))  # IoU 16 / 20
    both = tmp_path / "most.png", tmp_path / "all.png"
    assert mean("masks", *both, "--iou", 0.75)["recall"] == 1
    assert mean("masks", *both, "--iou", 0.85)["recall"] == 0


def test_names_are_no_markup(files: tuple[Path, Path], tmp_path: Path) -> None:
    for side, extra in (("found", "[red]"), ("true", "[bold]")):
        (tmp_path / "f" / side).mkdir(parents=True)
        for name in ("[blue]", extra):
            write_map(tmp_path / "f" / side / f"{name}.npy", np.ones((2, 2), dtype=np.float32))
    done = runner.invoke(
        app, ["eval", "disparity", str(tmp_path / "f/found"), str(tmp_path / "f/true")]
    )
    for words in ("[blue]", "without truth: [red]", "without prediction: [bold]"):
        assert words in done.stdout


def test_bad_input_is_said(files: tuple[Path, Path]) -> None:
    done = runner.invoke(app, ["eval", "disparity", "gone.npy", str(files[1])])
    assert isinstance(done.exception, InputError)
    assert "gone.npy" in str(done.exception)
