"""Planes for regions without texture: walls, table tops, car bodies.

Inside such a region matching has nothing to hold on to, and what it says is often the same
compression artefact in both images. At its rim there is contrast. So each region of even colour
gets the plane that most of its rim agrees on (RANSAC, Fischler & Bolles 1981), if there is one.
"""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.typing import NDArray

from rangemask.geometry.arrays import BoolMap, FloatMap, ImageArray

EVEN_GREY_LEVELS = 5
"""Largest step to a neighbour within a region, after a little smoothing."""

LEAST_AREA_SHARE = 0.002
MOST_REGIONS = 40
RIM_PX, INNER_WEIGHT = 8, 0.05
"""Matches farther than this from the region's border count for little."""

INLIER_PX, LEAST_SUPPORT = 1.0, 0.5
"""A plane must pass that close to half of the (weighted) matches."""

LEAST_MATCHES, LEAST_MATCH_SHARE = 50, 0.02
SPAN = 0.5
"""Of a region's width and height: the least that supports must reach across."""

WELL_MATCHED_SHARE = 0.97
"""A region with so many matches needs no plane."""

HYPOTHESES, MOST_SAMPLES = 64, 600
BEYOND_PX = 3.0
"""A plane may leave the range of matched disparities by this much."""

TRUSTED_PX, WINDOW_PX, TRUSTED_SHARE = 4, 41, 0.85
"""Deeper than this inside a region, matches are believed where most around them are good."""


@dataclass(frozen=True, slots=True, eq=False)
class EvenRegions:
    """Where an image is of even colour."""

    labels: NDArray[np.int32]
    """(H, W): number of the region, 0 outside."""
    boxes: NDArray[np.int32]
    """(N, 5): x, y, width, height, area of each label."""
    depth_px: FloatMap
    """(H, W): distance to the border of the region."""


def even_regions(image: ImageArray) -> EvenRegions:
    """Connected regions of even colour of an (H, W, 3) RGB image."""
    calm = cv2.GaussianBlur(image, (5, 5), 0)
    steps = cv2.morphologyEx(calm, cv2.MORPH_GRADIENT, np.ones((3, 3), np.uint8))
    red, green, blue = cv2.split(steps)
    largest = cv2.max(cv2.max(red, green), blue)
    even = cv2.threshold(largest, EVEN_GREY_LEVELS - 1, 1, cv2.THRESH_BINARY_INV)[1]
    _, labels, boxes, _ = cv2.connectedComponentsWithStats(even, connectivity=4)
    depth_px = cv2.distanceTransform(even, cv2.DIST_L1, 3)
    return EvenRegions(
        np.asarray(labels, np.int32), np.asarray(boxes, np.int32), np.asarray(depth_px, np.float32)
    )


def doubtful(matched_px: FloatMap, regions: EvenRegions) -> BoolMap:
    """(H, W): matches deep inside an even region where many others around them failed."""
    known = np.isfinite(matched_px).astype(np.float32)
    share = cv2.blur(known, (WINDOW_PX, WINDOW_PX))
    return np.asarray((regions.depth_px > TRUSTED_PX) & (share < TRUSTED_SHARE), np.bool_)


@dataclass(frozen=True, slots=True, eq=False)
class Planes:
    """What the planes of even regions say."""

    disparity_px: FloatMap
    """(H, W), NaN where there is no plane."""
    spanned: BoolMap
    """(H, W): the plane's supports surround the region; elsewhere it is drawn out."""


def fit_planes(matched_px: FloatMap, certainty: FloatMap, regions: EvenRegions) -> Planes:
    """Planes of the largest regions, where one is clear.

    Args:
        matched_px: (H, W), NaN where unmatched.
        certainty: (H, W) in [0, 1], of each match.
        regions: of the left image.
    """
    shape = matched_px.shape
    planes = Planes(np.full(shape, np.nan, np.float32), np.zeros(shape, np.bool_))
    known = matched_px[np.isfinite(matched_px)]
    if known.size < LEAST_MATCHES:
        return planes
    areas = regions.boxes[1:, cv2.CC_STAT_AREA]
    order = np.argsort(-areas, kind="stable")[:MOST_REGIONS]
    for label in order[areas[order] >= LEAST_AREA_SHARE * matched_px.size] + 1:
        _fit_region(int(label), matched_px, certainty, regions, planes)
    low, high = known.min() - BEYOND_PX, known.max() + BEYOND_PX
    planes_px = planes.disparity_px
    planes_px[(planes_px < low) | (planes_px > high)] = np.nan
    return planes


