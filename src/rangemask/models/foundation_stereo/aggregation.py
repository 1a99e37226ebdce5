"""Stem, aggregation and classifier of the cost volume (spec sections 5 to 7)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rangemask.models.foundation_stereo.config import GROUPS, FoundationStereoConfig
from rangemask.models.foundation_stereo.features import ImageFeatures
from rangemask.models.foundation_stereo.layers import (
    Axial,
    ConvBatchAct3d,
    Gate,
    Residual3d,
    UpConvBatchAct3d,
    convolve,
)
from rangemask.models.foundation_stereo.transformer import DisparityTransformer

PATCH = 4
"""Cells of the volume, per axis, that become one of the transformer."""


def corr_stem(config: FoundationStereoConfig) -> nn.Sequential:
    """The raw volume to its first features."""
    channels = config.volume_channels
    return nn.Sequential(
        nn.Conv3d(GROUPS + 2 * config.projected, channels, 1),
        ConvBatchAct3d(channels, channels),
        Residual3d(channels),
        Residual3d(channels),
    )


def classifier(config: FoundationStereoConfig) -> nn.Sequential:
    """The aggregated volume to one number per disparity."""
    half = config.volume_channels // 2
    return nn.Sequential(
        ConvBatchAct3d(config.volume_channels, half),
        Residual3d(half),
        nn.Conv3d(half, 1, 7, padding=3),
    )


class Aggregation(nn.Module):
    """An hourglass of axial convolutions, and a transformer beside it."""

    def __init__(self, config: FoundationStereoConfig) -> None:
        super().__init__()
        _, eighth, sixteenth, thirtysecond = config.edge_widths
        one = config.volume_channels
        two, four, six = 2 * one, 4 * one, 6 * one
        self.conv1 = nn.Sequential(ConvBatchAct3d(one, two, stride=2), Axial(two))
        self.conv2 = nn.Sequential(ConvBatchAct3d(two, four, stride=2), Axial(four))
        self.conv3 = nn.Sequential(ConvBatchAct3d(four, six, stride=2), Axial(six))
        self.conv3_up = UpConvBatchAct3d(six, four)
        self.conv2_up = UpConvBatchAct3d(four, two)
        self.conv1_up = UpConvBatchAct3d(two, one)
        self.agg_0 = nn.Sequential(ConvBatchAct3d(2 * four, four, 1), Axial(four), Axial(four))
        self.agg_1 = nn.Sequential(ConvBatchAct3d(2 * two, two, 1), Axial(two), Axial(two))
        self.feature_att_8 = Gate(2 * eighth, two)
        self.feature_att_16 = Gate(2 * sixteenth, four)
        self.feature_att_32 = Gate(thirtysecond, six)
        self.feature_att_up_16 = Gate(2 * sixteenth, four)
        self.feature_att_up_8 = Gate(2 * eighth, two)
        self.conv_patch = nn.Sequential(
            nn.Conv3d(one, one, PATCH, stride=PATCH, groups=one), nn.BatchNorm3d(one)
        )
        transformer = DisparityTransformer(one, config.transformer_layers, config.attention)
        # The published files count the parts of this block, and the transformer is the fifth.
        self.atts = nn.ModuleDict({"4": transformer})
        self.conv_out = nn.Sequential(Axial(one), Axial(one))

    def forward(self, volume: Tensor, features: ImageFeatures) -> Tensor:
        """(B, C, D, h, w) and the left image's features to (B, C, D, h, w)."""
        wide = self.transformer(convolve(*self.patch, volume))
        wide = F.interpolate(wide, scale_factor=PATCH, mode="trilinear")
        fine = self.conv1_up(self.hourglass(self.conv1(volume), features))
        answer: Tensor = self.conv_out(fine + wide)
        return answer

    @property
    def patch(self) -> tuple[nn.Conv3d, nn.BatchNorm3d]:
        """What makes cells for the transformer."""
        conv, norm = self.conv_patch
        assert isinstance(conv, nn.Conv3d) and isinstance(norm, nn.BatchNorm3d)  # noqa: S101, PT018
        return conv, norm

    @property
    def transformer(self) -> DisparityTransformer:
        """What looks at all disparities of a pixel at once."""
        found = self.atts["4"]
        assert isinstance(found, DisparityTransformer)  # noqa: S101
        return found

    def hourglass(self, halved: Tensor, features: ImageFeatures) -> Tensor:
        """(B, 2C, D / 2, h / 2, w / 2), not yet gated, to the same, down and up again."""
        # What is not needed any more is let go at once: these are the largest maps but one.
        first = self.feature_att_8(halved, features.eighth)
        del halved
        second = self.feature_att_16(self.conv2(first), features.sixteenth)
        third = self.feature_att_32(self.conv3(second), features.thirtysecond)
        joined = torch.cat((self.conv3_up(third), second), dim=1)
        del third
        for block in self.agg_0:
            joined = block(joined)
        second = self.feature_att_up_16(joined, features.sixteenth)
        joined = torch.cat((self.conv2_up(second), first), dim=1)
        del first, second
        for block in self.agg_1:
            joined = block(joined)
        answer: Tensor = self.feature_att_up_8(joined, features.eighth)
        return answer
