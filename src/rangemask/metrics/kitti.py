"""KITTI's protocols for depth, as papers on self-supervised depth report them.

Eigen et al. (NIPS 2014) with Garg's crop (arXiv 1603.04992) and a cap at 80 m, and the training
set of KITTI Stereo 2015. Truth beyond the cap is kept and counts as the cap, as in TiO-Depth
(arXiv 2309.00933), unless asked otherwise.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from rangemask.errors import InputError
from rangemask.geometry.arrays import AnyArray, BoolMap, FloatMap
from rangemask.metrics.arrays import as_map
from rangemask.metrics.depth import DepthMetrics, depth_metrics
from rangemask.metrics.disparity import DisparityMetrics, disparity_metrics

CAP_M = 80.0
BASELINE_M = 0.54
FOCAL_PX = 721.54
"""Of KITTI's colour cameras at their own size, as the protocol rounds it."""
_GARG_ROWS = (0.40810811, 0.99189189)
_GARG_COLUMNS = (0.03594771, 0.96405229)


@dataclass(frozen=True, slots=True, kw_only=True)
class KittiDepthMetrics:
    """Of one image; a table has the means over images."""

    depth: DepthMetrics
    median_ratio: float
    """Median of the truth over that of the prediction: 1 where its scale is right."""


def eigen_depth_metrics(
    predicted_m: AnyArray,
    truth_m: AnyArray,
    *,
    cap_m: float = CAP_M,
    median_scaling: bool = False,
    keep_beyond_cap: bool = True,
) -> KittiDepthMetrics:
    """The Eigen split's protocol: Garg's crop, both maps cut off at a cap.

    Args:
        predicted_m: (h, w) metres along the optical axis, everywhere positive; of any size.
        truth_m: (H, W) metres, not positive or not finite where unknown.
        cap_m: the cap.
        median_scaling: bring the prediction to the truth's median first, for models without
            scale; those that learnt from pairs need none.
        keep_beyond_cap: truth beyond the cap counts as the cap; else it is left out, as in
            Monodepth2.

    Raises:
        InputError: maps are no maps, or the prediction is not positive everywhere.
    """
    truth = as_map(truth_m, "true depth")
    known = np.isfinite(truth) & (truth > 0) & garg_crop(*truth.shape)
    if not keep_beyond_cap:
        known &= truth < cap_m
    return _capped(predicted_m, truth, known, cap_m, median_scaling=median_scaling)


def kitti2015_depth_metrics(
    predicted_m: AnyArray, truth_m: AnyArray, *, cap_m: float = CAP_M
) -> KittiDepthMetrics:
    """The protocol of KITTI Stereo 2015's training set: no crop, truth nearer than the cap.

    Args:
        predicted_m: as for ``eigen_depth_metrics``.
        truth_m: (H, W) metres, see ``depth_of_kitti``; not positive or not finite where unknown.
        cap_m: the cap.

    Raises:
        InputError: as for ``eigen_depth_metrics``.
    """
    truth = as_map(truth_m, "true depth")
    known = np.isfinite(truth) & (truth > 0) & (truth < cap_m)
    return _capped(predicted_m, truth, known, cap_m, median_scaling=False)


def depth_of_kitti(
    disparity_px: AnyArray, focal_baseline: float = BASELINE_M * FOCAL_PX
) -> FloatMap:
    """True depth of KITTI Stereo 2015 by the protocol's one camera.

    Args:
        disparity_px: (H, W), not positive where unknown.
        focal_baseline: px m.

    Returns:
        (H, W) float32 metres, NaN where unknown.
    """
    disparity = as_map(disparity_px, "true disparity")
    known = np.isfinite(disparity) & (disparity > 0)
    depth = np.full(disparity.shape, np.nan, dtype=np.float32)
    depth[known] = focal_baseline / disparity[known]
    return depth


def kitti2015_disparity_metrics(
    predicted_px: AnyArray, truth_disparity_px: AnyArray
) -> DisparityMetrics:
    """End-point error and D1 of a disparity map of any size, before any post-processing.

    Args:
        predicted_px: (h, w) px of its own size.
        truth_disparity_px: (H, W) px, not positive where unknown.

    Raises:
        InputError: maps are no maps.
    """
    truth = as_map(truth_disparity_px, "true disparity")
    predicted = as_map(predicted_px, "predicted disparity")
    scale = truth.shape[1] / predicted.shape[1]
    return disparity_metrics(
        resized(predicted, truth.shape) * scale, truth, valid=np.isfinite(truth) & (truth > 0)
    )


def garg_crop(height: int, width: int) -> BoolMap:
    """(H, W): where the Eigen protocol looks, a frame of the image that lasers reach."""
    top, bottom = (int(share * height) for share in _GARG_ROWS)
    left, right = (int(share * width) for share in _GARG_COLUMNS)
    inside = np.zeros((height, width), dtype=np.bool_)
    inside[top:bottom, left:right] = True
    return inside


def resized(values: AnyArray, shape: tuple[int, ...]) -> FloatMap:
    """A map at another size, bilinear, centres of pixels in place, not antialiased."""
    height, width = shape
    array = np.asarray(values, dtype=np.float32)
    return np.asarray(cv2.resize(array, (width, height), interpolation=cv2.INTER_LINEAR))


def _capped(
    predicted_m: AnyArray,
    truth: AnyArray,
    known: BoolMap,
    cap_m: float,
    *,
    median_scaling: bool,
) -> KittiDepthMetrics:
    if not cap_m > 0:
        raise InputError(f"cap_m must be positive, got {cap_m}.")
    predicted = as_map(predicted_m, "predicted depth")
    given = np.isfinite(predicted) & (predicted > 0)
    if not given.all():
        raise InputError(
            "the protocol wants a depth for every pixel, positive and finite; "
            f"{int((~given).sum())} of {predicted.size} are not."
        )
    predicted = resized(predicted, truth.shape).astype(np.float64)
    ratio = _lower_median(truth[known]) / _lower_median(predicted[known])
    if median_scaling:
        predicted = predicted * ratio
    capped = np.minimum(np.where(known, truth, np.nan), cap_m)
    return KittiDepthMetrics(
        depth=depth_metrics(np.minimum(predicted, cap_m), capped, valid=known),
        median_ratio=ratio,
    )


def _lower_median(values: AnyArray) -> float:
    """The middle value, of two the lower, as the published code takes it."""
    if not values.size:
        return float("nan")
    middle = (values.size - 1) // 2
    return float(np.partition(values, middle)[middle])
