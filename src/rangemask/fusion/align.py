"""Relative depth of a monocular model to metres, by what a metric reference knows.

Monocular models are affine in **inverse** depth: ``1 / depth = scale * relative + shift`` with
both numbers unknown (Ranftl et al., "Towards robust monocular depth estimation", TPAMI 2022,
arXiv 1907.01341, equation 4). They are found by least squares over the pixels that both maps
know, or by a robust fit, which a third or more of wrong pixels do not move (docs/alignment.md has
both measured).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from rangemask.errors import InputError
from rangemask.geometry.arrays import AnyArray, BoolMap
from rangemask.structures.maps import DepthKind, DepthMap

Doubles: TypeAlias = NDArray[np.float64]
AlignMethod: TypeAlias = Literal["least-squares", "robust"]

METHODS: tuple[AlignMethod, ...] = ("least-squares", "robust")
MIN_CONFIDENCE = 0.3
"""Reference pixels of less confidence are no evidence; as for measured distances."""

_LEAST_PIXELS = 10
_HALF_TRUST = 0.2
"""Relative error of depth at which confidence is one half."""
_LEAST_EXPLAINED = 0.05
"""Share of the reference's variance (of pixels that fit) below which nothing was found."""

_SEED = 0
_MOST_PIXELS = 100_000
_TRIALS, _TRIAL_PIXELS = 400, 2000
_BINS = 16
_TUKEY = 4.685
"""Residuals of more standard deviations do not count (95 % efficiency for normal errors)."""
_INLIER = 2.5
_MAD_TO_SIGMA = 1.4826
_MOST_STEPS = 30
_ROUNDING = 1e-6
"""Spread, relative to the size of the values, that float32 cannot tell from none."""


class AlignmentError(InputError):
    """The common pixels of two maps do not tell the scale."""


@dataclass(frozen=True, slots=True, kw_only=True)
class AlignmentFit:
    """How a map without scale becomes inverse depth: ``scale * x + shift``.

    x is the map's value where it is ``relative_inverse``, and one over it where it is
    ``up_to_scale``; then shift is 0.
    """

    kind: DepthKind
    """Of the map that was fitted."""
    scale: float
    """1 / m for one unit of x; positive."""
    shift: float
    """Inverse depth where x is 0, 1 / m."""
    residual: float
    """Robust standard deviation of inverse depth around the fit, pixels that fit, 1 / m."""
    inlier_share: float
    """Share of the common pixels within 2.5 residuals of the fit."""
    pixels: int
    """How many pixels both maps know."""

    def apply(self, relative: DepthMap, *, max_depth_m: float | None = None) -> DepthMap:
        """The map in metres.

        Unknown (NaN) where ``scale * x + shift`` is not above the residual: there the error of
        depth is as large as depth itself, and at or below zero lies nothing at all, such as sky.
        Confidence is one half where the residual makes an error of 20 % of depth, and falls with
        range; it is multiplied by the map's own where it has one.

        Args:
            relative: (H, W), of the kind that was fitted.
            max_depth_m: what lies farther becomes unknown as well, m.

        Returns:
            (H, W) metric, with confidence; filled stays as it was.

        Raises:
            InputError: the map is of another kind, or the limit is not positive.
        """
        if relative.kind != self.kind:
            raise InputError(f"this fit is for {self.kind} maps, got a {relative.kind} one.")
        if max_depth_m is not None and not max_depth_m > 0:
            raise InputError(f"max_depth_m must be a positive number of metres, got {max_depth_m}.")
        known = _usable(relative)
        inverse = np.full(relative.values.shape, np.nan)
        inverse[known] = self.scale * _abscissa(relative, known) + self.shift
        least = max(self.residual, 0.0 if max_depth_m is None else 1 / max_depth_m)
        # Comparisons with NaN are false; 1 / max_depth_m itself is still known.
        known = (inverse > self.residual) & (inverse > 0) & (inverse >= least)
        inverse[~known] = np.nan
        depth_m = (1 / inverse).astype(np.float32)
        confidence = np.where(known, expected_confidence(self.residual * depth_m), 0)
        confidence = confidence.astype(np.float32)
        if relative.confidence is not None:
            confidence *= relative.confidence
        return DepthMap(values=depth_m, confidence=confidence, filled=relative.filled)


