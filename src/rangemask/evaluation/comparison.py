"""Two evaluations of the same frames: what differs, and whether chance could have done it."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

from rangemask.errors import InputError
from rangemask.evaluation.datasets import DatasetReport
from rangemask.evaluation.totals import COUNTS, LESS_IS_BETTER, Pool, Totals, pair_up

FORMAT = "rangemask-comparison"
FORMAT_VERSION = 1
FEWEST_FRAMES = 6
"""With fewer frames even a coin could fall the same way every time more often than once in 20."""
_INTERVAL = (2.5, 97.5)


@dataclass(frozen=True, slots=True, kw_only=True)
class Difference:
    """One metric of both runs over the frames that both have."""

    kind: str
    metric: str
    first: float
    second: float
    low: float
    """Of second minus first: 95 % of the resampled data sets lie from here ..."""
    high: float
    """... to here."""
    frames: int
    """How many tell of it."""

    @property
    def difference(self) -> float:
        """Second minus first."""
        return self.second - self.first

    @property
    def real(self) -> bool:
        """Whether the interval leaves out 0, and there are frames enough to say so."""
        return self.frames >= FEWEST_FRAMES and (self.low > 0 or self.high < 0)

    @property
    def better(self) -> Literal["first", "second", "neither"]:
        """Who is, where the difference is real."""
        if not self.real:
            return "neither"
        less = self.metric in LESS_IS_BETTER
        return "second" if (self.difference < 0) == less else "first"

    def to_dict(self) -> dict[str, Any]:
        """As plain values; unknown numbers are None."""
        numbers = {
            "first": self.first,
            "second": self.second,
            "difference": self.difference,
            "low": self.low,
            "high": self.high,
        }
        return {
            **{name: value if math.isfinite(value) else None for name, value in numbers.items()},
            "frames": self.frames,
            "real": self.real,
            "better": self.better,
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Comparison:
    """Two reports, and what differs between them."""

    first: DatasetReport
    second: DatasetReport
    frames: tuple[str, ...]
    """That both have."""
    differences: tuple[Difference, ...]
    resamples: int
    seed: int
    notes: tuple[str, ...] = ()

    def of(self, kind: str) -> tuple[Difference, ...]:
        """The differences of one kind."""
        return tuple(one for one in self.differences if one.kind == kind)

    def to_dict(self) -> dict[str, Any]:
        """As plain values, for JSON."""
        table: dict[str, dict[str, Any]] = {}
        for one in self.differences:
            table.setdefault(one.kind, {})[one.metric] = one.to_dict()
        return {
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            "frames": list(self.frames),
            "resamples": self.resamples,
            "seed": self.seed,
            "notes": list(self.notes),
            "differences": table,
            "first": self.first.to_dict(),
            "second": self.second.to_dict(),
        }


def compare_reports(
    first: DatasetReport, second: DatasetReport, *, resamples: int = 1000, seed: int = 0
) -> Comparison:
    """Compare two reports on the frames that both have.

    The interval is the paired percentile bootstrap (Efron and Tibshirani, 1993, chapter 13): the
    frames are drawn again with replacement, the same ones for both, and both data sets that arise
    are measured whole, mean IoU and average precision included.

    Args:
        first: of one run.
        second: of the other, on the same data set.
        resamples: how often frames are drawn.
        seed: of the drawing.

    Raises:
        InputError: no frame is in both, nothing was judged in both, or there are no resamples.
    """
    if resamples < 1:
        raise InputError(f"expected at least one resample, got {resamples}.")
    there = {frame.name: frame for frame in second.frames}
    shared = [frame for frame in first.frames if frame.name in there]
    if not shared:
        raise InputError(
            f"{first.predictor} and {second.predictor} have no frame in common that was judged."
        )
    own = Pool(shared), Pool([there[frame.name] for frame in shared])
    pools = pair_up(*own)
    whole = [pool.totals() for pool in pools]
    keys = list(_shared_metrics(*whole))
    if all(kind == "time" for kind, _ in keys):
        raise InputError(
            f"{first.predictor} was judged by {_kinds(whole[0])}, {second.predictor} by "
            f"{_kinds(whole[1])}: nothing to compare."
        )
    random = np.random.default_rng(seed)
    size = len(shared)
    draws = random.multinomial(size, np.full(size, 1 / size), size=resamples).astype(np.float64)
    apart = np.array([_apart(keys, *(pool.totals(draw) for pool in pools)) for draw in draws])
    differences = []
    for index, (kind, metric) in enumerate(keys):
        known = apart[np.isfinite(apart[:, index]), index]
        low, high = np.percentile(known, _INTERVAL) if known.size else (math.nan, math.nan)
        differences.append(
            Difference(
                kind=kind,
                metric=metric,
                first=whole[0][kind][metric],
                second=whole[1][kind][metric],
                low=float(low),
                high=float(high),
                frames=pools[0].frames_with(kind, metric),
            )
        )
    return Comparison(
        first=first,
        second=second,
        frames=tuple(frame.name for frame in shared),
        differences=tuple(differences),
        resamples=resamples,
        seed=seed,
        notes=(
            *_notes(first, second, [frame.sequence for frame in shared]),
            *_class_notes(*own, pools[0]),
        ),
    )


def _kinds(totals: Totals) -> str:
    return ", ".join(kind for kind in totals if kind != "time") or "nothing"


def _shared_metrics(first: Totals, second: Totals) -> Iterator[tuple[str, str]]:
    for kind, row in first.items():
        other: Mapping[str, float] = second.get(kind, {})
        for metric in row:
            known = math.isfinite(row[metric]) or math.isfinite(other.get(metric, math.nan))
            if metric in other and metric not in COUNTS and known:
                yield kind, metric


def _apart(keys: list[tuple[str, str]], first: Totals, second: Totals) -> list[float]:
    # A class may be missing from a resample, and its IoU with it.
    return [
        second.get(kind, {}).get(metric, math.nan) - first.get(kind, {}).get(metric, math.nan)
        for kind, metric in keys
    ]


def _notes(first: DatasetReport, second: DatasetReport, sequences: list[str]) -> Iterator[str]:
    size = len(sequences)
    left = [len(report.frames) - size for report in (first, second)]
    if any(left):
        yield (
            f"{size} frames are compared; {left[0]} more were judged of {first.predictor} only, "
            f"{left[1]} of {second.predictor} only."
        )
    if size < FEWEST_FRAMES:
        yield (
            f"With {size} frames no difference can be told from chance; at least {FEWEST_FRAMES} "
            "are needed, and many more for small ones."
        )
    elif len(set(sequences)) < size / 2:
        yield (
            f"The {size} frames are of {len(set(sequences))} recordings. Frames of one recording "
            "are alike, so the intervals are narrower than they should be."
        )
    yield (
        "Each interval is for its own metric: of twenty that do not differ, one is expected to "
        "leave out 0 by chance."
    )


def _class_notes(first: Pool, second: Pool, both: Pool) -> Iterator[str]:
    if set(first.class_names) == set(second.class_names) or not (
        first.class_names and second.class_names
    ):
        return
    names = ", ".join(both.class_names) or "none, so classes of pixels are not compared"
    yield f"The runs know different classes. Compared are those that both know: {names}."
