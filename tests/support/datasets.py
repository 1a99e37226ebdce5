"""Small data sets on disk for the tests of labels."""

from pathlib import Path

import numpy as np

from rangemask.data.synthetic import random_scene, render
from rangemask.geometry import Rig
from rangemask.structures.images import write_image

RIG = Rig.rectified(fx=120.0, cx=79.5, cy=59.5, baseline_m=0.12, width=160, height=120)


def stereo_dataset(root: Path, frames: int = 3) -> Path:
    """``left/``, ``right/`` and ``rig.yaml`` with rendered pairs f000, f001, ..."""
    for side in ("left", "right"):
        (root / side).mkdir(parents=True)
    for number in range(frames):
        frame = render(random_scene(number), RIG).frame
        assert frame.right is not None
        write_image(root / f"left/f{number:03}.png", frame.left)
        write_image(root / f"right/f{number:03}.png", frame.right)
    RIG.save(root / "rig.yaml")
    return root


def mono_dataset(root: Path, frames: int = 2) -> Path:
    """``images/`` with pictures of noise a0, a1, ..."""
    (root / "images").mkdir(parents=True)
    for number in range(frames):
        noise = np.random.default_rng(number).integers(0, 256, (24, 32, 3), dtype=np.uint8)
        write_image(root / f"images/a{number}.png", noise)
    return root


def label_files(root: Path) -> dict[str, bytes]:
    """All files of a store by relative path, without what differs between machines."""
    skipped = {"records"}
    return {
        path.relative_to(root).as_posix(): path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file() and path.relative_to(root).parts[0] not in skipped
    }
