"""Predictions on disk against ground truth on disk: one file or whole folders."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from rangemask.data.map_files import read_depth, read_disparity, read_mask, read_masks
from rangemask.errors import InputError
from rangemask.geometry.arrays import BoolMap
from rangemask.metrics import average_precision, depth_metrics, disparity_metrics, mask_metrics
from rangemask.structures import MaskSet

Row = Mapping[str, float | int]
T = TypeVar("T")

_COUNTS = frozenset({"pixels", "truths", "predictions", "matched"})
"""These add up over frames; everything else is averaged."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """Metrics of each frame, and of all."""

    rows: dict[str, Row]
    """By frame name."""
    mean: Row
    """Counts summed, shares and errors averaged over the frames that have them."""
    alone: tuple[str, ...] = ()
    """Frames that only one of the two sides has; they are not compared."""

    def to_dict(self) -> dict[str, Any]:
        """As plain values; unknown numbers are None."""
        return {
            "frames": {name: _plain(row) for name, row in self.rows.items()},
            "mean": _plain(self.mean),
            "alone": list(self.alone),
        }


def evaluate_disparity(
    predicted: str | Path, truth: str | Path, *, valid: str | Path | None = None
) -> Report:
    """Compare disparity maps.

    Args:
        predicted: a map (.npy, .pfm, KITTI .png), a folder of maps, or an output folder of
            ``rangemask predict``.
        truth: a map, or a folder of maps with the same names.
        valid: a mask image of where to look, such as ``nonocc.png``, or a folder of them.

    Raises:
        InputError: a file is missing or damaged, sizes differ, or nothing pairs up.
    """

    def compare(found: Path, true: Path, mask: BoolMap | None) -> Row:
        return _naming(
            found,
            lambda: disparity_metrics(
                read_disparity(found), read_disparity(true), valid=mask
            ).to_dict(),
        )

    return _over(predicted, truth, valid, "stereo/disparity.npy", compare)


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

    def compare(found: Path, true: Path, mask: BoolMap | None) -> Row:
        return _naming(
            found,
            lambda: depth_metrics(
                read_depth(found, scale_per_metre=scale_per_metre),
                read_depth(true, scale_per_metre=scale_per_metre),
                valid=mask,
                min_depth_m=min_depth_m,
                max_depth_m=max_depth_m,
            ).to_dict(),
        )

    return _over(predicted, truth, valid, "stereo/depth.npy", compare)


def evaluate_masks(
    predicted: str | Path, truth: str | Path, *, iou: float = 0.5, use_labels: bool = False
) -> Report:
    """Compare instance masks: id images or COCO JSON.

    Args:
        predicted: a file, a folder of files, or an output folder of ``rangemask predict``.
        truth: a file, or a folder of files with the same names.
        iou: from which two masks count as matched.
        use_labels: whether only masks of one label can match.

    Raises:
        InputError: a file is missing or damaged, sizes differ, or nothing pairs up.
    """
    read: list[tuple[MaskSet, MaskSet]] = []

    def compare(found: Path, true: Path, _: BoolMap | None) -> Row:
        masks = read_masks(found), read_masks(true)
        read.append(masks)
        matched = _naming(found, lambda: mask_metrics(*masks, iou=iou, use_labels=use_labels))
        precision = average_precision([masks], use_labels=use_labels)
        return {**matched.to_dict(), **precision.to_dict()}

    report = _over(predicted, truth, None, "segmentation/masks.json", compare)
    # Average precision is of all images at once, not a mean of means.
    whole = average_precision(read, use_labels=use_labels).to_dict()
    return Report(rows=report.rows, mean={**report.mean, **whole}, alone=report.alone)


def _over(
    predicted: str | Path,
    truth: str | Path,
    valid: str | Path | None,
    inside: str,
    compare: Callable[[Path, Path, BoolMap | None], Row],
) -> Report:
    first, second = Path(predicted), Path(truth)
    for path in (first, second):
        if not path.exists():
            raise InputError(f"{path}: expected a file or a folder, but it does not exist.")
    found, true = _files(first, inside), _files(second, inside)
    if second.is_file():
        if len(found) != 1:
            raise InputError(f"{first}: holds {len(found)} predictions, {second} is one truth.")
        true = dict.fromkeys(found, second)
    elif first.is_file():
        raise InputError(f"{first} is one file, {second} a folder; give two of a kind.")
    shared = sorted(set(found) & set(true))
    if not shared:
        raise InputError(
            f"{first} and {second}: no frame is in both. Found {_some(found)} and {_some(true)}."
        )
    masks = None if valid is None else _files(Path(valid), inside)
    rows = {}
    for name in shared:
        mask = None if masks is None else read_mask(_mask_of(name, masks, Path(str(valid))))
        rows[name] = compare(found[name], true[name], mask)
    return Report(rows=rows, mean=_mean(rows), alone=tuple(sorted(set(found) ^ set(true))))


def _files(path: Path, inside: str) -> dict[str, Path]:
    """Frame name -> file: of one file, of a folder of files, of scenes, or of folders of files."""
    if path.is_file():
        return {path.stem: path}
    if (path / inside).is_file():
        return {path.name: path / inside}
    scenes = {file.parents[inside.count("/")].name: file for file in path.glob(f"*/{inside}")}
    if scenes:
        return scenes
    known = {".npy", ".pfm", ".png", ".json"}
    return {file.stem: file for file in sorted(path.glob("*")) if file.suffix.lower() in known}


def _mask_of(name: str, masks: Mapping[str, Path], valid: Path) -> Path:
    if valid.is_file():
        return valid
    if name not in masks:
        raise InputError(f"{valid}: has no mask for {name}; found {_some(masks)}.")
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


def _naming(path: Path, compute: Callable[[], T]) -> T:
    """What is wrong between two files is said with a name."""
    try:
        return compute()
    except InputError as error:
        if str(path.parent) in str(error):
            raise
        raise InputError(f"{path}: {error}") from error


def _some(files: Mapping[str, Path]) -> str:
    names = sorted(files)
    return (", ".join(names[:4]) + (", ..." if len(names) > 4 else "")) or "none"


def _plain(row: Row) -> dict[str, float | int | None]:
    return {key: None if math.isnan(value) else value for key, value in row.items()}
