"""The page on exported networks is true: its sidecars are read, its options exist."""

import re
from dataclasses import fields
from pathlib import Path

import pytest
import typer.main
import yaml

from rangemask.backends.stereo.onnx import Sidecar, read_sidecar
from rangemask.cli.main import app

PAGE = (Path(__file__).parents[4] / "docs" / "onnx.md").read_text(encoding="utf-8")


def test_the_sidecar_of_the_page_is_what_is_taken_without_one(tmp_path: Path) -> None:
    text = PAGE.split("```yaml\n")[1].split("```")[0]
    (tmp_path / "net.yaml").write_text(text, encoding="utf-8")
    said, plain = read_sidecar(tmp_path / "net.yaml"), Sidecar()
    named = {"name", "left", "right", "height", "width", "disparity", "confidence"}
    for part in ("inputs", "size", "output"):
        entry = yaml.safe_load(text)[part]
        assert set(entry) == {one.name for one in fields(getattr(plain, part))}
        for name in set(entry) - named:
            assert getattr(getattr(said, part), name) == getattr(getattr(plain, part), name)
    assert set(yaml.safe_load(text)) == {one.name for one in fields(plain)}
    assert (said.licence, said.licence_class) == (plain.licence, plain.licence_class)


ROWS = [line for line in PAGE.splitlines() if line.startswith("| ") and "`inputs:" in line]


@pytest.mark.parametrize("row", ROWS, ids=lambda row: row.split("|")[1].split()[0].strip(":,"))
def test_sidecars_of_typical_exports_are_sidecars(row: str, tmp_path: Path) -> None:
    lines = "\n".join(re.findall(r"`([a-z]+: \{.*?\})`", row))
    (tmp_path / "net.yaml").write_text(lines, encoding="utf-8")
    assert read_sidecar(tmp_path / "net.yaml") != Sidecar()


def test_the_options_of_the_page_exist() -> None:
    assert len(ROWS) == 3
    commands = typer.main.get_command(app).commands  # type: ignore[attr-defined]
    export = commands["export"].commands["stereo"]
    known = {
        name
        for command in (export, commands["predict"])
        for parameter in command.params
        for name in parameter.opts
    }
    asked = set(re.findall(r"--[a-z][a-z-]+", PAGE))
    assert {"--size", "--tolerance", "--fit"} <= asked
    assert asked <= known
