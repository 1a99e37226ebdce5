"""Errors of a depth map against the truth (Eigen et al., NIPS 2014, and KITTI)."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass

import numpy as np

from rangemask.errors import InputError
from rangemask.geometry.arrays import AnyArray, BoolMap
from rangemask.metrics.arrays import as_map, known_truth
from rangemask.metrics.disparity import share


@dataclass(frozen=True, slots=True, kw_only=True)
class DepthMetrics:
    """Over the pixels that are given and whose truth is known; NaN where there are none."""

    pixels: int
    """Pixels with known truth in the range asked for."""
    density: float
    """Share of them that were given."""
    mae_m: float
    rmse_m: float
    abs_rel: float
    """Mean of |error| / truth."""
    sq_rel: float
    """Mean of error^2 / truth, m."""
    rmse_log: float
    """Root mean square difference of natural logarithms."""
    silog: float
    """100 x standard deviation of the difference of logarithms; blind to scale."""
    delta_1: float
    """Share with max(p / t, t / p) < 1.25."""
    delta_2: float
    """... < 1.25^2."""
    delta_3: float
    """... < 1.25^3."""

    def to_dict(self) -> dict[str, float | int]:
        """As plain values."""
        return asdict(self)


def depth_metrics(
    predicted_m: AnyArray,
    truth_m: AnyArray,
    *,
    valid: BoolMap | None = None,
    min_depth_m: float = 0.0,
    max_depth_m: float = math.inf,
) -> DepthMetrics:
    """Compare a depth map with the truth.

    Args:
        predicted_m: (H, W) metres, not finite or not positive where not given.
        truth_m: (H, W) metres, not finite or not positive where unknown.
        valid: (H, W), where to look; everywhere without it.
        min_depth_m: pixels whose truth is not above it are left out.
        max_depth_m: pixels whose truth is not below it are left out (80 for KITTI).

    Raises:
        InputError: the shapes differ, or the range is empty.
    """
    if not 0 <= min_depth_m < max_depth_m:
        raise InputError(f"expected 0 <= min_depth < max_depth, got {min_depth_m}, {max_depth_m}.")
    predicted = as_map(predicted_m, "predicted depth")
    truth, known = known_truth(truth_m, predicted.shape, valid, "true depth")
    known &= (truth > min_depth_m) & (truth < max_depth_m)
    given = known & np.isfinite(predicted) & (predicted > 0)
    pixels, count = int(known.sum()), int(given.sum())
    if count == 0:
        nothing = math.nan
        return DepthMetrics(
            pixels=pixels,
            density=share(0, pixels),
            mae_m=nothing,
            rmse_m=nothing,
            abs_rel=nothing,
            sq_rel=nothing,
            rmse_log=nothing,
            silog=nothing,
            delta_1=nothing,
            delta_2=nothing,
            delta_3=nothing,
        )
    p, t = predicted[given], truth[given]
    error, logs = p - t, np.log(p) - np.log(t)
    ratio = np.maximum(p / t, t / p)
    return DepthMetrics(
        pixels=pixels,
        density=share(count, pixels),
        mae_m=float(np.abs(error).mean()),
        rmse_m=float(np.sqrt(np.mean(error**2))),
        abs_rel=float(np.mean(np.abs(error) / t)),
        sq_rel=float(np.mean(error**2 / t)),
        rmse_log=float(np.sqrt(np.mean(logs**2))),
        silog=float(100 * np.std(logs)),
        delta_1=float(np.mean(ratio < 1.25)),
        delta_2=float(np.mean(ratio < 1.25**2)),
        delta_3=float(np.mean(ratio < 1.25**3)),
    )
