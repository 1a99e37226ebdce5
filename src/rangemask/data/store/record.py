"""One frame of a label store: its images, its label files, what made them, how good they are."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any, Literal, TypeAlias, get_args

from rangemask.errors import InputError

Kind: TypeAlias = Literal["disparity", "confidence", "weight", "depth", "masks", "semantic"]
"""Also the names of the folders that the files lie in."""
KINDS: tuple[Kind, ...] = get_args(Kind)

Status: TypeAlias = Literal["labelled", "rejected", "failed"]
STATUSES: tuple[Status, ...] = get_args(Status)


@dataclass(frozen=True, slots=True, kw_only=True)
class FileMark:
    """A file, so that a change of it is noticed."""

    path: str
    """Relative to the store, with forward slashes."""
    size_bytes: int
    sha256: str

    def __post_init__(self) -> None:
        pure = PurePosixPath(self.path)
        if pure.is_absolute() or ".." in pure.parts or "\\" in self.path or ":" in self.path:
            raise InputError(f"{self.path!r} leaves the folder of the labels; it is not followed.")

    def to_dict(self) -> dict[str, Any]:
        """As plain values, for JSON."""
        return {"path": self.path, "size_bytes": self.size_bytes, "sha256": self.sha256}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> FileMark:
        """The inverse of ``to_dict``."""
        size_bytes, sha256 = int(values["size_bytes"]), str(values["sha256"])
        return cls(path=str(values["path"]), size_bytes=size_bytes, sha256=sha256)


@dataclass(frozen=True, slots=True, kw_only=True)
class LabelFile:
    """One file of labels."""

    mark: FileMark
    recipe: str
    """Key of the recipe that made it."""
    details: Mapping[str, Any] = field(default_factory=dict)
    """What its reader needs besides: the kind of a depth map; of corrected masks, by whom."""

    def to_dict(self) -> dict[str, Any]:
        """As plain values, for JSON."""
        values = {**self.mark.to_dict(), "recipe": self.recipe}
        return {**values, "details": dict(self.details)} if self.details else values

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> LabelFile:
        """The inverse of ``to_dict``."""
        return cls(
            mark=FileMark.from_dict(values),
            recipe=str(values["recipe"]),
            details=dict(values.get("details", {})),
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class FrameRecord:
    """What a store knows of one frame. It is written last, so what it names is there.

    Raises:
        InputError: the status or a score is impossible.
    """

    name: str
    status: Status
    reason: str = ""
    """Why it was rejected, or failed; empty for labelled frames."""
    sequence: str = ""
    width: int = 0
    height: int = 0
    images: Mapping[str, FileMark] = field(default_factory=dict)
    """left and right, or left alone for a single image."""
    files: Mapping[Kind, LabelFile] = field(default_factory=dict)
    quality: Mapping[str, float] = field(default_factory=dict)
    """Scores in [0, 1] by what they judge."""
    seen: Mapping[str, Any] = field(default_factory=dict)
    """What only this machine knows of the sources: left out of the manifest."""

    def __post_init__(self) -> None:
        if self.status not in STATUSES:
            raise InputError(f"status must be one of {', '.join(STATUSES)}, got {self.status!r}.")
        for name, score in self.quality.items():
            if not 0 <= score <= 1:
                raise InputError(f"quality {name} must lie within [0, 1], got {score}.")

    @property
    def score(self) -> float:
        """The least of the quality scores; 1 where nothing was judged."""
        return min(self.quality.values(), default=1.0)

    @property
    def weakest(self) -> str:
        """What the least score judges; empty where nothing was judged."""
        return min(self.quality, key=lambda name: (self.quality[name], name), default="")

    def to_dict(self, *, seen: bool = True) -> dict[str, Any]:
        """As plain values, for JSON; without ``seen`` where the file is to be the same anywhere."""
        values: dict[str, Any] = {
            "name": self.name,
            "status": self.status,
            "reason": self.reason,
            "sequence": self.sequence,
            "width": self.width,
            "height": self.height,
            "images": {role: mark.to_dict() for role, mark in sorted(self.images.items())},
            "files": {kind: self.files[kind].to_dict() for kind in KINDS if kind in self.files},
            "quality": {name: self.quality[name] for name in sorted(self.quality)},
        }
        return {**values, "seen": dict(self.seen)} if seen else values

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> FrameRecord:
        """The inverse of ``to_dict``.

        Raises:
            InputError: a path climbs out of the store, or a value is impossible.
            KeyError: a key is missing.
            TypeError: a value is of the wrong type.
            ValueError: a number is none.
        """
        found = values["files"]
        files = {kind: LabelFile.from_dict(found[kind]) for kind in KINDS if kind in found}
        return cls(
            name=str(values["name"]),
            status=values["status"],
            reason=str(values["reason"]),
            sequence=str(values["sequence"]),
            width=int(values["width"]),
            height=int(values["height"]),
            images={role: FileMark.from_dict(mark) for role, mark in values["images"].items()},
            files=files,
            quality={name: float(score) for name, score in values["quality"].items()},
            seen=dict(values.get("seen", {})),
        )
