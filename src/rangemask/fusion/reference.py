"""The measurement of masks said plainly, one mask after the other: to be read, and to test by.

``measure.measure_masks`` gives the same numbers and is what the program uses.
"""

from __future__ import annotations

import cv2
import numpy as np

from rangemask.fusion.layers import STEPS, find_valleys, one_plane
from rangemask.fusion.measure import (
    DISTANCE_SHARES,
    EXTENT_SHARES,
    MAD_TO_SIGMA,
    MeasureConfig,
    Measurement,
    check_inputs,
    erosion_radius,
    usable_pixels,
)
from rangemask.geometry import Rig, back_project
from rangemask.geometry.arrays import AnyArray, BoolMap
from rangemask.structures.maps import DepthMap
from rangemask.structures.masks import MaskSet
from rangemask.structures.objects import UNKNOWN_POINT, Distance


def measure_masks_loop(
    masks: BoolMap | MaskSet,
    depth: DepthMap,
    rig: Rig | None = None,
    config: MeasureConfig | None = None,
    *,
    exclude: BoolMap | None = None,
) -> list[Measurement]:
    """What ``measure_masks`` gives, by a loop over the masks.

    Raises:
        InputError: see ``measure_masks``.
    """
    config = config if config is not None else MeasureConfig()
    count = check_inputs(masks, depth, rig, exclude)
    if depth.kind != "metric_m":
        return [Measurement() for _ in range(count)]
    usable = usable_pixels(depth, config, exclude)
    points = None if rig is None else back_project(depth.values, rig)
    measured = []
    for mask in masks:
        inner = eroded(mask, config)
        chosen = inner & usable
        depth_m = depth.values[chosen].astype(np.float64)
        share = depth_m.size / max(int(np.count_nonzero(inner)), 1)
        if depth_m.size < config.min_pixels or share < config.min_valid_share:
            distance = Distance(valid_share=share, pixels=depth_m.size)
            measured.append(Measurement(distance=distance))
            continue
        near = depth_m < near_limit(depth, chosen, config)
        p10, median, p90 = np.quantile(depth_m[near], DISTANCE_SHARES)
        distance = Distance(
            median=float(median),
            p10=float(p10),
            p90=float(p90),
            spread=float(MAD_TO_SIGMA * np.median(np.abs(depth_m[near] - median))),
            valid_share=share,
            pixels=int(np.count_nonzero(near)),
            layers=1 if near.all() else 2,
            behind=float("nan") if near.all() else float(np.median(depth_m[~near])),
        )
        centroid = extent = UNKNOWN_POINT
        if points is not None:
            shares = np.quantile(points[chosen][near].astype(np.float64), EXTENT_SHARES, axis=0)
            low, middle, high = shares
            centroid, extent = _triple(middle), _triple(high - low)
        measured.append(Measurement(distance=distance, centroid=centroid, extent=extent))
    return measured


def eroded(mask: BoolMap, config: MeasureConfig) -> BoolMap:
    """(H, W): the mask's core; the image's border does not erode, thin masks erode less."""
    area = int(np.count_nonzero(mask))
    radius = int(erosion_radius(np.array(area), config))
    while True:
        square = np.ones((2 * radius + 1, 2 * radius + 1), dtype=np.uint8)
        inner = cv2.erode(mask.view(np.uint8), square).view(np.bool_)
        if radius == 0 or np.count_nonzero(inner) >= config.min_core_share * area:
            return inner
        radius //= 2


def near_limit(depth: DepthMap, chosen: BoolMap, config: MeasureConfig) -> float:
    """The depth that parts two layers under the chosen pixels, m; infinite where there is one."""
    depth_m = depth.values[chosen].astype(np.float64)
    if not config.find_layers or depth_m.size < config.min_layer_pixels:
        return float("inf")
    quantiles = 1.0 / np.quantile(depth_m, np.linspace(1.0, 0.0, STEPS + 1))
    valley = find_valleys(
        quantiles[None],
        np.array([depth_m.size]),
        min_share=config.min_layer_share,
        min_gap=config.min_layer_gap,
        min_pixels=config.min_layer_pixels,
    )
    if not valley.found[0]:
        return float("inf")
    some = chosen[::2, ::2]
    y_px, x_px = np.nonzero(some)
    if one_plane(depth.values[::2, ::2][some], x_px, y_px, np.array([x_px.size]), valley)[0]:
        return float("inf")
    return float(valley.depth_m[0])


def _triple(values: AnyArray) -> tuple[float, float, float]:
    return float(values[0]), float(values[1]), float(values[2])
