"""One frame judged: what a predictor said of it against what is true."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

from rangemask.data.sample import Sample
from rangemask.errors import InputError
from rangemask.evaluation.alignment import to_metres, true_depth_m
from rangemask.evaluation.classes import ClassCounts, class_scores, count_classes
from rangemask.evaluation.objects import MATCH_IOU, ObjectScore, judge_objects, object_scores
from rangemask.evaluation.predictors import Prediction
from rangemask.geometry.arrays import AnyArray, BoolMap, FloatMap
from rangemask.metrics import (
    MaskHits,
    boundary_f,
    depth_metrics,
    disparity_metrics,
    mask_hits,
    mask_iou,
    mask_metrics,
)
from rangemask.structures import MaskSet

KINDS = ("disparity", "depth", "semantic", "masks", "objects")
"""What can be judged: disparity, depth in metres (of stereo and of one image), classes of pixels,
instance masks, and distances of objects."""

ALL_LABELS = ""
"""Stands for masks whatever they are called."""
_BOUNDARY_TOLERANCE = 0.008

ERROR_EDGES_PX = np.linspace(0, 8, 33)
ERROR_EDGES_SHARE = np.linspace(0, 1, 41)
DISTANCE_EDGES_M = np.geomspace(0.1, 204.8, 23)
"""Twice as far every second edge."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Curves:
    """Errors counted, to be added up over frames and drawn."""

    histogram: NDArray[np.float64]
    """Pixels by size of error; the last bin holds all above."""
    by_distance: NDArray[np.float64]
    """(2, bins): sum of errors and pixels by true distance."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FrameResult:
    """One frame's numbers, and what those of all frames together are made of."""

    name: str
    sequence: str = ""
    values: Mapping[str, Mapping[str, float]] = field(default_factory=dict)
    """By kind and metric."""
    classes: ClassCounts | None = None
    hits: Mapping[str, MaskHits] = field(default_factory=lambda: MappingProxyType({}))
    """By label of the true masks, and of all under ``ALL_LABELS``."""
    objects: tuple[ObjectScore, ...] | None = None
    curves: Mapping[str, Curves] = field(default_factory=lambda: MappingProxyType({}))
    seconds: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgeOptions:
    """What is judged, and how.

    Raises:
        InputError: a kind is unknown, or the range is empty.
    """

    kinds: tuple[str, ...] = KINDS
    """Some of ``KINDS``."""
    weighted: bool = False
    """Whether pixels count by their labels' weight; else all known labels are the truth."""
    min_depth_m: float = 0.0
    """Pixels whose true depth is nearer are left out of depth's numbers."""
    max_depth_m: float = math.inf
    """Pixels whose true depth is farther are left out of depth's numbers."""

    def __post_init__(self) -> None:
        unknown = [kind for kind in self.kinds if kind not in KINDS]
        if unknown or not self.kinds:
            found = ", ".join(unknown) or "nothing"
            raise InputError(f"what is judged must be some of {', '.join(KINDS)}; got {found}.")
        if not 0 <= self.min_depth_m < self.max_depth_m:
            raise InputError(
                f"expected 0 <= min_depth < max_depth, got {self.min_depth_m}, {self.max_depth_m}."
            )


def truths_of(sample: Sample) -> frozenset[str]:
    """What is known of a frame: disparity, depth (in metres), semantic, masks."""
    found = {
        "disparity": sample.disparity is not None and sample.frame.right is not None,
        "depth": true_depth_m(sample) is not None,
        "semantic": sample.semantic is not None,
        "masks": sample.masks is not None,
    }
    return frozenset(kind for kind, there in found.items() if there)


def judge_frame(
    sample: Sample,
    prediction: Prediction,
    options: JudgeOptions,
    labels: Sequence[str] | None = None,
) -> FrameResult:
    """Measure one prediction.

    Args:
        sample: what is true.
        prediction: of its frame.
        options: what is judged.
        labels: what the predictor's masks may be called, where that is known.

    Raises:
        InputError: sizes differ.
        ClassListError: the two class lists share no name.
    """
    values: dict[str, Mapping[str, float]] = {}
    curves: dict[str, Curves] = {}
    if "disparity" in options.kinds:
        _judge_disparity(sample, prediction, options, values, curves)
    if "depth" in options.kinds:
        _judge_depth(sample, prediction, options, values, curves)
    classes = None
    if "semantic" in options.kinds and prediction.semantic and sample.semantic:
        classes = count_classes(prediction.semantic, sample.semantic, sample.name)
        values["semantic"] = class_scores(classes)
    hits: dict[str, MaskHits] = {}
    if "masks" in options.kinds and prediction.masks is not None and sample.masks is not None:
        hits = _hits(prediction.masks, sample.masks, labels)
        values["masks"] = _mask_scores(prediction, sample.masks)
    objects = None
    if "objects" in options.kinds:
        objects = judge_objects(sample.masks, true_depth_m(sample), prediction)
    if objects is not None:
        values["objects"] = object_scores(objects, np.ones(len(objects)))
    return FrameResult(
        name=sample.name,
        sequence=sample.sequence,
        values=values,
        classes=classes,
        hits=hits,
        objects=objects,
        curves=curves,
        seconds=prediction.seconds,
    )


