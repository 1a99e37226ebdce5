"""The sidecar of an ONNX file: what the graph cannot say of itself, in a small YAML file."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal, TypeAlias

import yaml

from rangemask.errors import InputError
from rangemask.models.plain import from_plain
from rangemask.structures.passport import LicenceClass

Channels: TypeAlias = Literal["rgb", "bgr", "grey"]
Fit: TypeAlias = Literal["auto", "resize", "pad"]

VERSION = 1
SUFFIX = ".yaml"
_MOST_BYTES = 1 << 20
_COLOURS = 3


@dataclass(frozen=True, kw_only=True, slots=True)
class InputSettings:
    """How images become the two inputs.

    A value is ``pixel / 255 * white``, then ``(value - mean) / std``.

    Raises:
        InputError: a number is impossible, or the two names are one.
    """

    left: str | None = None
    """Name of the input for the left image; None where names tell it by themselves."""
    right: str | None = None
    channels: Channels = "rgb"
    layout: Literal["nchw", "nhwc"] = "nchw"
    white: float = 255.0
    """What a pixel of 255 becomes before mean and std: 255 or 1."""
    mean: tuple[float, ...] = (0.0,)
    """Per channel as they are given to the network, or one for all."""
    std: tuple[float, ...] = (1.0,)

    def __post_init__(self) -> None:
        if self.left is not None and self.left == self.right:
            raise InputError(f"inputs.left and inputs.right are both {self.left!r}.")
        if not (math.isfinite(self.white) and self.white > 0):
            raise InputError(f"inputs.white must be positive, such as 255 or 1, got {self.white}.")
        allowed = {1, self.count}
        for name, values in (("mean", self.mean), ("std", self.std)):
            if len(values) not in allowed or not all(map(math.isfinite, values)):
                counts = " or ".join(str(count) for count in sorted(allowed))
                raise InputError(
                    f"inputs.{name} must be {counts} finite numbers, got {list(values)}."
                )
        if min(self.std) <= 0:
            raise InputError(f"inputs.std must be positive, got {list(self.std)}.")

    @property
    def count(self) -> int:
        """Channels of an image."""
        return 1 if self.channels == "grey" else _COLOURS

    @property
    def plain(self) -> bool:
        """Whether pixels are given as they are."""
        return self.white == 255 and not any(self.mean) and set(self.std) == {1.0}


@dataclass(frozen=True, kw_only=True, slots=True)
class SizeSettings:
    """How a pair is brought to a size that the network takes.

    Raises:
        InputError: a size is not positive.
    """

    height: int | None = None
    """Of the network's input; None for what the graph says, and if that is open, any."""
    width: int | None = None
    multiple: int = 32
    """What sides must be a multiple of where they are open."""
    fit: Fit = "auto"
    """``resize`` stretches to the size; ``pad`` shrinks what is larger, keeps its shape, and adds
    pixels. ``auto`` resizes to fixed sizes and pads to open ones."""
    interpolation: Literal["linear", "cubic", "area"] = "linear"
    """Of images that are resized."""
    horizontal: Literal["left", "right", "both"] = "both"
    """Where columns are added: an odd one goes right."""
    vertical: Literal["top", "bottom", "both"] = "both"
    """Where rows are added: an odd one goes below."""
    padding: Literal["edge", "black", "zero"] = "edge"
    """What is added: the border again, black pixels, or zeros after ``mean`` and ``std``."""
    least_px: int = 32
    """Shortest side of a pair that the network can do something with."""

    def __post_init__(self) -> None:
        for name in ("height", "width", "multiple", "least_px"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise InputError(f"size.{name} must be positive, got {value}.")


@dataclass(frozen=True, kw_only=True, slots=True)
class OutputSettings:
    """What the outputs mean.

    Raises:
        InputError: the scale is 0 or not finite, or the two names are one.
    """

    disparity: str | None = None
    """Name of the output with the disparity; None for the only one."""
    confidence: str | None = None
    """Name of the output with a confidence in [0, 1], if there is one."""
    scale: float = 1.0
    """Output times this is the disparity, positive; -1 for networks that give a flow."""
    unit: Literal["px", "width"] = "px"
    """Of the disparity: pixels of the network's input, or shares of its width."""

    def __post_init__(self) -> None:
        if not math.isfinite(self.scale) or self.scale == 0:
            raise InputError(f"output.scale must be a number other than 0, got {self.scale}.")
        if self.disparity is not None and self.disparity == self.confidence:
            raise InputError(f"output.disparity and output.confidence are both {self.disparity!r}.")


@dataclass(frozen=True, kw_only=True, slots=True)
class Sidecar:
    """What a sidecar says; its defaults are what is taken where there is none.

    Raises:
        InputError: it is of a later version.
    """

    version: int = VERSION
    """Of this format."""
    name: str | None = None
    """What the network is called, for provenance; the file's name without."""
    licence: str = "unknown"
    """Of the weights."""
    licence_class: LicenceClass = "unknown"
    inputs: InputSettings = field(default_factory=InputSettings)
    size: SizeSettings = field(default_factory=SizeSettings)
    output: OutputSettings = field(default_factory=OutputSettings)

    def __post_init__(self) -> None:
        if self.version != VERSION:
            raise InputError(
                f"version must be {VERSION}, got {self.version}: a sidecar of a later rangemask."
            )

    def to_yaml(self) -> str:
        """As the file holds it."""
        return str(yaml.safe_dump(_plain(asdict(self)), sort_keys=False, allow_unicode=True))


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _plain(entry) for name, entry in value.items() if entry is not None}
    return list(value) if isinstance(value, tuple) else value


def sidecar_beside(network: Path) -> Path:
    """Where the sidecar of a network lies: ``net.yaml`` beside ``net.onnx``."""
    return network.with_suffix(SUFFIX)


def read_sidecar(file: Path) -> Sidecar:
    """A sidecar, checked.

    Raises:
        InputError: it cannot be read, holds what is unknown, or holds what is impossible.
    """
    try:
        if file.stat().st_size > _MOST_BYTES:
            raise InputError(f"{file}: is too large for a sidecar.")
        values = yaml.safe_load(file.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        first = str(error).splitlines()[0]
        raise InputError(
            f"{file}: cannot be read as YAML ({first}). It says how images are given to the "
            "network beside it; docs/onnx.md shows one."
        ) from error
    try:
        sidecar: Sidecar = from_plain(Sidecar, {} if values is None else values, "the sidecar")
    except InputError as error:
        raise InputError(f"{file}: {error} docs/onnx.md lists all settings.") from error
    return sidecar


def template(inputs: Sequence[str], outputs: Sequence[str]) -> str:
    """A sidecar to copy, for a network with these names; what it guesses is to be checked."""
    left, right = inputs
    lines = (
        "licence: unknown",
        "inputs:",
        f"  left: {_quoted(left)}",
        f"  right: {_quoted(right)}",
        "  channels: rgb   # or bgr, grey",
        "  white: 255      # or 1: images in 0..1",
        "  mean: [0, 0, 0]",
        "  std: [1, 1, 1]",
        "output:",
        f"  disparity: {_quoted(outputs[0])}",
        "  scale: 1        # or -1: a flow",
    )
    return "\n".join(lines)


def _quoted(name: str) -> str:
    return str(yaml.safe_dump(name, default_style='"')).strip()
