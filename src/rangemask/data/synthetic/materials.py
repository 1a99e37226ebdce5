"""Solid textures: a colour for every point of space, so that both eyes see the same surface.

Noise is a lattice of random values, interpolated (Perlin, SIGGRAPH 1985). Detail finer than
the pixels that see it is faded out, as a real lens would.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import map_coordinates

from rangemask.data.synthetic.shapes import Vectors

Pattern: TypeAlias = Literal["noise", "checker", "stripes"]
PATTERNS: tuple[Pattern, ...] = ("noise", "checker", "stripes")
Colour: TypeAlias = tuple[float, float, float]

_LATTICE = 48
_OCTAVES = 5
_FADE_PX = (1.5, 4.0)
"""A cell of the pattern this many px wide is invisible, and fully visible."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Material:
    """Two colours mixed by a pattern.

    Raises:
        ValueError: the cell size is not positive, contrast or a colour is not within [0, 1], or
            the pattern is unknown.
    """

    light: Colour
    """RGB in [0, 1]."""
    dark: Colour
    pattern: Pattern = "noise"
    cell_m: float = 0.2
    """Size of the coarsest cell of the pattern."""
    contrast: float = 0.8
    """How much of the way between the two colours the noise goes."""
    seed: int = 0

    def __post_init__(self) -> None:
        if self.pattern not in PATTERNS:
            raise ValueError(f"pattern must be one of {PATTERNS}, got {self.pattern!r}.")
        for name in ("light", "dark"):
            colour = getattr(self, name)
            if len(colour) != 3 or not all(0 <= value <= 1 for value in colour):
                raise ValueError(f"{name} must be RGB within [0, 1], got {colour}.")
        if not 0 < self.cell_m < math.inf:
            raise ValueError(f"cell_m must be positive, got {self.cell_m}.")
        if not 0 <= self.contrast <= 1:
            raise ValueError(f"contrast must lie within [0, 1], got {self.contrast}.")

    def colours(self, points: Vectors, footprint_m: NDArray[np.float64]) -> NDArray[np.float32]:
        """What the surface looks like in plain white light.

        Args:
            points: (N, 3) of the surface, metres.
            footprint_m: (N,) width of a pixel on the surface, metres.

        Returns:
            (N, 3) RGB in [0, 1].
        """
        share = 0.5 + self.contrast * (self._noise(points, footprint_m) - 0.5)
        if self.pattern != "noise":
            share = 0.35 * share + 0.65 * self._regular(points, footprint_m)
        light, dark = np.asarray(self.light), np.asarray(self.dark)
        mixed = dark + np.clip(share, 0, 1)[:, None] * (light - dark)
        colours: NDArray[np.float32] = mixed.astype(np.float32)
        return colours

    def _noise(self, points: Vectors, footprint_m: NDArray[np.float64]) -> NDArray[np.float64]:
        """Octaves of noise around 0.5; each as strong as the one before, for sharp texture."""
        random = np.random.default_rng(self.seed)
        lattice = random.random((_LATTICE,) * 3, dtype=np.float32)
        offset = random.random((_OCTAVES, 3)) * _LATTICE
        total = np.zeros(len(points))
        for octave in range(_OCTAVES):
            cell_m = self.cell_m / 2**octave
            visible = _visibility(cell_m / footprint_m)
            seen = visible > 0
            if not seen.any():
                break
            place = (points[seen] / cell_m + offset[octave]).T
            value = map_coordinates(lattice, place, order=1, mode="grid-wrap", prefilter=False)
            total[seen] += (value - 0.5) * visible[seen]
        return 0.5 + total

    def _regular(self, points: Vectors, footprint_m: NDArray[np.float64]) -> NDArray[np.float64]:
        period = 2 * self.cell_m
        waves = np.sin(2 * np.pi * (points + 0.137) / period)
        sharp = np.clip(self.cell_m / footprint_m, 1, 8)[:, None]
        square = np.clip(waves * sharp, -1, 1)
        value = square[:, 0] if self.pattern == "stripes" else np.prod(square, axis=1)
        return 0.5 + 0.5 * value * _visibility(self.cell_m / footprint_m)


def _visibility(cell_px: NDArray[np.float64]) -> NDArray[np.float64]:
    low, high = _FADE_PX
    return np.clip((cell_px - low) / (high - low), 0, 1)
