"""The masks of a frame as regions of Label Studio: one way to draw them, for both directions."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import chain, count
from pathlib import Path
from typing import Any

import numpy as np

from rangemask.data.store.files import read_label_masks
from rangemask.errors import InputError
from rangemask.geometry.arrays import BoolMap
from rangemask.labels.label_studio.brush import encode_brush
from rangemask.labels.label_studio.marker import Marker, region_id
from rangemask.labels.label_studio.polygons import Piece, pieces_of
from rangemask.structures import MaskSet


@dataclass(frozen=True, slots=True, eq=False)
class MaskFile:
    """A frame's masks file: the masks, and the rows that they were read from."""

    data: dict[str, Any]
    masks: MaskSet

    @property
    def rows(self) -> list[dict[str, Any]]:
        """COCO's annotations, one per mask, in the order of ``masks``."""
        return self.data["annotations"]  # type: ignore[no-any-return]

    @classmethod
    def read(cls, path: Path) -> MaskFile:
        """Read the file.

        Raises:
            InputError: it is missing, damaged, or of another layout than the store writes.
        """
        masks = read_label_masks(path)
        data = json.loads(path.read_text(encoding="utf-8"))
        rows = data.get("annotations") if isinstance(data, dict) else None
        ids = [row.get("id") for row in rows or ()]
        single = len(set(ids)) == len(ids) == len(masks) and all(type(one) is int for one in ids)
        if rows is None or not single:
            raise InputError(f"{path}: each mask needs an id of its own; make the labels anew.")
        return cls(data, masks)


@dataclass(frozen=True, slots=True, eq=False)
class Region:
    """A mask, or with polygons a part of one, as Label Studio shows it."""

    id: str
    index: int
    """Of the mask in its file."""
    piece: Piece | None
    """None for a brush region, which is the whole mask."""


def regions_of(file: MaskFile, marker: Marker) -> list[Region]:
    """Every region that a frame's masks are shown as; none for a mask without pixels."""
    regions = []
    bases = [region_id(marker.frame, row) for row in file.rows]
    for index, (base, rle) in enumerate(zip(bases, file.masks.rles, strict=True)):
        if rle.area == 0:
            continue
        if marker.shape == "brush":
            regions.append(Region(base, index, None))
            continue
        pieces = pieces_of(rle.decode(), marker.tolerance_px)
        further = (f"{base}-{number}" for number in count(2))
        names = chain([base], (name for name in further if name not in bases))
        regions += [Region(name, index, piece) for piece, name in zip(pieces, names, strict=False)]
    return regions


def result_of(region: Region, file: MaskFile) -> dict[str, Any]:
    """A region as an item of a prediction's result."""
    row, label = file.rows[region.index], file.masks.labels[region.index]
    score = file.masks.scores[region.index]
    height, width = file.masks.height, file.masks.width
    kind = "brushlabels" if region.piece is None else "polygonlabels"
    value = (
        {"format": "rle", "rle": encode_brush(file.masks.rles[region.index].decode())}
        if region.piece is None
        else {"points": to_percent(region.piece.outline, height, width), "closed": True}
    )
    return {
        "id": region.id,
        "type": kind,
        "from_name": FROM_NAMES[kind],
        "to_name": TO_NAME,
        "original_width": width,
        "original_height": height,
        "image_rotation": 0,
        "value": {**value, kind: [label]},
        "score": score,
        "meta": _meta(row, score),
    }


def to_percent(points: Any, height: int, width: int) -> list[list[float]]:
    """Corners in px as Label Studio's percent of the image."""
    percent: list[list[float]] = (np.asarray(points) * 100 / (width, height)).tolist()
    return percent


def part_of(region: Region, file: MaskFile) -> BoolMap:
    """The pixels of a region, (H, W)."""
    if region.piece is None:
        return file.masks.rles[region.index].decode()
    mask = np.zeros((file.masks.height, file.masks.width), dtype=bool)
    region.piece.paint(mask)
    return mask


TO_NAME = "image"
FROM_NAMES: Mapping[str, str] = {"brushlabels": "brush", "polygonlabels": "polygon"}


def _meta(row: Mapping[str, Any], score: float) -> dict[str, Any]:
    """Shown beside the region; an import does not read it."""
    distance_m = row.get("distance_m")
    said = [f"score {score:.2f}"] + ([] if distance_m is None else [f"{distance_m:.2f} m"])
    return {"text": [", ".join(said)], "score": score, "mask": row["id"], "distance_m": distance_m}
