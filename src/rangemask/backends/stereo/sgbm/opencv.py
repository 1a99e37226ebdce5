"""The quick way: OpenCV's three-way semi-global matcher, once for each view.

The left view's borders are padded, so that every pixel whose partner is inside the right image
is matched, whatever the search range (OpenCV leaves a strip as wide as the range unmatched).
The right view is matched as the left view of the mirrored pair.
"""

from __future__ import annotations

from typing import TypeVar

import cv2
import numpy as np
from numpy.typing import NDArray

from rangemask.backends.stereo.sgbm.span import DisparitySpan
from rangemask.backends.stereo.sgbm.views import TwoViews
from rangemask.geometry.arrays import FloatMap, ImageArray

_Element = TypeVar("_Element", bound=np.generic)

FIXED_POINT = 16
"""OpenCV's disparities count sixteenths of a pixel."""

STEP_PENALTY_PER_PX, JUMP_PENALTY_PER_PX = 8, 32
"""OpenCV's customary penalties, per pixel of the block."""

NO_CERTAINTY = np.float32(0.6)
"""OpenCV does not tell how clear a winner is."""


def match_opencv(left: ImageArray, right: ImageArray, span: DisparitySpan) -> TwoViews:
    """Disparities of both views of an (H, W, 3) RGB pair."""
    here = np.asarray(cv2.cvtColor(left, cv2.COLOR_RGB2GRAY), np.uint8)
    there = np.asarray(cv2.cvtColor(right, cv2.COLOR_RGB2GRAY), np.uint8)
    left_px, right_px = match_grey(here, there, span, block_px=3)
    return TwoViews(left_px, right_px, np.full(here.shape, NO_CERTAINTY, np.float32))


def match_grey(
    left: NDArray[np.uint8], right: NDArray[np.uint8], span: DisparitySpan, *, block_px: int
) -> tuple[FloatMap, FloatMap]:
    """Disparities of both views of two (H, W) grey images, NaN where there is none."""
    left_px = _match_left(left, right, span, block_px)
    right_px = _match_left(_mirror(right), _mirror(left), span, block_px)
    return left_px, _mirror(right_px)


def _match_left(
    left: NDArray[np.uint8], right: NDArray[np.uint8], span: DisparitySpan, block_px: int
) -> FloatMap:
    count = -(-span.count // FIXED_POINT) * FIXED_POINT
    matcher = cv2.StereoSGBM.create(
        minDisparity=span.first_px,
        numDisparities=count,
        blockSize=block_px,
        P1=STEP_PENALTY_PER_PX * block_px**2,
        P2=JUMP_PENALTY_PER_PX * block_px**2,
        disp12MaxDiff=-1,
        mode=cv2.STEREO_SGBM_MODE_SGBM_3WAY,
    )
    before = max(span.first_px + count, 0)
    after = max(-span.first_px, 0)
    padded = [
        cv2.copyMakeBorder(image, 0, 0, before, after, cv2.BORDER_REPLICATE)
        for image in (left, right)
    ]
    found = matcher.compute(*padded)[:, before : before + left.shape[1]]
    unmatched = (span.first_px - 1) * FIXED_POINT
    disparity_px = found.astype(np.float32) / np.float32(FIXED_POINT)
    disparity_px[found <= unmatched] = np.nan
    return disparity_px


def _mirror(image: NDArray[_Element]) -> NDArray[_Element]:
    return np.ascontiguousarray(image[:, ::-1])
