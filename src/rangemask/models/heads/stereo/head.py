"""``StereoHead``: a volume at a quarter of the resolution, then a few recurrent refinements."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rangemask.errors import InputError
from rangemask.models.heads.stereo.config import STRIDE, StereoHeadConfig
from rangemask.models.heads.stereo.parts import Aggregation, Descriptor, Stem, Update, Upsampling
from rangemask.models.heads.stereo.volume import (
    correlation_volume,
    look_up,
    mass_around,
    probabilities,
    soft_argmin,
)


class StereoOutput(NamedTuple):
    """What two eyes say."""

    disparity_px: Tensor
    """(B, H, W), not negative; left x matches right x - disparity."""
    confidence: Tensor
    """(B, H, W) in [0, 1]: probability of the volume within a cell (4 px) of the disparity."""
    coarse_px: Tensor
    """(B, H / 4, W / 4), the first estimate, in px of the input."""
    iterates: tuple[Tensor, ...]
    """(B, H, W) in px, as refined and perhaps negative: all of them, or the last."""


class StereoHead(nn.Module):
    """Disparity of a rectified pair.

    Args:
        config: sizes and range.
        pyramid_channels: P of the pyramid's finest level.
    """

    def __init__(self, config: StereoHeadConfig, pyramid_channels: int) -> None:
        super().__init__()
        self.config = config
        stem, hidden = config.stem_channels, config.hidden_channels
        self.stem = Stem(stem)
        self.describe = Descriptor(stem, pyramid_channels, config.match_channels)
        self.context = Descriptor(stem, pyramid_channels, 4 * hidden)
        self.aggregate = Aggregation(config.groups, config.match_channels)
        self.update = Update(2 * (2 * config.radius + 1) + 1, hidden)
        self.upsample = Upsampling(hidden)

    def forward(
        self,
        left_image: Tensor,
        right_image: Tensor,
        left_fine: Tensor,
        right_fine: Tensor,
        *,
        iterations: int | None = None,
        all_iterates: bool = False,
    ) -> StereoOutput:
        """Match.

        Args:
            left_image: (B, 3, H, W) normalised, sides multiples of 4.
            right_image: the same of the right camera.
            left_fine: (B, P, 4h, 4w), the pyramid's finest level of the left image.
            right_fine: (B, P, any, any), of the right image.
            iterations: refinements; None for the configured number.
            all_iterates: give every iterate, for training.

        Raises:
            InputError: shapes do not fit, or iterations are negative.
        """
        count = self.config.iterations if iterations is None else iterations
        _check(left_image, right_image, count)
        stems = self.stem(torch.cat([left_image, right_image])).chunk(2)
        left = self.describe(stems[0], left_fine)
        right = self.describe(stems[1], right_fine)
        volume = correlation_volume(left, right, self.config.groups, self.config.cells)
        logits = self.aggregate(volume, left)
        probability = probabilities(logits)
        coarse = soft_argmin(probability)
        raw = volume.mean(dim=1)
        memory, context = self.context(stems[0], left_fine).tensor_split(
            [self.config.hidden_channels], dim=1
        )
        memory, disparity = memory.tanh(), coarse
        iterates = [] if count else [self.upsample(disparity, memory)]
        for step in range(count):
            # As in RAFT: a step learns to correct what it is given, not to change it.
            disparity = disparity.detach()
            memory, change = self.update(memory, context, self._seen(raw, logits, disparity))
            disparity = disparity + change
            if all_iterates or step == count - 1:
                iterates.append(self.upsample(disparity, memory))
        return StereoOutput(
            disparity_px=iterates[-1].clamp(min=0),
            confidence=_enlarged(mass_around(probability, disparity.detach())),
            coarse_px=coarse[:, 0] * STRIDE,
            iterates=tuple(iterates),
        )

    def _seen(self, raw: Tensor, logits: Tensor, disparity: Tensor) -> Tensor:
        """The two volumes around an estimate, and the estimate by the largest disparity."""
        radius = self.config.radius
        share = (disparity / self.config.cells).to(raw.dtype)
        found = (look_up(raw, disparity, radius), look_up(logits, disparity, radius), share)
        return torch.cat(found, dim=1)


def _enlarged(confidence: Tensor) -> Tensor:
    return F.interpolate(confidence, scale_factor=STRIDE, mode="bilinear", align_corners=False)[
        :, 0
    ]


def _check(left: Tensor, right: Tensor, iterations: int) -> None:
    if left.shape != right.shape:
        raise InputError(
            f"left and right images must have one shape, got {tuple(left.shape)} and "
            f"{tuple(right.shape)}."
        )
    if left.shape[-2] % STRIDE or left.shape[-1] % STRIDE:
        raise InputError(
            f"images must be multiples of {STRIDE} px for stereo, got {left.shape[-2]} x "
            f"{left.shape[-1]}."
        )
    if iterations < 0:
        raise InputError(f"iterations must not be negative, got {iterations}.")
