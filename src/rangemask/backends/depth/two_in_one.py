"""Depth model ``student:PATH`` of a two-in-one network: depth of one image."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import get_args

from rangemask.backends.two_in_one import (
    TwoInOneOptions,
    TwoInOneStudent,
    at_size,
    network_size,
)
from rangemask.errors import InputError
from rangemask.geometry.arrays import FloatMap
from rangemask.models.two_in_one import TwoInOne
from rangemask.models.two_in_one.flipping import Flip
from rangemask.structures import DepthMap, Passport, StereoFrame
from rangemask.structures.maps import DepthKind

logger = logging.getLogger(__name__)

_OTHER_LENS = 1.25
"""From how much another focal length a warning is given."""


@dataclass(frozen=True, kw_only=True, slots=True)
class TwoInOneDepthConfig(TwoInOneOptions):
    """Options of a two-in-one network as a depth model.

    Raises:
        InputError: a value is impossible.
    """

    flip: Flip = "none"
    """Post-processing by a second look at the mirrored image: fpp, gpp or mspp."""
    focal_scaling: bool = True
    """Scale depth by the frame's focal length over the training's, where both are known."""

    def __post_init__(self) -> None:
        super(TwoInOneDepthConfig, self).__post_init__()
        if self.flip not in get_args(Flip):
            raise InputError(f"flip must be one of {', '.join(get_args(Flip))}, got {self.flip!r}.")


class TwoInOneDepth:
    """Depth of the left image.

    Args:
        student: the network.
        config: how it looks.
    """

    def __init__(self, student: TwoInOneStudent, config: TwoInOneDepthConfig | None = None) -> None:
        self.student = student
        self.config = config if config is not None else TwoInOneDepthConfig()
        self._said = False

    @property
    def passport(self) -> Passport:
        """What it is and under which licence."""
        network = self.student.config
        return self.student.passport(
            "depth",
            {
                "input_width_px": self.config.input_width_px,
                "flip": self.config.flip,
                "focal_scaling": self.config.focal_scaling,
                "d2d_px_m": network.d2d if network.metric else None,
                "focal_px": network.focal_px,
            },
        )

    @property
    def metric(self) -> bool:
        """Whether it gives metres."""
        return self.student.config.metric

    @property
    def networks(self) -> tuple[TwoInOne, ...]:
        """What can be moved between devices."""
        return (self.student.network,)

    def __call__(self, frame: StereoFrame) -> DepthMap:
        """Depth of the left image: metres, or metres times one unknown factor; the map says which.

        Metres are those of the training's rig. A lens of another focal length makes things look
        nearer or farther than they are; where both focal lengths are known that is undone.

        Raises:
            InputError: the frame is a strip, or too small.
        """
        size = network_size(self.student.config, frame, self.config)
        seen = self.student.one_eye(frame.left, size, self.config.flip)
        scale = self._focal_scale(frame, size[1]) if self.metric else 1.0
        values = at_size(seen.depth * scale, frame.height, frame.width)
        confidence = at_size(seen.confidence, frame.height, frame.width).clip(0, 1)
        kind: DepthKind = "metric_m" if self.metric else "up_to_scale"
        return DepthMap(values=values, kind=kind, confidence=confidence)

    def native(self, frame: StereoFrame) -> FloatMap:
        """(h, w) depth on the network's grid, by the training's rig, as the protocol wants it.

        Raises:
            InputError: as for a call.
        """
        size = network_size(self.student.config, frame, self.config)
        depth = self.student.one_eye(frame.left, size, self.config.flip).depth
        return at_size(depth, *size)

    def _focal_scale(self, frame: StereoFrame, width: int) -> float:
        """The frame's focal length over the training's, as the network sees both."""
        trained = self.student.config.focal_px
        if not self.config.focal_scaling:
            return 1.0
        if trained is None or frame.rig is None:
            what = "the frame has no rig" if frame.rig is None else "the training's is not known"
            self._say(
                "%s: the depth of one image is metric for cameras of the training's field of view "
                "only, and %s, so it is taken to be the same. With another lens distances are off "
                "by one factor.",
                *(frame.name, what),
            )
            return 1.0
        scale = frame.rig.fx * width / frame.width / trained
        if max(scale, 1 / scale) > _OTHER_LENS:
            self._say(
                "%s: its focal length is %.2f times the training's at the network's size. Depth is "
                "scaled by that, but the network has not learnt from such a lens.",
                *(frame.name, scale),
            )
        return scale

    def _say(self, text: str, *values: object) -> None:
        """A warning that holds for all frames of a run: the first one says it."""
        if not self._said:
            self._said = True
            logger.warning(text, *values)
