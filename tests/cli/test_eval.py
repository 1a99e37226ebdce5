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
    assert "on one side only: 3" in table.stdout
    assert json.loads(runner.invoke(app, [*arguments, "--json"]).stdout)["mean"]["ap"] == 1


def test_bad_input_is_said(files: tuple[Path, Path]) -> None:
    done = runner.invoke(app, ["eval", "disparity", "gone.npy", str(files[1])])
    assert isinstance(done.exception, InputError)
    assert "gone.npy" in str(done.exception)
