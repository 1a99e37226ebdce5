"""Writing labels so that several processes share the work and any of them may die.

A frame is done when its record is there, and the record is written last. Who works on a frame
holds its claim, a lock that the system takes back from a dead process. What a killed process left
half-written has a name of its own and is swept up by the next one that claims the frame.
"""

from __future__ import annotations

import hashlib
import json
import shutil
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from filelock import FileLock, Timeout

from rangemask.atomic import atomic_file, speaking
from rangemask.data.store.files import Encoded
from rangemask.data.store.manifest import (
    DAMAGED,
    MANIFEST,
    Manifest,
    read_manifest,
    with_frames,
    write_manifest,
)
from rangemask.data.store.recipe import Recipe
from rangemask.data.store.record import KINDS, FileMark, FrameRecord, Kind, LabelFile
from rangemask.errors import InputError

RECORDS = "records"
_CLAIMS = ".claims"


class LabelStore:
    """Labels in a folder, for writing.

    Args:
        root: the folder; images lie in it, or beside it in ``left``, ``right``, ``images``.
    """

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root)
        self._records = self.root / RECORDS

    @property
    def manifest(self) -> Manifest:
        """As it stands on disk; one without frames where there is none yet.

        Raises:
            InputError: it is damaged, of a newer version, or not ours.
        """
        return read_manifest(self.root) if (self.root / MANIFEST).exists() else Manifest()

    def begin(
        self,
        recipes: Sequence[Recipe],
        *,
        classes: Sequence[str],
        rig: str | None,
        min_quality: float,
    ) -> Manifest:
        """Say what a run will write. Classes only grow, so that ids keep their meaning.

        Raises:
            InputError: the manifest is damaged, of a newer version, or of another rig.
            OutputError: the folder cannot be written.
        """
        with self._alone():
            before = self.manifest
            new = [name for name in dict.fromkeys(classes) if name not in before.classes]
            if len(before.classes) + len(new) > 255:
                raise InputError(
                    f"{self.root}: {len(before.classes) + len(new)} classes; a semantic map has "
                    "room for 255."
                )
            manifest = Manifest(
                classes=(*before.classes, *new),
                rig=rig if rig is not None else before.rig,
                recipes={**before.recipes, **{recipe.key: recipe for recipe in recipes}},
                min_quality=min_quality,
            )
            write_manifest(self.root, manifest)
            return manifest

    def finish(self) -> Manifest:
        """Write the manifest with all frames that are there, and give it.

        Raises:
            OutputError: it cannot be written.
        """
        with self._alone():
            # All recipes stay: another run may have said what it will do, and not done it yet.
            manifest = with_frames(self.manifest, self.records().values())
            write_manifest(self.root, manifest)
            return manifest

    @property
    def done(self) -> int:
        """How many frames have a record."""
        return sum(1 for path in self._records.glob("*.json") if not path.name.startswith("."))

    def records(self) -> dict[str, FrameRecord]:
        """All frames that are done, by name; damaged records count as not there."""
        paths = sorted(self._records.glob("*.json")) if self._records.is_dir() else []
        found = (self.record(path.stem) for path in paths if not path.name.startswith("."))
        return {record.name: record for record in found if record is not None}

    def record(self, name: str) -> FrameRecord | None:
        """What is known of a frame; None where nothing is, or where it is damaged."""
        path = self._record_path(name)
        try:
            return FrameRecord.from_dict(json.loads(path.read_text(encoding="utf-8")))
        except FileNotFoundError:
            return None
        except DAMAGED:  # a disk that filled up, or lost power: the frame is made again
            return None

    def is_whole(self, record: FrameRecord) -> bool:
        """Whether the files that a record names are there with their size."""
        marks = [*record.images.values(), *(file.mark for file in record.files.values())]
        return all(_size_of(self.root / mark.path) == mark.size_bytes for mark in marks)

    @contextmanager
    def claim(self, name: str, *, wait: bool = False) -> Iterator[bool]:
        """Work on a frame, alone.

        Args:
            name: of the frame.
            wait: until it is free, or give up at once.

        Yields:
            whether the frame is ours.
        """
        left_over = self._claim_path(name).exists()
        lock = self._lock(name)
        try:
            lock.acquire(timeout=-1 if wait else 0)
        except Timeout:
            yield False
            return
        try:
            if left_over:  # by a process that was killed, with what it had half-written
                self._sweep(name)
            yield True
            # The record is there now, and whoever waits for this lock will look for it first.
            if self._record_path(name).exists():
                with suppress(OSError):  # where open files cannot be removed, it stays
                    Path(lock.lock_file).unlink()
        finally:
            lock.release()

    def write_image(self, folder: str, name: str, source: Path | Encoded) -> FileMark:
        """Bring an image into the store: a file as it is, or one that was made on the way.

        An image that lies in its place already stays there.

        Raises:
            OutputError: it cannot be written.
        """
        if isinstance(source, Encoded):
            return self._write(f"{folder}/{name}{source.suffix}", source.data)
        try:
            data = source.read_bytes()
        except OSError as error:
            raise InputError(f"{source}: cannot be read ({error.strerror or error}).") from error
        inside = self.path_inside(source)
        if inside is not None:
            return _mark(inside, data)
        return self._write(f"{folder}/{name}{source.suffix.lower()}", data)

    def write_labels(
        self, name: str, files: Mapping[Kind, Encoded], recipes: Mapping[Kind, str]
    ) -> dict[Kind, LabelFile]:
        """Write the label files of a frame.

        Args:
            name: of the frame.
            files: by kind.
            recipes: which recipe made each kind.

        Raises:
            OutputError: one cannot be written.
        """
        return {
            kind: LabelFile(
                mark=self._write(f"{kind}/{name}{file.suffix}", file.data),
                recipe=recipes[kind],
                details=file.details,
            )
            for kind, file in files.items()
        }

    def commit(self, record: FrameRecord, *, before: FrameRecord | None = None) -> None:
        """Say that a frame is done.

        Args:
            record: of the frame.
            before: what was known of it; label files that only this one names are removed.

        Raises:
            OutputError: it cannot be written.
        """
        text = json.dumps(record.to_dict(), indent=1, allow_nan=False) + "\n"
        with atomic_file(self._record_path(record.name)) as staging:
            staging.write_text(text, encoding="utf-8")
        named = {file.mark.path for file in record.files.values()}
        for file in () if before is None else before.files.values():
            if file.mark.path not in named:
                (self.root / file.mark.path).unlink(missing_ok=True)

    def strangers(self, names: Iterable[str]) -> list[Path]:
        """Files where labels of these frames would go that are not ours.

        A frame without a record may still have files of ours, when whoever made them was killed
        before it was done; its claim is left to tell.
        """
        found = []
        for name in names:
            ours = self._record_path(name).exists() or self._claim_path(name).exists()
            if not ours:
                found += [path for path in self._label_paths(name) if path.exists()]
        return found

    def _label_paths(self, name: str) -> Iterator[Path]:
        for kind in KINDS:
            for suffix in (".png", ".npy", ".json"):
                yield self.root / kind / f"{name}{suffix}"

    def _record_path(self, name: str) -> Path:
        return self._records / f"{name}.json"

    def _claim_path(self, name: str) -> Path:
        return self._records / _CLAIMS / f"{name}.lock"

    def adopt_rig(self, source: Path) -> str:
        """Bring a calibration file into the store; gives its name there.

        Raises:
            OutputError: it cannot be written.
        """
        inside = self.path_inside(source)
        if inside is not None:
            return inside
        with atomic_file(self.root / source.name) as staging:
            shutil.copyfile(source, staging)
        return source.name

    def path_inside(self, source: Path) -> str | None:
        """A file's path relative to the store; None for one that lies elsewhere."""
        full, root = source.resolve(), self.root.resolve()
        return full.relative_to(root).as_posix() if full.is_relative_to(root) else None

    def _write(self, path: str, data: bytes) -> FileMark:
        with atomic_file(self.root / path) as staging:
            staging.write_bytes(data)
        return _mark(path, data)

    def _sweep(self, name: str) -> None:
        """Remove what a killed process left half-written of a frame that is ours now."""
        for folder in (*KINDS, "left", "right", "images", RECORDS):
            for path in (self.root / folder).glob(f".{_literal(name)}.*"):
                path.unlink(missing_ok=True)

    def _lock(self, name: str) -> FileLock:
        path = self._claim_path(name)
        with speaking(path):
            path.parent.mkdir(parents=True, exist_ok=True)
        return FileLock(path)

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """Read and write the manifest while nobody else does."""
        with speaking(self._records):
            self._records.mkdir(parents=True, exist_ok=True)
        with FileLock(self._records / ".manifest.lock"):
            yield


def _mark(path: str, data: bytes) -> FileMark:
    return FileMark(path=path, size_bytes=len(data), sha256=hashlib.sha256(data).hexdigest())


def _size_of(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return -1


def _literal(name: str) -> str:
    """A name for ``glob``, whose own characters stand for themselves."""
    return "".join(f"[{letter}]" if letter in "*?[" else letter for letter in name)
