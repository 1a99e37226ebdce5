"""COCO's mask files: data sets of many images, lists of results, and our ``masks.json``."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any, TypeAlias

from pycocotools import mask as coco

from rangemask.errors import InputError
from rangemask.structures import MaskSet, Rle
from rangemask.structures.images import MAX_PIXELS

ImageId: TypeAlias = int | str
Size: TypeAlias = tuple[int, int]

# What JSON of another shape than COCO's leads to.
_PARSING_ERRORS = (
    OSError,
    ArithmeticError,
    AttributeError,
    LookupError,
    RecursionError,
    TypeError,
    ValueError,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class CocoMasks:
    """What a COCO file says, by image."""

    masks: dict[str, MaskSet]
    """By frame name: the image's file name without suffix (and, where that does not tell two
    images apart, with its folders), or its id where the file has no table of images."""
    names: dict[ImageId, str] = field(default_factory=dict)
    """Image id to frame name, of the table of images."""
    sizes: dict[ImageId, Size] = field(default_factory=dict)
    """Image id to (height, width)."""
    labels: dict[ImageId, str] = field(default_factory=dict)
    """Category id to its name."""


def read_coco(path: str | Path, *, known: CocoMasks | None = None) -> CocoMasks:
    """Read masks of COCO's layout: an instances file, a list of results, our ``masks.json``.

    Masks are run lengths, compressed or not, or polygons. Crowd regions (``iscrowd``) are no
    instances and are left out.

    Args:
        path: the file.
        known: the data set that a list of results is about; it tells the names of images and
            categories, and which images there are when nothing was found in them.

    Raises:
        InputError: the file is missing, damaged, or not of that layout.
    """
    file = Path(path)
    if not file.is_file():
        what = "is a folder" if file.is_dir() else "does not exist"
        raise InputError(f"{file}: expected a file, but it {what}.")
    try:
        return _masks_of(json.loads(file.read_text(encoding="utf-8")), known)
    except InputError as error:
        raise InputError(f"{file}: {error}") from error
    except _PARSING_ERRORS as error:
        raise InputError(
            f"{file}: not masks of COCO's layout ({type(error).__name__}: {error}). Expected a "
            'list of results, or {"images": [...], "annotations": [...], "categories": [...]}.'
        ) from error


def _masks_of(data: Any, known: CocoMasks | None) -> CocoMasks:
    own = isinstance(data, dict)
    if not own and not isinstance(data, list):
        raise InputError(f"expected COCO's list or object, found {type(data).__name__}.")
    rows = [row for row in (data["annotations"] if own else data) if not row.get("iscrowd")]
    images = data.get("images", []) if own else []
    labels: Mapping[ImageId, str] = (
        {row["id"]: str(row["name"]) for row in data.get("categories", [])} if own else {}
    )
    names, sizes = _names(images), {row.get("id", 1): _size_of(row) for row in images}
    if known is not None and not images:
        names, sizes, labels = known.names, known.sizes, labels or known.labels
    found: dict[ImageId, list[dict[str, Any]]] = {number: [] for number in sizes}
    single = next(iter(sizes)) if len(sizes) == 1 else 1
    for row in rows:
        found.setdefault(row.get("image_id", single), []).append(row)
    masks = {
        names.get(number, str(number)): _mask_set(group, sizes.get(number), labels)
        for number, group in found.items()
    }
    return CocoMasks(masks=masks, names=dict(names), sizes=dict(sizes), labels=dict(labels))


def _names(images: list[dict[str, Any]]) -> dict[ImageId, str]:
    paths = {
        row.get("id", 1): PurePosixPath(str(row.get("file_name", row.get("id", 1))))
        for row in images
    }
    if len(paths) != len(images):
        raise InputError("two images have one id.")
    stems = {path.stem for path in paths.values()}
    if len(stems) == len(paths):
        return {number: path.stem for number, path in paths.items()}
    names = {number: path.with_suffix("").as_posix() for number, path in paths.items()}
    if len(set(names.values())) != len(names):
        raise InputError("two images have one file_name.")
    return names


def _size_of(row: Mapping[str, Any]) -> Size:
    return _checked(row["height"], row["width"])


def _checked(height: Any, width: Any) -> Size:
    height, width = int(height), int(width)
    if height < 1 or width < 1 or height * width > MAX_PIXELS:
        raise InputError(
            f"an image of {width} x {height} px; expected 1 to {MAX_PIXELS / 1e6:g} million pixels."
        )
    return height, width


def _mask_set(
    rows: list[dict[str, Any]], size: Size | None, labels: Mapping[ImageId, str]
) -> MaskSet:
    rles = [_rle(row["segmentation"], size) for row in rows]
    height, width = size or (rles[0].height, rles[0].width)
    scores = tuple(float(row.get("score", 1.0)) for row in rows)
    if not all(math.isfinite(score) for score in scores):
        raise InputError("a score is not a finite number.")
    names = (_label(row, labels) for row in rows)
    return MaskSet(height, width, tuple(rles), tuple(names), scores)


def _label(row: Mapping[str, Any], labels: Mapping[ImageId, str]) -> str:
    number = row.get("category_id")
    if labels and number is not None and number not in labels:
        raise InputError(f"a mask has category {number}, which is not in the table of categories.")
    return labels.get(0 if number is None else number, "object")


def _rle(segmentation: Any, size: Size | None) -> Rle:
    if isinstance(segmentation, list):
        return _from_polygons(segmentation, size)
    height, width = _checked(*segmentation["size"])
    counts = segmentation["counts"]
    # pycocotools trusts numbers: negative or overlong runs are found here.
    if isinstance(counts, list) and (
        not all(type(run) is int and run >= 0 for run in counts) or sum(counts) != height * width
    ):
        raise InputError(f"the runs do not add up to a mask of {width} x {height} px.")
    return Rle.from_coco(segmentation)


def _from_polygons(polygons: list[Any], size: Size | None) -> Rle:
    """One mask of the pixels inside any of the polygons, each x, y, x, y, ... in px."""
    if size is None:
        raise InputError(
            "a mask is a polygon, which needs the image's size; the file has no table of images."
        )
    height, width = size
    for polygon in polygons:
        if len(polygon) < 6 or len(polygon) % 2:
            raise InputError(f"a polygon needs three corners or more, found {len(polygon)} values.")
        # Far corners would make pycocotools walk, and store, all the way there.
        if not all(-2 * max(size) <= float(value) <= 3 * max(size) for value in polygon):
            raise InputError(f"a polygon leaves its image of {width} x {height} px by far.")
    if not polygons:
        return Rle.from_coco({"size": [height, width], "counts": [height * width]})
    parts = coco.frPyObjects([[float(v) for v in polygon] for polygon in polygons], height, width)
    return Rle.from_coco(coco.merge(parts))
