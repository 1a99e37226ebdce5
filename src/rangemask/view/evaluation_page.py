"""An evaluation, or two compared, as a page: numbers, plots, and the frames to look at."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from rangemask._version import __version__
from rangemask.atomic import atomic_file
from rangemask.data.sample import Dataset, Sample
from rangemask.errors import RangemaskError
from rangemask.evaluation.comparison import Comparison, Difference
from rangemask.evaluation.datasets import DatasetReport
from rangemask.evaluation.frames import FrameResult
from rangemask.evaluation.predictors import Prediction, Predictor
from rangemask.evaluation.totals import LESS_IS_BETTER, SHOWN, TITLES
from rangemask.view.evaluation_pictures import pictures_of
from rangemask.view.evaluation_plots import plots_of
from rangemask.view.report_page import (
    UNKNOWN,
    Picture,
    count_of,
    figure_html,
    html_head,
    table_html,
    text,
    tiles_html,
    warning_list,
)

logger = logging.getLogger(__name__)

KEYS: Mapping[str, tuple[str, str]] = MappingProxyType(
    {
        "disparity": ("bad_2", "share off by more than 2 px"),
        "stereo_depth": ("abs_rel", "mean relative error"),
        "depth": ("abs_rel", "mean relative error"),
        "semantic": ("mean_iou", "mean IoU"),
        "masks": ("mean_iou", "mean IoU"),
        "objects": ("median_error", "median error"),
    }
)
"""The one number of each kind by which frames are ranked, and what it is."""
_DRAWN = ("disparity", "depth", "semantic", "masks")
_FRAMES_EACH = 2
_ROWS_AT_MOST = 500
_GRID = "display:grid;gap:16px;grid-template-columns:repeat(auto-fit,minmax({}px,1fr))"


def write_evaluation_page(
    found: DatasetReport | Comparison,
    dataset: Dataset,
    predictors: Sequence[Predictor],
    path: str | Path,
) -> Path:
    """Write the page of an evaluation, whole or not at all, complete in itself.

    The frames that it shows are predicted once more, so that an evaluation keeps no pictures.

    Args:
        found: the numbers.
        dataset: that they are of.
        predictors: who was judged; two for a comparison.
        path: of the page.

    Returns:
        the page's path.

    Raises:
        OutputError: the page cannot be written.
    """
    target = Path(path)
    with atomic_file(target) as staging, staging.open("w", encoding="utf-8") as page:
        if isinstance(found, DatasetReport):
            page.write(_head(found))
            page.write(_numbers(found))
            page.write(_plots([found]))
            page.writelines(_worst(found, _Looker(dataset, {"Prediction": predictors[0]})))
            page.write(_frame_table(found))
        else:
            page.write(_comparison_head(found))
            page.write(_differences(found))
            page.write(_plots([found.first, found.second]))
            page.writelines(
                _apart(found, _Looker(dataset, dict(zip(("A", "B"), predictors, strict=True))))
            )
        page.write(
            f"</main>\n<footer>rangemask {text(__version__)}. Definitions: docs/metrics.md. "
            "Predictions and truth share one range of colours; bright is near.</footer>\n"
            "</body>\n</html>\n"
        )
    return target


def _head(report: DatasetReport) -> str:
    lead = f"{count_of(len(report.frames), 'frame')} of {report.dataset}."
    tiles = [
        (f"{text(TITLES[kind])}, {text(words)}", _number(report.totals[kind][metric]))
        for kind, (metric, words) in KEYS.items()
        if metric in report.totals.get(kind, {})
    ]
    if "time" in report.totals:
        tiles.append(("time per frame", f"{report.totals['time']['median_s']:.3g} s"))
    return (
        f"{html_head(_short(report.predictor), lead)}{tiles_html(tiles)}"
        f"{warning_list(_warnings(report))}</header>\n<main>\n"
    )


def _warnings(report: DatasetReport) -> list[str]:
    counted = (
        (list(report.failed), "failed"),
        (report.unlabelled, "had no labels to judge by"),
        (report.not_predicted, "had no saved scene"),
    )
    found = [
        f"{count_of(len(names), 'frame')} {what}: {', '.join(names[:5])}"
        f"{', ...' if len(names) > 5 else '.'}"
        for names, what in counted
        if names
    ]
    stopped = ["The evaluation was interrupted; later frames are not in it."]
    return [*(stopped if report.stopped else []), *found, *report.notes]


def _comparison_head(found: Comparison) -> str:
    lead = (
        f"{count_of(len(found.frames), 'frame')} of {found.first.dataset}. A is "
        f"{found.first.predictor}, B is {found.second.predictor}."
    )
    shown = [one for one in found.differences if one.metric in SHOWN.get(one.kind, ())]
    better = {who: sum(one.better == who for one in shown) for who in ("first", "second")}
    tiles = [
        ("Metrics in which A is better", str(better["first"])),
        ("in which B is better", str(better["second"])),
        ("without a sure difference", str(len(shown) - sum(better.values()))),
    ]
    notes = [f"{who}: {one}" for who, run in _both(found) for one in _warnings(run)]
    title = f"{_short(found.first.predictor)} and {_short(found.second.predictor)}"
    return (
        f"{html_head(title, lead)}{tiles_html(tiles)}"
        f"{warning_list([*found.notes, *notes])}</header>\n<main>\n"
    )


def _both(found: Comparison) -> tuple[tuple[str, DatasetReport], tuple[str, DatasetReport]]:
    return ("A", found.first), ("B", found.second)


def _numbers(report: DatasetReport) -> str:
    heads = '<th scope="col">Metric</th><th scope="col" class="n">Value</th>'
    parts = []
    for kind, metrics in SHOWN.items():
        row = report.totals.get(kind, {})
        rows = [
            f'<tr><th scope="row">{text(metric)}{_sense(metric)}</th>'
            f'<td class="n">{_number(row[metric])}</td></tr>\n'
            for metric in metrics
            if metric in row
        ]
        if rows:
            table = table_html(heads, "".join(rows), TITLES[kind])
            parts.append(f"<div>{_subtitle(TITLES[kind])}{table}</div>\n")
    return _card("Numbers", f'<div style="{_GRID.format(260)}">\n{"".join(parts)}</div>')


def _differences(found: Comparison) -> str:
    heads = (
        '<th scope="col">Metric</th><th scope="col" class="n">A</th>'
        '<th scope="col" class="n">B</th><th scope="col" class="n">B - A</th>'
        f'<th scope="col" class="n">95 % of {found.resamples} resamples</th>'
        '<th scope="col">Better</th>'
    )
    parts = []
    for kind, metrics in SHOWN.items():
        named = {one.metric: one for one in found.of(kind)}
        rows = [_difference_row(named[metric]) for metric in metrics if metric in named]
        if rows:
            parts.append(_subtitle(TITLES[kind]) + table_html(heads, "".join(rows), TITLES[kind]))
    return _card("Differences", "".join(parts))


def _difference_row(one: Difference) -> str:
    who = {"first": "A", "second": "B", "neither": ""}[one.better]
    badge = f'<span class="badge commercial-ok">{who}</span>' if who else UNKNOWN
    return (
        f'<tr><th scope="row">{text(one.metric)}{_sense(one.metric)}</th>'
        f'<td class="n">{_number(one.first)}</td><td class="n">{_number(one.second)}</td>'
        f'<td class="n">{_number(one.difference, "+")}</td>'
        f'<td class="n">{_number(one.low, "+")} to {_number(one.high, "+")}</td>'
        f"<td>{badge}</td></tr>\n"
    )


def _sense(metric: str) -> str:
    words = "less is better" if metric in LESS_IS_BETTER else "more is better"
    sign = "↓" if metric in LESS_IS_BETTER else "↑"
    return f' <span class="soft" title="{words}">{sign}</span>'


def _plots(reports: Sequence[DatasetReport]) -> str:
    figures = [figure_html(picture) for picture in plots_of(reports)]
    if not figures:
        return ""
    return _card("Plots", f'<div style="{_GRID.format(440)}">\n{"".join(figures)}</div>')


def _worst(report: DatasetReport, looker: _Looker) -> Iterator[str]:
    for kind in _DRAWN:
        metric, words = KEYS[kind]
        sign = 1 if metric in LESS_IS_BETTER else -1
        ranked = _ranked(report.frames, lambda one, k=kind, m=metric, s=sign: s * _value(one, k, m))
        rows = []
        for frame in ranked[:_FRAMES_EACH]:
            caption = f"{frame.name}: {words} {_value(frame, kind, metric):.3g}"
            shown = looker.pictures(kind, frame.name, errors=True)
            rows.append(_strip(caption, shown))
        if rows:
            yield _card(f"Worst frames: {TITLES[kind]}", "".join(rows))


def _apart(found: Comparison, looker: _Looker) -> Iterator[str]:
    others = {frame.name: frame for frame in found.second.frames}
    frames = [frame for frame in found.first.frames if frame.name in others]
    for kind in _DRAWN:
        metric, words = KEYS[kind]
        if not any(one.metric == metric for one in found.of(kind)):
            continue  # such as classes, where the runs know different ones

        def pair(one: FrameResult, kind: str = kind, metric: str = metric) -> tuple[float, float]:
            return _value(one, kind, metric), _value(others[one.name], kind, metric)

        ranked = _ranked(frames, lambda one, of=pair: abs(of(one)[1] - of(one)[0]))
        rows = []
        for frame in ranked[:_FRAMES_EACH]:
            first, second = pair(frame)
            caption = f"{frame.name}: {words} {first:.3g} (A), {second:.3g} (B)"
            shown = looker.pictures(kind, frame.name, errors=False)
            rows.append(_strip(caption, shown))
        if rows:
            yield _card(f"Frames that differ most: {TITLES[kind]}", "".join(rows))


def _ranked(frames: Sequence[FrameResult], key: object) -> list[FrameResult]:
    """Largest first; frames without the number are left out."""
    assert callable(key)  # noqa: S101 - a lambda that binds its loop's names
    known = [(float(key(frame)), frame) for frame in frames]
    known = [one for one in known if math.isfinite(one[0])]
    return [frame for _, frame in sorted(known, key=lambda one: -one[0])]


def _value(frame: FrameResult, kind: str, metric: str) -> float:
    return frame.values.get(kind, {}).get(metric, math.nan)


class _Looker:
    """Predicts the frames of a page, each once, however many kinds show it.

    Args:
        dataset: of the frames.
        predictors: by what they are called on the page.
    """

    def __init__(self, dataset: Dataset, predictors: Mapping[str, Predictor]) -> None:
        self._dataset = dataset
        self._predictors = predictors
        self._seen: dict[str, tuple[Sample, dict[str, Prediction]]] = {}

    def pictures(self, kind: str, name: str, *, errors: bool) -> list[Picture]:
        """Of one frame; none where it can no longer be read or predicted."""
        try:
            if name not in self._seen:
                sample = self._dataset[self._dataset.names.index(name)]
                said = {who: run(sample.frame) for who, run in self._predictors.items()}
                self._seen[name] = sample, said
        except RangemaskError as error:  # it worked a moment ago: files may have gone since
            logger.warning("%s is not on the page: %s", name, error)
            return []
        return pictures_of(kind, *self._seen[name], errors=errors)


def _strip(caption: str, pictures: Sequence[Picture]) -> str:
    figures = "".join(figure_html(picture) for picture in pictures)
    return f'{_subtitle(caption)}<div style="{_GRID.format(220)}">\n{figures}</div>\n'


def _frame_table(report: DatasetReport) -> str:
    kinds = [kind for kind in KEYS if any(kind in frame.values for frame in report.frames)]
    heads = '<th scope="col">Frame</th>' + "".join(
        f'<th scope="col" class="n">{text(TITLES[kind])}<br>{text(KEYS[kind][1])}</th>'
        for kind in kinds
    )
    rows = "".join(
        f'<tr><th scope="row">{text(frame.name)}</th>'
        + "".join(
            f'<td class="n">{_number(_value(frame, kind, KEYS[kind][0]))}</td>' for kind in kinds
        )
        + "</tr>\n"
        for frame in report.frames[:_ROWS_AT_MOST]
    )
    left = len(report.frames) - _ROWS_AT_MOST
    more = f'<p class="soft">{left} more are in frames.csv.</p>\n' if left > 0 else ""
    return _card("Frames", table_html(heads, rows, "Each frame") + more)


def _subtitle(words: str) -> str:
    return f'<h3 style="margin:18px 0 8px">{text(words)}</h3>\n'


def _card(title: str, inside: str) -> str:
    return f'<section class="card"><h2>{text(title)}</h2>\n{inside}</section>\n'


def _number(value: float, sign: str = "") -> str:
    return UNKNOWN if not math.isfinite(value) else f"{value:{sign}.4g}"


def _short(name: str) -> str:
    return name if len(name) <= 60 else "…" + name[-59:]
