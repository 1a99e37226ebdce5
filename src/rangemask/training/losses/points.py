"""Random places: on maps that are compared at some places only, and inside masks."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F


def uniform(*shape: int, device: torch.device, generator: torch.Generator | None = None) -> Tensor:
    """Random numbers in [0, 1) on a device, whatever device the generator is of."""
    if generator is None:
        return torch.rand(*shape, device=device)
    return torch.rand(*shape, device=generator.device, generator=generator).to(device)


def values_at(maps: Tensor, points: Tensor) -> Tensor:
    """Bilinear values of maps, at the same places in all maps of a frame.

    Args:
        maps: (B, N, h, w).
        points: (B, P, 2), x and y in the unit square.

    Returns:
        (B, N, P).
    """
    grid = 2 * points[:, None] - 1
    return F.grid_sample(maps, grid, padding_mode="border", align_corners=False)[:, :, 0]


def masks_at(masks: Tensor, points: Tensor) -> Tensor:
    """Whether places are inside masks, as 0 and 1.

    Args:
        masks: (N, H, W) bool.
        points: (N or 1, P, 2), x and y in the unit square.

    Returns:
        (N, P) float32.
    """
    height, width = masks.shape[-2:]
    column = (points[..., 0] * width).long().clamp(0, width - 1)
    row = (points[..., 1] * height).long().clamp(0, height - 1)
    index = (row * width + column).expand(len(masks), -1)
    return masks.flatten(1).gather(1, index).float()


@torch.no_grad()
def uncertain_points(
    logits: Tensor,
    count: int,
    *,
    oversampling: float,
    share: float,
    generator: torch.Generator | None = None,
) -> Tensor:
    """Places where masks are unsure, and some anywhere (PointRend, arXiv 1912.08193, section 3.1).

    Args:
        logits: (N, h, w).
        count: P.
        oversampling: random places per wanted one, of which the least sure are taken.
        share: of the places that are taken so; the others are anywhere.
        generator: of the random numbers.

    Returns:
        (N, P, 2), x and y in the unit square.
    """
    unsure = int(share * count)
    device = logits.device
    tried = max(int(oversampling * count), unsure)
    places = uniform(len(logits), tried, 2, device=device, generator=generator)
    distance = values_at(logits[:, None], places)[:, 0].abs()
    best = distance.topk(unsure, dim=1, largest=False).indices
    chosen = places.gather(1, best[..., None].expand(-1, -1, 2))
    anywhere = uniform(len(logits), count - unsure, 2, device=device, generator=generator)
    return torch.cat([chosen, anywhere], dim=1)


@torch.no_grad()
def pixels_inside(
    masks: Tensor, count: int, generator: torch.Generator | None = None
) -> tuple[Tensor, Tensor]:
    """Random pixels of masks, all equally likely.

    Args:
        masks: (N, H, W) bool.
        count: K, of each mask, maybe the same pixel again.
        generator: of the random numbers.

    Returns:
        (N, K, 2) x and y, float32; and (N,) bool, False for a mask without a pixel, whose places
        mean nothing.
    """
    # First the row, then the column in it: no running sum over all of the pixels.
    rows = masks.sum(-1).cumsum(-1)
    total = rows[:, -1]
    rank = uniform(len(masks), count, device=masks.device, generator=generator) * total[:, None]
    rank = torch.minimum(rank.long(), (total[:, None] - 1).clamp(min=0))
    row = torch.searchsorted(rows, rank, right=True).clamp(max=masks.shape[1] - 1)
    before = F.pad(rows, (1, 0)).gather(1, row)
    chosen = masks[torch.arange(len(masks), device=masks.device)[:, None], row]
    column = torch.searchsorted(chosen.cumsum(-1), (rank - before)[..., None], right=True)
    column = column[..., 0].clamp(max=masks.shape[2] - 1)
    return torch.stack([column, row], dim=-1).float(), total > 0
