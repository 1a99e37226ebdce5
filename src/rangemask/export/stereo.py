"""``export_stereo``: a stereo matcher of ours as ``net.onnx`` with its sidecar."""

from __future__ import annotations

import logging
import math
import tempfile
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch

from rangemask._version import __version__
from rangemask.atomic import atomic_file, speaking
from rangemask.backends.protocols import StereoMatcher
from rangemask.backends.registry import load_stereo
from rangemask.backends.stereo.onnx import InputSettings, OutputSettings, Sidecar, load_onnx
from rangemask.backends.stereo.onnx.sidecar import Fit, sidecar_beside
from rangemask.errors import InputError, OutputError
from rangemask.export.graphs import Exportable, exportable
from rangemask.export.parity import Parity, check_parity, random_pair
from rangemask.export.writing import (
    CONFIDENCE,
    DATA_SUFFIX,
    DISPARITY,
    LEFT,
    RIGHT,
    needs_data_file,
    write_onnx,
)
from rangemask.structures import Passport

logger = logging.getLogger(__name__)

LEAST_OPSET = 18
"""Below, torch's exporter has to convert, and often cannot."""


@dataclass(frozen=True, kw_only=True, slots=True)
class StereoExportOptions:
    """How a matcher is exported.

    Raises:
        InputError: a number is impossible.
    """

    height: int
    """Of the network's input."""
    width: int
    iterations: int | None = None
    """Rounds of the refinement; None for as many as the matcher does."""
    fit: Fit = "auto"
    """How pairs of other sizes are brought to this one: ``resize``, ``pad``, or ``auto`` for what
    the matcher does."""
    opset: int = LEAST_OPSET
    """Version of ONNX's operations."""
    data_file: bool | None = None
    """Weights in ``net.onnx.data``; None for that where they are too large for one file."""
    tolerance_px: float = 0.02
    """Largest difference of disparities, torch against onnxruntime, that passes."""
    seed: int = 0
    """Of the pair on which they are compared."""

    def __post_init__(self) -> None:
        for name in ("height", "width"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} must be positive, got {getattr(self, name)}.")
        if self.iterations is not None and self.iterations < 1:
            raise InputError(f"iterations must be 1 or more, got {self.iterations}.")
        if self.opset < LEAST_OPSET:
            raise InputError(f"opset must be {LEAST_OPSET} or more, got {self.opset}.")
        if not (math.isfinite(self.tolerance_px) and self.tolerance_px > 0):
            raise InputError(f"tolerance_px must be positive, got {self.tolerance_px}.")


@dataclass(frozen=True, kw_only=True, slots=True)
class ExportReport:
    """What was written, and how well it agrees."""

    network: Path
    sidecar: Path
    data: Path | None
    """Of weights that lie in a file of their own."""
    height: int
    width: int
    opset: int
    size_bytes: int
    """Of all files."""
    licence: str
    parity: Parity

    def to_dict(self) -> dict[str, Any]:
        """As plain values, for JSON."""
        plain = asdict(self)
        files = {name: plain[name] for name in ("network", "sidecar", "data")}
        return {**plain, **{name: file and str(file) for name, file in files.items()}}


