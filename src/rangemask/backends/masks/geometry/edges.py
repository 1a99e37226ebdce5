"""From the work grid to masks at the image's size, with edges drawn to image edges."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from rangemask.backends.masks.geometry.instances import Labels
from rangemask.geometry.arrays import BoolMap, ImageArray

_RADIUS_PX = 4
_SHARPNESS = 40.0
"""Edges of this many grey levels are drawn to."""


def full_masks(
    labels: Labels, count: int, step: int, image: ImageArray, *, snap: bool
) -> list[BoolMap]:
    """(H, W) masks of each instance, holes filled, one piece each.

    Args:
        labels: (h, w) on the work grid.
        count: how many instances there are.
        step: px of the image per point of the grid.
        image: (H, W, 3) uint8 RGB.
        snap: whether edges are drawn to image edges.
    """
    height, width = image.shape[:2]
    guide = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
    reach = 2 * _RADIUS_PX + 2 * step
    masks = []
    for number in range(1, count + 1):
        rows, columns = np.nonzero(labels == number)
        top, left = max(0, rows.min() * step - reach), max(0, columns.min() * step - reach)
        bottom = min(height, (rows.max() + 1) * step + reach)
        right = min(width, (columns.max() + 1) * step + reach)
        soft = _enlarged(labels == number, step, (top, bottom, left, right))
        if snap:
            soft = _guided(soft, guide[top:bottom, left:right])
        mask = np.zeros((height, width), dtype=bool)
        mask[top:bottom, left:right] = _one_piece(soft > 0.5)
        masks.append(mask)
    return masks


def _enlarged(mask: BoolMap, step: int, window: tuple[int, int, int, int]) -> NDArray[np.float32]:
    """The part of a mask within a window of the image, linear between grid points."""
    top, bottom, left, right = window
    start = (step - 1) // 2
    y = (np.arange(top, bottom, dtype=np.float32) - start) / step
    x = (np.arange(left, right, dtype=np.float32) - start) / step
    map_x, map_y = np.meshgrid(x, y)
    soft = cv2.remap(
        mask.astype(np.float32), map_x, map_y, cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE
    )
    return np.asarray(soft, dtype=np.float32)


def _guided(soft: NDArray[np.float32], guide: NDArray[np.uint8]) -> NDArray[np.float32]:
    """Guided filter (He, Sun and Tang, PAMI 2013): the mask as a local line over the image."""
    size = (2 * _RADIUS_PX + 1,) * 2

    def mean(values: NDArray[np.float32]) -> NDArray[np.float32]:
        return np.asarray(cv2.blur(values, size), dtype=np.float32)

    grey = guide.astype(np.float32)
    mean_grey, mean_soft = mean(grey), mean(soft)
    variance = mean(grey * grey) - mean_grey**2
    slope = (mean(grey * soft) - mean_grey * mean_soft) / (variance + np.float32(_SHARPNESS**2))
    offset = mean_soft - slope * mean_grey
    drawn = mean(slope) * grey + mean(offset)
    return np.where((soft == 0) | (soft == 1), _keep_core(soft, drawn), drawn)


def _keep_core(soft: NDArray[np.float32], drawn: NDArray[np.float32]) -> NDArray[np.float32]:
    """Only a narrow band around the edge may change sides."""
    kernel = np.ones((_RADIUS_PX, _RADIUS_PX), dtype=np.uint8)
    inner = cv2.erode((soft > 0.5).astype(np.uint8), kernel) > 0
    outer = cv2.dilate((soft > 0.5).astype(np.uint8), kernel) == 0
    return np.where(inner, np.float32(1), np.where(outer, np.float32(0), drawn))


def _one_piece(mask: BoolMap) -> BoolMap:
    """The largest piece, with small holes filled; large holes are seen through."""
    count, labels, stats, _ = cv2.connectedComponentsWithStats(
        mask.astype(np.uint8), connectivity=4
    )
    if count < 2:
        return mask
    largest = 1 + int(stats[1:, cv2.CC_STAT_AREA].argmax())
    piece = labels == largest
    count, labels, stats, _ = cv2.connectedComponentsWithStats(
        (~piece).astype(np.uint8), connectivity=8
    )
    small = np.flatnonzero(stats[:, cv2.CC_STAT_AREA] < 0.02 * stats[0, cv2.CC_STAT_AREA] + 30)
    holes = np.isin(labels, small[small > 0])
    filled: BoolMap = piece | holes
    return filled
