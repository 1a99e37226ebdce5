"""Instance masks against the truth: IoU, precision and recall, average precision, boundaries."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass

import cv2
import numpy as np
from numpy.typing import NDArray
from pycocotools import mask as coco
from scipy.optimize import linear_sum_assignment

from rangemask.errors import InputError
from rangemask.geometry.arrays import BoolMap
from rangemask.structures import MaskSet

COCO_IOUS = tuple(0.5 + 0.05 * i for i in range(10))
_RECALLS = np.linspace(0, 1, 101)


def iou_matrix(predicted: BoolMap, truth: BoolMap) -> NDArray[np.float64]:
    """Intersection over union of every pair.

    Args:
        predicted: (N, H, W) bool.
        truth: (M, H, W) bool.

    Returns:
        (N, M); two empty masks have 0.

    Raises:
        InputError: the masks do not have one size.
    """
    if predicted.ndim != 3 or truth.ndim != 3 or predicted.shape[1:] != truth.shape[1:]:
        raise InputError(
            f"masks must be (N, H, W) of one size, got {predicted.shape} and {truth.shape}."
        )
    # One product of 0/1 matrices; float32 counts exactly up to 2^24 pixels.
    first = predicted.reshape(len(predicted), math.prod(predicted.shape[1:])).astype(np.float32)
    second = truth.reshape(len(truth), math.prod(truth.shape[1:])).astype(np.float32)
    shared = (first @ second.T).astype(np.float64)
    union = first.sum(1, dtype=np.float64)[:, None] + second.sum(1, dtype=np.float64) - shared
    ious = np.zeros_like(shared)
    np.divide(shared, union, out=ious, where=union > 0)
    return ious


def mask_iou(predicted: MaskSet, truth: MaskSet) -> NDArray[np.float64]:
    """Intersection over union of every pair, straight from the run lengths.

    Sixty masks against sixty of a full HD image take 0.01 s; decoded, they take seconds and
    gigabytes.

    Returns:
        (N, M); two empty masks have 0.

    Raises:
        InputError: the masks do not have one size.
    """
    if (predicted.height, predicted.width) != (truth.height, truth.width):
        raise InputError(
            f"predicted masks are {predicted.width} x {predicted.height} px, true ones "
            f"{truth.width} x {truth.height}. Are they of the same image?"
        )
    if not len(predicted) or not len(truth):
        return np.zeros((len(predicted), len(truth)))
    first, second = ([rle.to_coco() for rle in masks.rles] for masks in (predicted, truth))
    return np.asarray(coco.iou(first, second, [0] * len(second)), dtype=np.float64)


@dataclass(frozen=True, slots=True, kw_only=True)
class MaskMetrics:
    """Counts and shares of one image; NaN where there is nothing to divide by."""

    truths: int
    predictions: int
    matched: int
    """Pairs with an IoU of at least the threshold."""
    mean_iou: float
    """Mean over the truths of the IoU with their partner, 0 if none; the partners are chosen
    one to one so that the sum is largest."""
    precision: float
    recall: float
    f1: float
    panoptic_quality: float
    """Sum of the IoUs of matched pairs / (matched + half of all that is not) (Kirillov, 2019)."""

    def to_dict(self) -> dict[str, float | int]:
        """As plain values."""
        return asdict(self)


def mask_metrics(
    predicted: MaskSet, truth: MaskSet, *, iou: float = 0.5, use_labels: bool = False
) -> MaskMetrics:
    """Compare the masks of one image, matched one to one.

    The matching that counts pairs makes as many as it can, and among those the ones that overlap
    most; for masks that do not overlap each other and a threshold of one half it is the only one
    (Kirillov et al., CVPR 2019). The matching with the largest sum of IoUs, which ``mean_iou``
    asks for, may break such a pair for two poor ones.

    Args:
        predicted: what was found.
        truth: what is there.
        iou: from which a pair counts as matched.
        use_labels: whether only masks of one label can match.

    Raises:
        InputError: sizes differ, or the threshold is not in (0, 1].
    """
    if not 0 < iou <= 1:
        raise InputError(f"the IoU threshold must lie within (0, 1], got {iou}.")
    overlaps = _overlaps(predicted, truth, use_labels=use_labels)
    n, m = overlaps.shape
    best = overlaps[linear_sum_assignment(overlaps, maximize=True)]
    enough = overlaps >= iou
    # All IoUs together weigh less than one more pair.
    pairs = linear_sum_assignment(enough * (1 + overlaps / (min(n, m) + 1)), maximize=True)
    good = overlaps[pairs][enough[pairs]]
    matched = good.size
    return MaskMetrics(
        truths=m,
        predictions=n,
        matched=matched,
        mean_iou=float(best.sum() / m) if m else math.nan,
        precision=matched / n if n else math.nan,
        recall=matched / m if m else math.nan,
        f1=2 * matched / (n + m) if n + m else math.nan,
        panoptic_quality=float(good.sum()) / ((n + m) / 2) if n + m else math.nan,
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class AveragePrecision:
    """COCO's summary; NaN where there is no truth."""

    ap: float
    """Mean over IoU 0.50 to 0.95."""
    ap50: float
    ap75: float

    def to_dict(self) -> dict[str, float]:
        """As plain values."""
        return asdict(self)


