"""Stereo matcher ``onnx:PATH``: any exported stereo network, through onnxruntime.

How images are given to it is said by a sidecar; docs/onnx.md describes it.
"""

from __future__ import annotations

import hashlib
import logging
from pathlib import Path
from typing import Any

from rangemask.backends.options import LoadOptions, make_config
from rangemask.backends.stereo.onnx.matcher import OnnxMatcher, OnnxOptions
from rangemask.backends.stereo.onnx.session import (
    Network,
    data_files,
    find_network,
    open_network,
)
from rangemask.backends.stereo.onnx.sidecar import (
    InputSettings,
    OutputSettings,
    Sidecar,
    SizeSettings,
    read_sidecar,
    sidecar_beside,
)
from rangemask.errors import InputError
from rangemask.structures import Passport

__all__ = [
    "InputSettings",
    "OnnxMatcher",
    "OnnxOptions",
    "OutputSettings",
    "Sidecar",
    "SizeSettings",
    "build",
    "load_onnx",
    "read_sidecar",
]

logger = logging.getLogger(__name__)

NAME = "onnx"
_PRECISIONS = ("auto", "float32", "bfloat16", "float16")


def build(given: LoadOptions, **options: Any) -> OnnxMatcher:
    """The matcher for the registry.

    Raises:
        InputError: there is no file, it cannot be used, or an option is unknown.
    """
    asked = make_config(NAME, OnnxOptions, options)
    if given.checkpoint is None:
        raise InputError("the matcher onnx is asked for with its file: onnx:net.onnx.")
    if given.precision not in _PRECISIONS:
        raise InputError(
            f"precision must be one of {', '.join(_PRECISIONS)}, got {given.precision!r}."
        )
    if given.precision != "auto":
        logger.warning(
            "onnx: %s computes in the precision that it was exported in; %s is nothing to it",
            *(Path(given.checkpoint).name, given.precision),
        )
    return load_onnx(given.checkpoint, device=given.device, options=asked)


def load_onnx(
    path: str | Path, *, device: str = "auto", options: OnnxOptions | None = None
) -> OnnxMatcher:
    """An exported network as a matcher.

    Args:
        path: ``net.onnx``, or a folder with one; ``net.yaml`` beside it is its sidecar.
        device: auto, cpu, cuda or cuda:1.
        options: another sidecar, threads.

    Raises:
        InputError: a file is missing or damaged, sidecar and graph do not fit, onnxruntime is not
            installed, or the device is not there.
    """
    asked = options if options is not None else OnnxOptions()
    file = find_network(path)
    sidecar = _sidecar_of(file, asked.sidecar)
    network = open_network(file, device, asked.threads)
    passport = _passport(network, sidecar)
    matcher = OnnxMatcher(network, passport, sidecar)
    if passport.licence_class == "research-only":
        logger.warning(
            "%s: these weights (%s) are for research use only, by their licence; so is what they "
            "make",
            *(NAME, file.name),
        )
    return matcher


def _sidecar_of(network: Path, other: str | None) -> Sidecar | None:
    if other is not None:
        return read_sidecar(Path(other).expanduser())
    beside = sidecar_beside(network)
    return read_sidecar(beside) if beside.exists() else None


def _passport(network: Network, sidecar: Sidecar | None) -> Passport:
    """What is written on results; of weights in a file of their own, that file's hash too."""
    said = sidecar if sidecar is not None else Sidecar()
    options: dict[str, str | int | float | bool | None] = {
        "network": said.name or network.path.stem,
        "provider": network.provider.removesuffix("ExecutionProvider"),
        "sidecar": sidecar is not None,
    }
    for file in data_files(network.path):
        options[f"sha256 of {file.name}"] = _sha256(file)
    return Passport(
        role="stereo",
        model=NAME,
        licence=said.licence,
        licence_class=said.licence_class,
        weights=network.path.name,
        weights_sha256=_sha256(network.path),
        options=options,
    )


def _sha256(file: Path) -> str:
    with file.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
