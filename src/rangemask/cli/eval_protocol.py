"""``rangemask eval RUN DATASET --protocol kitti-eigen``: the published protocols of KITTI."""

from __future__ import annotations

import csv
import json
import logging
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from rangemask.data.sample import Dataset
    from rangemask.evaluation.kitti_protocol import ProtocolOptions, ProtocolReport
    from rangemask.evaluation.predictors import Predictor

logger = logging.getLogger(__name__)

_SHOWN = ("abs_rel", "sq_rel", "rmse_m", "rmse_log", "delta_1", "epe_px", "d1")
REPORT_FILE, FRAMES_FILE, PAGE_FILE = "report.json", "frames.csv", "report.html"


def check_alone(given: Mapping[str, bool]) -> None:
    """Refuse options that a protocol leaves no room for.

    Args:
        given: by the option's name, whether it was given.

    Raises:
        InputError: one was.
    """
    from rangemask.errors import InputError

    named = [name for name, is_so in given.items() if is_so]
    if named:
        raise InputError(
            f"a protocol decides what is judged and how; leave out {', '.join(named)}."
        )


def check_without(given: Mapping[str, bool]) -> None:
    """Refuse options that only a protocol knows.

    Raises:
        InputError: one was given.
    """
    from rangemask.errors import InputError

    named = [name for name, is_so in given.items() if is_so]
    if named:
        raise InputError(f"{', '.join(named)}: only together with --protocol kitti-eigen or so.")


def open_protocol_data(path: str, layout: str | None, split: str | None, protocol: str) -> Dataset:
    """The data set that a protocol is of; the split and its depth are chosen by the protocol.

    Raises:
        InputError: nothing of the kind is there.
    """
    from rangemask.data.readers import open_dataset, open_kitti, open_kitti_raw
    from rangemask.errors import InputError

    if layout is not None:
        if split is not None:
            raise InputError("--split is for KITTI raw; leave --dataset-kind out.")
        return open_dataset(path, layout)
    if protocol == "kitti2015":
        if split is not None:
            raise InputError("kitti2015 has no --split: all frames with disparity are judged.")
        return open_kitti(path)
    improved = protocol == "kitti-eigen-improved"
    return open_kitti_raw(
        path,
        split="eigen-test" if split is None else split,
        depth="improved" if improved else "velodyne-forward",
    )


def judge_by_protocol(
    predictor: Predictor, dataset: Dataset, options: ProtocolOptions, name: str
) -> ProtocolReport:
    """Judge, with a bar on standard error.

    Raises:
        InputError: the data set has no truth of that kind.
        RangemaskError: all frames failed.
    """
    from rich.console import Console
    from rich.progress import track

    from rangemask.evaluation.kitti_protocol import evaluate_kitti

    def bar(indices: Sequence[int]) -> Iterable[int]:
        return track(indices, f"judging {predictor.name}", console=Console(stderr=True))

    report = evaluate_kitti(predictor, dataset, options=options, name=name, progress=bar)
    for frame, why in report.failed.items():
        logger.error("%s failed: %s", frame, why)
    return report


def write_protocol(report: ProtocolReport, output: Path, *, overwrite: bool) -> None:
    """JSON, a line per frame and number of eyes, and the page.

    Raises:
        OutputError: the folder exists and overwrite is off, or it cannot be written.
    """
    from rangemask.atomic import atomic_folder
    from rangemask.evaluation.kitti_protocol import METRICS
    from rangemask.view.protocol_page import write_protocol_page

    with atomic_folder(output, overwrite=overwrite) as staging:
        plain = json.dumps(report.to_dict(), indent=2, allow_nan=False)
        (staging / REPORT_FILE).write_text(plain + "\n", encoding="utf-8")
        with (staging / FRAMES_FILE).open("w", newline="", encoding="utf-8") as file:
            table = csv.DictWriter(file, ["frame", "eyes", *METRICS], restval="")
            table.writeheader()
            for name, rows in report.frames.items():
                for eyes, row in rows.items():
                    known = {key: one for key, one in row.items() if math.isfinite(one)}
                    table.writerow({"frame": name, "eyes": eyes, **known})
        write_protocol_page(report, staging / PAGE_FILE)


def show_protocol(report: ProtocolReport, output: Path | None) -> None:
    """Our lines and the published ones."""
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    from rangemask.cli.console import print_rich
    from rangemask.view.protocol_page import columns_of, rows_of

    # The page and the files have all columns; a terminal has 80 characters.
    columns = [column for column in columns_of(report) if column in _SHOWN]
    table = Table(box=SIMPLE_HEAD, padding=0, show_edge=False, pad_edge=False)
    table.add_column(report.options.protocol, no_wrap=True)
    for column in columns:
        table.add_column(column, justify="right", no_wrap=True)
    for title, values in rows_of(report):
        table.add_row(Text(title), *(_number(values.get(column)) for column in columns))
    lines = [f"{len(report.frames)} frames of {report.dataset}", *report.notes]
    if report.failed:
        lines.append(f"{len(report.failed)} failed: {', '.join(list(report.failed)[:5])}")
    if output is not None:
        lines.append(f"Result: {output}")
    print_rich(table, *(Text(line) for line in lines))


def _number(value: Any) -> str:
    return "-" if value is None or math.isnan(value) else f"{value:.3f}"
