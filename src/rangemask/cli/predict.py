"""``rangemask predict``: images, folders and pairs in; scenes, pictures and clouds out."""

from __future__ import annotations

import logging
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from rangemask.cli.options import (
    NONE,
    AsJson,
    Device,
    FieldOfView,
    Labels,
    Layout,
    LayoutName,
    MaxPixels,
    MemoryBudget,
    Overwrite,
    Precision,
    Quality,
    QualityName,
    RigFile,
    ScaleRig,
    Stereo,
)

if TYPE_CHECKING:
    from collections.abc import Sequence

    from rangemask.backends.protocols import StereoMatcher
    from rangemask.data.frame_sources import FrameSource
    from rangemask.geometry import Rig
    from rangemask.pipeline import Pipeline
    from rangemask.structures import Scene
    from rangemask.view.prediction import CloudConfig

logger = logging.getLogger(__name__)


def predict(
    left: Annotated[str, typer.Argument(help="Image, side-by-side image, or folder.")],
    right: Annotated[str | None, typer.Argument(help="The right camera's image or folder.")] = None,
    output: Annotated[Path, typer.Option("--output", help="Folder for the results.")] = Path(
        "outputs"
    ),
    rig: RigFile = None,
    scale_rig: ScaleRig = False,
    field_of_view: FieldOfView = 0.0,
    stereo: Stereo = "sgbm",
    stereo_option: Annotated[
        list[str] | None,
        typer.Option(
            "--stereo-option", help="Of the matcher, such as iterations=8; may be repeated."
        ),
    ] = None,
    depth: Annotated[
        str | None,
        typer.Option(
            "--depth",
            help="Depth model for single images: depth-anything-v2-small[:FILE] (base, large; "
            "-metric-indoor, -metric-outdoor), or student:PATH.",
        ),
    ] = None,
    masks: Annotated[
        str,
        typer.Option(
            "--masks",
            help="Segmenter: geometry, sam2.1-small[:FILE] (tiny, large), student:PATH, or none.",
        ),
    ] = "geometry",
    device: Device = "auto",
    precision: Precision = "auto",
    memory_budget: MemoryBudget = None,
    labels: Labels = None,
    layout: Layout = None,
    left_pattern: Annotated[
        str | None, typer.Option("--left-pattern", help="Glob in the folder: 'cam0/*.png'.")
    ] = None,
    right_pattern: Annotated[
        str | None, typer.Option("--right-pattern", help="Glob of the right images.")
    ] = None,
    min_distance: Annotated[
        float | None, typer.Option("--min-distance", help="Drop nearer objects, m.")
    ] = None,
    max_distance: Annotated[
        float | None, typer.Option("--max-distance", help="Drop farther objects and points, m.")
    ] = None,
    min_score: Annotated[float, typer.Option("--min-score", help="Drop unsure objects.")] = 0.0,
    refine: Annotated[
        str | None, typer.Option("--refine", help="Some of masks,depth,flying-pixels.")
    ] = None,
    quality: Quality = None,
    fill: Annotated[
        bool,
        typer.Option(
            "--fill",
            help="Guess what stereo cannot see: from the depth model where there is one, else from "
            "its surroundings (sgbm). Flagged as such.",
        ),
    ] = False,
    voxel: Annotated[
        float | None, typer.Option("--voxel", help="Thin the cloud to one point per cube, m.")
    ] = None,
    raw_cloud: Annotated[
        bool, typer.Option("--raw-cloud", help="Also write the cloud before cleaning.")
    ] = False,
    cloud: Annotated[bool, typer.Option("--cloud/--no-cloud", help="Write the cloud.")] = True,
    report: Annotated[bool, typer.Option("--report/--no-report", help="Write report.html.")] = True,
    max_pixels: MaxPixels = 64.0,
    overwrite: Overwrite = False,
    as_json: AsJson = False,
) -> None:
    """Find objects, their masks and their distances."""
    from rangemask.pipeline import FusionConfig, Pipeline
    from rangemask.view.prediction import CloudConfig

    rig_value, rig_path = _load_rig(rig, left)
    sources = _sources(left, right, layout, rig_value, left_pattern, right_pattern)
    if stereo != NONE:
        _check_baseline(sources, rig_value, rig_path)
    refinements = _refinements(refine)
    pipeline = Pipeline(
        stereo=_matcher(
            stereo,
            quality,
            fill=fill,
            depth=depth,
            own=_own_options(stereo_option),
            where=(device, precision),
        ),
        masks=None if masks == NONE else masks,
        depth=depth,
        fill=fill and depth is not None,
        device=device,
        precision=precision,
        memory_budget=memory_budget,
        labels=None if labels is None else [name.strip() for name in labels.split(",")],
        fusion=FusionConfig(
            min_distance_m=min_distance,
            max_distance_m=max_distance,
            min_score=min_score,
            refine_masks="masks" in refinements,
            refine_depth="depth" in refinements,
            remove_flying_pixels="flying-pixels" in refinements,
        ),
        field_of_view=field_of_view,
    )
    run = _Run(
        pipeline=pipeline,
        rig=rig_value,
        scale_rig=scale_rig,
        output=output,
        overwrite=overwrite,
        max_pixels=int(max_pixels * 1e6),
        cloud=CloudConfig(voxel_m=voxel, max_distance_m=max_distance, keep_raw=raw_cloud)
        if cloud
        else None,
    )
    run.over(sources)
    run.finish(report=report, as_json=as_json)


