"""Classes of pixels, matched by name."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rangemask.errors import InputError
from rangemask.geometry.arrays import AnyArray
from rangemask.structures import SemanticMap


class ClassListError(InputError):
    """Classes of predictor and data set have no name in common."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class ClassCounts:
    """Pixels by class name; all that mean IoU and pixel accuracy need."""

    hits: Mapping[str, int]
    """Predicted and true."""
    truth: Mapping[str, int]
    predicted: Mapping[str, int]
    """On pixels whose true class is known."""
    pixels: int
    right: int
    """Pixels whose class is right; one that the predictor has no name for is right where none of
    the names is given."""


def count_classes(predicted: SemanticMap, truth: SemanticMap, name: str) -> ClassCounts:
    """Pixels by name; names that only one side has are one class, "other"."""
    if predicted.ids.shape != truth.ids.shape:
        raise InputError(
            f"{name}: predicted classes have shape {predicted.ids.shape}, true ones "
            f"{truth.ids.shape}. Are they of the same image?"
        )
    mine, true = predicted.names[1:], truth.names[1:]
    shared = [one for one in true if one in mine]
    if not shared:
        raise ClassListError(
            f"{name}: no class of the predictor ({', '.join(mine) or 'none'}) is a class of the "
            f"data set ({', '.join(true) or 'none'}). Rename one side's, or judge something else "
            "with --kinds."
        )
    known = truth.ids > 0
    first = _places(predicted.names, shared)[predicted.ids[known]]
    second = _places(truth.names, shared)[truth.ids[known]]
    count = len(shared) + 1
    table = np.bincount(second * count + first, minlength=count**2).reshape(count, count)

    def named(numbers: AnyArray) -> dict[str, int]:
        return {one: int(number) for one, number in zip(shared, numbers[1:], strict=True)}

    return ClassCounts(
        hits=named(np.diag(table)),
        truth=named(table.sum(1)),
        predicted=named(table.sum(0)),
        pixels=int(table.sum()),
        right=int(np.trace(table)),
    )


def _places(names: Sequence[str], shared: Sequence[str]) -> NDArray[np.int64]:
    """Ids to places among the shared names from 1; 0 for others."""
    places = [shared.index(one) + 1 if one in shared else 0 for one in names]
    return np.array([0, *places[1:]], dtype=np.int64)


def class_scores(counts: ClassCounts) -> dict[str, float]:
    """Mean IoU over the classes that occur in the truth, pixel accuracy, and each class's IoU."""
    ious = {}
    for one, true in counts.truth.items():
        union = true + counts.predicted[one] - counts.hits[one]
        if true > 0:
            ious[f"iou/{one}"] = counts.hits[one] / union
    return {
        "mean_iou": float(np.mean(list(ious.values()))) if ious else math.nan,
        "pixel_accuracy": counts.right / counts.pixels if counts.pixels else math.nan,
        **ious,
    }
