"""Every example runs as its header says."""

import subprocess
import sys
from pathlib import Path

import pytest
import torch

from rangemask.data.samples import motorcycle
from rangemask.structures.images import write_image
from support.golden import filled_weights

EXAMPLES = sorted((Path(__file__).resolve().parents[1] / "examples").glob("*.py"))


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_example_runs(example: Path, tmp_path: Path) -> None:
    arguments: list[str] = []
    if "02_" in example.name:
        frame, _ = motorcycle()
        assert frame.right is not None
        assert frame.rig is not None
        write_image(tmp_path / "left.png", frame.left)
        write_image(tmp_path / "right.png", frame.right)
        frame.rig.save(tmp_path / "rig.yaml")
        arguments = ["left.png", "right.png", "rig.yaml"]
    if "07_" in example.name:
        torch.save(filled_weights("dinov2", "vits14"), tmp_path / "dinov2_vits14_pretrain.pth")
        arguments = ["dinov2_vits14_pretrain.pth"]
    done = subprocess.run(
        [sys.executable, str(example), *arguments],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()


def test_every_example_is_listed() -> None:
    listed = (EXAMPLES[0].parent / "README.md").read_text(encoding="utf-8")
    assert [path.name for path in EXAMPLES if path.name not in listed] == []
