"""``evaluate_dataset``: anything that predicts, judged on all frames of a data set."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from rangemask._version import __version__
from rangemask.data.sample import Dataset, Sample
from rangemask.errors import InputError, RangemaskError
from rangemask.evaluation.classes import ClassListError
from rangemask.evaluation.frames import (
    ALL_LABELS,
    Curves,
    FrameResult,
    JudgeOptions,
    judge_frame,
    truths_of,
)
from rangemask.evaluation.opening import open_predictor
from rangemask.evaluation.predictors import (
    PipelinePredictor,
    Prediction,
    Predictor,
    SavedScenes,
)
from rangemask.evaluation.totals import Pool, Totals
from rangemask.pipeline import Pipeline

FORMAT = "rangemask-evaluation"
FORMAT_VERSION = 1
_NAMED = 4

Progress = Callable[[Sequence[int]], Iterable[int]]


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluationOptions:
    """Which frames are judged, and how.

    Raises:
        InputError: the limit is not positive.
    """

    judge: JudgeOptions = field(default_factory=JudgeOptions)
    limit: int | None = None
    """At most so many frames, spread evenly over the data set; all without it."""
    held_out: bool = False
    """Leave out frames that the predictor has learnt from, told by their names."""

    def __post_init__(self) -> None:
        if self.limit is not None and self.limit < 1:
            raise InputError(f"the limit must be at least one frame, got {self.limit}.")


@dataclass(frozen=True, slots=True, kw_only=True)
class DatasetReport:
    """What came of a data set."""

    predictor: str
    dataset: str
    frames: tuple[FrameResult, ...]
    """Those that were judged, in the order of the data set."""
    totals: Totals
    """By kind and metric, over all of them."""
    failed: Mapping[str, str] = field(default_factory=dict)
    """Why, by name of frame."""
    unlabelled: tuple[str, ...] = ()
    """Frames without a label that the predictor could be judged by."""
    not_predicted: tuple[str, ...] = ()
    """Frames of which no scene was saved."""
    notes: tuple[str, ...] = ()
    """What a reader of the numbers should know."""
    stopped: bool = False
    """Whether it was interrupted before the last frame."""

    @property
    def curves(self) -> Mapping[str, Curves]:
        """Errors of all frames, by kind."""
        found: dict[str, list[Curves]] = {}
        for frame in self.frames:
            for kind, curves in frame.curves.items():
                found.setdefault(kind, []).append(curves)
        return {
            kind: Curves(
                histogram=np.sum([one.histogram for one in parts], axis=0),
                by_distance=np.sum([one.by_distance for one in parts], axis=0),
            )
            for kind, parts in found.items()
        }

    def to_dict(self) -> dict[str, Any]:
        """As plain values, for JSON; unknown numbers are None."""
        return {
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            "rangemask_version": __version__,
            "predictor": self.predictor,
            "dataset": self.dataset,
            "stopped": self.stopped,
            "totals": _plain(self.totals),
            "frames": {frame.name: _frame_to_dict(frame) for frame in self.frames},
            "failed": dict(self.failed),
            "unlabelled": list(self.unlabelled),
            "not_predicted": list(self.not_predicted),
            "notes": list(self.notes),
        }


def evaluate_dataset(
    predictor: Pipeline | Predictor | str | Path,
    dataset: Dataset,
    *,
    options: EvaluationOptions | None = None,
    name: str = "data set",
    progress: Progress | None = None,
) -> DatasetReport:
    """Predict and judge every frame of a data set.

    A frame that cannot be read or predicted is named in the report, and the others go on. Stopped
    by Ctrl-C, it reports on the frames that were done.

    Args:
        predictor: a pipeline; or what ``open_predictor`` takes or gives.
        dataset: frames with labels, which count as the truth.
        options: which frames, and how.
        name: of the data set, for the report.
        progress: wraps the list of frames, to show how far it is.

    Raises:
        InputError: nothing of what the predictor says is labelled, or class lists share no name.
        RangemaskError: all frames failed.
        KeyboardInterrupt: it was stopped before the first frame was done.
    """
    options = options if options is not None else EvaluationOptions()
    run = as_predictor(predictor)
    indices, left_out = _chosen(run, dataset, options)
    state = _State(run, options.judge)
    stopped = False
    try:
        for index in indices if progress is None else progress(indices):
            state.add(dataset, index)
    except KeyboardInterrupt:
        if not state.frames:
            raise
        stopped = True
    if not state.frames:
        state.nothing(name)
    names = dataset.names
    return DatasetReport(
        predictor=run.name,
        dataset=name,
        frames=tuple(state.frames),
        totals=Pool(state.frames).totals(),
        failed=state.failed,
        unlabelled=tuple(state.unlabelled),
        not_predicted=tuple(names[index] for index in left_out),
        notes=tuple(state.notes(dataset, options)),
        stopped=stopped,
    )


def as_predictor(predictor: Pipeline | Predictor | str | Path) -> Predictor:
    """What can be judged, from whatever stands for it."""
    if isinstance(predictor, str | Path):
        return open_predictor(predictor)
    if isinstance(predictor, Pipeline):
        return PipelinePredictor.of(predictor)
    return predictor


def answers(sample: Sample, predictor: Predictor, options: JudgeOptions) -> bool:
    """Whether the predictor may say something that the sample's labels can judge."""
    truth, said = truths_of(sample), predictor.kinds
    pair = sample.frame.right is not None and "disparity" in said
    ranged = "depth" in truth and (pair or "depth" in said)
    possible = {
        "disparity": pair and "disparity" in truth,
        "depth": ranged,
        "semantic": "semantic" in truth and "semantic" in said,
        "masks": "masks" in truth and "masks" in said,
        "objects": "masks" in truth and "masks" in said and ranged,
    }
    return any(possible[kind] for kind in options.kinds)


