"""Fusion head: depth and masks, each refined by what the other, the features and the image say.

The image comes in with its detail, since borders are what is refined, and patches of 14 px have
lost them. The head corrects rather than replaces: the map is multiplied by exp(change), and the
mask features get a change added, which corrects the masks of all queries at once. Both changes
start at zero, so that an untrained head leaves everything as it is.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rangemask.errors import InputError

EVIDENCE = 3
"""Channels besides the features: normalised log map, objects, borders of objects."""
EPSILON = 1e-6


@dataclass(frozen=True, kw_only=True, slots=True)
class FusionHeadConfig:
    """The fusion head.

    Raises:
        InputError: a number is impossible.
    """

    width: int = 32
    """Channels inside."""
    detail_channels: int = 16
    """Of the convolutions that bring the image's own detail; 0 leaves it out."""
    blocks: int = 2
    """3 x 3 convolutions, each dilated twice as far as the one before."""
    largest_change: float = 0.5
    """Bound of the change of the logarithm of the map: 0.5 allows a factor of 0.61 to 1.65."""

    def __post_init__(self) -> None:
        if self.width < 1 or self.blocks < 1:
            raise InputError(
                f"width and blocks must be at least 1, got {self.width} and {self.blocks}."
            )
        if self.detail_channels < 0:
            raise InputError(f"detail_channels must not be negative, got {self.detail_channels}.")
        if not 0 < self.largest_change < float("inf"):
            raise InputError(
                f"largest_change must be positive and finite, got {self.largest_change}."
            )


class Fused(NamedTuple):
    """Refined evidence; None where there was none to refine."""

    map: Tensor | None
    """(B, H, W), the unit of what came in."""
    mask_features: Tensor | None
    """(B, D, 4h, 4w)."""


class FusionHead(nn.Module):
    """Joins features with depth and mask evidence.

    Args:
        config: sizes.
        pyramid_channels: P of the pyramid.
        mask_width: D of the mask features; None where there are no masks.
        refines_map: whether there is a map to refine.
    """

    def __init__(
        self,
        config: FusionHeadConfig,
        pyramid_channels: int,
        *,
        mask_width: int | None,
        refines_map: bool,
    ) -> None:
        super().__init__()
        self.config = config
        detail = config.detail_channels
        self.detail = _detail(detail) if detail else None
        self.join = nn.Conv2d(pyramid_channels + EVIDENCE + detail, config.width, 1)
        self.blocks = nn.ModuleList(
            nn.Conv2d(config.width, config.width, 3, padding=2**i, dilation=2**i)
            for i in range(config.blocks)
        )
        self.map_change = nn.Conv2d(config.width, 1, 1) if refines_map else None
        self.mask_change = None if mask_width is None else nn.Conv2d(config.width, mask_width, 1)
        for change in (self.map_change, self.mask_change):
            if change is not None:
                nn.init.zeros_(change.weight)
                nn.init.zeros_(change.bias)  # type: ignore[arg-type]

    def forward(
        self,
        fine: Tensor,
        images: Tensor,
        *,
        map_: Tensor | None = None,
        grows_away: bool = False,
        presence: Tensor | None = None,
        mask_features: Tensor | None = None,
    ) -> Fused:
        """Refine.

        Args:
            fine: (B, P, 4h, 4w), the pyramid's finest level.
            images: (B, 3, H, W) normalised.
            map_: (B, H, W) depth, disparity or relative inverse depth, not negative.
            grows_away: whether the map grows with the distance, as depth does; the evidence
                always grows towards the camera.
            presence: (B, 4h, 4w) in [0, 1], how surely some object is there.
            mask_features: (B, D, 4h, 4w).
        """
        depth, objects = self._evidence(fine, map_, presence)
        depth = -depth if grows_away else depth
        evidence = [fine, depth.to(fine.dtype), objects.to(fine.dtype)]
        if self.detail is not None:
            evidence.append(_at_size(self.detail(images.to(fine.dtype)), fine))
        features = F.gelu(self.join(torch.cat(evidence, dim=1)))
        for block in self.blocks:
            features = features + F.gelu(block(features))
        if map_ is not None and self.map_change is not None:
            map_ = map_ * self._factor(self.map_change(features), map_)
        if mask_features is not None and self.mask_change is not None:
            mask_features = mask_features + self.mask_change(features)
        return Fused(map_, mask_features)

    def _factor(self, change: Tensor, like: Tensor) -> Tensor:
        """(B, 1, 4h, 4w) unbounded to a factor for each pixel of the map, (B, H, W)."""
        bound = self.config.largest_change
        bounded = bound * torch.tanh(change.float() / bound)
        size = like.shape[-2:]
        return F.interpolate(bounded, size=size, mode="bilinear", align_corners=False)[:, 0].exp()

    def _evidence(
        self, fine: Tensor, map_: Tensor | None, presence: Tensor | None
    ) -> tuple[Tensor, Tensor]:
        """Normalised log map (B, 1, 4h, 4w), and objects with their borders (B, 2, 4h, 4w)."""
        size = fine.shape[-2:]
        if map_ is None:
            depth = fine.new_zeros(len(fine), 1, *size)
        else:
            # Looked at, not learned through: the logarithm's slope at depth 0 has no bound.
            small = F.interpolate(map_[:, None].detach().float(), size=size, mode="area")
            depth = _standardised((small + EPSILON).log())
        if presence is None:
            return depth, fine.new_zeros(len(fine), 2, *size)
        objects = presence[:, None].float()
        widest = F.max_pool2d(objects, 3, stride=1, padding=1)
        narrowest = -F.max_pool2d(-objects, 3, stride=1, padding=1)
        return depth, torch.cat([objects, widest - narrowest], dim=1)


def _detail(channels: int) -> nn.Sequential:
    """(B, 3, H, W) to (B, channels, H / 2, W / 2)."""
    return nn.Sequential(
        nn.Conv2d(3, channels, 3, stride=2, padding=1),
        nn.GELU(),
        nn.Conv2d(channels, channels, 3, padding=1),
        nn.GELU(),
    )


def _at_size(features: Tensor, like: Tensor) -> Tensor:
    return F.interpolate(features, size=like.shape[-2:], mode="bilinear", align_corners=False)


def _standardised(values: Tensor) -> Tensor:
    """Mean 0 and deviation 1 per image, whatever the scale of the map."""
    variance, mean = torch.var_mean(values, dim=(-2, -1), keepdim=True, correction=0)
    return (values - mean) / (variance + EPSILON).sqrt()


def presence_of(class_logits: Tensor, mask_logits: Tensor) -> Tensor:
    """How surely some object is at each pixel.

    Args:
        class_logits: (B, N, K + 1), the last for no object.
        mask_logits: (B, N, 4h, 4w).

    Returns:
        (B, 4h, 4w) in [0, 1]: the largest, over the queries, of the probability of being an
        object times that of the pixel being within.
    """
    objects = 1 - class_logits.float().softmax(dim=-1)[..., -1]
    return (mask_logits.sigmoid() * objects[..., None, None].to(mask_logits.dtype)).amax(dim=1)
