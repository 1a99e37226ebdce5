"""Transforms that move pixels: labels move with them, and pairs stay rectified."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional

from rangemask.training.augmentation.draws import (
    check_range,
    check_share,
    check_strength,
    happens,
    integer,
    log_uniform,
    uniform,
)
from rangemask.training.augmentation.sampling import (
    Size,
    fit,
    fit_scale,
    pictures,
    resized_window,
    with_pictures,
)
from rangemask.training.augmentation.swapping import can_swap, mirrored, swapped
from rangemask.training.augmentation.wide_angle import WideLens, stretched
from rangemask.training.batch import Example


@dataclass(frozen=True, slots=True, kw_only=True)
class Flip:
    """Left-right; the images of a pair change places as well, or the pair would be none.

    Raises:
        InputError: the probability is no share.
    """

    probability: float = 0.5

    def __post_init__(self) -> None:
        check_share(self, "probability")

    def __call__(self, example: Example, generator: torch.Generator) -> Example:
        """A pair whose labels cannot be carried over (``can_swap``) stays as it is."""
        if not happens(generator, self.probability):
            return example
        if example.right_image is None:
            return mirrored(example)
        return swapped(example) if can_swap(example) else example


@dataclass(frozen=True, slots=True, kw_only=True)
class CropAndScale:
    """A window of the picture, the same one in both eyes, brought to the training's size.

    Raises:
        InputError: a factor is not positive, or the probability no share.
    """

    probability: float = 1.0
    """Otherwise the whole picture is fitted in, as for validation."""
    zoom: tuple[float, float] = (0.85, 1.6)
    """Beyond the scale at which the picture just fills its frame; log-uniform. Below 1 it is
    smaller, and the rest repeats the border without labels."""
    stretch: float = 0.1
    """Width over height changes by up to this share, either way."""
    metric_zoom: bool = True
    """Divide depth by how much larger the picture is than when the whole of it is fitted in (as
    in validation): twice the size is half as far by the same camera, and
    ``depth = fx * baseline / disparity`` goes on holding for the rig of the fitted picture."""

    def __post_init__(self) -> None:
        check_share(self, "probability")
        check_range(self, "zoom", low=0.05)
        check_strength(self, "stretch")

    def __call__(self, example: Example, generator: torch.Generator, size: Size) -> Example:
        """Args: example; generator; size: height and width of the result, px."""
        if not happens(generator, self.probability):
            return fit(example, size)
        height, width = example.image.shape[-2:]
        zoom = max(size[0] / height, size[1] / width) * log_uniform(generator, *self.zoom)
        half = math.sqrt(log_uniform(generator, 1 / (1 + self.stretch), 1 + self.stretch))
        window = (
            max(round(size[0] / (zoom / half)), 1),
            max(round(size[1] / (zoom * half)), 1),
        )
        top, left = (_start(generator, n, w) for n, w in zip((height, width), window, strict=True))
        cut = resized_window(example, top, left, window, size)
        if cut.depth is None or not self.metric_zoom:
            return cut
        return replace(cut, depth=cut.depth * (fit_scale(example, size) * window[1] / size[1]))


@dataclass(frozen=True, slots=True, kw_only=True)
class WideAngle:
    """The picture as a wide lens gives it once rectified: stretched outside, soft, dark corners.

    Rows and columns are stretched one by one, by the same maps in both eyes, so that matching
    pixels stay on one row; disparity is what the maps make of it (docs/augmentation.md).

    Raises:
        InputError: a strength is out of its range.
    """

    probability: float = 0.0
    half_angle_rad: tuple[float, float] = (0.2, 0.7)
    """Of the lens, half the width seen; the picture's edge is magnified by 1 / cos^2 of it
    against its middle."""
    vignette: float = 0.5
    """Share of the light that the corners may lose."""
    softness: float = 1.0
    """How far the corners may be blurred, 1: entirely (a Gaussian of 1.5 px)."""
    stretch_depth: bool = False
    """Whether examples with depth are stretched, too. A stretched picture is no pinhole's, and its
    disparity and depth no longer agree; without this they are softened and darkened only."""

    def __post_init__(self) -> None:
        check_share(self, "probability", "vignette", "softness")
        check_range(self, "half_angle_rad", low=0.01, high=1.2)

    def __call__(self, example: Example, generator: torch.Generator) -> Example:
        """Labels move with their pixels; depth keeps its values."""
        if not happens(generator, self.probability):
            return example
        lens = WideLens(
            half_angle_rad=uniform(generator, *self.half_angle_rad),
            vignette=uniform(generator, 0, self.vignette),
            softness=uniform(generator, 0, self.softness),
        )
        if example.depth is not None and not self.stretch_depth:
            return with_pictures(example, lens.seen(pictures(example)))
        return stretched(example, lens)


@dataclass(frozen=True, slots=True, kw_only=True)
class Misalignment:
    """The right image a fraction of a pixel off its rows, as imperfect calibrations leave it.

    Only rows move: by a shift, and by a tilt that grows from the middle to the sides. A full
    rotation would move columns too, and the disparity of the labels would no longer be true.

    Raises:
        InputError: a strength is negative.
    """

    probability: float = 0.0
    shift_px: float = 0.5
    """Up to so much up or down."""
    tilt_px: float = 0.5
    """Up to so much at the left and right edge, in opposite directions."""

    def __post_init__(self) -> None:
        check_share(self, "probability")
        check_strength(self, "shift_px", "tilt_px")

    def __call__(self, example: Example, generator: torch.Generator) -> Example:
        """Single images stay as they are."""
        if not happens(generator, self.probability) or example.right_image is None:
            return example
        shift = uniform(generator, -self.shift_px, self.shift_px)
        tilt = uniform(generator, -self.tilt_px, self.tilt_px)
        return replace(example, right_image=_rows_moved(example.right_image, shift, tilt))


def _rows_moved(image: Tensor, shift_px: float, tilt_px: float) -> Tensor:
    """(3, H, W): row y shows what was at y + shift + tilt * (-1 at the left to 1 at the right)."""
    height, width = image.shape[-2:]
    x = (2 * torch.arange(width) + 1) / width - 1
    y = (2 * torch.arange(height) + 1) / height - 1
    rows = y[:, None] + (shift_px + tilt_px * x) * (2 / height)
    grid = torch.stack([x.expand(height, width), rows], dim=-1)
    return functional.grid_sample(
        image[None], grid[None], padding_mode="border", align_corners=False
    )[0]


def _start(generator: torch.Generator, length: int, window: int) -> int:
    """Where a window begins: within the image, or, where it is larger, around it."""
    room = length - window
    return integer(generator, min(room, 0), max(room, 0))
