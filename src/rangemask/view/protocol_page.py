"""An evaluation by a published protocol as a page: our lines and the published ones."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from pathlib import Path

from rangemask._version import __version__
from rangemask.atomic import atomic_file
from rangemask.evaluation.kitti_protocol import METRICS, TITLES, ProtocolReport
from rangemask.view.report_page import (
    UNKNOWN,
    count_of,
    html_head,
    table_html,
    text,
    warning_list,
)

_WORST = 20


def write_protocol_page(report: ProtocolReport, path: str | Path) -> Path:
    """Write the page, whole or not at all, complete in itself.

    Args:
        report: the numbers.
        path: of the page.

    Returns:
        the page's path.

    Raises:
        OutputError: it cannot be written.
    """
    target = Path(path)
    lead = (
        f"{report.options.protocol}: {count_of(len(report.frames), 'frame')} of {report.dataset}, "
        f"depth up to {report.options.cap_m:g} m."
    )
    with atomic_file(target) as staging:
        page = [
            html_head(report.predictor[-60:], lead),
            warning_list(list(_warnings(report))),
            "</header>\n<main>\n",
            _card("Beside the published numbers", _numbers(report)),
            _card("Frames with the largest error", _worst(report)),
            f"</main>\n<footer>rangemask {text(__version__)}. Definitions: docs/metrics.md and "
            "docs/two-in-one.md. Published numbers are TiO-Depth's (arXiv 2309.00933), on Swin-T."
            "</footer>\n</body>\n</html>\n",
        ]
        staging.write_text("".join(page), encoding="utf-8")
    return target


def _warnings(report: ProtocolReport) -> Iterator[str]:
    if report.stopped:
        yield "The evaluation was interrupted; later frames are not in it."
    if report.failed:
        names = ", ".join(list(report.failed)[:5])
        first = next(iter(report.failed.values()))
        yield f"{count_of(len(report.failed), 'frame')} failed: {names}. The first: {first}"
    yield from report.notes


def rows_of(report: ProtocolReport) -> Iterator[tuple[str, Mapping[str, float]]]:
    """Lines of the table, each of ours above the published ones of as many eyes."""
    for eyes, title in TITLES.items():
        if eyes in report.totals:
            flip = report.options.flip if eyes == "one" else "none"
            looks = "" if flip == "none" else f", {flip}"
            yield f"{title}{looks} (this run)", report.totals[eyes]
        for row in report.published:
            if row.eyes == eyes:
                looks = "" if row.flip == "none" else f", {row.flip}"
                yield f"{title}{looks} (published)", row.values


def columns_of(report: ProtocolReport) -> list[str]:
    """Metrics that a line has."""
    lines = [values for _, values in rows_of(report)]
    return [name for name in METRICS if any(name in values for values in lines)]


def _numbers(report: ProtocolReport) -> str:
    columns = columns_of(report)
    heads = '<th scope="col"></th>' + "".join(
        f'<th scope="col" class="n">{text(name)}</th>' for name in columns
    )
    rows = "".join(
        f'<tr><th scope="row">{text(title)}</th>{_cells(values, columns)}</tr>\n'
        for title, values in rows_of(report)
    )
    return table_html(heads, rows, "Numbers")


def _worst(report: ProtocolReport) -> str:
    lines = [
        (values.get("abs_rel", math.nan), name, TITLES[eyes], values)
        for name, rows in report.frames.items()
        for eyes, values in rows.items()
    ]
    known = sorted((one for one in lines if math.isfinite(one[0])), key=lambda one: -one[0])
    columns = columns_of(report)
    heads = '<th scope="col">Frame</th><th scope="col">Eyes</th>' + "".join(
        f'<th scope="col" class="n">{text(name)}</th>' for name in columns
    )
    rows = "".join(
        f'<tr><th scope="row">{text(name)}</th><td>{title}</td>{_cells(values, columns)}</tr>\n'
        for _, name, title, values in known[:_WORST]
    )
    return table_html(heads, rows, "Frames")


def _cells(values: Mapping[str, float], columns: list[str]) -> str:
    return "".join(f'<td class="n">{_number(values.get(name, math.nan))}</td>' for name in columns)


def _number(value: float) -> str:
    return f"{value:.3f}" if math.isfinite(value) else UNKNOWN


def _card(title: str, inside: str) -> str:
    return f'<section class="card"><h2>{text(title)}</h2>\n{inside}</section>\n'
