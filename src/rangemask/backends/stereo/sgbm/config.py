"""Settings of the semi-global matcher."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

Quality: TypeAlias = Literal["best", "fast"]


@dataclass(frozen=True, kw_only=True, slots=True)
class SgbmConfig:
    """What a person may choose; the rest is one setting for all scenes.

    The search range comes from the disparities given, else from the distances given and the
    frame's rig, else from a quick look at the pair itself; each end on its own.
    """

    quality: Quality = "best"
    """best: own aggregation on census costs, both views. fast: OpenCV's matcher, both views."""
    fill: bool = False
    """Guess the pixels without a match; they are flagged and carry a low confidence."""
    min_disparity_px: int | None = None
    """Smallest disparity searched; negative where the views cross."""
    max_disparity_px: int | None = None
    """Largest disparity searched."""
    near_m: float | None = None
    """Nothing is nearer than this, metres; needs a rig."""
    far_m: float | None = None
    """Nothing farther than this matters, metres; needs a rig."""

    def __post_init__(self) -> None:
        if self.quality not in get_args(Quality):
            raise ValueError(f"quality must be 'best' or 'fast', got {self.quality!r}.")
        for name in ("near_m", "far_m"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise ValueError(f"{name} must be a positive number of metres, got {value}.")
        if self.near_m is not None and self.far_m is not None and self.near_m >= self.far_m:
            raise ValueError(
                f"near_m must be smaller than far_m, got near_m={self.near_m}, far_m={self.far_m}."
            )
        low, high = self.min_disparity_px, self.max_disparity_px
        if low is not None and high is not None and low >= high:
            raise ValueError(
                f"min_disparity_px must be smaller than max_disparity_px, got {low} and {high}."
            )
