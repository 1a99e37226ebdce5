"""Swin-T (arXiv 2103.14030) as TiO-Depth's authors use it, for their checkpoints.

It differs from classification: patches are 4 px wide and lie 2 px apart, so the maps are at 1/2,
1/4, 1/8 and 1/16; any size is taken, by padding to whole windows *before* they are shifted (timm
shifts first, torchvision does not shift where one window suffices); every output has a norm.
Entries are named as in published files (there with ``0.`` before).
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import cast

import torch
from timm.layers.drop import DropPath
from timm.layers.mlp import Mlp
from torch import Tensor, nn
from torch.nn import functional as F

WIDTH = 96
DEPTHS = (2, 2, 6, 2)
HEADS = (3, 6, 12, 24)
WINDOW = 7
DROP_PATH = 0.3
PUBLISHED_MEAN, PUBLISHED_DEVIATION = 0.45, 0.225
"""Of all channels; the authors' network brings images in [0, 1] to this itself."""
_APART = -100.0
"""What is added to scores of cells that a shift brought together; published."""


class WindowAttention(nn.Module):
    """Self-attention within windows.

    Args:
        width: C.
        heads: a divisor of C.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        table = torch.zeros((2 * WINDOW - 1) ** 2, heads)
        self.relative_position_bias_table = nn.Parameter(nn.init.trunc_normal_(table, std=0.02))
        self.qkv = nn.Linear(width, 3 * width)
        self.proj = nn.Linear(width, width)

    def forward(self, windows: Tensor, apart: Tensor | None) -> Tensor:
        """(N, 49, C) to the same.

        Args:
            windows: of all images, those of one image in sequence.
            apart: (n, 49, 49) added to scores, per window of an image; None for nothing.
        """
        count, cells, width = windows.shape
        query, key, value = (
            self.qkv(windows).view(count, cells, 3, self.heads, -1).permute(2, 0, 3, 1, 4)
        )
        bias = self.relative_position_bias_table[_relative_places(windows.device)]
        added = bias.permute(2, 0, 1)[None]
        if apart is not None:
            added = (added + apart[:, None]).repeat(count // len(apart), 1, 1, 1)
        mixed = F.scaled_dot_product_attention(query, key, value, attn_mask=added.to(query.dtype))
        result: Tensor = self.proj(mixed.transpose(1, 2).reshape(count, cells, width))
        return result


class Block(nn.Module):
    """Attention within windows, perhaps shifted by half of one, and an MLP.

    Args:
        width: C.
        heads: a divisor of C.
        shift: cells.
        drop_path: how often a branch is left out in training.
    """

    def __init__(self, width: int, heads: int, shift: int, drop_path: float) -> None:
        super().__init__()
        self.shift = shift
        self.norm1 = nn.LayerNorm(width)
        self.attn = WindowAttention(width, heads)
        self.drop_path = DropPath(drop_path)
        self.norm2 = nn.LayerNorm(width)
        self.mlp = Mlp(width, 4 * width)

    def forward(self, x: Tensor) -> Tensor:
        """(B, h, w, C) to the same."""
        x = x + self.drop_path(self._mixed(self.norm1(x)))
        result: Tensor = x + self.drop_path(self.mlp(self.norm2(x)))
        return result

    def _mixed(self, x: Tensor) -> Tensor:
        batch, height, width, channels = x.shape
        x = F.pad(x, (0, 0, 0, -width % WINDOW, 0, -height % WINDOW))
        down, across = x.shape[1] // WINDOW, x.shape[2] // WINDOW
        apart = None
        if self.shift:
            x = x.roll((-self.shift, -self.shift), (1, 2))
            apart = _kept_apart(down, across, self.shift, x.device)
        windows = x.view(batch, down, WINDOW, across, WINDOW, channels).transpose(2, 3)
        windows = self.attn(windows.reshape(-1, WINDOW * WINDOW, channels), apart)
        windows = windows.view(batch, down, across, WINDOW, WINDOW, channels).transpose(2, 3)
        x = windows.reshape(batch, down * WINDOW, across * WINDOW, channels)
        if self.shift:
            x = x.roll((self.shift, self.shift), (1, 2))
        return x[:, :height, :width]


class Merging(nn.Module):
    """Four neighbours to one cell of twice the width."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.norm = nn.LayerNorm(4 * width)
        self.reduction = nn.Linear(4 * width, 2 * width, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """(B, h, w, C) to (B, ceil(h / 2), ceil(w / 2), 2 C)."""
        x = F.pad(x, (0, 0, 0, x.shape[2] % 2, 0, x.shape[1] % 2))
        four = [x[:, row::2, column::2] for column in (0, 1) for row in (0, 1)]
        result: Tensor = self.reduction(self.norm(torch.cat(four, dim=-1)))
        return result


class SwinLevel(nn.Module):
    """The blocks of one scale.

    Args:
        width: C.
        heads: a divisor of C.
        drop_paths: of the blocks.
        last: nothing comes after.
    """

    def __init__(self, width: int, heads: int, drop_paths: list[float], *, last: bool) -> None:
        super().__init__()
        self.blocks = nn.ModuleList(
            Block(width, heads, WINDOW // 2 * (index % 2), rate)
            for index, rate in enumerate(drop_paths)
        )
        self.downsample = None if last else Merging(width)

    def forward(self, x: Tensor) -> Tensor:
        """(B, h, w, C) to the same."""
        for block in self.blocks:
            x = block(x)
        return x


class PatchEmbedding(nn.Module):
    """Patches of 4 px, 2 px apart."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.proj = nn.Conv2d(3, width, 4, stride=2, padding=1)
        self.norm = nn.LayerNorm(width)

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) to (B, H / 2, W / 2, C)."""
        result: Tensor = self.norm(self.proj(images).permute(0, 2, 3, 1))
        return result


class SwinEncoder(nn.Module):
    """Images to four maps of 96, 192, 384 and 768 channels at 1/2 to 1/16, fine to coarse."""

    def __init__(self) -> None:
        super().__init__()
        self.channels = tuple(WIDTH << level for level in range(len(DEPTHS)))
        rates = torch.linspace(0, DROP_PATH, sum(DEPTHS)).split(DEPTHS)
        self.patch_embed = PatchEmbedding(WIDTH)
        self.layers = nn.ModuleList(
            SwinLevel(width, heads, some.tolist(), last=width == self.channels[-1])
            for width, heads, some in zip(self.channels, HEADS, rates, strict=True)
        )
        for level, width in enumerate(self.channels):
            self.add_module(f"norm{level}", nn.LayerNorm(width))

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Four maps of a batch; nothing is checked.

        Args:
            images: (B, 3, H, W) RGB in [0, 1], both sides even.
        """
        x = self.patch_embed((images - PUBLISHED_MEAN) / PUBLISHED_DEVIATION)
        found = []
        for index, level in enumerate(cast(Iterable[SwinLevel], self.layers)):
            x = level(x)
            found.append(self.get_submodule(f"norm{index}")(x).permute(0, 3, 1, 2).contiguous())
            if level.downsample is not None:
                x = level.downsample(x)
        return tuple(found)


def _relative_places(device: torch.device) -> Tensor:
    """(49, 49) rows of the bias table: where one cell lies seen from another."""
    cell = torch.arange(WINDOW * WINDOW, device=device)
    row, column = cell // WINDOW, cell % WINDOW
    down = row[:, None] - row + WINDOW - 1
    across = column[:, None] - column + WINDOW - 1
    return down * (2 * WINDOW - 1) + across


def _kept_apart(down: int, across: int, shift: int, device: torch.device) -> Tensor:
    """(n, 49, 49): what keeps cells apart that were not neighbours before the shift."""

    def regions(windows: int) -> Tensor:
        place = torch.arange(windows * WINDOW, device=device)
        size = windows * WINDOW
        return (place >= size - WINDOW).long() + (place >= size - shift).long()

    region = regions(down)[:, None] * 3 + regions(across)
    cells = region.view(down, WINDOW, across, WINDOW).transpose(1, 2)
    cells = cells.reshape(-1, WINDOW * WINDOW)
    return (cells[:, None] != cells[:, :, None]) * _APART
