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
