"""Is a pair what a stereo matcher needs: rows that agree, and left on the left?"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from rangemask.errors import InputError
from rangemask.geometry.arrays import AnyArray, ImageArray
from rangemask.structures import StereoFrame

MIN_MATCHES = 30
"""Fewer matched points allow no claim."""
ROW_LIMIT_PX = 0.75
"""Rows of rectified sets (Middlebury, KITTI, ETH3D, EuRoC) differ by 0.06 to 0.35 in the median."""
ROW_LIMIT_95_PX = 2.5
"""The same for 95 % of the points: 0.4 to 1.3."""
SWAPPED_SHARE = 0.2
"""Below this share of points further left in the right image, the images are swapped."""

_FEATURES = 1200
_FIND_WIDTH_PX = 640
_MEASURE_WIDTH_PX = 1600
_SMALLEST_PX = 48
"""ORB keeps 31 px from the border."""
_RATIO = 0.8
_EPIPOLAR_PX = 1.5
_REFINED_BY_PX = 3.0


@dataclass(frozen=True, kw_only=True, slots=True)
class PairCheck:
    """What points seen by both images say about a pair; offsets are NaN without points."""

    matches: int
    """Points found in both images that lie on one epipolar geometry."""
    row_offset_px: float
    """Median of |y_left - y_right|."""
    row_offset_95_px: float
    """95 % of the points differ by no more."""
    disparity_px: float
    """Median of x_left - x_right."""
    share_positive: float
    """Share of points with x_left > x_right, as every pair in order has them."""
    identical: bool = False
    """Left and right are the same picture."""
    limit_scale: float = 1.0
    """The row limits are meant for images up to 1600 px wide and grow with larger ones."""
    claims_rectified: bool = False
    """Whether the frame came with a rectified rig."""

    @property
    def rows_agree(self) -> bool | None:
        """Whether the pair is rectified; None with too few matches."""
        if self.matches < MIN_MATCHES:
            return None
        return (
            self.row_offset_px <= ROW_LIMIT_PX * self.limit_scale
            and self.row_offset_95_px <= ROW_LIMIT_95_PX * self.limit_scale
        )

    @property
    def swapped(self) -> bool | None:
        """Whether left and right are exchanged; None with too few matches or unequal rows.

        Two cameras that are not rectified may look aside, which moves points either way.
        """
        if not self.rows_agree:
            return None
        return self.share_positive < SWAPPED_SHARE and self.disparity_px < 0

    def warnings(self) -> list[str]:
        """What is wrong, what was measured, and what to do; empty for a good pair."""
        if self.identical:
            return [
                "left and right are the same picture: there is no disparity to find. "
                "Give the right camera's image."
            ]
        if self.rows_agree is None:
            return [
                f"only {self.matches} points were matched between left and right (at least "
                f"{MIN_MATCHES} are needed): cannot tell whether the pair is rectified and in "
                "order. Are both images of one moment, and is there texture?"
            ]
        found = []
        if not self.rows_agree:
            found.append(f"{self._rows()}: {self._advice()}")
        if self.swapped:
            found.append(
                f"left and right look swapped: {1 - self.share_positive:.0%} of {self.matches} "
                f"points lie further right in the right image (median {-self.disparity_px:.1f} px)."
                " Exchange the two images."
            )
        return found

    def _rows(self) -> str:
        return (
            f"rows of left and right differ by {self.row_offset_px:.1f} px "
            f"(95 %: {self.row_offset_95_px:.1f}) over {self.matches} points"
        )

    def _advice(self) -> str:
        if self.claims_rectified:
            return (
                "the images are not rectified, though the rig says so. Give the rig of the raw "
                "cameras, or calibrate again if a camera was moved."
            )
        return "give the rig of the raw cameras (--rig): predict rectifies the images with it."


def check_pair(frame: StereoFrame) -> PairCheck:
    """Match points of the two images and look at how they moved.

    ORB features with a ratio test and mutual agreement, refined to sub-pixels by
    Lucas-Kanade; wrong matches are left out by a fundamental matrix (RANSAC), which allows
    unrectified pairs too. Takes some 20 ms.

    Raises:
        InputError: the frame has no right image.
    """
    if frame.right is None:
        raise InputError(f"{frame.name}: a pair is checked by its two images, there is one.")
    if np.array_equal(frame.left, frame.right):
        return _nothing(frame, identical=True)
    left, right, scale = _grey(frame.left, frame.right)
    points, moved = _refined(left, right, *_matched(left, right))
    kept = _on_one_geometry(points, moved)
    if not kept.any():
        return _nothing(frame)
    shift = (points - moved)[kept] / scale
    rows = np.abs(shift[:, 1])
    return PairCheck(
        matches=int(kept.sum()),
        row_offset_px=float(np.median(rows)),
        row_offset_95_px=float(np.percentile(rows, 95)),
        disparity_px=float(np.median(shift[:, 0])),
        share_positive=float((shift[:, 0] > 0).mean()),
        limit_scale=1 / scale,
        claims_rectified=_claims_rectified(frame),
    )


def _nothing(frame: StereoFrame, *, identical: bool = False) -> PairCheck:
    return PairCheck(
        matches=0,
        row_offset_px=math.nan,
        row_offset_95_px=math.nan,
        disparity_px=math.nan,
        share_positive=math.nan,
        identical=identical,
        claims_rectified=_claims_rectified(frame),
    )


def _claims_rectified(frame: StereoFrame) -> bool:
    return frame.rig is not None and frame.rig.is_rectified


def _grey(left: ImageArray, right: ImageArray) -> tuple[AnyArray, AnyArray, float]:
    scale = min(1.0, _MEASURE_WIDTH_PX / left.shape[1])
    # Lucas-Kanade takes equal brightness for granted, which two exposures do not give.
    first, second = (
        cv2.equalizeHist(_resized(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), scale))
        for image in (left, right)
    )
    return first, second, scale


def _resized(image: AnyArray, scale: float) -> AnyArray:
    if scale == 1:
        return image
    size = (max(1, round(image.shape[1] * scale)), max(1, round(image.shape[0] * scale)))
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA)


def _matched(
    left: AnyArray, right: AnyArray
) -> tuple[NDArray[np.float32], NDArray[np.float32], float]:
    """Points of both images, (N, 2) px, and how fine the positions are, px."""
    scale = min(1.0, _FIND_WIDTH_PX / left.shape[1])
    small = [_resized(image, scale) for image in (left, right)]
    empty = np.zeros((0, 2), dtype=np.float32)
    if min(small[0].shape) < _SMALLEST_PX:
        return empty, empty, 1 / scale
    orb = cv2.ORB.create(nfeatures=_FEATURES, fastThreshold=7)
    found = [orb.detectAndCompute(image, None) for image in small]
    (left_points, left_words), (right_points, right_words) = found
    if min(len(left_points), len(right_points)) < 2:
        return empty, empty, 1 / scale
    pairs = _mutual(left_words, right_words)
    first, second = (
        np.array([points[i].pt for i in side], dtype=np.float32).reshape(-1, 2)
        for points, side in zip((left_points, right_points), pairs, strict=True)
    )
    # Pixel centres are integers, so the corner at -0.5 stays when an image is resized.
    half, step = np.float32(0.5), np.float32(1 / scale)
    return (first + half) * step - half, (second + half) * step - half, 1 / scale


def _mutual(left: AnyArray, right: AnyArray) -> tuple[Sequence[int], Sequence[int]]:
    """Indices of features that are each other's best match, clearly better than the next."""
    matcher = cv2.BFMatcher(cv2.NORM_HAMMING)
    back = {match.queryIdx: match.trainIdx for match in matcher.match(right, left)}
    good = [
        best
        for best, second in matcher.knnMatch(left, right, k=2)
        if best.distance < _RATIO * second.distance and back[best.trainIdx] == best.queryIdx
    ]
    return [match.queryIdx for match in good], [match.trainIdx for match in good]


