"""The other view as this one would see it, by a disparity map or by a probability volume.

For a rectified pair the published projection by depth, K and T is a shift along the row:
``u' = u - direct * focal_baseline / depth``; the principal point cancels.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

EDGE = 1e-5
"""How far beyond the border still counts as within, in units of half a width."""


def warp(image: Tensor, disparity: Tensor, shift: Tensor) -> tuple[Tensor, Tensor]:
    """The other view, resampled by a disparity map; the border is repeated outside.

    Args:
        image: (B, C, H, W), the other view.
        disparity: (B, 1, H, W) of the target, px.
        shift: (B,), see ``PairBatch.shift``.

    Returns:
        (B, C, H, W), and (B, 1, H, W) bool: whether the partner lies within the image.
    """
    height, width = image.shape[-2:]
    x = torch.arange(width, device=image.device, dtype=torch.float32)
    y = torch.linspace(-1, 1, height, device=image.device)[:, None]
    at = x - shift.view(-1, 1, 1) * disparity[:, 0]
    across = (at / (width - 1) - 0.5) * 2
    grid = torch.stack([across, y.expand_as(across)], dim=-1)
    warped = F.grid_sample(image, grid, padding_mode="border", align_corners=True)
    return warped, (across.detach().abs() <= 1 + EDGE)[:, None]


def synthesise(
    logits: Tensor, image: Tensor, levels_px: Tensor, shift: Tensor
) -> tuple[Tensor, Tensor]:
    """The target view from the other one and what the network says of that other one.

    Logits and image are brought into the target's view level by level (a plane sweep), logits
    with 0 outside and the image with its border repeated; then every pixel is the mean of its
    candidates.

    Args:
        logits: (B, K, H, W) of the other view.
        image: (B, 3, H, W), the other view.
        levels_px: (K,).
        shift: (B,), see ``PairBatch.shift``.

    Returns:
        (B, 3, H, W), and the volume in the target's view (B, K, H, W).
    """
    width, logits = image.shape[-1], logits.float()
    x = torch.arange(width, device=image.device, dtype=torch.float32)
    at = x - shift.view(-1, 1, 1) * levels_px[:, None]  # (B, K, W)
    first = at.floor()
    share = (at - first)[:, :, None]
    left, right = first.long(), first.long() + 1

    def taken(maps: Tensor, where: Tensor) -> Tensor:
        index = where.clamp(0, width - 1)[:, :, None].expand(-1, -1, maps.shape[2], -1)
        return maps.gather(3, index)

    def within(where: Tensor) -> Tensor:
        return ((where >= 0) & (where < width))[:, :, None]

    seen = torch.lerp(
        taken(logits, left) * within(left), taken(logits, right) * within(right), share
    )
    volume = seen.softmax(dim=1)
    clamped = at.clamp(0, width - 1)
    first = clamped.floor()
    share, left, right = (clamped - first)[:, :, None], first.long(), first.long() + 1

    def mean_of(volume: Tensor, channel: Tensor) -> Tensor:
        planes = channel.expand(-1, len(levels_px), -1, -1)
        candidates = torch.lerp(taken(planes, left), taken(planes, right), share)
        return (volume * candidates).sum(dim=1)

    # Candidates are made again on the way back: six maps of the volume's size need not be kept.
    channels = [
        checkpoint(mean_of, volume, channel, use_reentrant=False, preserve_rng_state=False)
        for channel in image.split(1, dim=1)
    ]
    return torch.stack(channels, dim=1), volume
