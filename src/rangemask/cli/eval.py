"""``rangemask eval RUN DATASET``, and ``eval disparity|depth|masks PREDICTED TRUTH``."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from typer.core import TyperGroup

from rangemask.cli.eval_run import judge
from rangemask.cli.options import AsJson

if TYPE_CHECKING:
    from typer._click import Context

    from rangemask.evaluation.compare import Report


class RunOrFiles(TyperGroup):
    """What is none of the sub-commands is a run: ``eval RUN DATASET`` is ``eval run ...``."""

    def parse_args(self, ctx: Context, args: list[str]) -> list[str]:
        """Put the word ``run`` where it was left out."""
        if args and args[0] not in {*self.commands, "--help"}:
            args = ["run", *args]
        return super().parse_args(ctx, args)


app = typer.Typer(
    no_args_is_help=True,
    cls=RunOrFiles,
    subcommand_metavar="RUN DATASET [OPTIONS] | disparity|depth|masks PREDICTED TRUTH [OPTIONS]",
    epilog="A run, student, saved scenes or models on a data set: rangemask eval RUN DATASET "
    "(rangemask eval run --help lists its options).",
)
app.command("run")(judge)

Predicted = Annotated[
    Path, typer.Argument(help="File, folder of files, or output folder of predict.")
]
Truth = Annotated[Path, typer.Argument(help="File, or folder with the same names.")]
Valid = Annotated[
    Path | None,
    typer.Option(
        "--valid-mask", help="Where to look: a mask image (nonocc.png), or a folder of them."
    ),
]


@app.command("disparity")
def disparity(
    predicted: Predicted, truth: Truth, valid: Valid = None, as_json: AsJson = False
) -> None:
    """Disparity maps: .npy (NaN or inf unknown), .pfm or KITTI .png."""
    from rangemask.evaluation.compare import evaluate_disparity

    columns = ("density", "epe_px", "bad_1", "bad_2", "bad_3", "d1")
    _show(evaluate_disparity(predicted, truth, valid=valid), columns, as_json=as_json)


@app.command("depth")
def depth(
    predicted: Predicted,
    truth: Truth,
    valid: Valid = None,
    min_depth: Annotated[float, typer.Option("--min-depth", help="Nearest truth, m.")] = 0.0,
    max_depth: Annotated[
        float, typer.Option("--max-depth", help="Farthest truth, m (80 for KITTI).")
    ] = float("inf"),
    scale: Annotated[
        float, typer.Option("--scale", help="What one metre is in a PNG: 256, or 1000 for mm.")
    ] = 256.0,
    as_json: AsJson = False,
) -> None:
    """Depth maps in metres: .npy, .pfm or 16-bit .png."""
    from rangemask.evaluation.compare import evaluate_depth

    report = evaluate_depth(
        predicted,
        truth,
        valid=valid,
        min_depth_m=min_depth,
        max_depth_m=max_depth,
        scale_per_metre=scale,
    )
    columns = ("density", "abs_rel", "rmse_m", "silog", "delta_1")
    _show(report, columns, as_json=as_json)


@app.command("masks")
def masks(
    predicted: Predicted,
    truth: Truth,
    iou: Annotated[float, typer.Option("--iou", help="From which masks match.")] = 0.5,
    use_labels: Annotated[
        bool, typer.Option("--use-labels", help="Only masks of one label match.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Instance masks: id images, or COCO JSON of one image or many."""
    from rangemask.evaluation.compare import evaluate_masks

    columns = ("truths", "mean_iou", "precision", "recall", "f1", "ap", "ap50")
    report = evaluate_masks(predicted, truth, iou=iou, use_labels=use_labels)
    _show(report, columns, as_json=as_json)


def _show(report: Report, columns: tuple[str, ...], *, as_json: bool) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.table import Table
    from rich.text import Text

    from rangemask.cli.console import print_json, print_rich

    if as_json:
        print_json(report.to_dict())
        return
    table = Table(box=SIMPLE_HEAD)
    table.add_column("frame", overflow="fold", min_width=10)
    for column in columns:
        table.add_column(column, justify="right", overflow="fold")
    for name, row in report.rows.items():
        table.add_row(Text(name), *(_number(row[column]) for column in columns))
    if len(report.rows) > 1:
        table.add_section()
        table.add_row("mean", *(_number(report.mean[column]) for column in columns))
    print_rich(table)
    for frames, lack in ((report.only_truth, "prediction"), (report.only_predicted, "truth")):
        if frames:
            # Text: a name may hold brackets, which rich would take for markup.
            print_rich(Text(f"not compared, without {lack}: {', '.join(frames)}"))


def _number(value: float) -> str:
    if isinstance(value, int):
        return str(value)
    return "-" if math.isnan(value) else f"{value:.4g}"
