"""How far away objects were said to be, against how far they are."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from rangemask.evaluation.predictors import Prediction
from rangemask.geometry.arrays import AnyArray, FloatMap
from rangemask.metrics import mask_iou
from rangemask.structures import MaskSet

MATCH_IOU = 0.5
"""From which a predicted object is the true one."""
_LEAST_PX = 10
_LEAST_SHARE = 0.2


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectScore:
    """One true object and how far away it was said to be."""

    label: str
    true_m: float
    predicted_m: float
    """NaN where it was found but its distance is not known, or where it was missed."""
    found: bool

    @property
    def error_share(self) -> float:
        """Error relative to the true distance; NaN where there is none to tell."""
        return abs(self.predicted_m / self.true_m - 1)


def judge_objects(
    truth: MaskSet | None, true_m: FloatMap | None, prediction: Prediction
) -> tuple[ObjectScore, ...] | None:
    """True objects with the distance that was predicted of them.

    An object whose depth is known at fewer than 10 of its pixels, or less than a fifth of them, has
    no true distance and is left out.

    Args:
        truth: the true masks.
        true_m: (H, W) true metres.
        prediction: of the frame.

    Returns:
        None where truth or prediction have no masks or no metres.

    Raises:
        InputError: sizes differ.
    """
    if true_m is None or truth is None:
        return None
    if prediction.masks is None or prediction.distances_m is None:
        return None
    sure = list(prediction.sure)
    partners = match(prediction.masks.select(sure), truth)
    found = []
    for index, mask in enumerate(truth):
        inside = true_m[mask]
        known = inside[np.isfinite(inside)]
        if known.size < max(_LEAST_PX, _LEAST_SHARE * inside.size):
            continue
        partner = partners.get(index)
        found.append(
            ObjectScore(
                label=truth.labels[index],
                true_m=float(np.median(known)),
                predicted_m=(
                    math.nan if partner is None else prediction.distances_m[sure[partner]]
                ),
                found=partner is not None,
            )
        )
    return tuple(found)


def match(predicted: MaskSet, truth: MaskSet, *, iou: float = MATCH_IOU) -> dict[int, int]:
    """True masks to predicted ones, as many pairs from that IoU as there can be, one to one."""
    overlaps = mask_iou(predicted, truth)
    enough = overlaps >= iou
    fewest = min(overlaps.shape) + 1
    pairs = linear_sum_assignment(enough * (1 + overlaps / fewest), maximize=True)
    return {int(true): int(mine) for mine, true in zip(*pairs, strict=True) if enough[mine, true]}


def object_scores(objects: Sequence[ObjectScore], counts: NDArray[np.float64]) -> dict[str, float]:
    """Distances of objects in numbers.

    Args:
        objects: the true ones.
        counts: (objects,) how often each is in the set, for resampling.
    """
    total = float(counts.sum())
    errors = np.array([one.error_share for one in objects], dtype=np.float64)
    known = np.isfinite(errors)
    missed = np.array([not one.found for one in objects], dtype=bool)

    def part(which: AnyArray) -> float:
        return float(counts[which].sum()) / total if total else math.nan

    return {
        "truths": total,
        "median_error": _weighted_median(errors[known], counts[known]),
        "within_2": part(known & (errors <= 0.02)),
        "within_5": part(known & (errors <= 0.05)),
        "within_10": part(known & (errors <= 0.10)),
        "missed": part(missed),
        "unmeasured": part(~missed & ~known),
    }


def _weighted_median(values: NDArray[np.float64], counts: NDArray[np.float64]) -> float:
    values, counts = values[counts > 0], counts[counts > 0]
    if not values.size:
        return math.nan
    order = np.argsort(values)
    reached = np.cumsum(counts[order])
    low = int(np.searchsorted(reached, reached[-1] / 2, side="left"))
    high = int(np.searchsorted(reached, reached[-1] / 2, side="right"))
    return float((values[order[low]] + values[order[min(high, order.size - 1)]]) / 2)