def average_precision(
    images: Sequence[tuple[MaskSet, MaskSet]], *, use_labels: bool = True, most: int = 100
) -> AveragePrecision:
    """Average precision of many images, as COCO computes it (Lin et al., ECCV 2014).

    Args:
        images: pairs of predicted and true masks.
        use_labels: mean over labels; without it all masks are of one class.
        most: predictions counted per image and label, the surest first.

    Raises:
        InputError: sizes differ within a pair.
    """
    names = sorted({label for _, truth in images for label in truth.labels})
    labels: Sequence[str | None] = names if use_labels else [None]
    table = [_class_precision(images, label, most) for label in labels]
    rows = np.array([row for row in table if row is not None])
    if rows.size == 0:
        return AveragePrecision(ap=math.nan, ap50=math.nan, ap75=math.nan)
    mean = rows.mean(axis=0)
    return AveragePrecision(ap=float(mean.mean()), ap50=float(mean[0]), ap75=float(mean[5]))


def boundary_f(predicted: BoolMap, truth: BoolMap, *, tolerance: float = 0.008) -> float:
    """F-measure of contours (Perazzi et al., DAVIS, CVPR 2016).

    Args:
        predicted: (H, W) bool.
        truth: (H, W) bool.
        tolerance: how far contours may lie apart: px, or below 1 a share of the diagonal
            (DAVIS: 0.008).

    Returns:
        0 to 1; 1 where both are empty. Pixels of a mask at the image's border are contour.

    Raises:
        InputError: the shapes differ, or the tolerance is negative.
    """
    if predicted.shape != truth.shape or predicted.ndim != 2:
        raise InputError(f"masks must be (H, W), got {predicted.shape} and {truth.shape}.")
    if not tolerance >= 0:
        raise InputError(f"tolerance must not be negative, got {tolerance}.")
    radius = tolerance if tolerance >= 1 else math.ceil(tolerance * math.hypot(*truth.shape))
    first, second = _contour(predicted), _contour(truth)
    if not first.any() and not second.any():
        return 1.0
    if not first.any() or not second.any():
        return 0.0
    precision = float((_distance_to(second)[first] <= radius).mean())
    recall = float((_distance_to(first)[second] <= radius).mean())
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def _overlaps(predicted: MaskSet, truth: MaskSet, *, use_labels: bool) -> NDArray[np.float64]:
    overlaps = mask_iou(predicted, truth)
    if use_labels and overlaps.size:
        overlaps *= np.array(predicted.labels)[:, None] == np.array(truth.labels)
    return overlaps


def _class_precision(
    images: Sequence[tuple[MaskSet, MaskSet]], label: str | None, most: int
) -> NDArray[np.float64] | None:
    """Interpolated precision at each of COCO's IoUs for one class; None without truth."""
    found = [mask_hits(*pair, label=label, most=most) for pair in images]
    return RankedHits.of(found).precision(np.ones(len(found)))


@dataclass(frozen=True, slots=True, kw_only=True)
class MaskHits:
    """What average precision needs to know of one image and one class."""

    scores: NDArray[np.float64]
    """(N,) of the predictions, the surest first."""
    hits: NDArray[np.bool_]
    """(10, N): which of them take a truth of their own, at each of COCO's IoUs."""
    truths: int


