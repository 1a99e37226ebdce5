"""Order statistics of many groups of numbers at once, from one sort."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rangemask.fusion.runs import Ints
from rangemask.geometry.arrays import AnyArray, FloatMap

Doubles = NDArray[np.float64]

_SIGN = np.uint32(0x80000000)


@dataclass(frozen=True, slots=True)
class Sorted:
    """Groups of numbers, each ascending, one after the other."""

    values: FloatMap
    """(P,) float32."""
    start: Ints
    """(N,) where each group begins."""
    size: Ints
    """(N,) how many numbers it has; may be 0."""

    def quantiles(self, shares: Sequence[float] | Doubles) -> Doubles:
        """Quantiles of each group with linear interpolation, as ``np.quantile`` has them.

        Args:
            shares: Q numbers in [0, 1].

        Returns:
            (N, Q) float64, NaN for empty groups.
        """
        place = (
            np.asarray(shares, dtype=np.float64)[None, :] * np.maximum(self.size - 1, 0)[:, None]
        )
        low = place.astype(np.int64)
        below = self._at(low)
        above = self._at(np.minimum(low + 1, np.maximum(self.size - 1, 0)[:, None]))
        return below + (above - below) * (place - low)

    def median_deviation(self, centre: Doubles) -> Doubles:
        """Median of the absolute differences to a number inside each group, (N,); NaN if empty."""
        ranks = np.maximum(np.stack([self.size - 1, self.size], axis=1) // 2, 0)
        ranks[self.size == 0] = 0
        middle: Doubles = self._nearest(centre[:, None], ranks).mean(axis=1)
        return middle

    def part(self, first: Ints, size: Ints) -> Sorted:
        """A stretch of each group: size numbers from the first-th on, (N,) each."""
        return Sorted(self.values, self.start + first, size)

    def below(self, limit: AnyArray | float) -> Ints:
        """(N,) how many numbers of each group are smaller than its limit; NaN is larger."""
        low, high = np.zeros_like(self.size), self.size.copy()
        for _ in range(_bits(self.size)):
            middle = (low + high) // 2
            right = (low < high) & (self._at(middle[:, None])[:, 0] < limit)
            low, high = np.where(right, middle + 1, low), np.where(right, high, middle)
        return low

    def _nearest(self, centre: Doubles, rank: Ints) -> Doubles:
        """(N, Q) the rank-th smallest distance to the centre.

        The rank + 1 nearest numbers stand side by side, so only their place is searched.
        """
        low, high = np.zeros_like(rank), np.maximum(self.size[:, None] - 1 - rank, 0)
        for _ in range(_bits(self.size)):
            middle = (low + high) // 2
            left, right = self._reach(centre, middle, rank)
            inward = (low < high) & (left > right)
            low, high = np.where(inward, middle + 1, low), np.where(inward, high, middle)
        best = np.maximum(*self._reach(centre, low, rank))
        before = np.maximum(*self._reach(centre, np.maximum(low - 1, 0), rank))
        return np.minimum(best, before)

    def _reach(self, centre: Doubles, first: Ints, rank: Ints) -> tuple[Doubles, Doubles]:
        return centre - self._at(first), self._at(first + rank) - centre

    def _at(self, index: Ints) -> Doubles:
        """(N, Q) the numbers at the given places of each group; NaN for empty groups."""
        if self.values.size == 0:
            return np.full(index.shape, np.nan)
        index = np.minimum(self.start[:, None] + index, self.values.size - 1)
        values = self.values[index].astype(np.float64)
        values[self.size == 0] = np.nan
        return values


class Groups:
    """N groups of numbers that stand one after the other.

    Args:
        size: (N,) how many numbers each has, unknown ones included.
    """

    def __init__(self, size: Ints) -> None:
        self._size = size
        self._start = np.cumsum(size) - size
        self._keys = np.repeat(np.arange(size.size, dtype=np.uint64) << np.uint64(32), size)

    def sort(self, values: FloatMap, known: Ints | None = None) -> Sorted:
        """Sort each group, all in one go; NaN, the unknown, is left out.

        Group and value are packed into one 64-bit key: one sort of plain integers.

        Args:
            values: (P,) float32, P being the sum of all sizes.
            known: (N,) how many of each group are not NaN, where that is known already.
        """
        keys = self._keys | _ascending(values)
        keys.sort()
        everything = Sorted(_from_ascending(keys.astype(np.uint32)), self._start, self._size)
        # NaN comes last in its group.
        if known is None:
            known = everything.below(np.inf)
        return everything.part(np.zeros_like(known), known)


def _ascending(values: FloatMap) -> AnyArray:
    """Bits of float32 numbers, changed so that they ascend as the numbers do, NaN last."""
    bits = values.view(np.uint32)
    negative = (bits.view(np.int32) >> 31).view(np.uint32)
    return bits ^ (negative | _SIGN)


def _from_ascending(bits: AnyArray) -> FloatMap:
    negative = (~bits.view(np.int32) >> 31).view(np.uint32)
    values: FloatMap = (bits ^ (negative | _SIGN)).view(np.float32)
    return values


def _bits(size: Ints) -> int:
    return int(size.max(initial=0)).bit_length() + 1
