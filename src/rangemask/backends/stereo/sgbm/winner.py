"""The winning disparity of each pixel out of the summed path costs."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rangemask.backends.stereo.sgbm.census import CostVolume
from rangemask.backends.stereo.sgbm.span import DisparitySpan
from rangemask.geometry.arrays import FloatMap

NEAR = 2
"""Disparities that close to the winner do not compete with it."""

NO_COST = 0xFFFF


@dataclass(frozen=True, slots=True, eq=False)
class Winners:
    """What a cost volume says about the pixels of one view."""

    disparity_px: FloatMap
    """(H, W), sub-pixel."""
    margin: FloatMap | None = None
    """(H, W): cost of the best competitor minus cost of the winner; 0 where nothing speaks.
    None where nobody asked for it."""


def find_winners(
    vertical: CostVolume, horizontal: CostVolume, span: DisparitySpan, out: Winners
) -> None:
    """Winner takes all on ``vertical + horizontal``, two (D, H, W) uint8 volumes."""
    row = _Row(span, vertical.shape[2])
    for y in range(vertical.shape[1]):
        row.read(vertical[:, y], horizontal[:, y])
        winner, lowest = row.choose(out.disparity_px[y])
        if out.margin is not None:
            row.compare(winner, lowest, out.margin[y])


class _Row:
    """Buffers and arithmetic of one image row; everything stays in the cache."""

    def __init__(self, span: DisparitySpan, width: int) -> None:
        count = span.count
        self.span, self.columns = span, np.arange(width)
        self.bits = int(count - 1).bit_length()
        # Nine bits of cost and the index share one number; up to 128 disparities fit 16 bits.
        self.type = np.uint16 if self.bits <= 7 else np.uint32
        self.mask = self.type((1 << self.bits) - 1)
        self.index = np.arange(count, dtype=self.type)[:, None]
        self.keys = np.empty((count, width), self.type)
        self.near = np.empty((count, width), np.bool_)
        self.cost = np.empty((count, width), np.uint16)
        self.contest = np.empty((count, width), np.uint16)

    def read(self, vertical: NDArray[np.uint8], horizontal: NDArray[np.uint8]) -> None:
        """Sum two (D, W) rows and pack cost and index into one number per entry."""
        np.add(vertical, horizontal, out=self.cost, dtype=np.uint16)
        np.left_shift(self.cost, self.bits, out=self.keys, dtype=self.type)
        np.bitwise_or(self.keys, self.index, out=self.keys)

    def choose(self, disparity_px: NDArray[np.float32]) -> tuple[NDArray[Any], NDArray[np.float32]]:
        """Sub-pixel winner into a row of W; gives the winner's index and its cost."""
        best = np.minimum.reduce(self.keys, axis=0)
        winner = best & self.mask
        lowest = (best >> self.bits).astype(np.float32)
        disparity_px[:] = self._offset(winner.astype(np.intp), lowest)
        disparity_px += winner
        disparity_px += self.span.first_px
        return winner, lowest

    def compare(
        self, winner: NDArray[Any], lowest: NDArray[np.float32], margin: NDArray[np.float32]
    ) -> None:
        """Distance of the winner to its best competitor into a row of W."""
        # Unsigned numbers wrap, so that one comparison asks for both sides.
        np.subtract(self.index, winner - self.type(NEAR), out=self.keys)
        np.less_equal(self.keys, 2 * NEAR, out=self.near)
        np.multiply(self.near, NO_COST, out=self.contest, dtype=np.uint16, casting="unsafe")
        np.maximum(self.contest, self.cost, out=self.contest)
        second = np.minimum.reduce(self.contest, axis=0)
        margin[:] = np.where(second == NO_COST, 0.0, second - lowest)

    def _offset(self, winner: NDArray[np.intp], lowest: NDArray[np.float32]) -> NDArray[np.float32]:
        """Where between its neighbours the minimum lies: two lines of equal steepness."""
        last = self.span.count - 1
        before = self.cost[np.maximum(winner - 1, 0), self.columns].astype(np.float32)
        after = self.cost[np.minimum(winner + 1, last), self.columns].astype(np.float32)
        rise = np.maximum(np.maximum(before, after) - lowest, 1.0)
        offset = (before - after) / (2.0 * rise)
        offset[(winner == 0) | (winner == last)] = 0.0
        return np.asarray(offset, np.float32)
