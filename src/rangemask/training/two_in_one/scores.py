"""How good a two-in-one network is on validation pairs: with truth in metres, without in colours.

Kept plain: truth that there is, up to a cap. The published protocols are those of
``rangemask.metrics.kitti``.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Mapping

import numpy as np
import torch
from torch import Tensor

from rangemask.geometry.arrays import AnyArray
from rangemask.metrics import depth_metrics
from rangemask.metrics.kitti import resized
from rangemask.models.two_in_one import TwoInOne
from rangemask.training.two_in_one.pairs import JudgedPair
from rangemask.training.two_in_one.photometric import photometric_error
from rangemask.training.two_in_one.schedule import STAGES, StageName
from rangemask.training.two_in_one.warping import warp

_CONSISTENT_PX = 1.0


@torch.no_grad()
def disparities(
    model: TwoInOne, pair: JudgedPair, stages: Collection[StageName]
) -> dict[StageName, Tensor]:
    """(1, 1, H, W) px by each path that has learnt.

    Args:
        model: not in training mode.
        pair: on the model's device.
        stages: whose paths.
    """
    found: dict[StageName, Tensor] = {}
    for stage in STAGES:
        if stage not in stages:
            continue
        if stage == "pair":
            found[stage] = model(pair.left, pair.right).disparity
        else:
            found[stage] = model(pair.left, path=stage).disparity
    return found


def score(disparity: Tensor, pair: JudgedPair, d2d: float, cap_m: float) -> dict[str, float]:
    """Numbers of one answer.

    ``photo``: how unlike the left image is what the answer makes of the right one (0.15 L1 +
    0.85 SSIM); with truth also ``abs_rel``, and ``rmse_m`` where that is in metres.

    Args:
        disparity: (1, 1, H, W) px of the network.
        pair: what it was found in.
        d2d: of the network.
        cap_m: truth beyond it is left out.
    """
    made, _ = warp(pair.right, disparity, pair.focal_baseline / d2d)
    found = {"photo": float(photometric_error(made, pair.left).mean())}
    if pair.truth is None:
        return found
    truth = pair.truth.cpu().numpy()
    depth = depth_like_truth(disparity, pair, d2d)
    metrics = depth_metrics(depth, truth, max_depth_m=cap_m if pair.metric else math.inf)
    if math.isfinite(metrics.abs_rel):
        found["abs_rel"] = metrics.abs_rel
        if pair.metric:
            found["rmse_m"] = metrics.rmse_m
    return found


def depth_like_truth(disparity: Tensor, pair: JudgedPair, d2d: float) -> AnyArray:
    """Depth at the truth's size and in its unit; disparity is interpolated, not depth."""
    assert pair.truth is not None  # noqa: S101 - the caller's
    height, width = pair.truth.shape
    # The pair's own rig decides how many pixels a disparity of the network is.
    scale = float(pair.focal_baseline[0]) / d2d * width / disparity.shape[-1]
    small = disparity[0, 0].float().cpu().numpy()
    full = resized(small, (height, width)) * scale + pair.offset_px
    return np.asarray(pair.truth_scale / np.maximum(full, 1e-6), dtype=np.float32)


@torch.no_grad()
def left_right_consistency(
    left: Tensor, right: Tensor, seen_by_both: Tensor | None = None
) -> tuple[float, float]:
    """Share of pixels where both views' answers agree within 1 px, and their mean difference, px.

    Args:
        left: (B, 1, H, W) px, of the left images.
        right: likewise of the right ones.
        seen_by_both: (B, 1, H, W) bool of the left images: where to look, since what one camera
            alone sees cannot agree; everywhere within the images without it.
    """
    back, within = warp(right, left, left.new_ones(len(left)))
    where = within if seen_by_both is None else within & seen_by_both
    apart = (back - left).abs()[where]
    return float((apart < _CONSISTENT_PX).float().mean()), float(apart.mean())


class PairScores:
    """Means over the validation pairs."""

    def __init__(self) -> None:
        self._values: dict[str, list[float]] = {}

    def add(self, stage: StageName, values: Mapping[str, float]) -> None:
        """Numbers of one answer of one path."""
        for name, value in values.items():
            self._values.setdefault(f"{stage}_{name}", []).append(value)

    def result(self) -> dict[str, float]:
        """Means, by path and score: ``mono_abs_rel``, ``pair_photo`` and so on."""
        return {name: float(np.mean(values)) for name, values in self._values.items()}


def choice(scores: Mapping[str, float], stages: Iterable[StageName]) -> float:
    """What the best epoch has least of: the more stages have learnt, the less.

    Among epochs of as many stages it is the mean relative error of one eye and of two where there
    is truth, else the mean photometric error.

    Args:
        scores: of ``PairScores``.
        stages: that learn.
    """
    active = tuple(stages)
    one_eye: StageName = "refine" if "refine" in active else "mono"
    judged = [stage for stage in (one_eye, "pair") if stage in active]
    kind = "abs_rel" if all(f"{stage}_abs_rel" in scores for stage in judged) else "photo"
    mean = float(np.mean([scores[f"{stage}_{kind}"] for stage in judged]))
    return mean / (1 + mean) - len(active)
