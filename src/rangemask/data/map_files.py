"""Disparity, depth and mask files of the common data sets, to arrays and back.

Unknown pixels are NaN in memory and what each format has for them in files: NaN or infinity
(.npy), infinity (.pfm), 0 (16-bit PNG).
"""

from __future__ import annotations

import re
import tokenize
from pathlib import Path
from typing import BinaryIO

import numpy as np

from rangemask.atomic import atomic_file
from rangemask.data.coco_files import read_coco
from rangemask.errors import InputError
from rangemask.geometry.arrays import AnyArray, BoolMap, FloatMap
from rangemask.structures import MaskSet, Rle
from rangemask.structures.images import IMAGE_SUFFIXES, MAX_PIXELS, read_array, write_image
from rangemask.structures.masks import encode_masks

PNG_SCALE = 256.0
"""KITTI: a 16-bit PNG holds disparity in px (or depth in metres) times 256, 0 for unknown."""

MAP_SUFFIXES = (".npy", ".pfm", ".png")

_MOST_IDS = 10_000
_IDS_AT_ONCE = 16


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
    if array.ndim != 2 or array.size == 0:
        raise InputError(f"{target}: expected a map of shape (H, W), got {array.shape}.")
    steps = None
    if suffix == ".png":
        try:
            steps = to_steps(array, png_scale)
        except InputError as error:
            raise InputError(f"{target}: {error} Write .npy or .pfm.") from error
    with atomic_file(target) as staging:
        if steps is not None:
            write_image(staging, steps)
        elif suffix == ".pfm":
            _write_pfm(staging, array)
        else:
            # By handle: given a name, numpy would add its suffix to one in capitals.
            with staging.open("wb") as file:
                np.save(file, array)


def to_steps(values: FloatMap, scale: float) -> AnyArray:
    """A map as KITTI's 16-bit steps, (H, W) uint16, 0 where it is unknown.

    A known value below half a step becomes one step, so that it is not mistaken for unknown.

    Raises:
        InputError: a value does not fit.
    """
    known = np.isfinite(values)
    steps = np.rint(np.where(known, values, 0).astype(np.float64) * scale)
    if known.any() and (steps.min() < 0 or steps.max() > 65535):
        raise InputError(
            f"a 16-bit PNG holds 0 to {65535 / scale:g}, the map has "
            f"{np.nanmin(values[known]):g} to {np.nanmax(values[known]):g}."
        )
    return np.where(known, np.maximum(steps, 1), 0).astype(np.uint16)


def read_mask(path: str | Path) -> BoolMap:
    """Read one mask: an image whose pixels are not 0 inside, or a bool ``.npy``.

    Returns:
        (H, W) bool.

    Raises:
        InputError: the file is missing, damaged, or of another kind.
    """
    return np.asarray(read_labels(path) > 0)


def read_valid(path: str | Path) -> BoolMap:
    """Read a mask of where to look, such as a data set's non-occluded pixels.

    As ``read_mask``, but where white occurs only white is inside: Middlebury's ``mask0nocc.png``
    has 255 for visible in both images, 128 for occluded and 0 for unknown.

    Raises:
        InputError: the file is missing, damaged, or of another kind.
    """
    values = read_labels(path)
    if values.dtype == np.uint8 and values.max() == 255:
        return np.asarray(values == 255)
    return np.asarray(values > 0)


def read_labels(path: str | Path) -> AnyArray:
    """Read one whole number per pixel: class or instance ids, from an image or ``.npy``.

    Of an image with a palette (VOC, DAVIS) the indices are the ids.

    Returns:
        (H, W) uint8, uint16 or what the array file holds (whole numbers or bool).

    Raises:
        InputError: the file is missing, damaged, or of another kind.
    """
    file = Path(path)
    if file.suffix.lower() == ".npy":
        return _read_npy(file, "iub")
    if file.suffix.lower() not in IMAGE_SUFFIXES:
        raise InputError(f"{file}: expected an image of ids or masks, .npy, or COCO .json.")
    ids = read_array(file)
    if ids.ndim != 2:
        raise InputError(
            f"{file}: expected one id per pixel, found {ids.shape[2]} colours. "
            "Is it a picture of the masks?"
        )
    return ids


