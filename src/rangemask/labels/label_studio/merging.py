"""What a person submitted for a frame, put beside what the frame's masks file says."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from rangemask.errors import InputError
from rangemask.geometry.arrays import BoolMap
from rangemask.labels.label_studio.brush import decode_brush
from rangemask.labels.label_studio.marker import Marker, region_id
from rangemask.labels.label_studio.polygons import rasterise, same_points
from rangemask.labels.label_studio.regions import MaskFile, Region, part_of, regions_of
from rangemask.labels.label_studio.tasks import LABEL_KEYS, labels_of
from rangemask.structures import MaskSet, Rle


@dataclass(frozen=True, slots=True, eq=False)
class Drawn:
    """A region as it came back."""

    id: str
    label: str
    pixels: BoolMap
    untouched: bool
    """Whether it is drawn as it was exported."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Merged:
    """The masks file of a frame after a person was there."""

    rows: list[dict[str, Any]]
    kept: int
    changed: int
    new: int
    deleted: int
    next_id: int
    """Given to no mask of this frame so far."""

    @property
    def is_same(self) -> bool:
        """Whether the person left everything as it was."""
        return not (self.changed or self.new or self.deleted)

    def masks(self, height: int, width: int, classes: Sequence[str]) -> MaskSet:
        """The rows as masks."""
        return MaskSet(
            height,
            width,
            tuple(Rle.from_coco(row["segmentation"]) for row in self.rows),
            tuple(classes[row["category_id"] - 1] for row in self.rows),
            tuple(float(row["score"]) for row in self.rows),
        )


def merge(
    file: MaskFile,
    marker: Marker,
    result: Sequence[Any],
    classes: Sequence[str],
    next_id: int = 1,
) -> Merged:
    """Find what was changed, and write that into the rows.

    Args:
        file: the masks as they are.
        marker: how they were exported.
        result: the regions of an annotation.
        classes: of the store.
        next_id: the least id that a new mask may get.

    Raises:
        InputError: a region is damaged, or of a type that is no mask.
    """
    regions = {region.id: region for region in regions_of(file, marker)}
    drawn = _drawn(file, regions, result)
    groups = _by_mask(file, marker, drawn)
    shown: list[list[Region]] = [[] for _ in file.rows]
    for region in regions.values():
        shown[region.index].append(region)
    rows: list[dict[str, Any]] = []
    added = groups.pop(None, [])
    kept = changed = 0
    for index, row in enumerate(file.rows):
        mine, others = _of_one_label(groups.get(index, []), file.masks.labels[index])
        added += others
        after = _row(file, index, shown[index], mine, classes)
        if after is not None:
            rows.append(after)
            kept += after == row
            changed += after != row
    deleted = len(file.rows) - len(rows)
    next_id = max(next_id, *(row["id"] + 1 for row in file.rows), 1)
    measured = any("distance_m" in row for row in file.rows)
    for one in added:
        if one.pixels.any():
            fresh = {"id": next_id, "image_id": 1, **_drawn_row(one, classes), "iscrowd": 0}
            unknown = {"distance_m": None} if measured else {}
            rows.append({**fresh, "score": 1.0, **unknown, "label_studio_id": one.id})
            next_id += 1
    return Merged(
        rows=rows,
        kept=kept,
        changed=changed,
        new=len(rows) - kept - changed,
        deleted=deleted,
        next_id=next_id,
    )


def _drawn(file: MaskFile, regions: Mapping[str, Region], result: Sequence[Any]) -> list[Drawn]:
    found: dict[str, Drawn] = {}
    for item in result:
        name = item.get("id") if isinstance(item, dict) else None
        if not isinstance(name, str) or not name:
            raise InputError("a region has no id: export as JSON.")
        if name in found:
            raise InputError(f"two regions have the id {name}.")
        try:
            found[name] = _read(item, name, file, regions.get(name))
        except InputError as error:
            raise InputError(f"region {name}: {error}") from error
        except (AttributeError, LookupError, OverflowError, TypeError, ValueError) as error:
            raise InputError(
                f"region {name}: damaged ({type(error).__name__}: {error})."
            ) from error
    return list(found.values())


