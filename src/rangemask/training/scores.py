"""How good a student is on validation frames: the numbers that people compare."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType

import numpy as np
import torch
from torch import Tensor

from rangemask.geometry.arrays import AnyArray
from rangemask.metrics import average_precision, depth_metrics, disparity_metrics, mask_metrics
from rangemask.models.config import RangeMaskConfig
from rangemask.models.heads.masks.merging import instances, masks_at_size
from rangemask.models.heads.semantic import semantic_ids
from rangemask.models.rangemask import RangeMaskOutput
from rangemask.structures import MaskSet
from rangemask.training.batch import Batch

DIRECTIONS: Mapping[str, str] = MappingProxyType(
    {
        "abs_rel": "min",
        "rmse_m": "min",
        "delta1": "max",
        "epe_px": "min",
        "bad_2": "min",
        "ap50": "max",
        "ap": "max",
        "mask_iou": "max",
        "miou": "max",
        "pixel_accuracy": "max",
        "loss": "min",
        "choice": "min",
    }
)
"""Whether less or more of a score is better."""


@dataclass(slots=True)
class Scores:
    """Numbers of one pass over the validation frames.

    Args:
        config: of the student.
    """

    config: RangeMaskConfig
    _means: dict[str, list[float]] = field(default_factory=dict)
    _masks: list[tuple[MaskSet, MaskSet]] = field(default_factory=list)
    _confusion: AnyArray | None = None

    def update(self, output: RangeMaskOutput, batch: Batch) -> None:
        """Add the frames of a batch.

        Args:
            output: what the student said of them.
            batch: what is true.
        """
        if output.depth is not None and batch.depth is not None:
            self._depth(output.depth, batch.depth)
        if output.stereo is not None and batch.disparity is not None:
            self._stereo(output.stereo.disparity_px, batch.disparity)
        if output.semantic_logits is not None and batch.semantic is not None:
            self._semantic(output.semantic_logits, batch.semantic)
        if output.masks is not None and batch.masks is not None:
            self._instances(output, batch)

    def result(self) -> dict[str, float]:
        """Means over frames; of classes over all pixels, of average precision over all masks."""
        found = {name: float(np.mean(values)) for name, values in self._means.items()}
        if self._confusion is not None:
            found |= _of_confusion(self._confusion)
        if self._masks:
            precision = average_precision(self._masks)
            found |= {"ap50": precision.ap50, "ap": precision.ap}
        return {name: value for name, value in found.items() if math.isfinite(value)}

    def _add(self, **values: float) -> None:
        for name, value in values.items():
            if math.isfinite(value):
                self._means.setdefault(name, []).append(value)

    def _depth(self, predicted: Tensor, truth: Tensor) -> None:
        farthest_m = None if self.config.depth is None else self.config.depth.max_depth_m
        metric = farthest_m is not None
        for mine, true in zip(_arrays(predicted), _arrays(truth), strict=True):
            true = true if metric else _inverted(true)
            depth = mine if metric else _to_metres(mine, true)
            # Beyond it the head cannot answer, and no loss has asked it to.
            found = depth_metrics(depth, true, max_depth_m=farthest_m or math.inf)
            self._add(abs_rel=found.abs_rel, rmse_m=found.rmse_m, delta1=found.delta_1)

    def _stereo(self, predicted: Tensor, truth: Tensor) -> None:
        for mine, true in zip(_arrays(predicted), _arrays(truth), strict=True):
            found = disparity_metrics(mine, true)
            self._add(epe_px=found.epe_px, bad_2=found.bad_2)

    def _semantic(self, logits: Tensor, truth: Tensor) -> None:
        head = self.config.semantic
        assert head is not None  # noqa: S101 - its logits are there
        size = (truth.shape[-2], truth.shape[-1])
        ids = semantic_ids(logits.float(), size).long()
        known = truth > 0
        if len(head.classes) == 1:  # one class against all else, which has the id 2 here
            ids = torch.where(ids == 0, 2, ids)
        count = max(len(head.classes), 2) + 1
        pairs = truth[known] * count + ids[known]
        table = torch.bincount(pairs.flatten(), minlength=count**2).reshape(count, count)
        values = table[1:, 1:].cpu().numpy()
        self._confusion = values if self._confusion is None else self._confusion + values

    def _instances(self, output: RangeMaskOutput, batch: Batch) -> None:
        assert output.masks is not None  # noqa: S101 - checked by the caller
        assert batch.masks is not None  # noqa: S101
        assert batch.mask_classes is not None  # noqa: S101
        head = self.config.masks
        assert head is not None  # noqa: S101 - its answers are there
        found = instances(
            output.masks.class_logits.float(), output.masks.mask_logits.float(), min_score=0.05
        )
        for mine, masks, classes in zip(found, batch.masks, batch.mask_classes, strict=True):
            height, width = batch.images.shape[-2:]
            truth = MaskSet.from_dense(
                masks.cpu().numpy(), labels=[head.classes[i] for i in classes.tolist()]
            )
            truth = truth if len(truth) else MaskSet(height, width)
            dense = masks_at_size(mine.mask_logits, height, width).cpu().numpy()
            predicted = MaskSet(height, width)
            if len(dense):
                predicted = MaskSet.from_dense(
                    dense,
                    labels=[head.classes[i] for i in mine.labels.tolist()],
                    scores=mine.scores.tolist(),
                )
            self._masks.append((predicted, truth))
            if len(truth):
                self._add(mask_iou=mask_metrics(predicted, truth).mean_iou)


def _arrays(values: Tensor) -> Sequence[AnyArray]:
    return list(values.detach().float().cpu().numpy())


def _inverted(relative: AnyArray) -> AnyArray:
    """Relative inverse depth as depth up to scale; NaN where it is unknown or infinitely far."""
    out = np.full_like(relative, np.nan)
    np.divide(1, relative, out=out, where=relative > 0)
    return out


def _to_metres(relative: AnyArray, truth: AnyArray) -> AnyArray:
    """Relative inverse depth with the scale and shift that fit the truth best (MiDaS)."""
    known = np.isfinite(truth) & (truth > 0)
    if known.sum() < 2:
        return np.full_like(truth, np.nan)
    terms = np.stack([relative[known], np.ones(known.sum())], axis=1)
    scale, shift = np.linalg.lstsq(terms, 1 / truth[known], rcond=None)[0]
    # Beyond the farthest truth a fit may reach infinity.
    least = 0.1 / float(truth[known].max())
    return np.asarray(1 / np.maximum(scale * relative + shift, least), dtype=np.float32)


def _of_confusion(table: AnyArray) -> dict[str, float]:
    """Mean IoU over the classes that occur, and share of right pixels."""
    hits = np.diag(table).astype(np.float64)
    union = table.sum(0) + table.sum(1) - hits
    there = table.sum(1) > 0
    iou = hits[there] / np.maximum(union[there], 1)
    return {
        "miou": float(iou.mean()) if there.any() else math.nan,
        "pixel_accuracy": float(hits.sum() / max(table.sum(), 1)),
    }
