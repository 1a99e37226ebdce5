"""``rangemask eval RUN DATASET``: a run, a student, saved scenes or teachers on a data set."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias

import typer

from rangemask.cli.options import AsJson, Device, Overwrite, Precision

if TYPE_CHECKING:
    from rangemask.backends.registry import Role
    from rangemask.data.sample import Dataset
    from rangemask.evaluation.comparison import Comparison
    from rangemask.evaluation.datasets import DatasetReport, EvaluationOptions
    from rangemask.evaluation.kitti_protocol import ProtocolOptions, ProtocolReport
    from rangemask.evaluation.predictors import Predictor

logger = logging.getLogger(__name__)

ProtocolName: TypeAlias = Literal["kitti-eigen", "kitti-eigen-improved", "kitti2015"]
FlipName: TypeAlias = Literal["none", "fpp", "gpp", "mspp"]
_MANY = 10


def judge(
    words: Annotated[
        list[str],
        typer.Argument(
            metavar="[RUN] DATASET",
            help="RUN: folder of a training run, of a student or of saved scenes, or models by "
            "name (sgbm+geometry, student:PATH); left out with --stereo, --depth, --masks. "
            "DATASET: frames with labels.",
        ),
    ],
    stereo: Annotated[str | None, typer.Option("--stereo", help="Judge this matcher.")] = None,
    depth: Annotated[str | None, typer.Option("--depth", help="Judge this depth model.")] = None,
    masks: Annotated[str | None, typer.Option("--masks", help="Judge this segmenter.")] = None,
    against: Annotated[
        str | None, typer.Option("--against", help="Another RUN, to be compared with.")
    ] = None,
    kinds: Annotated[
        str | None,
        typer.Option("--kinds", help="Some of disparity,depth,semantic,masks,objects; else all."),
    ] = None,
    weighted: Annotated[
        bool, typer.Option("--weighted", help="Pixels count by their labels' weight.")
    ] = False,
    min_depth: Annotated[float, typer.Option("--min-depth", help="Nearest true depth, m.")] = 0.0,
    max_depth: Annotated[
        float, typer.Option("--max-depth", help="Farthest true depth, m (80 for KITTI).")
    ] = math.inf,
    limit: Annotated[
        int | None, typer.Option("--limit", help="At most so many frames, evenly spread.")
    ] = None,
    held_out: Annotated[
        bool, typer.Option("--held-out", help="Leave out frames that RUN has learnt from.")
    ] = False,
    layout: Annotated[
        str | None, typer.Option("--dataset-kind", help="Layout of DATASET: kitti, coco, ...")
    ] = None,
    output: Annotated[
        Path | None, typer.Option("--output", help="Folder for JSON, CSV and the page.")
    ] = None,
    overwrite: Overwrite = False,
    device: Device = "auto",
    precision: Precision = "auto",
    resamples: Annotated[
        int, typer.Option("--resamples", help="Of the frames, for --against's intervals.")
    ] = 1000,
    seed: Annotated[int, typer.Option("--seed", help="Of the resampling.")] = 0,
    strict: Annotated[
        bool, typer.Option("--strict", help="Exit with 1 if any frame failed.")
    ] = False,
    protocol: Annotated[
        ProtocolName | None,
        typer.Option("--protocol", help="Judge by a published protocol, beside its table."),
    ] = None,
    split: Annotated[
        str | None,
        typer.Option("--split", help="With --protocol: a list of frames, in place of Eigen's."),
    ] = None,
    flip: Annotated[
        FlipName,
        typer.Option("--flip", help="With --protocol: look twice (two-in-one networks)."),
    ] = "none",
    median_scaling: Annotated[
        bool, typer.Option("--median-scaling", help="With --protocol: for depth without metres.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """A run, student, saved scenes or models on a data set; the word "run" may be left out."""
    from rangemask.atomic import check_free
    from rangemask.cli.console import print_json
    from rangemask.cli.eval_protocol import check_alone, check_without
    from rangemask.data.readers import open_dataset
    from rangemask.evaluation.comparison import compare_reports
    from rangemask.evaluation.datasets import EvaluationOptions
    from rangemask.evaluation.frames import KINDS, JudgeOptions
    from rangemask.evaluation.kitti_protocol import ProtocolOptions
    from rangemask.metrics.kitti import CAP_M

    if output is not None:
        check_free(output, overwrite=overwrite)
    run, path = _told_apart(words, {"stereo": stereo, "depth": depth, "masks": masks})
    if protocol is not None:
        check_alone(
            {
                "--against": against is not None,
                "--kinds": kinds is not None,
                "--weighted": weighted,
                "--held-out": held_out,
                "--min-depth": min_depth != 0,
            }
        )
        _judge_by_protocol(
            *(run, path, layout, split),
            ProtocolOptions(
                protocol=protocol,
                flip=flip,
                median_scaling=median_scaling,
                cap_m=CAP_M if math.isinf(max_depth) else max_depth,
                limit=limit,
            ),
            device=device,
            precision=precision,
            output=output,
            overwrite=overwrite,
            as_json=as_json,
            strict=strict,
        )
        return
    check_without(
        {
            "--split": split is not None,
            "--flip": flip != "none",
            "--median-scaling": median_scaling,
        }
    )
    asked = KINDS if kinds is None else tuple(kind.strip() for kind in kinds.split(","))
    options = EvaluationOptions(
        judge=JudgeOptions(
            kinds=asked, weighted=weighted, min_depth_m=min_depth, max_depth_m=max_depth
        ),
        limit=limit,
        held_out=held_out,
    )
    dataset = open_dataset(path, layout)
    predictors = [_opened(run, device, precision)]
    if against is not None:
        predictors.append(_opened(against, device, precision))
    reports = []
    for predictor in predictors:
        reports.append(_report(predictor, dataset, options, path))
        if reports[-1].stopped:
            break
    found: DatasetReport | Comparison = reports[0]
    if len(reports) == 2 and not reports[1].stopped:
        found = compare_reports(*reports, resamples=resamples, seed=seed)
    if output is not None:
        _write(found, predictors, dataset, output, overwrite=overwrite)
    if as_json:
        print_json(found.to_dict())
    else:
        _show(found, output)
    _exit(reports, strict=strict)


def _judge_by_protocol(
    run: str | dict[Role, str],
    path: str,
    layout: str | None,
    split: str | None,
    options: ProtocolOptions,
    *,
    device: str,
    precision: str,
    output: Path | None,
    overwrite: bool,
    as_json: bool,
    strict: bool,
) -> None:
    from rangemask.cli import eval_protocol
    from rangemask.cli.console import print_json

    dataset = eval_protocol.open_protocol_data(path, layout, split, options.protocol)
    looks = {} if options.flip == "none" else {"flip": options.flip}
    predictor = _opened(run, device, precision, looks)
    report = eval_protocol.judge_by_protocol(predictor, dataset, options, path)
    if output is not None:
        eval_protocol.write_protocol(report, output, overwrite=overwrite)
    if as_json:
        print_json(report.to_dict())
    else:
        eval_protocol.show_protocol(report, output)
    _exit([report], strict=strict)


def _told_apart(
    words: Sequence[str], roles: dict[Role, str | None]
) -> tuple[str | dict[Role, str], str]:
    """Who is judged, and the data set."""
    from rangemask.errors import InputError

    named = {role: name for role, name in roles.items() if name is not None and name != "none"}
    if named and len(words) == 1:
        return named, words[0]
    if not named and len(words) == 2:
        return words[0], words[1]
    raise InputError(
        "expected RUN and DATASET, or DATASET and some of --stereo, --depth, --masks NAME; got "
        f"{' '.join(words)}"
        + "".join(f" --{role} {name}" for role, name in named.items())
        + ". Files against files: rangemask eval disparity|depth|masks PREDICTED TRUTH."
    )


def _opened(
    run: str | dict[Role, str],
    device: str,
    precision: str,
    depth_options: Mapping[str, Any] = MappingProxyType({}),
) -> Predictor:
    from rangemask.evaluation.opening import open_predictor, open_teachers

    if isinstance(run, str):
        return open_predictor(run, device=device, precision=precision, depth_options=depth_options)
    return open_teachers(run, device=device, precision=precision, depth_options=depth_options)


def _report(
    predictor: Predictor, dataset: Dataset, options: EvaluationOptions, name: str
) -> DatasetReport:
    from rich.console import Console
    from rich.progress import track

    from rangemask.evaluation.datasets import evaluate_dataset

    def bar(indices: Sequence[int]) -> Iterable[int]:
        return track(indices, f"judging {predictor.name}", console=Console(stderr=True))

    report = evaluate_dataset(predictor, dataset, options=options, name=name, progress=bar)
    for frame, why in report.failed.items():
        logger.error("%s failed: %s", frame, why)
    return report


def _write(
    found: DatasetReport | Comparison,
    predictors: Sequence[Predictor],
    dataset: Dataset,
    output: Path,
    *,
    overwrite: bool,
) -> None:
    from rangemask.atomic import atomic_folder
    from rangemask.evaluation.report_files import write_report_files
    from rangemask.view.evaluation_page import write_evaluation_page

    with atomic_folder(output, overwrite=overwrite) as staging:
        write_report_files(found, staging)
        write_evaluation_page(found, dataset, predictors, staging / "report.html")


def _show(found: DatasetReport | Comparison, output: Path | None) -> None:
    from rich.text import Text

    from rangemask.cli.console import print_rich
    from rangemask.evaluation.datasets import DatasetReport

    table = _table(found) if isinstance(found, DatasetReport) else _comparison_table(found)
    print_rich(table)
    reports = (found,) if isinstance(found, DatasetReport) else (found.first, found.second)
    lines = [f"{len(report.frames)} frames of {report.dataset}" for report in reports[:1]]
    if not isinstance(found, DatasetReport):
        lines = [
            f"A: {found.first.predictor}",
            f"B: {found.second.predictor}",
            f"{len(found.frames)} frames of {found.first.dataset}",
        ]
    for report in reports:
        for what, names in (
            ("failed", list(report.failed)),
            ("without labels to judge by", report.unlabelled),
            ("without a saved scene", report.not_predicted),
        ):
            if names:
                shown = ", ".join(names[:_MANY]) + (", ..." if len(names) > _MANY else "")
                lines.append(f"{report.predictor}: {len(names)} {what}: {shown}")
        who = "" if isinstance(found, DatasetReport) else f"{report.predictor}: "
        lines += [f"{who}{note}" for note in report.notes]
    lines += [] if isinstance(found, DatasetReport) else list(found.notes)
    if output is not None:
        lines.append(f"Result: {output}")
    # Text: a name may hold brackets, which rich would take for markup.
    print_rich(*(Text(line) for line in lines))


def _table(report: DatasetReport) -> Any:
    from rich.text import Text

    from rangemask.evaluation.totals import SHOWN, TITLES

    table = _empty_table("", Text(report.predictor))
    for kind, metrics in SHOWN.items():
        row = report.totals.get(kind, {})
        shown = [metric for metric in metrics if metric in row]
        if not shown:
            continue
        table.add_row(Text(TITLES[kind], style="bold"))
        for metric in shown:
            table.add_row(f"  {metric}", _number(row[metric]))
        table.add_section()
    return table


def _comparison_table(found: Comparison) -> Any:
    from rich.text import Text

    from rangemask.evaluation.totals import SHOWN, TITLES

    table = _empty_table("", "A", "B", "B - A", "95 %", "better")
    words = {"first": "A", "second": "B", "neither": "-"}
    for kind, metrics in SHOWN.items():
        rows = {one.metric: one for one in found.of(kind)}
        shown = [rows[metric] for metric in metrics if metric in rows]
        if not shown:
            continue
        table.add_row(Text(TITLES[kind], style="bold"))
        for one in shown:
            table.add_row(
                f"  {one.metric}",
                _number(one.first),
                _number(one.second),
                _signed(one.difference),
                f"{_signed(one.low, 2)} to {_signed(one.high, 2)}",
                words[one.better],
            )
        table.add_section()
    return table


def _empty_table(first: str, *columns: Any) -> Any:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table

    table = Table(box=SIMPLE_HEAD)
    table.add_column(first)
    for column in columns:
        table.add_column(column, justify="right", overflow="fold")
    return table


def _number(value: float) -> str:
    return "-" if math.isnan(value) else f"{value:.4g}"


def _signed(value: float, digits: int = 3) -> str:
    return "-" if math.isnan(value) else f"{value:+.{digits}g}"


def _exit(reports: Sequence[DatasetReport | ProtocolReport], *, strict: bool) -> None:
    from rangemask.errors import RangemaskError

    if reports[-1].stopped:
        raise KeyboardInterrupt
    failed = sum(len(report.failed) for report in reports)
    if failed and strict:
        raise RangemaskError(f"{failed} frames failed, and --strict asks for all of them.")