def export_stereo(
    model: str | StereoMatcher,
    output: str | Path,
    options: StereoExportOptions,
    *,
    checkpoint: str | Path | None = None,
    overwrite: bool = False,
    matcher_options: Mapping[str, Any] | None = None,
) -> ExportReport:
    """Export a stereo network at a fixed size, and check it against itself.

    Both images are given as RGB in [0, 255]; disparity (px) and confidence come back. The sidecar
    says so, so that ``load_stereo("onnx:net.onnx")`` runs it. Everything is written, or nothing.

    Args:
        model: ``foundation-stereo``, ``student:PATH``, or a matcher of these on the CPU in
            float32.
        output: the ``.onnx`` file; ``.yaml``, and ``.onnx.data`` where it is needed, go beside it.
        options: size and the like.
        checkpoint: of a model given by name.
        overwrite: replace what is there.
        matcher_options: of a model given by name, such as ``{"max_disparity_px": 192}``.

    Raises:
        InputError: the model cannot be exported, or not at that size; or onnx, onnxscript or
            onnxruntime is not installed.
        ExportError: torch cannot export it, or the export differs by more than is allowed.
        OutputError: files are in the way, or cannot be written.
    """
    target = Path(output).expanduser()
    _check_target(target, overwrite=overwrite)
    matcher = _matcher(model, checkpoint, matcher_options or {})
    ready = exportable(matcher, options.iterations)
    _check_size(options, ready.multiple_px)
    data_file = options.data_file
    if data_file is None:
        data_file = needs_data_file(ready.module)
    sidecar = _sidecar(matcher.passport, options, ready)
    with speaking(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        staging = tempfile.TemporaryDirectory(dir=target.parent, prefix=f".{target.stem}.")
    with staging as folder:
        # Under its own name: a file of weights is looked for under the name it was written with.
        staged = Path(folder) / target.name
        parity = _write(ready, options, staged, sidecar, data_file=data_file)
        return _put_in_place(staged, target, options, sidecar, parity)


def _matcher(
    model: str | StereoMatcher, checkpoint: str | Path | None, options: Mapping[str, Any]
) -> StereoMatcher:
    if not isinstance(model, str):
        if checkpoint is not None or options:
            raise InputError("a matcher that is loaded has its checkpoint and options already.")
        return model
    if model.partition(":")[0] in {"sgbm", "onnx"}:
        raise InputError(f"{model} cannot be exported; foundation-stereo and student:PATH can.")
    return load_stereo(model, checkpoint=checkpoint, device="cpu", precision="float32", **options)


def _check_target(target: Path, *, overwrite: bool) -> None:
    if target.suffix != ".onnx":
        raise InputError(f"{target}: name a file that ends in .onnx.")
    for file in (target, sidecar_beside(target), _data_of(target)):
        if file.is_dir():
            raise OutputError(f"{file}: a folder is in the way.")
        if file.exists() and not overwrite:
            raise OutputError(
                f"{file}: already exists and is kept. Choose another --output, or pass --overwrite."
            )


def _data_of(network: Path) -> Path:
    return network.with_name(network.name + DATA_SUFFIX)


def _check_size(options: StereoExportOptions, multiple: int) -> None:
    size = (options.height, options.width)
    if any(side % multiple for side in size):
        near = " x ".join(str(max(round(side / multiple), 1) * multiple) for side in size)
        raise InputError(
            f"height and width must be multiples of {multiple} px for this network, got "
            f"{size[0]} x {size[1]}; {near} is near. Pairs of other sizes are fitted to it."
        )


def _sidecar(passport: Passport, options: StereoExportOptions, ready: Exportable) -> Sidecar:
    fit = ready.size.fit if options.fit == "auto" else options.fit
    return Sidecar(
        name=passport.model if passport.weights is None else f"{passport.model} {passport.weights}",
        licence=passport.licence,
        licence_class=passport.licence_class,
        inputs=InputSettings(left=LEFT, right=RIGHT),
        size=replace(ready.size, height=options.height, width=options.width, fit=fit),
        output=OutputSettings(disparity=DISPARITY, confidence=CONFIDENCE),
    )


def _write(
    ready: Exportable,
    options: StereoExportOptions,
    staged: Path,
    sidecar: Sidecar,
    *,
    data_file: bool,
) -> Parity:
    """Network and sidecar in the staging folder, and how well they agree with torch."""
    pair = random_pair(options.height, options.width, options.seed)
    shape = (1, 3, options.height, options.width)
    logger.info("export: tracing at %d x %d; this takes minutes for large networks", *shape[2:])
    example = torch.zeros(shape), torch.zeros(shape)
    about = {"licence": sidecar.licence, "made by": f"rangemask {__version__}"}
    with speaking(staged):
        write_onnx(
            *(ready.module, example, staged),
            opset=options.opset,
            data_file=data_file,
            about=about,
        )
        sidecar_beside(staged).write_text(sidecar.to_yaml(), encoding="utf-8")
    return check_parity(ready.module, load_onnx(staged, device="cpu"), pair, options.tolerance_px)


def _put_in_place(
    staged: Path,
    target: Path,
    options: StereoExportOptions,
    sidecar: Sidecar,
    parity: Parity,
) -> ExportReport:
    """Move all files; the network last, so that nobody opens it before the rest is there."""
    data = _data_of(staged)
    has_data = data.is_file()
    size = sum(file.stat().st_size for file in staged.parent.iterdir())
    with speaking(target):
        if has_data:
            data.replace(_data_of(target))
        with atomic_file(sidecar_beside(target)) as file:
            file.write_text(sidecar.to_yaml(), encoding="utf-8")
        staged.replace(target)
        if not has_data:
            _data_of(target).unlink(missing_ok=True)
    return ExportReport(
        network=target,
        sidecar=sidecar_beside(target),
        data=_data_of(target) if has_data else None,
        height=options.height,
        width=options.width,
        opset=options.opset,
        size_bytes=size,
        licence=sidecar.licence,
        parity=parity,
    )
