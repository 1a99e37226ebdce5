"""A data set as a list of small entries that say where the files of each sample are."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np

from rangemask.data.sample import Sample
from rangemask.errors import InputError
from rangemask.structures import StereoFrame
from rangemask.structures.images import IMAGE_SUFFIXES

_NOT_IN_NAMES = re.compile(r'[\\/:*?"<>|\0\s]+')

AnyMap = TypeVar("AnyMap", bound=np.ndarray)


class Entry(Protocol):
    """Where one sample is: frozen, small and picklable, so that workers can take it."""

    @property
    def name(self) -> str:
        """Of the sample, a plain folder name."""
        ...

    @property
    def sequence(self) -> str:
        """The recording it belongs to."""
        ...

    @property
    def source(self) -> Path:
        """The file that stands for it in messages: its (left) image."""
        ...

    def read(self) -> Sample:
        """Read the files.

        Raises:
            InputError: one is missing, damaged or does not fit the others; names it.
        """
        ...


@dataclass(frozen=True, slots=True)
class ListedDataset:
    """A ``rangemask.data.sample.Dataset`` from a list; ``listed`` makes one from entries."""

    entries: tuple[Entry, ...]
    """Sorted by name; names are unique."""
    classes: tuple[str, ...] = ()
    """Labels of masks and semantic maps, where the files list them; else empty."""

    @property
    def names(self) -> tuple[str, ...]:
        """Of all samples, each once, sorted."""
        return tuple(entry.name for entry in self.entries)

    @property
    def sequences(self) -> tuple[str, ...]:
        """The recording that each sample belongs to, in the order of ``names``."""
        return tuple(entry.sequence for entry in self.entries)

    def __len__(self) -> int:
        return len(self.entries)

    def __getitem__(self, index: int) -> Sample:
        return self.entries[index].read()

    def __iter__(self) -> Iterator[Sample]:
        return (entry.read() for entry in self.entries)


def listed(
    entries: Iterable[Entry], root: Path, expected: str, classes: tuple[str, ...] = ()
) -> ListedDataset:
    """Sort entries by name and check that they make a data set.

    Args:
        entries: in any order.
        root: what was opened, for messages.
        expected: what should have been there, for messages.
        classes: labels of masks and semantic maps.

    Raises:
        InputError: there are none, or two have one name.
    """
    by_name: dict[str, Entry] = {}
    for entry in entries:
        # Names become files, and there are file systems that do not tell cases apart.
        clash = by_name.setdefault(entry.name.lower(), entry)
        if clash is not entry:
            raise InputError(
                f"{clash.source} and {entry.source} would both be called {entry.name!r}; "
                "rename one of them."
            )
    if not by_name:
        raise InputError(f"{root}: found no samples. Expected {expected}.")
    return ListedDataset(tuple(sorted(by_name.values(), key=lambda entry: entry.name)), classes)


def frame_name(*parts: str | Path) -> str:
    """A plain folder name from path parts; dashes stand between folders."""
    pieces = [piece for part in parts for piece in Path(part).parts if piece not in {".", "/"}]
    plain = "-".join(_NOT_IN_NAMES.sub("_", piece) for piece in pieces)
    return plain if plain.strip(".") else "frame"


def check_folder(path: str | Path) -> Path:
    """The path, when it is a folder.

    Raises:
        InputError: it is not.
    """
    root = Path(path)
    if not root.is_dir():
        what = "is a file" if root.exists() else "does not exist"
        raise InputError(f"{root}: expected the folder of a data set, but it {what}.")
    return root


def folders_named(root: Path, names: frozenset[str], *, depth: int) -> list[Path]:
    """Folders of these names at most ``depth`` folders below ``root``, sorted.

    What is inside of a hit is not searched.
    """
    hits, here = [], [root]
    for _ in range(depth):
        below = [child for folder in here for child in _folders_in(folder)]
        hits += [child for child in below if child.name in names]
        here = [child for child in below if child.name not in names]
    return sorted(hits)


def _folders_in(folder: Path) -> list[Path]:
    # Unlike Path.is_dir this asks nothing more of the disk per file, of which there may be many.
    with os.scandir(folder) as items:
        return [Path(i) for i in items if not i.name.startswith(".") and i.is_dir()]


def files_below(
    folder: Path, suffixes: Iterable[str] = IMAGE_SUFFIXES, *, deep: bool = True
) -> list[Path]:
    """Files with one of the suffixes, sorted; hidden ones are left out, links are followed."""
    wanted = frozenset(suffixes)
    found = []
    for where, folders, names in os.walk(folder, followlinks=True):
        folders[:] = [name for name in folders if deep and not name.startswith(".")]
        found += [
            Path(where, name)
            for name in names
            if not name.startswith(".") and Path(name).suffix.lower() in wanted
        ]
    return sorted(found)


def by_stem(paths: Iterable[Path], root: Path) -> dict[str, Path]:
    """Paths by what they are called below ``root``, without suffix.

    Raises:
        InputError: two differ in their suffix only.
    """
    found: dict[str, Path] = {}
    for path in paths:
        clash = found.setdefault(path.relative_to(root).with_suffix("").as_posix(), path)
        if clash is not path:
            raise InputError(f"{clash} and {path} differ in their suffix only; remove one of them.")
    return found


def partner_of(path: Path, stem: str, others: dict[str, Path], where: Path) -> Path:
    """The file of the same stem in another folder.

    Raises:
        InputError: there is none; names the file that lacks it.
    """
    if stem not in others:
        raise InputError(f"{path}: expected a partner called {stem!r} in {where}, found none.")
    return others[stem]


def inside(root: Path, text: str, listing: Path) -> Path:
    """A path that a list file names, when it lies below ``root``; links are followed.

    Raises:
        InputError: it climbs out.
    """
    # By its text: whoever made a link inside of the folder wanted it to be followed.
    base = Path(os.path.normpath(root.absolute()))
    path = Path(os.path.normpath(base / text))
    if not path.is_relative_to(base) or "\0" in text:
        raise InputError(
            f"{listing}: the path {text!r} leaves {root}, which is refused. Give the folder that "
            "holds everything (root), if the list is yours."
        )
    return root / path.relative_to(base)


def read_json(path: Path) -> Any:
    """What a JSON file holds.

    Raises:
        InputError: it is missing or no JSON.
    """
    if not path.is_file():
        raise InputError(f"{path}: expected a file, but it does not exist.")
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path}: not a JSON file, or a damaged one ({error}).") from error


def fitting(values: AnyMap, path: Path, frame: StereoFrame) -> AnyMap:
    """The map, (H, W) or (H, W, C), when it has the image's size.

    Raises:
        InputError: it has another.
    """
    if values.shape[:2] != (frame.height, frame.width):
        raise InputError(
            f"{path}: {values.shape[1]} x {values.shape[0]} px, but the image of {frame.name} has "
            f"{frame.width} x {frame.height} px."
        )
    return values
