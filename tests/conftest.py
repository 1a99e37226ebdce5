"""Fixtures that all tests share."""

import os
from pathlib import Path

import numpy as np
import pytest

from rangemask.geometry import Rig
from rangemask.structures import StereoFrame

REPOSITORY = Path(__file__).resolve().parents[1]

if "PYTEST_XDIST_WORKER" in os.environ:
    # Read when torch and BLAS are loaded, by the commands that tests start too: with a process
    # per core, threads within each only wait for one another.
    os.environ.setdefault("OMP_NUM_THREADS", "1")


@pytest.fixture(scope="session")
def repository() -> Path:
    return REPOSITORY


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """Real images with ground truth, which do not ship with the repository."""
    folder = REPOSITORY.parent / "shared" / "data"
    if not folder.is_dir():
        pytest.skip(f"real data with ground truth is not at {folder}")
    return folder


@pytest.fixture
def rig() -> Rig:
    return Rig.rectified(
        fx=60.0, cx=31.5, cy=23.5, baseline_m=0.1, width=64, height=48, doffs_px=2.0
    )


@pytest.fixture
def frame(rig: Rig) -> StereoFrame:
    """A random pair with a disparity of 6 px everywhere: 0.75 m with ``rig``."""
    random = np.random.default_rng(7)
    wide = random.integers(0, 256, (48, 70, 3), dtype=np.uint8)
    left, right = wide[:, :64].copy(), wide[:, 6:].copy()
    return StereoFrame(left, right, rig, "random")