def _chosen(
    run: Predictor, dataset: Dataset, options: EvaluationOptions
) -> tuple[list[int], list[int]]:
    """Frames to judge, and those that were never predicted."""
    names, indices = dataset.names, list(range(len(dataset)))
    missing: list[int] = []
    if options.held_out:
        indices = [index for index in indices if names[index] not in run.trained_on]
        if not indices:
            raise InputError(
                f"{run.name} has learnt from every frame of this data set, so none is held out."
            )
    if isinstance(run, SavedScenes):
        missing = [index for index in indices if names[index] not in run.folders]
        indices = [index for index in indices if names[index] in run.folders]
        if not indices:
            raise InputError(
                f"{run.name}: no saved scene has the name of a frame. Scenes: "
                f"{_some(run.folders)}; frames: {_some(names)}."
            )
    if options.limit is not None and options.limit < len(indices):
        places = np.linspace(0, len(indices) - 1, options.limit).round().astype(int)
        indices = [indices[place] for place in places]
    return indices, missing


class _State:
    """An evaluation on its way.

    Args:
        run: who is judged.
        options: how.
    """

    def __init__(self, run: Predictor, options: JudgeOptions) -> None:
        self.run = run
        self.options = options
        self.frames: list[FrameResult] = []
        self.failed: dict[str, str] = {}
        self.unlabelled: list[str] = []
        self._truths: set[str] = set()
        self._relative = False

    def add(self, dataset: Dataset, index: int) -> None:
        """Judge one more frame."""
        name = dataset.names[index]
        try:
            sample = dataset[index]
            self._truths |= truths_of(sample)
            if not answers(sample, self.run, self.options):
                self.unlabelled.append(name)
                return
            prediction = self.run(sample.frame)
            result = judge_frame(sample, prediction, self.options, self.run.labels)
        except ClassListError:  # it would be the same with every frame
            raise
        except RangemaskError as error:
            self.failed[name] = str(error)
            return
        if not result.values:
            self.unlabelled.append(name)
            return
        self._relative |= _is_relative(prediction)
        self.frames.append(result)

    def nothing(self, dataset: str) -> None:
        """Say why no frame was judged.

        Raises:
            InputError: no frame has labels that fit.
            RangemaskError: all of them failed.
        """
        if self.failed:
            first = next(iter(self.failed.values()))
            raise RangemaskError(f"all {len(self.failed)} frames failed. The first: {first}")
        raise InputError(
            f"{dataset}: its frames have {_words(self._truths)}, and {self.run.name} says "
            f"{_words(self.run.kinds)}: nothing of that can be judged by these labels "
            f"(asked for: {', '.join(self.options.kinds)})."
        )

    def notes(self, dataset: Dataset, options: EvaluationOptions) -> Iterator[str]:
        """What a reader of the numbers should know."""
        names = [frame.name for frame in self.frames]
        known = [name for name in names if name in self.run.trained_on]
        if known and not options.held_out:
            yield (
                f"{len(known)} of {len(names)} frames have names of frames that {self.run.name} "
                "has learnt from. If they are the same, judge the others only (--held-out)."
            )
        if self._relative:
            yield (
                "The depth of one image is relative. It was given the scale and shift that fit "
                "each frame's truth best, so its numbers say nothing of metres."
            )
        yield from _class_notes(dataset, self.frames)
        if self.options.weighted:
            yield "Pixels of disparity and depth count by the weight of their labels."


def _is_relative(prediction: Prediction) -> bool:
    return prediction.depth is not None and prediction.depth.kind != "metric_m"


def _class_notes(dataset: Dataset, frames: Sequence[FrameResult]) -> Iterator[str]:
    counted = [frame.classes for frame in frames if frame.classes is not None]
    if counted:
        judged = {name for one in counted for name in one.truth}
        rest = [name for name in dataset.classes if name not in judged]
        if rest:
            yield f"Classes that the predictor has no name for: {', '.join(rest)}."
    hits = [frame.hits for frame in frames if frame.hits]
    true = {
        label
        for one in hits
        for label, found in one.items()
        if label != ALL_LABELS and found.truths
    }
    used = any(one[label].scores.size for one in hits for label in true if label in one)
    if hits and not used:
        yield "Masks are judged whatever they are called: no predicted label is one of the truth's."


def _frame_to_dict(frame: FrameResult) -> dict[str, Any]:
    out: dict[str, Any] = {
        "sequence": frame.sequence,
        "seconds": frame.seconds,
        **_plain(frame.values),
    }
    if frame.objects is not None:
        out["object_list"] = [
            {
                "label": one.label,
                "true_m": one.true_m,
                "predicted_m": _known(one.predicted_m),
                "found": one.found,
            }
            for one in frame.objects
        ]
    return out


def _plain(values: Mapping[str, Mapping[str, float]]) -> dict[str, dict[str, float | None]]:
    return {
        kind: {metric: _known(value) for metric, value in row.items()}
        for kind, row in values.items()
    }


def _known(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _some(names: Iterable[str]) -> str:
    first = sorted(names)
    return ", ".join(first[:_NAMED]) + (", ..." if len(first) > _NAMED else "") or "none"


def _words(kinds: Iterable[str]) -> str:
    found = sorted(kinds)
    return ", ".join(found) if found else "no labels that can be measured"
