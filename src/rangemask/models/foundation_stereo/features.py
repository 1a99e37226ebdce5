"""Features of one image: EdgeNeXt beside a frozen Depth Anything V2 (spec section 3)."""

from __future__ import annotations

from typing import NamedTuple

import torch
from timm.models.edgenext import EdgeNeXt
from torch import Tensor, nn
from torch.nn import functional as F

from rangemask.models.backbone import Backbone, build_backbone
from rangemask.models.foundation_stereo.config import QUARTER, FoundationStereoConfig
from rangemask.models.foundation_stereo.layers import ConvAct2d, ResidualInstance2d, UpConvAct2d
from rangemask.models.presets import DPT_SIZES, PATCH_PX
from rangemask.models.pyramid import Pyramid, upsample

DENSE_MULTIPLE_PX = 112
"""Least common multiple of a patch and of what DPT's levels halve."""
DENSE_LIMIT_PX = 1344
"""Longest side that the Depth Anything branch is given."""


class ImageFeatures(NamedTuple):
    """Of one image, at 1/4, 1/8, 1/16 and 1/32 of its size."""

    quarter: Tensor
    eighth: Tensor
    sixteenth: Tensor
    thirtysecond: Tensor
    dense: Tensor
    """Of the Depth Anything branch alone, at 1/4."""


def dense_size(height: int, width: int) -> tuple[int, int]:
    """Size at which the Depth Anything branch sees an image."""
    tall, long = _up(height), _up(width)
    if max(tall, long) <= DENSE_LIMIT_PX:
        return tall, long
    if tall > long:
        return DENSE_LIMIT_PX, _up(long * DENSE_LIMIT_PX / tall)
    return _up(tall * DENSE_LIMIT_PX / long), DENSE_LIMIT_PX


def _up(length: float) -> int:
    return int(-(-length // DENSE_MULTIPLE_PX)) * DENSE_MULTIPLE_PX


class DenseBranch(nn.Module):
    """Depth Anything V2 up to where its depth head would begin to think of depth.

    Args:
        backbone: DINOv2, tapped at the four layers that the pyramid reads.
        pyramid: of the backbone's width.
    """

    def __init__(self, backbone: Backbone, pyramid: Pyramid) -> None:
        super().__init__()
        self.backbone = backbone
        self.pyramid = pyramid
        self.reduce = nn.Conv2d(pyramid.channels, pyramid.channels // 2, 3, padding=1)

    def forward(self, images: Tensor) -> Tensor:
        """Normalised images (B, 3, H, W) to (B, channels / 2, H / 4, W / 4)."""
        height, width = images.shape[-2:]
        size = dense_size(height, width)
        resized = F.interpolate(images, size, mode="bicubic")
        tokens = self.backbone.forward_features(resized).tokens
        fine = self.pyramid([level.to(self.reduce.weight.dtype) for level in tokens])[0]
        reduced = self.reduce(upsample(fine, (2 * fine.shape[-2], 2 * fine.shape[-1])))
        # Two steps, as published: the second one does not undo the first.
        patches = (size[0] // PATCH_PX * PATCH_PX, size[1] // PATCH_PX * PATCH_PX)
        return upsample(upsample(reduced, patches), (height // QUARTER, width // QUARTER))


class Join(nn.Module):
    """A coarse level enlarged and joined with the finer one above it."""

    def __init__(self, channels: int, skip: int) -> None:
        super().__init__()
        self.conv1 = UpConvAct2d(channels, skip)
        self.conv2 = ResidualInstance2d(2 * skip, bias=False, active=False)

    def forward(self, coarse: Tensor, skip: Tensor) -> Tensor:
        """(B, channels, h, w) and (B, skip, 2h, 2w) to (B, 2 * skip, 2h, 2w)."""
        joined: Tensor = self.conv2(cat(self.conv1(coarse), skip))
        return joined


class FeatureNet(nn.Module):
    """One image to its features."""

    def __init__(self, config: FoundationStereoConfig) -> None:
        super().__init__()
        edge = EdgeNeXt(dims=config.edge_widths, depths=config.edge_depths, num_classes=0)
        self.stem = edge.stem
        self.stages = edge.stages
        backbone = build_backbone(f"dinov2-{config.vit}")
        self.dino = DenseBranch(backbone, Pyramid(backbone.width, DPT_SIZES[config.vit]))
        quarter, eighth, sixteenth, last = config.edge_widths
        self.deconv32_16 = Join(last, sixteenth)
        self.deconv16_8 = Join(2 * sixteenth, eighth)
        self.deconv8_4 = Join(2 * eighth, quarter)
        fine = config.fine_channels
        self.conv4 = nn.Sequential(
            ConvAct2d(fine, fine),
            ResidualInstance2d(fine, bias=True, active=True),
            ResidualInstance2d(fine, bias=True, active=True),
        )

    def forward(self, images: Tensor) -> ImageFeatures:
        """Features of normalised images (B, 3, H, W), both sides multiples of 32."""
        dense = self.dino(images)
        level = self.stem(images)
        levels = []
        for stage in self.stages:
            level = stage(level)
            levels.append(level)
        quarter, eighth, sixteenth, thirtysecond = levels
        sixteenth = self.deconv32_16(thirtysecond, sixteenth)
        eighth = self.deconv16_8(sixteenth, eighth)
        quarter = self.conv4(cat(self.deconv8_4(eighth, quarter), dense))
        return ImageFeatures(quarter, eighth, sixteenth, thirtysecond, dense)


def cat(*parts: Tensor) -> Tensor:
    """Channels of several maps behind each other."""
    return torch.cat(parts, dim=1)
