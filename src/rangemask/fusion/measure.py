"""How far each mask is: all masks of a frame measured in one vectorised pass.

The steps, for every mask: erode it away from its border, keep pixels with a known, trusted and
visible depth, find out whether two depth layers lie under it and take the nearer, and report
robust statistics. ``reference.measure_masks_loop`` says the same, mask by mask, to be read.
"""

from __future__ import annotations

import math
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from rangemask.errors import InputError
from rangemask.fusion.layers import find_valleys, inverse_quantiles, one_plane
from rangemask.fusion.runs import (
    Ints,
    Lines,
    Runs,
    erode,
    lines_from_dense,
    lines_from_rles,
)
from rangemask.fusion.segments import Doubles, Groups, Sorted
from rangemask.geometry import Rig, back_project_pixels
from rangemask.geometry.arrays import AnyArray, BoolMap, FloatMap
from rangemask.structures.maps import DepthMap, check_map
from rangemask.structures.masks import MaskSet
from rangemask.structures.objects import UNKNOWN_POINT, Distance, same_numbers

# Masks are measured in parts, which bounds the memory and lets threads share the work.
_PART_PIXELS = 32_000_000
_PART_AREA = 4_000_000
WORKERS = min(4, os.cpu_count() or 1)

MAD_TO_SIGMA = 1.4826
EXTENT_SHARES = (0.02, 0.5, 0.98)
DISTANCE_SHARES = (0.1, 0.5, 0.9)


@dataclass(frozen=True, slots=True, kw_only=True)
class MeasureConfig:
    """How masks are measured.

    Raises:
        InputError: a value is outside its range.
    """

    erode_share: float = 0.05
    """Erosion in parts of the square root of a mask's area."""
    max_erode_px: int = 2
    """Erosion is never wider, px; 0 switches it off."""
    min_core_share: float = 0.2
    """Erosion is halved until this share of the mask is left, so that thin masks keep a core."""
    min_confidence: float = 0.3
    """Pixels of less confidence are not measured; maps without confidence are trusted."""
    min_pixels: int = 5
    """Fewer measured pixels give no distance."""
    min_valid_share: float = 0.2
    """A smaller measured share of the inner pixels gives no distance."""
    find_layers: bool = True
    """Whether to look for two depth layers under a mask."""
    min_layer_share: float = 0.15
    """Either layer has at least this share of the measured pixels."""
    min_layer_gap: float = 0.1
    """Least gap of two layers, relative to the near side's inverse depth (0.1: 1.0 to 1.11 m)."""
    min_layer_pixels: int = 60
    """Masks with fewer measured pixels are one layer."""

    def __post_init__(self) -> None:
        for name in ("erode_share", "min_core_share", "min_confidence", "min_valid_share"):
            _check_range(name, getattr(self, name), 0.0, 1.0)
        _check_range("min_layer_share", self.min_layer_share, 0.05, 0.4)
        _check_range("min_layer_gap", self.min_layer_gap, 0.0, 1.0)
        _check_range("max_erode_px", self.max_erode_px, 0, 1000)
        _check_range("min_pixels", self.min_pixels, 1, math.inf)
        _check_range("min_layer_pixels", self.min_layer_pixels, 2, math.inf)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Measurement:
    """What depth says of one mask."""

    distance: Distance = field(default_factory=Distance)
    centroid: tuple[float, float, float] = UNKNOWN_POINT
    """Median x, y, z of the measured points in the left camera's frame, m."""
    extent: tuple[float, float, float] = UNKNOWN_POINT
    """Size along x, y, z between the 2nd and 98th percentile of the points, m."""

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Measurement):
            return NotImplemented
        return self.distance == other.distance and same_numbers(
            (*self.centroid, *self.extent), (*other.centroid, *other.extent)
        )

    __hash__ = None  # type: ignore[assignment]  # NaN is equal to NaN here


@dataclass(frozen=True, slots=True)
class _Maps:
    """The frame in the order of the lines: row by row, or column by column."""

    z: FloatMap
    """Flat, metres, NaN where not usable."""
    z_half: FloatMap
    """The same of every second pixel along and across lines."""
    length: int
    """Pixels in a line."""
    rays: tuple[FloatMap, FloatMap] | None
    """How far points at 1 m lie aside of the axis: by place along a line, and by line."""
    by_column: bool


