"""A pair of any size: padding, and two passes for large images (spec sections 2 and 10)."""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from rangemask.models.foundation_stereo.config import MULTIPLE_PX, QUARTER
from rangemask.models.foundation_stereo.network import FoundationStereo, StereoOutput
from rangemask.models.foundation_stereo.streaming import Slabs

HALF = 0.5
"""Size of the first of two passes."""


class Padding(NamedTuple):
    """Pixels added to each side."""

    left: int
    right: int
    top: int
    bottom: int

    def added(self, maps: Tensor) -> Tensor:
        """(B, C, H, W) with borders repeated outwards."""
        return F.pad(maps, tuple(self), mode="replicate") if any(self) else maps

    def removed(self, maps: Tensor) -> Tensor:
        """(B, C, H, W) without what was added."""
        height, width = maps.shape[-2:]
        return maps[..., self.top : height - self.bottom, self.left : width - self.right]


def padding_of(height: int, width: int) -> Padding:
    """What brings a size to multiples of 32, half of it before, as published."""
    rows, columns = -height % MULTIPLE_PX, -width % MULTIPLE_PX
    return Padding(columns // 2, columns - columns // 2, rows // 2, rows - rows // 2)


def infer(
    network: FoundationStereo,
    left: Tensor,
    right: Tensor,
    *,
    iterations: int,
    max_disparity_px: int,
    hierarchical: bool = False,
    start_px: Tensor | None = None,
    start: Tensor | None = None,
    slabs: Slabs | None = None,
) -> tuple[StereoOutput, Padding]:
    """Disparity of a pair of any size.

    Args:
        network: with weights.
        left: (B, 3, H, W) float RGB in [0, 255].
        right: the same.
        iterations: rounds of the refinement, in each pass.
        max_disparity_px: largest disparity of the volume.
        hierarchical: find a start at half the size first.
        start_px: (B, 1, H, W) disparity to start from.
        start: the same on the network's own grid, in quarter pixels.
        slabs: how much of a volume is worked on at a time; None for all.

    Returns:
        disparity without the padding; the other maps with it; and the padding.
    """
    size = (left.shape[-2], left.shape[-1])
    options: dict[str, Any] = {
        "iterations": iterations,
        "max_disparity_px": max_disparity_px,
        "slabs": slabs,
    }
    if hierarchical:
        start_px = _first_pass(network, left, right, **options)
    padding = padding_of(*size)
    if start_px is not None:
        # The columns that are added on the left are published, though both images move alike.
        start_px = padding.added(start_px) + padding.left
        start = QUARTER**-1 * F.interpolate(
            start_px, scale_factor=1 / QUARTER, mode="bilinear", align_corners=True
        )
    found = network(padding.added(left), padding.added(right), start=start, **options)
    return found._replace(disparity_px=padding.removed(found.disparity_px)), padding


def _first_pass(network: FoundationStereo, left: Tensor, right: Tensor, **options: Any) -> Tensor:
    """(B, 1, H, W) px: disparity found at half the size."""
    size = left.shape[-2:]
    # By the factor and not by the size, which differ where a side is odd.
    small = [F.interpolate(image, scale_factor=HALF, mode="bilinear") for image in (left, right)]
    found, _ = infer(network, small[0], small[1], **options)
    enlarged = F.interpolate(found.disparity_px, size, mode="bilinear", align_corners=True)
    return torch.clamp(enlarged / HALF, min=0)