def _judge_disparity(
    sample: Sample,
    prediction: Prediction,
    options: JudgeOptions,
    values: dict[str, Mapping[str, float]],
    curves: dict[str, Curves],
) -> None:
    if prediction.disparity is None or sample.disparity is None:
        return
    weight = _weight(sample, options)
    found, true = prediction.disparity, sample.disparity
    values["disparity"] = disparity_metrics(found, true, weight=weight).to_dict()
    if sample.visible is not None:
        values["disparity_visible"] = disparity_metrics(
            found, true, valid=sample.visible, weight=weight
        ).to_dict()
    error = np.abs(found - true)
    curves["disparity"] = _curves(error, true_depth_m(sample), ERROR_EDGES_PX)


def _judge_depth(
    sample: Sample,
    prediction: Prediction,
    options: JudgeOptions,
    values: dict[str, Mapping[str, float]],
    curves: dict[str, Curves],
) -> None:
    true_m = true_depth_m(sample)
    if true_m is None:
        return
    maps: dict[str, FloatMap] = {}
    if prediction.stereo_depth_m is not None:
        maps["stereo_depth"] = prediction.stereo_depth_m
    if prediction.depth is not None:
        maps["depth"] = to_metres(prediction.depth, true_m)
    for kind, found_m in maps.items():
        values[kind] = depth_metrics(
            found_m,
            true_m,
            weight=_weight(sample, options),
            min_depth_m=options.min_depth_m,
            max_depth_m=options.max_depth_m,
        ).to_dict()
        error = np.full_like(true_m, np.nan)
        np.divide(np.abs(found_m - true_m), true_m, out=error, where=true_m > 0)
        inside = (true_m > options.min_depth_m) & (true_m < options.max_depth_m)
        curves[kind] = _curves(np.where(inside, error, np.nan), true_m, ERROR_EDGES_SHARE)


def _weight(sample: Sample, options: JudgeOptions) -> FloatMap | None:
    return sample.weight if options.weighted else None


def _curves(error: AnyArray, distance_m: FloatMap | None, edges: AnyArray) -> Curves:
    known = np.isfinite(error)
    off = error[known].astype(np.float64)
    top = edges[-1] + (edges[1] - edges[0]) / 2
    wide = np.append(edges, edges[-1] + (edges[1] - edges[0]))
    histogram, _ = np.histogram(np.minimum(off, top), bins=wide)
    by_distance = np.zeros((2, DISTANCE_EDGES_M.size - 1))
    if distance_m is not None:
        far = distance_m[known]
        for row, weights in enumerate((off, np.ones_like(off))):
            by_distance[row], _ = np.histogram(far, bins=DISTANCE_EDGES_M, weights=weights)
    return Curves(histogram=histogram.astype(np.float64), by_distance=by_distance)


def _hits(predicted: MaskSet, truth: MaskSet, labels: Sequence[str] | None) -> dict[str, MaskHits]:
    names = set(truth.labels) | set(predicted.labels)
    if labels is not None:
        names &= set(labels)
    found = {ALL_LABELS: mask_hits(predicted, truth)}
    return found | {name: mask_hits(predicted, truth, label=name) for name in sorted(names)}


def _mask_scores(prediction: Prediction, truth: MaskSet) -> dict[str, float]:
    assert prediction.masks is not None  # noqa: S101 - checked by the caller
    sure = prediction.masks.select(prediction.sure)
    found = mask_metrics(sure, truth, iou=MATCH_IOU).to_dict()
    wanted = ("truths", "predictions", "matched", "mean_iou", "precision", "recall", "f1")
    scores = {name: float(found[name]) for name in wanted}
    return {**scores, "boundary_f": _mean_boundary_f(sure, truth)}


def _mean_boundary_f(predicted: MaskSet, truth: MaskSet) -> float:
    """Over the true masks, with the partners that overlap most in all; 0 without one."""
    if not len(truth):
        return math.nan
    overlaps = mask_iou(predicted, truth)
    total = 0.0
    tolerance = math.ceil(_BOUNDARY_TOLERANCE * math.hypot(truth.height, truth.width))
    for mine, true in zip(*linear_sum_assignment(overlaps, maximize=True), strict=True):
        if overlaps[mine, true] > 0:
            masks = predicted.rles[mine].decode(), truth.rles[true].decode()
            total += boundary_f(*_cropped(*masks), tolerance=tolerance)
    return total / len(truth)


def _cropped(first: BoolMap, second: BoolMap) -> tuple[BoolMap, BoolMap]:
    """Both, cut to what they cover and a pixel around it, in which no contour is lost."""
    rows, columns = np.nonzero((first | second).any(1))[0], np.nonzero((first | second).any(0))[0]
    window = (
        slice(max(rows[0] - 1, 0), rows[-1] + 2),
        slice(max(columns[0] - 1, 0), columns[-1] + 2),
    )
    return np.ascontiguousarray(first[window]), np.ascontiguousarray(second[window])
