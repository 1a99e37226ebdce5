"""COCO's instances and panoptic segmentation (Lin et al., 2014; Kirillov et al., CVPR 2019)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, TypeAlias

import numpy as np
from numpy.typing import NDArray

from rangemask.data.coco_files import read_coco
from rangemask.data.readers.image_masks import SHAPE_ERRORS, mask_set
from rangemask.data.readers.listed import (
    ListedDataset,
    by_stem,
    check_folder,
    files_below,
    fitting,
    frame_name,
    inside,
    listed,
    read_json,
)
from rangemask.data.sample import Sample
from rangemask.errors import InputError
from rangemask.geometry.arrays import ImageArray
from rangemask.structures import MaskSet, SemanticMap, StereoFrame
from rangemask.structures.images import read_array
from rangemask.structures.masks import encode_masks

Segments: TypeAlias = tuple[tuple[int, int, bool], ...]

_MOST_NAMES = 256
_INSTANCES = ("annotations/instances_*.json", "instances_*.json", "*_annotations.coco.json")
_PANOPTIC = ("annotations/panoptic_*.json", "panoptic_*.json")


@dataclass(frozen=True, slots=True, kw_only=True)
class CocoEntry:
    """One image and its instances."""

    name: str
    source: Path
    masks: MaskSet
    labels: Path
    """The JSON file, for messages."""

    @property
    def sequence(self) -> str:
        """Each image is its own."""
        return self.name

    def read(self) -> Sample:
        """Read the image; the masks are there.

        Raises:
            InputError: it is missing, damaged, or not of the size that the JSON file tells.
        """
        frame = StereoFrame.read(self.source, name=self.name)
        if (self.masks.height, self.masks.width) != (frame.height, frame.width):
            raise InputError(
                f"{self.source}: {frame.width} x {frame.height} px, but {self.labels} says "
                f"{self.masks.width} x {self.masks.height}."
            )
        return Sample(frame=frame, sequence=self.sequence, masks=self.masks)


@dataclass(frozen=True, slots=True, kw_only=True)
class PanopticEntry:
    """One image, its PNG of segments and what each is."""

    name: str
    source: Path
    ids: Path
    segments: Segments
    """Id in the PNG, index into names, and whether it is an instance (a thing, and no crowd)."""
    names: tuple[str, ...]
    """Of classes; 0 is unknown."""

    @property
    def sequence(self) -> str:
        """Each image is its own."""
        return self.name

    def read(self) -> Sample:
        """Read image and segments: things become masks, everything the semantic map.

        Raises:
            InputError: a file is missing, damaged or of another size, or a segment is not told.
        """
        frame = StereoFrame.read(self.source, name=self.name)
        try:
            ids = decode_panoptic(fitting(read_array(self.ids), self.ids, frame))
        except InputError as error:
            message = str(error)
            named = message if str(self.ids) in message else f"{self.ids}: {message}"
            raise InputError(named) from error
        told = {number: (index, thing) for number, index, thing in self.segments}
        there, where = np.unique(ids, return_inverse=True)
        stray = [int(number) for number in there if number and int(number) not in told]
        if stray:
            raise InputError(f"{self.ids}: segment {stray[0]} is not in its segments_info.")
        of_id = np.array([told.get(int(number), (0, False))[0] for number in there])
        semantic = SemanticMap(of_id.astype(np.uint8)[where].reshape(ids.shape), self.names)
        things = [(number, told[number][0]) for number, _, thing in self.segments if thing]
        present = {int(number) for number in there}
        kept = [(number, index) for number, index in things if number in present]
        rles = [rle for number, _ in kept for rle in encode_masks(np.equal(ids, number)[None])]
        masks = mask_set(frame, rles, [self.names[index] for _, index in kept])
        return Sample(frame=frame, sequence=self.sequence, masks=masks, semantic=semantic)


def decode_panoptic(rgb: ImageArray) -> NDArray[np.uint32]:
    """Segment ids from COCO's panoptic PNG: ``R + 256 G + 65536 B``, 0 for none.

    Args:
        rgb: (H, W, 3) uint8.

    Returns:
        (H, W) uint32.

    Raises:
        InputError: not such an image.
    """
    if rgb.dtype != np.uint8 or rgb.ndim != 3 or rgb.shape[2] != 3:
        raise InputError(
            f"expected ids as colours, (H, W, 3) uint8, found {rgb.dtype} {rgb.shape}."
        )
    red, green, blue = np.moveaxis(rgb.astype(np.uint32), -1, 0)
    ids: NDArray[np.uint32] = red + (green << 8) + (blue << 16)
    return ids


def encode_panoptic(ids: NDArray[np.uint32]) -> ImageArray:
    """The colours of segment ids, (H, W, 3) uint8; ``decode_panoptic`` undoes it.

    Raises:
        InputError: an id does not fit into 24 bit.
    """
    if ids.size and int(ids.max()) >= 1 << 24:
        raise InputError(f"a panoptic PNG holds ids below {1 << 24}, found {int(ids.max())}.")
    return np.stack([ids & 255, ids >> 8 & 255, ids >> 16], axis=-1).astype(np.uint8)


def looks_like_coco(path: Path) -> bool:
    """Whether it is, or holds, an instances file."""
    return _looks(path, _INSTANCES) or (_is_json(path) and not path.name.startswith("panoptic"))


def looks_like_panoptic(path: Path) -> bool:
    """Whether it is, or holds, a panoptic file."""
    return _looks(path, _PANOPTIC) or (_is_json(path) and path.name.startswith("panoptic"))


def open_coco(path: str | Path, *, images: str | Path | None = None) -> ListedDataset:
    """Open instances of COCO's layout; crowd regions are left out.

    Args:
        path: a JSON file such as ``annotations/instances_val2017.json``, or a folder that holds
            one (COCO's own, or Roboflow's ``_annotations.coco.json`` beside its images).
        images: where the images are; without it ``val2017``, ``images/val2017`` or ``images``
            beside ``annotations``, or the JSON file's own folder.

    Raises:
        InputError: the file is damaged or of another form, an image is missing, a category is
            unknown, or there are several such files.
    """
    labels = _annotation_file(Path(path), _INSTANCES)
    found = read_coco(labels)
    if not found.names:
        raise InputError(f"{labels}: has no table of images; results alone are no data set.")
    classes = tuple(found.labels[number] for number in sorted(found.labels, key=_in_order))
    folder = Path(images) if images is not None else _image_folder(labels)
    by_path = by_stem(files_below(check_folder(folder)), folder)
    by_name: dict[str, list[Path]] = {}
    for file in by_path.values():
        by_name.setdefault(file.stem, []).append(file)
    entries = []
    for name, masks in found.masks.items():
        hits = [by_path[name]] if name in by_path else by_name.get(name, [])
        if len(hits) != 1:
            also = f": {hits[0]} and {hits[1]}" if hits else ""
            raise InputError(
                f"{labels}: expected one image {name!r} below {folder}, found {len(hits)}{also}."
            )
        entries.append(CocoEntry(name=frame_name(name), source=hits[0], masks=masks, labels=labels))
    return listed(entries, labels, "images in its table", classes)


def open_coco_panoptic(path: str | Path, *, images: str | Path | None = None) -> ListedDataset:
    """Open panoptic segmentation of COCO's layout.

    Things are masks (crowds are not), and every segment is part of the semantic map, whose ids
    are 1, 2, ... in the order of category ids, so that they fit into a byte.

    Args:
        path: a JSON file such as ``annotations/panoptic_val2017.json`` beside the folder of the
            same name that holds the PNGs, or a folder that holds one.
        images: where the images are; found as ``open_coco`` does.

    Raises:
        InputError: the file is damaged or of another form, an image is missing, a category is
            unknown, or there are several such files.
    """
    labels = _annotation_file(Path(path), _PANOPTIC)
    table = _panoptic_table(labels)
    if len(table.names) > _MOST_NAMES:
        raise InputError(
            f"{labels}: {len(table.names) - 1} categories; a semantic map holds {_MOST_NAMES - 1}."
        )
    folder = Path(images) if images is not None else _image_folder(labels)
    pngs = labels.with_suffix("")
    entries = []
    for image, png, segments in table.rows:
        paths = [inside(folder, image, labels), inside(pngs, png, labels)]
        missing = next((file for file in paths if not file.is_file()), None)
        if missing is not None:
            raise InputError(f"{labels}: names {missing}, which does not exist.")
        entries.append(
            PanopticEntry(
                name=frame_name(Path(image).with_suffix("")),
                source=paths[0],
                ids=paths[1],
                segments=segments,
                names=table.names,
            )
        )
    return listed(entries, labels, "annotations of images", table.names[1:])


class _PanopticTable(NamedTuple):
    names: tuple[str, ...]
    rows: list[tuple[str, str, Segments]]
    """Image, PNG and segments."""


def _panoptic_table(labels: Path) -> _PanopticTable:
    data = read_json(labels)
    try:
        categories = {int(row["id"]): row for row in data["categories"]}
        files = {row["id"]: str(row["file_name"]) for row in data["images"]}
        order = {number: index for index, number in enumerate(sorted(categories), start=1)}
        names = ("unknown", *(str(categories[number]["name"]) for number in order))
        things = {number for number in order if categories[number].get("isthing", 1)}
        rows = [
            (
                files[row["image_id"]],
                str(row["file_name"]),
                _segments(row["segments_info"], order, things),
            )
            for row in data["annotations"]
        ]
    except InputError as error:
        raise InputError(f"{labels}: {error}") from error
    except SHAPE_ERRORS as error:
        raise InputError(
            f"{labels}: not COCO's panoptic layout ({type(error).__name__}: {error}). Expected "
            '{"images": [...], "annotations": [{"segments_info": ...}], "categories": [...]}.'
        ) from error
    return _PanopticTable(names, rows)


def _segments(rows: list[dict[str, Any]], order: Mapping[int, int], things: set[int]) -> Segments:
    found = []
    for row in rows:
        category = int(row["category_id"])
        if category not in order:
            raise InputError(f"segment {row['id']} has category {category}, which is not there.")
        thing = category in things and not row.get("iscrowd")
        found.append((int(row["id"]), order[category], thing))
    return tuple(found)


def _in_order(number: int | str) -> tuple[bool, int, str]:
    return isinstance(number, str), number if isinstance(number, int) else 0, str(number)


def _is_json(path: Path) -> bool:
    return path.is_file() and path.suffix.lower() == ".json"


def _looks(path: Path, patterns: tuple[str, ...]) -> bool:
    return path.is_dir() and any(next(path.glob(pattern), None) for pattern in patterns)


def _annotation_file(path: Path, patterns: tuple[str, ...]) -> Path:
    if not path.is_dir():
        if not path.is_file():
            raise InputError(f"{path}: expected a JSON file or a folder, but it does not exist.")
        return path
    found = sorted({file for pattern in patterns for file in path.glob(pattern)})
    if len(found) != 1:
        names = ", ".join(file.name for file in found) or "none"
        raise InputError(
            f"{path}: expected one file of {', '.join(patterns)}, found {names}. "
            "Give the path of the one to read."
        )
    return found[0]


def _image_folder(labels: Path) -> Path:
    """``val2017`` for ``instances_val2017.json``, where COCO's archives unpack it, or the like."""
    part = labels.stem.partition("_")[2]
    beside = labels.parent.parent if labels.parent.name == "annotations" else labels.parent
    tries = [beside / part, beside / "images" / part] if part else []
    tries += [beside / "images", labels.parent]
    return next(folder for folder in tries if folder.is_dir())
