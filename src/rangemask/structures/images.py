"""Image files to uint8 RGB arrays, and back."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from rangemask.errors import InputError
from rangemask.geometry.arrays import AnyArray, ImageArray

MAX_PIXELS = 64_000_000
"""Largest image accepted unless told otherwise, px (8000 x 8000)."""

IMAGE_SUFFIXES = frozenset(
    {".png", ".jpg", ".jpeg", ".bmp", ".tif", ".tiff", ".webp", ".ppm", ".pgm"}
)

# Pillow's own 6 takes three to four times as long for files a tenth smaller.
_PNG_EFFORT = 2

_SENSOR_BITS = (8, 10, 12, 14, 16)
_pillow_limit = threading.Lock()


def read_image(path: str | Path, *, max_pixels: int = MAX_PIXELS) -> ImageArray:
    """Read one image file.

    Grey becomes RGB, alpha is dropped, EXIF rotation is applied, and deeper images are
    brought to 8 bit (see ``read_images``).

    Returns:
        (H, W, 3) uint8 RGB.

    Raises:
        InputError: the file is missing, empty, cut off, no image, or larger than max_pixels.
    """
    return read_images([path], max_pixels=max_pixels)[0]


def read_images(paths: Sequence[str | Path], *, max_pixels: int = MAX_PIXELS) -> list[ImageArray]:
    """Read images that belong together, such as the two of a pair.

    16-bit files hold 10, 12, 14 or 16 significant bits; the brightest pixel of all of them
    tells how many, so that both eyes are brought to 8 bit by one and the same shift.

    Raises:
        InputError: see ``read_image``.
    """
    raw = [_decode(Path(path), max_pixels) for path in paths]
    deep = [image for image in raw if image.dtype != np.uint8]
    brightest = max((int(image.max()) for image in deep), default=0)
    bits = next(bits for bits in _SENSOR_BITS if brightest < 2**bits)
    return [_to_rgb8(image, bits) for image in raw]


def read_array(path: str | Path, *, max_pixels: int = MAX_PIXELS) -> AnyArray:
    """Read an image file whose values are numbers (ids, 16-bit disparity), unchanged.

    Of an image with a palette (VOC, DAVIS) the indices are the numbers, of one with a single bit
    0 and 1.

    Returns:
        (H, W) or (H, W, C), uint8 or uint16.

    Raises:
        InputError: see ``read_image``.
    """
    return _decode(Path(path), max_pixels, numbers=True)


def write_image(path: str | Path, image: AnyArray) -> None:
    """Write (H, W) uint8, (H, W) uint16 or (H, W, 3) uint8 RGB; the suffix names the format."""
    Image.fromarray(np.ascontiguousarray(image)).save(path, compress_level=_PNG_EFFORT)


def _decode(path: Path, max_pixels: int, *, numbers: bool = False) -> AnyArray:
    if not path.is_file():
        what = "is a folder" if path.is_dir() else "does not exist"
        raise InputError(f"{path}: expected an image file, but it {what}.")
    if path.stat().st_size == 0:
        raise InputError(f"{path}: the file is empty. Was the capture cut off?")
    try:
        with _no_pillow_limit(), Image.open(path) as image:
            _check_pixels(path, image.width * image.height, max_pixels)
            # Pillow decodes lazily: only this finds a file that is cut off.
            image.load()
            if numbers and image.mode in {"P", "1"}:
                return np.asarray(image).astype(np.uint8)
            return _as_array(ImageOps.exif_transpose(image))
    except UnidentifiedImageError as error:
        raise InputError(f"{path}: not an image, or of a format that is not known.") from error
    except (OSError, SyntaxError, ValueError, EOFError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path}: the image is damaged or cut off ({error}).") from error


def _check_pixels(path: Path, pixels: int, max_pixels: int) -> None:
    if pixels > max_pixels:
        raise InputError(
            f"{path}: the image has {pixels / 1e6:.1f} million pixels, more than the limit of "
            f"{max_pixels / 1e6:.1f} million. Resize it, or raise the limit (max_pixels, "
            "--max-pixels)."
        )


@contextmanager
def _no_pillow_limit() -> Iterator[None]:
    """Pillow's own limit is a global that warns or raises; ours replaces it while a file opens."""
    with _pillow_limit:
        before, Image.MAX_IMAGE_PIXELS = Image.MAX_IMAGE_PIXELS, None
        try:
            yield
        finally:
            Image.MAX_IMAGE_PIXELS = before


def _as_array(image: Image.Image) -> AnyArray:
    if image.mode in {"I;16", "I;16B", "I;16L", "I"}:
        wide = np.asarray(image).astype(np.int32)
        return np.clip(wide, 0, 65535).astype(np.uint16)
    if image.mode == "L":
        return np.array(image)
    if image.mode in {"P", "1", "LA", "PA", "RGBA", "RGBX", "CMYK", "YCbCr"}:
        return np.array(image.convert("RGB"))
    if image.mode == "RGB":
        return np.array(image)
    raise ValueError(f"pixel format {image.mode} is not supported")


def _to_rgb8(image: AnyArray, bits: int) -> ImageArray:
    if image.dtype != np.uint8:
        image = (image >> (bits - 8)).astype(np.uint8)
    return np.stack([image] * 3, axis=-1) if image.ndim == 2 else image
