"""``rangemask labelstudio export|import``."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rangemask.cli.options import AsJson

if TYPE_CHECKING:
    from rangemask.labels.label_studio import ExportReport, ImportReport

app = typer.Typer(no_args_is_help=True)

Store = Annotated[Path, typer.Argument(help="Folder with labels of rangemask label.")]


class ShapeName(StrEnum):
    """What masks become."""

    BRUSH = "brush"
    POLYGON = "polygon"


@app.command("export")
def export_command(
    store: Store,
    output: Annotated[
        Path, typer.Option("--output", help="Tasks to write; label_config.xml goes beside them.")
    ],
    shape: Annotated[
        ShapeName, typer.Option("--shape", help="What masks become.")
    ] = ShapeName.BRUSH,
    tolerance: Annotated[
        float, typer.Option("--tolerance", help="How far a polygon may be off its mask, px.")
    ] = 1.0,
    image_url: Annotated[
        str | None, typer.Option("--image-url", help="Where a server has the labels' folder.")
    ] = None,
    local_files: Annotated[
        Path | None,
        typer.Option(
            "--local-files",
            help="Label Studio's LOCAL_FILES_DOCUMENT_ROOT [default: the folder around STORE].",
        ),
    ] = None,
    min_quality: Annotated[
        float, typer.Option("--min-quality", help="Leave out frames of lower quality.")
    ] = 0.0,
    rejected: Annotated[
        bool, typer.Option("--rejected", help="Also frames that the labelling rejected.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Masks as pre-annotations of Label Studio tasks."""
    from rangemask.cli.console import print_json
    from rangemask.labels.label_studio import ExportOptions, export_tasks

    options = ExportOptions(
        shape=shape.value,
        tolerance_px=tolerance,
        image_url=image_url,
        local_files=local_files,
        min_quality=min_quality,
        rejected=rejected,
    )
    report = export_tasks(store, output, options)
    if as_json:
        print_json(report.to_dict())
    else:
        _print_export(report)


@app.command("import")
def import_command(
    store: Store,
    export: Annotated[Path, typer.Argument(help="Label Studio's export, as JSON.")],
    project: Annotated[
        str | None, typer.Option("--project", help="Number of the project that it must be of.")
    ] = None,
    accept_all: Annotated[
        bool,
        typer.Option(
            "--accept-all",
            help="What was submitted unchanged counts as checked: it is never labelled anew.",
        ),
    ] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would happen; write nothing.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Corrected masks back into the labels; what nobody changed stays as it is, to the bit."""
    from rangemask.cli.console import print_json
    from rangemask.errors import InputError
    from rangemask.labels.label_studio import ImportOptions, import_tasks

    options = ImportOptions(project=project, accept_all=accept_all, dry_run=dry_run)
    report = import_tasks(store, export, options)
    if as_json:
        print_json(report.to_dict())
    else:
        _print_import(report, dry_run=dry_run)
    if report.problems:
        raise InputError(
            f"{len(report.problems)} frames were left as they were: "
            f"{', '.join(list(report.problems)[:10])}"
        )


def _print_export(report: ExportReport) -> None:
    from rich.text import Text

    from rangemask.cli.console import print_rich

    lines = [f"{report.tasks} tasks with {report.masks} masks in {report.output}"]
    if report.regions > report.masks - report.empty:
        lines.append(
            f"{report.masks - report.empty} masks are {report.regions} polygons: a polygon is one "
            "piece without holes"
        )
    if report.empty:
        lines.append(f"{report.empty} masks have no pixels and are not shown")
    if report.without_masks:
        lines.append(f"{len(report.without_masks)} frames have no masks and are no task")
    lines.append(f"Labelling configuration: {report.config}")
    print_rich(*(Text(line) for line in lines))


def _print_import(report: ImportReport, *, dry_run: bool) -> None:
    from rich.text import Text

    from rangemask.cli.console import print_rich

    counts = ", ".join(
        f"{len(names)} {what.replace('_', ' ')}" for what, names in sorted(report.frames.items())
    )
    lines = [
        f"frames{' (nothing was written)' if dry_run else ''}: {counts or 'none'}",
        f"masks: {report.kept} kept, {report.changed} changed, {report.new} new, "
        f"{report.deleted} deleted",
    ]
    if report.several:
        lines.append(
            f"{len(report.several)} frames have several annotations; the newest was taken: "
            f"{', '.join(report.several[:10])}"
        )
    print_rich(*(Text(line) for line in lines))
