"""Full-size masks made fit to be kept: specks and pinholes, and masks that are there twice."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import cv2
import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco
from torch import Tensor

from rangemask.geometry.arrays import BoolMap
from rangemask.models.heads.masks.merging import masks_at_size
from rangemask.structures.masks import Rle, encode_masks

AT_ONCE = 8
"""Masks that exist as pixels at one time."""


class Crop(NamedTuple):
    """A part of an image, px; right and bottom are the first px beyond."""

    left: int
    top: int
    right: int
    bottom: int
    layer: int = 0
    """Of crops; 0 for the whole image."""


def full_size(
    logits: Tensor, crop: Crop, image_size: tuple[int, int], *, min_region_px: int
) -> list[Rle]:
    """Masks as run lengths of the whole image; never more than a few exist as pixels.

    Args:
        logits: (n, h, w), of the crop.
        crop: which part of the image the logits show.
        image_size: height and width of the image, px.
        min_region_px: smaller regions and holes are cleaned away.
    """
    height, width = crop.bottom - crop.top, crop.right - crop.left
    rles: list[Rle] = []
    for part in logits.split(AT_ONCE):
        masks = masks_at_size(part, height, width).cpu().numpy()
        clean = np.zeros((len(part), *image_size), dtype=bool)
        inside = clean[:, crop.top : crop.bottom, crop.left : crop.right]
        for index, mask in enumerate(masks):
            inside[index] = without_specks(mask, min_region_px)
        rles += encode_masks(clean)
    return rles


def without_specks(mask: BoolMap, min_area_px: int) -> BoolMap:
    """A mask whose small holes are filled and whose small regions are gone, (H, W).

    The largest region stays whatever its size. What is open to the border of the image is no
    hole.

    Args:
        mask: (H, W) bool.
        min_area_px: holes and regions with fewer pixels are small.
    """
    rows, columns = np.flatnonzero(mask.any(1)), np.flatnonzero(mask.any(0))
    if min_area_px < 2 or rows.size == 0:
        return mask
    box = slice(rows[0], rows[-1] + 1), slice(columns[0], columns[-1] + 1)
    # A margin makes all that surrounds the mask one region, the first.
    inside = np.pad(mask[box].view(np.uint8), 1)
    _, holes, of_holes, _ = cv2.connectedComponentsWithStats(1 - inside, connectivity=4)
    small = of_holes[:, cv2.CC_STAT_AREA] < min_area_px
    small[[0, holes[0, 0]]] = False
    filled = (inside > 0) | small[holes]
    _, regions, of_regions, _ = cv2.connectedComponentsWithStats(
        filled.view(np.uint8), connectivity=8
    )
    areas = of_regions[:, cv2.CC_STAT_AREA].copy()
    areas[0] = 0  # the background
    kept = areas >= min_area_px
    kept[areas.argmax()] = True
    clean = np.zeros_like(mask)
    clean[box] = kept[regions][1:-1, 1:-1]
    return clean


def distinct(rles: Sequence[Rle], max_iou: float) -> list[int]:
    """Indices of masks without those that an earlier one repeats.

    Args:
        rles: of one image, best first.
        max_iou: masks that overlap a kept one by more are repetitions.
    """
    if not rles:
        return []
    coded = [rle.to_coco() for rle in rles]
    overlaps: NDArray[np.float64] = coco.iou(coded, coded, [0] * len(coded))
    repeats = overlaps > max_iou
    kept: list[int] = []
    for index in range(len(rles)):
        if not repeats[index, kept].any():
            kept.append(index)
    return kept