def align(
    relative: DepthMap,
    reference: DepthMap,
    *,
    method: AlignMethod = "robust",
    min_confidence: float = MIN_CONFIDENCE,
    max_depth_m: float | None = None,
) -> DepthMap:
    """Bring a map without scale to metres.

    Args:
        relative: (H, W), ``relative_inverse`` or ``up_to_scale``.
        reference: (H, W), metric; may be sparse, such as of a stereo matcher or a lidar.
        method: see ``fit_alignment``.
        min_confidence: reference pixels of less confidence are left out.
        max_depth_m: what lies farther becomes unknown, m.

    Returns:
        (H, W) metric; unknown where the fit gives no depth, see ``AlignmentFit.apply``.

    Raises:
        InputError: see ``fit_alignment`` and ``AlignmentFit.apply``.
    """
    fit = fit_alignment(relative, reference, method=method, min_confidence=min_confidence)
    return fit.apply(relative, max_depth_m=max_depth_m)


def fit_alignment(
    relative: DepthMap,
    reference: DepthMap,
    *,
    method: AlignMethod = "robust",
    min_confidence: float = MIN_CONFIDENCE,
) -> AlignmentFit:
    """Find scale and shift in inverse depth, pixels weighted by the reference's confidence.

    ``least-squares`` minimises squared errors over all common pixels (MiDaS, equation 4).
    ``robust`` starts from the line through two pixels with the least median of squares
    (Rousseeuw, JASA 1984) and refines it with Tukey's biweight; of very many pixels it looks at
    100 000. It is deterministic, and stands up to nearly half of the pixels being wrong.

    Args:
        relative: (H, W), ``relative_inverse`` or ``up_to_scale`` (which has no shift).
        reference: (H, W), metric; filled pixels are guesses and left out.
        method: which.
        min_confidence: reference pixels of less confidence are left out.

    Raises:
        InputError: sizes differ, the reference has no metres, or the map already has.
        AlignmentError: fewer than 10 pixels are common, or they do not tell the scale: the map or
            the reference is constant, the two have nothing to do with each other, or they
            contradict each other. It is an InputError, too.
    """
    _check(relative, reference, method, min_confidence)
    common = _usable(relative) & evidence(reference, min_confidence)
    pixels = int(np.count_nonzero(common))
    if pixels < _LEAST_PIXELS:
        raise AlignmentError(
            f"the two depth maps have {pixels} known pixels in common, at least {_LEAST_PIXELS} "
            "are needed to find a scale. Is the reference empty, or its confidence below "
            f"{min_confidence:g}?"
        )
    if method == "robust" and pixels > _MOST_PIXELS:
        common = _some(common, pixels)
    x = _abscissa(relative, common)
    y = 1 / reference.values[common].astype(np.float64)
    confidence = reference.confidence
    # A pixel of no confidence, where such are let in, still has some weight.
    weight = np.ones_like(x) if confidence is None else np.maximum(confidence[common], 1e-3)
    weight = weight.astype(np.float64)
    shifted = relative.kind == "relative_inverse"
    scale, shift = _solve(x, y, weight, method, shifted=shifted)
    residual, inlier_share = _spread(y - scale * x - shift, weight, _ROUNDING * float(y.max()))
    return AlignmentFit(
        kind=relative.kind,
        scale=scale,
        shift=shift,
        residual=residual,
        inlier_share=inlier_share,
        pixels=pixels,
    )


