"""The label files of one frame: to bytes that any tool can read, and back."""

from __future__ import annotations

import io
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

import cv2
import numpy as np

from rangemask.data.coco_files import read_coco
from rangemask.data.map_files import PNG_SCALE, read_depth, read_disparity, read_labels, to_steps
from rangemask.data.store.record import Kind, LabelFile
from rangemask.errors import InputError, RangemaskError
from rangemask.geometry.arrays import AnyArray, FloatMap, ImageArray
from rangemask.structures import DepthMap, MaskSet, SemanticMap
from rangemask.structures.images import read_array

MapFormat: TypeAlias = Literal["png", "npy"]
"""Of disparity and of depth in metres: 16-bit PNG x 256, 0 unknown; or float32, NaN unknown."""
MAP_FORMATS: tuple[MapFormat, ...] = get_args(MapFormat)

_SHARE_STEPS = 255
# Of all settings tried on maps of disparity and confidence the fastest, and among the smallest.
_PNG_EFFORT = [
    *(cv2.IMWRITE_PNG_COMPRESSION, 1),
    *(cv2.IMWRITE_PNG_FILTER, cv2.IMWRITE_PNG_FILTER_SUB),
    *(cv2.IMWRITE_PNG_STRATEGY, cv2.IMWRITE_PNG_STRATEGY_RLE),
]


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class FrameLabels:
    """The labels of one frame in memory; None for kinds that were not made."""

    disparity: FloatMap | None = None
    """(H, W) float32 px, NaN where unknown."""
    confidence: FloatMap | None = None
    """(H, W) float32 in [0, 1], as the teacher gave it."""
    weight: FloatMap | None = None
    """(H, W) float32 in [0, 1], how much a student should believe the disparity."""
    depth: DepthMap | None = None
    """Of a monocular teacher."""
    masks: MaskSet | None = None
    distances_m: Sequence[float] = ()
    """Of the masks; NaN where unknown, empty where none was measured."""
    semantic: SemanticMap | None = None


@dataclass(frozen=True, slots=True)
class Encoded:
    """One label file before it is written."""

    suffix: str
    data: bytes
    details: Mapping[str, Any]


class Packing:
    """The files of one frame, packed in other threads while its other labels are still made.

    Packing takes as long as a fast matcher, and does not hold Python's lock.

    Args:
        threads: that pack.
        classes: of the store; a class has its place in them, from 1, as id.
        map_format: of disparity and metric depth.
    """

    def __init__(
        self, threads: ThreadPoolExecutor, classes: Sequence[str], map_format: MapFormat
    ) -> None:
        self._threads = threads
        self._classes, self._format = classes, map_format
        self._running: dict[Kind, Future[Encoded]] = {}

    def begin(self, labels: FrameLabels, image_file: str | None = None) -> None:
        """Begin with all kinds that are there and were not before; masks need the image's name."""
        makers = _makers(labels, image_file, self._classes, self._format)
        for kind, make in makers:
            if kind not in self._running:
                self._running[kind] = self._threads.submit(make)

    def result(self) -> dict[Kind, Encoded]:
        """All files.

        Raises:
            InputError: a disparity is too large for a PNG, or a label is none of the classes.
        """
        return {kind: future.result() for kind, future in self._running.items()}


def encode(
    labels: FrameLabels, image_file: str, classes: Sequence[str], map_format: MapFormat
) -> dict[Kind, Encoded]:
    """All files of one frame's labels.

    Args:
        labels: what to write.
        image_file: of the frame, as COCO's ``file_name``.
        classes: of the store; a class has its place in them, from 1, as id.
        map_format: of disparity and metric depth.

    Raises:
        InputError: a disparity is too large for a PNG, or a label is none of the classes.
    """
    return {kind: make() for kind, make in _makers(labels, image_file, classes, map_format)}


def _makers(
    labels: FrameLabels, image_file: str | None, classes: Sequence[str], map_format: MapFormat
) -> Iterator[tuple[Kind, Callable[[], Encoded]]]:
    """What makes each file, slow ones first."""
    if labels.disparity is not None:
        yield "disparity", partial(_map_file, "disparity", labels.disparity, map_format)
    if labels.depth is not None:
        yield "depth", partial(_depth_file, labels.depth, map_format)
    if labels.confidence is not None:
        yield "confidence", partial(_share_file, labels.confidence)
    if labels.weight is not None:
        yield "weight", partial(_share_file, labels.weight)
    if labels.semantic is not None:
        yield "semantic", partial(_ids_file, labels.semantic, classes)
    if labels.masks is not None and image_file is not None:
        masks, distances_m = labels.masks, labels.distances_m
        yield "masks", partial(_masks_file, masks, distances_m, image_file, classes)