def measure_masks(
    masks: BoolMap | MaskSet,
    depth: DepthMap,
    rig: Rig | None = None,
    config: MeasureConfig | None = None,
    *,
    exclude: BoolMap | None = None,
) -> list[Measurement]:
    """Distance, centroid and extent of each mask.

    Masks may overlap; none changes what is said of another. Depth that is not metric gives no
    distances; without a rig there are distances but no centroids and extents.

    Args:
        masks: (N, H, W) bool, or a ``MaskSet``.
        depth: of the left image; filled pixels and those of low confidence are left out.
        rig: straight left camera of W x H px.
        config: how to measure.
        exclude: (H, W), pixels to leave out besides, such as occluded ones.

    Returns:
        N measurements, in the order of the masks.

    Raises:
        InputError: masks, maps and rig do not have one size, or the lens is distorted.
    """
    config = config if config is not None else MeasureConfig()
    count = check_inputs(masks, depth, rig, exclude)
    if depth.kind != "metric_m" or count == 0:
        return [Measurement() for _ in range(count)]
    by_column = isinstance(masks, MaskSet)
    maps = _prepare(depth, rig, config, exclude, by_column=by_column)
    step = max(1, _PART_PIXELS // max(depth.values.size, 1))
    parts = [slice(first, first + step) for first in range(0, count, step)]

    def measure_part(part: slice) -> list[Measurement]:
        lines = _lines(masks, part)
        return [found for some in lines.split(_PART_AREA) for found in _measure(some, maps, config)]

    if len(parts) == 1:
        return measure_part(parts[0])
    # NumPy lets go of the interpreter's lock in all that takes long here.
    with ThreadPoolExecutor(WORKERS) as pool:
        return [found for part in pool.map(measure_part, parts) for found in part]


def usable_pixels(depth: DepthMap, config: MeasureConfig, exclude: BoolMap | None) -> BoolMap:
    """(H, W): where depth is known, positive, trusted, matched rather than filled, and wanted."""
    usable = np.isfinite(depth.values) & (depth.values > 0)
    if depth.confidence is not None:
        usable &= depth.confidence >= config.min_confidence
    if depth.filled is not None:
        usable &= ~depth.filled
    if exclude is not None:
        usable &= ~exclude
    return usable


def erosion_radius(area_px: AnyArray, config: MeasureConfig) -> Ints:
    """Erosion in px for masks of that many pixels, before thin masks are spared."""
    radius = np.floor(config.erode_share * np.sqrt(area_px) + 0.5)
    return np.minimum(radius, config.max_erode_px).astype(np.int64)


def check_inputs(
    masks: BoolMap | MaskSet, depth: DepthMap, rig: Rig | None, exclude: BoolMap | None
) -> int:
    """Fail in words unless all inputs belong together; the number of masks.

    Raises:
        InputError: they do not.
    """
    height, width = depth.values.shape
    if isinstance(masks, MaskSet):
        count, size = len(masks), (masks.height, masks.width)
    else:
        if not isinstance(masks, np.ndarray) or masks.dtype != np.bool_ or masks.ndim != 3:
            found = f"{masks.dtype} {masks.shape}" if isinstance(masks, np.ndarray) else type(masks)
            raise InputError(f"masks must be bool of shape (N, H, W), got {found}.")
        count, size = masks.shape[0], masks.shape[1:]
    if size != (height, width):
        raise InputError(
            f"masks are {size[1]} x {size[0]} px but the depth map is {width} x {height} px. "
            "Resize one of them to the other's size first."
        )
    if exclude is not None:
        check_map(exclude, np.bool_, "exclude", (height, width))
    if rig is not None and rig.size not in (None, (width, height)):
        raise InputError(
            f"the rig is for {rig.size} px but the depth map is {width} x {height} px. "
            f"Scale the rig: Rig.scaled({width}, {height})."
        )
    if rig is not None and rig.left.is_distorted:
        raise InputError("the rig's left lens is distorted; rectify the frame and its rig first.")
    return count


def _lines(masks: BoolMap | MaskSet, part: slice) -> Lines:
    if isinstance(masks, MaskSet):
        return lines_from_rles(masks.rles[part], masks.height, masks.width)
    return lines_from_dense(masks[part])


def _prepare(
    depth: DepthMap,
    rig: Rig | None,
    config: MeasureConfig,
    exclude: BoolMap | None,
    *,
    by_column: bool,
) -> _Maps:
    usable = usable_pixels(depth, config, exclude)
    z = np.where(usable, depth.values, np.float32(np.nan))
    rays = None if rig is None else (_rays(rig, 0, z.shape[1]), _rays(rig, 1, z.shape[0]))
    if by_column:
        z = np.ascontiguousarray(z.T)
        rays = None if rays is None else rays[::-1]
    return _Maps(z.ravel(), z[::2, ::2].ravel(), z.shape[1], rays, by_column)


def _rays(rig: Rig, axis: int, size: int) -> FloatMap:
    """How far points at 1 m lie aside, by column (axis 0), or below, by row (axis 1)."""
    pixels = np.full((size, 2), (rig.cx, rig.cy))
    pixels[:, axis] = np.arange(size)
    return back_project_pixels(pixels, np.ones(size), rig)[:, axis]


def _measure(lines: Lines, maps: _Maps, config: MeasureConfig) -> list[Measurement]:
    inner = _core(lines, config)
    inner_size = inner.areas(lines.masks)
    depth_m = maps.z[inner.pixels(maps.length)]
    groups = Groups(inner_size)
    z = groups.sort(depth_m)
    share = z.size / np.maximum(inner_size, 1)
    known = (z.size >= config.min_pixels) & (share >= config.min_valid_share)
    behind = np.full(lines.masks, np.nan)
    limit_m = _near_limit(z, inner, known, maps, config)
    split = np.isfinite(limit_m)
    if split.any():
        near = np.where(split, z.below(limit_m), z.size)
        behind[split] = z.part(near, z.size - near).quantiles((0.5,))[split, 0]
        z = z.part(np.zeros_like(near), near)
        np.copyto(depth_m, np.nan, where=depth_m >= np.repeat(limit_m, inner_size))
    points = []
    if maps.rays is not None:
        along, across = maps.rays
        for aside in (along[inner.along()], np.repeat(across[inner.place], inner.lengths())):
            aside *= depth_m
            points.append(groups.sort(aside, z.size))
    return _report(z, points[::-1] if maps.by_column else points, known, share, behind)


def _core(lines: Lines, config: MeasureConfig) -> Runs:
    """The masks eroded, each by its own width; thin ones by less."""
    areas = lines.areas()
    radius = erosion_radius(areas, config)
    parts: list[Runs] = []
    while True:
        runs = erode(lines, radius)
        thin = (runs.areas(lines.masks) < config.min_core_share * areas) & (radius > 0)
        parts.append(runs.of_masks(~thin))
        if not thin.any():
            return Runs.merge(parts)
        lines, radius = lines.of_masks(thin), radius // 2


def _near_limit(
    z: Sorted, inner: Runs, known: BoolMap, maps: _Maps, config: MeasureConfig
) -> FloatMap:
    """(N,) the depth that parts two layers, m; infinite where there is one."""
    nowhere = np.full(known.shape, np.inf, dtype=np.float32)
    if not config.find_layers:
        return nowhere
    valleys = find_valleys(
        inverse_quantiles(z),
        z.size,
        min_share=config.min_layer_share,
        min_gap=config.min_layer_gap,
        min_pixels=config.min_layer_pixels,
    )
    found = valleys.found & known
    if found.any():
        some = inner.of_masks(found).halved()
        length = (maps.length + 1) // 2
        pixels = some.pixels(length)
        depth_m = maps.z_half[pixels]
        usable = ~np.isnan(depth_m)
        place, along = np.divmod(pixels[usable], length)
        owner = np.repeat(np.arange(known.size), some.areas(known.size))[usable]
        size = np.bincount(owner, minlength=known.size)[found]
        found[found] = ~one_plane(depth_m[usable], along, place, size, valleys.of_masks(found))
    return np.where(found, valleys.depth_m, nowhere)


def _report(
    z: Sorted, points: list[Sorted], known: BoolMap, share: Doubles, behind: Doubles
) -> list[Measurement]:
    p10, median, p90 = z.quantiles(DISTANCE_SHARES).T
    spread = MAD_TO_SIGMA * z.median_deviation(median)
    layers = 1 + np.isfinite(behind)
    columns = (known, median, p10, p90, spread, share, z.size, layers, behind)
    centroid = extent = np.full((known.size, 3), np.nan)
    if points:
        low, middle, high = np.stack(
            [axis.quantiles(EXTENT_SHARES) for axis in (*points, z)], axis=-1
        ).swapaxes(0, 1)
        centroid, extent = middle, high - low
    rows = zip(*(column.tolist() for column in columns), strict=True)
    places = zip(centroid.tolist(), extent.tolist(), strict=True)
    return [_measurement(row, *place) for row, place in zip(rows, places, strict=True)]


def _measurement(row: tuple[Any, ...], centroid: list[float], extent: list[float]) -> Measurement:
    known, median, p10, p90, spread, share, pixels, layers, behind = row
    if not known:
        return Measurement(distance=Distance(valid_share=share, pixels=pixels))
    return Measurement(
        distance=Distance(
            median=median,
            p10=p10,
            p90=p90,
            spread=spread,
            valid_share=share,
            pixels=pixels,
            layers=layers,
            behind=behind,
        ),
        centroid=(centroid[0], centroid[1], centroid[2]),
        extent=(extent[0], extent[1], extent[2]),
    )


def _check_range(name: str, value: float, low: float, high: float) -> None:
    if not low <= value <= high:
        raise InputError(f"{name} must be within {low:g} to {high:g}, got {value}.")
