"""``rangemask export stereo``: a stereo network as ONNX, with a parity check."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, TypeAlias

import typer

if TYPE_CHECKING:
    from rangemask.export import ExportReport

app = typer.Typer(no_args_is_help=True)

FitName: TypeAlias = Literal["auto", "resize", "pad"]
_SIZE = re.compile(r"(\d+)\s*[xX×]\s*(\d+)")


@app.callback()
def group() -> None:
    """Export networks for other runtimes."""


@app.command("stereo")
def stereo(
    output: Annotated[
        Path, typer.Option("--output", help="net.onnx to write; net.yaml goes beside it.")
    ],
    size: Annotated[
        str, typer.Option("--size", help="Of the network's input, height x width: 480x640.")
    ],
    model: Annotated[
        str, typer.Option("--model", help="foundation-stereo[:FILE], or student:PATH.")
    ] = "foundation-stereo",
    checkpoint: Annotated[
        Path | None, typer.Option("--checkpoint", help="Weights of the model.")
    ] = None,
    iterations: Annotated[
        int | None, typer.Option("--iterations", min=1, help="Of the refinement.")
    ] = None,
    max_disparity: Annotated[
        int | None,
        typer.Option("--max-disparity", help="Of foundation-stereo: largest disparity, px."),
    ] = None,
    attention: Annotated[
        str | None,
        typer.Option("--attention", help="Of foundation-stereo: disparity, or heads."),
    ] = None,
    fit: Annotated[
        FitName,
        typer.Option("--fit", help="Pairs of other sizes: resize, pad, or as the model does it."),
    ] = "auto",
    opset: Annotated[int, typer.Option("--opset", help="Version of ONNX's operations.")] = 18,
    tolerance: Annotated[
        float,
        typer.Option("--tolerance", help="Largest difference, torch to onnxruntime, px."),
    ] = 0.02,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace files that are there.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """Export a stereo network at a fixed size, and compare it with itself in torch."""
    from rangemask.cli.console import print_json
    from rangemask.export import StereoExportOptions, export_stereo

    height, width = parse_size(size)
    given = {"max_disparity_px": max_disparity, "attention": attention}
    report = export_stereo(
        model,
        output,
        StereoExportOptions(
            height=height,
            width=width,
            iterations=iterations,
            fit=fit,
            opset=opset,
            tolerance_px=tolerance,
        ),
        checkpoint=checkpoint,
        overwrite=overwrite,
        matcher_options={name: value for name, value in given.items() if value is not None},
    )
    if as_json:
        print_json(report.to_dict())
    else:
        _print(report)


def parse_size(text: str) -> tuple[int, int]:
    """``480x640`` as height and width.

    Raises:
        InputError: it is no size.
    """
    from rangemask.errors import InputError

    found = _SIZE.fullmatch(text.strip())
    if found is None:
        raise InputError(f"--size is height x width in px, such as 480x640; got {text!r}.")
    return int(found[1]), int(found[2])


def _print(report: ExportReport) -> None:
    from rangemask.cli.console import print_rich

    parity = report.parity
    beside = "" if report.data is None else f" and {report.data.name}"
    print_rich(
        f"Network: {report.network}{beside} ({report.size_bytes / 1e6:.1f} MB), input "
        f"{report.height} rows x {report.width} columns, opset {report.opset}",
        f"Sidecar: {report.sidecar}",
        f"Parity:  {parity.largest_px:.2g} px at most and {parity.mean_px:.2g} px on average "
        f"between torch and onnxruntime on a random pair; {parity.tolerance_px:g} px were allowed",
        f"Time:    torch {parity.torch_s:.2f} s, onnxruntime {parity.onnx_s:.2f} s a pair",
        f"Licence: {report.licence}",
    )
