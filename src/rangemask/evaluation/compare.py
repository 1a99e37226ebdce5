"""Predictions on disk against ground truth on disk: one file or whole folders."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, TypeAlias

from rangemask.data.coco_files import read_coco
from rangemask.data.map_files import read_depth, read_disparity, read_masks, read_valid
from rangemask.errors import InputError
from rangemask.evaluation.pairing import (
    DEPTH,
    DISPARITY,
    MASKS,
    VALID,
    Kind,
    find_files,
    pair_up,
    some,
)
from rangemask.geometry.arrays import BoolMap
from rangemask.metrics import (
    DepthMetrics,
    DisparityMetrics,
    MaskMetrics,
    average_precision,
    depth_metrics,
    disparity_metrics,
    mask_metrics,
)
from rangemask.structures import MaskSet

Row: TypeAlias = Mapping[str, float | int]
_MaskSides: TypeAlias = dict[str, Callable[[], MaskSet]]
_Metrics: TypeAlias = DepthMetrics | DisparityMetrics | MaskMetrics

_COUNTS = frozenset({"pixels", "truths", "predictions", "matched"})
"""These add up over frames; everything else is averaged."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """Metrics of each frame, and of all."""

    rows: dict[str, Row]
    """By frame name."""
    mean: Row
    """Counts summed, shares and errors averaged over the frames that have them."""
    only_predicted: tuple[str, ...] = ()
    """Frames without truth; they are not compared."""
    only_truth: tuple[str, ...] = ()
    """Frames without prediction; they are not compared, and count against nobody."""

    def to_dict(self) -> dict[str, Any]:
        """As plain values; unknown numbers are None."""
        return {
            "frames": {name: _plain(row) for name, row in self.rows.items()},
            "mean": _plain(self.mean),
            "only_predicted": list(self.only_predicted),
            "only_truth": list(self.only_truth),
        }


def evaluate_disparity(
    predicted: str | Path, truth: str | Path, *, valid: str | Path | None = None
) -> Report:
    """Compare disparity maps.

    Args:
        predicted: a map (.npy, .pfm, KITTI .png), a folder of maps, or an output folder of
            ``rangemask predict``; see ``pairing.find_files``.
        truth: a map, or a folder of maps with the same names.
        valid: a mask image of where to look, such as ``nonocc.png``, or a folder of them.

    Raises:
        InputError: a file is missing or damaged, sizes differ, or nothing pairs up.
    """

    def compare(found: Path, true: Path, mask: BoolMap | None) -> Row:
        maps = read_disparity(found), read_disparity(true)
        return _naming(f"{found} against {true}", partial(disparity_metrics, *maps, valid=mask))

    return _over(predicted, truth, valid, DISPARITY, compare)


def evaluate_depth(
    predicted: str | Path,
    truth: str | Path,
    *,
    valid: str | Path | None = None,
    min_depth_m: float = 0.0,
    max_depth_m: float = math.inf,
    scale_per_metre: float = 256.0,
) -> Report:
    """Compare depth maps; arguments as in ``evaluate_disparity``.

    Args:
        predicted: as there.
        truth: as there.
        valid: as there.
        min_depth_m: pixels whose truth is nearer are left out.
        max_depth_m: pixels whose truth is farther are left out.
        scale_per_metre: of 16-bit PNG files, 256 (KITTI) or 1000 (millimetres).

    Raises:
        InputError: as there.
    """
    measure = partial(depth_metrics, min_depth_m=min_depth_m, max_depth_m=max_depth_m)

    def compare(found: Path, true: Path, mask: BoolMap | None) -> Row:
        read = partial(read_depth, scale_per_metre=scale_per_metre)
        return _naming(
            f"{found} against {true}", partial(measure, read(found), read(true), valid=mask)
        )

    return _over(predicted, truth, valid, DEPTH, compare)


def evaluate_masks(
    predicted: str | Path, truth: str | Path, *, iou: float = 0.5, use_labels: bool = False
) -> Report:
    """Compare instance masks: id images or COCO JSON.

    Args:
        predicted: a file, a folder of files, an output folder of ``rangemask predict``, or COCO
            results of many images.
        truth: a file, a folder of files with the same names, or COCO instances of many images,
            whose ``file_name`` (without suffix) is the frame's name.
        iou: from which two masks count as matched.
        use_labels: whether only masks of one label can match.

    Raises:
        InputError: a file is missing or damaged, sizes differ, or nothing pairs up.
    """
    found, true, one_truth = _mask_sides(Path(predicted), Path(truth))
    pairs = pair_up(found, true, one_truth=one_truth, names=f"{predicted} and {truth}")
    rows: dict[str, Row] = {}
    read: list[tuple[MaskSet, MaskSet]] = []
    for name, (load, load_true) in pairs.both.items():
        masks = load(), load_true()
        read.append(masks)
        compare = partial(mask_metrics, *masks, iou=iou, use_labels=use_labels)
        matched = _naming(f"{predicted} against {truth}, frame {name}", compare)
        rows[name] = {**matched, **average_precision([masks], use_labels=use_labels).to_dict()}
    # Average precision is of all images at once, not a mean of means.
    whole = average_precision(read, use_labels=use_labels).to_dict()
    return Report(
        rows=rows,
        mean={**_mean(rows), **whole},
        only_predicted=pairs.only_predicted,
        only_truth=pairs.only_truth,
    )


def _mask_sides(predicted: Path, truth: Path) -> tuple[_MaskSides, _MaskSides, bool]:
    """Masks by frame name on either side, and whether the truth is of one frame."""
    known = read_coco(truth) if _is_json(truth) else None
    if known is not None and len(known.masks) > 1:
        one_truth = False
        true: _MaskSides = {name: partial(_same, masks) for name, masks in known.masks.items()}
    else:
        one_truth = truth.is_file()
        true = {name: partial(read_masks, file) for name, file in find_files(truth, MASKS).items()}
    if _is_json(predicted):
        named = read_coco(predicted, known=known).masks
        return {name: partial(_same, masks) for name, masks in named.items()}, true, one_truth
    files = find_files(predicted, MASKS)
    return {name: partial(read_masks, file) for name, file in files.items()}, true, one_truth


def _is_json(path: Path) -> bool:
    return path.suffix.lower() == ".json" and path.is_file()


def _same(masks: MaskSet) -> MaskSet:
    return masks


def _over(
    predicted: str | Path,
    truth: str | Path,
    valid: str | Path | None,
    kind: Kind,
    compare: Callable[[Path, Path, BoolMap | None], Row],
) -> Report:
    found, true = find_files(Path(predicted), kind), find_files(Path(truth), kind)
    pairs = pair_up(found, true, one_truth=Path(truth).is_file(), names=f"{predicted} and {truth}")
    masks = None if valid is None else find_files(Path(valid), VALID)
    rows = {}
    for name, (first, second) in pairs.both.items():
        mask = None if masks is None else read_valid(_mask_of(name, masks, Path(str(valid))))
        rows[name] = compare(first, second, mask)
    return Report(
        rows=rows,
        mean=_mean(rows),
        only_predicted=pairs.only_predicted,
        only_truth=pairs.only_truth,
    )


def _mask_of(name: str, masks: Mapping[str, Path], valid: Path) -> Path:
    if valid.is_file():
        return valid
    if name not in masks:
        raise InputError(f"{valid}: has no mask for {name}; found {some(masks)}.")
    return masks[name]


def _mean(rows: Mapping[str, Row]) -> Row:
    mean: dict[str, float | int] = {}
    for key in next(iter(rows.values())):
        values = [row[key] for row in rows.values() if not math.isnan(row[key])]
        if key in _COUNTS:
            mean[key] = int(sum(values))
        else:
            mean[key] = sum(values) / len(values) if values else math.nan
    return mean


def _naming(what: str, measure: Callable[[], _Metrics]) -> Row:
    """Arrays have no names; what is wrong between two of them is said with their files'."""
    try:
        return measure().to_dict()
    except InputError as error:
        raise InputError(f"{what}: {error}") from error


def _plain(row: Row) -> dict[str, float | int | None]:
    return {key: value if math.isfinite(value) else None for key, value in row.items()}
