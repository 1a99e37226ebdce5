"""Typed settings from plain values, with words for what is wrong."""

from __future__ import annotations

import dataclasses
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import fields
from typing import Any, get_args, get_type_hints

from rangemask.errors import InputError


def from_plain(cls: Any, values: Any, where: str) -> Any:
    """A dataclass, with those inside it, from plain values such as JSON or YAML holds.

    Args:
        cls: the dataclass.
        values: a table; entries that are left out keep their defaults.
        where: what the table is called, for errors.

    Raises:
        InputError: an entry is unknown, of another type, or impossible.
    """
    if not isinstance(values, Mapping):
        raise InputError(f"{where} must be a table of settings, got {values!r}.")
    known = [entry.name for entry in fields(cls)]
    unknown = sorted(set(values) - set(known))
    if unknown:
        raise InputError(f"{where} has no {', '.join(unknown)}; it knows {', '.join(known)}.")
    hints = get_type_hints(cls)
    read = {name: _value(hints[name], value, f"{where}.{name}") for name, value in values.items()}
    try:
        return cls(**read)
    except TypeError as error:
        raise InputError(f"{where}: {error}.") from error


def _value(hint: Any, value: Any, where: str) -> Any:
    """A value of JSON as a field of that type wants it."""
    if hint is Any:
        return value
    options = get_args(hint) if isinstance(hint, types.UnionType) else (hint,)
    if value is None and type(None) in options:
        return None
    kinds = [option for option in options if option is not type(None)]
    if len(kinds) > 1:
        return _one_of(kinds, value, where)
    (kind,) = kinds
    if dataclasses.is_dataclass(kind):
        return from_plain(kind, value, where)
    origin = typing.get_origin(kind)
    if origin is tuple and isinstance(value, Sequence) and not isinstance(value, str):
        (item, *_) = get_args(kind)
        return tuple(_value(item, part, f"{where}[{i}]") for i, part in enumerate(value))
    if origin in {dict, Mapping} and isinstance(value, Mapping):
        (_, item) = get_args(kind)
        return {str(name): _value(item, part, f"{where}.{name}") for name, part in value.items()}
    if kind is float and type(value) is int:
        return float(value)
    if origin is None and isinstance(value, kind) and (kind is bool or type(value) is not bool):
        return value
    if origin is typing.Literal:
        if value in get_args(kind):
            return value
        raise InputError(f"{where} must be one of {', '.join(get_args(kind))}, got {value!r}.")
    raise InputError(f"{where} must be {getattr(kind, '__name__', kind)}, got {value!r}.")


def _one_of(kinds: Sequence[Any], value: Any, where: str) -> Any:
    """A value of a field that takes several types."""
    for kind in kinds:
        try:
            return _value(kind, value, where)
        except InputError:
            continue
    names = " or ".join(getattr(kind, "__name__", str(kind)) for kind in kinds)
    raise InputError(f"{where} must be {names}, got {value!r}.")
