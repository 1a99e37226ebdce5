"""The pair of ``support.pairs`` as images and files, and the command line as a user runs it."""

import subprocess
import sys
from pathlib import Path

import cv2
import numpy as np
import pytest

from rangemask.geometry import Rig
from rangemask.structures.images import write_image
from support.pairs import BASELINE_M, BOX, FAR_PX, FOCAL_PX, HEIGHT, NEAR_PX, WIDTH, PairOnDisk, Run


@pytest.fixture(scope="session")
def pair_images() -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Left, right and the true disparity (px)."""
    random = np.random.default_rng(11)

    def texture(width: int) -> np.ndarray:
        noise = random.integers(30, 226, (HEIGHT, width, 3), dtype=np.uint8)
        return cv2.GaussianBlur(noise, (0, 0), 0.8)

    wall, box = texture(WIDTH + FAR_PX), texture(WIDTH + NEAR_PX)
    left, right = wall[:, :WIDTH].copy(), wall[:, FAR_PX:].copy()
    rows, columns = BOX
    left[BOX] = box[BOX]
    right[rows, columns.start - NEAR_PX : columns.stop - NEAR_PX] = box[BOX]
    disparity = np.full((HEIGHT, WIDTH), FAR_PX, dtype=np.float32)
    disparity[BOX] = NEAR_PX
    return left, right, disparity


@pytest.fixture
def pair(tmp_path: Path, pair_images: tuple[np.ndarray, np.ndarray, np.ndarray]) -> PairOnDisk:
    folder = tmp_path / "captures"
    left, right = folder / "left" / "000.png", folder / "right" / "000.png"
    for path, image in zip((left, right), pair_images, strict=False):
        path.parent.mkdir(parents=True)
        write_image(path, image)
    rig = Rig.rectified(
        fx=FOCAL_PX,
        cx=(WIDTH - 1) / 2,
        cy=(HEIGHT - 1) / 2,
        baseline_m=BASELINE_M,
        width=WIDTH,
        height=HEIGHT,
    )
    rig.save(tmp_path / "rig.yaml")
    return PairOnDisk(folder, left, right, tmp_path / "rig.yaml")


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Run the installed command line as a user does."""

    def call(*arguments: object) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "rangemask", *map(str, arguments)],
            capture_output=True,
            text=True,
            cwd=tmp_path,
            timeout=120,
            stdin=subprocess.DEVNULL,
        )

    return call
