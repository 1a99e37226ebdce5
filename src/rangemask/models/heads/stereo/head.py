"""``StereoHead``: a volume at a quarter of the resolution, then a few recurrent refinements."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rangemask.errors import InputError
from rangemask.models.heads.stereo.config import STRIDE, StereoHeadConfig
from rangemask.models.heads.stereo.parts import Aggregation, Joint, Stem, Update, Upsampling
from rangemask.models.heads.stereo.volume import (
    correlation_volume,
    inside,
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
        self.config, self.pyramid_channels = config, pyramid_channels
        stem, match, hidden = config.stem_channels, config.match_channels, config.hidden_channels
        self.stem = Stem(stem)
        self.join = Joint(stem, pyramid_channels, match)
        self.describe = nn.Conv2d(match, match, 3, padding=1)
        self.context = nn.Conv2d(match, 4 * hidden, 3, padding=1)
        self.aggregate = Aggregation(config.groups, match)
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
        _check_fine(left_fine, right_fine, left_image.shape[0], self.pyramid_channels)
        images = torch.cat([left_image, right_image])
        joined = self.join(self.stem(images), (left_fine, right_fine))
        left, right = self.describe(joined).chunk(2)
        volume = correlation_volume(left, right, self.config.groups, self.config.cells)
        logits = self.aggregate(volume, left)
        there = inside(self.config.cells, logits.shape[-1], logits)
        probability = probabilities(logits, there)
        coarse = soft_argmin(probability)
        # Outside the right image the correlation is 0, and what was made of it is not to be seen.
        raw, logits = volume.mean(dim=1), logits.masked_fill(~there, 0)
        memory, context = self.context(joined.chunk(2)[0]).tensor_split(
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
    if left.ndim != 4 or left.shape[1] != 3:
        raise InputError(f"images must be (B, 3, H, W), got {tuple(left.shape)}.")
    if left.shape[-2] % STRIDE or left.shape[-1] % STRIDE:
        raise InputError(
            f"images must be multiples of {STRIDE} px for stereo, got {left.shape[-2]} x "
            f"{left.shape[-1]}."
        )
    if iterations < 0:
        raise InputError(f"iterations must not be negative, got {iterations}.")


def _check_fine(left: Tensor, right: Tensor, batch: int, channels: int) -> None:
    for side, fine in (("left", left), ("right", right)):
        if fine.ndim != 4 or fine.shape[:2] != (batch, channels):
            raise InputError(
                f"features of the {side} image must be ({batch}, {channels}, any, any), got "
                f"{tuple(fine.shape)}."
            )
