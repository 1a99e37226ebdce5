"""The scale under a coloured map: ticks at round metres, placed where their disparity is."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

from rangemask.geometry.arrays import ImageArray
from rangemask.view.palette import Colour
from rangemask.view.text import draw_text, text_height, text_width

_DEEPEST = 4
"""Decades below the first one that ticks are looked for in."""
_MOST = 60
"""Ticks that are looked at per step; no bar has room for more."""

_PAPER: Colour = (24, 24, 28)
_INK: Colour = (235, 235, 235)


@dataclass(frozen=True, slots=True)
class Tick:
    """A mark on a scale."""

    value: float
    """What is written at it, in the unit of the scale."""
    share: float
    """Where it is, 0 at the left end and 1 at the right."""
    text: str


def round_ticks(
    low: float,
    high: float,
    *,
    share_of: Callable[[float], float],
    fits: Callable[[list[float], int], bool],
) -> list[Tick]:
    """Round values between two others, as many as fit, coarse ones first.

    A step of 1, 2 or 5 times a power of ten is drawn between two coarser ticks only where all
    of its multiples between them fit, so that the eye can count on.

    Args:
        low: lowest value, in the unit of the scale.
        high: highest value, not infinite.
        share_of: place of a value on the scale, 0 to 1; rising or falling.
        fits: whether ticks at these places, in order, with this many decimals, have room.

    Returns:
        ticks from left to right.
    """
    if not (math.isfinite(low) and math.isfinite(high) and low < high):
        return []
    chosen: list[tuple[float, int]] = []
    top = math.floor(math.log10(max(abs(low), abs(high))))
    for decade in range(top, top - _DEEPEST - 1, -1):
        while True:
            added = _finer(chosen, low, high, decade, share_of, fits)
            if not added:
                break
            chosen = sorted(chosen + added)
    decimals = max((places for _, places in chosen), default=0)
    ticks = [Tick(value, share_of(value), f"{value:.{decimals}f}") for value, _ in chosen]
    return sorted((_trimmed(tick) for tick in ticks), key=lambda tick: tick.share)


def draw_scale(
    lut: ImageArray,
    *,
    width: int,
    font_px: int,
    ticks_for: Callable[[Callable[[list[float], int], bool]], list[Tick]],
    unit: str,
    unknown: Callable[[int, int], ImageArray] | None,
) -> ImageArray:
    """The strip under a map: colours, ticks, unit, and what unknown looks like.

    Args:
        lut: (256, 3) uint8, the colours from left to right.
        width: of the strip, px.
        font_px: size of its text, px.
        ticks_for: gives the ticks, asked with what fits on this bar.
        unit: written after each tick.
        unknown: draws the pattern of unknown pixels, (height, width) to an image; None where
            none can be.

    Returns:
        (h, width, 3) uint8, its height following the font alone; empty where the width has no
        room for a scale.
    """
    room = _Room.of(width, font_px, legend=unknown is not None)
    if room is None:
        return np.zeros((0, width, 3), dtype=np.uint8)
    strip = np.full((room.height, width, 3), _PAPER, dtype=np.uint8)
    bar = np.linspace(0, len(lut) - 1, room.bar_px).round().astype(int)
    top, bottom = room.bar_top, room.bar_top + room.bar_height
    strip[top:bottom, room.left : room.left + room.bar_px] = lut[bar]

    def fits(shares: list[float], decimals: int) -> bool:
        longest = "88." + "8" * decimals if decimals else "88"
        gap = text_width(f"{longest} {unit}", font_px) + 0.6 * font_px
        places = np.array(shares) * (room.bar_px - 1)
        return bool((np.diff(places) >= gap).all())

    ticks = ticks_for(fits)
    for tick in ticks:
        x = room.left + round(tick.share * (room.bar_px - 1))
        half = max(1, font_px // 12)
        strip[bottom : bottom + room.tick_px, max(0, x - half // 2) : x + (half + 1) // 2] = _INK
        _centred(strip, x, room.baseline, f"{tick.text} {unit}", font_px)
    if unknown is not None and room.legend_x is not None:
        box = room.bar_height
        strip[top:bottom, room.legend_x : room.legend_x + 2 * box] = unknown(box, 2 * box)
        x = room.legend_x + 2 * box + font_px // 2
        draw_text(strip, x, bottom, "unknown", font_px, _INK)
    return strip


@dataclass(frozen=True, slots=True, kw_only=True)
class _Room:
    """Where the parts of a strip go, px."""

    height: int
    left: int
    bar_px: int
    bar_top: int
    bar_height: int
    tick_px: int
    baseline: int
    legend_x: int | None

    @classmethod
    def of(cls, width: int, font_px: int, *, legend: bool) -> _Room | None:
        pad = max(4, font_px // 2)
        bar_height = round(font_px * 0.8)
        tick_px = max(2, font_px // 4)
        ascent, descent = text_height(font_px)
        baseline = pad + bar_height + tick_px + ascent
        legend_px = 2 * bar_height + font_px // 2 + text_width("unknown", font_px)
        left = round(1.6 * font_px)
        with_legend = width - 2 * left - legend_px - 2 * pad
        legend = legend and with_legend >= 6 * font_px
        bar_px = with_legend if legend else width - 2 * left
        if bar_px < 4 * font_px:
            return None
        return cls(
            height=baseline + descent + max(1, pad // 3),
            left=left,
            bar_px=bar_px,
            bar_top=pad,
            bar_height=bar_height,
            tick_px=tick_px,
            baseline=baseline,
            legend_x=width - pad - legend_px if legend else None,
        )


def _finer(
    chosen: list[tuple[float, int]],
    low: float,
    high: float,
    decade: int,
    share_of: Callable[[float], float],
    fits: Callable[[list[float], int], bool],
) -> list[tuple[float, int]]:
    """Multiples of a step of this decade between the ticks there are; none where none fit."""
    added: list[tuple[float, int]] = []
    values = [value for value, _ in chosen]
    decimals = max(0, -decade)
    for below, above in zip([-math.inf, *values], [*values, math.inf], strict=True):
        ends = [value for value in (below, above) if math.isfinite(value)]
        for inside in _options(max(below, low), min(above, high), ends, decade):
            places = sorted(share_of(value) for value in [*inside, *ends])
            if fits(places, decimals):
                added += [(value, decimals) for value in inside]
                break
    return added


def _options(low: float, high: float, taken: list[float], decade: int) -> Iterable[list[float]]:
    """Ways to fill a gap with values of one decade, the fullest first."""
    power = 10.0**decade
    ways = []
    for step in (1, 2, 5, 10):
        first = math.ceil(round(low / power / step, 6))
        last = math.floor(round(high / power / step, 6))
        if last - first > _MOST:
            continue
        ways.append([round(k * step * power, 9) for k in range(first, last + 1)])
    ways += [[round(mantissa * power, 9) for mantissa in pick] for pick in ((2, 5), (5,), (2,))]
    if len(taken) == 1 and ways:
        # Beyond the last tick there is nothing to count on to: the value next to the end will do.
        ways += [
            [end] for way in ways[1::-1] for end in (way[:1] if taken[0] >= high else way[-1:])
        ]
    for way in ways:
        inside = [value for value in way if low <= value <= high and value not in taken]
        if inside:
            yield inside


def _trimmed(tick: Tick) -> Tick:
    text = tick.text.rstrip("0").rstrip(".") if "." in tick.text else tick.text
    return Tick(tick.value, tick.share, text)


def _centred(strip: ImageArray, x: int, baseline: int, text: str, font_px: int) -> None:
    wide = text_width(text, font_px)
    left = min(max(0, x - wide // 2), max(0, strip.shape[1] - wide))
    draw_text(strip, left, baseline, text, font_px, _INK)
