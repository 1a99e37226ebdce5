"""Many masks at once as bit-packed lines: erosion and pixel lists without a loop over masks.

A *line* is one row of one mask (or one column, for masks that come as COCO run lengths, which
are column-major). Only lines that hold a pixel are kept, one bit a pixel, so 200 masks of a
megapixel shrink from 184 MB to a few, and erosion becomes a handful of ANDs that stay in cache.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from rangemask.geometry.arrays import BoolMap
from rangemask.structures.masks import Rle

Ints = NDArray[np.int64]


@dataclass(frozen=True, slots=True, kw_only=True)
class Lines:
    """The non-empty lines of a stack of masks, ordered by mask and then by place.

    Every line is followed by at least one zero bit, so runs never reach into the next line.
    """

    bits: NDArray[np.uint8]
    """(L, B) packed, the first pixel in the highest bit; B > length / 8."""
    mask: Ints
    """(L,) which mask a line belongs to, ascending."""
    place: Ints
    """(L,) which row (or column) of the image it is."""
    masks: int
    """How many masks there are, empty ones included."""
    places: int
    """How many rows (or columns) the image has."""
    length: int
    """Pixels in a line."""

    def areas(self) -> Ints:
        """(N,) pixels inside each mask."""
        per_line = np.bitwise_count(self.bits).sum(axis=1, dtype=np.int64)
        return sum_by(self.mask, per_line, self.masks)

    def split(self, area_px: int) -> Iterator[Lines]:
        """The same masks in parts of at most that many pixels together, but of whole masks."""
        total = np.cumsum(self.areas())
        first = done = 0
        while first < self.masks:
            stop = max(int(np.searchsorted(total, done + area_px, side="right")), first + 1)
            low, high = (int(at) for at in np.searchsorted(self.mask, (first, stop)))
            yield replace(
                self,
                bits=self.bits[low:high],
                mask=self.mask[low:high] - first,
                place=self.place[low:high],
                masks=stop - first,
            )
            first, done = stop, int(total[stop - 1])

    def of_masks(self, wanted: BoolMap) -> Lines:
        """The lines of some masks, (N,) bool; mask numbers stay as they are."""
        keep = wanted[self.mask]
        return replace(self, bits=self.bits[keep], mask=self.mask[keep], place=self.place[keep])


@dataclass(frozen=True, slots=True, kw_only=True)
class Runs:
    """Stretches of pixels along lines: pixels start <= i < end of a line."""

    mask: Ints
    place: Ints
    start: Ints
    end: Ints

    def lengths(self) -> Ints:
        """Pixels of each run."""
        return self.end - self.start

    def areas(self, masks: int) -> Ints:
        """(N,) pixels inside each of that many masks."""
        return sum_by(self.mask, self.lengths(), masks)

    def of_masks(self, wanted: BoolMap) -> Runs:
        """The runs of some masks, (N,) bool."""
        keep = wanted[self.mask]
        return Runs(
            mask=self.mask[keep],
            place=self.place[keep],
            start=self.start[keep],
            end=self.end[keep],
        )

    def halved(self) -> Runs:
        """The pixels of even line and even place along it, in an image of half the size."""
        start, end = (self.start + 1) // 2, (self.end + 1) // 2
        keep = (self.place % 2 == 0) & (start < end)
        return Runs(
            mask=self.mask[keep],
            place=self.place[keep] // 2,
            start=start[keep],
            end=end[keep],
        )

    @classmethod
    def merge(cls, parts: Sequence[Runs]) -> Runs:
        """Runs of different masks in the order of the masks."""
        if len(parts) == 1:
            return parts[0]
        mask = np.concatenate([part.mask for part in parts])
        order = np.argsort(mask, kind="stable")
        place, start, end = (
            np.concatenate([getattr(part, name) for part in parts])[order]
            for name in ("place", "start", "end")
        )
        return cls(mask=mask[order], place=place, start=start, end=end)

    def pixels(self, length: int) -> Ints:
        """Flat indices (place * length + i) of all pixels, run after run."""
        return self._counted(self.place * length + self.start)

    def along(self) -> Ints:
        """Places along the line of all pixels, run after run."""
        return self._counted(self.start)

    def _counted(self, first: Ints) -> Ints:
        """Numbers counted up from the first of each run."""
        lengths = self.lengths()
        before = np.cumsum(lengths) - lengths
        counted: Ints = np.repeat(first - before, lengths)
        counted += np.arange(counted.size)
        return counted


def sum_by(group: Ints, values: Ints, groups: int) -> Ints:
    """(groups,) sums of whole numbers by group."""
    # Sums stay far below 2^53, so bincount's floats are exact.
    return np.bincount(group, weights=values, minlength=groups).astype(np.int64)


def lines_from_dense(masks: BoolMap) -> Lines:
    """The rows of (N, H, W) bool masks."""
    count, height, width = masks.shape
    mask, place = np.nonzero(_any(masks))
    bits = np.zeros((mask.size, width // 8 + 1), dtype=np.uint8)
    packed = np.packbits(masks[mask, place], axis=1)
    bits[:, : packed.shape[1]] = packed
    return Lines(bits=bits, mask=mask, place=place, masks=count, places=height, length=width)


def lines_from_rles(rles: Sequence[Rle], height: int, width: int) -> Lines:
    """The columns of masks of height x width px that are held as COCO run lengths."""
    runs = _column_runs(rles, height)
    # A column may hold several runs; it is one line.
    new = np.ones(runs.mask.size, dtype=bool)
    new[1:] = (np.diff(runs.mask) != 0) | (np.diff(runs.place) != 0)
    line = np.cumsum(new) - 1
    mask, place = runs.mask[new], runs.place[new]
    # Whole 64-bit words, for the prefix sums of _fill.
    stride = (height // 64 + 1) * 64
    bits = _fill(line * stride + runs.start, line * stride + runs.end, mask.size * stride)
    bits = bits.reshape(mask.size, stride // 8)
    return Lines(bits=bits, mask=mask, place=place, masks=len(rles), places=width, length=height)


def erode(lines: Lines, radius_px: Ints) -> Runs:
    """Erode each mask by a square of (2 r + 1) px, r its own; the image's border does not erode.

    Across lines by a table of ANDs over 1, 2, 4, ... lines (as in range-minimum queries), along
    lines by shortening the runs.

    Args:
        lines: of N masks.
        radius_px: (N,) not negative.
    """
    radius = radius_px[lines.mask]
    runs = runs_of(_erode_across(lines, radius))
    by = radius_px[runs.mask]
    start = np.where(runs.start > 0, runs.start + by, 0)
    end = np.where(runs.end < lines.length, runs.end - by, lines.length)
    keep = start < end
    return Runs(mask=runs.mask[keep], place=runs.place[keep], start=start[keep], end=end[keep])


def runs_of(lines: Lines) -> Runs:
    """The runs of all lines, in order."""
    stride = lines.bits.shape[1] * 8
    flat = lines.bits.ravel()
    before = np.empty_like(flat)
    before[:1] = 0
    before[1:] = flat[:-1] << 7
    change: NDArray[np.uint8] = flat ^ ((flat >> np.uint8(1)) | before)
    # Few bytes hold a change: look for those first and unpack only them.
    at = np.flatnonzero(change != 0)
    changed = np.flatnonzero(np.unpackbits(change[at]))
    edges = at[changed >> 3] * 8 + (changed & 7)
    line = edges[::2] // stride
    offset = line * stride
    return Runs(
        mask=lines.mask[line],
        place=lines.place[line],
        start=edges[::2] - offset,
        end=edges[1::2] - offset,
    )


def _any(masks: BoolMap) -> BoolMap:
    """(N, H) which rows hold a pixel; eight pixels at a time where memory allows it."""
    if masks.shape[2] % 8 or not masks.flags.c_contiguous:
        rows: BoolMap = np.logical_or.reduce(masks, axis=2)
        return rows
    words: NDArray[np.uint64] = np.bitwise_or.reduce(masks.view(np.uint64), axis=2)
    return words.astype(np.bool_)


def _erode_across(lines: Lines, radius: Ints) -> Lines:
    """Keep the pixels whose neighbours in the r lines on both sides are inside too."""
    here = np.arange(lines.mask.size)
    low = np.maximum(lines.place - radius, 0)
    high = np.minimum(lines.place + radius, lines.places - 1)
    first, last = here - (lines.place - low), here + (high - lines.place)
    whole = (first >= 0) & (last < here.size)
    # Lines of a mask ascend, so the whole window is there if both of its ends are in place.
    for end, place in ((first, low), (last, high)):
        end = np.clip(end, 0, max(here.size - 1, 0))
        whole &= (lines.mask[end] == lines.mask) & (lines.place[end] == place)
    here, first, last = here[whole], first[whole], last[whole]
    eroded = np.empty((here.size, lines.bits.shape[1]), dtype=np.uint8)
    # frexp gives floor(log2) exactly.
    power = np.frexp((last - first + 1).astype(np.float64))[1] - 1
    table = lines.bits
    for step in range(int(power.max(initial=0)) + 1):
        width = 1 << step
        wanted = power == step
        eroded[wanted] = table[first[wanted]] & table[last[wanted] - width + 1]
        table = table[:-width] & table[width:]
    return replace(lines, bits=eroded, mask=lines.mask[here], place=lines.place[here])


def _column_runs(rles: Sequence[Rle], height: int) -> Runs:
    """The runs of all masks, cut at the ends of columns, ordered by mask and column."""
    lengths, per_mask = _run_lengths([rle.counts for rle in rles])
    mask = np.repeat(np.arange(len(rles)), per_mask)
    ends = np.cumsum(lengths)
    first = np.cumsum(per_mask) - per_mask
    inside = (np.arange(lengths.size) - np.repeat(first, per_mask)) % 2 == 1
    inside &= lengths > 0
    begin = np.concatenate([[0], ends])[first]
    mask = mask[inside]
    start, end = (ends - lengths)[inside] - begin[mask], ends[inside] - begin[mask]
    column, last = start // height, (end - 1) // height
    parts = last - column + 1
    which = np.repeat(np.arange(mask.size), parts)
    step = np.arange(which.size) - np.repeat(np.cumsum(parts) - parts, parts)
    place = column[which] + step
    return Runs(
        mask=mask[which],
        place=place,
        start=np.maximum(start[which] - place * height, 0),
        end=np.minimum(end[which] - place * height, height),
    )


def _run_lengths(counts: Sequence[str]) -> tuple[Ints, Ints]:
    """COCO's text form of many masks at once: all run lengths, and how many each mask has.

    Five bits and a "more" bit a character; from the fourth run on each is a difference to the
    run before last (pycocotools, maskApi.c, rleFrString). ``Rle`` has checked the texts.
    """
    bits = np.frombuffer("".join(counts).encode("ascii"), dtype=np.uint8).astype(np.int64) - 48
    last = (bits & 0x20) == 0
    ends = np.flatnonzero(last)
    starts = np.concatenate([[0], ends[:-1] + 1])[: ends.size]
    digits = ends - starts + 1
    place = 5 * (np.arange(bits.size) - np.repeat(starts, digits))
    if bits.size == 0:
        return bits, np.zeros(len(counts), dtype=np.int64)
    values = np.add.reduceat((bits & 0x1F) << place, starts)
    negative = (bits[ends] & 0x10) > 0
    values[negative] -= np.int64(1) << (5 * digits[negative])
    text_ends = np.cumsum([len(text) for text in counts])
    per_mask = np.diff(np.searchsorted(ends, text_ends, side="left"), prepend=0)
    first = np.repeat(np.cumsum(per_mask) - per_mask, per_mask)
    index = np.arange(values.size) - first
    # Undo the differences: odd and even runs are two interleaved sums; the first run stands alone.
    for parity in (0, 1):
        chosen = (index % 2 == parity) & (index > 0)
        sums = np.cumsum(values[chosen])
        new = np.ones(sums.size, dtype=bool)
        new[1:] = np.diff(first[chosen]) != 0
        offset = (sums - values[chosen])[new]
        values[chosen] = sums - offset[np.cumsum(new) - 1] if sums.size else sums
    return values, per_mask.astype(np.int64)


def _fill(start: Ints, end: Ints, size: int) -> NDArray[np.uint8]:
    """Packed bits of which start <= i < end are set; size is a multiple of 64."""
    toggles = np.zeros(size // 8, dtype=np.uint8)
    edges = np.concatenate([start, end])
    np.bitwise_xor.at(toggles, edges >> 3, (0x80 >> (edges & 7)).astype(np.uint8))
    words = toggles.view(">u8").astype(np.uint64)
    for shift in (1, 2, 4, 8, 16, 32):
        words ^= words >> np.uint64(shift)
    odd = np.bitwise_xor.accumulate(words & np.uint64(1))
    # A word that begins inside a run is the other way round.
    words[1:] ^= np.uint64(0) - odd[:-1]
    return words.astype(">u8").view(np.uint8)
