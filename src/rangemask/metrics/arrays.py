"""Checks that all metrics begin with."""

from __future__ import annotations

import math

import numpy as np
from numpy.typing import NDArray

from rangemask.errors import InputError
from rangemask.geometry.arrays import AnyArray, BoolMap, FloatMap


def as_map(values: AnyArray, what: str) -> NDArray[np.float64]:
    """A map of numbers as float64.

    Raises:
        InputError: it is not of shape (H, W).
    """
    array = np.asarray(values)
    if array.ndim != 2 or array.dtype.kind not in "fiu":
        raise InputError(
            f"{what} must be numbers of shape (H, W), got {array.dtype} {array.shape}."
        )
    return array.astype(np.float64)


def known_truth(
    truth: AnyArray, shape: tuple[int, ...], valid: BoolMap | None, what: str
) -> tuple[NDArray[np.float64], BoolMap]:
    """The truth as float64, and where it is known and asked for.

    Raises:
        InputError: truth or valid do not have the prediction's shape.
    """
    array = as_map(truth, what)
    if array.shape != shape:
        raise InputError(
            f"{what} has shape {array.shape}, the prediction {shape}. Are they of the same frame?"
        )
    known = np.isfinite(array)
    if valid is not None:
        if valid.shape != shape or valid.dtype != np.bool_:
            raise InputError(f"valid must be bool {shape}, got {valid.dtype} {valid.shape}.")
        known &= valid
    return array, known


def weights_of(weight: FloatMap | None, known: BoolMap) -> NDArray[np.float64]:
    """How much each pixel counts, (H, W) float64; 1 each without weights.

    Raises:
        InputError: they have another shape, or are negative or unknown where the truth is known.
    """
    if weight is None:
        return np.ones(known.shape)
    counts = as_map(weight, "weight")
    if counts.shape != known.shape:
        raise InputError(f"weight has shape {counts.shape}, the truth {known.shape}.")
    inside = counts[known]
    if not (np.isfinite(inside).all() and (inside >= 0).all()):
        raise InputError("weights must be known and not negative wherever the truth is known.")
    return counts


def mean(values: AnyArray, counts: AnyArray) -> float:
    """The mean of values that count as much as they do; NaN where nothing counts."""
    total = float(counts.sum())
    return float((values * counts).sum() / total) if total > 0 else math.nan


def share(part: float, whole: float) -> float:
    """Part of a whole; NaN where the whole is empty."""
    return part / whole if whole else math.nan
