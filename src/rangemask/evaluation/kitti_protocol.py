"""KITTI's published protocols on whole data sets, with the published numbers beside ours.

The numbers are TiO-Depth's (arXiv 2309.00933), by its authors' network on Swin-T. Definitions are
those of ``rangemask.metrics.kitti``.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Any, Literal, TypeAlias, get_args

import numpy as np

from rangemask._version import __version__
from rangemask.data.sample import Dataset, Sample
from rangemask.errors import InputError, RangemaskError
from rangemask.evaluation.predictors import PipelinePredictor, Predictor
from rangemask.geometry.arrays import FloatMap
from rangemask.metrics.kitti import (
    CAP_M,
    KittiDepthMetrics,
    depth_of_kitti,
    eigen_depth_metrics,
    kitti2015_depth_metrics,
    kitti2015_disparity_metrics,
)

Protocol: TypeAlias = Literal["kitti-eigen", "kitti-eigen-improved", "kitti2015"]
PROTOCOLS: tuple[Protocol, ...] = get_args(Protocol)
Eyes: TypeAlias = Literal["one", "two"]
EYES: tuple[Eyes, ...] = get_args(Eyes)
TITLES: Mapping[Eyes, str] = MappingProxyType({"one": "one eye", "two": "two eyes"})
DEPTH_METRICS = ("abs_rel", "sq_rel", "rmse_m", "rmse_log", "delta_1", "delta_2", "delta_3")
METRICS = (*DEPTH_METRICS, "median_ratio", "epe_px", "d1")
FRAMES: Mapping[Protocol, int] = MappingProxyType(
    {"kitti-eigen": 697, "kitti-eigen-improved": 652, "kitti2015": 200}
)
"""How many frames the whole test set has."""

FORMAT = "rangemask-kitti-protocol"
FORMAT_VERSION = 1
_SHOWN = 4

Progress = Callable[[Sequence[int]], Iterable[int]]


@dataclass(frozen=True, slots=True, kw_only=True)
class PublishedRow:
    """A line of the published table."""

    protocol: Protocol
    eyes: Eyes
    flip: str
    """Post-processing: none or fpp."""
    values: Mapping[str, float]


def _row(protocol: Protocol, eyes: Eyes, flip: str, *values: float) -> PublishedRow:
    names = ("abs_rel", "sq_rel", "rmse_m", "rmse_log", "delta_1")
    found = MappingProxyType(dict(zip(names, values, strict=True)))
    return PublishedRow(protocol=protocol, eyes=eyes, flip=flip, values=found)


PUBLISHED: tuple[PublishedRow, ...] = (
    _row("kitti-eigen", "one", "none", 0.085, 0.544, 3.919, 0.169, 0.911),
    _row("kitti-eigen", "one", "fpp", 0.083, 0.521, 3.864, 0.167, 0.912),
    _row("kitti-eigen", "two", "none", 0.063, 0.523, 3.611, 0.153, 0.943),
    _row("kitti2015", "one", "none", 0.075, 0.458, 3.717, 0.130, 0.925),
    _row("kitti2015", "one", "fpp", 0.073, 0.439, 3.680, 0.128, 0.925),
    _row("kitti2015", "two", "none", 0.050, 0.434, 3.239, 0.104, 0.967),
)
"""TiO-Depth on Swin-T, 384 x 1280 px, stereo supervision; the authors' README."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ProtocolOptions:
    """Which protocol, and on how much.

    Raises:
        InputError: a name is unknown or a number impossible.
    """

    protocol: Protocol = "kitti-eigen"
    flip: str = "none"
    """Post-processing that the depth model was opened with; said in the report."""
    median_scaling: bool = False
    """Bring depth to each truth's median, for models without metres; not with stereo."""
    cap_m: float = CAP_M
    limit: int | None = None
    """At most so many frames, evenly spread."""

    def __post_init__(self) -> None:
        if self.protocol not in PROTOCOLS:
            raise InputError(
                f"the protocol must be one of {', '.join(PROTOCOLS)}, got {self.protocol!r}."
            )
        if self.limit is not None and self.limit < 1:
            raise InputError(f"the limit must be at least one frame, got {self.limit}.")
        if not self.cap_m > 0:
            raise InputError(f"cap_m must be positive, got {self.cap_m}.")
        if self.median_scaling and self.protocol == "kitti2015":
            raise InputError("the protocol of kitti2015 has no median scaling; leave it out.")


