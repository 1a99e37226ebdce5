"""Disparity packed into the pixels of PNG files: FSD's colours, CREStereo's steps of 1/32 px."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Literal, TypeAlias

import numpy as np

from rangemask.data.map_files import read_disparity
from rangemask.errors import InputError
from rangemask.geometry.arrays import FloatMap, ImageArray
from rangemask.structures.images import read_array

DisparityCode: TypeAlias = Literal["map", "any", "fsd-255", "fsd-256", "crestereo"]
"""How a file holds disparity: as ``read_disparity`` has it; the same or FSD's colours, whichever
is found; FSD's colours in base 255 or 256; CREStereo's."""

FSD_BASES = (255, 256)
FSD_STEPS_PER_PX = 1000
_CRESTEREO_STEPS_PER_PX = 32


def decode_fsd(rgb: ImageArray, base: int = 255) -> FloatMap:
    """Disparity from the colours of the FoundationStereo data set (FSD).

    ``disparity = (R * base**2 + G * base + B) / 1000`` px; black is unknown.

    Args:
        rgb: (H, W, 3) uint8.
        base: 255, as published; 256 is argued for too (docs/datasets.md).

    Returns:
        (H, W) float32 px, NaN where unknown.

    Raises:
        InputError: not such an image, or another base.
    """
    _check_base(base)
    if rgb.dtype != np.uint8 or rgb.ndim != 3 or rgb.shape[2] != 3:
        raise InputError(
            f"expected colour-coded disparity, (H, W, 3) uint8, found {rgb.dtype} {rgb.shape}."
        )
    red, green, blue = np.moveaxis(rgb.astype(np.int32), -1, 0)
    steps = (red * base + green) * base + blue
    return np.where(steps > 0, steps / FSD_STEPS_PER_PX, np.nan).astype(np.float32)


def encode_fsd(disparity: FloatMap, base: int = 255) -> ImageArray:
    """FSD's colours of a disparity map, in steps of 1/1000 px; ``decode_fsd`` undoes it.

    A known value below half a step becomes one step, so that it is not mistaken for unknown.

    Args:
        disparity: (H, W) px, NaN where unknown.
        base: as for ``decode_fsd``.

    Returns:
        (H, W, 3) uint8.

    Raises:
        InputError: a value is negative or too large for the code.
    """
    _check_base(base)
    known = np.isfinite(disparity)
    steps = np.rint(np.where(known, disparity, 0).astype(np.float64) * FSD_STEPS_PER_PX)
    most = 256 * base**2 - 1
    if steps.size and (steps.min() < 0 or steps.max() > most):
        raise InputError(
            f"FSD's colours hold disparities of 0 to {most / FSD_STEPS_PER_PX:g} px, the map has "
            f"{steps.min() / FSD_STEPS_PER_PX:g} to {steps.max() / FSD_STEPS_PER_PX:g}."
        )
    whole = np.where(known, np.maximum(steps, 1), 0).astype(np.int64)
    digits = (whole // base**2, whole // base % base, whole % base)
    return np.stack(digits, axis=-1).astype(np.uint8)


def read_coded(path: Path, code: DisparityCode) -> FloatMap:
    """Read a disparity file.

    Returns:
        (H, W) float32 px, NaN where unknown.

    Raises:
        InputError: it is missing, damaged or holds no such code.
    """
    return _READERS[code](path)


def _check_base(base: int) -> None:
    if base not in FSD_BASES:
        raise InputError(f"the base of FSD's colours is 255 or 256, got {base}.")


def _read_fsd(path: Path, base: int = 255) -> FloatMap:
    colours = read_array(path)
    try:
        return decode_fsd(colours, base)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def _read_fsd_256(path: Path) -> FloatMap:
    return _read_fsd(path, 256)


def _read_crestereo(path: Path) -> FloatMap:
    steps = read_array(path)
    if steps.ndim != 2:
        raise InputError(
            f"{path}: expected a grey PNG (disparity x {_CRESTEREO_STEPS_PER_PX}), "
            f"found {steps.shape[2]} colours."
        )
    known = np.where(steps > 0, steps / _CRESTEREO_STEPS_PER_PX, np.nan)
    return known.astype(np.float32)


def _read_any(path: Path) -> FloatMap:
    if path.suffix.lower() == ".png" and read_array(path).ndim == 3:
        return _read_fsd(path)
    return read_disparity(path)


_READERS: dict[DisparityCode, Callable[[Path], FloatMap]] = {
    "map": read_disparity,
    "any": _read_any,
    "fsd-255": _read_fsd,
    "fsd-256": _read_fsd_256,
    "crestereo": _read_crestereo,
}
