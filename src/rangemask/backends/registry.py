"""Names of models, and what builds each; nothing is imported before it is asked for."""

from __future__ import annotations

import difflib
import importlib
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal, TypeAlias

from rangemask.backends.options import LoadOptions
from rangemask.backends.protocols import DepthModel, Segmenter, StereoMatcher, TextDetector
from rangemask.errors import InputError, UnknownNameError

Role: TypeAlias = Literal["stereo", "depth", "masks", "text"]


DEPTH_ANYTHING = tuple(
    f"depth-anything-v2-{size}{kind}"
    for kind in ("", "-metric-indoor", "-metric-outdoor")
    for size in ("small", "base", "large")
)

SAM2 = tuple(f"sam2.1-{size}" for size in ("tiny", "small", "base-plus", "large"))
GROUNDING_DINO = ("grounding-dino-tiny", "grounding-dino-base")

BUILDERS: Mapping[Role, Mapping[str, str]] = MappingProxyType(
    {
        "stereo": {
            "sgbm": "rangemask.backends.stereo.sgbm:build",
            "foundation-stereo": "rangemask.backends.stereo.foundation_stereo:build",
            "onnx": "rangemask.backends.stereo.onnx:build",
            "student": "rangemask.backends.stereo.student:build",
        },
        "depth": {
            **dict.fromkeys(DEPTH_ANYTHING, "rangemask.backends.depth.depth_anything:build"),
            "student": "rangemask.backends.depth.student:build",
        },
        "masks": {
            "geometry": "rangemask.backends.masks.geometry:build",
            **dict.fromkeys(SAM2, "rangemask.backends.masks.sam2:build"),
            "student": "rangemask.backends.masks.student:build",
        },
        "text": dict.fromkeys(GROUNDING_DINO, "rangemask.backends.text.grounding_dino:build"),
    }
)
"""Per role: name -> ``module:function``, called as ``function(LoadOptions, **options)``."""

WITHOUT_WEIGHTS = frozenset({"sgbm", "geometry"})
"""Models that are no networks: device and precision are nothing to them."""

STUDENT = "student"
"""Has no published weights, so it is always asked for as ``student:PATH``."""

WITH_PATH = frozenset({STUDENT, "onnx"})
"""Models that are nothing without a file or folder."""


def names(role: Role) -> tuple[str, ...]:
    """The models that can be loaded in a role."""
    return tuple(BUILDERS[role])


def load_stereo(
    name: str,
    *,
    checkpoint: str | Path | None = None,
    device: str = "auto",
    precision: str = "auto",
    **options: Any,
) -> StereoMatcher:
    """Load a stereo matcher by name.

    Args:
        name: ``sgbm``, ``foundation-stereo``, ``onnx:net.onnx`` for an exported network, or
            ``student:PATH`` for a model of ours.
        checkpoint: file or folder of weights; None downloads the published ones. ``sgbm`` has
            none, and those of ``foundation-stereo`` are handed out by hand only.
        device: where a network runs: auto, cpu, cuda, cuda:1 or mps.
        precision: what a network computes in: auto, float32, bfloat16 or float16.
        **options: the model's own, such as ``quality="best", fill=True``.

    Raises:
        UnknownNameError: nothing has that name.
        InputError: an option is unknown or impossible, or the checkpoint cannot be used.
    """
    matcher: StereoMatcher = load("stereo", name, checkpoint, device, precision, options=options)
    return matcher


def load_depth(
    name: str,
    *,
    checkpoint: str | Path | None = None,
    device: str = "auto",
    precision: str = "auto",
    **options: Any,
) -> DepthModel:
    """Load a monocular depth model by name; other arguments as in ``load_stereo``.

    Args:
        name: ``depth-anything-v2-{small,base,large}`` for relative depth, the same with
            ``-metric-indoor`` or ``-metric-outdoor`` for metres, or ``student:PATH``.
        checkpoint: the authors' ``.pth``, for one.
        device: where the network runs.
        precision: what the network computes in.
        **options: the model's own, such as ``input_size_px=518``.

    Raises:
        UnknownNameError: nothing has that name.
        InputError: an option is unknown or impossible, or the checkpoint cannot be used.
    """
    model: DepthModel = load("depth", name, checkpoint, device, precision, options=options)
    return model


def load_masks(
    name: str,
    *,
    checkpoint: str | Path | None = None,
    device: str = "auto",
    precision: str = "auto",
    **options: Any,
) -> Segmenter:
    """Load a segmenter; other arguments as in ``load_stereo``.

    Args:
        name: ``geometry``, ``sam2.1-{tiny,small,base-plus,large}``, or ``student:PATH``.
        checkpoint: the authors' ``.pt``, for one.
        device: where the network runs.
        precision: what the network computes in.
        **options: the model's own, such as ``points_per_side=16``.

    Raises:
        UnknownNameError: nothing has that name.
        InputError: an option is unknown or impossible, or the checkpoint cannot be used.
    """
    segmenter: Segmenter = load("masks", name, checkpoint, device, precision, options=options)
    return segmenter


def load_text(
    name: str,
    *,
    checkpoint: str | Path | None = None,
    device: str = "auto",
    precision: str = "auto",
    **options: Any,
) -> TextDetector:
    """Load a detector of things by their names; other arguments as in ``load_stereo``.

    Args:
        name: ``grounding-dino-{tiny,base}``.
        checkpoint: a folder of transformers.
        device: where the network runs.
        precision: what the network computes in.
        **options: the model's own, such as ``box_threshold=0.3``.

    Raises:
        UnknownNameError: nothing has that name.
        InputError: an option is unknown or impossible, or the checkpoint cannot be used.
    """
    detector: TextDetector = load("text", name, checkpoint, device, precision, options=options)
    return detector


def load(
    role: Role,
    name: str,
    checkpoint: str | Path | None = None,
    device: str = "auto",
    precision: str = "auto",
    *,
    options: Mapping[str, Any] = MappingProxyType({}),
    shared: dict[str, Any] | None = None,
) -> Any:
    """Load a model in a role; the others of this module are this with a type.

    Args:
        role: stereo, depth, masks or text.
        name: of a model; ``NAME:PATH`` names its checkpoint as well.
        checkpoint: as for ``load_stereo``.
        device: as for ``load_stereo``.
        precision: as for ``load_stereo``.
        options: the model's own.
        shared: given to all models of one pipeline, which keep there what they share.

    Raises:
        UnknownNameError: nothing has that name.
        InputError: an option is unknown or impossible, or the checkpoint cannot be used.
    """
    plain, _, path = name.partition(":")
    if path:
        if checkpoint is not None:
            raise InputError(f"{name} names its checkpoint; do not give {checkpoint} as well.")
        name, checkpoint = plain, path
    known = BUILDERS[role]
    if name not in known:
        raise UnknownNameError(_unknown(role, name, tuple(known)))
    given = LoadOptions(
        name=name,
        checkpoint=None if checkpoint is None else str(checkpoint),
        device=device,
        precision=precision,
        shared={} if shared is None else shared,
    )
    module, _, function = known[name].partition(":")
    return getattr(importlib.import_module(module), function)(given, **options)


def _unknown(role: Role, name: str, known: tuple[str, ...]) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    hint = f" Did you mean {close[0]!r}?" if close else ""
    listed = ", ".join(
        f"{known_name}:PATH" if known_name in WITH_PATH else known_name for known_name in known
    )
    return f"no {role} model {name!r}; known: {listed}.{hint}"
