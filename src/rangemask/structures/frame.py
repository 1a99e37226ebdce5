"""``StereoFrame``: what a camera saw at one moment, and the rig it saw it with."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from rangemask.errors import InputError
from rangemask.geometry import Rig
from rangemask.geometry.arrays import ImageArray
from rangemask.structures.images import MAX_PIXELS, read_image, read_images


@dataclass(frozen=True, slots=True, eq=False)
class StereoFrame:
    """One left image, its right partner if there is one, and their calibration.

    Raises:
        InputError: an image is not uint8 RGB, the two sizes differ, or the rig is for
            another size.
    """

    left: ImageArray
    """(H, W, 3) uint8 RGB."""
    right: ImageArray | None = None
    """(H, W, 3) uint8 RGB, or None for a single image."""
    rig: Rig | None = None
    name: str = "frame"
    """Names the folder that results go to."""
    timestamp_s: float | None = None

    def __post_init__(self) -> None:
        if self.name in {"", ".", ".."} or set(self.name) & set('/\\:*?"<>|\0'):
            raise InputError(f"a frame's name must be a plain folder name, got {self.name!r}.")
        _check_image(self.left, "left")
        if self.right is not None:
            _check_image(self.right, "right")
            if self.right.shape != self.left.shape:
                raise InputError(
                    f"{self.name}: left and right must have one size, got {_size(self.left)} and "
                    f"{_size(self.right)}. Are they from the same grab and camera mode?"
                )
        if self.rig is None:
            return
        if self.rig.size is None:
            object.__setattr__(self, "rig", self.rig.with_size(self.width, self.height))
        elif self.rig.size != (self.width, self.height):
            rig_size = f"{self.rig.size[0]} x {self.rig.size[1]}"
            raise InputError(
                f"{self.name}: the image is {_size(self.left)} px but the rig is for {rig_size}. "
                "Calibrate at this size, or, if the image was only resized, scale the rig "
                f"(Rig.scaled({self.width}, {self.height}), or --scale-rig)."
            )

    @classmethod
    def read(
        cls,
        left: str | Path,
        right: str | Path | None = None,
        *,
        rig: Rig | None = None,
        name: str | None = None,
        timestamp_s: float | None = None,
        max_pixels: int = MAX_PIXELS,
    ) -> StereoFrame:
        """Read a frame from image files; grey, 16-bit, RGBA and EXIF-turned images are handled.

        Args:
            left: image file.
            right: image file of the right camera.
            rig: calibration that fits the images.
            name: defaults to the left file's stem.
            timestamp_s: time of the grab, seconds.
            max_pixels: largest image accepted, px.

        Raises:
            InputError: a file is missing, empty, cut off, no image or too large, the sizes
                differ, or the rig does not fit.
        """
        name = Path(left).stem if name is None else name
        if right is None:
            image = read_image(left, max_pixels=max_pixels)
            return cls(image, None, rig, name, timestamp_s)
        first, second = read_images([left, right], max_pixels=max_pixels)
        if first.shape != second.shape:
            raise InputError(
                f"left and right must have one size, but {left} is {_size(first)} and {right} is "
                f"{_size(second)} px. Are they from the same grab and camera mode?"
            )
        return cls(first, second, rig, name, timestamp_s)

    @classmethod
    def read_side_by_side(
        cls,
        path: str | Path,
        *,
        rig: Rig | None = None,
        name: str | None = None,
        timestamp_s: float | None = None,
        max_pixels: int = MAX_PIXELS,
    ) -> StereoFrame:
        """Read one image whose left half is the left camera's and whose right half the right's.

        Raises:
            InputError: see ``read``; or the width is odd.
        """
        image = read_image(path, max_pixels=max_pixels)
        name = Path(path).stem if name is None else name
        return cls.from_side_by_side(image, rig=rig, name=name, timestamp_s=timestamp_s)

    @classmethod
    def from_side_by_side(
        cls,
        image: ImageArray,
        *,
        rig: Rig | None = None,
        name: str = "frame",
        timestamp_s: float | None = None,
    ) -> StereoFrame:
        """Cut one (H, 2W, 3) uint8 RGB image into its two halves.

        Raises:
            InputError: the width is odd.
        """
        width = image.shape[1]
        if width % 2:
            raise InputError(
                f"{name}: a side-by-side image has an even width, got {width} px. "
                "Is this one camera's image? Then choose --layout mono."
            )
        left, right = image[:, : width // 2], image[:, width // 2 :]
        return cls(np.ascontiguousarray(left), np.ascontiguousarray(right), rig, name, timestamp_s)

    @property
    def height(self) -> int:
        """Rows, px."""
        return int(self.left.shape[0])

    @property
    def width(self) -> int:
        """Columns, px."""
        return int(self.left.shape[1])

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, StereoFrame):
            return NotImplemented
        return (
            (self.rig, self.name, self.timestamp_s) == (other.rig, other.name, other.timestamp_s)
            and np.array_equal(self.left, other.left)
            and (self.right is None) == (other.right is None)
            and (
                self.right is None or other.right is None or np.array_equal(self.right, other.right)
            )
        )

    __hash__ = None  # type: ignore[assignment]  # arrays inside


def _check_image(image: ImageArray, which: str) -> None:
    if not isinstance(image, np.ndarray) or image.dtype != np.uint8:
        found = getattr(image, "dtype", type(image).__name__)
        raise InputError(f"the {which} image must be a uint8 RGB array, got {found}.")
    if image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
        raise InputError(f"the {which} image must have shape (H, W, 3), got {image.shape}.")


def _size(image: ImageArray) -> str:
    return f"{image.shape[1]} x {image.shape[0]}"
