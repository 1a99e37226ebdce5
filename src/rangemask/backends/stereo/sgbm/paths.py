"""Semi-global aggregation (Hirschmueller, PAMI 2008) in NumPy: one row of paths at a time.

A path runs down, up, right or left through the cost volume. At every step a path may keep its
disparity for nothing, change it by one for ``STEP_PENALTY``, or jump for a penalty that falls
where the image has an edge. Minima are taken off after every step, so that a path cost is at
most ``COST_CAP + JUMP_PENALTY`` <= 127: it fits uint8, and so does the sum of two. That halves
the memory and doubles the speed against the usual 16 bits.
"""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from rangemask.backends.stereo.sgbm.census import COST_CAP, CostVolume

STEP_PENALTY = 12
JUMP_PENALTY = 127 - COST_CAP
LEAST_JUMP_PENALTY = 30
EDGE_SCALE = 12.0
"""Grey levels over which the jump penalty falls to 1/e."""


def jump_penalties(grey: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Penalty for a jump between row y and row y + 1, (H - 1, W) uint8."""
    falling = JUMP_PENALTY * np.exp(-np.arange(256) / EDGE_SCALE)
    table = np.maximum(falling, LEAST_JUMP_PENALTY).astype(np.uint8)
    return np.asarray(cv2.LUT(cv2.absdiff(grey[1:], grey[:-1]), table), np.uint8)


def add_vertical_paths(costs: CostVolume, penalties: NDArray[np.uint8], out: CostVolume) -> None:
    """Write the sum of the path costs from above and from below into ``out``.

    Args:
        costs: (D, H, W) uint8, at most ``COST_CAP``.
        penalties: (H - 1, W) uint8, of a jump between neighbouring rows.
        out: (D, H, W) uint8, overwritten.
    """
    _run(costs, penalties, out, downwards=True)
    _run(costs, penalties, out, downwards=False)


def _run(
    costs: CostVolume, penalties: NDArray[np.uint8], out: CostVolume, *, downwards: bool
) -> None:
    count, height, width = costs.shape
    # One unreachable disparity on either side spares the borders a special case.
    path = np.zeros((count + 2, width), np.uint8)
    path[0] = path[-1] = 255 - STEP_PENALTY
    inner, below, above = path[1:-1], path[:-2], path[2:]
    step = np.empty((count, width), np.uint8)
    least = np.empty(width, np.uint8)
    free = np.zeros(width, np.uint8)
    rows = range(height) if downwards else range(height - 1, -1, -1)
    for y in rows:
        before = y - 1 if downwards else y
        penalty = penalties[before] if 0 <= before < height - 1 else free
        np.minimum(below, above, out=step)
        np.add(step, STEP_PENALTY, out=step)
        np.minimum(step, inner, out=step)
        np.minimum(step, penalty, out=step)
        np.add(step, costs[:, y], out=step)
        np.minimum.reduce(step, axis=0, out=least)
        np.subtract(step, least, out=inner)
        if downwards:
            out[:, y] = inner
        else:
            np.add(out[:, y], inner, out=out[:, y])


def transpose_slices(volume: CostVolume, out: CostVolume) -> None:
    """(D, H, W) to (D, W, H), slice by slice, into ``out``."""
    for source, target in zip(volume, out, strict=True):
        cv2.transpose(source, dst=target)
