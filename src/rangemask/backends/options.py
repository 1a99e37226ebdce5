"""What every ``load_*`` is given, and how a model's own options become its config."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import TYPE_CHECKING, Any, TypeVar

from rangemask.errors import InputError

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

    _Config = TypeVar("_Config", bound=DataclassInstance)


@dataclass(frozen=True, slots=True, kw_only=True)
class LoadOptions:
    """What every ``load_*`` is given besides the model's own options."""

    name: str = ""
    """What was asked for; one builder may serve several names."""
    checkpoint: str | None = None
    """File or folder of weights; None for the published ones, or for a model without any."""
    device: str = "auto"
    """auto, cpu, cuda, cuda:1 or mps."""
    precision: str = "auto"
    """auto, float32, bfloat16 or float16."""
    shared: dict[str, Any] = field(default_factory=dict)
    """What the models of one pipeline hold together, such as a student that plays two roles."""


MAX_ASPECT = 16
"""Longest side over the shortest that networks take, whose short side becomes about 518 px: 22
thousand patches."""


def check_aspect(height: int, width: int) -> None:
    """Refuse strips, which networks would see at an enormous size.

    Raises:
        InputError: one side is far longer than the other.
    """
    if max(height, width) > MAX_ASPECT * min(height, width):
        raise InputError(
            f"images may be {MAX_ASPECT} times as long as wide, got {width} x {height}. Crop it."
        )


def refuse_weights(name: str, given: LoadOptions) -> None:
    """For models without weights, which run on the CPU.

    Raises:
        InputError: a checkpoint, another device or another precision was asked for.
    """
    if given.checkpoint is not None:
        raise InputError(f"{name} has no weights, but a checkpoint was given: {given.checkpoint}.")
    if given.device not in {"auto", "cpu"}:
        raise InputError(f"{name} runs on the CPU; device {given.device!r} cannot be used.")
    if given.precision not in {"auto", "float32"}:
        raise InputError(f"{name} computes in float32; precision {given.precision!r} is not there.")


def make_config(name: str, config: type[_Config], options: Mapping[str, Any]) -> _Config:
    """A model's config from keyword options.

    Raises:
        InputError: an option is unknown, or its value impossible.
    """
    known = [entry.name for entry in fields(config)]
    unknown = sorted(set(options) - set(known))
    if unknown:
        raise InputError(
            f"{name} has no option {', '.join(map(repr, unknown))}; it knows {', '.join(known)}."
        )
    try:
        return config(**options)
    except (TypeError, ValueError) as error:
        raise InputError(f"{name}: {error}") from error
