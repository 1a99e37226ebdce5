"""What one path of the network teaches the other: visibility, cost guides, the distilled volume.

Nothing here has a gradient.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

NEAREST, FARTHEST = 3, 61
"""Columns at half size in which something nearer is looked for."""
VISIBLE = 0.8
"""From which on a pixel counts as seen by both cameras."""
FLAT = 0.13
"""Curvature of relative depth that counts as an edge."""


class CostGuide(NamedTuple):
    """What a matching should find."""

    volume: Tensor
    """(B, K, h, w) probabilities."""
    confidence: Tensor
    """(B, 1, h, w) in [0, 1]: probability of the best level and its two neighbours."""


@torch.no_grad()
def visibility(disparity: Tensor, direct: Tensor, *, opposite: bool = False) -> Tensor:
    """How surely a pixel is seen by the other camera too.

    A pixel is hidden where something nearer falls onto the same place of the other image. It is
    computed at half size.

    Args:
        disparity: (B, 1, H, W) px.
        direct: (B,): +1 for a left camera's map, -1 for a right one's.
        opposite: as if it were the other camera's.

    Returns:
        (B, 1, H, W) in [0, 1].
    """
    height, width = disparity.shape[-2:]
    small = F.interpolate(disparity / 2, size=(height // 2, width // 2), mode="bilinear")
    right = (direct < 0).view(-1, 1, 1, 1) != opposite
    small = torch.where(right, small.flip(-1), small)
    padded = F.pad(small, (0, FARTHEST, 1, 1), mode="replicate")
    rows = (padded[..., :-2, :] + padded[..., 1:-1, :] + padded[..., 2:, :]) / 3
    count = small.shape[-1]
    here = (rows[..., :count] + rows[..., 1 : count + 1]) / 2
    least = torch.full_like(here, torch.inf)
    for step in range(NEAREST, FARTHEST + 1):
        least = torch.minimum(least, (here - rows[..., step : step + count] + step).abs())
    soft = least.clamp(0, 1)
    soft = torch.where(right, soft.flip(-1), soft)
    return F.interpolate(soft, size=(height, width), mode="bilinear")


@torch.no_grad()
def cost_guides(volume: Tensor, sizes: Sequence[tuple[int, int]]) -> tuple[CostGuide, ...]:
    """A volume at the sizes of the matchings, each made of the one before.

    Args:
        volume: (B, K, H, W) of the monocular path.
        sizes: of the costs, fine to coarse. As published each is half of the one before; with
            another pyramid they are what they are.
    """
    found = []
    for size in sizes:
        volume = F.interpolate(volume, size=size, mode="bilinear", align_corners=True)
        found.append(CostGuide(volume, _peak(volume)))
    return tuple(found)


def _peak(volume: Tensor) -> Tensor:
    best = volume.argmax(dim=1, keepdim=True)
    padded = F.pad(volume, (0, 0, 0, 0, 1, 1))
    around = torch.cat([best, best + 1, best + 2], dim=1)
    return padded.gather(1, around).sum(dim=1, keepdim=True)


@torch.no_grad()
def trust_in_pair(depth: Tensor, disparity: Tensor, direct: Tensor) -> Tensor:
    """Where the binocular result teaches: flat places, and the well-seen side of edges.

    Args:
        depth: (B, 1, H, W) of the binocular path; its scale does not matter.
        disparity: (B, 1, H, W) px of the binocular path.
        direct: (B,).

    Returns:
        (B, 1, H, W) in [0, 1]; the rest is taught by the monocular path.
    """
    relative = depth / depth.mean(dim=(2, 3), keepdim=True)
    kernel = -torch.ones(1, 1, 3, 3, device=depth.device, dtype=depth.dtype)
    kernel[..., 1, 1] = 8
    curved = F.max_pool2d(F.conv2d(relative, kernel, padding=1).abs(), 3, 1, 1)
    flat = 1 - curved.clamp(max=FLAT) / FLAT
    hidden = visibility(disparity, direct, opposite=True) < VISIBLE
    return torch.where(hidden, torch.ones_like(flat), flat)


@torch.no_grad()
def fused_volume(mono: Tensor, pair: Tensor, trust: Tensor) -> Tensor:
    """What the final branch learns: (B, K, H, W) twice and a (B, 1, H, W) share of the pair's."""
    return torch.lerp(mono, pair, trust)
