"""The cost volume: what fits what, at each disparity of a quarter-size image (spec section 5).

``D`` planes, one per disparity of a quarter-size pixel; left pixel x meets right pixel x - d.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from rangemask.models.foundation_stereo.config import GROUPS


def row_correlation(left: Tensor, right: Tensor) -> Tensor:
    """Products of every left with every right pixel of the same row.

    Args:
        left: (..., C, h, w).
        right: the same.

    Returns:
        (..., h, w, w): left pixel, right pixel.
    """
    return left.movedim(-3, -1) @ right.movedim(-3, -2)


def unit_vectors(features: Tensor, groups: int = 1) -> Tensor:
    """Features (B, C, h, w) as (B, groups, C / groups, h, w) of length 1, float32."""
    return F.normalize(features.float().unflatten(1, (groups, -1)), dim=2)


def diagonals(products: Tensor, planes: int) -> Tensor:
    """Of all pairs those that are a disparity apart.

    Args:
        products: (..., w, w), left pixel and right pixel.
        planes: D.

    Returns:
        (..., D, w): at [d, x] the product of left x and right x - d; 0 where x < d.
    """
    width = products.shape[-1]
    right, inside = _partners(width, planes, products.device)
    own = torch.arange(width, device=products.device) * width
    picked = products.flatten(-2).index_select(-1, (own + right).flatten())
    answer: Tensor = picked.unflatten(-1, (planes, width)) * inside
    return answer


def shifted(features: Tensor, planes: int) -> Tensor:
    """The right image's features where the left pixel would meet them.

    Args:
        features: (..., w).
        planes: D.

    Returns:
        (..., D, w): at [d, x] the feature of x - d; 0 where x < d.
    """
    right, inside = _partners(features.shape[-1], planes, features.device)
    picked = features.index_select(-1, right.flatten())
    answer: Tensor = picked.unflatten(-1, right.shape) * inside
    return answer


def _partners(width: int, planes: int, device: torch.device) -> tuple[Tensor, Tensor]:
    """(D, w) right pixel of each left pixel and disparity, and whether it is in the image."""
    place = torch.arange(width, device=device) - torch.arange(planes, device=device)[:, None]
    return place.clamp(min=0), place >= 0


def group_correlation(left: Tensor, right: Tensor, planes: int) -> Tensor:
    """Cosines between groups of channels, (B, groups, D, h, w) float32.

    Args:
        left: (B, C, h, w).
        right: the same.
        planes: D.
    """
    with torch.autocast(left.device.type, enabled=False):
        products = row_correlation(unit_vectors(left, GROUPS), unit_vectors(right, GROUPS))
        return diagonals(products, planes).movedim(-2, 2)


def cost_volume(
    left: Tensor, right: Tensor, projected: tuple[Tensor, Tensor], planes: int
) -> Tensor:
    """Correlation, and projected features of both images, (B, 8 + 2P, D, h, w).

    Args:
        left: (B, C, h, w).
        right: the same.
        projected: (B, P, h, w) of the left and of the right image.
        planes: D.
    """
    correlation = group_correlation(left, right, planes)
    own, partner = projected
    own = own[:, :, None].expand(-1, -1, planes, -1, -1)
    partner = shifted(partner, planes).movedim(-2, 2)
    return torch.cat((correlation.to(own.dtype), own, partner), dim=1)
