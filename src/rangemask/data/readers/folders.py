"""Folders side by side: images (or pairs) and labels of the same names.

CamVid and ADE20K are passed on like that, Ultralytics' depth sets are of that form, and so is
much that people make.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from rangemask.data.frame_sources import FrameSource, find_frames, find_rig_file
from rangemask.data.label_sources import sequence_of
from rangemask.data.map_files import MAP_SUFFIXES, read_depth, read_labels, read_masks
from rangemask.data.readers.disparity_codes import read_coded
from rangemask.data.readers.image_masks import SHAPE_ERRORS, mask_set, masks_by_id
from rangemask.data.readers.listed import (
    ListedDataset,
    by_stem,
    check_folder,
    files_below,
    fitting,
    frame_name,
    listed,
    partner_of,
    read_json,
)
from rangemask.data.readers.stereo_entry import read_frame
from rangemask.data.sample import Sample
from rangemask.errors import InputError
from rangemask.geometry import Rig
from rangemask.geometry.arrays import AnyArray
from rangemask.structures import DepthMap, MaskSet, SemanticMap, StereoFrame

_LABELS_FILE = "labels.json"
_KINDS = {
    "disparity": MAP_SUFFIXES,
    "depth": (".npy", ".pfm"),
    "masks": (".png", ".npy", ".json"),
    "semantic": (".png", ".npy"),
}
_UNKNOWN = frozenset({"unknown", "unlabelled", "unlabeled", "ignore", "ignored", "void"})
_IGNORED_ID = 255
_EXPECTED = "images/ (or left/ and right/) beside disparity/, depth/, masks/ or semantic/"


@dataclass(frozen=True, slots=True, kw_only=True)
class FolderEntry:
    """One image or pair and the files of the same name in the folders of labels."""

    name: str
    sequence: str
    source: Path
    right: Path | None = None
    rig: Path | None = None
    disparity: Path | None = None
    depth: Path | None = None
    masks: Path | None = None
    semantic: Path | None = None
    mask_labels: tuple[tuple[int, str], ...] = ()
    """Id in ``masks`` and its label; "object" for those that are not told."""
    class_ids: tuple[tuple[int, int], ...] = ()
    """Id in ``semantic`` and index into ``names``."""
    names: tuple[str, ...] = ()
    """Of classes; 0 is unknown."""

    def read(self) -> Sample:
        """Read the files.

        Raises:
            InputError: one is missing, damaged, of another size than the image, or holds a class
                that has no name.
        """
        frame = read_frame(self.name, self.source, self.right, self.rig)
        disparity = depth = None
        if self.disparity is not None:
            disparity = fitting(read_coded(self.disparity, "map"), self.disparity, frame)
        if self.depth is not None:
            depth = DepthMap(values=fitting(read_depth(self.depth), self.depth, frame))
        return Sample(
            frame=frame,
            sequence=self.sequence,
            disparity=disparity,
            depth=depth,
            masks=None if self.masks is None else self._masks(self.masks, frame),
            semantic=None if self.semantic is None else self._semantic(self.semantic, frame),
        )

    def _masks(self, path: Path, frame: StereoFrame) -> MaskSet:
        if path.suffix.lower() == ".json":
            masks = read_masks(path)
            if (masks.height, masks.width) != (frame.height, frame.width):
                raise InputError(
                    f"{path}: masks of {masks.width} x {masks.height} px, but the image of "
                    f"{frame.name} has {frame.width} x {frame.height} px."
                )
            return masks
        found = masks_by_id(fitting(read_labels(path), path, frame), path)
        told = dict(self.mask_labels)
        return mask_set(frame, [*found.values()], [told.get(n, "object") for n in found])

    def _semantic(self, path: Path, frame: StereoFrame) -> SemanticMap:
        ids = fitting(read_labels(path), path, frame)
        index_of = dict(self.class_ids) | {0: dict(self.class_ids).get(0, 0)}
        index_of.setdefault(_IGNORED_ID, 0)
        there, where = np.unique(ids, return_inverse=True)
        stray = [int(number) for number in there if int(number) not in index_of]
        if stray:
            raise InputError(f"{path}: class {stray[0]} has no name in {_LABELS_FILE}.")
        indices = np.array([index_of[int(number)] for number in there], dtype=np.uint8)
        return SemanticMap(_reshaped(indices[where], ids), self.names)


def looks_like_folders(path: Path) -> bool:
    """Whether there are images beside a folder of labels, and no data set of YOLO's."""
    return (
        _images_in(path) is not None
        and any((path / kind).is_dir() for kind in _KINDS)
        and not (path / "left" / "rgb").is_dir()
    )


