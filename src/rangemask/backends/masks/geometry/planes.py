"""Large planes of a disparity map: robust search and refinement."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rangemask.backends.masks.geometry.grid import Grid
from rangemask.geometry.arrays import BoolMap, FloatMap, Matrix

_POINTS = 6000
_FIRST_LOOK = 600
_HYPOTHESES = 400
_FINALISTS = 5
_SIGMAS = 2.5
_BEHIND_WEIGHT = 0.15


@dataclass(frozen=True, slots=True, eq=False)
class Plane:
    """disparity = a x + b y + c, in grid pixels."""

    abc: tuple[float, float, float]

    def disparity(self, shape: tuple[int, int]) -> FloatMap:
        """(h, w) disparity of the endless plane, px; not positive where it is not seen."""
        a, b, c = (np.float32(value) for value in self.abc)
        x = np.arange(shape[1], dtype=np.float32)
        y = np.arange(shape[0], dtype=np.float32)[:, None]
        return np.asarray(a * x + b * y + c, np.float32)

    def normal(self, grid: Grid) -> Matrix:
        """(3,) unit normal in camera coordinates, towards the camera.

        With n X = h and X = z (ray), disparity ~ 1 / z = n ray / h.
        """
        a, b, c = self.abc
        (fx, fy), (cx, cy) = grid.focal, grid.centre
        normal = np.array([a * fx, b * fy, c + a * cx + b * cy])
        return -normal / max(float(np.linalg.norm(normal)), 1e-12)

    def height(self, grid: Grid) -> float:
        """The camera's distance from the plane, where depth is 1 / disparity."""
        a, b, c = self.abc
        (fx, fy), (cx, cy) = grid.focal, grid.centre
        return 1 / max(float(np.linalg.norm([a * fx, b * fy, c + a * cx + b * cy])), 1e-12)


def find_planes(grid: Grid, *, count: int, min_share: float, seed: int) -> list[Plane]:
    """Planes in the order of their size, each with at least ``min_share`` of the known pixels.

    Random samples of three points near each other propose planes (Fischler and Bolles 1981),
    the best are refined before they are compared (locally optimised RANSAC, Chum et al. 2003).
    """
    random = np.random.default_rng(seed)
    points = _points(grid.disparity_px)
    total = len(points)
    everything = points[random.permutation(total)[:_POINTS]]
    left = everything
    found: list[Plane] = []
    for _ in range(count):
        if len(left) < max(50.0, min_share * len(everything)):
            break
        abc = _best_plane(left, everything, grid, random)
        if abc is None:
            break
        inside = _inside(left, abc, grid, _SIGMAS)
        if inside.sum() < min_share * len(everything):
            break
        found.append(Plane((float(abc[0]), float(abc[1]), float(abc[2]))))
        left = left[~_inside(left, abc, grid, 1.5 * _SIGMAS)]
    return found


def _points(disparity_px: FloatMap) -> FloatMap:
    """(N, 3) float32 x, y, disparity of the known pixels."""
    y, x = np.nonzero(np.isfinite(disparity_px))
    return np.stack([x, y, disparity_px[y, x]], axis=1).astype(np.float32)


def _best_plane(
    left: FloatMap, everything: FloatMap, grid: Grid, random: np.random.Generator
) -> Matrix | None:
    sample = left[random.permutation(len(left))]
    planes = _hypotheses(sample, grid.shape, random)
    if len(planes) == 0:
        return None
    scores = _scores(planes, sample[:_FIRST_LOOK], everything[:_FIRST_LOOK], grid)
    first = np.argsort(-scores, kind="stable")[:_FINALISTS]
    refined = np.stack([refine(planes[i], left, grid) for i in first])
    best: Matrix = refined[int(np.argmax(_scores(refined, left, everything, grid)))]
    return best


def _hypotheses(points: FloatMap, shape: tuple[int, int], random: np.random.Generator) -> Matrix:
    """(M, 3) planes through three points, some close together, some far apart."""
    reach = random.choice([0.08, 0.2, 0.5], _HYPOTHESES) * max(shape)
    first = random.integers(0, len(points), _HYPOTHESES)
    pool = random.integers(0, len(points), (_HYPOTHESES, 48))
    offset = np.abs(points[pool, :2] - points[first, None, :2]).max(axis=2)
    near = offset <= reach[:, None]
    # The two that lie first in the shuffled pool and within reach.
    order = np.argsort(~near, axis=1, kind="stable")[:, :2]
    rows = np.arange(_HYPOTHESES)[:, None]
    chosen = points[np.concatenate([first[:, None], pool[rows, order]], axis=1)].astype(np.float64)
    system = np.concatenate([chosen[:, :, :2], np.ones((_HYPOTHESES, 3, 1))], axis=2)
    solvable = np.abs(np.linalg.det(system)) > 20.0
    planes: Matrix = np.linalg.solve(system[solvable], chosen[solvable, :, 2:])[:, :, 0]
    return planes


def _scores(planes: Matrix, points: FloatMap, everything: FloatMap, grid: Grid) -> Matrix:
    """Truncated squares of the residuals, less a little for what lies behind the plane."""
    model, off = _residuals(planes, points, grid)
    fit = np.clip(1 - off * off, 0, None).mean(axis=0)
    model, off = _residuals(planes, everything, grid)
    behind = ((off < -2) & (model > 0)).mean(axis=0)
    scores: Matrix = fit - _BEHIND_WEIGHT * behind
    return scores


def _residuals(planes: Matrix, points: FloatMap, grid: Grid) -> tuple[FloatMap, FloatMap]:
    """(N, M) disparity of the planes at the points, and how far the points are in front."""
    # Written out: for two columns, BLAS spends more on its threads than on the product.
    a, b, c = planes.T.astype(np.float32)
    model = points[:, :1] * a + points[:, 1:2] * b + c
    off = (points[:, 2:] - model) / grid.tolerance(points[:, 2:], _SIGMAS)
    return np.asarray(model, np.float32), np.asarray(off, np.float32)


def _inside(points: FloatMap, abc: Matrix, grid: Grid, sigmas: float) -> BoolMap:
    off = points[:, 2] - (points[:, :2] @ abc[:2] + abc[2])
    return np.asarray(np.abs(off) <= grid.tolerance(points[:, 2], sigmas), np.bool_)


def refine(abc: Matrix, points: FloatMap, grid: Grid) -> Matrix:
    """Least squares with Tukey's weights, the limit narrowing from 8 to 4 deviations."""
    design = np.column_stack([points[:, :2], np.ones(len(points))]).astype(np.float64)
    target = points[:, 2].astype(np.float64)
    for sigmas in (8.0, 6.0, 4.0, 4.0):
        off = (target - design @ abc) / grid.tolerance(points[:, 2], sigmas)
        weights = np.clip(1 - off * off, 0, None) ** 2
        used = weights > 0
        if used.sum() < 10:
            return abc
        weighted = design[used] * weights[used, None]
        normal = weighted.T @ design[used]
        abc = np.asarray(np.linalg.lstsq(normal, weighted.T @ target[used], rcond=None)[0])
    return abc
