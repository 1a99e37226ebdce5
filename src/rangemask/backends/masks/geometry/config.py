"""Settings of the segmenter that looks at depth alone."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True, slots=True)
class GeometryConfig:
    """What a person may choose; the defaults are one setting for all scenes.

    "Disparity px" are pixels of the full image's disparity where the rig has a baseline. Where
    depth has no such scale, the nearest things (98th percentile) count as a tenth of the
    image's width, which is common for stereo cameras.

    Raises:
        ValueError: a value is outside its range.
    """

    work_width_px: int = 400
    """Planes and instances are found on a grid about this wide; outlines at full size."""
    max_planes: int = 6
    """At most this many planes are looked for."""
    min_plane_share: float = 0.02
    """Smallest plane of the surroundings, in parts of all pixels with depth."""
    min_area_share: float = 0.0006
    """Smallest object, in parts of the image."""
    min_area_px: int = 100
    """Smallest object, px of the full image."""
    noise_px: float = 0.25
    """Least noise that depth is believed to have, disparity px; more is measured."""
    min_confidence: float = 0.1
    """Pixels of less confidence are not looked at; maps without confidence are trusted."""
    max_depth_error: float = 0.1
    """Objects whose depth is known no better than this (noise over disparity) are far clutter."""
    min_score: float = 0.4
    """Objects with a lower score are dropped."""
    snap: bool = True
    """Whether outlines are drawn by the image's colours too, not by depth alone."""
    seed: int = 0
    """Of the random samples; the same seed gives the same masks."""

    def __post_init__(self) -> None:
        for name in ("min_plane_share", "min_area_share", "min_confidence", "min_score"):
            value = getattr(self, name)
            if not 0 <= value <= 1:
                raise ValueError(f"{name} must lie within 0 to 1, got {value}.")
        for name in ("noise_px", "max_depth_error"):
            value = getattr(self, name)
            if not value > 0:
                raise ValueError(f"{name} must be positive, got {value}.")
        if self.work_width_px < 16:
            raise ValueError(f"work_width_px must be at least 16, got {self.work_width_px}.")
        if not 0 <= self.max_planes <= 20:
            raise ValueError(f"max_planes must lie within 0 to 20, got {self.max_planes}.")
        if self.min_area_px < 0:
            raise ValueError(f"min_area_px must not be negative, got {self.min_area_px}.")
        if self.seed < 0:
            raise ValueError(f"seed must not be negative, got {self.seed}.")
