"""``import_tasks``: what people corrected in Label Studio, back into the store."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, TypeAlias

import numpy as np

from rangemask._version import __version__
from rangemask.data.store import FrameLabels, FrameRecord, Kind, LabelFile, LabelStore, Recipe
from rangemask.data.store.files import Encoded, encode, read_file
from rangemask.data.store.manifest import Manifest, read_manifest
from rangemask.errors import InputError
from rangemask.geometry import Rig
from rangemask.labels.label_studio.distances import with_distances
from rangemask.labels.label_studio.marker import Marker, store_id
from rangemask.labels.label_studio.merging import Merged, merge
from rangemask.labels.label_studio.regions import MaskFile
from rangemask.labels.label_studio.tasks import (
    Annotation,
    check_export,
    newest,
    read_tasks,
    when,
)
from rangemask.labels.quality import mask_quality
from rangemask.labels.teachers import BACKGROUND, painted
from rangemask.labels.work import HUMAN, is_corrected, sha256_of
from rangemask.structures import MaskSet, Passport

logger = logging.getLogger(__name__)

What: TypeAlias = Literal["corrected", "accepted", "unchanged", "not_annotated"]
PERSON = Passport(
    role=HUMAN,
    model="label-studio",
    licence="annotator's own",
    licence_class="commercial-ok",
)


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportOptions:
    """How an export is taken."""

    project: str | None = None
    """Number of the Label Studio project that it must be of; without it any one."""
    accept_all: bool = False
    """Whether what was submitted without a change counts as checked by a person, so that no
    labelling run makes it anew. The masks file stays as it is."""
    dry_run: bool = False
    """Say what would happen, and write nothing."""


@dataclass(kw_only=True, slots=True)
class ImportReport:
    """What an import did, or with ``dry_run`` would do."""

    project: str = ""
    frames: dict[What, list[str]] = field(default_factory=dict)
    """Names by what became of them."""
    several: list[str] = field(default_factory=list)
    """Frames with several completed annotations, of which the newest was taken."""
    problems: dict[str, str] = field(default_factory=dict)
    """Why frames were left as they were, by name."""
    kept: int = 0
    """Masks of annotated frames that nobody changed."""
    changed: int = 0
    new: int = 0
    deleted: int = 0

    def to_dict(self) -> dict[str, Any]:
        """As plain values, for JSON."""
        return {
            "project": self.project,
            "frames": dict(self.frames),
            "several": self.several,
            "problems": self.problems,
            "masks": {
                "kept": self.kept,
                "changed": self.changed,
                "new": self.new,
                "deleted": self.deleted,
            },
        }


def import_tasks(
    store: str | Path, export: str | Path, options: ImportOptions | None = None
) -> ImportReport:
    """Take over what people submitted. Frames that nobody changed stay as they are, to the bit.

    Args:
        store: the labels that were exported.
        export: Label Studio's JSON export.
        options: how.

    Raises:
        InputError: the export is not about these labels, damaged, or has labels that are none of
            the classes; nothing was written.
        OutputError: the disk is full or the place cannot be written; finished frames are kept.
    """
    options = options if options is not None else ImportOptions()
    root, path = Path(store), Path(export)
    manifest = read_manifest(root)
    contents = check_export(
        path,
        store=store_id(root, make=False),
        project=options.project,
        classes=manifest.classes,
    )
    importer = _Importer(LabelStore(root), manifest, options)
    report = ImportReport(project=contents.project)
    try:
        for task in read_tasks(path):
            importer.take(task, report)
    finally:
        importer.finish()
    return report


class _Importer:
    """Takes one task after the other."""

    def __init__(self, store: LabelStore, manifest: Manifest, options: ImportOptions) -> None:
        self._store = store
        self._manifest = manifest
        self._options = options
        self._recipes: dict[str, Recipe] = {}
        self._rig = None if manifest.rig is None else Rig.load(store.root / manifest.rig)

    def take(self, task: Mapping[str, Any], report: ImportReport) -> None:
        """Take a task; one that cannot be taken becomes a problem of the report."""
        marker, annotation = Marker.from_task(task), newest(task)
        name = marker.frame
        if annotation is None:
            report.frames.setdefault("not_annotated", []).append(name)
            return
        if annotation.others:
            report.several.append(name)
        try:
            _checked(self._store.record(name), marker, annotation)  # before its name becomes a file
            with self._claimed(name):
                what, merged = self._take(marker, annotation)
        except InputError as error:
            logger.error("%s: %s", name, error)
            report.problems[name] = str(error)
            return
        report.frames.setdefault(what, []).append(name)
        report.kept += merged.kept
        report.changed += merged.changed
        report.new += merged.new
        report.deleted += merged.deleted

    def finish(self) -> None:
        """Bring the manifest up to date, where anything was written."""
        if self._recipes:
            # Another process may have finished meanwhile and left out what was not used yet.
            self._begin(*self._recipes.values())
            self._store.finish()

    @contextmanager
    def _claimed(self, name: str) -> Iterator[None]:
        if self._options.dry_run:
            yield
            return
        with self._store.claim(name, wait=True):
            yield

    def _take(self, marker: Marker, annotation: Annotation) -> tuple[What, Merged]:
        record = self._store.record(marker.frame)
        before = _checked(record, marker, annotation)
        path = self._store.root / before.files["masks"].mark.path
        file = MaskFile.read(path)
        merged = merge(
            file,
            marker,
            annotation.result,
            self._manifest.classes,
            int(before.files["masks"].details.get("next_mask_id", 1)),
        )
        # A kill between file and record leaves masks that no record names.
        intact = sha256_of(path) == before.files["masks"].mark.sha256
        if not (merged.is_same and intact):
            if not self._options.dry_run:
                self._write(before, file, merged, marker, annotation)
            return "corrected", merged
        if self._options.accept_all and not is_corrected(before.files["masks"]):
            if not self._options.dry_run:
                self._accept(before, merged, marker, annotation)
            return "accepted", merged
        return "unchanged", merged

    def _write(
        self,
        before: FrameRecord,
        file: MaskFile,
        merged: Merged,
        marker: Marker,
        annotation: Annotation,
    ) -> None:
        classes = self._manifest.classes
        masks = merged.masks(file.masks.height, file.masks.width, classes)
        details = _details(before, merged, marker, annotation)
        root = self._store.root
        rows = with_distances(merged.rows, masks, file.rows, before, root, self._rig)
        text = json.dumps({**file.data, "annotations": rows}, allow_nan=False) + "\n"
        encoded: dict[Kind, Encoded] = {"masks": Encoded(".json", text.encode(), details)}
        semantic = self._semantic(before, file.masks, masks)
        if semantic is not None:
            encoded["semantic"] = replace(semantic, details={"corrected": details["corrected"]})
        recipes = {kind: self._recipe(before.files[kind].recipe) for kind in encoded}
        files = self._store.write_labels(before.name, encoded, recipes)
        self._commit(before, files, masks)

    def _accept(
        self, before: FrameRecord, merged: Merged, marker: Marker, annotation: Annotation
    ) -> None:
        file = before.files["masks"]
        checked = replace(
            file,
            recipe=self._recipe(file.recipe),
            details=_details(before, merged, marker, annotation),
        )
        self._commit(before, {"masks": checked}, None)

    def _commit(
        self, before: FrameRecord, files: Mapping[Kind, LabelFile], masks: MaskSet | None
    ) -> None:
        quality = dict(before.quality)
        if masks is not None:
            quality |= mask_quality(masks)
        record = replace(before, files={**before.files, **files}, quality=quality)
        rejected = record.score < self._manifest.min_quality
        record = replace(
            record,
            status="rejected" if rejected else "labelled",
            reason=record.weakest if rejected else "",
        )
        self._store.commit(record, before=before)

    def _semantic(self, record: FrameRecord, old: MaskSet, new: MaskSet) -> Encoded | None:
        """The map of classes, where it was painted from the masks; a segmenter's own stays."""
        file = record.files.get("semantic")
        if file is None:
            return None
        classes = self._manifest.classes
        image = record.images["left"].path
        names = [name for name in classes if name != BACKGROUND]
        earlier = painted(old, names)
        found = read_file(self._store.root, "semantic", file, classes)
        table = np.array(
            [0, *(classes.index(name) + 1 if name in classes else 0 for name in earlier.names[1:])]
        )
        if not np.array_equal(table[earlier.ids], found.ids):
            return None
        return encode(FrameLabels(semantic=painted(new, names)), image, classes, "png")["semantic"]

    def _recipe(self, key: str) -> str:
        """Key of a recipe with a person in it; the manifest knows it before any file names it."""
        original = self._manifest.recipes.get(key)
        if original is None:
            raise InputError("the manifest does not know what made its masks; label it again.")
        if any(model.role == HUMAN for model in original.models):
            recipe = original
        else:
            recipe = replace(
                original, models=(*original.models, PERSON), rangemask_version=__version__
            )
        if recipe.key not in self._recipes:
            self._begin(recipe)
            self._recipes[recipe.key] = recipe
        return recipe.key

    def _begin(self, *recipes: Recipe) -> None:
        self._store.begin(
            recipes,
            classes=self._manifest.classes,
            rig=self._manifest.rig,
            min_quality=self._manifest.min_quality,
        )


def _checked(record: FrameRecord | None, marker: Marker, annotation: Annotation) -> FrameRecord:
    """A record whose masks an annotation may change."""
    if record is None or "masks" not in record.files or record.status == "failed":
        raise InputError("the store has no masks of this frame any more.")
    file = record.files["masks"]
    corrected = file.details.get("corrected", {})
    if marker.masks not in {file.mark.sha256, corrected.get("exported")}:
        raise InputError(
            "its masks were made anew since the export, so its regions are not these masks. "
            "Export it again."
        )
    if corrected and when(annotation.at) < when(str(corrected.get("at", ""))):
        raise InputError(
            f"it holds a newer correction, of {corrected.get('at')}; this one is of "
            f"{annotation.at or 'an unknown time'}."
        )
    return record


def _details(
    before: FrameRecord, merged: Merged, marker: Marker, annotation: Annotation
) -> dict[str, Any]:
    return {
        "corrected": {
            "by": annotation.by,
            "at": annotation.at,
            "annotation": annotation.id,
            "project": annotation.project,
            "exported": marker.masks,
        },
        "next_mask_id": merged.next_id,
    }
