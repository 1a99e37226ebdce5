"""Networks inside the stereo head."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rangemask.models.heads.stereo.config import STRIDE

NORM_CHANNELS = 8
"""Channels per group of the norms: batches of stereo training are too small for batch norm."""


def _norm(channels: int) -> nn.GroupNorm:
    return nn.GroupNorm(max(channels // NORM_CHANNELS, 1), channels)


class Stem(nn.Module):
    """Fine detail that patches of 14 px have lost: (B, 3, H, W) to (B, C, H / 4, W / 4)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        half = channels // 2
        self.layers = nn.Sequential(
            nn.Conv2d(3, half, 3, stride=2, padding=1),
            nn.GELU(),
            nn.Conv2d(half, channels, 3, stride=2, padding=1),
            _norm(channels),
            nn.GELU(),
            nn.Conv2d(channels, channels, 3, padding=1),
        )

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) to (B, C, H / 4, W / 4)."""
        features: Tensor = self.layers(images)
        return features


class Joint(nn.Module):
    """Stem and pyramid features, joined: what is compared and what is remembered start here.

    Args:
        stem: channels of the stem.
        pyramid: channels of the pyramid.
        channels: of the result.
    """

    def __init__(self, stem: int, pyramid: int, channels: int) -> None:
        super().__init__()
        self.layers = nn.Sequential(
            nn.Conv2d(stem + pyramid, channels, 1), _norm(channels), nn.GELU()
        )

    def forward(self, stem: Tensor, fine: tuple[Tensor, Tensor]) -> Tensor:
        """(2 B, S, h, w) of both images and (B, P, any, any) of each, to (2 B, C, h, w)."""
        size = stem.shape[-2:]
        # The pyramid's stride is 3.5, the stem's 4.
        both = torch.cat(
            [F.interpolate(f, size=size, mode="bilinear", align_corners=False) for f in fine]
        )
        features: Tensor = self.layers(torch.cat([stem, both.to(stem.dtype)], dim=1))
        return features


class Aggregation(nn.Module):
    """A small 3D hourglass over the volume, weighed by what the left image shows.

    The weighing (guided excitation, CoEx, arXiv 2108.05773) lets textureless regions listen to
    their surroundings and edges not.

    Args:
        groups: channels of the volume.
        guide: channels of the left image's features.
    """

    def __init__(self, groups: int, guide: int) -> None:
        super().__init__()
        middle, deep = 2 * groups, 4 * groups
        self.down = _conv3d(groups, middle, stride=2)
        self.guide = nn.Conv2d(guide, middle, 1)
        self.deep = nn.Sequential(_conv3d(middle, deep, stride=2), _conv3d(deep, deep))
        self.to_middle = nn.Conv2d(deep, middle, 1)
        self.middle = _conv3d(middle, middle)
        self.to_fine = nn.Conv2d(middle, groups, 1)
        # All that is done at full size costs as much as the rest together: no norm, no 3D output.
        self.fine = nn.Conv3d(groups, groups, 3, padding=1)
        self.out = nn.Conv2d(groups, 1, 1)

    def forward(self, volume: Tensor, guide: Tensor) -> Tensor:
        """(B, G, D, h, w) and (B, C, h, w) to logits (B, D, h, w)."""
        down = self.down(volume)
        weight = self.guide(F.adaptive_avg_pool2d(guide, down.shape[-2:])).sigmoid()
        down = down * weight[:, :, None]
        middle = self.middle(_add(down, _pointwise(self.to_middle, self.deep(down))))
        fine = F.gelu(self.fine(_add(volume, _pointwise(self.to_fine, middle))))
        return _pointwise(self.out, fine)[:, 0]


def _conv3d(channels: int, out: int, *, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv3d(channels, out, 3, stride=stride, padding=1), _norm(out), nn.GELU()
    )


def _pointwise(layer: nn.Conv2d, volume: Tensor) -> Tensor:
    """A 1 x 1 x 1 convolution as one in 2D, for which there are fast kernels."""
    result: Tensor = layer(volume.flatten(2, 3)).unflatten(2, volume.shape[2:4])
    return result


def _add(volume: Tensor, half: Tensor) -> Tensor:
    """A volume and one of half the size: bilinear in the image, each cell twice in disparity.

    A trilinear kernel takes four times as long, and a convolution over disparities follows.
    """
    wide = F.interpolate(
        half.flatten(1, 2), size=volume.shape[-2:], mode="bilinear", align_corners=False
    ).view(*half.shape[:3], 1, *volume.shape[-2:])
    total: Tensor = volume.unflatten(2, (-1, 2)) + wide
    return total.flatten(2, 3)


class Update(nn.Module):
    """One refinement: a convolutional GRU that sees the volume around its estimate (RAFT-Stereo).

    Args:
        seen: channels of what is looked up, the estimate included.
        hidden: channels of the memory.
    """

    def __init__(self, seen: int, hidden: int) -> None:
        super().__init__()
        self.look = nn.Sequential(
            nn.Conv2d(seen, hidden, 1), nn.GELU(), nn.Conv2d(hidden, hidden, 3, padding=1)
        )
        self.gates = nn.Conv2d(2 * hidden, 2 * hidden, 3, padding=1)
        self.candidate = nn.Conv2d(2 * hidden, hidden, 3, padding=1)
        self.change = nn.Conv2d(hidden, 1, 3, padding=1)

    def forward(self, memory: Tensor, context: Tensor, seen: Tensor) -> tuple[Tensor, Tensor]:
        """One step.

        Args:
            memory: (B, H, h, w).
            context: (B, 3 H, h, w), added to the gates and the candidate; the same at all steps.
            seen: (B, S, h, w).

        Returns:
            the new memory, and the change of the estimate in cells, (B, 1, h, w) float32.
        """
        looked = F.gelu(self.look(seen))
        for_gates, for_candidate = context.tensor_split([2 * memory.shape[1]], dim=1)
        gates = (self.gates(torch.cat([memory, looked], dim=1)) + for_gates).sigmoid()
        keep, reset = gates.chunk(2, dim=1)
        candidate = self.candidate(torch.cat([reset * memory, looked], dim=1)) + for_candidate
        memory = keep * memory + (1 - keep) * candidate.tanh()
        change: Tensor = self.change(memory)
        return memory, change.float()


class Upsampling(nn.Module):
    """Convex upsampling (RAFT, arXiv 2003.12039, section 3.3): each pixel a mean of nine cells.

    Args:
        hidden: channels of the memory that the weights come from.
    """

    def __init__(self, hidden: int) -> None:
        super().__init__()
        to_weights = nn.Conv2d(2 * hidden, 9 * STRIDE**2, 1)
        self.weights = nn.Sequential(
            nn.Conv2d(hidden, 2 * hidden, 3, padding=1), nn.GELU(), to_weights
        )
        # Training starts from a smooth map; no share is 0, for then it could not grow.
        logits = bilinear_shares().clamp(min=0.01).log().flatten()
        to_weights.bias = nn.Parameter(logits)

    def forward(self, disparity: Tensor, memory: Tensor) -> Tensor:
        """(B, 1, h, w) in cells to (B, 4h, 4w) in px."""
        return convex_upsample(disparity * STRIDE, self.weights(memory).float())


def bilinear_shares() -> Tensor:
    """Shares of the nine nearest cells in each pixel of a cell, as bilinear upsampling has them.

    Returns:
        (9, 16): neighbours and pixels row by row.
    """
    offset = (torch.arange(STRIDE) + 0.5) / STRIDE - 0.5
    side = torch.stack([(-offset).clamp(min=0), 1 - offset.abs(), offset.clamp(min=0)])
    return torch.einsum("ap,bq->abpq", side, side).reshape(9, STRIDE**2)


def convex_upsample(values: Tensor, weights: Tensor) -> Tensor:
    """Means of the nine nearest values.

    Args:
        values: (B, 1, h, w).
        weights: (B, 9 * 16, h, w) logits: neighbour, then row and column within a cell.

    Returns:
        (B, 4h, 4w).
    """
    batch, _, height, width = values.shape
    # Borders repeat: zeros there would pull the map towards zero.
    near = F.unfold(F.pad(values, (1, 1, 1, 1), mode="replicate"), 3)
    near = near.view(batch, 9, 1, height, width)
    shares = weights.view(batch, 9, STRIDE**2, height, width).softmax(dim=1)
    return F.pixel_shuffle((near * shares).sum(dim=1), STRIDE)[:, 0]
