"""Dominant planes, and which of them are the structure that objects stand out from.

Planes are found by RANSAC (Fischler and Bolles, 1981), all hypotheses at once, in disparity
space, where a plane is linear and stereo's noise is even.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from rangemask.backends.masks.geometry.config import GeometryConfig
from rangemask.backends.masks.geometry.grid import Grid
from rangemask.geometry.arrays import BoolMap, FloatMap

PlaneKind: TypeAlias = Literal["floor-like", "wall-like", "ceiling-like", "other plane"]

_SEED = 20260101
_HYPOTHESES = 400
_SAMPLES = 3000
_REFITS = 3
_TOLERANCE = 2.0
"""A point is of a plane within so many times the noise ..."""
_TOLERANCE_SHARE = 0.015
"""... plus this share of its disparity, for planes that are not quite plane."""

Points: TypeAlias = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class PlaneFound:
    """``disparity = a x + b y + c`` over the viewing directions (x, y)."""

    coefficients: tuple[float, float, float]
    inliers: BoolMap
    """(h, w) on the work grid."""

    def disparity_px(self, grid: Grid) -> FloatMap:
        """(h, w) the plane's disparity everywhere; not positive where it is not seen."""
        a, b, c = self.coefficients
        found: FloatMap = np.float32(a) * grid.x[None] + np.float32(b) * grid.y[:, None]
        return found + np.float32(c)

    @property
    def kind(self) -> PlaneKind:
        """By its normal, for a camera held within 40 degrees of level."""
        normal = np.asarray(self.coefficients) / np.linalg.norm(self.coefficients)
        if normal[1] > 0.7:
            return "floor-like"
        if normal[1] < -0.7:
            return "ceiling-like"
        return "wall-like" if abs(normal[1]) < 0.5 else "other plane"


def find_planes(grid: Grid, config: GeometryConfig) -> list[PlaneFound]:
    """The dominant planes, largest first in turn, each of the points that earlier ones left."""
    random = np.random.default_rng(_SEED)
    left = grid.known.copy()
    least = max(30, config.min_plane_share * left.sum())
    planes: list[PlaneFound] = []
    while len(planes) < config.max_planes and left.sum() >= least:
        found = _best_plane(grid, left, config, random)
        if found is None or found.inliers.sum() < least:
            break
        planes.append(found)
        left &= ~found.inliers
    return planes


def structure(planes: list[PlaneFound], grid: Grid, config: GeometryConfig) -> list[PlaneFound]:
    """The planes that bound the scene: floors, tables, walls, but no faces of objects.

    Behind a floor or a wall there is nothing; behind the face of a box there is. Where
    something is seen behind all the same (a table's edge, a door), size must speak for it.
    """
    return [plane for plane in planes if _is_structure(plane, grid, config)]


def _is_structure(plane: PlaneFound, grid: Grid, config: GeometryConfig) -> bool:
    disparity, seen = plane.disparity_px(grid), grid.known
    share = float(plane.inliers.sum() / max(1, seen.sum()))
    tolerance = 2 * _tolerance(grid.disparity_px, config)
    with np.errstate(invalid="ignore"):
        reach = seen & (disparity > config.min_disparity_px)
        behind = float((reach & (grid.disparity_px < disparity - tolerance)).sum())
    behind /= max(1.0, float(reach.sum()))
    if plane.kind == "floor-like":
        return behind < 0.06 or (share > 0.15 and behind < 0.6)
    rims = _rims(plane.inliers)
    if behind < 0.06:
        return share > 0.06 or rims > 0.25
    return share > 0.15 and rims > 0.3 and behind < 0.35


def _rims(inliers: BoolMap) -> float:
    """The largest share that a plane has of the top, left or right rim of the image."""
    return max(float(rim.mean()) for rim in (inliers[:3], inliers[:, :3], inliers[:, -3:]))


def _tolerance(disparity_px: FloatMap, config: GeometryConfig) -> FloatMap:
    limit: FloatMap = _TOLERANCE_SHARE * np.abs(disparity_px) + np.float32(
        _TOLERANCE * config.noise_px
    )
    return limit


