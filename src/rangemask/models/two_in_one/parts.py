"""Layers of the decoder; the names of their entries are those of the published files."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F


class PaddedConv(nn.Module):
    """A 3 x 3 convolution over a reflected border.

    Args:
        channels: in.
        width: out.
        bias: has one.
    """

    def __init__(self, channels: int, width: int, *, bias: bool = True) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, width, 3, padding=1, padding_mode="reflect", bias=bias)

    def forward(self, features: Tensor) -> Tensor:
        """(B, channels, h, w) to (B, width, h, w); both sides at least 2."""
        result: Tensor = self.conv(features)
        return result


class ConvElu(nn.Module):
    """A ``PaddedConv`` and an ELU."""

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.conv = PaddedConv(channels, width)

    def forward(self, features: Tensor) -> Tensor:
        """(B, channels, h, w) to (B, width, h, w)."""
        return F.elu(self.conv(features))


class OffsetNet(nn.Sequential):
    """Where features are taken from: a shift in x and y per cell, 0 before training.

    Args:
        width: D of the two maps that are joined.
    """

    def __init__(self, width: int) -> None:
        last = PaddedConv(width, 2, bias=False)
        nn.init.zeros_(last.conv.weight)
        super().__init__(
            nn.Conv2d(2 * width, width, 1, bias=False), nn.BatchNorm2d(width), nn.ELU(), last
        )


def shifted(features: Tensor, offset: Tensor) -> Tensor:
    """Features sampled elsewhere, bilinear, 0 outside.

    Args:
        features: (B, C, h, w), both sides at least 2.
        offset: (B, 2, h, w): x, y in cells.
    """
    height, width = features.shape[-2:]
    # Positions need all the precision there is: bfloat16 has steps of a cell beyond 256.
    x = torch.linspace(-1, 1, width, device=offset.device, dtype=torch.float32)
    y = torch.linspace(-1, 1, height, device=offset.device, dtype=torch.float32)
    along, down = offset.float().unbind(1)
    grid = torch.stack(
        [x + along / ((width - 1) / 2), y[:, None] + down / ((height - 1) / 2)], dim=-1
    )
    moved = F.grid_sample(features.float(), grid, align_corners=True)
    return moved.to(features.dtype)
