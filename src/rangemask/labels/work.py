"""One frame of a labelling run, from its claim to its record. Any number of workers may do this."""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Iterable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, TypeAlias

from rangemask.data.frame_sources import FrameSource
from rangemask.data.store import FileMark, FrameRecord, Kind, LabelFile, LabelStore, Recipe
from rangemask.data.store.files import Packing, encode_image
from rangemask.errors import InputError
from rangemask.geometry import Rig
from rangemask.labels.config import LabelConfig
from rangemask.labels.teachers import Judged, Teachers
from rangemask.structures import StereoFrame
from rangemask.structures.images import MAX_PIXELS

logger = logging.getLogger(__name__)

What: TypeAlias = Literal["labelled", "rejected", "failed", "kept", "busy"]
_JUDGES: Mapping[str, Kind] = MappingProxyType(
    {
        "coverage": "disparity",
        "trust": "disparity",
        "left-right": "disparity",
        "agreement": "disparity",
        "masks": "masks",
    }
)
"""Which label a score is about; the others are about the image."""
HUMAN = "human"
"""Role of the passport of somebody who corrected labels; those are never made anew."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Job:
    """Everything that a worker has to know; plain values, so that it travels to any process."""

    store: Path
    config: LabelConfig
    rig: Rig | None = None
    min_quality: float = 0.0
    overwrite: bool = False
    max_pixels: int = MAX_PIXELS


@dataclass(frozen=True, slots=True, kw_only=True)
class Task:
    """One frame to label."""

    source: FrameSource
    sequence: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What became of a frame."""

    name: str
    what: What
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """What a run will make."""

    recipes: Mapping[Kind, Recipe]
    classes: tuple[str, ...]


class ConflictError(InputError):
    """Somebody labels the same data set in another way at the same time."""


@dataclass(frozen=True, slots=True)
class _Read:
    frame: StereoFrame
    seen: list[list[Any]]