def _fit_region(
    label: int,
    matched_px: FloatMap,
    certainty: FloatMap,
    regions: EvenRegions,
    planes: Planes,
) -> None:
    """Write the plane of one region, if it has one, into ``planes``."""
    x, y, width, height, area = (int(number) for number in regions.boxes[label])
    box = np.s_[max(y - 2, 0) : y + height + 2, max(x - 2, 0) : x + width + 2]
    # The region's own outline, where its contrast is, belongs to it.
    inside = cv2.dilate((regions.labels[box] == label).astype(np.uint8), np.ones((5, 5))) > 0
    rows, columns = np.nonzero(inside & np.isfinite(matched_px[box]))
    if rows.size < max(LEAST_MATCHES, LEAST_MATCH_SHARE * area):
        return
    if rows.size >= WELL_MATCHED_SHARE * np.count_nonzero(inside):
        return
    weights = np.clip(certainty[box][rows, columns], 0.05, 0.75).astype(np.float64)
    weights[regions.depth_px[box][rows, columns] > RIM_PX] *= INNER_WEIGHT
    points = np.stack([columns, rows, np.ones_like(rows)], axis=1).astype(np.float64)
    values = matched_px[box][rows, columns].astype(np.float64)
    plane = robust_plane(points, values, weights)
    if plane is None:
        return
    near = np.abs(points @ plane - values) < INLIER_PX
    # A sky that touches one roof is not an extension of the roof.
    spans = (np.ptp(columns[near]) >= SPAN * width) & (np.ptp(rows[near]) >= SPAN * height)
    rows, columns = np.nonzero(inside)
    planes.disparity_px[box][rows, columns] = plane[0] * columns + plane[1] * rows + plane[2]
    planes.spanned[box][rows, columns] = spans


def robust_plane(
    points: NDArray[np.float64], values: NDArray[np.float64], weights: NDArray[np.float64]
) -> NDArray[np.float64] | None:
    """(3,) plane a x + b y + c that most of the weight agrees on; None where there is none.

    Args:
        points: (N, 3) rows of x, y, 1.
        values: (N,).
        weights: (N,), positive.
    """
    generator = np.random.default_rng(0)
    if len(values) > MOST_SAMPLES:
        chosen = generator.choice(
            len(values), MOST_SAMPLES, replace=False, p=weights / weights.sum()
        )
        points, values = points[chosen], values[chosen]
        weights = np.ones(MOST_SAMPLES)
    triples = generator.choice(len(values), (HYPOTHESES, 3), p=weights / weights.sum())
    corners = points[triples]
    # A triple that spans little says little; the best ones are also the best conditioned.
    spread = np.abs(np.linalg.det(corners))
    wide = spread > 0.1 * spread.max()
    if not wide.any() or spread.max() == 0:
        return None
    planes = np.linalg.solve(corners[wide], values[triples[wide]][..., None])[..., 0]
    misses = np.abs(points @ planes.T - values[:, None])
    plane = planes[(weights[:, None] * (misses < INLIER_PX)).sum(axis=0).argmax()]
    for reach_px in (1.5 * INLIER_PX, INLIER_PX, INLIER_PX):
        near = np.abs(points @ plane - values) < reach_px
        if near.sum() < LEAST_MATCHES // 2:
            return None
        root = np.sqrt(weights[near])
        plane = np.linalg.lstsq(points[near] * root[:, None], values[near] * root, rcond=None)[0]
    support = weights[np.abs(points @ plane - values) < INLIER_PX].sum() / weights.sum()
    return plane if support >= LEAST_SUPPORT else None
