"""Arithmetic on correlation volumes; disparities here are in cells of 4 px."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def correlation_volume(left: Tensor, right: Tensor, groups: int, cells: int) -> Tensor:
    """Group-wise correlation (GwcNet, arXiv 1903.04025, section 3.2).

    Each row's pixels are compared with all of the other row in one matrix product, and the band
    of wanted disparities is read from it as a strided view: no copy per disparity.

    Args:
        left: (B, C, h, w).
        right: (B, C, h, w).
        groups: G, a divisor of C.
        cells: D.

    Returns:
        (B, G, D, h, w): mean product of the channels of a group for left x and right x - d;
        0 where x - d lies outside the right image.
    """
    batch, channels, height, width = left.shape
    split = (batch, groups, channels // groups, height, width)
    rows = (left / split[2]).reshape(split).permute(0, 1, 3, 4, 2)
    others = F.pad(right, (cells - 1, 0)).reshape(*split[:4], width + cells - 1)
    products = torch.matmul(rows, others.permute(0, 1, 3, 2, 4)).contiguous()
    # Left x meets right x - d at index x + (cells - 1 - d): one more per x, one less per d.
    reach = width + cells - 1
    band = products.as_strided(
        (batch, groups, cells, height, width),
        (groups * height * width * reach, height * width * reach, 1, width * reach, reach + 1),
    )
    return band.flip(2)


def inside(cells: int, width: int, like: Tensor) -> Tensor:
    """(D, 1, w) bool: whether x - d lies within the right image."""
    x = torch.arange(width, device=like.device)
    disparity = torch.arange(cells, device=like.device)
    return (x[None] >= disparity[:, None])[:, None]


def probabilities(logits: Tensor) -> Tensor:
    """(B, D, h, w) logits to probabilities over the disparities that are inside the image."""
    there = inside(logits.shape[1], logits.shape[-1], logits)
    return logits.float().masked_fill(~there, -torch.inf).softmax(dim=1)


def soft_argmin(probability: Tensor) -> Tensor:
    """Mean disparity (GC-Net, arXiv 1703.04309, section 3.4): (B, D, h, w) to (B, 1, h, w)."""
    cells = torch.arange(probability.shape[1], device=probability.device, dtype=probability.dtype)
    return (probability * cells.view(1, -1, 1, 1)).sum(dim=1, keepdim=True)


def look_up(volume: Tensor, disparity: Tensor, radius: int) -> Tensor:
    """The volume around an estimate, interpolated between cells.

    Args:
        volume: (B, D, h, w).
        disparity: (B, 1, h, w) in cells.
        radius: cells on each side.

    Returns:
        (B, 2 radius + 1, h, w); 0 beyond the volume.
    """
    cells = volume.shape[1]
    # Far outside, nothing is left to look at, and an index must stay an index.
    disparity = disparity.clamp(-radius - 2, cells + radius + 1)
    first = disparity.floor()
    share = (disparity - first).to(volume.dtype)
    offsets = torch.arange(-radius, radius + 2, device=volume.device)
    index = first.long() + offsets.view(1, -1, 1, 1)
    there = (index >= 0) & (index < cells)
    seen = volume.gather(1, index.clamp(0, cells - 1)) * there
    return torch.lerp(seen[:, :-1], seen[:, 1:], share)


def mass_around(probability: Tensor, disparity: Tensor) -> Tensor:
    """Confidence: the probability within one cell (4 px) of an estimate.

    Cells at a distance of up to 1 count whole, those between 1 and 2 the less the farther; a
    single peak gives 1, a flat volume of D cells about 3 / D.

    Args:
        probability: (B, D, h, w).
        disparity: (B, 1, h, w) in cells.

    Returns:
        (B, 1, h, w) in [0, 1].
    """
    return look_up(probability, disparity, 1).sum(dim=1, keepdim=True).clamp(0, 1)
