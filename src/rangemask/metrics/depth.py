"""Errors of a depth map against the truth (Eigen et al., NIPS 2014, and KITTI)."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass

import numpy as np

from rangemask.errors import InputError
from rangemask.geometry.arrays import AnyArray, BoolMap, FloatMap
from rangemask.metrics.arrays import as_map, known_truth, mean, share, weights_of


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
    weight: FloatMap | None = None,
    min_depth_m: float = 0.0,
    max_depth_m: float = math.inf,
) -> DepthMetrics:
    """Compare a depth map with the truth.

    Args:
        predicted_m: (H, W) metres, not finite or not positive where not given.
        truth_m: (H, W) metres, not finite or not positive where unknown.
        valid: (H, W), where to look; everywhere without it.
        weight: (H, W) from 0, how much a pixel counts in every share and mean; all alike without.
        min_depth_m: pixels whose truth is not above it are left out.
        max_depth_m: pixels whose truth is not below it are left out (80 for KITTI).

    Raises:
        InputError: the shapes differ, the range is empty, or a weight is negative or unknown.
    """
    if not 0 <= min_depth_m < max_depth_m:
        raise InputError(f"expected 0 <= min_depth < max_depth, got {min_depth_m}, {max_depth_m}.")
    predicted = as_map(predicted_m, "predicted depth")
    truth, known = known_truth(truth_m, predicted.shape, valid, "true depth")
    known &= (truth > min_depth_m) & (truth < max_depth_m)
    given = known & np.isfinite(predicted) & (predicted > 0)
    counts = weights_of(weight, known)
    pixels, there = int(known.sum()), counts[given]
    density = share(float(there.sum()), float(counts[known].sum()))
    if not there.sum() > 0:
        nothing = math.nan
        return DepthMetrics(
            pixels=pixels,
            density=density,
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
        density=density,
        mae_m=mean(np.abs(error), there),
        rmse_m=math.sqrt(mean(error**2, there)),
        abs_rel=mean(np.abs(error) / t, there),
        sq_rel=mean(error**2 / t, there),
        rmse_log=math.sqrt(mean(logs**2, there)),
        silog=100 * math.sqrt(mean((logs - mean(logs, there)) ** 2, there)),
        delta_1=mean(ratio < 1.25, there),
        delta_2=mean(ratio < 1.25**2, there),
        delta_3=mean(ratio < 1.25**3, there),
    )
