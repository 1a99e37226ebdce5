"""Disparity, depth and confidence as colour pictures that can be read back in metres."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, TypeAlias

import cv2
import numpy as np

from rangemask.geometry import Rig, depth_from_disparity
from rangemask.geometry.arrays import AnyArray, FloatMap, ImageArray
from rangemask.view.scale_bar import Tick, draw_scale, round_ticks
from rangemask.view.text import Pen

MapName: TypeAlias = Literal["inferno", "viridis", "cividis"]
"""Colour maps that are perceptually uniform and rise in lightness, so that they survive grey
printing and colour blindness; bright is near."""

Quantity: TypeAlias = Literal["disparity_px", "inverse_depth_per_m", "relative", "share"]

_OPENCV_MAPS: dict[MapName, int] = {
    "inferno": cv2.COLORMAP_INFERNO,
    "viridis": cv2.COLORMAP_VIRIDIS,
    "cividis": cv2.COLORMAP_CIVIDIS,
}

UNKNOWN_GREYS = (70, 124)
"""The two greys of the hatch that unknown pixels carry; no colour map holds them."""

_CONFIDENCE_MAP: MapName = "viridis"
_LEAST_SPAN = 1e-3
_SAMPLES = 200_000
_INFINITELY_FAR = 0.004
"""Share of a scale below which a depth is not written: it may be beyond any number."""
_RELATIVE = "relative, no metres"
_RELATIVE_DECIMALS = 8
"""A number with as many, beside its like, needs the room of the words beside "near"."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ColourRange:
    """Which values get the first and the last colour.

    Compute it once and hand it to every frame of a video, or the colours flicker.

    Raises:
        ValueError: the values are not finite or not in order.
    """

    low: float
    """The farthest value: it and all below are drawn in the first colour."""
    high: float
    """The nearest value: it and all above are drawn in the last colour."""
    quantity: Quantity = "disparity_px"
    """What the values are, so that a range of one map is not used for another."""

    def __post_init__(self) -> None:
        if not (math.isfinite(self.low) and math.isfinite(self.high) and self.low < self.high):
            raise ValueError(f"low must be below high, got {self.low} and {self.high}.")

    @classmethod
    def of_disparity(
        cls, disparity_px: AnyArray, *, percentiles: tuple[float, float] = (1.0, 99.0)
    ) -> ColourRange:
        """From the values of one map, or of several stacked; outliers fall outside.

        Args:
            disparity_px: any shape, px, not finite where unknown.
            percentiles: which share of the values lies below low and below high.
        """
        low, high = _robust_ends(disparity_px, percentiles)
        return cls(low=low, high=high)

    @classmethod
    def of_depth(
        cls, depth_m: AnyArray, *, percentiles: tuple[float, float] = (1.0, 99.0)
    ) -> ColourRange:
        """From depth in metres, any shape; colours follow 1 / depth, as disparity does."""
        low, high = _robust_ends(_inverse(depth_m), percentiles)
        return cls(low=low, high=high, quantity="inverse_depth_per_m")

    @classmethod
    def of_relative(
        cls, relative: AnyArray, *, percentiles: tuple[float, float] = (1.0, 99.0)
    ) -> ColourRange:
        """From relative depth that grows towards the camera, any shape; see ``of_disparity``."""
        low, high = _robust_ends(relative, percentiles)
        return cls(low=low, high=high, quantity="relative")

    @classmethod
    def between(cls, near_m: float, far_m: float, rig: Rig | None = None) -> ColourRange:
        """From two distances: for disparity where a rig of a pair is given, else for depth.

        Raises:
            ValueError: the distances are not positive or not in order, or the rig has no
                baseline.
        """
        if not 0 < near_m < far_m:
            raise ValueError(f"expected 0 < near < far, got {near_m} and {far_m} m.")
        if rig is None:
            return cls(low=1 / far_m, high=1 / near_m, quantity="inverse_depth_per_m")
        if rig.baseline_m is None:
            raise ValueError("the rig has no baseline, so metres cannot become disparity.")
        scale = rig.fx * rig.baseline_m
        return cls(low=scale / far_m - rig.doffs_px, high=scale / near_m - rig.doffs_px)