def read_file(root: Path, kind: Kind, file: LabelFile, classes: Sequence[str]) -> Any:
    """One label file as the array or container that ``Sample`` wants.

    Raises:
        InputError: the file is missing, damaged, or of another kind.
    """
    path = root / file.mark.path
    if kind == "disparity":
        return read_disparity(path)
    if kind in {"confidence", "weight"}:
        return read_share(path)
    if kind == "depth":
        return _read_depth(path, str(file.details.get("kind", "metric_m")))
    if kind == "masks":
        return read_label_masks(path)
    ids = read_labels(path)
    if ids.dtype != np.uint8:
        raise InputError(f"{path}: expected class ids of 8 bit, found {ids.dtype}.")
    try:
        return SemanticMap(np.ascontiguousarray(ids), ("unknown", *classes))
    except RangemaskError as error:
        raise InputError(f"{path}: {error}") from error


def read_share(path: Path) -> FloatMap:
    """A map of numbers in [0, 1] from an 8- or 16-bit PNG.

    Raises:
        InputError: the file is missing, damaged, or a picture with colours.
    """
    steps = read_array(path)
    if steps.ndim != 2:
        raise InputError(f"{path}: expected one grey value per pixel, found {steps.shape}.")
    most = np.float32(np.iinfo(steps.dtype).max)
    return np.asarray(steps, dtype=np.float32) / most


def read_label_masks(path: Path) -> MaskSet:
    """Masks with labels and scores of one image.

    Raises:
        InputError: the file is missing, damaged, or about several images.
    """
    found = list(read_coco(path).masks.values())
    if len(found) != 1:
        raise InputError(f"{path}: expected masks of one image, found {len(found)}.")
    return found[0]


def _read_depth(path: Path, kind: str) -> DepthMap:
    if kind == "metric_m":
        return DepthMap(values=read_depth(path))
    if kind not in {"up_to_scale", "relative_inverse"}:
        raise InputError(f"{path}: depth of a kind that is not known: {kind!r}.")
    # Relative depth may be 0 or below, which metres may not.
    return DepthMap(values=read_disparity(path), kind=kind)  # type: ignore[arg-type]


def _map_file(what: str, values: FloatMap, map_format: MapFormat) -> Encoded:
    if map_format == "png":
        try:
            return Encoded(".png", _png(to_steps(values, PNG_SCALE)), {})
        except InputError as error:
            raise InputError(f"{what}: {error} Choose --maps npy.") from error
    buffer = io.BytesIO()
    np.save(buffer, values.astype(np.float32, copy=False))
    return Encoded(".npy", buffer.getvalue(), {})


def _depth_file(depth: DepthMap, map_format: MapFormat) -> Encoded:
    file = _map_file("depth", depth.values, map_format if depth.kind == "metric_m" else "npy")
    return Encoded(file.suffix, file.data, {"kind": depth.kind})


def _ids_file(semantic: SemanticMap, classes: Sequence[str]) -> Encoded:
    return Encoded(".png", _png(_ids_in(classes, semantic)), {})


def _share_file(values: FloatMap) -> Encoded:
    return Encoded(".png", _png(np.rint(values * _SHARE_STEPS).astype(np.uint8)), {})


def _png(values: AnyArray) -> bytes:
    done, encoded = cv2.imencode(".png", values, _PNG_EFFORT)
    if not done:
        raise InputError(f"a map of shape {values.shape} could not be written as PNG.")
    return encoded.tobytes()


def encode_image(image: ImageArray) -> Encoded:
    """(H, W, 3) uint8 RGB as PNG."""
    return Encoded(".png", _png(cv2.cvtColor(image, cv2.COLOR_RGB2BGR)), {})


def _ids_in(classes: Sequence[str], semantic: SemanticMap) -> AnyArray:
    """Ids of the map's own names to those of the store; what was not asked for is unknown."""
    table = np.zeros(256, dtype=np.uint8)
    for own, name in enumerate(semantic.names[1:], start=1):
        table[own] = classes.index(name) + 1 if name in classes else 0
    return table[semantic.ids]


def _class_id(classes: Sequence[str], label: str) -> int:
    if label not in classes:
        raise InputError(
            f"the segmenter found {label!r}, which is none of the classes of these labels: "
            f"{', '.join(classes)}."
        )
    return classes.index(label) + 1


def _masks_file(
    masks: MaskSet, distances_m: Sequence[float], image_file: str, classes: Sequence[str]
) -> Encoded:
    """COCO's instances layout for one image, with scores and, where known, distances."""
    rows = []
    for number, (rle, label, score) in enumerate(
        zip(masks.rles, masks.labels, masks.scores, strict=True), start=1
    ):
        row: dict[str, Any] = {
            "id": number,
            "image_id": 1,
            "category_id": _class_id(classes, label),
            "segmentation": rle.to_coco(),
            "area": rle.area,
            "bbox": list(rle.box),
            "iscrowd": 0,
            "score": score,
        }
        if distances_m:
            distance_m = float(distances_m[number - 1])
            row["distance_m"] = distance_m if np.isfinite(distance_m) else None
        rows.append(row)
    data = {
        "images": [
            {"id": 1, "file_name": image_file, "width": masks.width, "height": masks.height}
        ],
        "categories": [{"id": i, "name": name} for i, name in enumerate(classes, start=1)],
        "annotations": rows,
    }
    return Encoded(".json", (json.dumps(data, allow_nan=False) + "\n").encode(), {})
