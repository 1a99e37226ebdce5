"""The files shown in docs/rig-files.md are rigs."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from rangemask.camera.rig_files import FORMATS
from rangemask.geometry import Rig

BASELINES_M = {
    "rig.yaml": 0.0751, "short.yaml": 0.193, "stereo.yaml": 0.06,
    "calib.txt": 0.193, "K.txt": 0.063,
}  # fmt: skip


def test_every_file_of_the_page_is_read(repository: Path, tmp_path: Path) -> None:
    page = (repository / "docs/rig-files.md").read_text(encoding="utf-8")
    examples = dict(re.findall(r"```\w+ (\S+)\n(.*?)```", page, re.DOTALL))
    assert examples.keys() == BASELINES_M.keys()
    for name, text in examples.items():
        (tmp_path / name).write_text(text, encoding="utf-8")
        assert Rig.load(tmp_path / name).baseline_m == pytest.approx(BASELINES_M[name], rel=1e-3)


def test_every_format_has_its_row(repository: Path) -> None:
    page = (repository / "docs/rig-files.md").read_text(encoding="utf-8")
    for form in FORMATS:
        assert f"| `{form.name}` |" in page
