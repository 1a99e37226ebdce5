"""Class maps against the truth."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from rangemask.errors import InputError
from rangemask.geometry.arrays import AnyArray


@dataclass(frozen=True, slots=True, kw_only=True)
class SemanticMetrics:
    """Over the pixels whose true class is known; NaN where there are none."""

    mean_iou: float
    """Over the classes that occur in truth or prediction, those that do not count left out."""
    pixel_accuracy: float
    class_iou: dict[int, float]

    def to_dict(self) -> dict[str, Any]:
        """As plain values."""
        return {
            "mean_iou": self.mean_iou,
            "pixel_accuracy": self.pixel_accuracy,
            "class_iou": {str(key): value for key, value in self.class_iou.items()},
        }


def semantic_metrics(
    predicted: AnyArray, truth: AnyArray, *, ignore: int | Sequence[int] | None = 0
) -> SemanticMetrics:
    """Compare class ids pixel by pixel.

    Args:
        predicted: (H, W) ids.
        truth: (H, W) ids.
        ignore: true ids of pixels that do not count, 0 (unknown) by default; VOC has 255. Such
            an id predicted where the truth is known is an error of that truth's class only.

    Raises:
        InputError: the shapes differ, or ids are not whole numbers from 0.
    """
    if predicted.shape != truth.shape:
        raise InputError(f"class maps differ in shape: {predicted.shape} and {truth.shape}.")
    for ids in (predicted, truth):
        if ids.dtype.kind not in "iu" or (ids.size and int(ids.min()) < 0):
            raise InputError(f"class ids must be whole numbers from 0, got {ids.dtype}.")
    unknown = [] if ignore is None else np.atleast_1d(ignore).tolist()
    counted = ~np.isin(truth, unknown)
    p, t = predicted[counted].astype(np.int64), truth[counted].astype(np.int64)
    if t.size == 0:
        return SemanticMetrics(mean_iou=math.nan, pixel_accuracy=math.nan, class_iou={})
    # Ids may be sparse and large: counted per id that occurs, never in a table of all.
    names, places = np.unique(np.concatenate([p, t]), return_inverse=True)
    first, second = places[: p.size], places[p.size :]
    shared = np.bincount(first[first == second], minlength=names.size)
    union = np.bincount(first, minlength=names.size) + np.bincount(second, minlength=names.size)
    ious = {
        int(name): float(shared[i] / (union[i] - shared[i]))
        for i, name in enumerate(names)
        if name not in unknown
    }
    return SemanticMetrics(
        mean_iou=float(np.mean(list(ious.values()))),
        pixel_accuracy=float(shared.sum() / t.size),
        class_iou=ious,
    )
