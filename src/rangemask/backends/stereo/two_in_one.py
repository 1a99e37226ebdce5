"""Stereo matcher ``student:PATH`` of a two-in-one network: disparity of a pair."""

from __future__ import annotations

import numpy as np

from rangemask.backends.two_in_one import (
    TwoInOneOptions,
    TwoInOneStudent,
    at_size,
    network_size,
)
from rangemask.errors import InputError
from rangemask.geometry.arrays import FloatMap, ImageArray
from rangemask.models.two_in_one import TwoInOne
from rangemask.structures import Passport, StereoFrame, StereoMatch

_SAME_RIG = 0.05
"""KITTI's days differ from the published d2d by 1.2 %."""


class TwoInOneMatcher:
    """Disparity of a rectified pair.

    Args:
        student: the network.
        config: size of its input.
    """

    def __init__(self, student: TwoInOneStudent, config: TwoInOneOptions | None = None) -> None:
        self.student = student
        self.config = config if config is not None else TwoInOneOptions()

    @property
    def passport(self) -> Passport:
        """What it is and under which licence."""
        return self.student.passport("stereo", {"input_width_px": self.config.input_width_px})

    @property
    def networks(self) -> tuple[TwoInOne, ...]:
        """What can be moved between devices."""
        return (self.student.network,)

    def __call__(self, frame: StereoFrame) -> StereoMatch:
        """Match one frame.

        Where the match would lie outside the right image, a pixel counts as occluded. Nothing
        is filled: the network states a disparity everywhere, and how sure it is of it.

        Raises:
            InputError: the frame has no right image, is a strip, or too small.
        """
        right = _right_of(frame)
        height, width = frame.height, frame.width
        size = network_size(self.student.config, frame, self.config)
        seen = self.student.two_eyes(frame.left, right, size)
        disparity = at_size(seen.disparity_px, height, width) * np.float32(width / size[1])
        disparity[~(disparity > 0)] = np.nan
        confidence = np.clip(np.nan_to_num(at_size(seen.confidence, height, width)), 0, 1)
        confidence[np.isnan(disparity)] = 0
        return StereoMatch(
            disparity=disparity,
            confidence=confidence,
            occluded=np.arange(width, dtype=np.float32) - disparity < 0,
            filled=np.zeros(disparity.shape, dtype=bool),
        )

    def native(self, frame: StereoFrame) -> tuple[FloatMap, FloatMap]:
        """(h, w) depth and disparity on the network's grid, as the published protocol wants them.

        Depth is by the training's rig, rounded as published, where the frame's is about the
        same; else by the frame's.

        Raises:
            InputError: as for a call; or neither rig gives metres.
        """
        right = _right_of(frame)
        size = network_size(self.student.config, frame, self.config)
        seen = self.student.two_eyes(frame.left, right, size)
        scale = self._focal_baseline(frame, size[1])
        disparity = at_size(seen.disparity_px, *size)
        return np.asarray(scale / disparity, dtype=np.float32), disparity

    def _focal_baseline(self, frame: StereoFrame, width: int) -> float:
        """Focal length times baseline, px m, at the network's width."""
        network, rig = self.student.config, frame.rig
        if rig is None or rig.baseline_m is None:
            if not network.metric:
                raise InputError(
                    f"{frame.name}: neither the network nor the frame has a rig with a baseline, "
                    "so there are no metres."
                )
            return network.d2d
        own = rig.fx * rig.baseline_m * width / frame.width
        same = network.metric and abs(own / network.d2d - 1) < _SAME_RIG
        return network.d2d if same else own


def _right_of(frame: StereoFrame) -> ImageArray:
    if frame.right is None:
        raise InputError(
            f"{frame.name}: a stereo matcher needs a right image. The same network is a depth "
            "model for one image (--depth student:PATH)."
        )
    return frame.right
