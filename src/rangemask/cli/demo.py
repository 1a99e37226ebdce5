"""``rangemask demo``: the main job on a real pair that ships with scikit-image."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from rangemask.cli.options import AsJson

if TYPE_CHECKING:
    from rangemask.evaluation.scene_truth import SceneTruth
    from rangemask.structures import Scene


def demo(
    output: Annotated[Path, typer.Option("--output", help="Folder for the result.")] = Path(
        "outputs"
    ),
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace an earlier result.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Find objects and distances in a real stereo pair; needs no weights and no network."""
    from rangemask.atomic import check_free
    from rangemask.cli.console import print_json
    from rangemask.data.samples import motorcycle
    from rangemask.evaluation.scene_truth import compare_with_truth
    from rangemask.pipeline import Pipeline
    from rangemask.structures.scene_files import scene_to_json
    from rangemask.view.prediction import CloudConfig, save_prediction
    from rangemask.view.report import write_report

    frame, truth_px = motorcycle()
    check_free(output / frame.name, overwrite=overwrite)
    scene = Pipeline(stereo="sgbm", masks="geometry")(frame)
    folder = save_prediction(scene, output, overwrite=overwrite, cloud=CloudConfig())
    write_report(output, output / "report.html")
    truth = compare_with_truth(scene, truth_px)
    if as_json:
        print_json(
            {"folder": str(folder), "scene": scene_to_json(scene), "accuracy": truth.to_dict()}
        )
    else:
        _print(scene, folder, truth)


def _print(scene: Scene, folder: Path, truth: SceneTruth) -> None:
    from rich.table import Table

    from rangemask.cli.console import print_rich
    from rangemask.cli.tables import metres

    table = Table(title="Objects, nearest first")
    for column in ("id", "label", "distance", "10 % .. 90 %", "ground truth", "error"):
        table.add_column(column, justify="right")
    for thing, error in zip(scene.objects, truth.objects, strict=True):
        distance = thing.distance
        table.add_row(
            str(thing.id),
            thing.label,
            f"{distance.median:.2f} m",
            f"{distance.p10:.2f} .. {distance.p90:.2f} m",
            metres(error.true_median_m),
            "unknown" if error.error_share is None else f"{error.error_share:.1%}",
        )
    print_rich(
        table,
        f"Disparity: {truth.disparity.density:.1%} of the pixels with ground truth given; of those "
        f"{truth.disparity.bad_2_given:.1%} are off by more than 2 px.",
        f"Overlay:   {folder / 'fusion' / 'overlay.png'}",
        f"Cloud:     {folder / '3d' / 'cloud.ply'}",
        f"Report:    {folder.parent / 'report.html'}",
    )