def _load_rig(path: Path | None, frames: str) -> tuple[Rig | None, Path | None]:
    from rangemask.data.frame_sources import find_rig_file
    from rangemask.geometry import Rig

    if path is None:
        path = find_rig_file(frames)
        if path is not None:
            logger.info("using the rig that lies with the frames: %s", path)
    return (None, path) if path is None else (Rig.load(path), path)


def _check_baseline(sources: Sequence[FrameSource], rig: Rig | None, path: Path | None) -> None:
    """Before any image is read: a pair cannot be measured with such a rig."""
    from rangemask.errors import InputError

    pairs = any(source.right is not None or source.side_by_side for source in sources)
    if pairs and rig is not None and rig.baseline_m is None:
        what = "describes one camera" if rig.right is None else "has a translation of zero"
        raise InputError(
            f"{path}: the rig has no baseline (it {what}), so a pair has no scale in metres. "
            "Give the rig of the calibrated pair, or none to get disparity alone."
        )


def _own_options(words: list[str] | None) -> dict[str, Any]:
    """Options of a matcher by name, from ``name=value``."""
    import yaml

    from rangemask.errors import InputError

    options: dict[str, Any] = {}
    for word in words or ():
        name, equals, value = word.partition("=")
        if not equals or not name:
            raise InputError(f"--stereo-option is NAME=VALUE, such as iterations=8; got {word!r}.")
        try:
            options[name.strip()] = yaml.safe_load(value)
        except yaml.YAMLError as error:
            raise InputError(f"--stereo-option {name}: cannot read {value!r}.") from error
    return options


def _matcher(
    name: str,
    quality: QualityName | None,
    *,
    fill: bool,
    depth: str | None,
    own: dict[str, Any],
    where: tuple[str, str],
) -> str | StereoMatcher | None:
    """The matcher, by name where it has no options."""
    from rangemask.backends.registry import WITHOUT_WEIGHTS, load_stereo
    from rangemask.errors import InputError

    if quality is not None and name != "sgbm":
        raise InputError(f"--quality is for the matcher sgbm, not for {name}.")
    if fill and name == NONE:
        raise InputError(
            "--fill fills what a matcher cannot see, and --stereo none has no matcher. "
            "Leave one of them out."
        )
    if fill and depth is None and name != "sgbm":
        raise InputError(
            f"--fill: the matcher {name} cannot fill by itself, only sgbm can. "
            "Name a depth model to fill from: --depth NAME."
        )
    if name == NONE:
        if own:
            raise InputError("--stereo-option is for a matcher, and --stereo none has none.")
        return None
    options: dict[str, Any] = {} if quality is None else {"quality": quality}
    if fill and depth is None:
        options["fill"] = True
    options |= own
    if not options:
        return name
    if name not in WITHOUT_WEIGHTS:
        options |= {"device": where[0], "precision": where[1]}
    return load_stereo(name, **options)


