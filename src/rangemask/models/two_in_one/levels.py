"""The discrete disparity volume: fixed levels, and what is read from a probability over them.

FAL-Net's exponential levels (arXiv 2007.12656), as TiO-Depth (arXiv 2309.00933) uses them:
49 of them from 2 to 300 px of the image that was given to the network.
"""

from __future__ import annotations

import torch
from torch import Tensor

LEVELS = 49
MIN_DISPARITY_PX = 2.0
MAX_DISPARITY_PX = 300.0
PUBLISHED_D2D = 400.9
"""Focal length times baseline, px m, of KITTI at 1280 px width, rounded as published."""
PUBLISHED_FULL_SIZE = (384, 1280)
"""Height and width of the published network's input, px."""
PUBLISHED_FOCAL_PX = PUBLISHED_D2D / 0.54
"""Of KITTI's cameras, 0.54 m apart, at that width."""


def disparity_levels(count: int, least_px: float, most_px: float, *, like: Tensor) -> Tensor:
    """(K,) float32 px, ascending and geometrically spaced, on the device of a tensor.

    Args:
        count: K, 2 or more.
        least_px: the first level.
        most_px: the last.
        like: gives the device.
    """
    share = torch.linspace(0, 1, count, device=like.device, dtype=torch.float32)
    levels: Tensor = least_px * (most_px / least_px) ** share
    return levels


def volume_of(logits: Tensor) -> Tensor:
    """(B, K, H, W) logits to float32 probabilities over the levels."""
    return logits.float().softmax(dim=1)


def expected_disparity(volume: Tensor, levels_px: Tensor) -> Tensor:
    """Mean disparity: (B, K, H, W) probabilities and (K,) levels to (B, 1, H, W) px."""
    # No matrix product: autocast would round it.
    return (volume * levels_px.view(1, -1, 1, 1)).sum(dim=1, keepdim=True)
