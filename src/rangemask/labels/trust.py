"""How much a student should believe each pixel of a teacher's disparity, in [0, 1].

What a teacher thinks of itself, whether the right image agrees (left-right consistency, as in
Hirschmueller, "Stereo processing by semiglobal matching and mutual information", PAMI 2008, 2.3),
and whether a second teacher agrees: independent doubts, so their factors are multiplied.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from rangemask.errors import InputError
from rangemask.geometry.arrays import BoolMap, FloatMap
from rangemask.structures import StereoFrame, StereoMatch


@dataclass(frozen=True, kw_only=True, slots=True)
class TrustConfig:
    """When two disparities of one pixel agree.

    Raises:
        InputError: a number is negative, or the two limits are in the wrong order.
    """

    agree_px: float = 1.0
    """Differences up to this many px take no trust away."""
    differ_px: float = 3.0
    """Differences from this many px take all of it."""
    agree_share: float = 0.01
    """As ``agree_px``, as a share of the disparity; the larger of the two counts."""
    differ_share: float = 0.05
    """As ``differ_px``, as a share of the disparity; the larger of the two counts."""
    unconfirmed: float = 0.5
    """What is left where the second opinion is unknown."""

    def __post_init__(self) -> None:
        if not 0 <= self.agree_px < self.differ_px:
            raise InputError(
                f"trust needs 0 <= agree_px < differ_px, got {self.agree_px} and {self.differ_px}."
            )
        if not 0 <= self.agree_share < self.differ_share:
            raise InputError(
                "trust needs 0 <= agree_share < differ_share, got "
                f"{self.agree_share} and {self.differ_share}."
            )
        if not 0 <= self.unconfirmed <= 1:
            raise InputError(f"unconfirmed must lie within [0, 1], got {self.unconfirmed}.")


def weigh(match: StereoMatch, *opinions: FloatMap) -> FloatMap:
    """The weight of every pixel of a match.

    Args:
        match: what the teacher said.
        opinions: factors of ``agreement`` or ``left_right``, (H, W) in [0, 1].

    Returns:
        (H, W) float32 in [0, 1]; 0 where disparity is unknown, guessed or hidden from the right
        camera.
    """
    believable = np.isfinite(match.disparity) & ~match.occluded & ~match.filled
    weight = np.where(believable, match.confidence, np.float32(0))
    for opinion in opinions:
        weight *= opinion
    return weight


def agreement(disparity: FloatMap, second: FloatMap, config: TrustConfig) -> FloatMap:
    """How well two maps of disparity agree.

    Args:
        disparity: (H, W) px, NaN where unknown.
        second: the same of another teacher.
        config: how much they may differ.

    Returns:
        (H, W) float32: 1 where they agree, 0 where they do not, ``unconfirmed`` where the second
        is unknown.
    """
    size_px = np.abs(disparity)
    near = np.maximum(np.float32(config.agree_px), np.float32(config.agree_share) * size_px)
    far = np.maximum(np.float32(config.differ_px), np.float32(config.differ_share) * size_px)
    factor = (far - np.abs(disparity - second)) / (far - near)
    factor = np.clip(factor, 0, 1, dtype=np.float32)
    return np.where(np.isfinite(factor), factor, np.float32(config.unconfirmed))


def left_right(disparity: FloatMap, right_disparity: FloatMap, config: TrustConfig) -> FloatMap:
    """How well what the right image says agrees, pixel by pixel of the left one.

    Args:
        disparity: (H, W) px of the left image, NaN where unknown.
        right_disparity: (H, W) px of the right image: pixel x matches left pixel x + disparity.
        config: how much they may differ.

    Returns:
        (H, W) float32 as ``agreement``; 0 where the match lies outside the right image.
    """
    height, width = disparity.shape
    columns = np.arange(width, dtype=np.float32)[None] - np.nan_to_num(disparity)
    rows = np.repeat(np.arange(height, dtype=np.float32)[:, None], width, axis=1)
    # Nearest: between two surfaces the mean of both disparities is that of neither.
    seen = cv2.remap(
        right_disparity,
        columns,
        rows,
        cv2.INTER_NEAREST,
        borderMode=cv2.BORDER_CONSTANT,
        borderValue=float("nan"),
    )
    factor = agreement(disparity, np.asarray(seen, dtype=np.float32), config)
    outside = (columns < -0.5) | (columns > width - 0.5)
    return np.where(outside, np.float32(0), factor)


def mirrored(frame: StereoFrame) -> StereoFrame:
    """The pair in a mirror: its left image is the right one, so that any matcher can look back."""
    if frame.right is None:
        raise InputError(f"{frame.name}: a single image has no left-right consistency.")
    left = np.ascontiguousarray(frame.right[:, ::-1])
    right = np.ascontiguousarray(frame.left[:, ::-1])
    return StereoFrame(left, right, None, frame.name)


def agreeing(factor: FloatMap, known: BoolMap) -> float:
    """Share of known pixels that a second opinion does not speak against."""
    return float((factor[known] >= 0.5).mean()) if known.any() else 0.0
