"""What a wide lens does to a rectified picture, with the disparity that follows from it."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor
from torch.nn import functional

from rangemask.training.augmentation.filters import gaussian
from rangemask.training.augmentation.sampling import pictures, take_labels, with_pictures
from rangemask.training.batch import Example

_SOFT_PX = 1.5
_STEEPEST_RAD = 1.45
"""Beyond this angle a match has no place in the stretched picture that a number could tell."""


@dataclass(frozen=True, slots=True, kw_only=True)
class WideLens:
    """One lens drawn by ``WideAngle``; the fields mean what they mean there."""

    half_angle_rad: float
    vignette: float
    softness: float

    def inner(self, outer: Tensor, angle_rad: float) -> Tensor:
        """Where the picture had what the stretched one shows; both -1 at one edge, 1 at the other.

        The picture is taken to have equal steps of angle, the stretched one equal steps of
        the tangent, as a fisheye image and its rectified one have.
        """
        return torch.atan(outer * math.tan(angle_rad)) / angle_rad

    def outer(self, inner: Tensor, angle_rad: float) -> Tensor:
        """The inverse of ``inner``; NaN where the angle is too steep to be seen."""
        angle = inner * angle_rad
        steep = angle.abs() > _STEEPEST_RAD
        return (torch.tan(angle) / math.tan(angle_rad)).masked_fill(steep, torch.nan)

    def seen(self, images: Tensor) -> Tensor:
        """(B, 3, H, W), softer and darker towards the corners."""
        x, y = (_centres(side).float() for side in (images.shape[-1], images.shape[-2]))
        squared = (x**2 + y[:, None] ** 2) / 2
        if self.softness > 0:
            images = images.lerp(gaussian(images, _SOFT_PX), self.softness * squared)
        # Light falls with the fourth power of the cosine, 1 / (1 + k r^2)^2; k from the corner.
        steepness = (1 - min(self.vignette, 0.95)) ** -0.5 - 1
        darker: Tensor = images / (1 + steepness * squared) ** 2
        return darker


def stretched(example: Example, lens: WideLens) -> Example:
    """The example as the lens sees it; both eyes have the same one."""
    height, width = example.image.shape[-2:]
    across, down = lens.half_angle_rad, lens.half_angle_rad * height / width
    x, y = _centres(width), _centres(height)
    inner_x, inner_y = lens.inner(x, across), lens.inner(y, down)
    labelled = take_labels(example, _nearest(inner_y, height), _nearest(inner_x, width))
    if labelled.disparity is not None:
        # The label is that of the nearest pixel, but both ends are placed exactly.
        match = inner_x - labelled.disparity.double() * (2 / width)
        disparity = (x - lens.outer(match, across)) * (width / 2)
        labelled = replace(labelled, disparity=disparity.clamp(min=0).float())
    grid = torch.stack(torch.meshgrid(inner_x, inner_y, indexing="xy"), dim=-1).float()
    images = pictures(example)
    images = functional.grid_sample(
        images, grid.expand(len(images), -1, -1, -1), padding_mode="border", align_corners=False
    )
    return with_pictures(labelled, lens.seen(images))


def _centres(count: int) -> Tensor:
    """(count,) float64: pixel centres when the edges are at -1 and 1."""
    return (2 * torch.arange(count, dtype=torch.float64) + 1) / count - 1


def _nearest(inner: Tensor, count: int) -> Tensor:
    return ((inner + 1) * (count / 2)).floor().long()