@dataclass(frozen=True, slots=True, kw_only=True)
class ProtocolReport:
    """What came of it."""

    predictor: str
    dataset: str
    options: ProtocolOptions
    totals: Mapping[Eyes, Mapping[str, float]]
    """Means over frames, by eyes and metric."""
    frames: Mapping[str, Mapping[Eyes, Mapping[str, float]]]
    failed: Mapping[str, str] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
    stopped: bool = False

    @property
    def published(self) -> tuple[PublishedRow, ...]:
        """Lines of the published table for this protocol."""
        return tuple(row for row in PUBLISHED if row.protocol == self.options.protocol)

    def to_dict(self) -> dict[str, Any]:
        """As plain values, for JSON; unknown numbers are None."""
        return {
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            "rangemask_version": __version__,
            "protocol": self.options.protocol,
            "predictor": self.predictor,
            "dataset": self.dataset,
            "flip": self.options.flip,
            "median_scaling": self.options.median_scaling,
            "cap_m": self.options.cap_m,
            "stopped": self.stopped,
            "totals": {eyes: _plain(row) for eyes, row in self.totals.items()},
            "published": [
                {"eyes": row.eyes, "flip": row.flip, **row.values} for row in self.published
            ],
            "frames": {
                name: {eyes: _plain(row) for eyes, row in rows.items()}
                for name, rows in self.frames.items()
            },
            "failed": dict(self.failed),
            "notes": list(self.notes),
        }


def evaluate_kitti(
    predictor: Predictor,
    dataset: Dataset,
    *,
    options: ProtocolOptions | None = None,
    name: str = "data set",
    progress: Progress | None = None,
) -> ProtocolReport:
    """Judge one eye and two, whichever the predictor has, by a published protocol.

    A two-in-one network is taken at its own size, its depth by the rig of its training, as the
    published numbers were made; all else as it answers.

    Args:
        predictor: what ``open_predictor`` gives.
        dataset: of the protocol: KITTI raw's test frames with depth, or KITTI 2015 with disparity.
        options: which protocol.
        name: of the data set, for the report.
        progress: wraps the list of frames.

    Raises:
        InputError: no frame has the truth that the protocol wants.
        RangemaskError: all frames failed.
        KeyboardInterrupt: it was stopped before the first frame was done.
    """
    options = options if options is not None else ProtocolOptions()
    indices = list(range(len(dataset)))
    if options.limit is not None and options.limit < len(indices):
        places = np.linspace(0, len(indices) - 1, options.limit).round().astype(int)
        indices = [indices[place] for place in places]
    frames: dict[str, dict[Eyes, dict[str, float]]] = {}
    failed: dict[str, str] = {}
    without = 0
    stopped = False
    try:
        for index in indices if progress is None else progress(indices):
            try:
                sample = dataset[index]
                if _truth(sample, options) is None:
                    without += 1
                    continue
                frames[sample.name] = _judge(predictor, sample, options)
            except RangemaskError as error:
                failed[dataset.names[index]] = str(error)
    except KeyboardInterrupt:
        if not frames:
            raise
        stopped = True
    if not frames:
        _nothing(failed, without, name, options)
    return ProtocolReport(
        predictor=predictor.name,
        dataset=name,
        options=options,
        totals=_means(frames),
        frames=frames,
        failed=failed,
        notes=tuple(_notes(len(frames), without, options)),
        stopped=stopped,
    )


def _truth(sample: Sample, options: ProtocolOptions) -> FloatMap | None:
    if options.protocol == "kitti2015":
        return sample.disparity
    depth = sample.depth
    return depth.values if depth is not None and depth.kind == "metric_m" else None


def _judge(
    predictor: Predictor, sample: Sample, options: ProtocolOptions
) -> dict[Eyes, dict[str, float]]:
    truth = _truth(sample, options)
    assert truth is not None  # noqa: S101 - checked by the caller
    depths, disparity = _answers(predictor, sample, options)
    found: dict[Eyes, dict[str, float]] = {}
    for eyes, depth in depths.items():
        found[eyes] = _of_depth(_depth_metrics(depth, truth, options))
    if options.protocol == "kitti2015" and disparity is not None:
        errors = kitti2015_disparity_metrics(disparity, truth)
        found["two"] |= {"epe_px": errors.epe_px, "d1": errors.d1}
    return found


def _depth_metrics(depth: FloatMap, truth: FloatMap, options: ProtocolOptions) -> KittiDepthMetrics:
    if options.protocol == "kitti2015":
        return kitti2015_depth_metrics(depth, depth_of_kitti(truth), cap_m=options.cap_m)
    return eigen_depth_metrics(
        depth, truth, cap_m=options.cap_m, median_scaling=options.median_scaling
    )


