"""KITTI raw as the authors took it: one camera for every sequence."""

from __future__ import annotations

from typing import NamedTuple

FOCAL_PX = 721.54
CENTRE_PX = (609.56, 172.85)
BASELINE_M = 0.54
D2D_WIDTH_PX = 1244
"""Raw width for which the published ``d2d`` is computed; recordings are 1224 to 1242 px wide."""


class Camera(NamedTuple):
    """A rectified camera, px."""

    fx: float
    fy: float
    cx: float
    cy: float

    @property
    def focal_baseline(self) -> float:
        """Focal length times baseline, px m."""
        return self.fx * BASELINE_M


def camera_of(raw_size: tuple[int, int], full_size: tuple[int, int]) -> Camera:
    """KITTI's camera for images brought to a size; random resizing and crops leave it alone.

    Args:
        raw_size: height and width of the recording, px.
        full_size: height and width before random resizing, px.
    """
    down, across = (full / raw for full, raw in zip(full_size, raw_size, strict=True))
    cx, cy = CENTRE_PX
    return Camera(FOCAL_PX * across, FOCAL_PX * down, cx * across, cy * down)


def d2d_of(full_width: int) -> float:
    """What turns disparity into depth at a width: 400.9 px m at 1280 px."""
    return FOCAL_PX * BASELINE_M * full_width / D2D_WIDTH_PX
