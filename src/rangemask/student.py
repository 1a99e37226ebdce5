"""The student path: one network in all roles of a ``Pipeline``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rangemask.backends.depth.student import StudentDepth
from rangemask.backends.masks.student import StudentSegmenter
from rangemask.backends.stereo.student import StudentMatcher
from rangemask.backends.student import Student
from rangemask.pipeline import Pipeline
from rangemask.structures import Scene, StereoFrame

if TYPE_CHECKING:
    from rangemask.models.rangemask import RangeMask


def predict(network: RangeMask, frame: StereoFrame, **options: Any) -> Scene:
    """Objects of one frame by one pass of a student; see ``RangeMask.predict``.

    A pair is measured by the stereo head where there is one, everything else by the depth head.

    Args:
        network: the student.
        frame: one image or a pair.
        **options: of ``Pipeline``.

    Raises:
        InputError: no head of the student can measure this frame.
    """
    student = Student(network)
    heads = network.config.heads
    by_stereo = "stereo" in heads and (frame.right is not None or "depth" not in heads)
    pipeline = Pipeline(
        stereo=StudentMatcher(student) if by_stereo else None,
        depth=None if by_stereo else StudentDepth(student),
        masks=StudentSegmenter(student) if {"masks", "semantic"} & set(heads) else None,
        **options,
    )
    return pipeline(frame)
