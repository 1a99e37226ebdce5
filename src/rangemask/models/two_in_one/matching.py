"""Monocular feature matching: two views of one network exchange what they see (section 3.3)."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rangemask.models.two_in_one.parts import PaddedConv

SQUEEZE = 16
"""By how much the channel attention narrows."""
QUERY_SHARE = 4
"""By how much the compared features are narrower than the others."""


class ChannelAttention(nn.Module):
    """Squeeze and excitation (arXiv 1709.01507).

    Args:
        channels: C.
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.fc = nn.Sequential(
            nn.Linear(channels, channels // SQUEEZE, bias=False),
            nn.ReLU(inplace=True),
            nn.Linear(channels // SQUEEZE, channels, bias=False),
            nn.Sigmoid(),
        )

    def forward(self, features: Tensor) -> Tensor:
        """(B, C, h, w) to the same."""
        weight: Tensor = self.fc(features.mean(dim=(2, 3)))
        return features * weight[:, :, None, None]


class Matching(nn.Module):
    """Compares a view with the other one along rows, and tells it what was found.

    Args:
        channels: C of both views.
        levels: K.
    """

    def __init__(self, channels: int, levels: int) -> None:
        super().__init__()
        narrow = channels // QUERY_SHARE
        self.q_conv = nn.Sequential(nn.Conv2d(channels, narrow, 1))
        self.k_conv = nn.Sequential(nn.Conv2d(channels, narrow, 1))
        self.redu = nn.Sequential(
            PaddedConv(channels + levels, channels), ChannelAttention(channels)
        )

    def forward(
        self, target: Tensor, reference: Tensor, shift_cells: Tensor
    ) -> tuple[Tensor, Tensor]:
        """A view that knows of the other.

        Args:
            target: (B, C, h, w).
            reference: (B, C, h, w) of the other view.
            shift_cells: (B, K), where level k lies in the reference, in cells to the right.

        Returns:
            (B, C, h, w), and the costs (B, K, h, w): logits, larger is more alike.
        """
        cost = row_correlation(self.q_conv(target), self.k_conv(reference), shift_cells)
        found = cost.float().softmax(dim=1).to(target.dtype)
        joined: Tensor = self.redu(torch.cat([target, found], dim=1))
        return F.elu(joined), cost


def row_correlation(query: Tensor, key: Tensor, shift_cells: Tensor) -> Tensor:
    """Products of a row with another one at fractional shifts, the border repeated.

    Interpolated features give interpolated products. So all cells of a row are compared in one
    matrix product, and the levels are read from that, instead of resampling the features for
    every level.

    Args:
        query: (B, c, h, w).
        key: (B, c, h, w).
        shift_cells: (B, K).

    Returns:
        (B, K, h, w): mean product times the root of c.
    """
    height, width = query.shape[-2:]
    products = (query.permute(0, 2, 3, 1) / math.sqrt(query.shape[1])) @ key.permute(0, 2, 1, 3)
    x = torch.arange(width, device=query.device, dtype=torch.float32)
    at = (x[:, None] + shift_cells[:, None]).clamp(0, width - 1)  # (B, w, K)
    first = at.floor()
    share = (at - first).to(products.dtype)[:, None]
    index = first.long()[:, None].expand(-1, height, -1, -1)
    near = products.gather(3, index)
    far = products.gather(3, (index + 1).clamp(max=width - 1))
    return torch.lerp(near, far, share).permute(0, 3, 1, 2)
