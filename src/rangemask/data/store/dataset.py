"""A label store as a data set to learn from."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from rangemask.data.sample import Sample
from rangemask.data.store.files import read_file
from rangemask.data.store.manifest import Manifest, read_manifest, with_frames
from rangemask.data.store.record import KINDS, FrameRecord, Kind
from rangemask.data.store.store import LabelStore
from rangemask.errors import InputError
from rangemask.geometry import Rig
from rangemask.structures import StereoFrame


@dataclass(frozen=True, slots=True, eq=False)
class StoredLabels:
    """The accepted frames of a store; listing them reads no images."""

    root: Path
    manifest: Manifest
    rig: Rig | None
    records: tuple[FrameRecord, ...]
    kinds: frozenset[Kind] = frozenset(KINDS)
    """Which labels are read; the others take no time."""
    pairs: bool = True
    """Whether right images are read."""

    @property
    def names(self) -> tuple[str, ...]:
        """Of all samples, sorted."""
        return tuple(record.name for record in self.records)

    @property
    def sequences(self) -> tuple[str, ...]:
        """The recording that each sample belongs to."""
        return tuple(record.sequence for record in self.records)

    @property
    def classes(self) -> tuple[str, ...]:
        """Class i has id i + 1 in masks and semantic maps."""
        return self.manifest.classes

    def __len__(self) -> int:
        return len(self.records)

    def __iter__(self) -> Iterator[Sample]:
        return (self[index] for index in range(len(self)))

    def __getitem__(self, index: int) -> Sample:
        """Read one sample.

        Raises:
            InputError: a file is missing or damaged; names it.
            IndexError: there is no such sample.
        """
        return self.read(self.records[index])

    def only(self, kinds: Collection[Kind], *, pairs: bool = True) -> StoredLabels:
        """The same frames, of which less is read."""
        return replace(self, kinds=frozenset(kinds), pairs=pairs)

    def read(self, record: FrameRecord) -> Sample:
        """Read the sample of a record, be it accepted or not.

        Raises:
            InputError: a file is missing or damaged; names it.
        """
        paths = {role: self.root / mark.path for role, mark in record.images.items()}
        right = paths.get("right") if self.pairs else None
        frame = StereoFrame.read(paths["left"], right, rig=self.rig, name=record.name)
        found = {
            kind: read_file(self.root, kind, file, self.classes)
            for kind, file in record.files.items()
            if kind in self.kinds and kind != "confidence"
        }
        try:
            return Sample(frame=frame, sequence=record.sequence, **found)
        except InputError as error:
            raise InputError(f"{self.root}: {record.name}: {error}") from error


def open_labels(
    root: str | Path, *, min_quality: float = 0.0, rejected: bool = False
) -> StoredLabels:
    """Open a label store for reading; one that a run is still writing gives what is done.

    Args:
        root: folder with ``manifest.json``.
        min_quality: leaves out frames whose quality is below.
        rejected: whether frames that the labelling rejected are given as well.

    Raises:
        InputError: there are no labels, or the manifest is damaged, newer or not ours.
    """
    folder = Path(root)
    manifest = read_manifest(folder)
    store = LabelStore(folder)
    # A store that was sent on may lack its records; one that is being written has more of them.
    if not manifest.complete or store.done > len(manifest.frames):
        manifest = with_frames(manifest, store.records().values())
    wanted = {"labelled", "rejected"} if rejected else {"labelled"}
    records = tuple(
        record
        for record in manifest.frames
        if record.status in wanted and record.score >= min_quality
    )
    rig = None if manifest.rig is None else Rig.load(folder / manifest.rig)
    return StoredLabels(folder, manifest, rig, records)
