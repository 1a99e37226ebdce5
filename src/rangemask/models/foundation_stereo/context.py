"""What the left image says by itself: state, context and attention maps (spec 8.1)."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rangemask.models.foundation_stereo.config import FoundationStereoConfig
from rangemask.models.foundation_stereo.layers import (
    ConvBatchAct2d,
    ResidualBatch2d,
    convolve,
)

Maps = tuple[Tensor, Tensor, Tensor]
"""At 1/4, 1/8 and 1/16."""


class Context(NamedTuple):
    """What the recurrent update starts from and looks at."""

    states: Maps
    """(B, hidden, ., .): what is updated."""
    inputs: Maps
    """(B, hidden, ., .): what every update reads."""
    attention: Maps
    """(B, 1, ., .): how much of the small kernel's answer is taken."""


class ContextNet(nn.Module):
    """The left image to a hidden map and a context map at three sizes."""

    def __init__(self, config: FoundationStereoConfig) -> None:
        super().__init__()
        full, half = config.context_widths
        width = config.hidden
        self.conv1 = nn.Conv2d(3, full, 7, padding=3)
        self.norm1 = nn.BatchNorm2d(full)
        self.layer1 = _pair(full, full, 1)
        self.layer2 = _pair(full, half, 2)
        self.layer3 = _pair(half, width, 2)
        self.layer4 = _pair(width, width, 2)
        self.layer5 = _pair(width, width, 2)
        self.conv2 = ConvBatchAct2d(width + config.dense_channels, width, 3)
        self.outputs04 = _heads(width, block=True)
        self.outputs08 = _heads(width, block=True)
        self.outputs16 = _heads(width, block=False)

    def forward(self, images: Tensor, dense: Tensor) -> tuple[Maps, Maps]:
        """Hidden and context maps before their activations.

        Args:
            images: (B, 3, H, W), normalised.
            dense: (B, dense channels, H / 4, W / 4), of the Depth Anything branch.
        """
        found = F.relu(convolve(self.conv1, self.norm1, images))
        found = self.layer3(self.layer2(self.layer1(found)))
        quarter = self.conv2(torch.cat((found, dense), dim=1))
        eighth = self.layer4(quarter)
        sixteenth = self.layer5(eighth)
        levels = (
            (self.outputs04, quarter),
            (self.outputs08, eighth),
            (self.outputs16, sixteenth),
        )
        hidden, context = zip(*((heads[0](x), heads[1](x)) for heads, x in levels), strict=True)
        return hidden, context


def _pair(channels: int, out: int, stride: int) -> nn.Sequential:
    return nn.Sequential(ResidualBatch2d(channels, out, stride), ResidualBatch2d(out, out))


def _heads(width: int, *, block: bool) -> nn.ModuleList:
    """One for the hidden map, one for the context."""

    def head() -> nn.Module:
        last = nn.Conv2d(width, width, 3, padding=1)
        return nn.Sequential(ResidualBatch2d(width, width), last) if block else last

    return nn.ModuleList((head(), head()))


class ChannelAttention(nn.Module):
    """How much each channel counts (CBAM, arXiv 1807.06521)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        small = max(channels // 16, 1)
        self.fc = nn.Sequential(
            nn.Conv2d(channels, small, 1, bias=False),
            nn.ReLU(),
            nn.Conv2d(small, channels, 1, bias=False),
        )

    def forward(self, features: Tensor) -> Tensor:
        """(B, C, h, w) to (B, C, 1, 1) in (0, 1)."""
        mean = features.mean((2, 3), keepdim=True)
        largest = features.amax((2, 3), keepdim=True)
        weights: Tensor = self.fc(mean) + self.fc(largest)
        return weights.sigmoid()


class SpatialAttention(nn.Module):
    """How much each place counts (CBAM, arXiv 1807.06521)."""

    def __init__(self) -> None:
        super().__init__()
        self.samconv = nn.Conv2d(2, 1, 7, padding=3, bias=False)

    def forward(self, features: Tensor) -> Tensor:
        """(B, C, h, w) to (B, 1, h, w) in (0, 1)."""
        mean, largest = features.mean(1, keepdim=True), features.amax(1, keepdim=True)
        weights: Tensor = self.samconv(torch.cat((mean, largest), dim=1))
        return weights.sigmoid()
