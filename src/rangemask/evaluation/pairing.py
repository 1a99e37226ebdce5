"""Which prediction belongs to which truth: files, folders of files, folders of frames."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from rangemask.errors import InputError

First = TypeVar("First")
Second = TypeVar("Second")


@dataclass(frozen=True, slots=True)
class Kind:
    """How files of one kind are called."""

    what: str
    suffixes: tuple[str, ...]
    inside: tuple[str, ...]
    """Where a frame's own folder holds it, the first that is there: ``rangemask predict``'s
    layout, then those of data sets."""


DISPARITY = Kind(
    "disparity maps",
    (".npy", ".pfm", ".png"),
    (
        "stereo/disparity.npy",
        "disparity.npy",
        "disparity.pfm",
        "disparity.png",
        "disp0GT.pfm",
        "disp0.pfm",
    ),
)
DEPTH = Kind(
    "depth maps",
    (".npy", ".pfm", ".png"),
    ("stereo/depth.npy", "depth.npy", "depth.pfm", "depth.png"),
)
MASKS = Kind(
    "masks",
    (".json", ".png", ".npy"),
    ("segmentation/masks.json", "masks.json", "masks.png", "masks.npy"),
)
VALID = Kind(
    "masks of where to look",
    (".png", ".npy"),
    ("nonocc.png", "mask0nocc.png", "valid.png", "valid.npy"),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Pairs(Generic[First, Second]):
    """What both sides have, by frame name, and the names that only one of them has."""

    both: dict[str, tuple[First, Second]]
    only_predicted: tuple[str, ...] = ()
    only_truth: tuple[str, ...] = ()


def find_files(path: Path, kind: Kind) -> dict[str, Path]:
    """Frame name to file.

    A file stands for itself. In a folder that holds frames as folders of their own (an output
    folder, a Middlebury scene), a frame is called as its folder; else every file of the kind is
    a frame, called by its path within the folder without suffix.

    Raises:
        InputError: there is nothing at that path, nothing of the kind in it, or two files of
            one name.
    """
    if path.is_file():
        return {path.stem: path}
    if not path.is_dir():
        raise InputError(f"{path}: expected a file or a folder, but it does not exist.")
    files = {
        file.relative_to(path).as_posix(): file
        for file in sorted(path.rglob("*"))
        if file.suffix.lower() in kind.suffixes and file.is_file()
    }
    # Names that begin with a dot are half-written, or of the system.
    files = {
        name: file for name, file in files.items() if not any(p[0] == "." for p in name.split("/"))
    }
    frames: dict[str, Path] = {}
    taken: set[Path] = set()
    for name, file in sorted(files.items(), key=lambda item: _rank(item[0], kind)):
        rank = _rank(name, kind)
        # What lies beside a frame's map is a picture of it, not another frame.
        if rank < len(kind.inside) and file.parent not in taken:
            folder = name[: -len(kind.inside[rank])].rstrip("/") or path.resolve().name
            frames.setdefault(folder, file)
            taken.add(file.parent)
    return frames or _by_name(path, files, kind)


def pair_up(
    predicted: Mapping[str, First], truth: Mapping[str, Second], *, one_truth: bool, names: str
) -> Pairs[First, Second]:
    """Pair by name; a single truth belongs to a single prediction whatever they are called.

    Args:
        predicted: by frame name.
        truth: by frame name.
        one_truth: the truth was given as one file for one frame.
        names: the two paths, for messages.

    Raises:
        InputError: no name is on both sides, or one truth stands against many predictions.
    """
    if one_truth:
        if len(predicted) != 1:
            raise InputError(
                f"{names}: found {len(predicted)} predictions for one truth. Give the folder of "
                "all truths, or one prediction."
            )
        (name, first), (second,) = next(iter(predicted.items())), truth.values()
        return Pairs(both={name: (first, second)})
    shared = [name for name in predicted if name in truth]
    if not shared:
        raise InputError(
            f"{names}: no frame is in both. Found {some(predicted)} and {some(truth)}."
        )
    return Pairs(
        both={name: (predicted[name], truth[name]) for name in sorted(shared)},
        only_predicted=tuple(sorted(set(predicted) - set(truth))),
        only_truth=tuple(sorted(set(truth) - set(predicted))),
    )


def some(names: Mapping[str, object]) -> str:
    """A few names, for messages."""
    first = sorted(names)
    return (", ".join(first[:4]) + (", ..." if len(first) > 4 else "")) or "none"


def _rank(name: str, kind: Kind) -> int:
    """Which of the kind's own spellings a file has; their number where it has none."""
    spelled = (f"/{name}".endswith(f"/{inside}") for inside in kind.inside)
    return next((rank for rank, fits in enumerate(spelled) if fits), len(kind.inside))


def _by_name(path: Path, files: Mapping[str, Path], kind: Kind) -> dict[str, Path]:
    if not files:
        raise InputError(
            f"{path}: holds no {kind.what} ({', '.join(kind.suffixes)}, or folders of frames with "
            f"{kind.inside[0]})."
        )
    named: dict[str, Path] = {}
    for name, file in files.items():
        frame = name[: -len(file.suffix)]
        if frame in named:
            raise InputError(f"{named[frame]} and {file} are of one frame. Remove one of them.")
        named[frame] = file
    return named