def _check(
    relative: DepthMap, reference: DepthMap, method: AlignMethod, min_confidence: float
) -> None:
    if method not in METHODS:
        raise InputError(f"method must be one of {', '.join(METHODS)}, got {method!r}.")
    if not 0 <= min_confidence <= 1:
        raise InputError(f"min_confidence must be within 0 to 1, got {min_confidence}.")
    if relative.kind == "metric_m":
        raise InputError(
            "this depth map is in metres already, so there is nothing to align. To trust only "
            'its shape, call it up_to_scale: replace(depth, kind="up_to_scale").'
        )
    if reference.kind != "metric_m":
        raise InputError(
            f"the reference must be in metres, got a map that is {reference.kind}. Give a rig "
            "with a baseline, so that stereo has a scale."
        )
    if relative.values.shape != reference.values.shape:
        (height, width), (rows, columns) = relative.values.shape, reference.values.shape
        raise InputError(
            f"the map to align is {width} x {height} px but the reference is {columns} x {rows} "
            "px. Resize one of them to the other's size first."
        )


def _usable(relative: DepthMap) -> BoolMap:
    known: BoolMap = np.isfinite(relative.values)
    if relative.kind != "relative_inverse":
        known &= relative.values > 0
    return known


def expected_confidence(error_share: AnyArray) -> AnyArray:
    """Confidence of a depth whose expected error is such a share of it: one half at 20 %."""
    return 1 / (1 + np.square(error_share / _HALF_TRUST))


def evidence(reference: DepthMap, min_confidence: float) -> BoolMap:
    """(H, W): where a metric map states what was seen: known, trusted and not filled."""
    known: BoolMap = np.isfinite(reference.values) & (reference.values > 0)
    if reference.filled is not None:
        known &= ~reference.filled
    if reference.confidence is not None:
        known &= reference.confidence >= min_confidence
    return known


def _some(common: BoolMap, pixels: int) -> BoolMap:
    """Some of the pixels, in no pattern and always the same."""
    chosen = np.zeros(pixels, dtype=bool)
    random = np.random.default_rng(_SEED)
    chosen[random.choice(pixels, _MOST_PIXELS, replace=False, shuffle=False)] = True
    some = common.copy()
    some[common] = chosen
    return some


def _abscissa(relative: DepthMap, where: BoolMap) -> Doubles:
    values = relative.values[where].astype(np.float64)
    return values if relative.kind == "relative_inverse" else 1 / values


def _solve(
    x: Doubles, y: Doubles, weight: Doubles, method: AlignMethod, *, shifted: bool
) -> tuple[float, float]:
    """Scale and shift, solved with numbers around zero and of size one, whatever the units."""
    centre = float(np.average(x, weights=weight)) if shifted else 0.0
    spread = float(np.sqrt(np.average((x - centre) ** 2, weights=weight)))
    if not spread > _ROUNDING * float(np.abs(x).max()):
        raise AlignmentError(
            "the map to align has one and the same value at all pixels of the reference, so its "
            "scale cannot be found. Is it the depth of this image?"
        )
    x = (x - centre) / spread
    if method == "least-squares":
        line, used = _line(x, y, weight, shifted=shifted), weight
    else:
        line, used = _robust_line(x, y, weight, shifted=shifted)
    if shifted:
        _check_line(line, x, y, used)
    scale = line[0] / spread
    return scale, line[1] - scale * centre


def _line(x: Doubles, y: Doubles, weight: Doubles, *, shifted: bool) -> tuple[float, float]:
    """Weighted least squares."""
    if not shifted:
        return float((weight * x) @ y / ((weight * x) @ x)), 0.0
    total = float(weight.sum())
    x0, y0 = float(weight @ x) / total, float(weight @ y) / total
    wide = float(weight @ (x - x0) ** 2)
    scale = float((weight * (x - x0)) @ (y - y0)) / wide if wide > 0 else 0.0
    return scale, y0 - scale * x0


