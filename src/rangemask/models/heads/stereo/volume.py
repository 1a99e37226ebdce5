"""Arithmetic on correlation volumes; disparities here are in cells of 4 px."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

TILE = 24
"""Columns of the left image per matrix product: narrow tiles compute little outside the band of
wanted disparities, and few of them fill the cache better than many."""


def correlation_volume(left: Tensor, right: Tensor, groups: int, cells: int) -> Tensor:
    """Group-wise correlation (GwcNet, arXiv 1903.04025, section 3.2).

    A row is cut into tiles; each is compared with the stretch of the other row that it can meet
    in one matrix product, and the band of wanted disparities is read from that as a view: no
    copy of the features per disparity.

    Args:
        left: (B, C, h, w).
        right: (B, C, h, w).
        groups: G, a divisor of C.
        cells: D.

    Returns:
        (B, G, D, h, w): mean product of the channels of a group for left x and right x - d;
        0 where x - d lies outside the right image.
    """
    width, tile = left.shape[-1], min(TILE, left.shape[-1])
    split = (groups, left.shape[1] // groups)
    short, reach = -width % tile, tile + cells
    rows = F.pad(left / split[1], (0, short)).unflatten(-1, (-1, tile)).unflatten(1, split)
    met = F.pad(right, (cells, short)).unfold(-1, reach, tile).unflatten(1, split)
    # (B, G, h, tiles, tile, C / G) times (B, G, h, tiles, C / G, reach), mirrored so that
    # disparities ascend.
    products = rows.permute(0, 1, 3, 4, 5, 2) @ met.permute(0, 1, 3, 4, 2, 5).flip(-1)
    # In a tile, x meets x - d at index tile - 1 - x + d: rows that are one shorter align it.
    band = products.flatten(-2)[..., tile - 1 : tile - 1 + tile * (reach - 1)]
    band = band.unflatten(-1, (tile, reach - 1))[..., :cells]
    volume: Tensor = band.permute(0, 1, 5, 2, 3, 4).flatten(-2)
    return volume[..., :width]


def inside(cells: int, width: int, like: Tensor) -> Tensor:
    """(D, 1, w) bool: whether x - d lies within the right image."""
    x = torch.arange(width, device=like.device)
    disparity = torch.arange(cells, device=like.device)
    return (x[None] >= disparity[:, None])[:, None]


def probabilities(logits: Tensor, there: Tensor) -> Tensor:
    """(B, D, h, w) logits to float32 probabilities over what is ``inside`` the right image."""
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