def read_masks(path: str | Path) -> MaskSet:
    """Read instance masks: an image of ids (0 for none), or COCO JSON with run lengths.

    COCO: our ``segmentation/masks.json``, an instances file or a list of results of one image;
    ``rangemask.data.coco_files.read_coco`` reads those of many.

    Raises:
        InputError: the file is missing, damaged, of another kind, or about several images.
    """
    file = Path(path)
    if file.suffix.lower() == ".json":
        return _only_image(file)
    ids = read_labels(file)
    names = np.unique(ids)
    names = names[names > 0]
    if names.size > _MOST_IDS:
        raise InputError(
            f"{file}: expected ids of masks, found {names.size} different ones. "
            "Is it a map of disparity or depth?"
        )
    rles: list[Rle] = []
    for start in range(0, names.size, _IDS_AT_ONCE):
        some = names[start : start + _IDS_AT_ONCE]
        rles += encode_masks(np.equal(ids[None], some[:, None, None]))
    height, width = ids.shape
    return MaskSet(height, width, tuple(rles), ("object",) * len(rles), (1.0,) * len(rles))


def _read_map(path: Path, png_scale: float) -> FloatMap:
    suffix = path.suffix.lower()
    if suffix == ".npy":
        values = _read_npy(path, "fiu")
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
    with np.errstate(over="ignore"):  # what float32 cannot hold is infinite, so unknown
        found = values.astype(np.float32)
    found[~np.isfinite(found)] = np.nan
    return found


def _read_npy(path: Path, kinds: str) -> AnyArray:
    """An array file whose header fits what is in it; nothing is allocated before that is known."""
    _check_there(path)
    with path.open("rb") as file:
        try:
            shape, by_columns, dtype = _npy_header(file)
        except _HEADER_ERRORS as error:
            raise InputError(f"{path}: not an array file ({error}).") from error
        # Never pickled objects (kind "O"): they would run code.
        if len(shape) != 2 or dtype.kind not in kinds or dtype.shape:
            raise InputError(f"{path}: expected {_KINDS[kinds]} (H, W), found {dtype} {shape}.")
        pixels = shape[0] * shape[1]
        if min(shape) < 1 or pixels > MAX_PIXELS:
            raise InputError(
                f"{path}: {shape[1]} x {shape[0]} px; expected 1 to {MAX_PIXELS / 1e6:g} million."
            )
        raw = file.read(pixels * dtype.itemsize)
    _check_size(path, shape[1], shape[0], pixels * dtype.itemsize, len(raw))
    values = np.frombuffer(raw, dtype=dtype)
    return values.reshape(shape, order="F" if by_columns else "C")


_KINDS = {"fiu": "numbers of shape", "iub": "whole numbers or bool of shape"}

# What numpy's reader of headers, which evaluates a literal, is known to raise.
_HEADER_ERRORS = (
    ValueError,
    SyntaxError,
    TypeError,
    LookupError,
    ArithmeticError,
    MemoryError,
    RecursionError,
    tokenize.TokenError,
    UserWarning,
)


def _npy_header(file: BinaryIO) -> tuple[tuple[int, ...], bool, np.dtype[np.generic]]:
    version = np.lib.format.read_magic(file)
    if version == (1, 0):
        return np.lib.format.read_array_header_1_0(file)
    if version == (2, 0):
        return np.lib.format.read_array_header_2_0(file)
    raise ValueError(f"version {version[0]}.{version[1]} is for tables")


def _check_size(path: Path, width: int, height: int, needed: int, there: int) -> None:
    if there != needed:
        raise InputError(
            f"{path}: {width} x {height} px need {needed} bytes, the file has {there}. "
            "Was it cut off?"
        )


_PFM_HEADER = re.compile(rb"^(PF|Pf)\s+(\d{1,9})\s+(\d{1,9})\s+([-+0-9.eE]{1,32})(?:\r\n|\s)")


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
    _check_size(path, width, height, 4 * width * height, len(raw) - header.end())
    values = np.frombuffer(raw, dtype="<f4" if scale < 0 else ">f4", offset=header.end())
    return values.reshape(height, width)[::-1]


def _write_pfm(path: Path, values: FloatMap) -> None:
    height, width = values.shape
    known = np.where(np.isfinite(values), values, np.inf).astype("<f4")
    path.write_bytes(f"Pf\n{width} {height}\n-1.0\n".encode("ascii") + known[::-1].tobytes())


def _only_image(path: Path) -> MaskSet:
    _check_there(path)
    found = read_coco(path).masks
    if len(found) != 1:
        raise InputError(
            f"{path}: expected masks of one image, found {len(found)}"
            + (" (no masks and no table of images)." if not found else ".")
        )
    return next(iter(found.values()))


def _check_there(path: Path) -> None:
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "does not exist"
        raise InputError(f"{path}: expected a file, but it {what}.")
    if path.stat().st_size == 0:
        raise InputError(f"{path}: the file is empty.")
