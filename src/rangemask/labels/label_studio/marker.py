"""What a task says of where it came from, so that it finds its way back."""

from __future__ import annotations

import hashlib
import os
import re
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal, TypeAlias, get_args

from rangemask.atomic import atomic_file, speaking
from rangemask.errors import InputError

Shape: TypeAlias = Literal["brush", "polygon"]
SHAPES: tuple[Shape, ...] = get_args(Shape)

MARKER = "rangemask"
"""Key of a task's data."""
ID_FILE = "label-studio-id.txt"


@dataclass(frozen=True, slots=True, kw_only=True)
class Marker:
    """Which frame a task is, of which store, and how its masks were drawn.

    Raises:
        InputError: a value is impossible.
    """

    store: str
    """The store's id."""
    frame: str
    masks: str
    """SHA-256 of the masks file that was exported."""
    shape: Shape
    tolerance_px: float
    """Of polygons."""

    def __post_init__(self) -> None:
        if self.shape not in SHAPES:
            raise InputError(f"shape must be one of {', '.join(SHAPES)}, got {self.shape!r}.")
        if not 0 <= self.tolerance_px <= 100:
            raise InputError(f"tolerance_px must lie within [0, 100], got {self.tolerance_px}.")

    def to_dict(self) -> dict[str, Any]:
        """As plain values, for JSON."""
        return {
            "store": self.store,
            "frame": self.frame,
            "masks": self.masks,
            "shape": self.shape,
            "tolerance_px": self.tolerance_px,
        }

    @classmethod
    def from_task(cls, task: Mapping[str, Any]) -> Marker:
        """Of a task, as Label Studio gives it back.

        Raises:
            InputError: the task is not ours, or its marker was damaged.
        """
        values = task.get("data", {}).get(MARKER)
        if values is None:
            raise InputError(
                f'it has no "{MARKER}" in its data: it was not exported by rangemask. Import only '
                "the project that rangemask's tasks were imported into."
            )
        try:
            return cls(
                store=str(values["store"]),
                frame=str(values["frame"]),
                masks=str(values["masks"]),
                shape=values["shape"],
                tolerance_px=float(values["tolerance_px"]),
            )
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(f'the "{MARKER}" of its data is damaged ({error}).') from error


def store_id(root: Path, *, make: bool) -> str:
    """The id of a store: a random word, made at the first export and kept in a file.

    A copy of the store has it as well; a store made anew of the same images has not.

    Raises:
        InputError: there is none, or it is damaged.
        OutputError: it cannot be written.
    """
    path = root / ID_FILE
    if make and not path.exists():
        _make_id(path)
    try:
        found = path.read_text(encoding="ascii").strip()
    except (OSError, ValueError) as error:
        raise InputError(
            f"{root}: these labels were never exported to Label Studio from here (no readable "
            f"{ID_FILE}), so no export of Label Studio is about them."
        ) from error
    if not re.fullmatch(r"[0-9a-f]{32}", found):
        raise InputError(f"{path}: damaged: expected 32 hexadecimal digits, found {found[:40]!r}.")
    return found


def _make_id(path: Path) -> None:
    """Two exports at one time must agree: the first to link its file into place wins."""
    draft = path.with_name(f".{path.stem}.{secrets.token_hex(4)}.txt")
    try:
        with atomic_file(draft) as staging:
            staging.write_text(secrets.token_hex(16) + "\n", encoding="ascii")
        with speaking(path):
            try:
                os.link(draft, path)
            except FileExistsError:
                return
            except OSError:  # a file system without links
                draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def region_id(frame: str, row: Mapping[str, Any]) -> str:
    """Of a mask: the same in every export; what Label Studio named keeps that name."""
    named = row.get("label_studio_id")
    if isinstance(named, str) and named:
        return named
    return "rm" + hashlib.sha256(f"{frame}\n{row['id']}".encode()).hexdigest()[:12]
