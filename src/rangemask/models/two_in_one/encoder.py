"""DINOv2 and DPT as the encoder: four maps at the scales and widths that the decoder reads.

The vision transformer sees the image at 14 / 16 of its size, so that a patch covers 16 px of it
and the maps lie at powers of two: the pyramid's own at 1/4 to 1/32.
"""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple, cast

import torch
from timm.layers.norm import LayerNorm2d
from torch import Tensor, nn
from torch.nn import functional as F

from rangemask.errors import InputError
from rangemask.models.backbone import Backbone, build_backbone
from rangemask.models.images import normalise
from rangemask.models.presets import DPT_SIZES, PATCH_PX
from rangemask.models.pyramid import Pyramid, upsample
from rangemask.models.two_in_one.config import ENCODERS, SWIN, Scales, TwoInOneConfig
from rangemask.models.two_in_one.swin import SwinEncoder

PATCH_COVERS_PX = 16
"""Side of the part of the image that a patch sees."""
MULTIPLE_PX = 2 * PATCH_COVERS_PX
"""What both sides of the image must be multiples of: the pyramid's coarsest stride."""


class Detail(NamedTuple):
    """What is finer than a patch."""

    fine: Tensor
    """(B, D, ., .) at the finest map's size."""
    coarse: Tensor
    """(B, 2 D, ., .) at half of it."""


class DetailStem(nn.Module):
    """A few convolutions on the image itself.

    Args:
        channels: D.
        stride: of the finest map, 2 or 4.
    """

    def __init__(self, channels: int, stride: int) -> None:
        super().__init__()
        steps = stride.bit_length() - 1
        widths = (3, *(channels,) * steps)
        self.enter = nn.Sequential()
        for before, after in pairwise(widths):
            self.enter.append(nn.Conv2d(before, after, 3, stride=2, padding=1))
            self.enter.append(nn.ELU())
        self.fine = nn.Conv2d(channels, channels, 3, padding=1)
        self.coarse = nn.Conv2d(channels, 2 * channels, 3, stride=2, padding=1)

    def forward(self, images: Tensor) -> Detail:
        """(B, 3, H, W), normalised, to two maps."""
        fine = F.elu(self.fine(self.enter(images)))
        return Detail(fine, F.elu(self.coarse(fine)))


class DinoEncoder(nn.Module):
    """Images to four maps F0 to F3, fine to coarse.

    Args:
        backbone: DINOv2, tapped at four layers.
        pyramid: DPT, of the backbone's tokens.
        channels: of the four maps.
        scales: where they lie, see ``TwoInOneConfig.pyramid``.
        detail: D of the stem; 0 leaves it out.
    """

    def __init__(
        self,
        backbone: Backbone,
        pyramid: Pyramid,
        channels: tuple[int, ...],
        *,
        scales: Scales = "published",
        detail: int = 0,
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.pyramid = pyramid
        self.channels = channels
        self.halves = scales == "published"
        self.detail = DetailStem(detail, 2 if self.halves else 4) if detail else None
        added = (detail, 2 * detail, 0, 0)
        self.project = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(
                    pyramid.channels + more, width, 3 if more else 1, padding=1 if more else 0
                ),
                LayerNorm2d(width),
            )
            for more, width in zip(added, channels, strict=True)
        )

    def train_blocks(self, count: int) -> None:
        """Freeze the vision transformer but for its last blocks.

        Args:
            count: how many learn; with all of them the embedding does too.

        Raises:
            InputError: there are not so many.
        """
        self.backbone.requires_grad_(False)
        depth = self.backbone.depth
        if not 0 <= count <= depth:
            raise InputError(f"trained_blocks is {count}, but the backbone has {depth} blocks.")
        if count == depth:
            self.backbone.requires_grad_(True)
        elif count:
            self.backbone.vit.blocks[-count:].requires_grad_(True)
            self.backbone.vit.norm.requires_grad_(True)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Four maps of a batch; nothing is checked.

        Args:
            images: (B, 3, H, W) RGB in [0, 1], both sides multiples of 32.

        Returns:
            (B, channels, ., .) at 1/2, 1/4, 1/8, 1/16 of the image, or at half of that.
        """
        images = normalise(images)
        size = [side // PATCH_COVERS_PX * PATCH_PX for side in images.shape[-2:]]
        small = F.interpolate(images, size=size, mode="bilinear", antialias=True)
        dtype = cast(nn.Conv2d, self.pyramid.project[0]).weight.dtype
        tokens = [level.to(dtype) for level in self.backbone.forward_features(small).tokens]
        fine, middle, plain, coarse = self.pyramid(tokens)
        levels = [fine, middle, plain, coarse]
        if self.halves:
            doubled = upsample(fine, (2 * fine.shape[-2], 2 * fine.shape[-1]))
            levels = [doubled, fine, middle, plain]
        if self.detail is not None:
            found = self.detail(images.to(dtype))
            levels[:2] = [torch.cat(pair, dim=1) for pair in zip(levels, found, strict=False)]
        first, second, third, fourth = (
            project(level) for project, level in zip(self.project, levels, strict=True)
        )
        return first, second, third, fourth


def _joining(channels: int, detail: int, width: int) -> nn.Conv2d:
    """To a map's width; with what is finer it takes more than a point to tell edges."""
    side = 3 if detail else 1
    return nn.Conv2d(channels + detail, width, side, padding=side // 2)


def build_encoder(config: TwoInOneConfig) -> DinoEncoder | SwinEncoder:
    """An encoder with random weights; see ``starting.start_encoder`` for others."""
    return SwinEncoder() if config.encoder == SWIN else _build_dino(config)


def _build_dino(config: TwoInOneConfig) -> DinoEncoder:
    backbone = build_backbone(config.backbone)
    pyramid = Pyramid(backbone.width, DPT_SIZES[ENCODERS[config.encoder]])
    encoder = DinoEncoder(
        backbone,
        pyramid,
        config.encoder_channels,
        scales=config.pyramid,
        detail=config.detail_channels,
    )
    count = config.trained_blocks
    if count is None:
        count = backbone.depth if config.encoder == "nano" else 0
    encoder.train_blocks(count)
    return encoder
