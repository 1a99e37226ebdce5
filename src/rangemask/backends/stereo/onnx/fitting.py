"""A pair at the size that a network takes, and its disparity at the pair's size again."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from rangemask.backends.stereo.onnx.sidecar import InputSettings, SizeSettings
from rangemask.errors import InputError
from rangemask.geometry.arrays import FloatMap, ImageArray

_INTERPOLATIONS = {
    "linear": cv2.INTER_LINEAR,
    "cubic": cv2.INTER_CUBIC,
    "area": cv2.INTER_AREA,
}
_LEAST_SHARE = 0.5
"""Of the network's input that a padded pair must fill, along one side at least."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where in the network's input a pair lies, px."""

    height: int
    """Of the network's input."""
    width: int
    content_height: int
    """Of the pair in it."""
    content_width: int
    top: int = 0
    left: int = 0

    @property
    def margins(self) -> tuple[int, int, int, int]:
        """What is added: top, bottom, left, right."""
        bottom = self.height - self.content_height - self.top
        right = self.width - self.content_width - self.left
        return self.top, bottom, self.left, right


def place_pair(
    size: SizeSettings, fixed: tuple[int | None, int | None], height: int, width: int
) -> Place:
    """Where a pair of a size goes.

    Args:
        size: settings, with ``fit`` decided.
        fixed: height and width of the network's input, None where they are open.
        height: of the pair.
        width: of the pair.

    Raises:
        InputError: the pair is smaller than the network can use.
    """
    if min(height, width) < size.least_px:
        raise InputError(
            f"the pair is {width} x {height} px, and the network needs {size.least_px} px at "
            "least on both sides (size.least_px of its sidecar). Use larger images, or another "
            "matcher."
        )
    if size.fit == "resize":
        tall, long = (
            max(round(side / size.multiple), 1) * size.multiple if limit is None else limit
            for side, limit in zip((height, width), fixed, strict=True)
        )
        return Place(height=tall, width=long, content_height=tall, content_width=long)
    limits = [limit / side for side, limit in zip((height, width), fixed, strict=True) if limit]
    shrunk = min([1.0, *limits])
    inner = [max(round(side * shrunk), 1) for side in (height, width)]
    outer = [
        -(-side // size.multiple) * size.multiple if limit is None else limit
        for side, limit in zip(inner, fixed, strict=True)
    ]
    if all(part < _LEAST_SHARE * whole for part, whole in zip(inner, outer, strict=True)):
        raise InputError(
            f"the pair is {width} x {height} px, and the network sees {outer[1]} x {outer[0]}: "
            "that would be more padding than picture. Say `fit: resize` in the sidecar, use "
            "larger images, or export the network at a smaller size."
        )
    rows, columns = outer[0] - inner[0], outer[1] - inner[1]
    return Place(
        height=outer[0],
        width=outer[1],
        content_height=inner[0],
        content_width=inner[1],
        top={"top": rows, "bottom": 0, "both": rows // 2}[size.vertical],
        left={"left": columns, "right": 0, "both": columns // 2}[size.horizontal],
    )


def to_input(
    image: ImageArray, place: Place, inputs: InputSettings, size: SizeSettings, dtype: Any
) -> NDArray[Any]:
    """(H, W, 3) uint8 RGB to the (1, ., ., .) array that the network takes.

    Args:
        image: one of the pair.
        place: where it goes.
        inputs: colours and numbers.
        size: interpolation and padding.
        dtype: of the network's input.
    """
    picture: NDArray[Any] = image.astype(np.float32)
    if inputs.channels == "grey":
        picture = cv2.cvtColor(picture, cv2.COLOR_RGB2GRAY)[..., None]
    elif inputs.channels == "bgr":
        picture = picture[..., ::-1]
    inner = (place.content_width, place.content_height)
    if (picture.shape[1], picture.shape[0]) != inner:
        resized = cv2.resize(picture, inner, interpolation=_INTERPOLATIONS[size.interpolation])
        picture = resized.reshape(place.content_height, place.content_width, -1)
    if size.padding != "zero":
        picture = _padded(picture, place, "edge" if size.padding == "edge" else "constant")
    if np.dtype(dtype) != np.uint8:
        picture = picture * np.float32(inputs.white / 255)
        mean, std = np.asarray(inputs.mean, np.float32), np.asarray(inputs.std, np.float32)
        picture = (picture - mean) / std
    if size.padding == "zero":
        picture = _padded(picture, place, "constant")
    if np.dtype(dtype) == np.uint8:
        picture = np.clip(np.rint(picture), 0, 255)  # cubic interpolation overshoots
    if inputs.layout == "nchw":
        picture = picture.transpose(2, 0, 1)
    return np.ascontiguousarray(picture[None], dtype=dtype)


def _padded(picture: NDArray[Any], place: Place, mode: Any) -> NDArray[Any]:
    top, bottom, left, right = place.margins
    return np.pad(picture, ((top, bottom), (left, right), (0, 0)), mode=mode)


def from_output(values: FloatMap, place: Place, height: int, width: int) -> FloatMap:
    """A map of the network's size to one of the pair's: padding off, bilinear, values as they are.

    Args:
        values: (place.height, place.width) float32.
        place: where the pair lies.
        height: of the pair.
        width: of the pair.
    """
    rows = slice(place.top, place.top + place.content_height)
    columns = slice(place.left, place.left + place.content_width)
    inner = np.ascontiguousarray(values[rows, columns])
    if inner.shape == (height, width):
        return inner
    return np.asarray(cv2.resize(inner, (width, height), interpolation=cv2.INTER_LINEAR))