def mask_hits(
    predicted: MaskSet, truth: MaskSet, *, label: str | None = None, most: int = 100
) -> MaskHits:
    """Match the predictions of one image as COCO does: the surest chooses first.

    Args:
        predicted: what was found.
        truth: what is there.
        label: of the masks that are looked at; all without it.
        most: predictions counted, the surest first.

    Raises:
        InputError: sizes differ.
    """
    found, wanted = _of_label(predicted, label), _of_label(truth, label)
    order = np.argsort([-score for score in found.scores], kind="stable")[:most]
    found = found.select(order.tolist())
    return MaskHits(
        scores=np.array(found.scores, dtype=np.float64),
        hits=_greedy(_overlaps(found, wanted, use_labels=False)),
        truths=len(wanted),
    )


@dataclass(frozen=True, slots=True, kw_only=True)
class RankedHits:
    """The hits of many images, the surest first, ready for average precision."""

    hits: NDArray[np.bool_]
    """(10, N) at each of COCO's IoUs."""
    image: NDArray[np.int64]
    """(N,) which image a prediction is of."""
    truths: NDArray[np.float64]
    """(images,)"""

    @classmethod
    def of(cls, images: Sequence[MaskHits]) -> RankedHits:
        """Put the predictions of all images into one order."""
        scores = np.concatenate([np.zeros(0), *(one.scores for one in images)])
        order = np.argsort(-scores, kind="stable")
        nothing = np.zeros((len(COCO_IOUS), 0), dtype=bool)
        return cls(
            hits=np.concatenate([nothing, *(one.hits for one in images)], axis=1)[:, order],
            image=np.repeat(np.arange(len(images)), [one.scores.size for one in images])[order],
            truths=np.array([one.truths for one in images], dtype=np.float64),
        )

    def precision(self, counts: NDArray[np.float64]) -> NDArray[np.float64] | None:
        """Average precision at each of COCO's IoUs, (10,); None without truth.

        Args:
            counts: (images,) how often each image is in the set, for resampling; ones for once.
        """
        truths = float(self.truths @ counts)
        if truths == 0:
            return None
        often = counts[self.image]
        return np.array([_interpolated(row, often, truths) for row in self.hits])


def _greedy(overlaps: NDArray[np.float64]) -> NDArray[np.bool_]:
    """Which predictions (surest first) take a truth of their own, at each of COCO's IoUs."""
    hit = np.zeros((len(COCO_IOUS), len(overlaps)), dtype=bool)
    for i, threshold in enumerate(COCO_IOUS):
        free = overlaps.copy()
        for row in range(len(overlaps)):
            if free.shape[1] == 0:
                break
            best = len(free[row]) - 1 - int(free[row][::-1].argmax())
            if free[row, best] >= min(threshold, 1 - 1e-10):
                hit[i, row] = True
                free[:, best] = -1
    return hit


def _interpolated(hit: NDArray[np.bool_], often: NDArray[np.float64], truths: float) -> float:
    """Mean precision at 101 recalls, each the best precision at that recall or beyond."""
    if hit.size == 0:
        return 0.0
    positives = np.cumsum(hit * often)
    recall = positives / truths
    precision = positives / np.maximum(np.cumsum(often), 1)
    envelope = np.maximum.accumulate(precision[::-1])[::-1]
    place = np.searchsorted(recall, _RECALLS, side="left")
    reached = place < len(envelope)
    return float(np.where(reached, envelope[np.minimum(place, len(envelope) - 1)], 0).mean())


def _of_label(masks: MaskSet, label: str | None) -> MaskSet:
    if label is None:
        return masks
    return masks.select([i for i, name in enumerate(masks.labels) if name == label])


def _contour(mask: BoolMap) -> BoolMap:
    """Pixels of the mask with a neighbour outside, or at the image's border."""
    padded = cv2.copyMakeBorder(mask.astype(np.uint8), 1, 1, 1, 1, cv2.BORDER_CONSTANT, value=0)
    cross = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))
    inner: BoolMap = cv2.erode(padded, cross)[1:-1, 1:-1] > 0
    return mask & ~inner


def _distance_to(contour: BoolMap) -> NDArray[np.float32]:
    outside = (~contour).astype(np.uint8)
    return cv2.distanceTransform(outside, cv2.DIST_L2, cv2.DIST_MASK_PRECISE).astype(np.float32)
