"""From the grid to masks of the full image, outlines drawn by depth and colour together.

Stereo's outlines are fat and vague by some pixels; the image's are sharp but many. So a band
around each first outline is decided anew, pixel by pixel: by how well its disparity fits the
object and what is behind it, and by how well its colour fits either, from histograms of both.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TypeAlias

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import find_objects, gaussian_filter

from rangemask.backends.masks.geometry.config import GeometryConfig
from rangemask.backends.masks.geometry.grid import Grid
from rangemask.backends.masks.geometry.segments import Labels
from rangemask.geometry.arrays import AnyArray, BoolMap, FloatMap, ImageArray

Window: TypeAlias = tuple[slice, slice]

_BINS = 12
_COLOUR_LIMIT = 3.0
_DEPTH_LIMIT = 3.0
_RARE_COLOUR = 2e-4
_SURE = 9.0
_BAND_SHARE = 0.15
_WIDEST_BAND_PX = 20
_LEAST_PIECE = 0.1


@dataclass(frozen=True, slots=True, eq=False)
class _Maps:
    """What outlines are drawn from, full image."""

    disparity_px: FloatMap
    weight: FloatMap
    background_px: FloatMap
    """0 where there is none."""
    labels: Labels
    colours: NDArray[np.int32]
    """Number of each pixel's colour bin."""
    noise_px: float


def draw(
    grid: Grid,
    labels: Labels,
    background_px: FloatMap,
    image: ImageArray,
    config: GeometryConfig,
) -> tuple[BoolMap, list[int]]:
    """Masks of the full image.

    Args:
        grid: disparity.
        labels: (h, w) objects on the grid.
        background_px: (h, w) disparity of the surroundings, NaN where unknown.
        image: (H, W, 3) uint8 RGB.
        config: whether to draw outlines anew; without, they are those of the grid.

    Returns:
        (N, H, W) bool masks without overlap, and the number of each in ``labels``.
    """
    count = int(labels.max(initial=0))
    full = _enlarged(labels, grid, cv2.INTER_NEAREST).astype(np.int32)
    owner = full
    if config.snap and count:
        owner = _redrawn(_make_maps(grid, full, background_px, image), count)
    least_px = config.min_area_px
    masks, kept = [], []
    free = owner == 0
    for number, box in enumerate(find_objects(owner, count), start=1):
        if box is None:
            continue
        # One pixel wider, so that the outside is one piece and no hole.
        window = _wider(box, 1, full.shape)
        for piece in _pieces(owner[window] == number, least_px):
            mask = np.zeros(full.shape, np.bool_)
            mask[window] = piece & (free[window] | (owner[window] == number))
            free &= ~mask
            masks.append(mask)
            kept.append(number)
    return np.stack(masks) if masks else np.zeros((0, *full.shape), np.bool_), kept


def _make_maps(grid: Grid, labels: Labels, background_px: FloatMap, image: ImageArray) -> _Maps:
    calm = cv2.GaussianBlur(image, (0, 0), 0.8)
    bins = (calm.astype(np.int32) * _BINS) >> 8
    return _Maps(
        disparity_px=grid.full_px,
        weight=np.minimum(1.25 * grid.weight, 1).astype(np.float32),
        background_px=_enlarged(np.nan_to_num(background_px), grid, cv2.INTER_LINEAR),
        labels=labels,
        colours=(bins[..., 0] * _BINS + bins[..., 1]) * _BINS + bins[..., 2],
        noise_px=grid.noise_px,
    )


def _redrawn(maps: _Maps, count: int) -> Labels:
    """(H, W) numbers of objects; where two claim a pixel, the likelier has it."""
    best = np.zeros(maps.labels.shape, np.float32)
    owner = np.zeros(maps.labels.shape, np.int32)
    for number, box in enumerate(find_objects(maps.labels, count), start=1):
        if box is None:
            continue
        area = int((maps.labels[box] == number).sum())
        band_px = int(np.clip(_BAND_SHARE * math.sqrt(area), 3, _WIDEST_BAND_PX))
        window = _wider(box, 3 * band_px + 4, maps.labels.shape)
        odds = _odds(maps, window, number, band_px)
        wins = odds > best[window]
        owner[window][wins] = number
        best[window][wins] = odds[wins]
    return owner


def _odds(maps: _Maps, window: Window, number: int, band_px: int) -> FloatMap:
    """(h, w) log odds that a pixel of the window is of the object, settled outside the band."""
    own = maps.labels[window] == number
    others = (maps.labels[window] > 0) & ~own
    core, reach = _shrunk(own, band_px), _widened(own, band_px)
    odds = _depth_odds(maps, window, own, band_px)
    odds += _colour_odds(maps.colours[window], core if core.sum() > 30 else own, ~reach)
    odds = np.asarray(cv2.GaussianBlur(odds, (0, 0), 1.2), np.float32)
    odds[core] = _SURE
    odds[~reach | _shrunk(others, 2)] = -_SURE
    return odds


