"""Named values of one calibration file, and errors that say which of them is wrong."""

from __future__ import annotations

import math
import reprlib
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeAlias

import numpy as np

from rangemask.errors import InputError
from rangemask.geometry.arrays import Matrix
from rangemask.geometry.rig import Camera, LensModel

Size: TypeAlias = tuple[int, int]
"""(width, height), px."""

_LARGEST = 1e12
_SMALLEST_LENGTH = 1e-9
_SHOWN = 60
_MISSING = object()

# An ordinary repr of a value that YAML aliases have folded over and over has no end.
_brief = reprlib.Repr()
_brief.maxlevel, _brief.maxlist, _brief.maxdict, _brief.maxstring = 3, 10, 4, _SHOWN


class Fields:
    """A mapping from a file; every reader names file and field when a value is wrong."""

    def __init__(self, path: Path, values: Any, where: str = "") -> None:
        self.path = path
        self.where = where
        if not isinstance(values, Mapping):
            place = where.rstrip(".") or "the file"
            raise InputError(f"{path}: {place}: expected named values, {_say(values)}.")
        self.values: Mapping[str, Any] = values

    def error(self, name: str, expected: str, found: Any = _MISSING) -> InputError:
        """The error for one field: what was expected there and what was found."""
        if found is _MISSING:
            found = self.values.get(name, _MISSING)
        return InputError(f"{self.path}: {self.where}{name}: expected {expected}, {_say(found)}.")

    def has(self, name: str) -> bool:
        """Whether the field is there and not null."""
        return self.values.get(name) is not None

    def section(self, name: str) -> Fields:
        """A mapping inside this one."""
        value = self.values.get(name, _MISSING)
        if not isinstance(value, Mapping):
            raise self.error(name, "named values")
        return Fields(self.path, value, f"{self.where}{name}.")

    def word(self, name: str) -> str:
        """A string."""
        value = self.values.get(name, _MISSING)
        if not isinstance(value, str):
            raise self.error(name, "a word")
        return value

    def number(self, name: str) -> float:
        """A finite number; strings that spell one count (1e-3 is a string in YAML 1.1)."""
        value = _number(self.values.get(name, _MISSING))
        if value is None:
            raise self.error(name, "a number")
        return value

    def positive(self, name: str, unit: str = "") -> float:
        """A number above zero."""
        value = _number(self.values.get(name, _MISSING))
        if value is None or value < _SMALLEST_LENGTH:
            raise self.error(name, f"a positive number{unit and f' of {unit}'}")
        return value

    def numbers(self, name: str, *counts: int) -> tuple[float, ...]:
        """A list of numbers, of one of the lengths; a one-row or one-column matrix counts."""
        expected = f"{' or '.join(map(str, counts))} numbers"
        value = _without_wrapper(self.values.get(name, _MISSING))
        if not isinstance(value, Sequence) or isinstance(value, str) or len(value) > max(counts):
            raise self.error(name, expected)
        if len(value) == 1 and isinstance(value[0], list):
            value = value[0]
        flat = [x[0] if isinstance(x, list) and len(x) == 1 else x for x in value]
        numbers = [_number(x) for x in flat]
        known = tuple(x for x in numbers if x is not None)
        if len(known) != len(numbers) or len(known) not in counts:
            raise self.error(name, expected)
        return known

    def matrix(self, name: str, rows: int, cols: int) -> Matrix:
        """A (rows, cols) matrix, nested, flat in row order, or with rows, cols and data."""
        expected = f"a {rows} x {cols} matrix of numbers"
        value = self.values.get(name, _MISSING)
        if isinstance(value, Mapping) and not _has_shape(value, rows, cols):
            raise self.error(name, expected)
        value = _without_wrapper(value)
        if not isinstance(value, Sequence) or isinstance(value, str):
            raise self.error(name, expected)
        if len(value) == rows and all(isinstance(x, list) and len(x) == cols for x in value):
            value = [x for row in value for x in row]
        if len(value) != rows * cols:
            raise self.error(name, expected)
        numbers = [_number(x) for x in value]
        known = [x for x in numbers if x is not None]
        if len(known) != rows * cols:
            raise self.error(name, expected)
        return np.array(known, dtype=np.float64).reshape(rows, cols)

    def rotation(self, name: str) -> Matrix:
        """A (3, 3) rotation matrix."""
        matrix = self.matrix(name, 3, 3)
        # The bound keeps the product below from overflowing.
        if np.abs(matrix).max() > 2 or np.abs(matrix @ matrix.T - np.eye(3)).max() > 1e-3:
            raise self.error(name, "a 3 x 3 rotation matrix")
        return matrix

    def intrinsics(self, name: str) -> tuple[float, float, float, float]:
        """Fx, fy, cx and cy of a (3, 3) camera matrix."""
        k = self.matrix(name, 3, 3)
        straight = max(abs(k[1, 0]), abs(k[2, 0]), abs(k[2, 1]), abs(k[2, 2] - 1)) < 1e-9
        if not straight or min(k[0, 0], k[1, 1]) < _SMALLEST_LENGTH:
            raise self.error(name, "a camera matrix [fx 0 cx; 0 fy cy; 0 0 1] with fx, fy > 0")
        if abs(k[0, 1]) > 1e-4 * k[0, 0]:
            raise self.error(name, "a camera matrix without skew")
        return float(k[0, 0]), float(k[1, 1]), float(k[0, 2]), float(k[1, 2])

    def size(self, width: str, height: str, default: Size | None) -> Size | None:
        """(width, height) from two fields; the default where neither is there."""
        if not self.has(width) and not self.has(height):
            return default
        return self.count(width), self.count(height)

    def size_list(self, name: str) -> Size:
        """(width, height) from one field."""
        width, height = self.numbers(name, 2)
        if min(width, height) < 1 or width != int(width) or height != int(height):
            raise self.error(name, "width and height, whole numbers of pixels")
        return int(width), int(height)

    def count(self, name: str) -> int:
        """A whole number of pixels, at least one."""
        value = _number(self.values.get(name, _MISSING))
        if value is None or value < 1 or value != int(value):
            raise self.error(name, "a whole number of pixels, at least 1")
        return int(value)

    def camera(
        self,
        intrinsics: tuple[float, float, float, float],
        size: Size | None,
        *,
        model: LensModel = "pinhole",
        distortion: Sequence[float] = (),
    ) -> Camera:
        """A camera of this section.

        Raises:
            InputError: the values do not make a camera.
        """
        fx, fy, cx, cy = intrinsics
        width, height = size or (None, None)
        with saying(self.path, self.where):
            return Camera(
                fx=fx,
                fy=fy,
                cx=cx,
                cy=cy,
                width=width,
                height=height,
                model=model,
                distortion=tuple(distortion),
            )


@contextmanager
def saying(path: Path, where: str = "") -> Iterator[None]:
    """Turn a ValueError of the containers into an InputError that names the file."""
    try:
        yield
    except InputError:
        raise
    except ValueError as error:
        place = f" {where.rstrip('.')}:" if where else ""
        raise InputError(f"{path}:{place} {error}") from error


def _number(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float | str):
        return None
    try:
        number = float(value)
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) and abs(number) < _LARGEST else None


def _without_wrapper(value: Any) -> Any:
    return value.get("data") if isinstance(value, Mapping) else value


def _has_shape(value: Mapping[str, Any], rows: int, cols: int) -> bool:
    return (value.get("rows", rows), value.get("cols", cols)) == (rows, cols)


def _say(found: Any) -> str:
    if found is _MISSING:
        return "but it is missing"
    if found is None:
        return "found nothing (null)"
    text = _brief.repr(found)
    return f"found {text if len(text) <= _SHOWN else text[:_SHOWN] + '...'}"
