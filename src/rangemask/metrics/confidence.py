"""Does a confidence know where the errors are? Sparsification (Ilg et al., ECCV 2018)."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rangemask.errors import InputError
from rangemask.geometry.arrays import AnyArray


@dataclass(frozen=True, slots=True, kw_only=True)
class Sparsification:
    """What is left of the error when the least confident pixels are taken away first."""

    removed: NDArray[np.float64]
    """(steps,) share of pixels taken away, from 0."""
    error: NDArray[np.float64]
    """(steps,) mean error of the rest."""
    area: float
    """Area under the curve over [0, 1)."""
    random_area: float
    """The same for a confidence that knows nothing: the mean error of all pixels."""
    best_area: float
    """The same for a confidence that knows the errors."""

    @property
    def ratio_to_random(self) -> float:
        """1 knows nothing, smaller is better; NaN where there are no errors at all."""
        return self.area / self.random_area if self.random_area > 0 else math.nan


def sparsification(error: AnyArray, confidence: AnyArray, *, steps: int = 100) -> Sparsification:
    """The sparsification curve of an error.

    Pixels of equal confidence are taken away together in proportion, so that their order in
    memory does not matter.

    Args:
        error: any shape, one number per pixel, such as 1 where off by more than 2 px.
        confidence: the same shape.
        steps: points of the curve.

    Raises:
        InputError: the shapes differ, there are no pixels, or a number is not finite.
    """
    errors, trust = np.ravel(error).astype(np.float64), np.ravel(confidence).astype(np.float64)
    if np.shape(error) != np.shape(confidence) or errors.size == 0:
        raise InputError(
            f"expected errors and confidences of one shape, got {np.shape(error)} and "
            f"{np.shape(confidence)}."
        )
    if not (np.isfinite(errors).all() and np.isfinite(trust).all()):
        raise InputError("errors and confidences must be finite; leave unknown pixels out.")
    removed = np.arange(steps) / steps
    curve = _kept_error(errors, trust, removed)
    best = _kept_error(errors, -errors, removed)
    return Sparsification(
        removed=removed,
        error=curve,
        area=float(curve.mean()),
        random_area=float(errors.mean()),
        best_area=float(best.mean()),
    )


def _kept_error(
    errors: NDArray[np.float64], trust: NDArray[np.float64], removed: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Mean error of the most trusted pixels, for each share removed."""
    levels, group = np.unique(-trust, return_inverse=True)
    sizes = np.bincount(group, minlength=levels.size)
    sums = np.bincount(group, weights=errors, minlength=levels.size)
    pixels = np.concatenate([[0], np.cumsum(sizes)])
    totals = np.concatenate([[0.0], np.cumsum(sums)])
    kept = (1 - removed) * errors.size
    left: NDArray[np.float64] = np.interp(kept, pixels, totals) / kept
    return left
