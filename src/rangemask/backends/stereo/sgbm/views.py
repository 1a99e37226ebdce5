"""What either way of matching hands on: the disparities of both views."""

from __future__ import annotations

from dataclasses import dataclass

from rangemask.geometry.arrays import FloatMap


@dataclass(frozen=True, slots=True, eq=False)
class TwoViews:
    """Raw disparities of both views, each on its own grid; left x matches right x - d."""

    left_px: FloatMap
    """(H, W), NaN where the matcher has none."""
    right_px: FloatMap
    """(H, W), NaN where the matcher has none."""
    certainty: FloatMap
    """(H, W) in [0, 1]: how clearly the left disparity beats its competitors."""