def _read(item: Mapping[str, Any], name: str, file: MaskFile, region: Region | None) -> Drawn:
    kind, value = item.get("type"), item["value"]
    if kind not in LABEL_KEYS:
        raise InputError(
            f"it is of type {kind!r}, which is no mask. Use brushes, polygons and rectangles, and "
            "delete other regions."
        )
    height, width = file.masks.height, file.masks.width
    size = (item.get("original_height"), item.get("original_width"))
    if size != (height, width):
        raise InputError(f"its image is {size[1]} x {size[0]} px, the frame {width} x {height}.")
    if item.get("image_rotation") or value.get("rotation"):
        raise InputError("it, or its image, is rotated, which masks cannot be. Turn it back.")
    labels = labels_of(item)
    if len(labels) != 1:
        raise InputError(f"it has {len(labels)} labels; a mask has one.")
    if kind == "brushlabels":
        if value.get("format") != "rle" or "rle" not in value:
            raise InputError(f"a brush in format {value.get('format')!r}, expected 'rle'.")
        return Drawn(name, labels[0], decode_brush(value["rle"], height, width), False)
    points = _corners(kind, value) * (width, height) / 100
    piece = None if region is None else region.piece
    if region is not None and piece is not None and same_points(points, piece.outline):
        return Drawn(name, labels[0], part_of(region, file), True)
    return Drawn(name, labels[0], rasterise(points, height, width), False)


def _corners(kind: str, value: Mapping[str, Any]) -> Any:
    """In percent of the image."""
    if kind == "polygonlabels":
        return np.array(value["points"], dtype=np.float64).reshape(-1, 2)
    x, y, width, height = (float(value[key]) for key in ("x", "y", "width", "height"))
    return np.array([[x, y], [x + width, y], [x + width, y + height], [x, y + height]])


def _by_mask(
    file: MaskFile, marker: Marker, drawn: Sequence[Drawn]
) -> dict[int | None, list[Drawn]]:
    """Regions by the index of the mask that they were; None for those that are new."""
    bases = {region_id(marker.frame, row): index for index, row in enumerate(file.rows)}
    groups: dict[int | None, list[Drawn]] = {}
    for one in drawn:
        index = bases.get(one.id)
        part = re.fullmatch(r"(.+)-\d+", one.id)
        if index is None and part is not None and marker.shape == "polygon":
            index = bases.get(part[1])
        groups.setdefault(index, []).append(one)
    return groups


def _of_one_label(drawn: list[Drawn], label: str) -> tuple[list[Drawn], list[Drawn]]:
    """Parts that stay one mask, and parts that became something else."""
    if not drawn:
        return [], []
    labels = [one.label for one in drawn]
    main = label if label in labels else labels[0]
    return (
        [one for one in drawn if one.label == main],
        [one for one in drawn if one.label != main],
    )


def _row(
    file: MaskFile,
    index: int,
    shown: Sequence[Region],
    drawn: Sequence[Drawn],
    classes: Sequence[str],
) -> dict[str, Any] | None:
    """A mask's row as it is now; None where the mask was deleted."""
    row = file.rows[index]
    if not shown and not drawn:
        return row  # it has no pixels: nobody could see it
    if not drawn:
        return None
    before = file.masks.rles[index].decode()
    pixels = np.logical_or.reduce([one.pixels for one in drawn])
    if not pixels.any():
        return None
    whole = {one.id for one in drawn} == {region.id for region in shown}
    same = (whole and all(one.untouched for one in drawn)) or np.array_equal(pixels, before)
    label = drawn[0].label
    if same and label == file.masks.labels[index]:
        return row
    one = Drawn(drawn[0].id, label, before if same else pixels, same)
    # The distance was measured with the mask as it was.
    unknown = {"distance_m": None} if "distance_m" in row and not same else {}
    return {**row, **_drawn_row(one, classes), "score": 1.0, **unknown}


def _drawn_row(one: Drawn, classes: Sequence[str]) -> dict[str, Any]:
    rle = Rle.encode(one.pixels)
    return {
        "category_id": list(classes).index(one.label) + 1,
        "segmentation": rle.to_coco(),
        "area": rle.area,
        "bbox": list(rle.box),
    }