def open_folders(path: str | Path) -> ListedDataset:
    """Open folders that lie side by side; files of one sample have one name but for suffixes.

    ``images/`` or ``left/`` and ``right/``, and what there is of ``disparity/`` (px; .npy, .pfm,
    16-bit .png x 256), ``depth/`` (metres; .npy, .pfm), ``masks/`` (ids, or COCO .json) and
    ``semantic/`` (ids). ``labels.json`` names classes: ``"classes"``, a list in the order of ids
    or an object of them; or ``"segments"``, per image a list of ``{"id", "category_id",
    "category"}``, which labels masks as well. A class that is called unknown, unlabelled, ignore
    or void, and an id of 255 without a name, is unknown. A calibration file is used.

    A folder of labels may lack files: those samples do not have that label. A recording is a
    subfolder or, without those, what stands before the number in a name.

    Raises:
        InputError: nothing of the kind is there, a label has no image, an image has no partner,
            or ``semantic/`` is there without names.
    """
    root = check_folder(path)
    images = _images_in(root)
    if images is None:
        raise InputError(f"{root}: found no samples. Expected {_EXPECTED}.")
    lefts = by_stem(files_below(images), images)
    rights_folder = root / "right" if images.name == "left" else None
    rights = {} if rights_folder is None else by_stem(files_below(rights_folder), rights_folder)
    labels = {kind: _labels(root / kind, suffixes, lefts) for kind, suffixes in _KINDS.items()}
    classes, segments = _names_of(root / _LABELS_FILE)
    if labels["semantic"] and not classes:
        raise InputError(
            f'{root / "semantic"}: ids need names; expected {_LABELS_FILE} with "classes".'
        )
    names, class_ids = _class_table(classes, root)
    entries = [
        FolderEntry(
            name=frame_name(stem),
            sequence=frame_name(Path(stem).parent) if "/" in stem else sequence_of(stem),
            source=left,
            right=None if rights_folder is None else partner_of(left, stem, rights, rights_folder),
            rig=find_rig_file(root),
            mask_labels=segments.get(stem, ()),
            class_ids=class_ids,
            names=names,
            **{kind: found.get(stem) for kind, found in labels.items()},
        )
        for stem, left in lefts.items()
    ]
    return listed(entries, root, _EXPECTED, names[1:])


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameEntry:
    """A frame without labels."""

    frame: FrameSource
    sequence: str
    rig: Path | None = None

    @property
    def name(self) -> str:
        """Of the frame."""
        return self.frame.name

    @property
    def source(self) -> Path:
        """Its (left) image."""
        return self.frame.left

    def read(self) -> Sample:
        """Read the images.

        Raises:
            InputError: one is missing, damaged, or the calibration does not fit.
        """
        rig = None if self.rig is None else Rig.load(self.rig)
        return Sample(frame=self.frame.read(rig), sequence=self.sequence)


def open_frames(path: str | Path) -> ListedDataset:
    """Open images without labels: what ``rangemask predict`` takes, as one recording.

    Args:
        path: a folder of images, of pairs by name, or with ``left`` and ``right``; with a
            calibration file, where there is one.

    Raises:
        InputError: nothing is there, or it does not pair up.
    """
    root = check_folder(path)
    rig = find_rig_file(root)
    entries = [
        FrameEntry(frame=frame, sequence=frame_name(root.resolve().name), rig=rig)
        for frame in find_frames(root, rig=None if rig is None else Rig.load(rig))
    ]
    return listed(entries, root, "images")


def _images_in(root: Path) -> Path | None:
    if (root / "left").is_dir() and (root / "right").is_dir():
        return root / "left"
    return root / "images" if (root / "images").is_dir() else None


def _labels(folder: Path, suffixes: tuple[str, ...], images: dict[str, Path]) -> dict[str, Path]:
    if not folder.is_dir():
        return {}
    found = by_stem(files_below(folder, suffixes), folder)
    for stem, file in found.items():
        partner_of(file, stem, images, folder.parent)
    return found


def _names_of(path: Path) -> tuple[dict[int, str], dict[str, tuple[tuple[int, str], ...]]]:
    """Class names by id, and labels of masks by image."""
    if not path.is_file():
        return {}, {}
    data = read_json(path)
    try:
        segments: dict[str, list[dict[str, Any]]] = data.get("segments") or {}
        listed_classes = data.get("classes")
        if isinstance(listed_classes, list):
            classes = {number: str(name) for number, name in enumerate(listed_classes)}
        elif listed_classes:
            classes = {int(number): str(name) for number, name in listed_classes.items()}
        else:
            classes = {
                int(row["category_id"]): str(row["category"])
                for rows in segments.values()
                for row in rows
            }
        labels = {
            stem: tuple((int(row["id"]), str(row["category"])) for row in rows)
            for stem, rows in segments.items()
        }
    except SHAPE_ERRORS as error:
        raise InputError(
            f"{path}: not a file of class names ({type(error).__name__}: {error}). Expected "
            '{"classes": [...]} or {"segments": {IMAGE: [{"id": ..., "category_id": ..., '
            '"category": ...}]}}.'
        ) from error
    return classes, labels


def _class_table(
    classes: dict[int, str], root: Path
) -> tuple[tuple[str, ...], tuple[tuple[int, int], ...]]:
    known = [number for number in sorted(classes) if classes[number].lower() not in _UNKNOWN]
    if len(known) > _IGNORED_ID:
        raise InputError(
            f"{root / _LABELS_FILE}: {len(known)} classes; a semantic map holds {_IGNORED_ID}."
        )
    index_of = dict.fromkeys(classes, 0) | {n: i for i, n in enumerate(known, start=1)}
    return ("unknown", *(classes[number] for number in known)), tuple(index_of.items())


def _reshaped(values: AnyArray, like: AnyArray) -> AnyArray:
    return values.reshape(like.shape)
