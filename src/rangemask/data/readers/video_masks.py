"""Videos as images with masks as PNG: SA-V's validation and test sets, DAVIS, YouTube-VOS; VOC."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rangemask.data.map_files import read_labels, read_mask
from rangemask.data.readers.image_masks import BORDER, mask_set, masks_by_id, read_ids
from rangemask.data.readers.listed import (
    ListedDataset,
    by_stem,
    check_folder,
    files_below,
    fitting,
    frame_name,
    listed,
    partner_of,
)
from rangemask.data.sample import Sample
from rangemask.errors import InputError
from rangemask.structures import Rle, SemanticMap, StereoFrame

VOC_CLASSES = (
    "unknown",
    "background",
    "aeroplane",
    "bicycle",
    "bird",
    "boat",
    "bottle",
    "bus",
    "car",
    "cat",
    "chair",
    "cow",
    "diningtable",
    "dog",
    "horse",
    "motorbike",
    "person",
    "pottedplant",
    "sheep",
    "sofa",
    "train",
    "tvmonitor",
)
"""In the order of the ids of our maps, which are VOC's plus one: its 255, a border, is unknown."""

_IMAGES, _VIDEO_LABELS = ("JPEGImages_24fps", "JPEGImages"), ("Annotations_6fps", "Annotations")
_VOC_OBJECTS, _VOC_CLASSES = "SegmentationObject", "SegmentationClass"


@dataclass(frozen=True, slots=True, kw_only=True)
class TrackEntry:
    """One labelled frame of a video: one PNG of ids, or one PNG per object."""

    name: str
    sequence: str
    source: Path
    ids: Path | None = None
    objects: tuple[Path, ...] = ()

    def read(self) -> Sample:
        """Read image and masks; objects that are not to be seen are left out.

        Raises:
            InputError: a file is missing, damaged or of another size than the image.
        """
        frame = StereoFrame.read(self.source, name=self.name)
        rles = []
        if self.ids is not None:
            rles = [*masks_by_id(read_ids(self.ids, frame), self.ids).values()]
        for path in self.objects:
            rle = Rle.encode(fitting(read_mask(path), path, frame))
            rles += [rle] if rle.area else []
        return Sample(frame=frame, sequence=self.sequence, masks=mask_set(frame, rles))


@dataclass(frozen=True, slots=True, kw_only=True)
class VocEntry:
    """One image of VOC with its maps of objects and classes."""

    name: str
    source: Path
    ids: Path
    semantic: Path

    @property
    def sequence(self) -> str:
        """Each image is its own."""
        return self.name

    def read(self) -> Sample:
        """Read image, masks and classes.

        Raises:
            InputError: a file is missing, damaged or of another size than the image.
        """
        frame = StereoFrame.read(self.source, name=self.name)
        classes = fitting(read_labels(self.semantic), self.semantic, frame)
        classes = np.where(classes == BORDER, 0, classes.astype(np.int64) + 1)
        if classes.max() >= len(VOC_CLASSES):
            raise InputError(
                f"{self.semantic}: class {classes.max() - 1} is none of VOC's, which are 0 to "
                f"{len(VOC_CLASSES) - 2}."
            )
        rles = masks_by_id(read_ids(self.ids, frame), self.ids).values()
        masks = mask_set(frame, [*rles], [_most(classes[rle.decode()]) for rle in rles])
        semantic = SemanticMap(classes.astype(np.uint8), VOC_CLASSES)
        return Sample(frame=frame, sequence=self.name, masks=masks, semantic=semantic)


def looks_like_video_masks(path: Path) -> bool:
    """Whether there are folders of images and of annotations, and no VOC."""
    return path.is_dir() and not looks_like_voc(path) and _pair(path) is not None


def open_video_masks(path: str | Path) -> ListedDataset:
    """Open SA-V's validation or test set, DAVIS 2016 or 2017, YouTube-VOS, or the like.

    Only frames that have labels are listed; other images are left alone.

    Args:
        path: the folder with ``JPEGImages_24fps`` and ``Annotations_6fps``, or ``JPEGImages`` and
            ``Annotations``; with several sizes in them (DAVIS: ``480p``) names begin with it.

    Raises:
        InputError: nothing of the kind is there, or labels have no image.
    """
    root = check_folder(path)
    pair = _pair(root)
    if pair is None:
        raise InputError(f"{root}: found no samples. Expected JPEGImages and Annotations.")
    images, annotations = pair
    by_frame = by_stem(files_below(images), images)
    folders = {Path(stem).parent for stem in by_frame}
    whole: dict[str, Path] = {}
    parts: dict[str, list[Path]] = {}
    for label in files_below(annotations, (".png",)):
        below = label.relative_to(annotations).with_suffix("")
        if below.parent in folders:
            whole[below.as_posix()] = label
        else:  # one folder per object: it is not part of the image's path
            parts.setdefault((below.parent.parent / below.name).as_posix(), []).append(label)
    entries = [
        TrackEntry(
            name=frame_name(stem),
            sequence=frame_name(Path(stem).parent),
            source=partner_of(next(iter(labels)), stem, by_frame, images),
            ids=whole.get(stem),
            objects=tuple(parts.get(stem, ())),
        )
        for stem, labels in ({s: [p] for s, p in whole.items()} | parts).items()
    ]
    return listed(entries, root, "JPEGImages/VIDEO/NNNNN.jpg and Annotations/VIDEO/NNNNN.png")


def looks_like_voc(path: Path) -> bool:
    """Whether there are folders ``JPEGImages`` and ``SegmentationObject``."""
    return (path / "JPEGImages").is_dir() and (path / _VOC_OBJECTS).is_dir()


def open_voc(path: str | Path) -> ListedDataset:
    """Open Pascal VOC's segmentation (Everingham et al., 2010); only labelled images are listed.

    The white borders are unknown; the background is a class.

    Args:
        path: the folder with ``JPEGImages``, ``SegmentationObject`` and ``SegmentationClass``.

    Raises:
        InputError: nothing of the kind is there, or a partner is missing.
    """
    root = check_folder(path)
    images, objects, classes = (
        by_stem(files_below(check_folder(root / name), deep=False), root / name)
        for name in ("JPEGImages", _VOC_OBJECTS, _VOC_CLASSES)
    )
    entries = [
        VocEntry(
            name=frame_name(stem),
            source=partner_of(ids, stem, images, root / "JPEGImages"),
            ids=ids,
            semantic=partner_of(ids, stem, classes, root / _VOC_CLASSES),
        )
        for stem, ids in objects.items()
    ]
    return listed(entries, root, "SegmentationObject/NAME.png", VOC_CLASSES[1:])


def _most(classes: np.ndarray) -> str:
    return VOC_CLASSES[int(np.bincount(classes).argmax())]


def _pair(root: Path) -> tuple[Path, Path] | None:
    images = next((root / name for name in _IMAGES if (root / name).is_dir()), None)
    labels = next((root / name for name in _VIDEO_LABELS if (root / name).is_dir()), None)
    return None if images is None or labels is None else (images, labels)