def disparity_picture(
    disparity_px: FloatMap,
    rig: Rig | None = None,
    *,
    colour_range: ColourRange | None = None,
    colour_map: MapName = "inferno",
    scale: bool = True,
) -> ImageArray:
    """Draw disparity, near bright and far dark, over a scale in metres.

    Args:
        disparity_px: (H, W) px, not finite where unknown.
        rig: turns disparity into metres on the scale; without a baseline it is in px.
        colour_range: which values get the first and last colour; this map's own by default.
        colour_map: the colours.
        scale: whether to draw the scale under the map.

    Returns:
        (H + h, W, 3) uint8 RGB: the map pixel for pixel, then a scale whose height h depends
        on the size of the map alone (0 without a scale, or where the map is too narrow).

    Raises:
        ValueError: the range is not one of disparity, or the map is not known.
    """
    if colour_range is None:
        colour_range = ColourRange.of_disparity(disparity_px)
    return _picture(disparity_px, colour_range, "disparity_px", colour_map, rig if scale else False)


def depth_picture(
    depth_m: FloatMap,
    *,
    colour_range: ColourRange | None = None,
    colour_map: MapName = "inferno",
    scale: bool = True,
) -> ImageArray:
    """Draw depth as ``disparity_picture`` draws disparity: colours follow 1 / depth.

    Args:
        depth_m: (H, W) metres, not finite or not positive where unknown.
        colour_range: see ``ColourRange.of_depth``; this map's own by default.
        colour_map: the colours.
        scale: whether to draw the scale under the map.

    Raises:
        ValueError: the range is not one of depth, or the map is not known.
    """
    if colour_range is None:
        colour_range = ColourRange.of_depth(depth_m)
    values = _inverse(depth_m)
    quantity: Quantity = "inverse_depth_per_m"
    return _picture(values, colour_range, quantity, colour_map, None if scale else False)


def relative_picture(
    relative: FloatMap,
    *,
    colour_range: ColourRange | None = None,
    colour_map: MapName = "inferno",
    scale: bool = True,
) -> ImageArray:
    """Draw relative depth, near bright and far dark, over a scale that says it has no metres.

    Args:
        relative: (H, W) without scale or zero, growing towards the camera; not finite where
            unknown.
        colour_range: see ``ColourRange.of_relative``; this map's own by default.
        colour_map: the colours.
        scale: whether to draw the scale under the map.

    Raises:
        ValueError: the range is not one of relative depth, or the map is not known.
    """
    if colour_range is None:
        colour_range = ColourRange.of_relative(relative)
    return _picture(relative, colour_range, "relative", colour_map, None if scale else False)


def confidence_picture(confidence: FloatMap, *, scale: bool = True) -> ImageArray:
    """Draw confidence, (H, W) 0 to 1, sure bright and unsure dark, over its scale."""
    whole = ColourRange(low=0.0, high=1.0, quantity="share")
    return _picture(confidence, whole, "share", _CONFIDENCE_MAP, None if scale else False)


def colour_values(
    values: AnyArray, colour_range: ColourRange, colour_map: MapName = "inferno"
) -> ImageArray:
    """Colours of an (H, W) map without a scale; what is not finite is hatched in grey.

    Returns:
        (H, W, 3) uint8 RGB.

    Raises:
        ValueError: the colour map is not known.
    """
    lut = colour_lut(colour_map)
    known = np.isfinite(values)
    per_step = np.float32(255 / (colour_range.high - colour_range.low))
    step = np.where(known, values, np.float32(0)).astype(np.float32)
    step -= np.float32(colour_range.low)
    step *= per_step
    np.rint(np.clip(step, 0, 255, out=step), out=step)
    grey = np.repeat(step.astype(np.uint8)[..., None], 3, axis=-1)
    image = cv2.LUT(grey, lut[:, None, :]).astype(np.uint8, copy=False)
    if not known.all():
        height, width = values.shape
        period = 4 * Pen.for_image(width, height).line_px
        image[~known] = unknown_pattern(height, width, max(6, period))[~known]
    return image


def colour_lut(colour_map: MapName) -> ImageArray:
    """The 256 colours of a map, (256, 3) uint8 RGB, read-only.

    Raises:
        ValueError: it is not known.
    """
    if colour_map not in _OPENCV_MAPS:
        raise ValueError(f"colour map must be one of {', '.join(_OPENCV_MAPS)}, got {colour_map!r}")
    return _lut(colour_map)


def unknown_pattern(height: int, width: int, period_px: int) -> ImageArray:
    """The hatch of unknown pixels: diagonal stripes of two greys, (height, width, 3) uint8."""
    dark, light = UNKNOWN_GREYS
    along = (np.arange(height)[:, None] + np.arange(width)[None, :]) % period_px
    grey = np.where(2 * along < period_px, dark, light).astype(np.uint8)
    return np.repeat(grey[..., None], 3, axis=-1)