def _of_depth(metrics: KittiDepthMetrics) -> dict[str, float]:
    values = metrics.depth.to_dict()
    row = {name: float(values[name]) for name in DEPTH_METRICS}
    return {**row, "median_ratio": metrics.median_ratio}


def _answers(
    predictor: Predictor, sample: Sample, options: ProtocolOptions
) -> tuple[dict[Eyes, FloatMap], FloatMap | None]:
    """Depth by eyes, and the pair's disparity, each of its own size."""
    frame = sample.frame
    mono, stereo = _native(predictor)
    found: dict[Eyes, FloatMap] = {}
    disparity: FloatMap | None = None
    if mono is not None or stereo is not None:
        if mono is not None:
            if not mono.metric and not options.median_scaling:
                raise InputError(_NO_METRES)
            found["one"] = mono.native(frame)
        if stereo is not None and frame.right is not None:
            found["two"], disparity = stereo.native(frame)
    else:
        said = predictor(frame)
        disparity = said.disparity
        if said.stereo_depth_m is not None:
            found["two"] = said.stereo_depth_m
        if said.depth is not None:
            scalable = options.median_scaling and said.depth.kind == "up_to_scale"
            if said.depth.kind != "metric_m" and not scalable:
                raise InputError(_NO_METRES)
            found["one"] = said.depth.values
    if not found:
        raise InputError(
            f"{frame.name}: {predictor.name} gives no depth of this frame. It needs a depth model, "
            "or a matcher and a pair with its rig."
        )
    return found, disparity if "two" in found else None


_NO_METRES = (
    "depth of one image has no metres, and the protocol scales nothing. With median scaling "
    "(--median-scaling) depth up to one factor can be judged; say so beside the numbers."
)


def _native(predictor: Predictor) -> tuple[Any, Any]:
    """Depth model and matcher that answer as the published protocol takes it; None for others."""
    if not isinstance(predictor, PipelinePredictor):
        return None, None
    stereo = None if predictor.pipeline is None else predictor.pipeline.stereo
    models = (predictor.depth, stereo)
    if any(model is not None and not hasattr(model, "native") for model in models):
        return None, None
    return models


def _nothing(
    failed: Mapping[str, str], without: int, dataset: str, options: ProtocolOptions
) -> None:
    if failed:
        first = next(iter(failed.values()))
        raise RangemaskError(f"all {len(failed)} frames failed. The first: {first}")
    wanted = {
        "kitti-eigen": "depth: DRIVE/velodyne_points/data/N.bin and calib_velo_to_cam.txt beside "
        "the drives",
        "kitti-eigen-improved": "depth of KITTI's depth benchmark: "
        "DRIVE/proj_depth/groundtruth/image_02/N.png, in the drive or in train/ or val/",
        "kitti2015": "disparity: training/disp_occ_0/N_10.png",
    }[options.protocol]
    raise InputError(
        f"{dataset}: none of its {without} frames has the truth that {options.protocol} wants, "
        f"{wanted}."
    )


def _means(
    frames: Mapping[str, Mapping[Eyes, Mapping[str, float]]],
) -> dict[Eyes, dict[str, float]]:
    totals: dict[Eyes, dict[str, float]] = {}
    for eyes in EYES:
        rows = [one[eyes] for one in frames.values() if eyes in one]
        names = [name for name in METRICS if any(name in row for row in rows)]
        for name in names:
            values = np.array([row[name] for row in rows if name in row], dtype=np.float64)
            known = values[np.isfinite(values)]
            totals.setdefault(eyes, {})[name] = float(known.mean()) if known.size else math.nan
    return totals


def _notes(judged: int, without: int, options: ProtocolOptions) -> Iterator[str]:
    whole = FRAMES[options.protocol]
    if judged != whole:
        yield (
            f"{judged} of the {whole} frames of {options.protocol} were judged: the numbers cannot "
            "be compared with published ones."
        )
    if without:
        yield f"{without} frames have no truth and were left out."
    if options.median_scaling:
        yield "Every depth was brought to the median of its truth: scale is not judged."
    if options.cap_m != CAP_M:
        yield f"Depth is cut off at {options.cap_m:g} m, not at {CAP_M:g} m as published."
    yield (
        "Published: TiO-Depth on Swin-T, by its authors (arXiv 2309.00933). A network on another "
        "encoder, or trained on other data, is not expected to reach the same numbers."
    )


def _plain(row: Mapping[str, float]) -> dict[str, float | None]:
    return {name: value if math.isfinite(value) else None for name, value in row.items()}
