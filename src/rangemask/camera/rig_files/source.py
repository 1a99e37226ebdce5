"""A calibration file as text, and as a tree of plain values where it is YAML or JSON."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml

from rangemask.errors import InputError

MAX_BYTES = 512_000
"""No calibration of two cameras is larger; maps and images are."""

_TEXT_PROBLEM = "expected a calibration file (text), found"
_SHOWN = 160
_OPENCV_TAG = "tag:yaml.org,2002:opencv-"


@dataclass(frozen=True)
class Source:
    """One calibration file, read once; formats look at it to say whether it is theirs."""

    path: Path
    text: str

    @classmethod
    def read(cls, path: Path) -> Source:
        """Read a text file.

        Raises:
            InputError: it is missing, empty, too large, or no text.
        """
        if not path.is_file():
            what = "is a folder" if path.is_dir() else "does not exist"
            raise InputError(f"{path}: expected a calibration file, but it {what}.")
        try:
            with path.open("rb") as file:
                data = file.read(MAX_BYTES + 1)
        except OSError as error:
            raise InputError(f"{path}: cannot be read ({error.strerror or error}).") from error
        if len(data) > MAX_BYTES:
            raise InputError(
                f"{path}: {_TEXT_PROBLEM} more than {MAX_BYTES // 1000} kB. "
                "If it also holds rectification maps or points, keep only the calibration."
            )
        return cls(path, _decode(path, data))

    @property
    def tree(self) -> dict[str, Any] | None:
        """The top-level mapping of a YAML or JSON file; None where it is neither.

        Numbers, words, lists and mappings only: no dates, no merges, no objects. OpenCV's
        matrices become mappings with rows, cols and data.
        """
        return self._parsed[0]

    @property
    def problem(self) -> str:
        """Why there is no tree, on one line."""
        return self._parsed[1]

    @cached_property
    def _parsed(self) -> tuple[dict[str, Any] | None, str]:
        text = self.text
        if text.startswith("%YAML"):  # OpenCV writes a directive that YAML does not know
            text = "#" + text
        try:
            tree = json.loads(text) if text.lstrip().startswith("{") else _yaml(text)
        except (
            # What PyYAML lets through for malformed scalars and unhashable or deep values.
            yaml.YAMLError,
            ValueError,
            KeyError,
            AttributeError,
            TypeError,
            IndexError,
            OverflowError,
            RecursionError,
        ) as error:
            return None, " ".join(str(error).split())[:_SHOWN]
        if not isinstance(tree, dict):
            return None, "no named values at its top"
        return {str(key): value for key, value in tree.items()}, ""

    @cached_property
    def lines(self) -> list[str]:
        """Lines without blanks around them, empty lines and ``#`` comments left out."""
        stripped = (line.strip() for line in self.text.splitlines())
        return [line for line in stripped if line and not line.startswith("#")]


def _plain_resolvers() -> dict[str, list[Any]]:
    plain = {f"tag:yaml.org,2002:{kind}" for kind in ("bool", "int", "float", "null")}
    return {
        first: [pair for pair in pairs if pair[0] in plain]
        for first, pairs in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }


class _PlainLoader(yaml.SafeLoader):
    """SafeLoader without dates and merges, and with OpenCV's matrices as mappings."""

    yaml_implicit_resolvers = _plain_resolvers()

    def flatten_mapping(self, node: yaml.MappingNode) -> None:
        """Merge keys stay ordinary keys: chains of them grow without bound."""


def _opencv(loader: yaml.SafeLoader, _suffix: str, node: yaml.Node) -> Any:
    if isinstance(node, yaml.MappingNode):
        return loader.construct_mapping(node, deep=True)
    raise yaml.constructor.ConstructorError(None, None, "an OpenCV matrix is a mapping")


_PlainLoader.add_multi_constructor(_OPENCV_TAG, _opencv)


def _yaml(text: str) -> Any:
    loader = _PlainLoader(text)
    try:
        return loader.get_data() if loader.check_data() else None  # type: ignore[no-untyped-call]
    finally:
        loader.dispose()


def _decode(path: Path, data: bytes) -> str:
    if not data.strip():
        raise InputError(f"{path}: {_TEXT_PROBLEM} an empty file.")
    # Windows tools put a byte order mark; PowerShell's ">" writes UTF-16.
    wide = data.startswith((b"\xff\xfe", b"\xfe\xff"))
    try:
        text = data.decode("utf-16" if wide else "utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: {_TEXT_PROBLEM} binary data.") from error
    if "\0" in text:
        raise InputError(f"{path}: {_TEXT_PROBLEM} binary data.")
    return text
