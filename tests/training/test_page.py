"""The page on training is true: its commands run, its settings exist, its snippet runs."""

import re
import runpy
import shlex
import subprocess
import sys
from dataclasses import fields
from pathlib import Path

import pytest

from rangemask.training.config import (
    DataConfig,
    ModelConfig,
    OptimizerConfig,
    RunConfig,
    TrainerConfig,
)

PAGE = Path(__file__).parents[2] / "docs" / "training.md"
SECTIONS = {
    "data": DataConfig,
    "model": ModelConfig,
    "optimizer": OptimizerConfig,
    "trainer": TrainerConfig,
    "run": RunConfig,
}


def test_settings_exist() -> None:
    named = re.findall(r"\b(data|model|optimizer|trainer|run)\.(\w+)=", PAGE.read_text("utf-8"))
    assert len(named) > 15
    for section, key in named:
        assert key in {entry.name for entry in fields(SECTIONS[section])}, f"{section}.{key}"


def test_commands_and_snippet_run(
    rendered: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = PAGE.read_text(encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "datasets").mkdir()
    (tmp_path / "datasets/my_arducam").symlink_to(rendered)
    small = ["data.size_px=[56,84]", "data.workers=0", "trainer.accelerator=cpu"]
    for line in page.split("```sh\n")[1].split("```")[0].splitlines():
        words = [sys.executable, "-m", *shlex.split(line), *small]
        done = subprocess.run(words, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, done.stderr
    (tmp_path / "snippet.py").write_text(page.split("```python\n")[1].split("```")[0])
    assert runpy.run_path(str(tmp_path / "snippet.py"))["fitted"].finished
