"""FoundationStereo: a rectified pair to disparity (arXiv 2501.09898)."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rangemask.errors import InputError
from rangemask.models.foundation_stereo.aggregation import Aggregation, classifier, corr_stem
from rangemask.models.foundation_stereo.config import (
    ITERATIONS,
    MAX_DISPARITY_PX,
    MULTIPLE_PX,
    QUARTER,
    FoundationStereoConfig,
)
from rangemask.models.foundation_stereo.context import (
    ChannelAttention,
    Context,
    ContextNet,
    SpatialAttention,
)
from rangemask.models.foundation_stereo.features import FeatureNet, ImageFeatures
from rangemask.models.foundation_stereo.layers import ConvAct2d, Gate, UpConvAct2d, instance_norm
from rangemask.models.foundation_stereo.lookup import build_geometry, expected_cell, look
from rangemask.models.foundation_stereo.streaming import (
    Slabs,
    aggregate_,
    classify,
    fill_volume,
    gate_,
)
from rangemask.models.foundation_stereo.update import Update
from rangemask.models.foundation_stereo.volume import cost_volume
from rangemask.models.images import normalise

WINDOW = 9
"""Cells of the 3 x 3 neighbourhood that a pixel is mixed from."""


class StereoOutput(NamedTuple):
    """What the network finds for a batch of pairs."""

    disparity_px: Tensor
    """(B, 1, H, W) float32."""
    start: Tensor
    """(B, 1, H / 4, W / 4) float32, in quarter pixels: what the refinement started from."""
    logits: Tensor
    """(B, D, H / 4, W / 4) float32: how well each plane of the volume fits."""
    cells: Tensor
    """(B, 1, H / 4, W / 4) float32, in quarter pixels: what the refinement ended with."""


class Stem(nn.Sequential):
    """The left image at half its size; only the upsampler reads it."""

    def __init__(self) -> None:
        super().__init__(ConvAct2d(3, 32, stride=2), nn.Conv2d(32, 32, 3, padding=1, bias=False))

    def forward(self, images: Tensor) -> Tensor:
        """(B, 3, H, W) to (B, 32, H / 2, W / 2)."""
        first, second = self
        return F.relu(instance_norm(second(first(images))))


class Upsampler(nn.Module):
    """Two upsampling steps: of the mask with the stem, and to weights of neighbours."""

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = UpConvAct2d(32, 32, norm=False)
        self.conv2 = ConvAct2d(64, 64, norm=False)

    def forward(self, mask: Tensor, stem: Tensor) -> Tensor:
        """(B, 32, h, w) and (B, 32, 2h, 2w) to (B, 64, 2h, 2w)."""
        mixed: Tensor = self.conv2(torch.cat((self.conv1(mask), stem), dim=1))
        return mixed


class FoundationStereo(nn.Module):
    """A rectified pair to disparity.

    Args:
        config: its sizes.
    """

    def __init__(self, config: FoundationStereoConfig) -> None:
        super().__init__()
        self.config = config
        self.feature = FeatureNet(config)
        self.stem_2 = Stem()
        self.proj_cmb = nn.Conv2d(config.fine_channels, config.projected, 1)
        self.corr_stem = corr_stem(config)
        self.corr_feature_att = Gate(config.fine_channels, config.volume_channels)
        self.cost_agg = Aggregation(config)
        self.classifier = classifier(config)
        self.cnet = ContextNet(config)
        self.cam = ChannelAttention(config.hidden)
        self.sam = SpatialAttention()
        self.update_block = Update(config)
        self.spx_2_gru = Upsampler()
        self.spx_gru = nn.Sequential(nn.ConvTranspose2d(64, WINDOW, 4, 2, 1))

    def forward(
        self,
        left: Tensor,
        right: Tensor,
        *,
        iterations: int = ITERATIONS,
        max_disparity_px: int = MAX_DISPARITY_PX,
        start: Tensor | None = None,
        slabs: Slabs | None = None,
    ) -> StereoOutput:
        """Disparity of a batch of pairs.

        Args:
            left: (B, 3, H, W) float RGB in [0, 255], H and W multiples of 32.
            right: the same.
            iterations: rounds of the refinement.
            max_disparity_px: largest disparity of the volume, a multiple of 32.
            start: (B, 1, H / 4, W / 4), in quarter pixels: start there, not from the volume.
            slabs: work on the volume piece by piece, which takes less memory; without gradients.

        Raises:
            InputError: sizes, iterations or the largest disparity are impossible; or gradients
                are asked for piece by piece.
        """
        if slabs is not None and len(left) > 1:
            starts = [None] * len(left) if start is None else start.split(1)
            each = [
                self(
                    *pair,
                    iterations=iterations,
                    max_disparity_px=max_disparity_px,
                    start=begin,
                    slabs=slabs,
                )
                for *pair, begin in zip(left.split(1), right.split(1), starts, strict=True)
            ]
            return StereoOutput(*(torch.cat(maps) for maps in zip(*each, strict=True)))
        check_pair(left, right, iterations, max_disparity_px)
        left, right = normalise(left / 255), normalise(right / 255)
        mine, theirs = self.feature(left), self.feature(right)
        context = self.context(left, mine.dense)
        volume, logits = self._judged(mine, theirs, max_disparity_px // QUARTER, slabs)
        begin = expected_cell(logits) if start is None else start.float()
        geometry = build_geometry(volume, mine.quarter, theirs.quarter)
        del volume, theirs
        states, bases = context.states, self.update_block.start(context)
        cells = begin
        for _ in range(iterations):
            found = look(geometry, cells)
            states, change = self.update_block(states, bases, context.attention, cells, found)
            cells = cells + change
        full = self.upsampled(cells, self.update_block.upsampling(states[0]), self.stem_2(left))
        return StereoOutput(full, begin, logits, cells)

    def context(self, left: Tensor, dense: Tensor) -> Context:
        """What the left image says by itself; both (B, ., ., .)."""
        hidden, context = self.cnet(left, dense)
        states = tuple(level.tanh() for level in hidden)
        inputs = tuple(level * self.cam(level) for level in map(F.relu, context))
        attention = tuple(self.sam(level) for level in inputs)
        return Context(states, inputs, attention)

    def _judged(
        self, left: ImageFeatures, right: ImageFeatures, planes: int, slabs: Slabs | None
    ) -> tuple[Tensor, Tensor]:
        """The aggregated volume (B, D, h, w, C), and the logits of its planes (B, D, h, w)."""
        if slabs is None:
            volume = self.volume(left, right, planes)
            return volume.permute(0, 2, 3, 4, 1), self.classifier(volume)[:, 0].float()
        if torch.is_grad_enabled():
            raise InputError(
                "piece by piece there are no gradients; leave slabs out, or call the network "
                "under torch.inference_mode()."
            )
        projected = self.proj_cmb(left.quarter), self.proj_cmb(right.quarter)
        pair = left.quarter, right.quarter
        work = fill_volume(self.corr_stem, pair, projected, planes, slabs)
        gate_(work, self.corr_feature_att.weights(left.quarter))
        aggregate_(work, self.cost_agg, left, slabs)
        return work[None, 1:-1], classify(work, self.classifier, slabs)

    def volume(self, left: ImageFeatures, right: ImageFeatures, planes: int) -> Tensor:
        """(B, C, D, h, w): the aggregated cost volume."""
        projected = self.proj_cmb(left.quarter), self.proj_cmb(right.quarter)
        raw = cost_volume(left.quarter, right.quarter, projected, planes)
        raw = raw.contiguous(memory_format=torch.channels_last_3d)
        first = self.corr_feature_att(self.corr_stem(raw), left.quarter)
        answer: Tensor = self.cost_agg(first, left)
        return answer

    def upsampled(self, cells: Tensor, mask: Tensor, stem: Tensor) -> Tensor:
        """Disparity in cells (B, 1, h, w) to pixels (B, 1, 4h, 4w): mixes of neighbours."""
        weights = self.spx_gru(self.spx_2_gru(mask, stem)).float().softmax(1)
        batch, _, height, width = cells.shape
        near = F.unfold(QUARTER * cells, 3, padding=1).view(batch, WINDOW, height, 1, width, 1)
        blocks = weights.view(batch, WINDOW, height, QUARTER, width, QUARTER)
        mixed: Tensor = (near * blocks).sum(1)
        return mixed.view(batch, 1, QUARTER * height, QUARTER * width)


def check_pair(left: Tensor, right: Tensor, iterations: int, max_disparity_px: int) -> None:
    """Fail in words on what the network cannot take.

    Raises:
        InputError: sizes, iterations or the largest disparity are impossible.
    """
    if left.ndim != 4 or left.shape[1] != 3 or left.shape != right.shape:
        raise InputError(
            f"a pair is two tensors (B, 3, H, W) of one size, got {tuple(left.shape)} and "
            f"{tuple(right.shape)}."
        )
    height, width = left.shape[-2:]
    if height % MULTIPLE_PX or width % MULTIPLE_PX or not height * width:
        raise InputError(
            f"images must be multiples of {MULTIPLE_PX} px, got {height} x {width}; pad them."
        )
    if iterations < 1:
        raise InputError(f"iterations must be 1 or more, got {iterations}.")
    if max_disparity_px < MULTIPLE_PX or max_disparity_px % MULTIPLE_PX:
        raise InputError(
            f"max_disparity_px must be a positive multiple of {MULTIPLE_PX}, got "
            f"{max_disparity_px}."
        )
