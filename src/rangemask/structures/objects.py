"""``SceneObject``: a mask that knows how far away it is."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from rangemask.geometry.arrays import BoolMap
from rangemask.structures.masks import Rle

UNKNOWN_POINT = (math.nan, math.nan, math.nan)


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Distance:
    """How far an object is along the optical axis, metres; NaN where too little is known."""

    median: float = math.nan
    """Median depth of the pixels measured, m."""
    p10: float = math.nan
    """10th percentile, m: the near side."""
    p90: float = math.nan
    """90th percentile, m: the far side."""
    spread: float = math.nan
    """Robust standard deviation (1.4826 x median absolute deviation), m."""
    valid_share: float = 0.0
    """Share of the mask's inner pixels whose depth is known and trusted, 0 to 1."""
    pixels: int = 0
    """How many pixels were measured."""
    layers: int = 0
    """Depth layers found under the mask; with 2, the nearer dominant one is reported."""
    behind: float = math.nan
    """Median depth of the other layer where there are two, m."""
    guessed: bool = False
    """Whether it rests on filled pixels, for want of any that were seen."""

    @property
    def known(self) -> bool:
        """Whether there is a distance at all."""
        return math.isfinite(self.median)

    def values(self) -> tuple[float, ...]:
        """All numbers, in order."""
        return (
            self.median,
            self.p10,
            self.p90,
            self.spread,
            self.valid_share,
            float(self.pixels),
            float(self.layers),
            self.behind,
        )

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Distance):
            return NotImplemented
        return self.guessed == other.guessed and same_numbers(self.values(), other.values())

    __hash__ = None  # type: ignore[assignment]  # NaN is equal to NaN here


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class SceneObject:
    """One object of a scene."""

    id: int
    """1, 2, ... within its scene, nearest first; the instance id in pictures and clouds."""
    label: str
    score: float
    """How sure the segmenter is, 0 to 1."""
    rle: Rle = field(repr=False)
    distance: Distance = field(default_factory=Distance)
    centroid: tuple[float, float, float] = UNKNOWN_POINT
    """Median x, y, z of its measured points in the left camera's frame, m."""
    extent: tuple[float, float, float] = UNKNOWN_POINT
    """Size along x, y, z between the 2nd and 98th percentile of its points, m."""

    @property
    def mask(self) -> BoolMap:
        """(H, W) bool."""
        return self.rle.decode()

    @property
    def area(self) -> int:
        """Pixels inside the mask."""
        return self.rle.area

    @property
    def box(self) -> tuple[float, float, float, float]:
        """x, y, width, height of the mask, px."""
        return self.rle.box

    @property
    def caption(self) -> str:
        """What a picture says of it: ``person 1.52 m``; ``person ~1.52 m`` where it is a guess."""
        if not self.distance.known:
            return f"{self.label} ? m"
        about = "~" if self.distance.guessed else ""
        return f"{self.label} {about}{self.distance.median:.2f} m"

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, SceneObject):
            return NotImplemented
        return (
            (self.id, self.label, self.rle) == (other.id, other.label, other.rle)
            and self.distance == other.distance
            and same_numbers(
                (self.score, *self.centroid, *self.extent),
                (other.score, *other.centroid, *other.extent),
            )
        )

    __hash__ = None  # type: ignore[assignment]  # NaN is equal to NaN here


def same_numbers(first: tuple[float, ...], second: tuple[float, ...]) -> bool:
    """Whether two tuples hold the same numbers, unknown counting as equal to unknown."""
    return len(first) == len(second) and all(
        a == b or (math.isnan(a) and math.isnan(b)) for a, b in zip(first, second, strict=True)
    )
