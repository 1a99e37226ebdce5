"""Settings of the geometric segmenter."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class GeometryConfig:
    """One setting for all scenes; lengths in px are of disparity, where stereo's noise is even.

    Raises:
        ValueError: a value is outside its range.
    """

    work_width_px: int = 480
    """Planes and components are found on a grid at most this wide."""
    min_confidence: float = 0.1
    """Depth of less confidence counts as unknown."""
    noise_px: float = 0.5
    """Noise of the disparity; thresholds follow it."""
    max_planes: int = 6
    """How many planes are looked for."""
    min_plane_share: float = 0.04
    """Smallest plane, as a share of the pixels of known depth."""
    jump_share: float = 0.07
    """Neighbours whose disparities differ by more than this share belong to two surfaces."""
    min_area_share: float = 0.0007
    """Smallest object, as a share of the image."""
    min_disparity_px: float = 3.0
    """Objects farther than this disparity says are clutter."""
    snap: bool = True
    """Whether mask edges are drawn to image edges."""

    def __post_init__(self) -> None:
        if self.work_width_px < 16:
            raise ValueError(f"work_width_px must be at least 16, got {self.work_width_px}.")
        if not 0 <= self.max_planes <= 20:
            raise ValueError(f"max_planes must be within 0 to 20, got {self.max_planes}.")
        for name in ("min_confidence", "min_plane_share", "min_area_share"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must be within 0 to 1, got {getattr(self, name)}.")
        for name in ("noise_px", "jump_share"):
            if not getattr(self, name) > 0:
                raise ValueError(f"{name} must be positive, got {getattr(self, name)}.")
        if self.min_disparity_px < 0:
            raise ValueError(f"min_disparity_px must not be negative, got {self.min_disparity_px}.")
