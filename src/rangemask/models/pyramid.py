"""DPT: patch features of four layers to one pyramid that all dense heads read.

"Vision Transformers for Dense Prediction" (arXiv 2103.13413), reassemble and fusion, as Depth
Anything V2 uses it. A plain ViT gives one scale; the pyramid makes four of it, at strides of
3.5, 7, 14 and 28 px.
"""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional as F

from rangemask.models.presets import DptSize


class ResidualUnit(nn.Module):
    """Two 3 x 3 convolutions, each after a ReLU, added to what came in."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.first = nn.Conv2d(channels, channels, 3, padding=1)
        self.second = nn.Conv2d(channels, channels, 3, padding=1)

    def forward(self, features: Tensor) -> Tensor:
        """(B, C, h, w) to the same."""
        change: Tensor = self.second(F.relu(self.first(F.relu(features)), inplace=True))
        return features + change


class FusionUnit(nn.Module):
    """Joins a level with the coarser one below it.

    Args:
        channels: of both.
        coarsest: there is none below.
    """

    def __init__(self, channels: int, *, coarsest: bool = False) -> None:
        super().__init__()
        self.lateral = None if coarsest else ResidualUnit(channels)
        self.residual = ResidualUnit(channels)
        self.out = nn.Conv2d(channels, channels, 1)

    def forward(self, level: Tensor, below: Tensor | None) -> Tensor:
        """(B, C, h, w) and the coarser level of any size to (B, C, h, w)."""
        if self.lateral is not None and below is not None:
            level = upsample(below, level.shape[-2:]) + self.lateral(level)
        # The published order is: enlarge, then this 1 x 1 convolution. The two commute, and a
        # level that is enlarged where it is used costs a quarter.
        fused: Tensor = self.out(self.residual(level))
        return fused


class Pyramid(nn.Module):
    """Patch features of four layers to four fused levels, fine to coarse.

    Args:
        token_channels: C of the backbone.
        size: channels within.
    """

    def __init__(self, token_channels: int, size: DptSize) -> None:
        super().__init__()
        fine, middle, _, coarse = size.reassembled
        self.channels = size.fused
        self.project = nn.ModuleList(nn.Conv2d(token_channels, c, 1) for c in size.reassembled)
        self.resize = nn.ModuleList(
            (
                nn.ConvTranspose2d(fine, fine, 4, stride=4),
                nn.ConvTranspose2d(middle, middle, 2, stride=2),
                nn.Identity(),
                nn.Conv2d(coarse, coarse, 3, stride=2, padding=1),
            )
        )
        self.level = nn.ModuleList(
            nn.Conv2d(c, size.fused, 3, padding=1, bias=False) for c in size.reassembled
        )
        self.fuse = nn.ModuleList(FusionUnit(size.fused, coarsest=i == 3) for i in range(4))

    def forward(self, tokens: Sequence[Tensor]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        """Fused levels.

        Args:
            tokens: four of (B, C, h, w), shallow to deep.

        Returns:
            four of (B, channels, ., .): 4h x 4w, 2h x 2w, h x w, ceil(h / 2) x ceil(w / 2).
        """
        levels = [
            level(resize(project(token)))
            for level, resize, project, token in zip(
                self.level, self.resize, self.project, tokens, strict=True
            )
        ]
        coarse = self.fuse[3](levels[3], None)
        plain = self.fuse[2](levels[2], coarse)
        middle = self.fuse[1](levels[1], plain)
        fine = self.fuse[0](levels[0], middle)
        return fine, middle, plain, coarse


def upsample(features: Tensor, size: Sequence[int]) -> Tensor:
    """Bilinear, corners aligned, as DPT does it."""
    enlarged: Tensor = F.interpolate(
        features, size=tuple(size), mode="bilinear", align_corners=True
    )
    return enlarged
