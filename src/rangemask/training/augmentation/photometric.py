"""Transforms that change colours only: labels stay, and the two eyes may differ a little."""

from __future__ import annotations

from dataclasses import dataclass, replace

import cv2
import numpy as np
import torch
from torch import Tensor

from rangemask.errors import InputError
from rangemask.training.augmentation.draws import (
    check_range,
    check_share,
    check_strength,
    happens,
    integer,
    uniform,
)
from rangemask.training.augmentation.filters import colour_matrix, gaussian, mean_grey
from rangemask.training.augmentation.sampling import pictures, with_pictures
from rangemask.training.batch import Example


@dataclass(frozen=True, slots=True, kw_only=True)
class Colour:
    """Brightness, contrast, saturation, hue and gamma: for both eyes, and a little for each.

    Raises:
        InputError: a strength is out of its range.
    """

    probability: float = 1.0
    brightness: float = 0.3
    """Factors lie within 1 +- this."""
    contrast: float = 0.3
    saturation: float = 0.4
    hue_turns: float = 0.03
    """1 is once around the circle of colours."""
    gamma: float = 0.2
    """The exponent lies within 1 +- this."""
    uneven: float = 0.2
    """How much more each eye changes on its own, as a share of all of the above."""

    def __post_init__(self) -> None:
        check_share(self, "probability")
        check_strength(self, "hue_turns", "uneven")
        for name in ("brightness", "contrast", "saturation", "gamma"):
            if not 0 <= getattr(self, name) * (1 + self.uneven) < 1:
                raise InputError(
                    f"Colour.{name} must lie within [0, 1), with what uneven adds to it, got "
                    f"{getattr(self, name)} and uneven={self.uneven}."
                )

    def __call__(self, example: Example, generator: torch.Generator) -> Example:
        """All images are changed by the same amounts, then each a little by its own."""
        if not happens(generator, self.probability):
            return example
        common = _five(generator)
        images = pictures(example)
        changed = [self._apply(image, common + self.uneven * _five(generator)) for image in images]
        return with_pictures(example, torch.stack(changed))

    def _apply(self, image: Tensor, amounts: Tensor) -> Tensor:
        """(3, H, W) changed by amounts, five in about [-1, 1]."""
        brightness, contrast, saturation, hue, gamma = amounts.tolist()
        matrix, share = colour_matrix(
            brightness=1 + self.brightness * brightness,
            contrast=1 + self.contrast * contrast,
            saturation=1 + self.saturation * saturation,
            hue_turns=self.hue_turns * hue,
        )
        offset = share * mean_grey(image)
        coloured = (matrix @ image.flatten(1)).add_(offset).clamp_(0, 1).view(image.shape)
        return coloured if self.gamma == 0 else coloured.pow_(1 + self.gamma * gamma)


@dataclass(frozen=True, slots=True, kw_only=True)
class Blur:
    """Out of focus: both eyes, not quite alike.

    Raises:
        InputError: a strength is out of its range.
    """

    probability: float = 0.2
    deviation_px: tuple[float, float] = (0.3, 1.5)
    """Of the Gaussian."""
    uneven: float = 0.3
    """The right eye's differs from the left one's by up to this share."""

    def __post_init__(self) -> None:
        check_share(self, "probability", "uneven")
        check_range(self, "deviation_px", low=0.0)

    def __call__(self, example: Example, generator: torch.Generator) -> Example:
        """Changes the images."""
        if not happens(generator, self.probability):
            return example
        first = uniform(generator, *self.deviation_px)
        second = first * (1 + uniform(generator, -self.uneven, self.uneven))
        right = example.right_image
        return replace(
            example,
            image=gaussian(example.image[None], first)[0],
            right_image=None if right is None else gaussian(right[None], second)[0],
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class Noise:
    """Of the sensor; each eye has its own.

    Raises:
        InputError: the strength is negative.
    """

    probability: float = 0.5
    deviation: float = 0.03
    """The largest standard deviation; white is 1."""

    def __post_init__(self) -> None:
        check_share(self, "probability")
        check_strength(self, "deviation")

    def __call__(self, example: Example, generator: torch.Generator) -> Example:
        """Changes the images."""
        if not happens(generator, self.probability):
            return example
        images = pictures(example)
        deviation = uniform(generator, 0, self.deviation)
        noise = torch.randn(images.shape, generator=generator)
        return with_pictures(example, images.add_(noise, alpha=deviation).clamp_(0, 1))


@dataclass(frozen=True, slots=True, kw_only=True)
class Jpeg:
    """What compression leaves of the images.

    Raises:
        InputError: a quality is not within [1, 100].
    """

    probability: float = 0.3
    quality: tuple[int, int] = (40, 95)

    def __post_init__(self) -> None:
        check_share(self, "probability")
        check_range(self, "quality", low=1, high=100)

    def __call__(self, example: Example, generator: torch.Generator) -> Example:
        """Changes the images."""
        if not happens(generator, self.probability):
            return example
        quality = integer(generator, int(self.quality[0]), int(self.quality[1]))
        coded = [_coded(image, quality) for image in pictures(example)]
        return with_pictures(example, torch.stack(coded))


@dataclass(frozen=True, slots=True, kw_only=True)
class Occlusion:
    """Rectangles of the mean colour on the right image only: what one eye does not see.

    Disparity stays: the network is to tell it from the surroundings (RAFT-Stereo, Lipson et
    al., 3DV 2021, section 4, after Yang et al., "Hierarchical Deep Stereo Matching", CVPR 2019).

    Raises:
        InputError: a share is not within [0, 1], or there are no rectangles.
    """

    probability: float = 0.5
    count: int = 2
    """At most so many rectangles."""
    side: tuple[float, float] = (0.05, 0.2)
    """Of a rectangle, as a share of the image's width."""

    def __post_init__(self) -> None:
        check_share(self, "probability")
        check_range(self, "side", low=0.0, high=1.0)
        if self.count < 1:
            raise InputError(f"Occlusion.count must be at least 1, got {self.count}.")

    def __call__(self, example: Example, generator: torch.Generator) -> Example:
        """Single images stay as they are."""
        right = example.right_image
        if not happens(generator, self.probability) or right is None:
            return example
        height, width = right.shape[-2:]
        right, mean = right.clone(), right.mean(dim=(1, 2))[:, None, None]
        for _ in range(integer(generator, 1, self.count)):
            h, w = (max(round(uniform(generator, *self.side) * width), 1) for _ in range(2))
            top, left = integer(generator, 0, height - 1), integer(generator, 0, width - 1)
            right[:, top : top + h, left : left + w] = mean
        return replace(example, right_image=right)


def _five(generator: torch.Generator) -> Tensor:
    return torch.rand(5, generator=generator, dtype=torch.float64) * 2 - 1


def _coded(image: Tensor, quality: int) -> Tensor:
    """(3, H, W) to JPEG and back; by OpenCV, since torchvision is giving its own coder up."""
    bytes_bgr = (image.flip(0) * 255).round_().to(torch.uint8).permute(1, 2, 0).contiguous()
    coded = cv2.imencode(".jpg", bytes_bgr.numpy(), [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    decoded = np.asarray(cv2.imdecode(coded, cv2.IMREAD_COLOR_RGB))
    return torch.from_numpy(decoded).permute(2, 0, 1).float().div_(255).contiguous()
