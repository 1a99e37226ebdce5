"""A two-in-one network at work on frames: what its depth and stereo roles share."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn import functional as F

from rangemask.backends.options import check_aspect
from rangemask.backends.student_passport import student_passport
from rangemask.errors import InputError
from rangemask.geometry.arrays import FloatMap, ImageArray
from rangemask.models.two_in_one import Decoded, TwoInOne, TwoInOneConfig, flipped_depth
from rangemask.models.two_in_one.flipping import Flip
from rangemask.models.weights import sha256_of
from rangemask.structures import Passport, StereoFrame

logger = logging.getLogger(__name__)

LEAST_PX = 32
"""Shorter sides say nothing to a network that sees patches of 16 px."""
_NEAR_LEVELS = 1.5
"""How far from the answer, in levels of disparity, probability counts as agreeing with it."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TwoInOneOptions:
    """Options of both roles.

    Raises:
        InputError: the width is not positive.
    """

    input_width_px: int | None = None
    """Width of the network's input; None for as many pixels as in training."""

    def __post_init__(self) -> None:
        if self.input_width_px is not None and self.input_width_px < 1:
            raise InputError(f"input_width_px must be positive, got {self.input_width_px}.")


class Seen(NamedTuple):
    """What the network said, on its own grid."""

    depth: Tensor
    """(h, w) ``d2d`` over disparity: metres where the config says so, by the training's rig."""
    disparity_px: Tensor
    """(h, w) px of the network's input."""
    confidence: Tensor
    """(h, w) in [0, 1], see ``confidence_of``."""


class TwoInOneStudent:
    """A network on frames.

    Args:
        network: with weights, on its device.
        weights: the file that it was loaded from; None for one that is held in memory.
        dtype: what it computes in.
    """

    def __init__(
        self, network: TwoInOne, weights: Path | None = None, dtype: torch.dtype = torch.float32
    ) -> None:
        self.network = network
        self.dtype = dtype
        self._name = None if weights is None else _name_of(weights)
        # At once: the file may change while the network is in use.
        self._sha256 = None if weights is None else sha256_of(weights)

    @property
    def config(self) -> TwoInOneConfig:
        """Of the network."""
        return self.network.config

    def one_eye(self, image: ImageArray, size: tuple[int, int], flip: Flip = "none") -> Seen:
        """What the left image alone says.

        Args:
            image: (H, W, 3) uint8.
            size: of the network's input.
            flip: post-processing by a second look; the confidence is the first look's.
        """
        with self._predicting() as device:
            batch = image_batch(image, size, device)
            found: Decoded = self.network(batch)
            confidence = confidence_of(found, self.network.decoder.levels(found.disparity))
            depth = found.depth
            if flip != "none":
                looks = iter([depth])  # the first one is known already
                depth = flipped_depth(partial(self._depth_of, looks), batch, flip)
        d2d = self.config.d2d
        return Seen(depth[0, 0], d2d / depth[0, 0], confidence[0])

    def two_eyes(self, left: ImageArray, right: ImageArray, size: tuple[int, int]) -> Seen:
        """What a rectified pair says of its left image.

        Args:
            left: (H, W, 3) uint8.
            right: the same of the right camera.
            size: of the network's input.
        """
        with self._predicting() as device:
            found: Decoded = self.network(
                image_batch(left, size, device), image_batch(right, size, device)
            )
            confidence = confidence_of(found, self.network.decoder.levels(found.disparity))
        return Seen(found.depth[0, 0], found.disparity[0, 0], confidence[0])

    def _depth_of(self, known: Iterator[Tensor], images: Tensor) -> Tensor:
        """Depth of images of any size; of the first ones it is known."""
        first = next(known, None)
        if first is not None:
            return first
        height, width = images.shape[-2:]
        size = [_multiple(side) for side in (height, width)]
        fitting = F.interpolate(images, size=size, mode="bilinear", align_corners=True)
        depth: Tensor = self.network(fitting).depth
        # A disparity of an input that was narrowed is narrower too.
        narrowed = depth * (size[1] / width)
        return F.interpolate(narrowed, size=(height, width), mode="bilinear", align_corners=True)

    @contextmanager
    def _predicting(self) -> Iterator[torch.device]:
        """Without gradients, not in the mode for training, in the precision; gives the device."""
        training = self.network.training
        device = next(self.network.parameters()).device
        less = self.dtype != torch.float32
        self.network.train(False)
        try:
            with torch.inference_mode(), torch.autocast(device.type, self.dtype, enabled=less):
                yield device
        finally:
            self.network.train(training)

    def passport(self, role: str, options: dict[str, str | int | float | bool | None]) -> Passport:
        """What it is in a role, and under which terms."""
        return student_passport(
            self.network.card,
            role,
            weights=self._name,
            sha256=self._sha256,
            options={"architecture": "two-in-one", **options},
        )


def _name_of(weights: Path) -> str:
    """The folder of a model of ours; the file of the authors."""
    return weights.resolve().parent.name if weights.suffix == ".safetensors" else weights.name


def network_size(
    config: TwoInOneConfig, frame: StereoFrame, options: TwoInOneOptions
) -> tuple[int, int]:
    """Height and width of the network's input: aspect kept, as nearly as multiples of 32 allow.

    Without a width it has about as many pixels as images had in training: 384 x 1280 of KITTI.

    Raises:
        InputError: the frame is a strip, or too small.
    """
    height, width = frame.height, frame.width
    if min(height, width) < LEAST_PX:
        raise InputError(
            f"{frame.name}: {width} x {height} px is too small for a two-in-one network, which "
            f"needs {LEAST_PX} px on each side at least."
        )
    check_aspect(height, width)
    if options.input_width_px is not None:
        scale = options.input_width_px / width
    else:
        scale = math.sqrt(math.prod(config.full_size) / (height * width))
    return _multiple(height * scale), _multiple(width * scale)


def _multiple(side_px: float) -> int:
    """The nearest size that the network takes: two of its coarsest cells at least."""
    return max(round(side_px / TwoInOne.multiple_px), 2) * TwoInOne.multiple_px


def image_batch(image: ImageArray, size: tuple[int, int], device: torch.device) -> Tensor:
    """(H, W, 3) uint8 to (1, 3, h, w) float in [0, 1], resized as in training (Lanczos)."""
    height, width = size
    resized = Image.fromarray(image).resize((width, height), Image.Resampling.LANCZOS)
    batch = torch.from_numpy(np.array(resized)).to(device).permute(2, 0, 1)[None]
    return batch.to(torch.float32) / 255


def confidence_of(found: Decoded, levels_px: Tensor) -> Tensor:
    """(B, h, w) in [0, 1]: the probability of levels within 1.5 levels of the answer.

    1 where the volume has one sharp peak; low where it is flat, and where it has two peaks, in
    between which the mean answers. It is not calibrated.

    Args:
        found: with its volume (B, K, h, w).
        levels_px: (K,) px, geometrically spaced.
    """
    place = levels_px.log()
    step = (place[-1] - place[0]) / (len(place) - 1)
    answer = found.disparity.float().log()
    near = (place.view(1, -1, 1, 1) - answer).abs() <= _NEAR_LEVELS * step
    return (found.volume * near).sum(dim=1).clamp(0, 1)


def at_size(values: Tensor, height: int, width: int) -> FloatMap:
    """(h, w) to (H, W) float32, bilinear, centres of pixels in place; not finite becomes NaN."""
    resized = F.interpolate(values[None, None].float(), size=(height, width), mode="bilinear")
    grid = resized[0, 0].cpu().numpy()
    return np.where(np.isfinite(grid), grid, np.float32(np.nan))
