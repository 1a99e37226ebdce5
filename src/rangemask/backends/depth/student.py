"""Depth model ``student:PATH``: the depth head of a model of ours."""

from __future__ import annotations

from typing import Any

from rangemask.backends.depth.two_in_one import TwoInOneDepth, TwoInOneDepthConfig
from rangemask.backends.options import LoadOptions, make_config
from rangemask.backends.student import Student, StudentConfig, at_frame_size, shared_network
from rangemask.backends.two_in_one import TwoInOneStudent
from rangemask.models.rangemask import RangeMask
from rangemask.structures import DepthMap, Passport, StereoFrame


class StudentDepth:
    """Depth of the left image.

    Args:
        student: with a depth head.
        config: size of the network's input.

    Raises:
        InputError: the student has no depth head.
    """

    def __init__(self, student: Student, config: StudentConfig | None = None) -> None:
        student.join("depth", "depth")
        self.student = student
        self.config = config if config is not None else StudentConfig()

    @property
    def passport(self) -> Passport:
        """What it is and under which licence."""
        return self.student.passport("depth", self.config)

    @property
    def metric(self) -> bool:
        """Whether it gives metres."""
        head = self.student.network.config.depth
        return head is not None and head.max_depth_m is not None

    @property
    def networks(self) -> tuple[RangeMask, ...]:
        """What can be moved between devices."""
        return (self.student.network,)

    def __call__(self, frame: StereoFrame) -> DepthMap:
        """Depth of the left image: metres, or relative inverse depth; the map says which."""
        depth = self.student.look(frame, self.config).depth
        assert depth is not None  # noqa: S101 - there is a head
        values = at_frame_size(depth[0], frame, align_corners=True)
        return DepthMap(values=values, kind="metric_m" if self.metric else "relative_inverse")


def build(given: LoadOptions, **options: Any) -> StudentDepth | TwoInOneDepth:
    """The depth model for the registry.

    Raises:
        InputError: the folder is neither a student with a depth head nor a two-in-one network,
            or an option is unknown.
    """
    student = shared_network(given)
    if isinstance(student, TwoInOneStudent):
        return TwoInOneDepth(
            student, make_config("a two-in-one network", TwoInOneDepthConfig, options)
        )
    return StudentDepth(student, make_config("student", StudentConfig, options))
