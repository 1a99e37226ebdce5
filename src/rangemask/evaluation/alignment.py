"""True metres, and relative depth with the scale (and shift) that fit them best."""

from __future__ import annotations

import numpy as np

from rangemask.data.sample import Sample
from rangemask.errors import InputError
from rangemask.geometry import depth_from_disparity
from rangemask.geometry.arrays import FloatMap
from rangemask.structures import DepthMap

_LEAST_PIXELS = 2
_BEYOND = 10.0
"""What a fit puts beyond this many times the farthest truth, or behind the camera, lies there."""


def true_depth_m(sample: Sample) -> FloatMap | None:
    """(H, W) true metres, from depth or from disparity and rig; None where there is neither."""
    if sample.depth is not None and sample.depth.kind == "metric_m":
        return sample.depth.values
    rig = sample.frame.rig
    if sample.disparity is None or rig is None or rig.baseline_m is None or not rig.is_rectified:
        return None
    return depth_from_disparity(sample.disparity, rig)


def to_metres(depth: DepthMap, truth_m: FloatMap) -> FloatMap:
    """Depth in metres; where it has none, in those of the truth (MiDaS, Ranftl et al., 2022).

    ``relative_inverse`` gets the scale and the shift, ``up_to_scale`` the scale, with the least
    squared error of inverse depth over all pixels whose truth is known. So a relative map is
    judged by its shape alone, which flatters it beside one that knows metres.

    Args:
        depth: (H, W) of any kind.
        truth_m: (H, W) metres, NaN where unknown.

    Returns:
        (H, W) float32 metres, NaN where unknown.

    Raises:
        InputError: the sizes differ.
    """
    if depth.values.shape != truth_m.shape:
        raise InputError(
            f"predicted depth has shape {depth.values.shape}, the truth {truth_m.shape}. Are they "
            "of the same frame?"
        )
    if depth.kind == "metric_m":
        return depth.values
    values = depth.values.astype(np.float64)
    if depth.kind == "up_to_scale":
        inverse = np.full_like(values, np.nan)
        np.divide(1, values, out=inverse, where=values > 0)
        values = inverse
    known = np.isfinite(values) & np.isfinite(truth_m) & (truth_m > 0)
    metres = np.full(truth_m.shape, np.nan, dtype=np.float32)
    if np.count_nonzero(known) < _LEAST_PIXELS:
        return metres
    terms = (
        [values[known]] if depth.kind == "up_to_scale" else [values[known], np.ones(known.sum())]
    )
    fit = np.linalg.lstsq(
        np.stack(terms, axis=1), 1 / truth_m[known].astype(np.float64), rcond=None
    )
    scale, shift = (*fit[0], 0.0)[:2]
    least = 1 / (_BEYOND * float(truth_m[known].max()))
    given = np.isfinite(values)
    metres[given] = 1 / np.maximum(scale * values[given] + shift, least)
    return metres
