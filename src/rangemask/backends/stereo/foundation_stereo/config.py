"""Options of ``foundation-stereo``, and the settings that its authors put beside the weights."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import yaml

from rangemask.backends.residence import parse_bytes
from rangemask.errors import InputError
from rangemask.models.foundation_stereo.config import (
    ATTENTION_AXES,
    ITERATIONS,
    MAX_DISPARITY_PX,
    MULTIPLE_PX,
    VARIANTS,
    AttentionAxis,
)

SETTINGS_FILE = "cfg.yaml"
_MOST_BYTES = 1 << 20
_EXPECTED: Mapping[str, Any] = MappingProxyType(
    {
        "hidden_dims": [128, 128, 128],
        "n_gru_layers": 3,
        "corr_levels": 2,
        "corr_radius": 4,
        "n_downsample": 2,
    }
)
"""What the published files say, and this network is."""


@dataclass(frozen=True, kw_only=True, slots=True)
class FoundationStereoOptions:
    """Options of ``foundation-stereo``.

    Raises:
        InputError: a number is impossible.
    """

    iterations: int | None = None
    """Rounds of the refinement; None for what ``cfg.yaml`` says, or 32."""
    scale: float = 1.0
    """Images are resized by it first, at most 1: less memory, farther reach to the near side."""
    hierarchical: bool = False
    """Two passes, the first at half the size; for large images."""
    max_disparity_px: int | None = None
    """Largest disparity of the volume, of images after ``scale``, a multiple of 32; None for what
    ``cfg.yaml`` says, or 416."""
    z_far_m: float | None = None
    """Farther pixels become unknown; needs a rig. None keeps all."""
    memory_budget: int | str | None = None
    """Most memory that it may take, such as ``"6GB"``; None for all that there is."""
    attention: AttentionAxis = "disparity"
    """``heads`` gives the numbers of the published code since June 2025; see
    docs/foundation-stereo.md."""

    def __post_init__(self) -> None:
        if self.iterations is not None and not _counts(self.iterations, 1):
            raise InputError(f"iterations must be 1 or more, got {self.iterations!r}.")
        if not _number(self.scale) or not 0 < self.scale <= 1:
            raise InputError(f"scale must be above 0 and at most 1, got {self.scale!r}.")
        if not isinstance(self.hierarchical, bool):
            raise InputError(f"hierarchical must be True or False, got {self.hierarchical!r}.")
        _check_max_disparity(self.max_disparity_px)
        if self.z_far_m is not None and not (
            _number(self.z_far_m) and 0 < self.z_far_m < float("inf")
        ):
            raise InputError(f"z_far_m must be positive and finite, got {self.z_far_m!r}.")
        if self.memory_budget is not None:
            parse_bytes(self.memory_budget)
        if self.attention not in ATTENTION_AXES:
            raise InputError(
                f"attention must be one of {', '.join(ATTENTION_AXES)}, got {self.attention!r}."
            )

    def completed(self, settings: Mapping[str, Any]) -> FoundationStereoOptions:
        """With what was left open taken from ``cfg.yaml``, or as published."""
        iterations, largest = self.iterations, self.max_disparity_px
        if iterations is None:
            iterations = settings.get("valid_iters", ITERATIONS)
        if largest is None:
            largest = settings.get("max_disp", MAX_DISPARITY_PX)
        return replace(self, iterations=iterations, max_disparity_px=largest)


def _number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _counts(value: object, least: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and value >= least


def _check_max_disparity(value: object) -> None:
    if value is None or (_counts(value, MULTIPLE_PX) and int(str(value)) % MULTIPLE_PX == 0):
        return
    near = ""
    if isinstance(value, int) and value > 0:
        below = max(value // MULTIPLE_PX, 1) * MULTIPLE_PX
        near = f"; {below} and {below + MULTIPLE_PX} are near"
    raise InputError(
        f"max_disparity_px must be a positive multiple of {MULTIPLE_PX}, got {value!r}{near}."
    )


def settings_beside(weights: Path) -> dict[str, Any]:
    """What the authors' ``cfg.yaml`` beside a file of weights says; empty without one.

    Only what matters is returned: ``vit_size`` (None where it is not said), ``max_disp`` and
    ``valid_iters``, each where it is there.

    Raises:
        InputError: the file cannot be read, or it is of another network.
    """
    file = weights.parent / SETTINGS_FILE
    if not file.is_file():
        return {}
    values = _read(file)
    if not isinstance(values, Mapping):
        raise InputError(f"{file}: holds no settings but a {type(values).__name__}.")
    for name, expected in _EXPECTED.items():
        if values.get(name, expected) != expected:
            raise InputError(
                f"{file}: {name} is {values[name]}, and FoundationStereo has {expected}. Take the "
                "file away if it does not belong to the weights."
            )
    vit = values.get("vit_size")
    if vit is not None and vit not in VARIANTS:
        raise InputError(f"{file}: vit_size must be {' or '.join(VARIANTS)}, got {vit!r}.")
    found = {name: values[name] for name in ("max_disp", "valid_iters") if name in values}
    try:
        FoundationStereoOptions(
            iterations=found.get("valid_iters"), max_disparity_px=found.get("max_disp")
        )
    except InputError as error:
        raise InputError(f"{file}: {error}") from error
    return {"vit_size": vit, **found}


def _read(file: Path) -> Any:
    try:
        if file.stat().st_size > _MOST_BYTES:
            raise InputError(f"{file}: is too large for settings; take it away.")
        return yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        first = str(error).splitlines()[0]
        raise InputError(
            f"{file}: cannot be read as YAML ({first}). It is used since it lies beside the "
            "weights; mend it, or take it away."
        ) from error
