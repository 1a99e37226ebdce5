"""Every command and every snippet of the README runs."""

import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from rangemask.data.samples import motorcycle
from rangemask.structures.images import write_image
from support.golden import filled_weights
from support.students import saved_student

README = Path(__file__).resolve().parents[1] / "README.md"


def blocks(language: str) -> list[str]:
    text = README.read_text(encoding="utf-8")
    return re.findall(rf"```{language}\n(.*?)```", text, flags=re.DOTALL)


def commands() -> list[str]:
    """The shell lines that call rangemask, comments and installation left out."""
    lines = "".join(blocks("sh")).replace("\\\n", " ").splitlines()
    parts = [part.strip() for line in lines for part in line.split("#")[0].split("&&")]
    return [part for part in parts if part.startswith("rangemask ")]


@pytest.fixture(scope="module")
def workplace(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the files that the README speaks of."""
    folder = tmp_path_factory.mktemp("readme")
    frame, truth_px = motorcycle()
    assert frame.right is not None
    assert frame.rig is not None
    write_image(folder / "left.png", frame.left)
    write_image(folder / "right.png", frame.right)
    write_image(folder / "both.png", np.concatenate([frame.left, frame.right], axis=1))
    for side, image in (("left", frame.left), ("right", frame.right)):
        (folder / "captures" / side).mkdir(parents=True)
        for number in range(3):
            write_image(folder / "captures" / side / f"{number:03}.png", image)
    frame.rig.save(folder / "captures" / "rig.yaml")
    np.save(folder / "truth.npy", truth_px)
    frame.rig.save(folder / "rig.yaml")
    write_image(folder / "photo.jpg", frame.left)
    torch.save(filled_weights("depth_anything_v2", "vits"), folder / "depth_anything_v2_vits.pth")
    saved_student(folder / "runs" / "best")
    return folder


def test_there_are_commands() -> None:
    assert len(commands()) >= 5
    assert any(command.startswith("rangemask demo") for command in commands())


def test_every_command_runs(workplace: Path) -> None:
    """In the order of the README: later commands read what earlier ones wrote."""
    for command in commands():
        done = subprocess.run(
            [sys.executable, "-m", *shlex.split(command)],
            cwd=workplace,
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0, f"{command}\n{done.stderr}"


def test_every_python_snippet_runs(workplace: Path) -> None:
    assert blocks("python")
    for snippet in blocks("python"):
        done = subprocess.run(
            [sys.executable, "-c", snippet],
            cwd=workplace,
            capture_output=True,
            text=True,
            timeout=120,
        )
        assert done.returncode == 0, f"{snippet}\n{done.stderr}"


def test_links_lead_somewhere() -> None:
    for target in re.findall(r"\]\(([^)#]+)\)", README.read_text(encoding="utf-8")):
        if not target.startswith("http"):
            assert (README.parent / target).exists(), target
