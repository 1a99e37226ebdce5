"""``manifest.json``: what a label store is, what made it, and all of its frames."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from rangemask.atomic import atomic_file
from rangemask.data.store.recipe import Recipe
from rangemask.data.store.record import KINDS, FrameRecord
from rangemask.errors import InputError
from rangemask.structures import Provenance
from rangemask.structures.passport import LicenceClass

MANIFEST = "manifest.json"
FORMAT = "rangemask-labels"
FORMAT_VERSION = 1

DAMAGED = (OSError, ArithmeticError, AttributeError, LookupError, TypeError, ValueError)
"""What JSON of another shape than ours leads to."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Manifest:
    """The whole of a store but for the label files."""

    classes: tuple[str, ...] = ()
    """Class i has id i + 1 in masks and semantic maps; 0 is unknown."""
    rig: str | None = None
    """Calibration file, relative to the store."""
    recipes: Mapping[str, Recipe] = field(default_factory=dict)
    """By key."""
    min_quality: float = 0.0
    """Frames below were rejected."""
    complete: bool = False
    """Whether ``frames`` is whole; while a run goes on, and after it was killed, it is not."""
    frames: tuple[FrameRecord, ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """As plain values, for JSON."""
        return {
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            "classes": list(self.classes),
            "rig": self.rig,
            "min_quality": self.min_quality,
            "recipes": {key: self.recipes[key].to_dict() for key in sorted(self.recipes)},
            "summary": summary_of(self).to_dict(),
            "complete": self.complete,
            "frames": [record.to_dict(seen=False) for record in self.frames],
        }


@dataclass(frozen=True, slots=True, kw_only=True)
class Summary:
    """What a store holds, counted."""

    labelled: int
    rejected: int
    failed: int
    rejected_for: Mapping[str, int]
    """Rejected frames by what they were weakest in."""
    failures: Mapping[str, str]
    """Why, by name of frame."""
    files: Mapping[str, int]
    """Label files of accepted frames by kind."""
    licence_class: LicenceClass
    """The strictest of all label files of accepted frames."""
    research_only: Mapping[str, int]
    """Files by the models that forbid commercial use, or whose terms are unknown."""

    def to_dict(self) -> dict[str, Any]:
        """As plain values, for JSON."""
        return {
            "labelled": self.labelled,
            "rejected": self.rejected,
            "failed": self.failed,
            "rejected_for": dict(self.rejected_for),
            "failures": dict(self.failures),
            "files": dict(self.files),
            "licence_class": self.licence_class,
            "not_for_commerce": dict(self.research_only),
        }


def summary_of(manifest: Manifest) -> Summary:
    """Count what a store holds; its licence class is that of its strictest label."""
    groups: dict[str, list[FrameRecord]] = {"labelled": [], "rejected": [], "failed": []}
    for record in manifest.frames:
        groups[record.status].append(record)
    files = Counter(kind for record in groups["labelled"] for kind in record.files)
    made = Counter(file.recipe for record in groups["labelled"] for file in record.files.values())
    strict: Counter[str] = Counter()
    for key, count in made.items():
        for model in manifest.recipes[key].models:
            if model.licence_class != "commercial-ok":
                strict[f"{model.model} ({model.licence})"] += count
    passports = tuple(model for key in made for model in manifest.recipes[key].models)
    return Summary(
        labelled=len(groups["labelled"]),
        rejected=len(groups["rejected"]),
        failed=len(groups["failed"]),
        rejected_for=dict(Counter(record.reason for record in groups["rejected"]).most_common()),
        failures={record.name: record.reason for record in groups["failed"]},
        files={kind: files[kind] for kind in KINDS if files[kind]},
        licence_class=Provenance(rangemask_version="", models=passports).licence_class,
        research_only=dict(strict.most_common()),
    )


def read_manifest(root: Path) -> Manifest:
    """The manifest of a store, as it stands on disk.

    Raises:
        InputError: there is none, it is damaged, of a newer version, or not ours.
    """
    path = root / MANIFEST
    if not path.is_file():
        raise InputError(
            f"{root}: holds no labels (no {MANIFEST}). Make some: rangemask label {root}"
        )
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        _check_format(path, data)
        return Manifest(
            classes=tuple(str(name) for name in data["classes"]),
            rig=None if data["rig"] is None else str(data["rig"]),
            recipes={key: Recipe.from_dict(one) for key, one in data["recipes"].items()},
            min_quality=float(data["min_quality"]),
            complete=bool(data["complete"]),
            frames=tuple(FrameRecord.from_dict(one) for one in data["frames"]),
        )
    except InputError as error:
        raise InputError(str(error) if str(path) in str(error) else f"{path}: {error}") from error
    except DAMAGED as error:
        raise InputError(
            f"{path}: the manifest is damaged ({type(error).__name__}: {error}). Delete it and run "
            "rangemask label again with the same options: finished frames are found and kept."
        ) from error


def _check_format(path: Path, data: Any) -> None:
    if not isinstance(data, dict) or data.get("format") != FORMAT:
        raise InputError(f"{path}: not a manifest of rangemask's labels.")
    version = data.get("format_version")
    if not isinstance(version, int) or version > FORMAT_VERSION:
        raise InputError(
            f"{path}: format version {version}, this program reads up to {FORMAT_VERSION}. "
            "Install a newer rangemask."
        )


def write_manifest(root: Path, manifest: Manifest) -> None:
    """Write a manifest, whole or not at all.

    Raises:
        OutputError: it cannot be written.
    """
    text = json.dumps(manifest.to_dict(), indent=1, allow_nan=False) + "\n"
    with atomic_file(root / MANIFEST) as staging:
        staging.write_text(text, encoding="utf-8")


def with_frames(manifest: Manifest, records: Iterable[FrameRecord]) -> Manifest:
    """A manifest that knows all frames, sorted by name."""
    frames = tuple(sorted(records, key=lambda record: record.name))
    return replace(manifest, frames=frames, complete=True)
