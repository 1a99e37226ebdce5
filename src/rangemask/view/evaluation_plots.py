"""Plots of an evaluation: errors, errors over distance, classes, distances of objects."""

from __future__ import annotations

import base64
import io
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import numpy as np

from rangemask.evaluation.datasets import DatasetReport
from rangemask.evaluation.frames import DISTANCE_EDGES_M, ERROR_EDGES_PX, ERROR_EDGES_SHARE
from rangemask.evaluation.totals import TITLES
from rangemask.geometry.arrays import AnyArray
from rangemask.view.report_page import Picture

_COLOURS = ("#0072b2", "#d55e00")
_DPI, _WIDTH_IN, _HEIGHT_IN = 110, 6.4, 3.6
_CLASSES_AT_MOST = 30
_FEW_PIXELS = 50
_MEASURED = ("disparity", "stereo_depth", "depth")


def plots_of(reports: Sequence[DatasetReport]) -> Iterator[Picture]:
    """Plots of one run, or of two in one."""
    names = [report.predictor for report in reports]
    for kind in _MEASURED:
        found = [report.curves[kind] for report in reports if kind in report.curves]
        if len(found) != len(reports):
            continue
        unit = "px" if kind == "disparity" else "share of the true distance"
        edges = ERROR_EDGES_PX if kind == "disparity" else ERROR_EDGES_SHARE
        histograms = [one.histogram for one in found]
        yield _plot(
            f"Error of {TITLES[kind]}: pixels by size, the last step holds all above",
            partial(_histogram, names=names, counts=histograms, edges=edges, unit=unit),
        )
        sums = [one.by_distance for one in found]
        if all(one[1].max(initial=0) >= _FEW_PIXELS for one in sums):
            yield _plot(
                f"Mean error of {TITLES[kind]} over true distance",
                partial(_over_distance, names=names, sums=sums, unit=unit),
            )
    ious = [_ious(report) for report in reports]
    shared = [one for one in ious[0] if all(one in other for other in ious)]
    if shared:
        yield _plot("IoU of each class", partial(_bars, names=names, ious=ious, classes=shared))
    points = [_object_errors(report) for report in reports]
    if all(one.size for one in points):
        yield _plot(
            "Distances of objects: error over true distance",
            partial(_objects, names=names, points=points),
        )


def _plot(caption: str, draw: Callable[[Any], None]) -> Picture:
    # Imported here, and without pyplot: no window system, no global state.
    from matplotlib.figure import Figure

    figure = Figure(figsize=(_WIDTH_IN, _HEIGHT_IN), dpi=_DPI, layout="constrained")
    axes = figure.add_subplot()
    draw(axes)
    axes.grid(alpha=0.3)
    for side in ("top", "right"):
        axes.spines[side].set_visible(False)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return Picture(
        caption=caption,
        alternative=caption,
        source="data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode("ascii"),
        width=round(_WIDTH_IN * _DPI),
        height=round(_HEIGHT_IN * _DPI),
    )


def _histogram(
    axes: Any, names: Sequence[str], counts: Sequence[AnyArray], edges: AnyArray, unit: str
) -> None:
    wide = np.append(edges, edges[-1] + (edges[1] - edges[0]))
    for name, colour, count in zip(names, _COLOURS, counts, strict=False):
        shares = 100 * count / max(float(count.sum()), 1)
        axes.stairs(shares, wide, color=colour, fill=len(names) == 1, alpha=0.85, label=name)
    axes.set_xlabel(f"error, {unit}")
    axes.set_ylabel("% of the pixels")
    axes.set_yscale("symlog", linthresh=1)
    axes.yaxis.set_major_formatter("{x:g}")
    _legend(axes, names)


def _over_distance(axes: Any, names: Sequence[str], sums: Sequence[AnyArray], unit: str) -> None:
    middle = np.sqrt(DISTANCE_EDGES_M[1:] * DISTANCE_EDGES_M[:-1])
    for name, colour, (total, pixels) in zip(names, _COLOURS, sums, strict=False):
        there = pixels >= _FEW_PIXELS
        axes.plot(middle[there], total[there] / pixels[there], "o-", color=colour, ms=4, label=name)
    _metres(axes)
    axes.set_ylim(bottom=0)
    axes.set_ylabel(f"mean error, {unit}")
    _legend(axes, names)


def _ious(report: DatasetReport) -> dict[str, float]:
    row = report.totals.get("semantic", {})
    named = {k.removeprefix("iou/"): value for k, value in row.items() if k.startswith("iou/")}
    return dict(sorted(named.items(), key=lambda item: -item[1]))


def _bars(
    axes: Any, names: Sequence[str], ious: Sequence[dict[str, float]], classes: Sequence[str]
) -> None:
    shown = list(classes)[:_CLASSES_AT_MOST]
    places, height = np.arange(len(shown)), 0.8 / len(names)
    for i, (name, colour, values) in enumerate(zip(names, _COLOURS, ious, strict=False)):
        offset = (i - (len(names) - 1) / 2) * height
        widths = [values[one] for one in shown]
        axes.barh(places + offset, widths, height, color=colour, label=name)
    axes.set_yticks(places, [_plain(one) for one in shown])
    axes.invert_yaxis()
    axes.set_xlim(0, 1)
    axes.set_xlabel("IoU")
    _legend(axes, names)


def _object_errors(report: DatasetReport) -> AnyArray:
    """(N, 2): true distance and error of it, of objects whose distance was measured."""
    found = [
        (one.true_m, one.error_share)
        for frame in report.frames
        for one in frame.objects or ()
        if np.isfinite(one.error_share)
    ]
    return np.array(found, dtype=np.float64).reshape(-1, 2)


def _objects(axes: Any, names: Sequence[str], points: Sequence[AnyArray]) -> None:
    for name, colour, values in zip(names, _COLOURS, points, strict=False):
        percent = np.maximum(100 * values[:, 1], 0.01)
        axes.plot(values[:, 0], percent, "o", color=colour, ms=4, alpha=0.6, label=name)
    for limit in (2, 5, 10):
        axes.axhline(limit, color="0.6", lw=0.8, ls=":")
    _metres(axes)
    axes.set_yscale("log")
    axes.yaxis.set_major_formatter("{x:g}")
    axes.set_ylabel("error, % of the true distance")
    _legend(axes, names)


def _metres(axes: Any) -> None:
    axes.set_xscale("log", base=2)
    axes.xaxis.set_major_formatter("{x:.3g}")
    axes.set_xlabel("true distance, m")


def _legend(axes: Any, names: Sequence[str]) -> None:
    if len(names) > 1:
        axes.legend([_plain(name) for name in names], frameon=False)


def _plain(name: str) -> str:
    """Names are no formulas, and only so long."""
    return (name if len(name) <= 40 else "..." + name[-37:]).replace("$", r"\$")
