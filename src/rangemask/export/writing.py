"""``torch.onnx`` at work: a module of two images to an ONNX file."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from rangemask.errors import InputError
from rangemask.export.errors import ExportError

LEFT, RIGHT = "left", "right"
DISPARITY, CONFIDENCE = "disparity", "confidence"
DATA_SUFFIX = ".data"
"""Behind ``net.onnx``: the file of weights that are too large for it."""
MOST_BYTES = 1_900_000_000
"""Of weights in the file itself: a protobuf may have 2 GiB, of which the graph takes some."""
_NOISY = ("torch.onnx", "onnxscript", "onnx_ir")


def needs_data_file(module: nn.Module) -> bool:
    """Whether the weights are too large to lie in the ``.onnx`` file itself."""
    tensors = (*module.parameters(), *module.buffers())
    return sum(tensor.nbytes for tensor in tensors) > MOST_BYTES


def write_onnx(
    module: nn.Module,
    pair: tuple[Tensor, Tensor],
    path: Path,
    *,
    opset: int,
    data_file: bool,
    about: Mapping[str, str],
) -> None:
    """Write a module as ONNX, at the size of a pair.

    By ``torch.export`` and the exporter that is built on it (``dynamo=True``). The one by
    TorchScript cannot export DINOv2 here: it makes tensors of sizes, which ``interpolate`` refuses.

    Of onnxscript's optimiser only the folding of constants is used: its rewriting (0.7) gives two
    clips of one value the same bounds, or bounds that are nowhere.

    Args:
        module: left and right image to disparity and confidence.
        pair: (1, 3, H, W) each.
        path: of the ``.onnx`` file.
        opset: version of ONNX's operations.
        data_file: put the weights into ``path`` + ``.data``.
        about: written into the file's metadata.

    Raises:
        InputError: onnx or onnxscript is not installed.
        ExportError: torch cannot export it.
    """
    optimizer = _onnxscript_optimizer()
    with _quiet(), torch.no_grad():
        try:
            program = torch.onnx.export(
                module,
                pair,
                input_names=(LEFT, RIGHT),
                output_names=(DISPARITY, CONFIDENCE),
                opset_version=opset,
                dynamo=True,
                optimize=False,
                verbose=False,
            )
        except Exception as error:  # of torch, of onnxscript, of a network's own checks
            first = (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
            raise ExportError(
                f"torch {torch.__version__} cannot export this network with opset {opset} "
                f"({first}). Try another --opset, or report it."
            ) from error
        assert program is not None  # noqa: S101 - dynamo=True gives one
        optimizer.inline(program.model)
        optimizer.fold_constants(program.model)
        optimizer.remove_unused_nodes(program.model)
        program.model.metadata_props.update(about)
        program.save(path, external_data=data_file)


def _onnxscript_optimizer() -> Any:
    try:
        import onnx
        from onnxscript import optimizer
    except ImportError as error:
        raise InputError(
            f'exporting needs {error.name}, which is not installed: pip install "rangemask[onnx]".'
        ) from error
    del onnx
    return optimizer


@contextmanager
def _quiet() -> Iterator[None]:
    """Without what exporters say to those who write exporters."""
    loggers = [logging.getLogger(name) for name in _NOISY]
    levels = [logger.level for logger in loggers]
    try:
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
