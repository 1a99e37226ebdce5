"""Which frames of a folder are to be labelled, and which cannot be, with the reason."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from rangemask.data.frame_sources import FrameSource, Layout, find_frames, plain_name
from rangemask.errors import InputError
from rangemask.geometry import Rig
from rangemask.structures.images import IMAGE_SUFFIXES

_PAIRS = ("left", "right")
_SINGLE = "images"
_SIDE_WORD = re.compile(r"(?<![a-z])(left|right|l|r)(?![a-z])", re.IGNORECASE)
_NUMBER = re.compile(r"[_.-]*\d+$")


@dataclass(frozen=True, slots=True, kw_only=True)
class Listing:
    """What a folder holds."""

    sources: tuple[FrameSource, ...]
    """Sorted by name; no name twice."""
    sequences: dict[str, str] = field(default_factory=dict)
    """Of every source, by name: frames of one recording share it."""
    problems: dict[str, str] = field(default_factory=dict)
    """Why a frame cannot be labelled, by its name."""


def list_frames(
    root: str | Path, *, layout: Layout | None = None, rig: Rig | None = None
) -> Listing:
    """The frames of a data set.

    ``left/`` and ``right/`` hold pairs of equal names, ``images/`` single images; each may have
    subfolders, one per recording. Where none of them is there, as ``find_frames``.

    Args:
        root: the folder.
        layout: what the images are; found out where it is not given.
        rig: a side-by-side image is recognised by having twice its width.

    Raises:
        InputError: there is no such folder, or nothing in it.
    """
    folder = Path(root)
    if not folder.is_dir():
        what = "is a file" if folder.exists() else "does not exist"
        raise InputError(f"{folder}: expected a folder with images, but it {what}.")
    left, right, single = folder / _PAIRS[0], folder / _PAIRS[1], folder / _SINGLE
    if not left.is_dir() and not single.is_dir():
        sources = find_frames(folder, layout=layout, rig=rig)
        return _listing([(source.name, source, "") for source in sources], {})
    if left.is_dir() and not right.is_dir():
        raise InputError(
            f"{folder}: holds left/ but no right/. Name the folder of single images {_SINGLE}/."
        )
    found: list[tuple[str, FrameSource, str]] = []
    problems: dict[str, str] = {}
    if left.is_dir():
        found += _pairs(left, right, problems)
    if single.is_dir():
        found += [(key, _source(path), _sequence(path, single)) for key, path in _walk(single)]
    if not found and not problems:
        raise InputError(f"{folder}: holds no images in left/ and right/ or {_SINGLE}/.")
    return _listing(found, problems)


def sequence_of(name: str) -> str:
    """The recording that a frame belongs to by its name: what stands before its number."""
    return _NUMBER.sub("", name)


def _pairs(
    left: Path, right: Path, problems: dict[str, str]
) -> Iterator[tuple[str, FrameSource, str]]:
    firsts, seconds = list(_walk(left)), list(_walk(right))
    partners: dict[str, Path] = {}
    for key, path in seconds:
        other = partners.setdefault(key, path)
        if other is not path:
            problems[plain_name(key)] = f"{other} and {path} could both be the right image."
    shared = {key for key, _ in firsts} & set(partners)
    if not shared and len(firsts) == len(seconds):
        # Names of two cameras that have nothing in common: as they are sorted.
        partners = {key: path for (key, _), (_, path) in zip(firsts, seconds, strict=True)}
    else:
        for key, path in seconds:
            if key not in dict(firsts):
                problems[plain_name(key)] = f"{path} has no partner of that name in {left}."
    for key, path in firsts:
        if key not in partners:
            problems[plain_name(key)] = f"{path} has no partner of that name in {right}."
        if plain_name(key) in problems:
            continue
        source = FrameSource(name=plain_name(key), left=path, right=partners[key])
        yield key, source, _sequence(path, left)


def _walk(folder: Path) -> Iterator[tuple[str, Path]]:
    """Images below a folder with what tells them apart: their path without suffix and side."""
    for path in sorted(folder.rglob("*")):
        inside = path.relative_to(folder)
        hidden = any(part.startswith(".") for part in inside.parts)
        if hidden or path.suffix.lower() not in IMAGE_SUFFIXES:
            continue
        stem = _SIDE_WORD.sub("", path.stem) or path.stem
        yield (inside.parent / stem).as_posix(), path


def _source(path: Path) -> FrameSource:
    return FrameSource(name=path.stem, left=path)


def _sequence(path: Path, folder: Path) -> str:
    return path.parent.relative_to(folder).as_posix().strip(".")


def _listing(found: list[tuple[str, FrameSource, str]], problems: dict[str, str]) -> Listing:
    """Frames with one name each; of those that share one, none is taken."""
    by_name: dict[str, list[tuple[FrameSource, str]]] = {}
    for key, source, sequence in found:
        name = plain_name(key)
        named = FrameSource(
            name=name, left=source.left, right=source.right, side_by_side=source.side_by_side
        )
        # File systems that do not tell capitals apart would mix up their files.
        by_name.setdefault(name.lower(), []).append((named, sequence))
    sources, sequences = [], {}
    for group in by_name.values():
        source, sequence = group[0]
        if len(group) > 1:
            files = ", ".join(str(one.left) for one, _ in group)
            problems[source.name] = f"{files} have one name and would write to the same files."
            continue
        sources.append(source)
        sequences[source.name] = sequence or sequence_of(source.name)
    sources.sort(key=lambda source: source.name)
    return Listing(sources=tuple(sources), sequences=sequences, problems=problems)
