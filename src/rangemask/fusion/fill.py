"""Depth where stereo saw nothing, from a monocular model brought to stereo's metres.

One scale and shift for a whole image are coarse: a monocular map also bends slowly over the image
and from one object to the next. So the aligned map is corrected by what stereo says nearby: the
logarithm of (stereo / aligned) is averaged in a coarse grid over x, y and the aligned map's own
depth (a bilateral grid; Chen, Paris, Durand, SIGGRAPH 2007), so that what is known of an object
in front does not bend the background that it hides. Where a cell of the grid knows little it
follows its neighbours at all depths, and where these know little, nothing is corrected.
docs/alignment.md has the gain measured.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from rangemask.errors import InputError
from rangemask.fusion.align import MIN_CONFIDENCE, evidence, expected_confidence, fit_alignment
from rangemask.geometry.arrays import AnyArray, BoolMap, FloatMap
from rangemask.structures.maps import DepthMap, check_map

FILLED_CONFIDENCE = 0.25
"""Most confidence that a filled pixel has: below what distances are measured from (0.3)."""

_BINS = 20
"""Of logarithmic depth, near to far."""
_CELLS_PER_SIGMA = 2.0
_LEAST_DENSITY, _LEAST_LAYER_DENSITY = 1e-3, 3e-3
"""Evidence per pixel (and bin) at which the neighbourhood counts as much as the prior."""
_MOST_STEP = math.log(1.5)
_MOST_EVIDENCE_PX = 400_000

Doubles: TypeAlias = NDArray[np.float64]


@dataclass(frozen=True, slots=True, kw_only=True)
class FillConfig:
    """How holes of stereo are filled.

    Raises:
        InputError: a value is outside its range.
    """

    min_confidence: float = MIN_CONFIDENCE
    """Stereo pixels of less confidence are no evidence for the alignment."""
    replace_below: float = 0.1
    """Stereo pixels of less confidence are replaced, too; 0 keeps all that was matched."""
    local: bool = True
    """Whether the aligned map is corrected by stereo nearby, too."""
    reach: float = 0.04
    """Standard deviation of "nearby", in parts of the image's longer side."""
    max_depth_m: float | None = None
    """Nothing farther is filled in, m."""

    def __post_init__(self) -> None:
        for name in ("min_confidence", "replace_below"):
            if not 0 <= getattr(self, name) <= 1:
                raise InputError(f"{name} must be within 0 to 1, got {getattr(self, name)}.")
        if not 0.005 <= self.reach <= 1:
            raise InputError(f"reach must be within 0.005 to 1, got {self.reach}.")
        if self.max_depth_m is not None and not self.max_depth_m > 0:
            raise InputError(
                f"max_depth_m must be a positive number of metres, got {self.max_depth_m}."
            )


def fill_depth(
    stereo: DepthMap,
    mono: DepthMap,
    config: FillConfig | None = None,
    *,
    occluded: BoolMap | None = None,
) -> DepthMap:
    """Stereo's depth, and where it has none that was seen, the monocular map's.

    Replaced are pixels that are unknown, filled, occluded or of hardly any confidence, wherever
    the monocular map knows something; every other pixel stays as it is, to the bit.

    Args:
        stereo: (H, W) metric.
        mono: (H, W) of any kind. It is aligned to stereo robustly first; of a metric map only
            the shape is trusted, as a network's metres are a guess and stereo's are measured.
        config: how.
        occluded: (H, W), pixels that the right camera could not see.

    Returns:
        (H, W) metric. ``filled`` marks what was not seen; its confidence is at most
        ``FILLED_CONFIDENCE``, and 0.2 (the least that clouds take) where 10 % of error are
        expected.

    Raises:
        InputError: sizes differ, or stereo is not metric.
        AlignmentError: the map cannot be aligned (``fit_alignment`` says why).
    """
    config = config if config is not None else FillConfig()
    if occluded is not None:
        check_map(occluded, np.bool_, "occluded", stereo.values.shape)
    if mono.kind == "metric_m":
        mono = replace(mono, kind="up_to_scale")
    guessed = _either(stereo.filled, occluded)
    seen = replace(stereo, filled=guessed)
    fit = fit_alignment(mono, seen, min_confidence=config.min_confidence)
    aligned = fit.apply(mono, max_depth_m=config.max_depth_m)
    take = ~evidence(seen, config.replace_below) & np.isfinite(aligned.values)
    values_m, confidence = aligned.values[take], _confidence_of(aligned)[take]
    if config.local and take.any():
        near = _Neighbours(seen, aligned, config)
        correction, error = near.at(take, fit.residual * values_m)
        values_m = values_m * np.exp(correction)
        confidence = expected_confidence(error)
        if mono.confidence is not None:
            confidence *= mono.confidence[take]
    values, trust = stereo.values.copy(), _confidence_of(stereo).copy()
    values[take], trust[take] = values_m, FILLED_CONFIDENCE * confidence
    return DepthMap(values=values, confidence=trust, filled=_either(stereo.filled, take))


