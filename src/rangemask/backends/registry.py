"""Names of models, and what builds each; nothing is imported before it is asked for."""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, Literal, TypeAlias

from rangemask.backends.options import LoadOptions
from rangemask.backends.protocols import DepthModel, Segmenter, StereoMatcher
from rangemask.errors import UnknownNameError

Role: TypeAlias = Literal["stereo", "depth", "masks"]


BUILDERS: Mapping[Role, Mapping[str, str]] = MappingProxyType(
    {
        "stereo": {"sgbm": "rangemask.backends.stereo.sgbm:build"},
        "depth": {},
        "masks": {"geometry": "rangemask.backends.masks.geometry:build"},
    }
)
"""Per role: name -> ``module:function``, called as ``function(LoadOptions, **options)``."""


def names(role: Role) -> tuple[str, ...]:
    """The models that can be loaded in a role."""
    return tuple(BUILDERS[role])


def load_stereo(
    name: str,
    *,
    checkpoint: str | None = None,
    device: str = "auto",
    precision: str = "auto",
    **options: Any,
) -> StereoMatcher:
    """Load a stereo matcher by name.

    Args:
        name: ``sgbm``.
        checkpoint: weights; ``sgbm`` has none.
        device: where a network runs.
        precision: what a network computes in.
        **options: the model's own, such as ``quality="best", fill=True``.

    Raises:
        UnknownNameError: nothing has that name.
        InputError: an option is unknown or impossible.
    """
    given = LoadOptions(checkpoint=checkpoint, device=device, precision=precision)
    matcher: StereoMatcher = _build("stereo", name, given, options)
    return matcher


def load_depth(
    name: str,
    *,
    checkpoint: str | None = None,
    device: str = "auto",
    precision: str = "auto",
    **options: Any,
) -> DepthModel:
    """Load a monocular depth model by name; arguments as in ``load_stereo``.

    Raises:
        UnknownNameError: nothing has that name.
        InputError: an option is unknown or impossible.
    """
    given = LoadOptions(checkpoint=checkpoint, device=device, precision=precision)
    model: DepthModel = _build("depth", name, given, options)
    return model


def load_masks(
    name: str,
    *,
    checkpoint: str | None = None,
    device: str = "auto",
    precision: str = "auto",
    **options: Any,
) -> Segmenter:
    """Load a segmenter by name (``geometry``); arguments as in ``load_stereo``.

    Raises:
        UnknownNameError: nothing has that name.
        InputError: an option is unknown or impossible.
    """
    given = LoadOptions(checkpoint=checkpoint, device=device, precision=precision)
    segmenter: Segmenter = _build("masks", name, given, options)
    return segmenter


def _build(role: Role, name: str, given: LoadOptions, options: Mapping[str, Any]) -> Any:
    known = BUILDERS[role]
    if name not in known:
        raise UnknownNameError(_unknown(role, name, tuple(known)))
    module, _, function = known[name].partition(":")
    return getattr(importlib.import_module(module), function)(given, **options)


def _unknown(role: Role, name: str, known: tuple[str, ...]) -> str:
    if not known:
        return f"no {role} model {name!r}: this version has none that can be loaded by name."
    close = difflib.get_close_matches(name, known, n=1)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    return f"no {role} model {name!r}; known: {', '.join(known)}.{hint}"
