"""Eigen's split of KITTI raw (NIPS 2014), as rules: which drives, and which of their frames.

Test frames are every n-th of a drive, 25 of each (22 of the short drive 0048), counted past the
frames on which the car stood still; a few are left out. 697 in all.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType


@dataclass(frozen=True, slots=True)
class Steps:
    """Every ``step``-th frame from ``first`` to ``last``."""

    first: int
    last: int
    step: int
    without: tuple[int, ...] = ()

    def frames(self) -> tuple[int, ...]:
        """Their numbers."""
        every = range(self.first, self.last + 1, self.step)
        return tuple(number for number in every if number not in self.without)


_TEST: Mapping[str, tuple[Steps, ...]] = MappingProxyType(
    {
        "2011_09_26_drive_0002": (Steps(0, 75, 3, (66,)),),
        "2011_09_26_drive_0009": (Steps(0, 176, 16), Steps(196, 388, 16)),
        "2011_09_26_drive_0013": (Steps(0, 140, 5, (15, 25, 55, 75)),),
        "2011_09_26_drive_0020": (Steps(0, 84, 3, (24, 30, 39, 81)),),
        "2011_09_26_drive_0023": (Steps(18, 468, 18, (234,)),),
        "2011_09_26_drive_0027": (Steps(0, 182, 7, (105, 154)),),
        "2011_09_26_drive_0029": (Steps(0, 196, 14), Steps(268, 408, 14, (282,))),
        "2011_09_26_drive_0036": (Steps(0, 800, 32, (736,)),),
        "2011_09_26_drive_0046": (Steps(0, 120, 5),),
        "2011_09_26_drive_0048": (Steps(0, 21, 1),),
        "2011_09_26_drive_0052": (Steps(0, 52, 2, (24, 34)),),
        "2011_09_26_drive_0056": (Steps(11, 286, 11, (132,)),),
        "2011_09_26_drive_0059": (Steps(0, 238, 14, (168,)), Steps(274, 372, 14)),
        "2011_09_26_drive_0064": (Steps(0, 550, 22, (132,)),),
        "2011_09_26_drive_0084": (Steps(49, 374, 13, (166,)),),
        "2011_09_26_drive_0086": (Steps(7, 682, 27, (547,)),),
        "2011_09_26_drive_0093": (Steps(0, 256, 16), Steps(305, 417, 16)),
        "2011_09_26_drive_0096": (Steps(0, 456, 19),),
        "2011_09_26_drive_0101": (Steps(80, 930, 34, (250,)),),
        "2011_09_26_drive_0106": (Steps(15, 15, 1), Steps(35, 219, 8)),
        "2011_09_26_drive_0117": (Steps(0, 650, 26, (520,)),),
        "2011_09_28_drive_0002": (Steps(0, 90, 3, (15, 27, 42, 66, 69, 75)),),
        "2011_09_29_drive_0071": (
            Steps(0, 612, 36),
            Steps(735, 951, 36, (843,)),
            Steps(1054, 1054, 1),
        ),
        "2011_09_30_drive_0016": (Steps(0, 275, 11, (99,)),),
        "2011_09_30_drive_0018": (Steps(0, 2247, 107, (321,)), Steps(2419, 2740, 107)),
        "2011_09_30_drive_0027": (Steps(0, 656, 41), Steps(753, 1081, 41, (999,))),
        "2011_10_03_drive_0027": (Steps(0, 543, 181), Steps(734, 4535, 181, (2182,))),
        "2011_10_03_drive_0047": (Steps(0, 800, 32, (256,)),),
    }
)

EIGEN_TRAIN_DRIVES: tuple[str, ...] = (
    *(
        f"2011_09_26_drive_{number:04d}"
        for number in (
            *(1, 5, 11, 14, 15, 17, 18, 19, 22, 28, 32, 35),
            *(39, 51, 57, 60, 61, 70, 79, 87, 91, 95, 104, 113),
        )
    ),
    "2011_09_28_drive_0001",
    *(f"2011_09_29_drive_{number:04d}" for number in (4, 26)),
    *(f"2011_09_30_drive_{number:04d}" for number in (20, 28, 33, 34)),
    *(f"2011_10_03_drive_{number:04d}" for number in (34, 42)),
)
"""The 33 drives to learn from; published lists keep 22600 of their frames."""


def eigen_test() -> dict[str, tuple[int, ...]]:
    """Numbers of the 697 test frames by drive, without ``_sync``."""
    return {
        drive: tuple(number for part in parts for number in part.frames())
        for drive, parts in _TEST.items()
    }
