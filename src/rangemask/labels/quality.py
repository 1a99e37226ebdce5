"""How good the labels of one image are: a score in [0, 1] for each thing that can be wrong.

The least of them is the quality of the image, so that a rejected image has one reason.
"""

from __future__ import annotations

import math

import numpy as np

from rangemask.geometry.arrays import FloatMap, ImageArray
from rangemask.structures import MaskSet, StereoMatch

_DARK, _BRIGHT = 5, 250


def image_quality(image: ImageArray) -> dict[str, float]:
    """Score ``exposure``: share of pixels that are neither black nor blown out.

    Args:
        image: (H, W, 3) uint8 RGB.
    """
    # The green channel says it as well as all three, in a third of the time.
    green = image[..., 1]
    lost = np.count_nonzero(green < _DARK) + np.count_nonzero(green > _BRIGHT)
    return {"exposure": rounded(1 - lost / green.size)}


def stereo_quality(match: StereoMatch, weight: FloatMap) -> dict[str, float]:
    """Scores ``coverage`` and ``trust`` of a match.

    Args:
        match: what the teacher said.
        weight: (H, W) in [0, 1], of each pixel.

    Returns:
        coverage: share of the pixels that both cameras see whose disparity is known; trust: mean
        weight of the known ones.
    """
    visible = ~match.occluded
    known = np.isfinite(match.disparity) & visible & ~match.filled
    count = int(known.sum())
    return {
        "coverage": rounded(count / max(int(visible.sum()), 1)),
        "trust": rounded(float(weight[known].mean()) if count else 0.0),
    }


def mask_quality(masks: MaskSet) -> dict[str, float]:
    """Score ``masks``: mean score of the objects by area; none for an image without objects."""
    areas = np.array([rle.area for rle in masks.rles], dtype=np.float64)
    if areas.sum() == 0:
        return {}
    mean = float((areas * np.array(masks.scores)).sum() / areas.sum())
    return {"masks": rounded(min(max(mean, 0.0), 1.0))}


def rounded(share: float) -> float:
    """Four digits are more than any score means, and make records short."""
    return math.floor(share * 10_000 + 0.5) / 10_000
