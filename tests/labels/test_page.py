"""The page on pseudo-labels is true: its commands run, its options exist, its snippet runs."""

import re
import runpy
import shlex
from pathlib import Path

import pytest
import typer.main
from typer.testing import CliRunner

from rangemask.cli.main import app
from support.datasets import stereo_dataset

PAGE = Path(__file__).parents[2] / "docs" / "labels.md"


def test_commands_options_and_snippet(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    page = PAGE.read_text(encoding="utf-8")
    command = typer.main.get_command(app).commands["label"]  # type: ignore[attr-defined]
    known = {name for parameter in command.params for name in parameter.opts}
    asked = set(re.findall(r"--[a-z][a-z-]+", page))
    assert {"--min-quality", "--engine"} <= asked
    assert asked <= known
    monkeypatch.chdir(tmp_path)
    stereo_dataset(tmp_path / "captures", frames=1)
    for line in page.split("```sh\n")[1].split("```")[0].splitlines():
        done = CliRunner().invoke(app, shlex.split(line.split("#")[0])[1:])
        assert done.exit_code == 0, done.output
    (tmp_path / "snippet.py").write_text(page.split("```python\n")[1].split("```")[0])
    assert runpy.run_path(str(tmp_path / "snippet.py"))["report"].done == {"labelled": 1}
