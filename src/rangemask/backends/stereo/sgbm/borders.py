"""Object borders put where the picture has them.

Matching windows and smoothness widen near objects by a few pixels. Beside every depth step each
pixel therefore asks its neighbours, weighted by how alike they look, whether it belongs to the
near or to the far side: a weighted median (Ma et al., ICCV 2013) reduced to a vote of two.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from rangemask.geometry.arrays import BoolMap, FloatMap, ImageArray

STEP_PX = 2.0
"""Smaller differences of disparity are slopes."""

REACH_PX = 2
"""Pixels on either side of a step that are asked."""

RADIUS_PX = 4
_EVEN = range(-RADIUS_PX, RADIUS_PX + 1, 2)
NEIGHBOURS = [(dy, dx) for dy in _EVEN for dx in _EVEN if (dy + dx) % 4 == 2]
"""(dy, dx): a checkerboard of the even pixels of 9 x 9."""

COLOUR_SCALE = 20.0
"""Grey levels over which a neighbour's weight falls to 1/e."""

MAJORITY = 1.3
"""The other side needs so many times the votes of one's own."""

LEAST_MOVE_PX = 1.0


def sharpen_borders(disparity_px: FloatMap, image: ImageArray) -> tuple[FloatMap, BoolMap]:
    """Disparity with borders that follow the picture, and where it changed.

    Args:
        disparity_px: (H, W), dense.
        image: (H, W, 3) RGB, of the same view.
    """
    asked = _beside_steps(disparity_px)
    rows, columns = np.nonzero(asked)
    window = np.ones((2 * RADIUS_PX + 1, 2 * RADIUS_PX + 1), np.uint8)
    extremes_px = cv2.dilate(disparity_px, window) + cv2.erode(disparity_px, window)
    middle_px = np.asarray(0.5 * extremes_px, np.float32)
    votes = _count_votes(disparity_px, image, rows, columns, middle_px[rows, columns])
    own_px = disparity_px[rows, columns]
    is_near = own_px > middle_px[rows, columns]
    own, other = np.where(is_near, (votes.near, votes.far), (votes.far, votes.near))
    other_sum_px = np.where(is_near, votes.far_px, votes.near_px)
    other_px = other_sum_px / np.maximum(other, 1e-6)
    moves = (other > MAJORITY * own) & (np.abs(other_px - own_px) > LEAST_MOVE_PX)
    sharpened_px, changed = disparity_px.copy(), np.zeros(disparity_px.shape, np.bool_)
    sharpened_px[rows[moves], columns[moves]] = other_px[moves]
    changed[rows[moves], columns[moves]] = True
    return sharpened_px, changed


def _beside_steps(disparity_px: FloatMap) -> BoolMap:
    square = np.ones((3, 3), np.uint8)
    steps = cv2.morphologyEx(disparity_px, cv2.MORPH_GRADIENT, square) > STEP_PX
    reach = np.ones((2 * REACH_PX + 1, 2 * REACH_PX + 1), np.uint8)
    return np.asarray(cv2.dilate(steps.astype(np.uint8), reach) > 0, np.bool_)


@dataclass(frozen=True, slots=True, eq=False)
class _Votes:
    """Weights of the neighbours on either side, and weighted sums of their disparities; (N,)."""

    near: NDArray[np.float32]
    far: NDArray[np.float32]
    near_px: NDArray[np.float32]
    far_px: NDArray[np.float32]


def _count_votes(
    disparity_px: FloatMap,
    image: ImageArray,
    rows: NDArray[np.intp],
    columns: NDArray[np.intp],
    middle_px: NDArray[np.float32],
) -> _Votes:
    """Ask the neighbours of N pixels; every sum is over (N,) at once."""
    framed_px = _framed(disparity_px)
    width = framed_px.shape[1]
    disparities_px = framed_px.ravel()
    channels = [_framed(channel).ravel() for channel in cv2.split(image)]
    here = ((rows + RADIUS_PX) * width + columns + RADIUS_PX).astype(np.int32)
    colours = [channel[here] for channel in channels]
    weight_of = np.exp(-np.arange(256) / COLOUR_SCALE).astype(np.float32)
    votes = _Votes(*(np.zeros(here.shape, np.float32) for _ in range(4)))
    for dy, dx in NEIGHBOURS:
        there = here + np.int32(dy * width + dx)
        unlike = np.zeros(here.shape, np.uint8)
        for channel, colour in zip(channels, colours, strict=True):
            seen = channel[there]
            np.maximum(unlike, np.maximum(seen, colour) - np.minimum(seen, colour), out=unlike)
        weight, value_px = weight_of[unlike], disparities_px[there]
        near_weight = weight * (value_px > middle_px)
        far_weight = weight - near_weight
        np.add(votes.near, near_weight, out=votes.near)
        np.add(votes.far, far_weight, out=votes.far)
        np.add(votes.near_px, near_weight * value_px, out=votes.near_px)
        np.add(votes.far_px, far_weight * value_px, out=votes.far_px)
    return votes


def _framed(plane: NDArray[Any]) -> NDArray[Any]:
    sides = (RADIUS_PX,) * 4
    return np.asarray(cv2.copyMakeBorder(plane, *sides, cv2.BORDER_REPLICATE))
