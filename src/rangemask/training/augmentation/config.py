"""All of augmentation in one value, with presets."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal, TypeAlias

import torch

from rangemask.errors import UnknownNameError
from rangemask.training.augmentation.geometric import CropAndScale, Flip, Misalignment, WideAngle
from rangemask.training.augmentation.photometric import Blur, Colour, Jpeg, Noise, Occlusion
from rangemask.training.augmentation.sampling import Size
from rangemask.training.batch import Example

Preset: TypeAlias = Literal["none", "light", "full"]
PRESETS: tuple[Preset, ...] = ("none", "light", "full")


@dataclass(frozen=True, slots=True, kw_only=True)
class Augmentation:
    """What happens to an example before it is learnt from, in this order.

    Each step has its probability, 0 for never; single images leave out what needs two.
    """

    flip: Flip = field(default_factory=Flip)
    crop: CropAndScale = field(default_factory=CropAndScale)
    wide_angle: WideAngle = field(default_factory=WideAngle)
    misalignment: Misalignment = field(default_factory=Misalignment)
    occlusion: Occlusion = field(default_factory=Occlusion)
    colour: Colour = field(default_factory=Colour)
    blur: Blur = field(default_factory=Blur)
    noise: Noise = field(default_factory=Noise)
    jpeg: Jpeg = field(default_factory=Jpeg)

    @classmethod
    def preset(cls, name: str) -> Augmentation:
        """A ready-made one.

        Args:
            name: ``none`` (the picture is only fitted in), ``light`` (for some epochs from trained
                weights) or ``full`` (for training from scratch).

        Raises:
            UnknownNameError: there is no such preset.
        """
        if name == "none":
            return _none()
        if name == "light":
            return _light()
        if name == "full":
            return cls(wide_angle=WideAngle(probability=0.2))
        raise UnknownNameError(
            f"no augmentation is called {name!r}; known are {', '.join(PRESETS)}."
        )

    def __call__(
        self, example: Example, generator: torch.Generator, *, size: Size | None
    ) -> Example:
        """Make another example of one.

        Args:
            example: of any size.
            generator: all that is random is drawn from it.
            size: height and width of the result, px; None keeps the example's.
        """
        height, width = example.image.shape[-2:]
        example = self.flip(example, generator)
        example = self.crop(example, generator, size or (height, width))
        for step in (
            self.wide_angle,
            self.misalignment,
            self.occlusion,
            self.colour,
            self.blur,
            self.noise,
            self.jpeg,
        ):
            example = step(example, generator)
        return example


def _none() -> Augmentation:
    return Augmentation(
        flip=Flip(probability=0),
        crop=CropAndScale(probability=0),
        occlusion=Occlusion(probability=0),
        colour=Colour(probability=0),
        blur=Blur(probability=0),
        noise=Noise(probability=0),
        jpeg=Jpeg(probability=0),
    )


def _light() -> Augmentation:
    return Augmentation(
        crop=CropAndScale(zoom=(0.95, 1.25), stretch=0.03),
        occlusion=Occlusion(probability=0.2, count=1),
        colour=Colour(
            brightness=0.15, contrast=0.15, saturation=0.2, hue_turns=0.01, gamma=0.1, uneven=0.1
        ),
        blur=Blur(probability=0),
        noise=Noise(probability=0.3, deviation=0.01),
        jpeg=Jpeg(probability=0),
    )
