"""Which pixels of a depth map make good points: outliers found in the image's own grid.

Neighbours in space are looked for among neighbours in the image, which costs a fixed number of
passes over the map however many points there are; a tree over 1.3 million points takes many
times as long. A point is judged by its nearest few neighbours, relative to the spacing that
pixels have at its range, so that neither distance nor slant makes an outlier.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rangemask.errors import InputError
from rangemask.geometry.arrays import AnyArray, BoolMap, FloatMap, PointArray

_STRIP_PIXELS = 200_000
_RIM_SPACINGS = 3.0


@dataclass(frozen=True, slots=True, kw_only=True)
class CloudCleaning:
    """What is left out of a point cloud; None switches a step off.

    Raises:
        InputError: a value is outside its range.
    """

    max_range_m: float | None = None
    """Points farther along the optical axis are left out, m."""
    min_confidence: float | None = None
    """Points of less confidence are left out, where the map has confidence."""
    deviations: float | None = 3.0
    """Statistical removal: points whose neighbours are farther than mean + so many standard
    deviations (Rusu et al. 2008, "Towards 3D point cloud based object maps"), and than three
    spacings, which the rim of any smooth surface reaches."""
    radius_share: float | None = 0.02
    """Radius removal: the radius as a share of the point's range, at least three spacings."""
    min_neighbours: int = 3
    """Radius removal: points with fewer neighbours within the radius are left out. A floor seen
    far away has near neighbours only along its row, four of them in the default window."""
    window: int = 2
    """Neighbours are looked for up to so many pixels away; 2 makes 24 of them."""

    def __post_init__(self) -> None:
        for name in ("max_range_m", "deviations", "radius_share"):
            value = getattr(self, name)
            if value is not None and not value > 0:
                raise InputError(f"{name} must be positive, got {value}.")
        if self.min_confidence is not None and not 0 <= self.min_confidence <= 1:
            raise InputError(f"min_confidence must be within 0 to 1, got {self.min_confidence}.")
        if not 1 <= self.window <= 10:
            raise InputError(f"window must be within 1 to 10, got {self.window}.")
        if not 0 <= self.min_neighbours <= (2 * self.window + 1) ** 2 - 1:
            raise InputError(
                f"a window of {self.window} px holds {(2 * self.window + 1) ** 2 - 1} neighbours, "
                f"min_neighbours is {self.min_neighbours}."
            )


def clean_pixels(
    points_m: PointArray, fx: float, config: CloudCleaning, confidence: FloatMap | None = None
) -> BoolMap:
    """Which pixels give points that stay.

    Args:
        points_m: (H, W, 3) metres, NaN where unknown.
        fx: focal length, px.
        config: what to leave out.
        confidence: (H, W) in [0, 1].

    Returns:
        (H, W) bool.
    """
    z = points_m[..., 2]
    keep: BoolMap = np.isfinite(z)
    if config.max_range_m is not None:
        keep &= np.less_equal(z, config.max_range_m)
    if config.min_confidence is not None and confidence is not None:
        keep &= confidence >= config.min_confidence
    if config.deviations is None and config.radius_share is None:
        return keep
    # What is left out already is no neighbour.
    mean, near = neighbourhood(np.where(keep[..., None], points_m, np.float32(np.nan)), fx, config)
    if config.radius_share is not None:
        keep &= near >= config.min_neighbours
    if config.deviations is not None and keep.any():
        # Points alone in their window have no mean: they are outliers.
        known = mean[keep & np.isfinite(mean)].astype(np.float64)
        limit = known.mean() + config.deviations * known.std() if known.size else 0.0
        keep &= mean <= max(limit, _RIM_SPACINGS)
    return keep


def neighbourhood(
    points_m: PointArray, fx: float, config: CloudCleaning
) -> tuple[FloatMap, AnyArray]:
    """How near the neighbours of each point are, in spacings of pixels at its range (z / fx).

    Args:
        points_m: (H, W, 3) metres, NaN where unknown.
        fx: focal length, px.
        config: window and radius.

    Returns:
        (H, W) float32 mean distance of the four nearest neighbours in the window, infinite
        where there are fewer, and (H, W) uint16 how many lie within the radius.
    """
    height, width = points_m.shape[:2]
    mean = np.empty((height, width), dtype=np.float32)
    count = np.empty((height, width), dtype=np.uint16)
    reach = config.window
    padded = np.pad(
        np.moveaxis(points_m, -1, 0),
        ((0, 0), (reach, reach), (reach, reach)),
        constant_values=np.nan,
    )
    # Strips stay in cache: the passes over them are many.
    rows = max(1, _STRIP_PIXELS // max(width, 1))
    for first in range(0, height, rows):
        strip = slice(first, min(first + rows, height))
        mean[strip], count[strip] = _strip(padded[:, first : strip.stop + 2 * reach], fx, config)
    return mean, count


def _strip(padded: PointArray, fx: float, config: CloudCleaning) -> tuple[FloatMap, AnyArray]:
    reach = config.window
    height, width = padded.shape[1] - 2 * reach, padded.shape[2] - 2 * reach
    here = padded[:, reach : reach + height, reach : reach + width]
    spacing = here[2] / np.float32(fx)
    share = np.float32(config.radius_share or 0.0)
    limit = np.maximum(share * here[2], _RIM_SPACINGS * spacing) ** 2
    nearest = np.full((4, height, width), np.inf, dtype=np.float32)
    count = np.zeros((height, width), dtype=np.uint16)
    for dy in range(2 * reach + 1):
        for dx in range(2 * reach + 1):
            if dy == dx == reach:
                continue
            apart = padded[:, dy : dy + height, dx : dx + width] - here
            apart *= apart
            squared = apart[0]
            squared += apart[1]
            squared += apart[2]
            count += squared <= limit
            for best in nearest:
                # fmin and fmax pass over NaN, so that unknown neighbours never enter.
                larger = np.maximum(best, squared)
                np.fmin(best, squared, out=best)
                squared = larger
    mean = np.sqrt(nearest).mean(axis=0) / spacing
    return np.where(np.isnan(mean), np.float32(np.inf), mean), count
