"""YOLO's segmentation labels: a text file of polygons per image, and ``data.yaml``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np
import yaml
from pycocotools import mask as coco

from rangemask.data.readers.image_masks import mask_set
from rangemask.data.readers.listed import (
    ListedDataset,
    files_below,
    frame_name,
    inside,
    listed,
)
from rangemask.data.sample import Sample
from rangemask.errors import InputError
from rangemask.geometry.arrays import Matrix
from rangemask.structures import Rle, StereoFrame
from rangemask.structures.images import IMAGE_SUFFIXES

YoloSplit: TypeAlias = Literal["train", "val", "test"]

_SPLITS: tuple[YoloSplit, ...] = ("train", "val", "test")
_YAML = (".yaml", ".yml")
_SLACK = 1e-3
"""Rounding of writers may leave the image by this share of its size."""


@dataclass(frozen=True, slots=True, kw_only=True)
class YoloEntry:
    """One image and its polygons; an image without a file of labels has no objects."""

    name: str
    source: Path
    labels: Path
    names: tuple[str, ...]
    """Of classes, by their number."""

    @property
    def sequence(self) -> str:
        """Each image is its own."""
        return self.name

    def read(self) -> Sample:
        """Read the image and draw the polygons.

        Raises:
            InputError: a file is damaged, a class has no name, or a polygon leaves the image.
        """
        frame = StereoFrame.read(self.source, name=self.name)
        rles, names = [], []
        for number, polygon in self._polygons():
            rles.append(draw_polygon(polygon, frame.height, frame.width))
            names.append(self.names[number])
        return Sample(frame=frame, sequence=self.sequence, masks=mask_set(frame, rles, names))

    def _polygons(self) -> list[tuple[int, Matrix]]:
        if not self.labels.is_file():
            return []
        try:
            lines = self.labels.read_text(encoding="utf-8").splitlines()
        except ValueError as error:
            raise InputError(f"{self.labels}: not a text file ({error}).") from error
        found = []
        for count, line in enumerate(lines, start=1):
            if line.strip():
                try:
                    found.append(parse_line(line, len(self.names)))
                except InputError as error:
                    raise InputError(f"{self.labels}, line {count}: {error}") from error
        return found


def parse_line(line: str, class_count: int) -> tuple[int, Matrix]:
    """One line of labels: ``class x1 y1 x2 y2 ...``, as shares of the image's width and height.

    Returns:
        the class's number, and the corners (N, 2), within [0, 1].

    Raises:
        InputError: it is not of that form, a box, of no known class, or leaves the image.
    """
    fields = line.split()
    try:
        number = int(fields[0])
        values = np.array([float(field) for field in fields[1:]])
    except ValueError as error:
        raise InputError(f"expected a class and numbers ({error}).") from error
    if not 0 <= number < class_count:
        raise InputError(f"class {number} has no name; data.yaml names {class_count}.")
    if values.size == 4:
        raise InputError(
            "expected a polygon, found a box (x y width height). These are labels of detection, "
            "not of segmentation."
        )
    if values.size < 6 or values.size % 2:
        raise InputError(f"a polygon has three corners or more, found {values.size} numbers.")
    if not (np.isfinite(values).all() and values.min() >= -_SLACK and values.max() <= 1 + _SLACK):
        raise InputError(
            f"a polygon leaves the image: expected shares within [0, 1], found {values.min():g} "
            f"to {values.max():g}. Are these pixels?"
        )
    return number, np.clip(values, 0, 1).reshape(-1, 2)


def draw_polygon(corners: Matrix, height: int, width: int) -> Rle:
    """The pixels inside a polygon, as COCO draws them.

    Args:
        corners: (N, 2) x and y as shares of the image's width and height, from its corner.
        height: of the image, px.
        width: of the image, px.
    """
    pixels = (corners * (width, height)).ravel().tolist()
    return Rle.from_coco(coco.merge(coco.frPyObjects([pixels], height, width)))


def looks_like_yolo(path: Path) -> bool:
    """Whether it is, or holds, a ``data.yaml`` that names classes and images."""
    try:
        return "train" in (data := _read_yaml(_config(path))) and "names" in data
    except InputError:
        return False


def open_yolo(path: str | Path, *, split: YoloSplit | None = None) -> ListedDataset:
    """Open a data set of YOLO-seg.

    Labels of ``.../images/a/b.jpg`` are ``.../labels/a/b.txt``.

    Args:
        path: the ``data.yaml``, or a folder with one YAML file.
        split: one of those that the file names; all of them without it.

    Raises:
        InputError: the file is missing or of another form, there are no images, or images are
            outside of its folder.
    """
    config = _config(Path(path))
    data = _read_yaml(config)
    names = _class_names(data.get("names"), config)
    root = config.parent
    if data.get("path") and inside(root, str(data["path"]), config).is_dir():
        root = inside(root, str(data["path"]), config)
    splits = [name for name in _SPLITS if data.get(name)] if split is None else [split]
    images: dict[Path, None] = {}
    for name in splits:
        if not data.get(name):
            raise InputError(f"{config}: names no images of {name!r}.")
        images |= dict.fromkeys(_images(data[name], root, config))
    entries = [
        YoloEntry(
            name=frame_name(_without_images(image.relative_to(root)).with_suffix("")),
            source=image,
            labels=_labels_of(image, root),
            names=names,
        )
        for image in images
    ]
    return listed(entries, config, "images in the folders that it names", names)


def _config(path: Path) -> Path:
    if path.is_file():
        if path.suffix.lower() not in _YAML:
            raise InputError(f"{path}: expected a YAML file such as data.yaml.")
        return path
    found = sorted(file for suffix in _YAML for file in path.glob(f"*{suffix}"))
    named = [file for file in found if file.stem == "data"] or found
    if len(named) != 1:
        what = ", ".join(file.name for file in named) or "none"
        raise InputError(f"{path}: expected one data.yaml, found {what}. Give the file's path.")
    return named[0]


def _read_yaml(path: Path) -> dict[str, Any]:
    try:
        data = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError, RecursionError) as error:
        raise InputError(f"{path}: not a YAML file, or a damaged one ({error}).") from error
    if not isinstance(data, dict):
        raise InputError(f"{path}: expected names, train and val, found {type(data).__name__}.")
    return data


def _class_names(names: Any, config: Path) -> tuple[str, ...]:
    if isinstance(names, dict):
        if set(names) != set(range(len(names))):
            raise InputError(f"{config}: names must be numbered 0, 1, ..., found {list(names)}.")
        names = [names[number] for number in range(len(names))]
    if not isinstance(names, list) or not names:
        raise InputError(f"{config}: expected a list of class names under names, found {names!r}.")
    return tuple(str(name) for name in names)


def _images(where: Any, root: Path, config: Path) -> list[Path]:
    """Images of a split: folders, or text files that list images."""
    found: list[Path] = []
    for text in where if isinstance(where, Sequence) and not isinstance(where, str) else [where]:
        path = _inside_or_beside(root, str(text), config)
        if path.is_dir():
            found += files_below(path)
        elif path.suffix == ".txt" and path.is_file():
            lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
            listed_files = [inside(root, line.strip(), path) for line in lines if line.strip()]
            wrong = [file for file in listed_files if file.suffix.lower() not in IMAGE_SUFFIXES]
            if wrong:
                raise InputError(f"{path}: {wrong[0]} is not the name of an image.")
            found += listed_files
        else:
            raise InputError(f"{config}: names {path}, which does not exist.")
    return found


def _inside_or_beside(root: Path, text: str, config: Path) -> Path:
    # Roboflow writes ../train/images for a folder that lies beside the file.
    beside = text.removeprefix("../")
    return inside(root, beside if (root / beside).exists() else text, config)


def _without_images(path: Path) -> Path:
    parts = list(path.parts)
    if "images" in parts[:-1]:
        del parts[len(parts) - 1 - parts[::-1].index("images")]
    return Path(*parts)


def _labels_of(image: Path, root: Path) -> Path:
    """The last folder called images becomes labels, as Ultralytics has it."""
    parts = list(image.relative_to(root).parts)
    if "images" in parts[:-1]:
        parts[len(parts) - 1 - parts[::-1].index("images")] = "labels"
    return root.joinpath(*parts).with_suffix(".txt")
