"""How far away a mask is that a person drew, from the depth that lies beside it."""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rangemask.data.store import FrameRecord
from rangemask.data.store.files import read_file
from rangemask.errors import InputError
from rangemask.fusion.measure import measure_masks
from rangemask.geometry import Rig, depth_from_disparity
from rangemask.structures import DepthMap, MaskSet

logger = logging.getLogger(__name__)


def with_distances(
    rows: Sequence[dict[str, Any]],
    masks: MaskSet,
    before: Sequence[dict[str, Any]],
    record: FrameRecord,
    root: Path,
    rig: Rig | None,
) -> list[dict[str, Any]]:
    """Measure the masks that were drawn anew, as the teachers' masks were measured.

    Args:
        rows: of the masks file; those that have no distance are measured, unless they had none
            before either.
        masks: the same masks.
        before: the rows as they were.
        record: of the frame.
        root: of the store.
        rig: of the store.

    Returns:
        the rows; a distance that cannot be told is None.
    """
    wanted = [
        index
        for index, row in enumerate(rows)
        if "distance_m" in row and row["distance_m"] is None and row not in before
    ]
    measured = list(rows)
    try:
        depth = _depth_of(record, root, rig) if wanted else None
        if depth is None:
            return measured
        found = measure_masks(masks.select(wanted), depth, rig)
    except InputError as error:
        logger.warning("%s: its corrected masks have no distance: %s", record.name, error)
        return measured
    for index, one in zip(wanted, found, strict=True):
        distance_m = float(one.distance.median)
        if math.isfinite(distance_m):
            measured[index] = {**measured[index], "distance_m": distance_m}
    return measured


def _depth_of(record: FrameRecord, root: Path, rig: Rig | None) -> DepthMap | None:
    """In metres; None where the store has none."""
    files = record.files
    if "disparity" in files and rig is not None and rig.baseline_m is not None:
        disparity = read_file(root, "disparity", files["disparity"], ())
        confidence = (
            read_file(root, "confidence", files["confidence"], ())
            if "confidence" in files
            else None
        )
        return DepthMap(values=depth_from_disparity(disparity, rig), confidence=confidence)
    if "depth" in files:
        found: DepthMap = read_file(root, "depth", files["depth"], ())
        return found if found.kind == "metric_m" else None
    return None
