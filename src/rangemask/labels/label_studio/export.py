"""``export_tasks``: a store's masks as tasks for Label Studio, with the masks as predictions."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

from rangemask.atomic import atomic_file
from rangemask.data.store import FrameRecord, StoredLabels, open_labels
from rangemask.errors import InputError
from rangemask.labels.label_studio.config import label_config
from rangemask.labels.label_studio.marker import MARKER, SHAPES, Marker, Shape, store_id
from rangemask.labels.label_studio.regions import TO_NAME, MaskFile, regions_of, result_of

CONFIG_FILE = "label_config.xml"
LOCAL_FILES = "/data/local-files/?d="


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportOptions:
    """How tasks are written.

    Raises:
        InputError: an option is impossible.
    """

    shape: Shape = "brush"
    """What masks become; a polygon has no holes, so a mask may become several of them."""
    tolerance_px: float = 1.0
    """How far a polygon may be from the edge of its mask; 0 follows every pixel."""
    image_url: str | None = None
    """What goes before an image's path in the store, where a server has the store's folder."""
    local_files: Path | None = None
    """Label Studio's LOCAL_FILES_DOCUMENT_ROOT; without it and ``image_url`` the folder that the
    store lies in."""
    min_quality: float = 0.0
    """Leaves out frames whose quality is below."""
    rejected: bool = False
    """Whether frames that the labelling rejected are written as well."""

    def __post_init__(self) -> None:
        if self.shape not in SHAPES:
            raise InputError(f"shape must be one of {', '.join(SHAPES)}, got {self.shape!r}.")
        if not 0 <= self.tolerance_px <= 100:
            raise InputError(f"tolerance_px must lie within [0, 100], got {self.tolerance_px}.")
        if not 0 <= self.min_quality <= 1:
            raise InputError(f"min_quality must lie within [0, 1], got {self.min_quality}.")
        if self.image_url is not None and self.local_files is not None:
            raise InputError("give image_url or local_files: an image has one address.")


@dataclass(kw_only=True, slots=True)
class ExportReport:
    """What was written."""

    tasks: int = 0
    masks: int = 0
    regions: int = 0
    """More than masks where polygons are parts of masks."""
    empty: int = 0
    """Masks without pixels, which cannot be shown; an import keeps them."""
    without_masks: list[str] = field(default_factory=list)
    """Frames that have no masks file, and are no task."""
    output: Path = Path()
    config: Path = Path()

    def to_dict(self) -> dict[str, Any]:
        """As plain values, for JSON."""
        return {
            "tasks": self.tasks,
            "masks": self.masks,
            "regions": self.regions,
            "empty": self.empty,
            "without_masks": self.without_masks,
            "output": str(self.output),
            "config": str(self.config),
        }


def export_tasks(
    store: str | Path, output: str | Path, options: ExportOptions | None = None
) -> ExportReport:
    """Write a store's masks as tasks of Label Studio, one frame in memory at a time.

    Beside the tasks goes ``label_config.xml``, which the project needs.

    Args:
        store: folder with labels.
        output: the JSON file.
        options: how.

    Raises:
        InputError: there are no masks, one is damaged, or images lie outside ``local_files``.
        OutputError: a file cannot be written.
    """
    options = options if options is not None else ExportOptions()
    labels = open_labels(store, min_quality=options.min_quality, rejected=options.rejected)
    if not any("masks" in record.files for record in labels.records):
        raise InputError(
            f"{labels.root}: none of {len(labels.records)} frames has masks. Make some with "
            "rangemask label --masks, or look at --min-quality and --rejected."
        )
    prefix = _prefix(labels.root, options)
    target = Path(output)
    report = ExportReport(output=target, config=target.with_name(CONFIG_FILE))
    if report.config == target:
        raise InputError(f"{target}: that is the name of the labelling configuration; choose .json")
    marked = store_id(labels.root, make=True)
    with atomic_file(target) as staging, staging.open("w", encoding="utf-8") as file:
        file.write("[\n")
        for number, task in enumerate(_tasks(labels, options, prefix, marked, report)):
            file.write(",\n" if number else "")
            file.write(json.dumps(task, allow_nan=False, separators=(",", ":")))
        file.write("\n]\n")
    with atomic_file(report.config) as staging:
        staging.write_text(label_config(labels.classes), encoding="utf-8")
    return report


def _tasks(
    labels: StoredLabels, options: ExportOptions, prefix: str, marked: str, report: ExportReport
) -> Iterator[dict[str, Any]]:
    for record in labels.records:
        if "masks" not in record.files:
            report.without_masks.append(record.name)
            continue
        mark = record.files["masks"].mark
        marker = Marker(
            store=marked,
            frame=record.name,
            masks=mark.sha256,
            shape=options.shape,
            tolerance_px=options.tolerance_px,
        )
        file = MaskFile.read(labels.root / mark.path)
        regions = regions_of(file, marker)
        report.tasks += 1
        report.masks += len(file.masks)
        report.regions += len(regions)
        report.empty += len(file.masks) - len({region.index for region in regions})
        yield {
            "data": {
                TO_NAME: prefix + quote(record.images["left"].path),
                MARKER: marker.to_dict(),
            },
            "predictions": [
                {
                    "model_version": _version(labels, record),
                    "score": record.score,
                    "result": [result_of(region, file) for region in regions],
                }
            ],
        }


def _version(labels: StoredLabels, record: FrameRecord) -> str:
    key = record.files["masks"].recipe
    recipe = labels.manifest.recipes.get(key)
    models = () if recipe is None else recipe.models
    return " ".join(["+".join(model.model for model in models), key]).strip()


def _prefix(root: Path, options: ExportOptions) -> str:
    if options.image_url is not None:
        return options.image_url.rstrip("/") + "/"
    folder = root.resolve()
    base = folder.parent if options.local_files is None else options.local_files.resolve()
    if not base.is_dir() or not folder.is_relative_to(base):
        raise InputError(
            f"{root}: these labels do not lie in {base}, where Label Studio is to find their "
            "images. Give its LOCAL_FILES_DOCUMENT_ROOT as --local-files, or --image-url."
        )
    inside = folder.relative_to(base).as_posix()
    return LOCAL_FILES + ("" if inside == "." else quote(inside) + "/")
