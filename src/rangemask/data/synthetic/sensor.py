"""What a sensor does to a perfect picture: blur, gain, noise."""

from __future__ import annotations

import math
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from rangemask.geometry.arrays import ImageArray


@dataclass(frozen=True, slots=True, kw_only=True)
class SensorConfig:
    """Switches, all off at 0 (gain: 1).

    Raises:
        ValueError: a value is not finite, or negative (right_offset may be).
    """

    noise: float = 1.0
    """Standard deviation, grey levels."""
    blur_px: float = 0.0
    """Standard deviation of a Gaussian."""
    right_gain: float = 1.0
    """How much brighter the right eye's exposure is."""
    right_offset: float = 0.0
    """Grey levels added to the right image."""

    def __post_init__(self) -> None:
        for name in ("noise", "blur_px", "right_gain"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(f"{name} must not be negative, got {getattr(self, name)}.")
        if not math.isfinite(self.right_offset):
            raise ValueError(f"right_offset must be a finite number, got {self.right_offset}.")


def expose(
    radiance: NDArray[np.float32],
    sensor: SensorConfig,
    random: np.random.Generator,
    *,
    right: bool,
) -> ImageArray:
    """Turn (H, W, 3) radiance in [0, 1] into what the sensor gives, uint8."""
    grey: NDArray[np.floating] = radiance * 255.0
    if sensor.blur_px > 0:
        grey = np.asarray(cv2.GaussianBlur(grey, (0, 0), sensor.blur_px), dtype=np.float32)
    if right:
        grey = grey * sensor.right_gain + sensor.right_offset
    if sensor.noise > 0:
        grey = grey + random.normal(0, sensor.noise, grey.shape)
    exposed: ImageArray = np.clip(np.rint(grey), 0, 255).astype(np.uint8)
    return exposed
