"""``rangemask label``: teachers over a data set; labels with their trust beside the images."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeAlias

import typer

from rangemask.cli.options import (
    NONE,
    AsJson,
    Device,
    FieldOfView,
    Labels,
    Layout,
    MaxPixels,
    MemoryBudget,
    Precision,
    Quality,
    RigFile,
    ScaleRig,
    Stereo,
)

if TYPE_CHECKING:
    from rangemask.labels import LabelReport
    from rangemask.labels.work import Outcome, Task, What

EngineName: TypeAlias = Literal["local", "ray"]
MapsName: TypeAlias = Literal["png", "npy"]
LookBackName: TypeAlias = Literal["auto", "on", "off"]
_NAMED_AT_MOST = 10


def label(
    dataset: Annotated[
        Path, typer.Argument(help="Folder with left/ and right/, or images/; others need --output.")
    ],
    output: Annotated[
        Path | None,
        typer.Option("--output", help="Folder for images and labels; beside the images without."),
    ] = None,
    stereo: Stereo = "sgbm",
    second_stereo: Annotated[
        str | None,
        typer.Option("--second-stereo", help="Matcher whose agreement becomes part of the weight."),
    ] = None,
    depth: Annotated[
        str | None, typer.Option("--depth", help="Monocular depth model; writes depth/.")
    ] = None,
    masks: Annotated[
        str, typer.Option("--masks", help="Segmenter: geometry, sam2.1-small, student:PATH, none.")
    ] = "geometry",
    labels: Labels = None,
    left_right: Annotated[
        LookBackName,
        typer.Option("--left-right", help="Match the mirrored pair as well, and compare."),
    ] = "auto",
    maps: Annotated[
        MapsName, typer.Option("--maps", help="Disparity as 16-bit PNG x 256, or float32 .npy.")
    ] = "png",
    quality: Quality = None,
    min_quality: Annotated[
        float, typer.Option("--min-quality", min=0, max=1, help="Reject images below.")
    ] = 0.0,
    rig: RigFile = None,
    scale_rig: ScaleRig = False,
    field_of_view: FieldOfView = 0.0,
    layout: Layout = None,
    engine: Annotated[
        EngineName, typer.Option("--engine", help="This process, or a Ray cluster.")
    ] = "local",
    workers: Annotated[
        int | None, typer.Option("--workers", min=1, help="Of ray; one per GPU without it.")
    ] = None,
    ray_address: Annotated[
        str | None, typer.Option("--ray-address", help="Of a running cluster.")
    ] = None,
    device: Device = "auto",
    precision: Precision = "auto",
    memory_budget: MemoryBudget = None,
    strict: Annotated[
        bool, typer.Option("--strict", help="Stop at the first frame that cannot be labelled.")
    ] = False,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Label anew what other options labelled.")
    ] = False,
    sheet: Annotated[
        bool, typer.Option("--sheet/--no-sheet", help="Write contact_sheet.html.")
    ] = True,
    max_pixels: MaxPixels = 64.0,
    as_json: AsJson = False,
) -> None:
    """Make pseudo-labels with their trust; run again to go on after any interruption."""
    from rangemask.errors import InputError
    from rangemask.labels import LabelConfig, RunOptions, label_dataset

    if quality is not None and stereo != "sgbm":
        raise InputError(f"--quality is for the matcher sgbm, not for {stereo}.")
    config = LabelConfig(
        stereo=None if stereo == NONE else stereo,
        second_stereo=second_stereo,
        depth=depth,
        masks=None if masks == NONE else masks,
        labels=None if labels is None else tuple(name.strip() for name in labels.split(",")),
        left_right=left_right,
        maps=maps,
        stereo_options={} if quality is None else {"quality": quality},
        device=device,
        precision=precision,
        memory_budget=memory_budget,
        field_of_view=field_of_view,
    )
    options = RunOptions(
        output=output,
        rig=rig,
        scale_rig=scale_rig,
        layout=layout,
        min_quality=min_quality,
        strict=strict,
        overwrite=overwrite,
        engine=engine,
        workers=workers,
        ray_address=ray_address,
        max_pixels=int(max_pixels * 1e6),
    )
    report = label_dataset(dataset, config, options, progress=_progress)
    page = None
    if sheet:
        from rangemask.view.contact_sheet import write_contact_sheet

        page = write_contact_sheet(report.store)
    if as_json:
        from rangemask.cli.console import print_json

        print_json(_plain(report, page))
    else:
        _print(report, page)
    if not report.summary.labelled and not report.summary.rejected:
        raise InputError(f"{dataset}: not one frame could be labelled; see the reasons above.")


def _progress(tasks: Sequence[Task]) -> Callable[[Outcome], None]:
    """A bar on standard error that counts what became of the frames."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    bar = Progress(
        TextColumn("labelling"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        console=Console(stderr=True),
    )
    number = bar.add_task("labelling", total=len(tasks))
    left = [len(tasks)]
    bar.start()

    def advance(outcome: Outcome) -> None:
        del outcome
        left[0] -= 1
        bar.advance(number)
        if not left[0]:
            bar.stop()

    return advance


def _plain(report: LabelReport, page: Path | None) -> dict[str, Any]:
    return {
        "store": str(report.store),
        "done": {what: report.done.get(what, 0) for what in _WORDS},
        "problems": report.problems,
        "rejected_for": report.rejected_for,
        "summary": report.summary.to_dict(),
        "contact_sheet": None if page is None else str(page),
    }


_WORDS: Mapping[What, str] = MappingProxyType(
    {
        "labelled": "labelled",
        "kept": "done before and kept",
        "rejected": "rejected",
        "failed": "failed",
    }
)


def _print(report: LabelReport, page: Path | None) -> None:
    from rangemask.cli.console import print_rich

    done = [f"{report.done[what]} {word}" for what, word in _WORDS.items() if report.done.get(what)]
    print_rich(f"This run: {', '.join(done) or 'nothing to do'}.")
    for name, count in report.rejected_for.items():
        print_rich(f"  rejected for {name}: {count}")
    for name, problem in list(report.problems.items())[:_NAMED_AT_MOST]:
        print_rich(f"  skipped {name}: {problem}")
    if len(report.problems) > _NAMED_AT_MOST:
        print_rich(f"  and {len(report.problems) - _NAMED_AT_MOST} more were skipped")
    summary = report.summary
    files = ", ".join(f"{count} {kind}" for kind, count in summary.files.items())
    print_rich(
        f"All labels: {summary.labelled} frames ({files or 'no files'}), "
        f"{summary.rejected} rejected, {summary.failed} failed."
    )
    print_rich(_licence(report))
    print_rich(f"Labels: {report.store}")
    if page is not None:
        print_rich(f"Sheet:  {page}")


def _licence(report: LabelReport) -> str:
    summary = report.summary
    if summary.licence_class == "commercial-ok":
        return "Licence: commercial-ok, as far as the teachers go; the images are yours to judge."
    made = ", ".join(f"{count} files by {model}" for model, count in summary.research_only.items())
    return f"Licence: {summary.licence_class}, not for commercial use: {made}."