def _depth_odds(maps: _Maps, window: Window, own: BoolMap, band_px: int) -> FloatMap:
    """By how much better a pixel's disparity fits the object than what is behind it."""
    disparity = maps.disparity_px[window]
    known = np.isfinite(disparity)
    disparity = np.where(known, disparity, np.float32(0))
    object_px = _spread(disparity, own & known, band_px)
    spread = np.float32(1.5 * maps.noise_px) + np.float32(0.01) * object_px
    to_object = np.minimum(np.abs(disparity - object_px) / spread, 4)
    to_behind = np.minimum(np.abs(disparity - maps.background_px[window]) / spread, 4)
    odds = np.clip((to_behind**2 - to_object**2) / 2, -_DEPTH_LIMIT, _DEPTH_LIMIT)
    # Unknown pixels are shadows more often than not.
    return np.where(known, odds * maps.weight[window], np.float32(-0.5)).astype(np.float32)


def _spread(values: FloatMap, where: BoolMap, reach_px: int) -> FloatMap:
    """Local means of the values given, continued to where there are none."""
    weight = where.astype(np.float32)
    given = values * weight
    result = np.full(values.shape, given.sum() / max(float(weight.sum()), 1.0), np.float32)
    for size in (4 * reach_px + 1, 2 * reach_px + 1):
        share = cv2.blur(weight, (size, size))
        result = np.where(
            share > 0.01, cv2.blur(given, (size, size)) / np.maximum(share, 1e-3), result
        )
    return np.asarray(result, np.float32)


def _colour_odds(colours: NDArray[np.int32], inside: BoolMap, outside: BoolMap) -> FloatMap:
    """By how much likelier a pixel's colour is inside than outside."""
    ratio = (_histogram(colours[inside]) + _RARE_COLOUR) / (
        _histogram(colours[outside]) + _RARE_COLOUR
    )
    odds = np.clip(np.log(ratio), -_COLOUR_LIMIT, _COLOUR_LIMIT).astype(np.float32)
    return np.asarray(odds[colours], np.float32)


def _histogram(colours: NDArray[np.int32]) -> FloatMap:
    counts = np.bincount(colours, minlength=_BINS**3).astype(np.float32)
    smooth = gaussian_filter(counts.reshape((_BINS,) * 3), 0.7).ravel()
    return np.asarray(smooth / max(float(smooth.sum()), 1.0), np.float32)


def _shrunk(mask: BoolMap, by_px: int) -> BoolMap:
    """Away from its outline, but not from the window's border."""
    eroded = cv2.erode(mask.astype(np.uint8), _disc(by_px), borderType=cv2.BORDER_REPLICATE)
    return np.asarray(eroded > 0, np.bool_)


def _widened(mask: BoolMap, by_px: int) -> BoolMap:
    return np.asarray(cv2.dilate(mask.astype(np.uint8), _disc(by_px)) > 0, np.bool_)


def _disc(radius_px: int) -> NDArray[np.uint8]:
    return np.asarray(
        cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (2 * radius_px + 1,) * 2), np.uint8
    )


def _wider(box: Window, margin_px: int, shape: tuple[int, ...]) -> Window:
    rows, columns = (
        slice(max(0, side.start - margin_px), min(length, side.stop + margin_px))
        for side, length in zip(box, shape, strict=True)
    )
    return rows, columns


def _enlarged(values: AnyArray, grid: Grid, how: int) -> FloatMap:
    """A map of the grid at full size."""
    height, width = grid.full_px.shape
    x = (np.arange(width, dtype=np.float32) - grid.offset) / grid.stride
    y = (np.arange(height, dtype=np.float32) - grid.offset) / grid.stride
    map_x, map_y = np.meshgrid(x, y)
    large = cv2.remap(values.astype(np.float32), map_x, map_y, how, borderMode=cv2.BORDER_REPLICATE)
    return np.asarray(large, np.float32)


def _pieces(mask: BoolMap, least_px: int) -> list[BoolMap]:
    """A mask as things: what lies above each other is one, what lies side by side is not."""
    _, labels, stats, _ = cv2.connectedComponentsWithStats(mask.astype(np.uint8), connectivity=4)
    area = stats[1:, cv2.CC_STAT_AREA]
    large = [int(i) + 1 for i in np.flatnonzero(area >= _LEAST_PIECE * area.max(initial=0))]
    large.sort(key=lambda i: -int(stats[i, cv2.CC_STAT_AREA]))
    things: list[list[int]] = []
    for i in large:
        home = next((thing for thing in things if _share_columns(stats[i], stats[thing[0]])), None)
        if home is not None:
            home.append(i)
        elif not things or stats[i, cv2.CC_STAT_AREA] >= least_px:
            things.append([i])
    return [_without_holes(np.isin(labels, thing)) for thing in things]


def _share_columns(one: NDArray[np.int32], other: NDArray[np.int32]) -> bool:
    """Whether one of two pieces, by OpenCV's statistics, lies above the other."""
    left, width = cv2.CC_STAT_LEFT, cv2.CC_STAT_WIDTH
    end = min(one[left] + one[width], other[left] + other[width])
    shared = int(end) - int(max(one[left], other[left]))
    return shared > 0.3 * float(min(one[width], other[width]))


def _without_holes(mask: BoolMap) -> BoolMap:
    """Small holes filled; large ones are there to see through."""
    _, labels, stats, _ = cv2.connectedComponentsWithStats((~mask).astype(np.uint8), connectivity=8)
    small = stats[:, cv2.CC_STAT_AREA] < 0.01 * mask.sum() + 20
    small[0] = False
    return np.asarray(mask | small[labels], np.bool_)
