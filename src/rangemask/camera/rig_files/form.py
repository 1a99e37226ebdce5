"""What a file format of rigs is, and refusals that all of them share."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from rangemask.camera.rig_files.fields import Size
from rangemask.camera.rig_files.source import Source
from rangemask.errors import InputError
from rangemask.geometry.rig import Camera, Rig

Read: TypeAlias = Callable[[Source, Size | None], Rig]
Write: TypeAlias = Callable[[Rig, Path], dict[Path, str]]


@dataclass(frozen=True, kw_only=True, slots=True)
class RigFormat:
    """One calibration file format, both ways."""

    name: str
    title: str
    """What people call it."""
    recognises: Callable[[Source], bool]
    """Whether a file is of this format, wrong values included."""
    read: Read
    write: Write
    """The files to write, as text, for a rig and the path that was asked for."""


def pair_of(rig: Rig, title: str) -> Camera:
    """The right camera, for formats that hold pairs only.

    Raises:
        InputError: the rig has one camera, or no scale.
    """
    if rig.right is None or rig.baseline_m is None:
        lack = "a single camera" if rig.right is None else "no baseline"
        raise InputError(
            f"a {title} file holds a pair with its baseline, the rig has {lack}. {_ELSE}"
        )
    return rig.right


def rectified_of(rig: Rig, title: str) -> tuple[Camera, float]:
    """The right camera and the baseline in metres, for formats of rectified pairs.

    Raises:
        InputError: see ``pair_of``; or the rig is not rectified.
    """
    right = pair_of(rig, title)
    if not rig.is_rectified:
        raise InputError(f"a {title} file holds a rectified pair, the rig is not one. {_ELSE}")
    return right, -rig.translation_m[0]


def size_of(rig: Rig, title: str) -> Size:
    """The image size, for formats that must state it.

    Raises:
        InputError: the rig does not know it.
    """
    if rig.size is None:
        raise InputError(
            f"a {title} file states the image size, the rig does not know it. "
            "Give it with Rig.with_size, or image_size at loading."
        )
    return rig.size


_ELSE = "Save as rig.yaml, which holds every rig."
