"""Does a confidence know where the errors are? Sparsification (Ilg et al., ECCV 2018)."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rangemask.errors import InputError
from rangemask.geometry.arrays import AnyArray, BoolMap


@dataclass(frozen=True, slots=True, kw_only=True)
class Sparsification:
    """What is left of the error when the least confident pixels are taken away first.

    Everything is NaN where no pixel is known.
    """

    pixels: int
    """Pixels whose error and confidence are known."""

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

    def to_dict(self) -> dict[str, Any]:
        """As plain values."""
        return {
            "pixels": self.pixels,
            "removed": self.removed.tolist(),
            "error": self.error.tolist(),
            "area": self.area,
            "random_area": self.random_area,
            "best_area": self.best_area,
            "ratio_to_random": self.ratio_to_random,
        }


def sparsification(
    error: AnyArray, confidence: AnyArray, *, valid: BoolMap | None = None, steps: int = 100
) -> Sparsification:
    """The sparsification curve of an error.

    Pixels of equal confidence are taken away together in proportion, so that their order in
    memory does not matter.

    Args:
        error: any shape, one number per pixel, such as 1 where off by more than 2 px; not finite
            where unknown.
        confidence: the same shape; not finite where unknown.
        valid: the same shape, where to look; everywhere without it.
        steps: points of the curve.

    Raises:
        InputError: the shapes differ, or there are no steps.
    """
    errors, trust = np.ravel(error).astype(np.float64), np.ravel(confidence).astype(np.float64)
    if np.shape(error) != np.shape(confidence):
        raise InputError(
            f"expected errors and confidences of one shape, got {np.shape(error)} and "
            f"{np.shape(confidence)}."
        )
    if steps < 1:
        raise InputError(f"expected at least one step, got {steps}.")
    known = np.isfinite(errors) & np.isfinite(trust)
    if valid is not None:
        if valid.shape != np.shape(error) or valid.dtype != np.bool_:
            raise InputError(
                f"valid must be bool {np.shape(error)}, got {valid.dtype} {valid.shape}."
            )
        known &= valid.ravel()
    errors, trust = errors[known], trust[known]
    removed = np.arange(steps) / steps
    if errors.size == 0:
        curve = best = np.full(steps, np.nan)
    else:
        curve = _kept_error(errors, trust, removed)
        best = _kept_error(errors, -errors, removed)
    return Sparsification(
        pixels=errors.size,
        removed=removed,
        error=curve,
        area=float(curve.mean()),
        random_area=float(errors.mean()) if errors.size else math.nan,
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
