"""``open_dataset``: which layout a path has, and its reader."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from rangemask.data.frame_sources import find_frames
from rangemask.data.readers.coco import (
    looks_like_coco,
    looks_like_panoptic,
    open_coco,
    open_coco_panoptic,
)
from rangemask.data.readers.folders import looks_like_folders, open_folders, open_frames
from rangemask.data.readers.fsd import looks_like_fsd, open_fsd
from rangemask.data.readers.kitti import looks_like_kitti, open_kitti
from rangemask.data.readers.kitti_raw import (
    looks_like_kitti_raw,
    open_kitti_eigen_test,
    open_kitti_eigen_train,
    open_kitti_raw,
)
from rangemask.data.readers.listed import check_folder
from rangemask.data.readers.middlebury import looks_like_middlebury, open_middlebury
from rangemask.data.readers.pair_lists import (
    looks_like_crestereo,
    looks_like_tao,
    open_crestereo,
    open_tao_list,
)
from rangemask.data.readers.sceneflow import looks_like_sceneflow, open_sceneflow
from rangemask.data.readers.segment_anything import (
    looks_like_sa1b,
    looks_like_sav,
    open_sa1b,
    open_sav,
)
from rangemask.data.readers.video_masks import (
    looks_like_video_masks,
    looks_like_voc,
    open_video_masks,
    open_voc,
)
from rangemask.data.readers.yolo import looks_like_yolo, open_yolo
from rangemask.data.sample import Dataset
from rangemask.errors import InputError, UnknownNameError


@dataclass(frozen=True, slots=True)
class DatasetKind:
    """A layout of files."""

    name: str
    looks_like: Callable[[Path], bool]
    """Whether a path has it, told from names of files and folders."""
    open: Callable[[Path], Dataset]


_KINDS = (
    DatasetKind("kitti", looks_like_kitti, open_kitti),
    DatasetKind("kitti-raw", looks_like_kitti_raw, open_kitti_raw),
    # Asked for by name only: their folder is kitti-raw's.
    DatasetKind("kitti-eigen-train", lambda path: False, open_kitti_eigen_train),
    DatasetKind("kitti-eigen-test", lambda path: False, open_kitti_eigen_test),
    DatasetKind("middlebury", looks_like_middlebury, open_middlebury),
    DatasetKind("sceneflow", looks_like_sceneflow, open_sceneflow),
    DatasetKind("fsd", looks_like_fsd, open_fsd),
    DatasetKind("crestereo", looks_like_crestereo, open_crestereo),
    DatasetKind("tao", looks_like_tao, open_tao_list),
    DatasetKind("sa-1b", looks_like_sa1b, open_sa1b),
    DatasetKind("sa-v", looks_like_sav, open_sav),
    DatasetKind("video-masks", looks_like_video_masks, open_video_masks),
    DatasetKind("voc", looks_like_voc, open_voc),
    DatasetKind("coco", looks_like_coco, open_coco),
    DatasetKind("coco-panoptic", looks_like_panoptic, open_coco_panoptic),
    DatasetKind("yolo", looks_like_yolo, open_yolo),
    DatasetKind("folders", looks_like_folders, open_folders),
)
_OURS = "rangemask"
_UNLABELLED = "frames"

DATASET_KINDS: tuple[str, ...] = (_OURS, *(kind.name for kind in _KINDS), _UNLABELLED)
"""Names that ``open_dataset`` takes; "rangemask" are labels that ``rangemask label`` wrote,
"frames" images without labels."""

_MANIFEST, _MANIFEST_MARK, _MANIFEST_START = "manifest.json", b'"rangemask-labels"', 4096


def open_dataset(path: str | Path, kind: str | None = None) -> Dataset:
    """Open a data set of any layout that docs/datasets.md lists.

    Args:
        path: its folder, or the file that describes it (COCO's JSON, ``data.yaml``, TAO's list).
        kind: one of ``DATASET_KINDS``; recognised from names of files and folders without it.
            Images that no layout of labels fits are taken as frames without labels.

    Returns:
        the samples; listing them reads no images.

    Raises:
        InputError: the path does not exist, several layouts fit, none does, or its reader
            refuses what is there.
        UnknownNameError: there is no such kind.
    """
    root = Path(path)
    if not root.exists():
        raise InputError(f"{root}: expected a data set, but it does not exist.")
    if kind is not None:
        return _named(kind)(root)
    if _looks_like_ours(root):  # it lies among the files of what it labels
        return _open_ours(root)
    fitting = [form for form in _KINDS if form.looks_like(root)]
    if len(fitting) > 1:
        raise InputError(
            f"{root}: could be read as {' or as '.join(form.name for form in fitting)}. "
            "Say which (kind)."
        )
    if fitting:
        return fitting[0].open(root)
    try:
        find_frames(check_folder(root))
    except InputError as error:
        raise InputError(
            f"{root}: no layout that is known ({', '.join(DATASET_KINDS)}), and no images either: "
            f"{error} See docs/datasets.md, or give the folder that holds the data itself."
        ) from error
    return open_frames(root)


def _looks_like_ours(root: Path) -> bool:
    manifest = root / _MANIFEST
    if not manifest.is_file():
        return False
    with manifest.open("rb") as file:
        return _MANIFEST_MARK in file.read(_MANIFEST_START)


def _open_ours(root: Path) -> Dataset:
    from rangemask.data.store import open_labels

    return open_labels(root)


def _named(kind: str) -> Callable[[Path], Dataset]:
    others = {_OURS: _open_ours, _UNLABELLED: open_frames}
    found = others.get(kind) or next((form.open for form in _KINDS if form.name == kind), None)
    if found is None:
        raise UnknownNameError(
            f"no kind of data set is called {kind!r}; known are {', '.join(DATASET_KINDS)}."
        )
    return found
