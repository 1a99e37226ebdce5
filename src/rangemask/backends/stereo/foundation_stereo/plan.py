"""How a pair is run: what may be traded for memory, and in which order."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from rangemask.backends.stereo.foundation_stereo.config import FoundationStereoOptions
from rangemask.backends.stereo.foundation_stereo.memory import Kind, working_bytes
from rangemask.errors import InputError
from rangemask.models.foundation_stereo.config import (
    ITERATIONS,
    MAX_DISPARITY_PX,
    MULTIPLE_PX,
)
from rangemask.models.foundation_stereo.streaming import Slabs

LEAST_SIDE_PX = MULTIPLE_PX
"""Shortest side of an image that the network sees: below, it would see more padding than image."""
SCALE_STEPS = 64
"""A planned scale is a whole number of such parts of the one that was asked for."""
LEAST_STEPS = 16
"""No plan goes below a quarter: what would be left to see is not worth the time."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Run:
    """How one pair is run."""

    height: int
    """Of the images that the network sees, before padding."""
    width: int
    scale: float
    """Of these images to the pair's."""
    iterations: int
    max_disparity_px: int
    hierarchical: bool
    slabs: Slabs
    """How much of the volume is worked on at a time."""
    peak_bytes: int | None = None
    """What the table says that it takes, with the weights; None without a budget."""


@dataclass(frozen=True, kw_only=True, slots=True)
class Limits:
    """What a plan has to fit into."""

    budget_bytes: int
    """Most that the weights and all work may take together."""
    weights_bytes: int
    kind: Kind
    device: str
    """Kind of device: cpu, cuda, mps."""

    def peak_bytes(self, run: Run) -> int:
        """What the table says of a run, with the weights."""
        work = working_bytes(self.kind, run.height, run.width, run.max_disparity_px, self.device)
        return self.weights_bytes + work


def plan_run(
    options: FoundationStereoOptions,
    height: int,
    width: int,
    name: str,
    limits: Limits | None = None,
) -> Run:
    """What is done with a pair of a size.

    Within a budget the scale goes down, step by step, until the pair fits. All else stays as
    asked, since it would not help (iterations; smaller slabs, which are not where the peak is; two
    passes, of which the second holds the whole volume), is somebody else's choice (the largest
    disparity), or was settled when the weights were loaded (precision).

    Args:
        options: completed.
        height: of the pair.
        width: of the pair.
        name: of the frame, for the error.
        limits: a budget; None for all the memory that there is.

    Raises:
        InputError: what the network would see is too small, or even the smallest plan is above
            the budget.
    """
    asked = _run(options, height, width, options.scale)
    least = 2 * LEAST_SIDE_PX if options.hierarchical else LEAST_SIDE_PX
    if min(asked.height, asked.width) < least:
        _refuse_small(options, asked, height, width, least, name)
    if limits is None:
        return asked
    smallest: tuple[int, Run] | None = None
    for run in _candidates(options, height, width, least):
        peak = limits.peak_bytes(run)
        if peak <= limits.budget_bytes:
            return replace(run, peak_bytes=peak)
        if smallest is None or peak < smallest[0]:
            smallest = (peak, run)
    assert smallest is not None  # noqa: S101 - the one that was asked for is among them
    raise _too_much(limits, *smallest, name=name, asked=(height, width))


def _candidates(
    options: FoundationStereoOptions, height: int, width: int, least: int
) -> Iterator[Run]:
    """Best first."""
    for steps in range(SCALE_STEPS, LEAST_STEPS - 1, -1):
        scale = options.scale * steps / SCALE_STEPS
        run = _run(options, height, width, scale)
        if min(run.height, run.width) >= least:
            yield run


def _run(options: FoundationStereoOptions, height: int, width: int, scale: float) -> Run:
    return Run(
        height=max(round(height * scale), 1),
        width=max(round(width * scale), 1),
        scale=scale,
        iterations=options.iterations or ITERATIONS,
        max_disparity_px=options.max_disparity_px or MAX_DISPARITY_PX,
        hierarchical=options.hierarchical,
        slabs=Slabs(),
    )


def gigabytes(size: float) -> str:
    """Bytes in words, rounded up so that what is asked for suffices."""
    return f"{-(-size // 1e7) / 100:.2f} GB"


def _refuse_small(
    options: FoundationStereoOptions, run: Run, height: int, width: int, least: int, name: str
) -> None:
    scaled = ""
    if options.scale < 1:
        scaled = f", {run.width} x {run.height} px at scale {options.scale:g}"
    advice = "a larger scale, hierarchical=False, or " if options.hierarchical else ""
    raise InputError(
        f"{name}: the pair is {width} x {height} px{scaled}, and foundation-stereo needs "
        f"{least} px at least on both sides. Use {advice}larger images, or another matcher."
    )


def _too_much(
    limits: Limits, peak: int, run: Run, *, name: str, asked: tuple[int, int]
) -> InputError:
    height, width = asked
    return InputError(
        f"{name}: foundation-stereo needs {gigabytes(peak)} for this pair of {width} x {height} px "
        f"even at scale {run.scale:.3g} ({gigabytes(limits.weights_bytes)} of it for its weights), "
        f"and has {gigabytes(max(limits.budget_bytes, 0))} of memory_budget. Give memory_budget "
        f"{gigabytes(peak)} or more, a smaller max_disparity_px than {run.max_disparity_px}, "
        "smaller images, or the ViT-S weights (11-33-40)."
    )
