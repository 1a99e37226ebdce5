import importlib.util
import json
from importlib import metadata

import pytest
from typer.testing import CliRunner

from rangemask import __version__
from rangemask.cli import doctor
from rangemask.cli.main import app

runner = CliRunner()


def test_fast_doctor_tells_versions_and_leaves_torch_alone() -> None:
    done = runner.invoke(app, ["doctor", "--fast", "--json"])
    findings = json.loads(done.stdout)
    assert findings["rangemask"] == __version__
    assert findings["packages"]["numpy"] == metadata.version("numpy")
    assert findings["devices"] is None
    assert findings["models"]["stereo"] == ["sgbm"]
    assert findings["models"]["masks"] == ["geometry"]
    assert findings["memory_gib"] is None or findings["memory_gib"] > 0


def test_the_table_holds_the_same() -> None:
    done = runner.invoke(app, ["doctor", "--fast"])
    assert done.exit_code == 0
    assert metadata.version("numpy") in done.stdout
    assert "run doctor without --fast" in done.stdout.replace("\n", " ")


def test_devices_are_listed_where_torch_is_installed() -> None:
    found = doctor.devices()
    if importlib.util.find_spec("torch") is None:
        assert found == []
    else:
        assert found[0]["device"] == "cpu"


def test_missing_and_clashing_packages_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    installed = {"opencv-python": "4.0"}
    monkeypatch.setattr(doctor, "_version", installed.get)
    advice = doctor.examine(fast=True)["advice"]
    assert any(line.startswith("numpy is missing") for line in advice)
    assert any("overwrites its files" in line for line in advice)