def scale_ticks(
    colour_range: ColourRange,
    rig: Rig | None,
    fits: Callable[[list[float], int], bool],
) -> tuple[list[Tick], str]:
    """Round values on the scale of a range, and their unit; words where there are no units.

    Args:
        colour_range: what the two ends of the scale are.
        rig: turns disparity into metres; without a baseline they stay in px.
        fits: whether ticks at these shares of the scale, in order, written with this many
            decimals, have room.

    Returns:
        the ticks, each at the place on the scale that its value has, and "m", "px" or "".
    """
    if colour_range.quantity == "relative":
        ticks = [Tick(colour_range.low, 0.0, "far"), Tick(colour_range.high, 1.0, "near")]
        middle = (colour_range.low + colour_range.high) / 2
        if fits([0.0, 0.5, 1.0], _RELATIVE_DECIMALS):
            ticks.insert(1, Tick(middle, 0.5, _RELATIVE))
        return ticks, ""
    low, span = colour_range.low, colour_range.high - colour_range.low
    depth_of = _depth_of(colour_range, rig)
    if depth_of is None:
        ticks = round_ticks(
            low, colour_range.high, share_of=lambda value: (value - low) / span, fits=fits
        )
        return ticks, "px" if colour_range.quantity == "disparity_px" else ""
    scale, offset = depth_of
    far = scale / max(low + offset, _INFINITELY_FAR * span)
    near = scale / (colour_range.high + offset)
    ticks = round_ticks(
        near, far, share_of=lambda metres: (scale / metres - offset - low) / span, fits=fits
    )
    return ticks, "m"


def _depth_of(colour_range: ColourRange, rig: Rig | None) -> tuple[float, float] | None:
    """(a, b) of ``depth_m = a / (value + b)``; None where values have no metres."""
    if colour_range.quantity == "inverse_depth_per_m":
        return 1.0, 0.0
    if colour_range.quantity != "disparity_px" or rig is None:
        return None
    if rig.baseline_m is None or not rig.is_rectified:
        return None
    nearest = depth_from_disparity(np.array([colour_range.high]), rig)
    return (rig.fx * rig.baseline_m, rig.doffs_px) if np.isfinite(nearest).all() else None


def _picture(
    values: AnyArray,
    colour_range: ColourRange,
    quantity: Quantity,
    colour_map: MapName,
    rig: Rig | Literal[False] | None,
) -> ImageArray:
    """A coloured map over its scale; no scale where ``rig`` is False."""
    if colour_range.quantity != quantity:
        raise ValueError(f"expected a range of {quantity}, got one of {colour_range.quantity}.")
    image = colour_values(values, colour_range, colour_map)
    if rig is False:
        return image
    height, width = image.shape[:2]
    font_px = Pen.for_image(width, height).font_px
    unit = scale_ticks(colour_range, rig, lambda shares, decimals: False)[1]
    strip = draw_scale(
        colour_lut(colour_map),
        width=width,
        font_px=font_px,
        ticks_for=lambda fits: scale_ticks(colour_range, rig, fits)[0],
        unit=unit,
        unknown=None
        if quantity == "share"
        else lambda high, wide: unknown_pattern(high, wide, max(6, font_px // 2)),
    )
    return np.concatenate([image, strip])


def _robust_ends(values: AnyArray, percentiles: tuple[float, float]) -> tuple[float, float]:
    flat = np.asarray(values).ravel()
    # A regular sample: the ends of a colour range need no more, and it is always the same one.
    flat = flat[:: max(1, flat.size // _SAMPLES)]
    known = flat[np.isfinite(flat)]
    if not known.size:
        return 0.0, 1.0
    low, high = (float(value) for value in np.percentile(known, percentiles))
    least = max(_LEAST_SPAN * max(abs(low), abs(high)), 1e-6)
    if high - low < least:
        middle = (low + high) / 2
        low, high = middle - least, middle + least
    return low, high


def _inverse(depth_m: AnyArray) -> FloatMap:
    depth = np.asarray(depth_m, dtype=np.float32)
    known = np.isfinite(depth) & (depth > 0)
    inverse = np.full(depth.shape, np.nan, dtype=np.float32)
    np.divide(np.float32(1.0), depth, out=inverse, where=known)
    return inverse


@lru_cache(maxsize=4)
def _lut(colour_map: MapName) -> ImageArray:
    ramp = np.arange(256, dtype=np.uint8)[:, None]
    lut = cv2.applyColorMap(ramp, _OPENCV_MAPS[colour_map])[:, 0, ::-1].astype(np.uint8)
    lut.setflags(write=False)
    return lut
