"""How a pair is run: what may be traded for memory."""

from __future__ import annotations

from dataclasses import dataclass

from rangemask.backends.stereo.foundation_stereo.config import FoundationStereoOptions
from rangemask.errors import InputError
from rangemask.models.foundation_stereo.config import (
    ITERATIONS,
    MAX_DISPARITY_PX,
    MULTIPLE_PX,
)
from rangemask.models.foundation_stereo.streaming import Slabs

LEAST_SIDE_PX = MULTIPLE_PX
"""Shortest side of an image that the network sees: below, it would see more padding than image."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Run:
    """How one pair is run."""

    height: int
    """Of the images that the network sees, before padding."""
    width: int
    iterations: int
    max_disparity_px: int
    hierarchical: bool
    slabs: Slabs
    """How much of the volume is worked on at a time."""


def plan_run(options: FoundationStereoOptions, height: int, width: int, name: str) -> Run:
    """What is done with a pair of a size.

    Args:
        options: completed.
        height: of the pair.
        width: of the pair.
        name: of the frame, for the error.

    Raises:
        InputError: what the network would see is too small.
    """
    tall = max(round(height * options.scale), 1)
    long = max(round(width * options.scale), 1)
    least = 2 * LEAST_SIDE_PX if options.hierarchical else LEAST_SIDE_PX
    if min(tall, long) < least:
        scaled = f", {long} x {tall} px at scale {options.scale:g}" if options.scale < 1 else ""
        advice = "a larger scale, hierarchical=False, or " if options.hierarchical else ""
        raise InputError(
            f"{name}: the pair is {width} x {height} px{scaled}, and foundation-stereo needs "
            f"{least} px at least on both sides. Use {advice}larger images, or another matcher."
        )
    return Run(
        height=tall,
        width=long,
        iterations=options.iterations or ITERATIONS,
        max_disparity_px=options.max_disparity_px or MAX_DISPARITY_PX,
        hierarchical=options.hierarchical,
        slabs=Slabs(),
    )
