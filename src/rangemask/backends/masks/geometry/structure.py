"""Which planes bound the scene, so that objects stand out from them, and what they are called.

A plane of the surroundings lies behind what meets it in the image; the face of an object owns
its outline: beyond it one sees something farther (figure and ground).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

import cv2
import numpy as np

from rangemask.backends.masks.geometry.grid import Grid
from rangemask.backends.masks.geometry.planes import Plane
from rangemask.geometry.arrays import BoolMap, FloatMap, Matrix

PlaneKind: TypeAlias = Literal["floor-like", "wall-like", "ceiling-like", "other plane"]

_INSIDE_SIGMAS = 3.0
_LEVEL_COS = 0.75
_UPRIGHT_COS = 0.45
_MOST_SEEN_THROUGH = 0.2


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Surface:
    """One plane of the surroundings."""

    plane: Plane
    kind: PlaneKind
    inside: BoolMap
    """(h, w): pixels that lie on it."""
    reach: BoolMap
    """(h, w): where it is, seen or hidden by what stands in front."""


def find_surroundings(grid: Grid, planes: list[Plane], *, min_share: float) -> list[Surface]:
    """The planes that bound the scene from behind or from below."""
    known = max(int(np.isfinite(grid.dense_px).sum()), 1)
    kinds = [_kind(plane.normal(grid)) for plane in planes]
    taken = np.zeros(grid.shape, np.bool_)
    found: list[Surface] = []
    for plane, kind in zip(planes, kinds, strict=True):
        inside = _lies_on(plane, grid) & ~taken
        main = _main_parts(inside)
        share = float(main.sum() / known)
        if share < min_share or not _bounds(plane, kind, main, share, grid):
            continue
        taken |= inside
        endless = kind == "floor-like" and not any(other.kind == kind for other in found)
        # A wall goes on behind what stands in front of it.
        margin_px = max(grid.shape) // 40
        reach = np.ones(grid.shape, np.bool_) if endless else _hull(main, margin_px=margin_px)
        found.append(Surface(plane=plane, kind=kind, inside=inside, reach=reach))
    return found


def floor_of(surfaces: list[Surface]) -> Plane | None:
    """The largest floor, if there is one."""
    floors = (surface.plane for surface in surfaces if surface.kind == "floor-like")
    return next(floors, None)


def background(grid: Grid, surfaces: list[Surface]) -> FloatMap:
    """(h, w) disparity of the nearest surface in each direction, NaN where there is none."""
    nearest = np.full(grid.shape, np.nan, np.float32)
    for surface in surfaces:
        model = surface.plane.disparity(grid.shape)
        seen = surface.reach & (model > 0)
        nearest = np.fmax(nearest, np.where(seen, model, np.float32(np.nan)))
    return nearest


def _kind(normal: Matrix) -> PlaneKind:
    """By the normal's angle to the image's vertical, for cameras up to about 40 degrees tilted."""
    if normal[1] < -_LEVEL_COS:
        return "floor-like"
    if normal[1] > _LEVEL_COS:
        return "ceiling-like"
    return "wall-like" if abs(normal[1]) < _UPRIGHT_COS else "other plane"


def _lies_on(plane: Plane, grid: Grid) -> BoolMap:
    off = np.abs(grid.dense_px - plane.disparity(grid.shape))
    return np.asarray(off <= grid.tolerance(grid.dense_px, _INSIDE_SIGMAS), np.bool_)


def _main_parts(inside: BoolMap) -> BoolMap:
    """Without crumbs: what an opening leaves, in pieces of at least a tenth of the largest."""
    opened = cv2.morphologyEx(inside.astype(np.uint8), cv2.MORPH_OPEN, np.ones((3, 3), np.uint8))
    count, labels, stats, _ = cv2.connectedComponentsWithStats(opened, connectivity=4)
    if count < 2:
        return np.zeros_like(inside)
    areas = stats[:, cv2.CC_STAT_AREA].copy()
    areas[0] = 0
    return np.asarray((areas >= 0.1 * areas.max())[labels] & (labels > 0), np.bool_)


def _bounds(plane: Plane, kind: PlaneKind, main: BoolMap, share: float, grid: Grid) -> bool:
    """Whether a plane belongs to the surroundings."""
    above = grid.dense_px - plane.disparity(grid.shape)
    farther = above < -grid.tolerance(grid.dense_px, 2 * _INSIDE_SIGMAS)
    hull = _hull(main, margin_px=0)
    seen_through = float((farther & hull).sum() / max(int(hull.sum()), 1))
    if seen_through > _MOST_SEEN_THROUGH:
        return False
    owned = _owned(plane, kind, main, grid, farther)
    if kind == "floor-like":
        at_bottom = float(main[-3:].any(axis=0).mean())
        return owned < 0.35 or (share > 0.12 and at_bottom > 0.3)
    if share > 0.25:
        return owned < 0.5
    if share < 0.06 and kind != "ceiling-like":
        return owned < 0.1 and seen_through < 0.05
    return owned < 0.3


def _owned(plane: Plane, kind: PlaneKind, main: BoolMap, grid: Grid, farther: BoolMap) -> float:
    """Share of the outline with something farther beyond it."""
    seed = main.astype(np.uint8)
    ring = cv2.dilate(seed, np.ones((9, 9), np.uint8)) > cv2.dilate(seed, np.ones((5, 5), np.uint8))
    unknown = np.isnan(grid.dense_px)
    # Next to a wall the unknown is sky, except where the right camera cannot see.
    columns = np.arange(grid.shape[1]) * grid.stride
    blind = unknown & ((columns < plane.disparity(grid.shape)) | (kind == "floor-like"))
    ring &= ~blind
    return float(((farther | unknown) & ring).sum() / max(int(ring.sum()), 1))


def _hull(mask: BoolMap, *, margin_px: int) -> BoolMap:
    """Convex hull, wider by a margin."""
    y, x = np.nonzero(mask)
    corners = cv2.convexHull(np.stack([x, y], axis=1).astype(np.int32))
    hull = np.zeros(mask.shape, np.uint8)
    cv2.fillConvexPoly(hull, corners, 1)
    kernel = np.ones((2 * margin_px + 1,) * 2, np.uint8)
    return np.asarray(cv2.dilate(hull, kernel) > 0, np.bool_)
