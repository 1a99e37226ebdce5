import importlib.util
import json
import subprocess
import sys
from importlib import metadata
from pathlib import Path

import huggingface_hub
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
    assert "sgbm" in findings["models"]["stereo"]
    assert "geometry" in findings["models"]["masks"]
    assert findings["memory_gib"] is None or findings["memory_gib"] > 0


def test_the_table_holds_the_same() -> None:
    done = runner.invoke(app, ["doctor", "--fast"])
    assert done.exit_code == 0
    assert metadata.version("numpy") in done.stdout
    assert "run doctor without --fast" in done.stdout.replace("\n", " ")


def test_it_says_when_to_leave_the_backbone_alone() -> None:
    done = runner.invoke(app, ["doctor", "--fast"])
    assert "Do not adapt the backbone" in " ".join(done.stdout.split())
    page = Path(__file__).parents[2] / "docs" / "backbone-adaptation.md"
    assert page.is_file()  # it is named there


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


REPOSITORY = "models--depth-anything--Depth-Anything-V2-Base"


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache of the hub."""
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    return tmp_path


def put_weights(cache: Path) -> Path:
    folder = cache / REPOSITORY
    (folder / "refs").mkdir(parents=True)
    (folder / "refs" / "main").write_text("abc", encoding="utf-8")
    file = folder / "snapshots" / "abc" / "depth_anything_v2_vitb.pth"
    file.parent.mkdir(parents=True)
    file.write_bytes(bytes(3_000_000))
    return file


def test_weights_in_the_cache_are_listed(cache: Path) -> None:
    file = put_weights(cache)
    assert doctor.examine(fast=True)["weights"] == [
        {
            "name": "depth-anything-v2-base",
            "file": str(file),
            "size_mb": 3,
            "licence": "CC-BY-NC-4.0",
        }
    ]
    done = runner.invoke(app, ["doctor", "--fast"], env={"COLUMNS": "200"})
    assert "Weights depth-anything-v2-base" in done.stdout
    assert "3 MB, CC-BY-NC-4.0" in done.stdout


def test_no_weights_are_told(cache: Path) -> None:
    assert doctor.weights_present() == []
    assert "none downloaded yet" in runner.invoke(app, ["doctor", "--fast"]).stdout


def test_without_the_hub_there_are_no_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    assert doctor.weights_present() == []


def test_fast_loads_no_torch_and_asks_no_network() -> None:
    program = (
        "import socket, sys\n"
        "def refuse(*_, **__): raise AssertionError('network')\n"
        "socket.socket.connect = socket.getaddrinfo = refuse\n"
        "from rangemask.cli import doctor\n"
        "doctor.examine(fast=True)\n"
        "print(sorted({'torch', 'timm', 'transformers'} & set(sys.modules)))\n"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.strip() == "[]"
