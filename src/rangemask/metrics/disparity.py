"""Errors of a disparity map against the truth."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass

import numpy as np

from rangemask.geometry.arrays import AnyArray, BoolMap, FloatMap
from rangemask.metrics.arrays import as_map, known_truth, mean, share, weights_of


@dataclass(frozen=True, slots=True, kw_only=True)
class DisparityMetrics:
    """Shares are of 1, NaN where there is nothing to divide by.

    ``bad_n`` is the share of pixels with known truth whose disparity is off by more than n px,
    a missing one counting as bad (Scharstein and Szeliski, IJCV 2002); ``bad_n_given`` the
    share among the pixels that were given.
    """

    pixels: int
    """Pixels with known truth."""
    density: float
    """Share of them that were given."""
    epe_px: float
    """Mean absolute error of those given (end-point error), px."""
    rmse_px: float
    """Root mean square error of those given, px."""
    bad_05: float
    bad_1: float
    bad_2: float
    bad_3: float
    bad_05_given: float
    bad_1_given: float
    bad_2_given: float
    bad_3_given: float
    d1: float
    """Share off by more than 3 px and 5 % of the truth, missing counts (Menze and Geiger, 2015)."""
    d1_given: float

    def to_dict(self) -> dict[str, float | int]:
        """As plain values."""
        return asdict(self)


def disparity_metrics(
    predicted_px: AnyArray,
    truth_px: AnyArray,
    *,
    valid: BoolMap | None = None,
    weight: FloatMap | None = None,
) -> DisparityMetrics:
    """Compare a disparity map with the truth.

    Args:
        predicted_px: (H, W) px, not finite where not given.
        truth_px: (H, W) px, not finite where unknown.
        valid: (H, W), where to look, such as non-occluded pixels; everywhere without it.
        weight: (H, W) from 0, how much a pixel counts in every share and mean; all alike without.

    Raises:
        InputError: the shapes differ, or a weight is negative or unknown.
    """
    predicted = as_map(predicted_px, "predicted disparity")
    truth, known = known_truth(truth_px, predicted.shape, valid, "true disparity")
    given = np.isfinite(predicted) & known
    error = np.abs(predicted[given] - truth[given])
    counts = weights_of(weight, known)
    all_of_it, there = float(counts[known].sum()), counts[given]
    found = float(there.sum())

    def both(off: BoolMap) -> tuple[float, float]:
        bad = float(there[off].sum())
        return share(bad + all_of_it - found, all_of_it), share(bad, found)

    bad_05, bad_05_given = both(error > 0.5)
    bad_1, bad_1_given = both(error > 1)
    bad_2, bad_2_given = both(error > 2)
    bad_3, bad_3_given = both(error > 3)
    d1, d1_given = both((error > 3) & (error > 0.05 * np.abs(truth[given])))
    return DisparityMetrics(
        pixels=int(known.sum()),
        density=share(found, all_of_it),
        epe_px=mean(error, there),
        rmse_px=math.sqrt(mean(error**2, there)),
        bad_05=bad_05,
        bad_1=bad_1,
        bad_2=bad_2,
        bad_3=bad_3,
        bad_05_given=bad_05_given,
        bad_1_given=bad_1_given,
        bad_2_given=bad_2_given,
        bad_3_given=bad_3_given,
        d1=d1,
        d1_given=d1_given,
    )
