"""Two depth layers under one mask, such as a fence and the wall behind it.

Looked for in inverse depth, where a plane is spread evenly over the pixels it covers, whatever
its slant. Two layers show as a *valley*: few pixels over a wide stretch of inverse depth, with
enough pixels on both sides. Flying pixels may lie in the valley, up to ``_VALLEY_SHARE`` of all.
A plane of which a middle part is hidden has a valley too; it is told apart by its fit: one plane
explains it about as well as two parallel ones do.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from rangemask.fusion.runs import Ints
from rangemask.fusion.segments import Doubles, Sorted
from rangemask.geometry.arrays import AnyArray, BoolMap

STEPS = 200
"""Inverse depth is looked at through its quantiles at steps of 1 / 200."""

_VALLEY_SHARE = 0.08
_MIN_WIDTH = 0.3
_MIN_CONTRAST = 2.0
_MAX_UNEXPLAINED = 0.25
_ROUNDING = 1e-9


@dataclass(frozen=True, slots=True)
class Valleys:
    """For each of N masks, whether a valley parts its inverse depths, and where."""

    found: BoolMap
    """(N,)."""
    inverse_depth: Doubles
    """(N,) the valley's middle, 1/m."""
    low: Doubles
    """(N,) 2nd percentile of inverse depth, 1/m."""
    high: Doubles
    """(N,) 98th percentile of inverse depth, 1/m."""

    def of_masks(self, wanted: BoolMap) -> Valleys:
        """The valleys of some masks, (N,) bool."""
        return Valleys(
            self.found[wanted], self.inverse_depth[wanted], self.low[wanted], self.high[wanted]
        )

    @property
    def depth_m(self) -> AnyArray:
        """(N,) float32 depth of the valley's middle, m; infinite where there is none."""
        depth_m = np.full(self.found.shape, np.inf, dtype=np.float32)
        depth_m[self.found] = 1.0 / self.inverse_depth[self.found]
        return depth_m


def inverse_quantiles(depth_m: Sorted) -> Doubles:
    """(N, STEPS + 1) quantiles of inverse depth, ascending, of N masks' sorted depths."""
    return 1.0 / depth_m.quantiles(np.linspace(1.0, 0.0, STEPS + 1))


def find_valleys(
    quantiles: Doubles, size: Ints, *, min_share: float, min_gap: float, min_pixels: int
) -> Valleys:
    """The widest valley of each mask, where it parts two layers.

    Args:
        quantiles: (N, STEPS + 1) of inverse depth, ascending, NaN for empty masks.
        size: (N,) pixels behind each.
        min_share: smallest share of the pixels on either side.
        min_gap: least width of the valley, relative to the inverse depth of its near side.
        min_pixels: masks with fewer are not looked at.
    """
    mass = round(_VALLEY_SHARE * STEPS)
    margin = round(min_share * STEPS)
    jumps = quantiles[:, mass:] - quantiles[:, :-mass]
    inside = np.nan_to_num(jumps[:, margin : STEPS + 1 - margin - mass])
    at = margin + np.argmax(inside, axis=1)
    each = np.arange(size.size)
    width, near = jumps[each, at], quantiles[each, at + mass]
    beside = np.maximum(
        jumps[each, np.maximum(at - mass, 0)], jumps[each, np.minimum(at + mass, STEPS - mass)]
    )
    low, high = quantiles[:, STEPS // 50], quantiles[:, STEPS - STEPS // 50]
    found = (
        (size >= min_pixels)
        & (width >= min_gap * near)
        & (width >= _MIN_WIDTH * (high - low))
        & (width >= _MIN_CONTRAST * beside)
    )
    return Valleys(found, 0.5 * (quantiles[each, at] + near), low, high)


def one_plane(
    depth_m: AnyArray, x_px: AnyArray, y_px: AnyArray, size: Ints, valleys: Valleys
) -> BoolMap:
    """Which masks are one plane with a part missing, rather than two layers.

    A plane's inverse depth is linear in the pixel. Fitted by least squares, once as one plane
    and once with a step between the valley's sides, which a real pair of layers needs.

    Args:
        depth_m: (P,) depth of some pixels of the masks, mask after mask; those of even row and
            column are enough.
        x_px: (P,) their columns.
        y_px: (P,) their rows.
        size: (N,) pixels of each mask.
        valleys: of the N masks.

    Returns:
        (N,) bool; False for masks without pixels here.
    """
    low, high = np.repeat(valleys.low, size), np.repeat(valleys.high, size)
    inverse = np.clip(1.0 / depth_m.astype(np.float64), low, high)
    near = inverse > np.repeat(valleys.inverse_depth, size)
    columns = np.empty((4, inverse.size))
    columns[:] = x_px, y_px, near, inverse
    for column in columns:
        column -= np.repeat(_sums(column, size) / np.maximum(size, 1), size)
    products = np.zeros((size.size, 4, 4))
    for i in range(4):
        for j in range(i, 4):
            moment = _sums(columns[i] * columns[j], size)
            products[:, i, j] = products[:, j, i] = moment
    plane, step = _unexplained(products, 2), _unexplained(products, 3)
    # Equal where the plane explains everything: then there is nothing left for a step.
    veto: BoolMap = step >= _MAX_UNEXPLAINED * plane
    return veto


def _sums(values: Doubles, size: Ints) -> Doubles:
    """(N,) sums of groups that stand one after the other; some may be empty."""
    sums = np.zeros(size.size)
    filled = size > 0
    if filled.any():
        sums[filled] = np.add.reduceat(values, (np.cumsum(size) - size)[filled])
    return sums


def _unexplained(products: Doubles, terms: int) -> Doubles:
    """(N,) sums of squares left after fitting the last column by the first ones."""
    scale = np.sqrt(np.maximum(np.einsum("nii->ni", products), 1e-300))
    correlations = products / (scale[:, :, None] * scale[:, None, :])
    inner, outer = correlations[:, :terms, :terms], correlations[:, :terms, 3]
    # A mask of one row has no y to fit: the pseudo-inverse leaves that term out.
    solved = np.einsum("nij,nj->ni", np.linalg.pinv(inner, rcond=1e-9, hermitian=True), outer)
    share = 1.0 - np.einsum("ni,ni->n", solved, outer)
    # What rounding leaves of nothing would otherwise decide between two perfect fits.
    left: Doubles = np.where(share > _ROUNDING, share, 0.0) * products[:, 3, 3]
    return left
