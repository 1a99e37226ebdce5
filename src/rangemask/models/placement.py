"""On which device and in which precision a network runs."""

from __future__ import annotations

import torch

from rangemask.errors import InputError

PRECISIONS = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}


def find_device(wanted: str) -> torch.device:
    """The device asked for, or for ``auto`` the best there is: CUDA, then MPS, then the CPU.

    Raises:
        InputError: there is no such device, or it is not on this machine.
    """
    if wanted == "auto":
        best = "mps" if torch.backends.mps.is_available() else "cpu"
        return torch.device("cuda" if torch.cuda.is_available() else best)
    try:
        device = torch.device(wanted)
    except (RuntimeError, TypeError) as error:
        raise InputError(
            f"no device {wanted!r}; expected auto, cpu, cuda, cuda:1 or mps."
        ) from error
    count = {
        "cpu": 1,
        "cuda": torch.cuda.device_count(),
        "mps": int(torch.backends.mps.is_available()),
    }.get(device.type, 0)
    if (device.index or 0) >= count:
        raise InputError(
            f"device {wanted!r} is not there; `rangemask doctor` lists what this machine has, and "
            "auto takes the best of it."
        )
    return device


def find_precision(wanted: str, device: torch.device) -> torch.dtype:
    """The type to compute in; for ``auto`` float16 on CUDA and float32 elsewhere.

    Raises:
        InputError: no precision has that name.
    """
    if wanted == "auto":
        return torch.float16 if device.type == "cuda" else torch.float32
    if wanted not in PRECISIONS:
        raise InputError(f"precision must be one of auto, {', '.join(PRECISIONS)}, got {wanted!r}.")
    return PRECISIONS[wanted]


def splits_heads(device: torch.device, dtype: torch.dtype) -> bool:
    """Whether attention is faster one head at a time; see ``blocks.Attention``."""
    return device.type == "cpu" and dtype == torch.bfloat16