class Worker:
    """Labels frames one after the other.

    Args:
        job: what to do.

    Raises:
        InputError: a teacher cannot be loaded.
    """

    def __init__(self, job: Job) -> None:
        self.job = job
        self.store = LabelStore(job.store)
        self.teachers = Teachers(job.config, job.rig)
        self.recipes = self.teachers.recipes
        self._classes: tuple[str, ...] | None = None
        self._threads = ThreadPoolExecutor(max_workers=2)
        self._ahead: dict[FrameSource, Future[_Read]] = {}

    @property
    def plan(self) -> Plan:
        """What it will make."""
        return Plan(recipes=self.recipes, classes=self.teachers.classes)

    def __call__(self, task: Task, *, wait: bool = False) -> Outcome:
        """Label a frame, unless that is done already or somebody else is doing it.

        Args:
            task: the frame.
            wait: for somebody who is at it.

        Raises:
            OutputError: the disk is full, or the place cannot be written.
        """
        name = task.source.name
        with self.store.claim(name, wait=wait) as ours:
            if not ours:
                return Outcome(name=name, what="busy")
            known = self.store.record(name)
            if known is not None and self._is_fresh(known, task.source):
                return self._keep(known)
            if known is not None and not self.job.overwrite and differing([known], self.recipes):
                raise ConflictError(
                    f"{self.job.store}: {name} was just labelled by another run with other "
                    "teachers or options. Let one of them have another --output."
                )
            try:
                record = self._label(task, known)
            except InputError as error:
                logger.error("%s", error)
                self._note_failure(task, known, str(error))
                return Outcome(name=name, what="failed", reason=str(error))
            self.store.commit(record, before=known)
            return Outcome(name=name, what=record.status, reason=record.reason)

    def _note_failure(self, task: Task, known: FrameRecord | None, reason: str) -> None:
        """Labels that were there stay while their images do; what a person did always stays."""
        if known is not None and known.status != "failed" and self.store.is_whole(known):
            return
        files = {} if known is None else known.files
        record = FrameRecord(
            name=task.source.name,
            status="failed",
            reason=reason,
            sequence=task.sequence,
            files={kind: file for kind, file in files.items() if is_corrected(file)},
        )
        self.store.commit(record, before=known)

    def read_ahead(self, task: Task) -> None:
        """Begin to read a frame that comes next, while another is looked at."""
        # Mostly those that have a record are kept, and need not be read.
        if self.store.record(task.source.name) is None:
            while len(self._ahead) > 1:  # those that somebody else has claimed since
                self._ahead.pop(next(iter(self._ahead)))
            self._ahead[task.source] = self._threads.submit(self._read, task.source)

    def _read(self, source: FrameSource) -> _Read:
        seen = sources_seen(source)  # before: what changes while it is read has changed
        rig = self.job.rig if source.right is not None or source.side_by_side else None
        return _Read(source.read(rig, max_pixels=self.job.max_pixels), seen)

    def _is_fresh(self, known: FrameRecord, source: FrameSource) -> bool:
        """Whether a frame's labels are there, whole, of these images and by these recipes."""
        if known.status == "failed" or not self.store.is_whole(known):
            return False
        kinds = self.teachers.kinds_for(pair="right" in known.images)
        made = {kind: file.recipe for kind, file in known.files.items()}
        for kind in kinds:
            if kind not in made and kind != "semantic":  # not every segmenter has a map
                return False
            corrected = kind in known.files and is_corrected(known.files[kind])
            if kind in made and made[kind] != self.recipes[kind].key and not corrected:
                return False
        return self._same_images(known, source)

    def _same_images(self, known: FrameRecord, source: FrameSource) -> bool:
        """By size and time, and where those differ (a copy of the data set) by what they hold."""
        if known.seen.get("sources") == sources_seen(source):
            return True
        paths = {"left": source.left, "right": source.right}
        return not source.side_by_side and all(
            path is None or (role in known.images and known.images[role].sha256 == sha256_of(path))
            for role, path in paths.items()
        )

    def _keep(self, known: FrameRecord) -> Outcome:
        """The limit of quality may have moved since: that needs no teacher."""
        judged = self._judged(known)
        if judged != known:
            self.store.commit(judged, before=known)
            return Outcome(name=known.name, what=judged.status, reason=judged.reason)
        return Outcome(name=known.name, what="kept", reason=known.reason)

    def _judged(self, record: FrameRecord) -> FrameRecord:
        if record.score < self.job.min_quality:
            return replace(record, status="rejected", reason=record.weakest)
        return replace(record, status="labelled", reason="")

    def _label(self, task: Task, known: FrameRecord | None) -> FrameRecord:
        source = task.source
        ahead = self._ahead.pop(source, None)
        read = self._read(source) if ahead is None else ahead.result()
        frame = read.frame
        if self._classes is None:
            self._classes = self.store.manifest.classes
        packing = Packing(self._threads, self._classes, self.job.config.maps)
        judged = self.teachers(frame, packing.begin)
        images = self._write_images(source, judged, changed=judged.frame is not frame)
        packing.begin(judged.labels, images["left"].path)
        encoded = packing.result()
        kept, quality = self._kept_of(known, images)
        new = {kind: file for kind, file in encoded.items() if kind not in kept}
        keys = {kind: self.recipes[kind].key for kind in new}
        files = self.store.write_labels(source.name, new, keys)
        record = FrameRecord(
            name=source.name,
            status="labelled",
            sequence=task.sequence,
            width=frame.width,
            height=frame.height,
            images=images,
            files={**kept, **files},
            quality={**judged.quality, **quality},
            seen={"sources": read.seen},
        )
        return self._judged(record)

    def _kept_of(
        self, known: FrameRecord | None, images: Mapping[str, FileMark]
    ) -> tuple[dict[Kind, LabelFile], dict[str, float]]:
        """Labels of the same images that this run does not make, or that a person corrected."""
        if known is None or dict(known.images) != dict(images):
            return {}, {}
        kept = {
            kind: file
            for kind, file in known.files.items()
            if kind not in self.recipes or is_corrected(file)
        }
        scores = {name: score for name, score in known.quality.items() if _JUDGES.get(name) in kept}
        return kept, scores

    def _write_images(
        self, source: FrameSource, judged: Judged, *, changed: bool
    ) -> dict[str, FileMark]:
        """The images beside their labels: as they came, or as they were cut or rectified."""
        frame, name = judged.frame, source.name
        folder = "images" if frame.right is None else "left"
        if not changed and not source.side_by_side:
            marks = {"left": self.store.write_image(folder, name, source.left)}
            if source.right is not None:
                marks["right"] = self.store.write_image("right", name, source.right)
            return marks
        marks = {"left": self.store.write_image(folder, name, encode_image(frame.left))}
        if frame.right is not None:
            marks["right"] = self.store.write_image("right", name, encode_image(frame.right))
        return marks


def sha256_of(path: Path) -> str:
    """Of a file's bytes; empty where it cannot be read."""
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return ""


def is_corrected(file: LabelFile) -> bool:
    """Whether a person had a hand in a file."""
    return "corrected" in file.details


def sources_seen(source: FrameSource) -> list[list[Any]]:
    """Name, size and time of a frame's files: what changes when somebody changes them."""
    seen = []
    for path in (source.left, source.right):
        if path is not None:
            try:
                status = path.stat()
            except OSError as error:
                raise InputError(f"{path}: cannot be read ({error.strerror or error}).") from error
            seen.append([path.name, status.st_size, status.st_mtime_ns])
    return seen


def differing(records: Iterable[FrameRecord], recipes: Mapping[Kind, Recipe]) -> dict[str, int]:
    """Keys of other recipes that made what this run makes, with the number of their frames."""
    counts: dict[str, int] = {}
    for record in records:
        others = {
            file.recipe
            for kind, file in record.files.items()
            if kind in recipes and file.recipe != recipes[kind].key and not is_corrected(file)
        }
        for key in others:
            counts[key] = counts.get(key, 0) + 1
    return counts
