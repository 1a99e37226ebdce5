"""Large and small views of images, each with its own colours (multi-crop, arXiv 2006.09882)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F
from torchvision.transforms.v2 import functional as colours

from rangemask.models.images import check_images
from rangemask.training.self_supervision.config import CropConfig

GLOBAL_VIEWS = 2
_ASPECT = (3 / 4, 4 / 3)
_NUMBERS = 14
"""Random numbers of a view."""
_SOLARISED_ABOVE = 0.5


class Crops(NamedTuple):
    """Views of a batch of B images, RGB in [0, 1], view after view."""

    large: Tensor
    """(2 * B, 3, G, G); the second views begin at B."""
    small: Tensor
    """(N * B, 3, L, L)."""


class _Draw(NamedTuple):
    """Random numbers in [0, 1) of one view, by what they decide."""

    area: float
    aspect: float
    top: float
    left: float
    flip: float
    jitter: float
    brightness: float
    contrast: float
    saturation: float
    hue: float
    grey: float
    blur: float
    sigma: float
    solarise: float

    @property
    def colours(self) -> tuple[float, float, float, float]:
        """Brightness, contrast, saturation, hue."""
        return self.brightness, self.contrast, self.saturation, self.hue


def multi_crop(images: Tensor, config: CropConfig, generator: torch.Generator) -> Crops:
    """Two large views and some small ones of every image.

    Args:
        images: (B, 3, H, W) float RGB in [0, 1], of any size.
        config: sizes, shares and chances.
        generator: where random numbers come from; the same state gives the same views.

    Raises:
        InputError: these are no images.
    """
    images = check_images(images)
    views, count = GLOBAL_VIEWS + config.local_views, len(images)
    # All at once: one transfer where the generator lives on an accelerator.
    numbers = torch.rand(
        views, count, _NUMBERS, generator=generator, device=generator.device
    ).tolist()
    made = [
        torch.stack(
            [
                _view(image, _Draw(*row), view, config)
                for image, row in zip(images, numbers[view], strict=True)
            ]
        )
        for view in range(views)
    ]
    nothing = images.new_zeros(0, 3, config.local_px, config.local_px)
    small = torch.cat(made[GLOBAL_VIEWS:]) if config.local_views else nothing
    return Crops(torch.cat(made[:GLOBAL_VIEWS]), small)


def _view(image: Tensor, draw: _Draw, view: int, config: CropConfig) -> Tensor:
    large = view < GLOBAL_VIEWS
    scale = config.global_scale if large else config.local_scale
    top, left, height, width = _box(image.shape[-2:], scale, draw)
    side = config.global_px if large else config.local_px
    piece = image[None, :, top : top + height, left : left + width]
    piece = F.interpolate(piece, size=(side, side), mode="bilinear", antialias=True)
    if draw.flip < config.flip:
        piece = piece.flip(-1)
    piece = piece.clamp(0, 1)
    if draw.jitter < config.jitter:
        piece = recoloured(piece, draw.colours, config.strength)
    if draw.grey < config.grey:
        piece = colours.rgb_to_grayscale(piece, num_output_channels=3)
    if draw.blur < config.blur[min(view, GLOBAL_VIEWS)]:
        # DINOv2's 9 px at 224 px; less on smaller views, where it would be most of a patch.
        kernel = max(2 * round(side * 9 / 224 / 2 - 0.5) + 1, 3)
        sigma = (0.1 + 1.9 * draw.sigma) * kernel / 9
        piece = colours.gaussian_blur(piece, [kernel, kernel], [sigma, sigma])
    if view == 1 and draw.solarise < config.solarise:
        piece = colours.solarize(piece, _SOLARISED_ABOVE)
    return piece[0]


def _box(size: torch.Size, scale: tuple[float, float], draw: _Draw) -> tuple[int, int, int, int]:
    """Top, left, height and width in px."""
    rows, columns = size
    area = rows * columns * (scale[0] + (scale[1] - scale[0]) * draw.area)
    low, high = (math.log(ratio) for ratio in _ASPECT)
    ratio = math.exp(low + (high - low) * draw.aspect)  # width over height
    width = min(max(round(math.sqrt(area * ratio)), 1), columns)
    height = min(max(round(math.sqrt(area / ratio)), 1), rows)
    return (
        int(draw.top * (rows - height + 1)),
        int(draw.left * (columns - width + 1)),
        height,
        width,
    )


def recoloured(image: Tensor, numbers: Sequence[float], strength: float) -> Tensor:
    """Other brightness, contrast, saturation and hue.

    Args:
        image: (..., 3, H, W) RGB in [0, 1].
        numbers: one each, in [0, 1); 0.5 changes nothing.
        strength: 1 for at most 0.4, 0.4, 0.2 and 0.1.
    """
    brightness, contrast, saturation, hue = ((2 * number - 1) * strength for number in numbers)
    image = colours.adjust_brightness(image, 1 + 0.4 * brightness)
    image = colours.adjust_contrast(image, 1 + 0.4 * contrast)
    image = colours.adjust_saturation(image, 1 + 0.2 * saturation)
    changed: Tensor = colours.adjust_hue(image, 0.1 * hue)
    return changed
