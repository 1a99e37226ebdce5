"""What a stereo matcher, a depth model and a segmenter are, whatever is inside."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from rangemask.errors import InputError
from rangemask.geometry.arrays import ImageArray
from rangemask.structures import DepthMap, Passport, Segmentation, StereoFrame, StereoMatch


class DepthKindError(InputError):
    """A segmenter that looks at geometry was given depth without a known zero."""


@runtime_checkable
class StereoMatcher(Protocol):
    """A rectified pair to disparity."""

    @property
    def passport(self) -> Passport:
        """What it is and under which licence."""
        ...

    def __call__(self, frame: StereoFrame) -> StereoMatch:
        """Match one frame.

        Raises:
            InputError: the frame has no right image, or cannot be matched.
        """
        ...


@runtime_checkable
class DepthModel(Protocol):
    """One image to depth, metric or relative; the map says which."""

    @property
    def passport(self) -> Passport:
        """What it is and under which licence."""
        ...

    def __call__(self, frame: StereoFrame) -> DepthMap:
        """Estimate the depth of the left image."""
        ...


@runtime_checkable
class Segmenter(Protocol):
    """One image, with its depth where that helps, to masks."""

    @property
    def passport(self) -> Passport:
        """What it is and under which licence."""
        ...

    def __call__(
        self,
        frame: StereoFrame,
        *,
        depth: DepthMap | None = None,
        labels: Sequence[str] | None = None,
    ) -> Segmentation:
        """Find objects in the left image.

        Args:
            frame: what the camera saw.
            depth: depth of the left image, for segmenters that look at geometry.
            labels: names to look for; everything without them.

        Raises:
            InputError: it cannot look for labels, or needs a depth that is not there.
            DepthKindError: it needs another kind of depth.
        """
        ...


@dataclass(frozen=True, slots=True, eq=False)
class Detections:
    """Things that were found in an image by their names.

    Raises:
        InputError: the counts of boxes, labels and scores differ, or boxes are of another shape.
    """

    boxes: NDArray[np.float32]
    """(N, 4) left, top, right, bottom, px."""
    labels: tuple[str, ...]
    """N names, as they were asked for."""
    scores: NDArray[np.float32]
    """(N,) in [0, 1]."""

    def __post_init__(self) -> None:
        count = len(self.labels)
        if self.boxes.shape != (count, 4) or self.scores.shape != (count,):
            raise InputError(
                f"expected one box (left, top, right, bottom), label and score each, got boxes "
                f"{self.boxes.shape}, {count} labels and scores {self.scores.shape}."
            )

    def __len__(self) -> int:
        return len(self.labels)


@runtime_checkable
class TextDetector(Protocol):
    """An image and names of things to boxes around them."""

    @property
    def passport(self) -> Passport:
        """What it is and under which licence."""
        ...

    def __call__(self, image: ImageArray, labels: Sequence[str]) -> Detections:
        """Find things by their names.

        Args:
            image: (H, W, 3) uint8 RGB.
            labels: in plain words, each once.

        Raises:
            InputError: there are no labels, or it cannot look for one.
        """
        ...
