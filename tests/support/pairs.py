"""A pair whose answer is known: a textured box 1 m away before a wall at 3 m."""

import subprocess
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

WIDTH, HEIGHT, FOCAL_PX, BASELINE_M = 320, 240, 300.0, 0.1
NEAR_PX, FAR_PX = 30, 10
BOX = (slice(80, 180), slice(120, 220))

Run = Callable[..., subprocess.CompletedProcess[str]]


@dataclass(frozen=True)
class PairOnDisk:
    folder: Path
    left: Path
    right: Path
    rig: Path