def _refined(
    left: AnyArray,
    right: AnyArray,
    points: NDArray[np.float32],
    guess: NDArray[np.float32],
    fineness_px: float,
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Matches to sub-pixels; those that Lucas-Kanade carries far off are dropped."""
    if len(points) == 0:
        return points, guess
    moved, status, _ = cv2.calcOpticalFlowPyrLK(
        left,
        right,
        points,
        guess.copy(),
        winSize=(21, 21),
        maxLevel=1,
        criteria=(cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 20, 0.02),
        flags=cv2.OPTFLOW_USE_INITIAL_FLOW,
    )
    refined = np.asarray(moved, dtype=np.float32).reshape(-1, 2)
    near = np.abs(refined - guess).max(axis=1) < _REFINED_BY_PX * fineness_px
    kept = near & (np.asarray(status).ravel() > 0)
    return points[kept], refined[kept]


def _on_one_geometry(points: NDArray[np.float32], moved: NDArray[np.float32]) -> NDArray[np.bool_]:
    if len(points) < MIN_MATCHES:
        return np.ones(len(points), dtype=np.bool_)
    _, inliers = cv2.findFundamentalMat(points, moved, cv2.FM_RANSAC, _EPIPOLAR_PX, 0.99, 500)
    mask = np.asarray(inliers).ravel()
    if mask.size != len(points):  # None: no geometry was found
        return np.zeros(len(points), dtype=np.bool_)
    return mask.astype(np.bool_)
