"""Disparity, depth and mask files of the common data sets, to arrays and back.

Unknown pixels are NaN in memory and what each format has for them in files: NaN or infinity
(.npy), infinity (.pfm), 0 (16-bit PNG).
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from rangemask.errors import InputError
from rangemask.geometry.arrays import AnyArray, BoolMap, FloatMap
from rangemask.structures import MaskSet, Rle
from rangemask.structures.atomic import atomic_file
from rangemask.structures.images import IMAGE_SUFFIXES, read_array, write_image

PNG_SCALE = 256.0
"""KITTI: a 16-bit PNG holds disparity in px (or depth in metres) times 256, 0 for unknown."""

MAP_SUFFIXES = (".npy", ".pfm", ".png")


def read_disparity(path: str | Path) -> FloatMap:
    """Read a disparity map: ``.npy``, ``.pfm``, or KITTI's 16-bit ``.png``.

    Returns:
        (H, W) float32 px, NaN where unknown.

    Raises:
        InputError: the file is missing, damaged, or of another kind.
    """
    return _read_map(Path(path), PNG_SCALE)


def read_depth(path: str | Path, *, scale_per_metre: float = PNG_SCALE) -> FloatMap:
    """Read a depth map: ``.npy`` or ``.pfm`` in metres, or a 16-bit ``.png``.

    Args:
        path: the file.
        scale_per_metre: what one metre is in a PNG: 256 (KITTI), 1000 (millimetres).

    Returns:
        (H, W) float32 metres, NaN where unknown.

    Raises:
        InputError: the file is missing, damaged, or of another kind.
    """
    if not scale_per_metre > 0:
        raise InputError(f"scale_per_metre must be positive, got {scale_per_metre}.")
    depth = _read_map(Path(path), scale_per_metre)
    depth[~(depth > 0)] = np.nan
    return depth


def write_map(path: str | Path, values: FloatMap, *, png_scale: float = PNG_SCALE) -> None:
    """Write a disparity or depth map, whole or not at all; the suffix names the format.

    A PNG holds steps of ``1 / png_scale``; a known value below half a step becomes one step, so
    that it is not mistaken for unknown.

    Raises:
        InputError: the suffix is unknown, or a value does not fit into a PNG.
        OutputError: the file cannot be written.
    """
    target = Path(path)
    suffix = target.suffix.lower()
    if suffix not in MAP_SUFFIXES:
        raise InputError(f"{target}: expected a name ending in {', '.join(MAP_SUFFIXES)}.")
    array = np.asarray(values, dtype=np.float32)
    steps = _to_png(target, array, png_scale) if suffix == ".png" else None
    with atomic_file(target) as staging:
        if steps is not None:
            write_image(staging, steps)
        elif suffix == ".pfm":
            _write_pfm(staging, array)
        else:
            np.save(staging, array)


def read_mask(path: str | Path) -> BoolMap:
    """Read one mask: an image whose pixels are not 0 inside, or a bool ``.npy``.

    Returns:
        (H, W) bool.

    Raises:
        InputError: the file is missing, damaged, or of another kind.
    """
    return np.asarray(_read_ids(Path(path)) > 0)


def read_masks(path: str | Path) -> MaskSet:
    """Read instance masks: an image of ids (0 for none), or COCO JSON with run lengths.

    COCO: our ``segmentation/masks.json``, an instances file of one image, or a list of results.

    Raises:
        InputError: the file is missing, damaged, of another kind, or about several images.
    """
    file = Path(path)
    if file.suffix.lower() == ".json":
        return _read_coco(file)
    ids = _read_ids(file)
    names = np.unique(ids)
    names = names[names > 0]
    return MaskSet.from_dense(np.equal(ids[None], names[:, None, None]))


def _read_map(path: Path, png_scale: float) -> FloatMap:
    suffix = path.suffix.lower()
    if suffix == ".npy":
        values = _read_npy(path)
    elif suffix == ".pfm":
        values = _read_pfm(path)
    elif suffix == ".png":
        steps = read_array(path)
        if steps.dtype != np.uint16 or steps.ndim != 2:
            raise InputError(
                f"{path}: expected a 16-bit grey PNG (value / {png_scale:g}), found "
                f"{steps.dtype} of shape {steps.shape}. Is it a colour picture of the map?"
            )
        values = np.where(steps > 0, steps / png_scale, np.nan)
    else:
        raise InputError(f"{path}: expected a map in {', '.join(MAP_SUFFIXES)}.")
    found = values.astype(np.float32)
    found[~np.isfinite(found)] = np.nan
    return found


def _read_npy(path: Path) -> AnyArray:
    _check_there(path)
    try:
        # Never pickled objects: they would run code.
        values = np.load(path, allow_pickle=False)
    except (OSError, ValueError, EOFError, SyntaxError, TypeError, OverflowError) as error:
        raise InputError(f"{path}: not an array file, or it is cut off ({error}).") from error
    if not isinstance(values, np.ndarray) or values.ndim != 2 or values.dtype.kind not in "fiub":
        found = f"{values.dtype} {values.shape}" if isinstance(values, np.ndarray) else "an archive"
        raise InputError(f"{path}: expected numbers of shape (H, W), found {found}.")
    return values


_PFM_HEADER = re.compile(rb"^(PF|Pf)\s+(\d{1,9})\s+(\d{1,9})\s+([-+0-9.eE]{1,32})\s")


def _read_pfm(path: Path) -> AnyArray:
    """Rows run bottom-up; a negative scale says little-endian; infinity is unknown."""
    _check_there(path)
    raw = path.read_bytes()
    header = _PFM_HEADER.match(raw)
    if header is None:
        raise InputError(f"{path}: expected a PFM header ('Pf', width, height, scale).")
    if header[1] == b"PF":
        raise InputError(f"{path}: a PFM with three colours is a picture, expected one channel.")
    width, height = int(header[2]), int(header[3])
    try:
        scale = float(header[4])
    except ValueError as error:
        raise InputError(f"{path}: the PFM's scale {header[4]!r} is not a number.") from error
    if width < 1 or height < 1 or scale == 0 or not np.isfinite(scale):
        raise InputError(f"{path}: impossible PFM header: {width} x {height}, scale {scale:g}.")
    size, there = 4 * width * height, len(raw) - header.end()
    if there != size:
        raise InputError(
            f"{path}: {width} x {height} px need {size} bytes, the file has {there}. "
            "Was it cut off?"
        )
    values = np.frombuffer(raw, dtype="<f4" if scale < 0 else ">f4", offset=header.end())
    return values.reshape(height, width)[::-1]


def _write_pfm(path: Path, values: FloatMap) -> None:
    height, width = values.shape
    known = np.where(np.isfinite(values), values, np.inf).astype("<f4")
    path.write_bytes(f"Pf\n{width} {height}\n-1.0\n".encode("ascii") + known[::-1].tobytes())


def _to_png(path: Path, values: FloatMap, scale: float) -> AnyArray:
    known = np.isfinite(values)
    steps = np.rint(np.where(known, values, 0).astype(np.float64) * scale)
    if known.any() and (steps.min() < 0 or steps.max() > 65535):
        raise InputError(
            f"{path}: a 16-bit PNG holds 0 to {65535 / scale:g}, the map has "
            f"{np.nanmin(values[known]):g} to {np.nanmax(values[known]):g}. Write .npy or .pfm."
        )
    return np.where(known, np.maximum(steps, 1), 0).astype(np.uint16)


def _read_ids(path: Path) -> AnyArray:
    if path.suffix.lower() == ".npy":
        return _read_npy(path)
    if path.suffix.lower() not in IMAGE_SUFFIXES:
        raise InputError(f"{path}: expected an image of ids or masks, .npy, or COCO .json.")
    ids = read_array(path)
    if ids.ndim != 2:
        raise InputError(
            f"{path}: expected one id per pixel, found {ids.shape[2]} colours. "
            "Is it a picture of the masks?"
        )
    return ids


def _read_coco(path: Path) -> MaskSet:
    _check_there(path)
    data = _parsed(path, lambda: json.loads(path.read_text(encoding="utf-8")))
    masks: MaskSet = _parsed(path, lambda: _coco_masks(data))
    return masks


def _coco_masks(data: Any) -> MaskSet:
    rows = data if isinstance(data, list) else data["annotations"]
    images = [] if isinstance(data, list) else data.get("images", [])
    names = {}
    if isinstance(data, dict):
        names = {row["id"]: str(row["name"]) for row in data.get("categories", [])}
    several = {row["image_id"] for row in rows if "image_id" in row}
    if len(several) > 1 or len(images) > 1:
        raise InputError(f"expected masks of one image, found {max(len(several), len(images))}.")
    rles = [Rle.from_coco(row["segmentation"]) for row in rows]
    if rles:
        height, width = rles[0].height, rles[0].width
    elif images:
        height, width = int(images[0]["height"]), int(images[0]["width"])
    else:
        raise InputError("no masks and no image size")
    labels = (names.get(row.get("category_id"), "object") for row in rows)
    scores = (float(row.get("score", 1.0)) for row in rows)
    return MaskSet(height, width, tuple(rles), tuple(labels), tuple(scores))


def _parsed(path: Path, parse: Callable[[], Any]) -> Any:
    try:
        return parse()
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise InputError(f"{path}: not COCO masks with run lengths ({error}).") from error


def _check_there(path: Path) -> None:
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "does not exist"
        raise InputError(f"{path}: expected a file, but it {what}.")
    if path.stat().st_size == 0:
        raise InputError(f"{path}: the file is empty.")