def _best_plane(
    grid: Grid, left: BoolMap, config: GeometryConfig, random: np.random.Generator
) -> PlaneFound | None:
    rows, columns = np.nonzero(left)
    if rows.size < 3:
        return None
    chosen = random.integers(0, rows.size, min(_SAMPLES, rows.size))
    sample = _points(grid, rows[chosen], columns[chosen])
    hypotheses = np.concatenate(list(_hypotheses(grid, rows, columns, left, random)))
    if hypotheses.size == 0:
        return None
    predicted = hypotheses[:, :2] @ sample[:, :2].T + hypotheses[:, 2:]
    limit = _tolerance(sample[:, 2], config)
    votes = (np.abs(predicted - sample[:, 2]) < limit).sum(axis=1)
    best = hypotheses[int(votes.argmax())]
    inliers = left
    for _ in range(_REFITS):
        inliers = left & _near(best, grid, config)
        if inliers.sum() < 3:
            return None
        best = _fit(grid, inliers)
    inliers = left & _near(best, grid, config)
    a, b, c = (float(value) for value in best)
    return PlaneFound((a, b, c), inliers)


def _hypotheses(
    grid: Grid,
    rows: NDArray[np.intp],
    columns: NDArray[np.intp],
    left: BoolMap,
    random: np.random.Generator,
) -> Iterator[Points]:
    """Planes through three points each: some near together, some far apart."""
    height, width = left.shape
    for reach in (0.06, 0.15, 0.4):
        first = random.integers(0, rows.size, _HYPOTHESES // 3)
        corners = [np.stack([rows[first], columns[first]])]
        for _ in range(2):
            away = random.normal(0, reach * width, (2, first.size)).astype(np.intp)
            corner = corners[0] + away
            corners.append(np.clip(corner, 0, np.array([[height - 1], [width - 1]])))
        usable = np.all([left[tuple(corner)] for corner in corners], axis=0)
        triples = np.stack([_points(grid, *corner[:, usable]) for corner in corners], axis=1)
        yield _through(triples)


def _through(triples: Points) -> Points:
    """(N, 3) coefficients through (N, 3 points, xyd); degenerate triples are left out."""
    a, b, c = triples[:, 0], triples[:, 1], triples[:, 2]
    u, v = b - a, c - a
    area = u[:, 0] * v[:, 1] - u[:, 1] * v[:, 0]
    good = np.abs(area) > 1e-5
    u, v, a, area = u[good], v[good], a[good], area[good]
    along_x = (u[:, 2] * v[:, 1] - v[:, 2] * u[:, 1]) / area
    along_y = (u[:, 0] * v[:, 2] - v[:, 0] * u[:, 2]) / area
    return np.stack([along_x, along_y, a[:, 2] - along_x * a[:, 0] - along_y * a[:, 1]], axis=1)


def _near(plane: NDArray[np.floating], grid: Grid, config: GeometryConfig) -> BoolMap:
    predicted = plane[0] * grid.x[None] + plane[1] * grid.y[:, None] + plane[2]
    with np.errstate(invalid="ignore"):
        off = np.abs(grid.disparity_px - predicted)
        near: BoolMap = off < _tolerance(grid.disparity_px, config)
    return near


def _fit(grid: Grid, inliers: BoolMap) -> NDArray[np.float64]:
    points = _points(grid, *np.nonzero(inliers)).astype(np.float64)
    design = np.column_stack([points[:, :2], np.ones(len(points))])
    # Normal equations of three unknowns: far cheaper than a factorisation of all points.
    solution: NDArray[np.float64] = np.linalg.lstsq(
        design.T @ design, design.T @ points[:, 2], rcond=None
    )[0]
    return solution


def _points(grid: Grid, rows: NDArray[np.intp], columns: NDArray[np.intp]) -> Points:
    return np.stack([grid.x[columns], grid.y[rows], grid.disparity_px[rows, columns]], axis=-1)
