"""Class maps against the truth."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from rangemask.errors import InputError
from rangemask.geometry.arrays import AnyArray


@dataclass(frozen=True, slots=True, kw_only=True)
class SemanticMetrics:
    """Over the pixels whose true class is known; NaN where there are none."""

    mean_iou: float
    """Over the classes that occur in truth or prediction."""
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
    predicted: AnyArray, truth: AnyArray, *, ignore: int | None = 0
) -> SemanticMetrics:
    """Compare class ids pixel by pixel.

    Args:
        predicted: (H, W) ids.
        truth: (H, W) ids.
        ignore: true id of pixels that do not count, 0 (unknown) by default.

    Raises:
        InputError: the shapes differ, or ids are not whole numbers from 0.
    """
    if predicted.shape != truth.shape:
        raise InputError(f"class maps differ in shape: {predicted.shape} and {truth.shape}.")
    for ids in (predicted, truth):
        if ids.dtype.kind not in "iu" or (ids.size and int(ids.min()) < 0):
            raise InputError(f"class ids must be whole numbers from 0, got {ids.dtype}.")
    counted = np.ones(truth.shape, dtype=bool) if ignore is None else truth != ignore
    p, t = predicted[counted].astype(np.int64), truth[counted].astype(np.int64)
    if t.size == 0:
        return SemanticMetrics(mean_iou=math.nan, pixel_accuracy=math.nan, class_iou={})
    classes = int(max(p.max(), t.max())) + 1
    table = np.bincount(t * classes + p, minlength=classes**2).reshape(classes, classes)
    shared = np.diag(table)
    union = table.sum(0) + table.sum(1) - shared
    ious = {int(i): float(shared[i] / union[i]) for i in np.flatnonzero(union)}
    return SemanticMetrics(
        mean_iou=float(np.mean(list(ious.values()))),
        pixel_accuracy=float(shared.sum() / t.size),
        class_iou=ious,
    )
