"""Checkpoints that cannot be read without running code, once and on purpose, to safetensors."""

from __future__ import annotations

import logging
import warnings
from collections.abc import Collection
from pathlib import Path

import torch
from safetensors.torch import save_file
from torch import Tensor

from rangemask.errors import InputError
from rangemask.models.weights import find_weights, read_weights, tensors_of

logger = logging.getLogger(__name__)

ENDING = ".safetensors"


def convert_checkpoint(
    source: str | Path,
    target: str | Path,
    *,
    trust_pickle: bool = False,
    inert: Collection[str] = (),
) -> int:
    """Write the tensors of a checkpoint, and nothing else of it, as safetensors.

    Args:
        source: any checkpoint that ``read_weights`` knows, or a pickle that it refuses.
        target: what is written.
        trust_pickle: where reading safely is refused, unpickle: whatever the file wants to have
            run is run, with the rights of this process.
        inert: as for ``read_weights``.

    Returns:
        the number of tensors.

    Raises:
        InputError: the source cannot be read, or not without running code and that was not
            asked for.
    """
    file = find_weights(source)
    try:
        tensors = read_weights(file, inert=inert)
    except InputError as error:
        if not trust_pickle:
            raise
        logger.warning("%s", error)
        logger.warning("%s: trusted, as you asked: it is unpickled, and may run code", file)
        tensors = _unpickled(file)
    # Names of one tensor are written one by one: safetensors keeps no aliases.
    save_file({name: value.contiguous().clone() for name, value in tensors.items()}, target)
    return len(tensors)


def _unpickled(file: Path) -> dict[str, Tensor]:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            content = torch.load(file, map_location="cpu", weights_only=False)
    except Exception as error:  # whatever the code of somebody else raises
        raise InputError(
            f"{file}: cannot be unpickled ({type(error).__name__}: {str(error)[:150]}). What it "
            "was written with has to be installed, in its version."
        ) from error
    return tensors_of(content, file)
