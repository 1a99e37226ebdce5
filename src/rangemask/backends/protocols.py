"""What a stereo matcher, a depth model and a segmenter are, whatever is inside."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from rangemask.errors import InputError
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
