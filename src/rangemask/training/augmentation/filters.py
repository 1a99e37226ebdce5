"""Filters of images that torchvision has, but slower than training on two cores can bear."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional

_WEIGHTS = (0.299, 0.587, 0.114)
"""Of red, green and blue in grey (ITU-R BT.601)."""


def gaussian(images: Tensor, deviation_px: float) -> Tensor:
    """Blur (B, 3, H, W) with a Gaussian, rows and columns one after the other.

    torchvision convolves in two dimensions, which takes 44 ms for a pair of 640 x 480 px on one
    core where this takes 8.
    """
    radius = max(math.ceil(2.5 * deviation_px), 1)
    steps = torch.arange(-radius, radius + 1, dtype=torch.float64)
    kernel = torch.exp(-((steps / max(deviation_px, 1e-3)) ** 2) / 2)
    weights = (kernel / kernel.sum()).tolist()
    for axis, margin in ((-2, (0, 0, radius, radius)), (-1, (radius, radius, 0, 0))):
        count = images.shape[axis]
        padded = functional.pad(images, margin, mode="replicate")
        images = padded.narrow(axis, 0, count) * weights[0]
        for start, weight in enumerate(weights[1:], start=1):
            images.add_(padded.narrow(axis, start, count), alpha=weight)
    return images


def colour_matrix(
    *, brightness: float, contrast: float, saturation: float, hue_turns: float
) -> tuple[Tensor, float]:
    """What torchvision's four adjustments do, as one matrix: 3 ms in place of 60.

    Args:
        brightness: factor.
        contrast: factor around the image's mean grey.
        saturation: factor around each pixel's grey.
        hue_turns: 1 is once around the circle of colours. It is turned in YIQ, which is linear
            and keeps grey as it is, instead of in HSV.

    Returns:
        (3, 3) for RGB, and the share of the image's mean grey to add.
    """
    grey = torch.tensor(_WEIGHTS, dtype=torch.float64).expand(3, 3)
    chroma = saturation * (torch.eye(3, dtype=torch.float64) - grey)
    turn = _turn(2 * math.pi * hue_turns)
    matrix = brightness * contrast * (grey + turn @ chroma)
    return matrix.float(), brightness * (1 - contrast)


def mean_grey(image: Tensor) -> float:
    """Of (3, H, W)."""
    return float(image.mean(dim=(1, 2)) @ image.new_tensor(_WEIGHTS))


def _turn(angle_rad: float) -> Tensor:
    """(3, 3): colours turned around grey, in RGB."""
    to_yiq = torch.tensor(
        [_WEIGHTS, (0.595716, -0.274453, -0.321263), (0.211456, -0.522591, 0.311135)],
        dtype=torch.float64,
    )
    cos, sin = math.cos(angle_rad), math.sin(angle_rad)
    turn = torch.tensor([[1, 0, 0], [0, cos, -sin], [0, sin, cos]], dtype=torch.float64)
    turned: Tensor = torch.linalg.inv(to_yiq) @ turn @ to_yiq
    return turned