def _refinements(names: str | None) -> set[str]:
    from rangemask.errors import InputError

    known = ("masks", "depth", "flying-pixels")
    asked = {name.strip() for name in names.split(",")} if names is not None else set()
    unknown = sorted(asked - set(known))
    if unknown:
        raise InputError(f"--refine knows {', '.join(known)}; got {', '.join(unknown)}.")
    return asked


def _sources(
    left: str,
    right: str | None,
    layout: LayoutName | None,
    rig: Rig | None,
    left_pattern: str | None,
    right_pattern: str | None,
) -> list[FrameSource]:
    from rangemask.data.frame_sources import find_frames

    return find_frames(
        left,
        right,
        layout=layout,
        rig=rig,
        left_pattern=left_pattern,
        right_pattern=right_pattern,
    )


@dataclass(kw_only=True)
class _Run:
    """One run over one or many frames; each frame's folder appears whole or not at all."""

    pipeline: Pipeline
    rig: Rig | None
    scale_rig: bool
    output: Path
    overwrite: bool
    max_pixels: int
    cloud: CloudConfig | None
    done: list[dict[str, Any]] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)
    failed: dict[str, str] = field(default_factory=dict)

    def over(self, sources: Sequence[FrameSource]) -> None:
        """Predict every frame; of many, those that are done already are kept.

        Raises:
            RangemaskError: the only frame failed.
        """
        from rich.console import Console
        from rich.progress import track

        from rangemask.errors import RangemaskError

        if len(sources) == 1:
            self._one(sources[0], first=True)
            return
        console = Console(stderr=True)
        for i, source in enumerate(track(sources, "predicting", console=console)):
            if (self.output / source.name).exists() and not self.overwrite:
                self.kept.append(source.name)
                continue
            try:
                self._one(source, first=i == 0)
            except RangemaskError as error:
                logger.error("%s", error)
                self.failed[source.name] = str(error)

    def _one(self, source: FrameSource, *, first: bool) -> None:
        from rangemask.atomic import check_free
        from rangemask.structures.scene_files import scene_to_json
        from rangemask.view.prediction import save_prediction

        check_free(self.output / source.name, overwrite=self.overwrite)
        frame = source.read(self.rig, scale_rig=self.scale_rig, max_pixels=self.max_pixels)
        scene = self.pipeline(frame)
        if first and scene.disparity is not None:
            _warn_of_bad_pair(scene)
        folder = save_prediction(scene, self.output, overwrite=self.overwrite, cloud=self.cloud)
        self.done.append({"folder": str(folder), **scene_to_json(scene)})

    def finish(self, *, report: bool, as_json: bool) -> None:
        """Write the report, print the summary, and fail if a frame did.

        Raises:
            RangemaskError: some frames failed.
        """
        from rangemask.cli.console import print_json
        from rangemask.errors import RangemaskError
        from rangemask.view.report import write_report

        if report and self.done:
            write_report(self.output, self.output / "report.html")
        if as_json:
            print_json({"scenes": self.done, "kept": self.kept, "failed": self.failed})
        else:
            self._print()
        if self.failed:
            raise RangemaskError(
                f"{len(self.failed)} of {len(self.done) + len(self.kept) + len(self.failed)} "
                f"frames failed: {', '.join(list(self.failed)[:10])}"
            )

    def _print(self) -> None:
        from rangemask.cli.console import print_rich
        from rangemask.cli.tables import object_table

        if len(self.done) == 1:
            found = self.done[0]["objects"]
            print_rich(object_table(found) if found else "No objects were found.")
        elif self.done:
            objects = sum(len(scene["objects"]) for scene in self.done)
            print_rich(f"{len(self.done)} frames, {objects} objects, in {self.output}")
        if self.kept:
            print_rich(f"{len(self.kept)} frames were done before and are kept (--overwrite)")
        if len(self.done) == 1:
            print_rich(f"Result: {self.done[0]['folder']}")


def _warn_of_bad_pair(scene: Scene) -> None:
    """Rows that do not agree and swapped images ruin everything after them: look once a run."""
    from rangemask.camera.pair_check import check_pair

    if scene.frame.right is None:
        return
    for warning in check_pair(scene.frame).warnings():
        logger.warning("%s: %s", scene.name, warning)
