"""Per-pixel matching cost: census bits and grey differences.

Census (Zabih & Woodfill, ECCV 1994) compares each pixel with its neighbours and keeps only who
is darker, so that exposure differences cancel; a little absolute difference is added to it
because census alone forgets contrast (AD-Census, Mei et al., ICCVW 2011).
"""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from rangemask.backends.stereo.sgbm.span import DisparitySpan
from rangemask.geometry.arrays import ImageArray

HALF_HEIGHT_PX, HALF_WIDTH_PX = 3, 4
"""The census window is 7 x 9 px."""

GREY_DIFFERENCE_CAP = 60
"""Grey levels: a larger difference says no more than this one."""

GREY_WEIGHT = 0.2
COST_CAP = 42
"""Keeps a path cost within 127, so that two opposite paths add up in uint8; see paths.py."""

OUTSIDE_COST = 12
"""Where the partner lies outside the right image: a fair match, so that smoothness decides."""

THREADS = 2

CostVolume = NDArray[np.uint8]
"""(D, H, W) costs: disparity index, row, column."""


@dataclass(frozen=True, slots=True, eq=False)
class CensusView:
    """What matching needs to know of one image."""

    grey: NDArray[np.uint8]
    """(H, W)."""
    bits: NDArray[np.uint32]
    """(H, W): one bit per compared neighbour."""

    def rows(self, start: int, stop: int) -> CensusView:
        """The rows from start up to stop."""
        return CensusView(self.grey[start:stop], self.bits[start:stop])


def view_of(image: ImageArray) -> CensusView:
    """Grey levels and census bits of an (H, W, 3) RGB image."""
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    return CensusView(np.asarray(grey, np.uint8), census_bits(np.asarray(grey, np.uint8)))


def census_bits(grey: NDArray[np.uint8]) -> NDArray[np.uint32]:
    """(H, W) census: 30 neighbours in a checkerboard of 7 x 9 px, one bit each."""
    height, width = grey.shape
    framed = cv2.copyMakeBorder(
        grey, HALF_HEIGHT_PX, HALF_HEIGHT_PX, HALF_WIDTH_PX, HALF_WIDTH_PX, cv2.BORDER_REPLICATE
    )
    bits = np.zeros((height, width), np.uint32)
    for dy in range(2 * HALF_HEIGHT_PX + 1):
        for dx in range((dy + 1) % 2, 2 * HALF_WIDTH_PX + 1, 2):
            if (dy, dx) == (HALF_HEIGHT_PX, HALF_WIDTH_PX):
                continue
            np.left_shift(bits, 1, out=bits)
            np.bitwise_or(bits, framed[dy : dy + height, dx : dx + width] < grey, out=bits)
    return bits


def fill_costs(left: CensusView, right: CensusView, span: DisparitySpan, out: CostVolume) -> None:
    """Write the cost of every disparity of the span into ``out``, (D, H, W) uint8.

    The slices are independent, and OpenCV and NumPy let go of the interpreter while they work,
    so they are shared among a few threads.
    """
    with ThreadPoolExecutor(THREADS) as pool:
        jobs = [pool.submit(_fill_some, left, right, span, out, first) for first in range(THREADS)]
        for job in jobs:
            job.result()


def _fill_some(
    left: CensusView, right: CensusView, span: DisparitySpan, out: CostVolume, first: int
) -> None:
    width = left.grey.shape[1]
    for index in range(first, span.count, THREADS):
        shift_px = span.first_px + index
        here = slice(max(shift_px, 0), min(width, width + shift_px))
        there = slice(max(-shift_px, 0), min(width, width - shift_px))
        cost = out[index]
        if here.start >= here.stop:
            cost.fill(OUTSIDE_COST)
            continue
        cost[:, : here.start] = OUTSIDE_COST
        cost[:, here.stop :] = OUTSIDE_COST
        bits = np.bitwise_count(left.bits[:, here] ^ right.bits[:, there])
        grey = cv2.absdiff(left.grey[:, here], right.grey[:, there])
        grey = cv2.threshold(grey, GREY_DIFFERENCE_CAP, 0, cv2.THRESH_TRUNC)[1]
        mixed = cv2.addWeighted(bits, 1.0, grey, GREY_WEIGHT, 0.0)
        np.minimum(cv2.blur(mixed, (3, 3)), COST_CAP, out=cost[:, here])
