"""The student path: one network in all roles of a ``Pipeline``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from rangemask.backends.depth.student import StudentDepth
from rangemask.backends.depth.two_in_one import TwoInOneDepth
from rangemask.backends.masks.student import StudentSegmenter
from rangemask.backends.stereo.student import StudentMatcher
from rangemask.backends.stereo.two_in_one import TwoInOneMatcher
from rangemask.backends.student import Student
from rangemask.backends.two_in_one import TwoInOneStudent
from rangemask.pipeline import Pipeline
from rangemask.structures import Scene, StereoFrame

if TYPE_CHECKING:
    from rangemask.models.rangemask import RangeMask
    from rangemask.models.two_in_one import TwoInOne


def predict(network: RangeMask, frame: StereoFrame, **options: Any) -> Scene:
    """Objects of one frame by one pass of a student; see ``RangeMask.predict``.

    A pair with its rig is measured by the stereo head where there is one. So is a pair without a
    rig, unless the depth head knows metres; everything else is measured by the depth head.

    Args:
        network: the student.
        frame: one image or a pair.
        **options: of ``Pipeline``.

    Raises:
        InputError: no head of the student can measure this frame.
    """
    student = Student(network)
    heads, depth = network.config.heads, network.config.depth
    # Without a calibrated pair stereo has no metres; a metric depth head has them all the same.
    metric_pair = frame.right is not None and frame.rig is not None and frame.rig.right is not None
    metric_mono = depth is not None and depth.max_depth_m is not None
    by_stereo = "stereo" in heads and (
        depth is None or metric_pair or (frame.right is not None and not metric_mono)
    )
    pipeline = Pipeline(
        stereo=StudentMatcher(student) if by_stereo else None,
        depth=None if by_stereo else StudentDepth(student),
        masks=StudentSegmenter(student) if {"masks", "semantic"} & set(heads) else None,
        **options,
    )
    return pipeline(frame)


def predict_two_in_one(network: TwoInOne, frame: StereoFrame, **options: Any) -> Scene:
    """Depth of one frame by a two-in-one network; see ``TwoInOne.predict``.

    Args:
        network: with weights.
        frame: one image or a pair.
        **options: of ``Pipeline``.

    Raises:
        InputError: the frame does not fit.
    """
    student = TwoInOneStudent(network)
    chosen = {"masks": None, **options}
    models = (TwoInOneMatcher(student), TwoInOneDepth(student))
    if frame.right is None:
        return Pipeline(stereo=None, depth=models[1], **chosen)(frame)
    return Pipeline(stereo=models[0], **chosen)(frame)
