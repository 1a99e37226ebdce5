"""Data augmentation of TiO-Depth: flip, random size, one crop, colour jitter."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor

from rangemask.errors import InputError


class Jitter(NamedTuple):
    """Changes of colour."""

    gamma: float
    brightness: float
    channels: tuple[float, float, float]


class Crop(NamedTuple):
    """What of a pair is kept, px of the resized images."""

    resized_height: int
    resized_width: int
    top: int
    left: int
    height: int
    width: int


class AugmentedPair(NamedTuple):
    """A pair as it is learnt from; ``left`` and ``right`` may have changed places."""

    left: Tensor
    """(3, H, W) float32 RGB in [0, 1]."""
    right: Tensor
    left_jittered: Tensor
    right_jittered: Tensor


@dataclass(frozen=True, kw_only=True, slots=True)
class AugmentationConfig:
    """The published augmentation.

    Raises:
        InputError: sizes or ranges are impossible.
    """

    full_size: tuple[int, ...] = (384, 1280)
    """Height and width that pairs are brought to, px; what the network sees in use."""
    crop_size: tuple[int, ...] = (256, 832)
    """Height and width of what is learnt from, px."""
    scale: tuple[float, ...] = (0.75, 1.5)
    """Range of the random size."""
    flip: float = 0.5
    """How often the images change places and are mirrored, which gives a valid pair again."""
    jitter: float = 0.5
    """How often colours change."""
    gamma: tuple[float, ...] = (0.8, 1.2)
    brightness: tuple[float, ...] = (0.5, 2.0)
    channels: tuple[float, ...] = (0.8, 1.2)

    def __post_init__(self) -> None:
        for name in ("full_size", "crop_size", "scale", "gamma", "brightness", "channels"):
            value = getattr(self, name)
            if len(value) != 2 or min(value) <= 0:
                raise InputError(f"{name} must be two positive numbers, got {value}.")
        for name in ("scale", "gamma", "brightness", "channels"):
            least, most = getattr(self, name)
            if least > most:
                raise InputError(f"{name} must be a range, from small to large, got {least, most}.")
        for name in ("flip", "jitter"):
            if not 0 <= getattr(self, name) <= 1:
                raise InputError(f"{name} must lie within [0, 1], got {getattr(self, name)}.")
        for full, crop in zip(self.full_size, self.crop_size, strict=True):
            if int(full * self.scale[0]) < crop:
                raise InputError(
                    f"a crop of {self.crop_size} does not fit into {self.full_size} at the "
                    f"smallest scale {self.scale[0]}; lower crop_size, or raise scale or full_size."
                )

    def __call__(
        self,
        left: NDArray[np.uint8],
        right: NDArray[np.uint8],
        generator: torch.Generator,
    ) -> AugmentedPair:
        """Another example of a pair.

        Args:
            left: (H, W, 3) RGB.
            right: the same.
            generator: all that is random is drawn from it.

        Raises:
            InputError: the images have different sizes.
        """
        if left.shape != right.shape:
            raise InputError(
                f"both images of a pair must have one size, got {left.shape} and {right.shape}."
            )
        if _draw(generator, (0, 1)) < self.flip:
            left, right = right[:, ::-1], left[:, ::-1]
        crop = self.random_crop(generator)
        first, second = cut(left, crop), cut(right, crop)
        if _draw(generator, (0, 1)) >= self.jitter:
            return AugmentedPair(first, second, first, second)
        change = self.random_jitter(generator)
        return AugmentedPair(first, second, jittered(first, change), jittered(second, change))

    def random_crop(self, generator: torch.Generator) -> Crop:
        """A size and a place."""
        scale = _draw(generator, self.scale)
        spare = crop_room(scale, self.full_size, self.crop_size)
        i, j = (int(torch.randint(most + 1, (), generator=generator)) for most in spare)
        return crop_at(scale, i, j, self.full_size, self.crop_size)

    def random_jitter(self, generator: torch.Generator) -> Jitter:
        """A change of colours."""
        gamma, brightness = (_draw(generator, r) for r in (self.gamma, self.brightness))
        red, green, blue = (_draw(generator, self.channels) for _ in range(3))
        return Jitter(gamma, brightness, (red, green, blue))


def crop_room(scale: float, full_size: Sequence[int], crop_size: Sequence[int]) -> tuple[int, int]:
    """The largest row and column, px at full size, at which a crop may begin."""
    down, across = (
        max(full - (int(crop / scale) + 1), 0)
        for full, crop in zip(full_size, crop_size, strict=True)
    )
    return down, across


def crop_at(
    scale: float, row: int, column: int, full_size: Sequence[int], crop_size: Sequence[int]
) -> Crop:
    """A crop that begins at a row and a column of the image at full size.

    Args:
        scale: of the resized image.
        row: px at full size.
        column: likewise.
        full_size: height and width, px.
        crop_size: height and width, px.
    """
    height, width = (int(side * scale) for side in full_size)
    top, left = int(row * scale), int(column * scale)
    # Rounding must not lead out of the image.
    top, left = min(top, height - crop_size[0]), min(left, width - crop_size[1])
    return Crop(height, width, top, left, crop_size[0], crop_size[1])


def cut(image: NDArray[np.uint8], crop: Crop) -> Tensor:
    """An image resized (Lanczos, antialiased) and cut: (H, W, 3) to (3, h, w) in [0, 1]."""
    small = resized(image, (crop.resized_height, crop.resized_width))
    return small[:, crop.top : crop.top + crop.height, crop.left : crop.left + crop.width]


def resized(image: NDArray[np.uint8], size: Sequence[int]) -> Tensor:
    """An image at another size, Lanczos: (H, W, 3) uint8 to (3, h, w) float32 in [0, 1]."""
    height, width = size
    picture = Image.fromarray(np.ascontiguousarray(image))
    pixels = np.asarray(picture.resize((width, height), Image.Resampling.LANCZOS))
    return torch.from_numpy(pixels.transpose(2, 0, 1).copy()).float() / 255


def jittered(image: Tensor, change: Jitter) -> Tensor:
    """An image in other colours.

    Args:
        image: (3, H, W) in [0, 1].
        change: gamma, then brightness, then a factor per channel, cut off at 1 after each.
    """
    brighter = (image**change.gamma * change.brightness).clamp(max=1)
    return (brighter * image.new_tensor(change.channels).view(3, 1, 1)).clamp(max=1)


def _draw(generator: torch.Generator, between: Sequence[float]) -> float:
    least, most = between
    return least + (most - least) * float(torch.rand((), generator=generator))