def _either(first: BoolMap | None, second: BoolMap | None) -> BoolMap | None:
    if first is None or second is None:
        return second if first is None else first
    return first | second


def _confidence_of(depth: DepthMap) -> FloatMap:
    if depth.confidence is not None:
        return depth.confidence
    return np.isfinite(depth.values).astype(np.float32)


class _Neighbours:
    """What stereo says of the aligned map, near each place and depth."""

    def __init__(self, stereo: DepthMap, aligned: DepthMap, config: FillConfig) -> None:
        height, width = aligned.values.shape
        self._cell = max(1.0, config.reach * max(height, width) / _CELLS_PER_SIGMA)
        self._shape = (int(height / self._cell) + 2, int(width / self._cell) + 2, _BINS)
        self._log_depth = np.log(aligned.values)
        # All cells are many pixels wide: of large images, every second pixel will do.
        stride = max(1, math.isqrt(height * width // _MOST_EVIDENCE_PX))
        known = np.zeros((height, width), dtype=bool)
        known[::stride, ::stride] = (
            evidence(stereo, config.min_confidence) & np.isfinite(aligned.values)
        )[::stride, ::stride]
        log_depth = self._log_depth[known]
        self._low, self._high = np.quantile(log_depth, (0.005, 0.995))
        step = np.log(stereo.values[known]) - log_depth
        step = np.clip(step, -_MOST_STEP, _MOST_STEP).astype(np.float64)
        weight = _confidence_of(stereo)[known] * (stride / self._cell) ** 2
        row, column, depth = np.rint(self._place(known)).astype(np.int64)
        cell = (row * self._shape[1] + column) * _BINS + depth
        sums = [self._sum(cell, weight * power) for power in (1, step, step * step)]
        self._fields = self._average(*sums)

    def at(self, where: BoolMap, error: AnyArray) -> tuple[Doubles, Doubles]:
        """Correction of the logarithm of depth, and its error, at some pixels.

        Args:
            where: (H, W), n pixels of known depth.
            error: (n,) expected without neighbours, relative.

        Returns:
            (n,) and (n,).
        """
        place = self._place(where)
        mean, square, share = (
            ndimage.map_coordinates(field, place, order=1, mode="nearest") for field in self._fields
        )
        variance = np.maximum(square - mean * mean, 0) + (1 - share) * np.square(error)
        return mean, np.sqrt(variance)

    def _place(self, where: BoolMap) -> Doubles:
        """(3, n): row, column and depth in cells."""
        row, column = np.nonzero(where)
        depth = (self._log_depth[where] - self._low) / max(self._high - self._low, 1e-9)
        return np.stack([row / self._cell, column / self._cell, np.clip(depth, 0, 1) * (_BINS - 1)])

    def _sum(self, cell: AnyArray, values: AnyArray) -> Doubles:
        total = np.bincount(cell, values, minlength=math.prod(self._shape))
        return np.asarray(total, np.float64).reshape(self._shape)

    @staticmethod
    def _average(*sums: Doubles) -> tuple[Doubles, Doubles, Doubles]:
        """Mean, mean square and share of evidence, from sums of weight, step and its square."""
        sigma = (_CELLS_PER_SIGMA, _CELLS_PER_SIGMA)
        flat = [ndimage.gaussian_filter(s.sum(axis=2), sigma, mode="constant") for s in sums]
        deep = [ndimage.gaussian_filter(s, (*sigma, 1.0), mode="constant") for s in sums]
        around = [field / (flat[0] + _LEAST_DENSITY) for field in flat]
        share, mean, square = (
            (layer + _LEAST_LAYER_DENSITY * prior[..., None]) / (deep[0] + _LEAST_LAYER_DENSITY)
            for layer, prior in zip(deep, around, strict=True)
        )
        return mean, square, share
