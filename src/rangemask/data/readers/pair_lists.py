"""Pairs without folders of their own: TAO's list files and CREStereo's flat folders."""

from __future__ import annotations

from pathlib import Path

from rangemask.data.readers.listed import (
    ListedDataset,
    check_folder,
    files_below,
    frame_name,
    inside,
    listed,
)
from rangemask.data.readers.stereo_entry import StereoEntry
from rangemask.errors import InputError

_LEFT = "_left"


def looks_like_tao(path: Path) -> bool:
    """Whether it is a text file."""
    return path.is_file() and path.suffix.lower() == ".txt"


def open_tao_list(path: str | Path, *, root: str | Path | None = None) -> ListedDataset:
    """Open a list file of NVIDIA TAO: ``left right [disparity [nocc_mask]]`` in each line.

    Disparity is whatever ``read_disparity`` reads, or FSD's colours; the mask is not 0 (where
    white occurs, white) where both cameras see. Paths that hold spaces are parted by tabs.

    Args:
        path: the list; empty lines and those that begin with # say nothing.
        root: what paths are relative to and must not leave; the list's folder without it.

    Raises:
        InputError: a file is missing, a path leaves the root, or a line is of another form.
    """
    listing = Path(path)
    if not listing.is_file():
        raise InputError(f"{listing}: expected a list file, but it does not exist.")
    base = check_folder(root) if root is not None else listing.parent
    try:
        lines = listing.read_text(encoding="utf-8").splitlines()
    except ValueError as error:
        raise InputError(f"{listing}: not a text file ({error}).") from error
    entries = [
        _entry(base, listing, number, line)
        for number, line in enumerate(lines, start=1)
        if line.strip() and not line.lstrip().startswith("#")
    ]
    return listed(entries, listing, "lines of the form: left right [disparity [nocc_mask]]")


def _entry(root: Path, listing: Path, number: int, line: str) -> StereoEntry:
    fields = [field.strip() for field in line.strip().split("\t" if "\t" in line else None)]
    if not 2 <= len(fields) <= 4:
        raise InputError(
            f"{listing}, line {number}: expected left right [disparity [nocc_mask]], found "
            f"{len(fields)} fields. Part paths that hold spaces by tabs."
        )
    paths = [inside(root, field, listing) for field in fields]
    missing = next((file for file in paths if not file.is_file()), None)
    if missing is not None:
        raise InputError(f"{listing}, line {number}: {missing} does not exist.")
    where = paths[0].relative_to(root)
    return StereoEntry(
        name=frame_name(where.with_suffix("")),
        sequence=frame_name(where.parent) if where.parent.parts else frame_name(listing.stem),
        left=paths[0],
        right=paths[1],
        disparity=paths[2] if len(paths) > 2 else None,
        code="any",
        visible=paths[3] if len(paths) > 3 else None,
    )


def looks_like_crestereo(path: Path) -> bool:
    """Whether there are files ``*_left.disp.png``."""
    return path.is_dir() and any(
        next(path.glob(pattern), None) for pattern in ("*_left.disp.png", "*/*_left.disp.png")
    )


def open_crestereo(path: str | Path) -> ListedDataset:
    """Open CREStereo's set (Li et al., CVPR 2022), or one of its folders ``tree``, ``hole``, ...

    Files are ``N_left.jpg``, ``N_right.jpg``, ``N_left.disp.png`` (disparity x 32, 0 unknown).

    Raises:
        InputError: nothing of the kind is there, or a partner is missing.
    """
    root = check_folder(path)
    entries = []
    for left in files_below(root, (".jpg", ".jpeg", ".png")):
        if not left.stem.endswith(_LEFT):
            continue
        stem = left.stem.removesuffix(_LEFT)
        right = left.with_name(f"{stem}_right{left.suffix}")
        disparity = left.with_name(f"{stem}_left.disp.png")
        for partner in (right, disparity):
            if not partner.is_file():
                raise InputError(f"{left}: expected its partner {partner}, but it does not exist.")
        name = frame_name(left.parent.relative_to(root), stem)
        entries.append(
            StereoEntry(
                name=name,
                sequence=name,
                left=left,
                right=right,
                disparity=disparity,
                code="crestereo",
            )
        )
    return listed(entries, root, "N_left.jpg, N_right.jpg and N_left.disp.png")
