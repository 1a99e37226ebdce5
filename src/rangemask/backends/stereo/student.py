"""Stereo matcher ``student:PATH``: the stereo head of a model of ours."""

from __future__ import annotations

from typing import Any

import numpy as np

from rangemask.backends.options import LoadOptions, make_config
from rangemask.backends.stereo.two_in_one import TwoInOneMatcher
from rangemask.backends.student import Student, StudentConfig, at_frame_size, shared_network
from rangemask.backends.two_in_one import TwoInOneOptions, TwoInOneStudent
from rangemask.errors import InputError
from rangemask.models.rangemask import RangeMask
from rangemask.structures import Passport, StereoFrame, StereoMatch


class StudentMatcher:
    """Disparity of a rectified pair.

    Args:
        student: with a stereo head.
        config: size of the network's input.

    Raises:
        InputError: the student has no stereo head.
    """

    def __init__(self, student: Student, config: StudentConfig | None = None) -> None:
        student.join("stereo", "stereo")
        self.student = student
        self.config = config if config is not None else StudentConfig()

    @property
    def passport(self) -> Passport:
        """What it is and under which licence."""
        return self.student.passport("stereo", self.config)

    @property
    def networks(self) -> tuple[RangeMask, ...]:
        """What can be moved between devices."""
        return (self.student.network,)

    def __call__(self, frame: StereoFrame) -> StereoMatch:
        """Match one frame.

        Where the match would lie outside the right image, a pixel counts as occluded. Nothing
        is filled: the network states a disparity everywhere, and how sure it is of it.

        Raises:
            InputError: the frame has no right image.
        """
        if frame.right is None:
            raise InputError(f"{frame.name}: a stereo matcher needs a right image.")
        found = self.student.look(frame, self.config).stereo
        assert found is not None  # noqa: S101 - there is a head and a right image
        shrunk = frame.width / found.disparity_px.shape[-1]
        disparity = at_frame_size(found.disparity_px[0], frame) * np.float32(shrunk)
        disparity[~(disparity > 0)] = np.nan
        confidence = np.clip(np.nan_to_num(at_frame_size(found.confidence[0], frame)), 0, 1)
        confidence[np.isnan(disparity)] = 0
        return StereoMatch(
            disparity=disparity,
            confidence=confidence,
            occluded=np.arange(frame.width, dtype=np.float32) - disparity < 0,
            filled=np.zeros(disparity.shape, dtype=bool),
        )


def build(given: LoadOptions, **options: Any) -> StudentMatcher | TwoInOneMatcher:
    """The matcher for the registry.

    Raises:
        InputError: the folder is neither a student with a stereo head nor a two-in-one network,
            or an option is unknown.
    """
    student = shared_network(given)
    if isinstance(student, TwoInOneStudent):
        return TwoInOneMatcher(
            student, make_config("a two-in-one network", TwoInOneOptions, options)
        )
    return StudentMatcher(student, make_config("student", StudentConfig, options))
