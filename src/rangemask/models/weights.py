"""The one place that reads weights: safely, strictly, and with words when it cannot."""

from __future__ import annotations

import hashlib
import pickle
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from rangemask.errors import InputError
from rangemask.models.recognise import describe

PICKLED = (".pth", ".pt", ".bin", ".ckpt")
SUFFIXES = (".safetensors", *PICKLED)
IN_FOLDERS = ("model.safetensors", "pytorch_model.bin")
"""Names that a folder's weights may have beside the only file of a kind."""
WRAPPERS = ("state_dict", "model", "teacher")
"""Entries under which published files hold the weights beside other things."""
SHOWN = 3
"""How many differing entries an error names."""


def find_weights(path: str | Path) -> Path:
    """The file of weights: ``path`` itself, or the one in the folder ``path``.

    Raises:
        InputError: nothing is there, or a folder holds none or several.
    """
    path = Path(path).expanduser()
    if path.is_file():
        if path.suffix not in SUFFIXES:
            raise InputError(
                f"{path}: a checkpoint ends in {', '.join(SUFFIXES)}; this ends in "
                f"{path.suffix or 'nothing'}."
            )
        return path
    if not path.is_dir():
        raise InputError(f"{path}: no such checkpoint. Give a file or a folder of weights.")
    for name in IN_FOLDERS:
        if (path / name).is_file():
            return path / name
    for suffixes in ((".safetensors",), PICKLED):
        found = sorted(file for file in path.iterdir() if file.suffix in suffixes)
        if len(found) == 1:
            return found[0]
        if found:
            names = ", ".join(file.name for file in found[:SHOWN])
            raise InputError(f"{path}: holds several checkpoints ({names}); name one of them.")
    raise InputError(f"{path}: holds no checkpoint ({', '.join(SUFFIXES)}).")


def read_weights(path: str | Path) -> dict[str, Tensor]:
    """The tensors of a checkpoint by name, on the CPU, and nothing else of it.

    Args:
        path: ``.safetensors``, ``.pth``, ``.pt``, ``.bin`` or ``.ckpt``, or a folder with one.
            Pickled files are read with ``weights_only=True``: nothing in them is run. Where
            the weights lie under ``state_dict``, ``model`` or ``teacher``, those are taken.

    Raises:
        InputError: it is not there, damaged, holds no tensors, or wants to run code.
    """
    file = find_weights(path)
    content: Any = _read_safetensors(file) if file.suffix == ".safetensors" else _read_pickle(file)
    return _only_tensors(_unwrapped(content), file)


def _read_safetensors(file: Path) -> dict[str, Tensor]:
    try:
        return load_file(file)
    except (SafetensorError, OSError) as error:
        raise InputError(
            f"{file}: cannot be read as safetensors; it is damaged or cut off ({error}). "
            "Copy or download it again."
        ) from error


def _read_pickle(file: Path) -> Any:
    try:
        # Files of before 2020 are no zip archives, and only those can be mapped.
        mapped = zipfile.is_zipfile(file)
        return torch.load(file, map_location="cpu", weights_only=True, mmap=mapped)
    except pickle.UnpicklingError as error:
        if "Unsupported" in str(error) or "GLOBAL" in str(error):
            raise InputError(
                f"{file}: refused, since reading it would run code that is not weights. "
                "Take the file from its authors, or a safetensors file. "
                f"({_first_line(error)})"
            ) from error
        raise _damaged(file, error) from error
    except (EOFError, RuntimeError, OSError, KeyError, ValueError, UnicodeDecodeError) as error:
        raise _damaged(file, error) from error


def _damaged(file: Path, error: Exception) -> InputError:
    size = file.stat().st_size
    return InputError(
        f"{file}: cannot be read as a PyTorch checkpoint; its {size} bytes are damaged, cut off "
        f"or something else ({_first_line(error)}). Copy or download it again."
    )


def _first_line(error: Exception) -> str:
    lines = str(error).splitlines() or [type(error).__name__]
    return lines[0][:200]


def _unwrapped(content: Any) -> Any:
    for name in WRAPPERS:
        if isinstance(content, Mapping) and isinstance(content.get(name), Mapping):
            content = content[name]
    return content


def _only_tensors(content: Any, file: Path) -> dict[str, Tensor]:
    if not isinstance(content, Mapping):
        raise InputError(
            f"{file}: holds a {type(content).__name__}, expected tensors by name (a state dict)."
        )
    tensors = {str(name): value for name, value in content.items() if isinstance(value, Tensor)}
    if not tensors:
        raise InputError(f"{file}: holds no tensors, expected a state dict.")
    return tensors


def load_strictly(
    module: nn.Module, weights: Mapping[str, Tensor], *, name: str, source: str | Path
) -> None:
    """Copy weights into a module; every entry must be there and fit, and none be left over.

    Args:
        module: takes the weights.
        weights: by the module's own names.
        name: what the module is, for the error.
        source: where the weights came from, for the error.

    Raises:
        InputError: entries are missing, left over or of another shape; the first are named,
            and what the file looks like instead.
    """
    expected = {entry: tuple(value.shape) for entry, value in module.state_dict().items()}
    found = {entry: tuple(value.shape) for entry, value in weights.items()}
    if expected != found:
        raise InputError(
            f"{source}: these are not the weights of {name}; {_differences(expected, found)}. "
            f"The file looks like {describe(found)}."
        )
    broken = [
        entry
        for entry, value in weights.items()
        if value.is_floating_point() and not torch.isfinite(value).all()
    ]
    if broken:
        raise InputError(f"{source}: {broken[0]} holds NaN or infinite weights; it is damaged.")
    module.load_state_dict(dict(weights), strict=True)


def _differences(
    expected: Mapping[str, tuple[int, ...]], found: Mapping[str, tuple[int, ...]]
) -> str:
    missing = [entry for entry in expected if entry not in found]
    left_over = [entry for entry in found if entry not in expected]
    other = [entry for entry in expected if entry in found and expected[entry] != found[entry]]
    parts = []
    if other:
        shapes = (f"{e} is {list(found[e])}, not {list(expected[e])}" for e in other[:SHOWN])
        parts.append(f"{len(other)} of another shape ({', '.join(shapes)})")
    if missing:
        parts.append(f"{len(missing)} missing ({', '.join(missing[:SHOWN])})")
    if left_over:
        parts.append(f"{len(left_over)} unknown ({', '.join(left_over[:SHOWN])})")
    return f"of {len(expected)} entries {'; '.join(parts)}"


def sha256_of(path: str | Path) -> str:
    """Hex SHA-256 of a file of weights, for provenance."""
    with find_weights(path).open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