def _robust_line(
    x: Doubles, y: Doubles, weight: Doubles, *, shifted: bool
) -> tuple[tuple[float, float], Doubles]:
    """Least median of squares, then Tukey's biweight; the line and the last weights.

    At the start all values of x have the same say. Otherwise a wall that fills half of the image
    would be half of the evidence, every line through it equally good, and all in front of it
    outliers.
    """
    balance = _balance(x)
    random = np.random.default_rng(_SEED)
    trial = random.choice(x.size, _TRIAL_PIXELS, p=balance / balance.sum())
    if shifted:
        line = _least_median(x[trial], y[trial], random)
    else:
        line = float(np.median(y[trial] / x[trial])), 0.0
    used = weight
    least = _ROUNDING * float(np.abs(y).max())
    for _ in range(_MOST_STEPS):
        away = np.abs(y - line[0] * x - line[1])
        limit = _TUKEY * max(_sigma(away[trial], least), least)
        used = weight * np.square(np.maximum(1 - np.square(away / limit), 0))
        before, line = line, _line(x, y, used, shifted=shifted)
        if abs(line[0] - before[0]) + abs(line[1] - before[1]) <= least:
            break
    return line, used


def _balance(x: Doubles) -> Doubles:
    """Weights that make all values about equally heavy; rare ones stay within four times."""
    low, high = np.quantile(x, (0.01, 0.99))
    place = np.clip((x - low) / max(high - low, _ROUNDING) * _BINS, 0, _BINS - 1).astype(np.int64)
    count = np.bincount(place, minlength=_BINS)
    balance: Doubles = 1 / np.maximum(count, 0.25 * x.size / _BINS)[place]
    return balance


def _least_median(x: Doubles, y: Doubles, random: np.random.Generator) -> tuple[float, float]:
    """The line through two of the points from which half of them are least away."""
    first, second = random.integers(0, x.size, (2, _TRIALS))
    apart = x[second] - x[first]
    first, second, apart = (a[apart != 0] for a in (first, second, apart))
    if first.size == 0:
        return 0.0, float(np.median(y))
    scale = (y[second] - y[first]) / apart
    shift = y[first] - scale * x[first]
    away = np.abs(y - scale[:, None] * x - shift[:, None])
    half = x.size // 2
    best = int(np.partition(away, half, axis=1)[:, half].argmin())
    return float(scale[best]), float(shift[best])


def _check_line(line: tuple[float, float], x: Doubles, y: Doubles, weight: Doubles) -> None:
    """Fail in words unless the pixels that count tell the scale, and it is positive."""
    middle = float(np.average(y, weights=weight))
    varied = float(np.average((y - middle) ** 2, weights=weight))
    left = float(np.average((y - line[0] * x - line[1]) ** 2, weights=weight))
    if left > (1 - _LEAST_EXPLAINED) * varied or varied <= (_ROUNDING * middle) ** 2:
        raise AlignmentError(
            "the map to align and the reference have nothing in common at the pixels that both "
            "know, or these lie at one depth, so the scale cannot be found. Are both of this "
            "image, and does the reference see near and far?"
        )
    if line[0] <= 0:
        raise AlignmentError(
            "the map to align contradicts the reference: what it calls nearer is farther away "
            "there. A relative map must grow towards the camera; negate one that grows away "
            "from it, and see that both maps are of this image."
        )


def _spread(error: Doubles, weight: Doubles, least: float) -> tuple[float, float]:
    """Robust standard deviation of the pixels that fit, and their share."""
    away: AnyArray = np.abs(error)
    sigma = _sigma(away, least)
    inside = away <= max(_INLIER * sigma, least)
    return sigma, float(weight[inside].sum() / weight.sum())


def _sigma(away: AnyArray, least: float) -> float:
    """Standard deviation of the pixels that fit, from the sizes of all errors.

    The plain median grows with the share of outliers, until one that is consistent (a part of the
    image at half its depth) gets enough weight to drag the line along: so those far off are left
    out and the median is taken again.
    """
    sigma = _MAD_TO_SIGMA * float(np.median(away))
    return _MAD_TO_SIGMA * float(np.median(away[away <= max(_INLIER * sigma, least)]))
