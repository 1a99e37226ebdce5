"""Which disparities to search: as told, from the rig, or from a quick look at the pair.

The look matches a thumbnail over a wide range, keeps what both views agree on, and takes the
extremes of that with a margin. Every disparity left out makes the real search faster and leaves
fewer wrong answers to choose from.
"""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

from rangemask.backends.stereo.sgbm.config import SgbmConfig
from rangemask.backends.stereo.sgbm.consistency import agree, without_speckles
from rangemask.backends.stereo.sgbm.opencv import match_grey
from rangemask.backends.stereo.sgbm.span import DisparitySpan
from rangemask.errors import InputError
from rangemask.geometry.arrays import FloatMap, ImageArray
from rangemask.geometry.rig import Rig
from rangemask.geometry.stereo import focal_times_baseline

THUMBNAIL_WIDTH_PX = 160
WIDEST_SHARE, CROSSED_SHARE = 0.4, 0.05
"""Largest disparity looked for, and largest negative one, as shares of the image width."""

TAIL_PERCENT = 0.1
"""Of the pixels agreed on, at either end: outliers."""

CROSSED_PERCENT = 2.0
"""So many pixels must agree before the search goes below zero."""

MARGIN_THUMBNAIL_PX = 1.5
MARGIN_PX = 2.0
LEAST_SPECKLE_PX, LEAST_AGREED_PX = 25, 20
BLOCK_PX = 5
LEAST_TEXTURE = 2.0
"""Mean grey-level slope below which a thumbnail pixel matches anything."""


def find_span(
    config: SgbmConfig, left: ImageArray, right: ImageArray, rig: Rig | None
) -> DisparitySpan | None:
    """The disparities to search, within the image; None where the pair tells nothing.

    Raises:
        InputError: a distance was given but the rig cannot turn it into pixels, or nothing is
            left between the two ends.
    """
    low, high = _given_ends(config, rig)
    if low is None or high is None:
        looked = look_for_range(left, right)
        if looked is None and low is None and high is None:
            return None
        low, high = _complete(low, high, looked, left.shape[1])
    if low > high:
        raise InputError(
            f"the search range is empty: it would run from {low} to {high} px. Check "
            "min_disparity_px, max_disparity_px, near_m and far_m against each other."
        )
    low, high = max(low, 1 - left.shape[1]), min(high, left.shape[1] - 1)
    return DisparitySpan(low, high - low + 1) if low <= high else None


def _given_ends(config: SgbmConfig, rig: Rig | None) -> tuple[int | None, int | None]:
    low, high = config.min_disparity_px, config.max_disparity_px
    if low is None and config.far_m is not None:
        low = math.floor(_disparity_px(config.far_m, "far_m", rig))
    if high is None and config.near_m is not None:
        high = math.ceil(_disparity_px(config.near_m, "near_m", rig))
    return low, high


def _disparity_px(distance_m: float, name: str, rig: Rig | None) -> float:
    if rig is None:
        raise InputError(
            f"{name} needs the rig of the pair to become a disparity, and the frame has none. "
            "Give a rig, or min_disparity_px and max_disparity_px instead."
        )
    try:
        return focal_times_baseline(rig) / distance_m - rig.doffs_px
    except ValueError as error:
        raise InputError(f"{name} cannot be turned into a disparity: {error}") from error


def _complete(
    low: int | None, high: int | None, looked: tuple[int, int] | None, width: int
) -> tuple[int, int]:
    """The missing end from the pair; never inside out."""
    seen_low, seen_high = looked or (0, round(WIDEST_SHARE * width))
    if low is None:
        low = min(seen_low, high) if high is not None else seen_low
    return low, max(seen_high, low) if high is None else high


def look_for_range(left: ImageArray, right: ImageArray) -> tuple[int, int] | None:
    """Smallest and largest disparity of a pair in px, with a margin; None where none is clear."""
    scale = max(1.0, left.shape[1] / THUMBNAIL_WIDTH_PX)
    small_left, small_right = (_thumbnail(image, scale) for image in (left, right))
    width = small_left.shape[1]
    scale = left.shape[1] / width
    lowest = -int(CROSSED_SHARE * width)
    span = DisparitySpan(lowest, int(WIDEST_SHARE * width) - lowest + 1)
    left_px, right_px = match_grey(small_left, small_right, span, block_px=BLOCK_PX)
    agreed_px = _agreed(left_px, right_px, small_left)
    if agreed_px.size < LEAST_AGREED_PX:
        return None
    low_px, crossed_px, high_px = np.percentile(
        agreed_px, (TAIL_PERCENT, CROSSED_PERCENT, 100.0 - TAIL_PERCENT)
    )
    margin_px = MARGIN_THUMBNAIL_PX * scale + MARGIN_PX
    high = math.ceil(high_px * scale + margin_px)
    if crossed_px < 0:
        return math.floor(low_px * scale - margin_px), high
    return math.floor(max(low_px * scale - margin_px, 0.0)), max(high, 0)


def _thumbnail(image: ImageArray, scale: float) -> NDArray[np.uint8]:
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    height, width = (max(1, round(side / scale)) for side in grey.shape)
    return np.asarray(cv2.resize(grey, (width, height), interpolation=cv2.INTER_AREA), np.uint8)


def _agreed(left_px: FloatMap, right_px: FloatMap, grey: NDArray[np.uint8]) -> FloatMap:
    """Disparities that both views share, in textured islands of some size; (N,)."""
    slope = cv2.blur(np.abs(cv2.Sobel(grey, cv2.CV_32F, 1, 0, scale=0.125)), (BLOCK_PX, BLOCK_PX))
    sure = agree(left_px, right_px, 1.0) & (slope >= LEAST_TEXTURE)
    kept = without_speckles(np.where(sure, left_px, np.float32(np.nan)), LEAST_SPECKLE_PX)
    return kept[np.isfinite(kept)]
