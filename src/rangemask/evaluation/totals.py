"""Numbers of a whole data set from those of its frames, each counted as often as is asked."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from types import MappingProxyType

import numpy as np
from numpy.typing import NDArray

from rangemask.evaluation.classes import ClassCounts, class_scores
from rangemask.evaluation.frames import ALL_LABELS, FrameResult
from rangemask.evaluation.objects import ObjectScore, object_scores
from rangemask.metrics import MaskHits, RankedHits

Doubles = NDArray[np.float64]
Totals = Mapping[str, Mapping[str, float]]

MEAN_KINDS = ("disparity", "disparity_visible", "stereo_depth", "depth")
"""Kinds whose numbers are means over the frames that have them."""

LESS_IS_BETTER = frozenset(
    {
        *("epe_px", "rmse_px", "d1", "d1_given", "mae_m", "rmse_m", "abs_rel", "sq_rel"),
        *("rmse_log", "silog", "median_error", "missed", "unmeasured", "median_s"),
        *(f"bad_{n}{kind}" for n in ("05", "1", "2", "3") for kind in ("", "_given")),
    }
)
"""All other metrics that are compared are better the larger they are."""

COUNTS = frozenset({"pixels", "truths", "predictions", "matched"})
"""They say how much there is, not how good."""

SHOWN: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "disparity": ("epe_px", "bad_05", "bad_1", "bad_2", "bad_3", "density"),
        "disparity_visible": ("epe_px", "bad_05", "bad_1", "bad_2", "bad_3", "density"),
        "stereo_depth": ("abs_rel", "rmse_m", "rmse_log", "delta_1", "delta_2", "delta_3"),
        "depth": ("abs_rel", "rmse_m", "rmse_log", "delta_1", "delta_2", "delta_3"),
        "semantic": ("mean_iou", "pixel_accuracy"),
        "masks": (
            *("ap", "ap50", "ap75", "ap_labels", "ap50_labels", "ap75_labels"),
            *("mean_iou", "boundary_f", "precision", "recall"),
        ),
        "objects": ("median_error", "within_2", "within_5", "within_10", "missed", "unmeasured"),
        "time": ("median_s",),
    }
)
"""What tables show of each kind; files have all."""

TITLES: Mapping[str, str] = MappingProxyType(
    {
        "disparity": "disparity",
        "disparity_visible": "disparity, seen by both cameras",
        "stereo_depth": "depth from disparity",
        "depth": "depth of one image",
        "semantic": "classes of pixels",
        "masks": "masks",
        "objects": "distances of objects",
        "time": "time per frame",
    }
)


class Pool:
    """The frames of one evaluation, ready to be added up again and again.

    Args:
        frames: their results.
    """

    def __init__(self, frames: Sequence[FrameResult]) -> None:
        self.frames = tuple(frames)
        self._names, self._table = _mean_table(self.frames)
        self._classes = _class_table(self.frames)
        self._ranked = _ranked(self.frames)
        self._masks = _mask_table(self.frames)
        self._objects: list[ObjectScore] = []
        owners: list[int] = []
        for index, frame in enumerate(self.frames):
            self._objects += frame.objects or ()
            owners += [index] * len(frame.objects or ())
        self._owner = np.array(owners, dtype=np.int64)
        self._seconds = np.array(
            [math.nan if one.seconds is None else one.seconds for one in self.frames]
        )

    def totals(self, counts: Doubles | None = None) -> Totals:
        """All numbers by kind and metric.

        Args:
            counts: (frames,) how often each frame is in the set; once each without it.
        """
        counts = np.ones(len(self.frames)) if counts is None else counts
        found: dict[str, dict[str, float]] = {}
        for (kind, metric), value in zip(self._names, self._means(counts), strict=True):
            found.setdefault(kind, {})[metric] = float(value)
        if self._classes is not None:
            found["semantic"] = class_scores(_added(*self._classes, counts))
        if self._masks is not None:
            found["masks"] = self._of_masks(counts)
        if any(frame.objects is not None for frame in self.frames):
            found["objects"] = object_scores(self._objects, counts[self._owner])
        there = np.isfinite(self._seconds) & (counts > 0)
        if there.any():
            seconds = np.repeat(self._seconds[there], counts[there].astype(np.int64))
            found["time"] = {"median_s": float(np.median(seconds))}
        return found

    def frames_with(self, kind: str, metric: str) -> int:
        """How many frames tell of a metric."""
        if (kind, metric) in self._names:
            row = self._table[self._names.index((kind, metric))]
            return int(np.isfinite(row).sum())
        if kind == "time":
            return int(np.isfinite(self._seconds).sum())
        return sum(kind in frame.values for frame in self.frames)

    @property
    def class_names(self) -> tuple[str, ...]:
        """Classes of pixels that were judged."""
        return () if self._classes is None else tuple(self._classes[0])

    def restricted(self, other: Pool) -> Pool:
        """The same frames, with nothing that the other pool lacks: frames, classes and labels."""
        out = Pool(self.frames)
        for row, key in enumerate(self._names):
            if key in other._names:
                known = np.isfinite(other._table[other._names.index(key)])
                out._table[row, ~known] = math.nan
        out._masks = self._masks if other._masks is not None else None
        out._ranked = {name: one for name, one in self._ranked.items() if name in other._ranked}
        if self._classes is not None and set(self.class_names) != set(other.class_names):
            names, table, pixels = self._classes
            kept = [i for i, name in enumerate(names) if name in other.class_names]
            # How many pixels are right depends on how many classes there are to be wrong about.
            chosen = [names[i] for i in kept], table[:, kept], np.zeros_like(pixels)
            out._classes = chosen if kept else None
        return out

    def _means(self, counts: Doubles) -> Doubles:
        known = np.isfinite(self._table)
        often = known @ counts
        total = np.where(known, self._table, 0) @ counts
        means = np.full(len(self._names), np.nan)
        np.divide(total, often, out=means, where=often > 0)
        sums = np.array([metric in COUNTS for _, metric in self._names], dtype=bool)
        return np.where(sums, total, means)

    def _of_masks(self, counts: Doubles) -> dict[str, float]:
        assert self._masks is not None  # noqa: S101 - checked by the caller
        truths, predictions, matched, *per_truth = self._masks
        total, found, right = (float(one @ counts) for one in (truths, predictions, matched))
        scores = {
            "truths": total,
            "predictions": found,
            "matched": right,
            "precision": right / found if found else math.nan,
            "recall": right / total if total else math.nan,
        }
        for name, values in zip(("mean_iou", "boundary_f"), per_truth, strict=True):
            scores[name] = float((values * truths) @ counts) / total if total else math.nan
        for suffix, labels in (("", [ALL_LABELS]), ("_labels", self._labels)):
            rows = [self._ranked[label].precision(counts) for label in labels]
            known = [row for row in rows if row is not None]
            mean = np.mean(known, axis=0) if known else None
            for name, place in (("ap", slice(None)), ("ap50", 0), ("ap75", 5)):
                if mean is not None:
                    scores[f"{name}{suffix}"] = float(np.mean(mean[place]))
                elif labels:
                    scores[f"{name}{suffix}"] = math.nan
        return scores

    @property
    def _labels(self) -> list[str]:
        """Labels of true masks; none where the predictor never used one of them."""
        true = [
            label
            for label, ranked in self._ranked.items()
            if label != ALL_LABELS and ranked.truths.any()
        ]
        return true if any(self._ranked[label].image.size for label in true) else []


def pair_up(first: Pool, second: Pool) -> tuple[Pool, Pool]:
    """Two pools of the same frames, whose means are over the same of them."""
    return first.restricted(second), second.restricted(first)


def _mean_table(frames: Sequence[FrameResult]) -> tuple[list[tuple[str, str]], Doubles]:
    """Kind and metric of each row, and (rows, frames) values, NaN where there is none."""
    names: dict[tuple[str, str], None] = {}
    for kind in MEAN_KINDS:
        for frame in frames:
            names.update(dict.fromkeys((kind, metric) for metric in frame.values.get(kind, {})))
    table = [
        [frame.values.get(kind, {}).get(metric, math.nan) for frame in frames]
        for kind, metric in names
    ]
    return list(names), np.array(table, dtype=np.float64).reshape(len(names), len(frames))


def _class_table(frames: Sequence[FrameResult]) -> tuple[list[str], Doubles, Doubles] | None:
    """Names, (3, names, frames) hits, truth and predicted, (2, frames) pixels and right ones."""
    counted = [frame.classes for frame in frames]
    if all(one is None for one in counted):
        return None
    names = list(dict.fromkeys(name for one in counted if one for name in one.truth))
    table = np.zeros((3, len(names), len(frames)))
    pixels = np.zeros((2, len(frames)))
    for index, one in enumerate(counted):
        if one is None:
            continue
        pixels[:, index] = one.pixels, one.right
        for row, values in enumerate((one.hits, one.truth, one.predicted)):
            table[row, :, index] = [values.get(name, 0) for name in names]
    return names, table, pixels


def _added(names: Sequence[str], table: Doubles, pixels: Doubles, counts: Doubles) -> ClassCounts:
    hits, truth, predicted = (
        dict(zip(names, (int(value) for value in row), strict=True)) for row in table @ counts
    )
    total, right = (int(value) for value in pixels @ counts)
    return ClassCounts(hits=hits, truth=truth, predicted=predicted, pixels=total, right=right)


def _ranked(frames: Sequence[FrameResult]) -> dict[str, RankedHits]:
    labels = sorted({label for frame in frames for label in frame.hits})
    nothing = MaskHits(scores=np.zeros(0), hits=np.zeros((10, 0), dtype=bool), truths=0)
    return {
        label: RankedHits.of([frame.hits.get(label, nothing) for frame in frames])
        for label in labels
    }


def _mask_table(frames: Sequence[FrameResult]) -> Doubles | None:
    """(5, frames): truths, predictions, matched, mean IoU, boundary F; 0 where there is none."""
    names = ("truths", "predictions", "matched", "mean_iou", "boundary_f")
    found = [frame.values.get("masks") for frame in frames]
    if all(one is None for one in found):
        return None
    table = [[0.0 if one is None else one[name] for one in found] for name in names]
    return np.nan_to_num(np.array(table, dtype=np.float64))
