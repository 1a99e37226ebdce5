"""``label_dataset``: teachers over all frames of a data set, resumable and shared."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from PIL import Image

from rangemask.atomic import atomic_file
from rangemask.camera.rectify import Rectification
from rangemask.data.frame_sources import Layout, find_rig_file
from rangemask.data.label_sources import Listing, list_frames
from rangemask.data.store import LabelStore, Recipe
from rangemask.data.store.manifest import Summary, summary_of
from rangemask.errors import InputError
from rangemask.geometry import Rig
from rangemask.labels.config import LabelConfig
from rangemask.labels.engines import ENGINES, Engine, open_engine
from rangemask.labels.work import Job, Outcome, Plan, Task, What, differing
from rangemask.structures.images import MAX_PIXELS

logger = logging.getLogger(__name__)

STORE_RIG = "rig.yaml"
Progress: TypeAlias = Callable[[Outcome], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunOptions:
    """How a run goes; none of this changes what a label is.

    Raises:
        InputError: an option is impossible.
    """

    output: Path | None = None
    """Where the labels go; beside the images without it."""
    rig: Path | None = None
    """Calibration file; without it the one that lies with the images."""
    scale_rig: bool = False
    layout: Layout | None = None
    min_quality: float = 0.0
    """Frames of lower quality are rejected."""
    strict: bool = False
    """Stop at the first frame that cannot be labelled."""
    overwrite: bool = False
    """Label frames anew that other teachers or options labelled."""
    engine: Engine = "local"
    workers: int | None = None
    """Of ray; one per GPU, or where there is none one per two cores."""
    ray_address: str | None = None
    """Of a running cluster; a local one is started without it."""
    max_pixels: int = MAX_PIXELS

    def __post_init__(self) -> None:
        if not 0 <= self.min_quality <= 1:
            raise InputError(f"min_quality must lie within [0, 1], got {self.min_quality}.")
        if self.engine not in ENGINES:
            raise InputError(f"engine must be one of {', '.join(ENGINES)}, got {self.engine!r}.")
        if self.workers is not None and self.workers < 1:
            raise InputError(f"workers must be 1 or more, got {self.workers}.")
        if self.engine == "local" and (self.workers or 1) > 1:
            raise InputError(
                "the local engine is one process: choose --engine ray for several workers, or run "
                "the same command again in another terminal, which shares the work."
            )


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelReport:
    """What a run did, and what the data set now holds."""

    store: Path
    done: dict[What, int]
    """Frames of this run by what became of them."""
    problems: dict[str, str]
    """Why frames were skipped or failed, by name."""
    rejected_for: dict[str, int]
    """Frames that this run rejected, by what they were weakest in."""
    summary: Summary
    """Of the whole store."""


def label_dataset(
    dataset: str | Path,
    config: LabelConfig | None = None,
    options: RunOptions | None = None,
    *,
    progress: Callable[[Sequence[Task]], Progress] | None = None,
) -> LabelReport:
    """Label all frames of a data set.

    Finished frames are kept, so that a run that was killed goes on where it was. Other runs on
    the same data set, here or on machines that share the disk, share the work.

    Args:
        dataset: folder with ``left/`` and ``right/``, or ``images/``; or, with an ``output``, any
            folder that ``predict`` takes.
        config: the teachers.
        options: how the run goes.
        progress: called with all tasks, gives what is called with each outcome.

    Raises:
        InputError: there is nothing to label, a teacher cannot be loaded, or labels of other
            teachers or options are there; with ``strict`` also what is wrong with a frame.
        OutputError: the disk is full or the place cannot be written; what is done is kept.
    """
    config = config if config is not None else LabelConfig()
    options = options if options is not None else RunOptions()
    root = Path(dataset)
    rig_file = options.rig if options.rig is not None else find_rig_file(root)
    rig = None if rig_file is None else Rig.load(rig_file)
    listing = list_frames(root, layout=options.layout, rig=rig)
    _check_listing(root, listing, strict=options.strict)
    rig = _fitting(rig, listing) if options.scale_rig else rig
    if options.output is None:
        _check_in_place(root, listing, rig)
    store = LabelStore(root if options.output is None else options.output)
    job = Job(
        store=store.root,
        config=config,
        rig=rig,
        min_quality=options.min_quality,
        overwrite=options.overwrite,
        max_pixels=options.max_pixels,
    )
    tasks = [
        Task(source=source, sequence=listing.sequences[source.name]) for source in listing.sources
    ]
    with open_engine(options.engine, job, options.workers, options.ray_address) as engine:
        _check_earlier(store, tasks, engine.plan, overwrite=options.overwrite)
        store.begin(
            list(engine.plan.recipes.values()),
            classes=engine.plan.classes,
            rig=_store_rig(store, rig, rig_file, config.field_of_view),
            min_quality=options.min_quality,
        )
        outcomes: dict[str, Outcome] = {}
        said = progress(tasks) if progress is not None else _say_nothing
        try:
            for outcome in engine.run(tasks):
                outcomes[outcome.name] = outcome
                said(outcome)
                if options.strict and outcome.what == "failed":
                    raise InputError(f"{outcome.reason} (--strict stops at the first such frame)")
        finally:
            # Also after Ctrl-C: what is done is said to be done.
            manifest = store.finish()
    return _report(store, listing, list(outcomes.values()), summary_of(manifest))


def _say_nothing(outcome: Outcome) -> None:
    del outcome


def _report(
    store: LabelStore, listing: Listing, outcomes: Sequence[Outcome], summary: Summary
) -> LabelReport:
    failed = {one.name: one.reason for one in outcomes if one.what == "failed"}
    rejected = Counter(one.reason for one in outcomes if one.what == "rejected")
    return LabelReport(
        store=store.root,
        done=dict(Counter(one.what for one in outcomes)),
        problems={**listing.problems, **failed},
        rejected_for=dict(rejected.most_common()),
        summary=summary,
    )


def _check_listing(root: Path, listing: Listing, *, strict: bool) -> None:
    for problem in listing.problems.values():
        logger.error("%s", problem)
    if listing.problems and strict:
        name, problem = next(iter(listing.problems.items()))
        raise InputError(f"{name}: {problem} (--strict takes only whole data sets)")
    if not listing.sources:
        raise InputError(
            f"{root}: none of its {len(listing.problems)} frames can be labelled; the first: "
            f"{next(iter(listing.problems.values()))}"
        )


def _check_in_place(root: Path, listing: Listing, rig: Rig | None) -> None:
    """Labels beside their images need images that are as the labels see them."""
    if rig is not None and not rig.is_rectified:
        raise InputError(
            f"{root}: the rig is not rectified, so the labels are of rectified images, which must "
            "not replace these. Choose another folder for both: --output DIR."
        )
    places = {(root / folder).resolve() for folder in ("left", "right", "images")}
    for source in listing.sources:
        inside = any(place in source.left.resolve().parents for place in places)
        if source.side_by_side or not inside:
            raise InputError(
                f"{source.left}: labels go beside images in left/ and right/, or images/, which "
                "these are not. Choose a folder for images and labels: --output DIR."
            )


def _check_earlier(
    store: LabelStore, tasks: Sequence[Task], plan: Plan, *, overwrite: bool
) -> None:
    """Labels that are there must be ours, and made as this run would make them."""
    records = store.records()
    strangers = store.strangers([task.source.name for task in tasks])
    if strangers:
        raise InputError(
            f"{strangers[0]} (and {len(strangers) - 1} more) is there already and was not made by "
            "rangemask label. It is kept: choose another folder for the labels, --output DIR."
        )
    other = differing(records.values(), plan.recipes)
    if not other or overwrite:
        return
    key, count = max(other.items(), key=lambda item: item[1])
    before = store.manifest.recipes.get(key)
    after = next(
        one for one in plan.recipes.values() if before is None or one.kinds == before.kinds
    )
    what = "" if before is None else "; ".join(before.differences(after))
    raise InputError(
        f"{store.root}: {count} of {len(records)} frames were labelled otherwise: {what}. Pass "
        "--overwrite to label them again, or choose another --output."
    )


def _difference(before: Recipe, plan: Plan) -> str:
    shared = [one for one in plan.recipes.values() if set(one.kinds) & set(before.kinds)]
    return "; ".join(before.differences(shared[0]))


def _fitting(rig: Rig | None, listing: Listing) -> Rig | None:
    """The rig at the size of the first image that can be read."""
    for source in listing.sources if rig is not None and rig.size is not None else ():
        try:
            with Image.open(source.left) as image:
                width = image.width // 2 if source.side_by_side else image.width
                return None if rig is None else rig.scaled(width, image.height)
        except OSError:
            continue  # the run will say what is wrong with it
    return rig


def _store_rig(
    store: LabelStore, rig: Rig | None, file: Path | None, field_of_view: float
) -> str | None:
    """The calibration of the images beside the labels, as a file there."""
    if rig is None or file is None:
        return None
    same = rig.is_rectified and rig == Rig.load(file)
    if same and store.path_inside(file) is not None:
        return store.path_inside(file)
    straight = rig if rig.is_rectified else Rectification(rig, field_of_view=field_of_view).rig
    with atomic_file(store.root / STORE_RIG) as staging:
        straight.save(staging)
    return STORE_RIG
