"""Which objects are kept: by distance, label, size and score.

Every filter takes objects and returns those that pass, in their order and with their ids.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from rangemask.errors import InputError
from rangemask.structures.objects import SceneObject

Objects = tuple[SceneObject, ...]


def keep_distances(
    objects: Iterable[SceneObject],
    *,
    min_m: float | None = None,
    max_m: float | None = None,
) -> Objects:
    """Objects whose median distance lies within a range, ends included.

    An object of unknown distance is dropped as soon as one end is given: it cannot be said to
    be in range. Without a range everything is kept.

    Args:
        objects: of a scene.
        min_m: nearest distance kept, m.
        max_m: farthest distance kept, m.

    Raises:
        InputError: the range is negative or empty.
    """
    _check_range("the range of distances", min_m, max_m, " m")
    if min_m is None and max_m is None:
        return tuple(objects)
    # A comparison with NaN, the unknown, is false.
    return tuple(thing for thing in objects if _within(thing.distance.median, min_m, max_m))


def keep_labels(objects: Iterable[SceneObject], labels: Sequence[str] | None) -> Objects:
    """Objects with one of the labels, upper and lower case being one; None keeps all.

    Raises:
        InputError: labels is one string, or empty.
    """
    if labels is None:
        return tuple(objects)
    if isinstance(labels, str) or not labels:
        raise InputError(f"labels must be a list of names such as ['person'], got {labels!r}.")
    wanted = {_plain(label) for label in labels}
    return tuple(thing for thing in objects if _plain(thing.label) in wanted)


def keep_areas(
    objects: Iterable[SceneObject], *, min_px: int | None = None, max_px: int | None = None
) -> Objects:
    """Objects whose mask has so many pixels, ends included.

    Raises:
        InputError: the range is negative or empty.
    """
    _check_range("the range of areas", min_px, max_px, " px")
    return tuple(thing for thing in objects if _within(thing.area, min_px, max_px))


def keep_extents(
    objects: Iterable[SceneObject], *, min_m: float | None = None, max_m: float | None = None
) -> Objects:
    """Objects whose longest side (of their extent along x, y and z) lies within a range.

    Objects of unknown extent are dropped as soon as one end is given.

    Args:
        objects: of a scene.
        min_m: shortest longest side kept, m.
        max_m: longest side kept, m.

    Raises:
        InputError: the range is negative or empty.
    """
    _check_range("the range of sizes", min_m, max_m, " m")
    if min_m is None and max_m is None:
        return tuple(objects)
    return tuple(thing for thing in objects if _within(_longest(thing), min_m, max_m))


def keep_scores(objects: Iterable[SceneObject], min_score: float) -> Objects:
    """Objects that the segmenter is at least that sure of.

    Raises:
        InputError: the score is outside [0, 1].
    """
    if not 0 <= min_score <= 1:
        raise InputError(f"a score lies within 0 to 1, got {min_score}.")
    return tuple(thing for thing in objects if thing.score >= min_score)


def _longest(thing: SceneObject) -> float:
    return math.nan if any(map(math.isnan, thing.extent)) else max(thing.extent)


def _within(value: float, low: float | None, high: float | None) -> bool:
    return (low is None or value >= low) and (high is None or value <= high)


def _check_range(what: str, low: float | None, high: float | None, unit: str) -> None:
    least, most = 0 if low is None else low, math.inf if high is None else high
    # Written so that NaN fails too.
    if not 0 <= least <= most:
        ends = " to ".join("open" if end is None else f"{end:g}{unit}" for end in (low, high))
        raise InputError(f"{what} must not be negative or empty, got {ends}.")


def _plain(label: str) -> str:
    return " ".join(label.split()).casefold()
