"""Depth head: the fine pyramid level to depth at the input's size."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn
from torch.nn import functional as F

from rangemask.errors import InputError
from rangemask.models.blocks import ExactConv2d
from rangemask.models.pyramid import upsample

HIDDEN = 32
"""Channels at the input's size; published."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DepthHeadConfig:
    """What the depth head states.

    Raises:
        InputError: the farthest depth is not positive.
    """

    max_depth_m: float | None = None
    """Farthest depth it can state, in metres; None for relative inverse depth."""

    def __post_init__(self) -> None:
        if self.max_depth_m is not None and not 0 < self.max_depth_m < float("inf"):
            raise InputError(
                f"max_depth_m must be positive and finite, or None, got {self.max_depth_m}."
            )


class DepthHead(nn.Module):
    """Depth Anything V2's output layers (arXiv 2406.09414).

    Args:
        config: relative or metric.
        channels: of the pyramid.
    """

    def __init__(self, config: DepthHeadConfig, channels: int) -> None:
        super().__init__()
        self.config = config
        self.reduce = nn.Conv2d(channels, channels // 2, 3, padding=1)
        self.refine = nn.Conv2d(channels // 2, HIDDEN, 3, padding=1)
        self.out = ExactConv2d(HIDDEN, 1, 1)

    def forward(self, fine: Tensor, size: tuple[int, int]) -> Tensor:
        """Depth of a batch.

        Args:
            fine: (B, channels, 4h, 4w), the pyramid's finest level.
            size: H, W of the output.

        Returns:
            (B, H, W): metres in (0, max_depth_m), or relative inverse depth >= 0, which grows
            towards the camera.
        """
        features = self.reduce(upsample(fine, (2 * fine.shape[-2], 2 * fine.shape[-1])))
        features = F.relu(self.refine(upsample(features, size)), inplace=True)
        raw: Tensor = self.out(features)[:, 0].float()
        if self.config.max_depth_m is None:
            return F.relu(raw)
        return raw.sigmoid() * self.config.max_depth_m
