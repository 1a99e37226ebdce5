"""Do the two views agree? Which left pixels can the right camera not see?"""

from __future__ import annotations

import cv2
import numpy as np

from rangemask.geometry.arrays import BoolMap, FloatMap

FIXED_POINT = 16
NO_DISPARITY = -32768


def look_up(right_map: FloatMap, disparity_px: FloatMap) -> FloatMap:
    """The right view's values where the left pixels land; NaN outside or where unknown.

    Args:
        right_map: (H, W) on the right view's grid.
        disparity_px: (H, W) on the left view's grid.
    """
    height, width = disparity_px.shape
    columns = np.arange(width, dtype=np.float32)
    target = np.rint(columns - np.nan_to_num(disparity_px, nan=2.0 * width))
    inside = (target >= 0) & (target < width)
    index = np.where(inside, target, 0.0).astype(np.int32)
    index += (np.arange(height, dtype=np.int32) * width)[:, None]
    found: FloatMap = right_map.ravel()[index]
    found[~inside] = np.nan
    return found


def agree(left_px: FloatMap, right_px: FloatMap, tolerance_px: float) -> BoolMap:
    """(H, W): left pixels whose partner points back at them."""
    return np.asarray(np.abs(look_up(right_px, left_px) - left_px) <= tolerance_px, np.bool_)


def hidden(
    disparity_px: FloatMap, right_px: FloatMap, left_px: FloatMap, tolerance_px: float
) -> BoolMap:
    """(H, W): left pixels that, at their disparity, the right camera cannot see.

    They land outside the right image, or on something nearer than themselves. The right view is
    believed only where it agrees with the left one.

    Args:
        disparity_px: (H, W), dense.
        right_px: (H, W) disparities of the right view.
        left_px: (H, W) matched disparities of the left view.
        tolerance_px: smaller steps do not hide anything.
    """
    # Seen from the right image, matching runs the other way: mirror both.
    believed = agree(right_px[:, ::-1], left_px[:, ::-1], tolerance_px)[:, ::-1]
    blocker_px = look_up(np.where(believed, right_px, np.float32(np.nan)), disparity_px)
    columns = np.arange(disparity_px.shape[1], dtype=np.float32)
    landing = np.rint(columns - disparity_px)
    outside = (landing < 0) | (landing > columns[-1])
    return np.asarray(outside | (blocker_px > disparity_px + tolerance_px), np.bool_)


def without_speckles(disparity_px: FloatMap, least_px: int) -> FloatMap:
    """NaN on islands of fewer than ``least_px`` pixels that differ from all around them."""
    known = np.isfinite(disparity_px)
    scaled = np.where(known, np.rint(disparity_px * FIXED_POINT), NO_DISPARITY).astype(np.int16)
    cv2.filterSpeckles(scaled, NO_DISPARITY, least_px, FIXED_POINT)
    return np.where(scaled == NO_DISPARITY, np.float32(np.nan), disparity_px)
