"""The one place that reads weights: safely, strictly, and with words when it cannot."""

from __future__ import annotations

import hashlib
import pickle
import re
import warnings
import zipfile
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from torch import Tensor, nn

from rangemask.errors import InputError
from rangemask.models.recognise import describe, describe_bytes, is_safetensors, published_name

PICKLED = (".pth", ".pt", ".bin", ".ckpt")
SUFFIXES = (".safetensors", *PICKLED)
IN_FOLDERS = ("model.safetensors", "pytorch_model.bin")
"""Names that a folder's weights may have beside the only file of a kind."""
WRAPPERS = ("state_dict", "model_state_dict", "model_params", "model", "teacher")
"""Entries under which published files hold the weights beside other things."""
SHOWN = 3
"""How many differing entries an error names."""

_HEAD_BYTES = 64
_TORCH = (b"PK", b"\x80\x02")
"""First bytes of what `torch.save` writes: an archive, before 2020 a pickle."""
_FOREIGN = re.compile(r"(?:GLOBAL |<class '|<built-in function |<function )([\w.]+)")
"""In the refusal of torch's unpickler: what the file wanted to have called."""


def find_weights(path: str | Path) -> Path:
    """The file of weights: ``path`` itself, or the one in the folder ``path``.

    Raises:
        InputError: nothing is there, or a folder holds none or several.
    """
    path = Path(path).expanduser()
    if path.is_file():
        if path.suffix.lower() not in SUFFIXES:
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
        found = sorted(file for file in path.iterdir() if file.suffix.lower() in suffixes)
        if len(found) == 1:
            return found[0]
        if found:
            names = ", ".join(file.name for file in found[:SHOWN])
            raise InputError(f"{path}: holds several checkpoints ({names}); name one of them.")
    raise InputError(f"{path}: holds no checkpoint ({', '.join(SUFFIXES)}).")


class _Inert:
    """Stands in for an object that lies beside weights: takes what it is given, does nothing."""

    def __new__(cls, *_: Any) -> _Inert:
        return super().__new__(cls)

    def __init__(self, *_: Any) -> None: ...

    def __setstate__(self, state: Any) -> None: ...


def _stand_ins(names: Collection[str]) -> list[Any]:
    """A class of that name for each; none of them is the true one, so nothing of theirs is run."""
    parts = (name.rpartition(".") for name in names)
    return [type(own, (_Inert,), {"__module__": module}) for module, _, own in parts]


def read_weights(path: str | Path, *, inert: Collection[str] = ()) -> dict[str, Tensor]:
    """The tensors of a checkpoint by name, on the CPU, and nothing else of it.

    Files are mapped into memory where their format allows it: what is not used is not read, and
    the tensors are meant to be copied into a module, not kept.

    Args:
        path: ``.safetensors``, ``.pth``, ``.pt``, ``.bin`` or ``.ckpt``, or a folder with one;
            the content decides, not the name. Pickled files are read with
            ``weights_only=True``: nothing in them is run. Where the weights lie under one of
            ``WRAPPERS``, such as ``state_dict``, those are taken.
        inert: classes and functions, as ``module.name``, that may lie beside the weights, such as
            those of settings. They are replaced by stand-ins that do nothing, never imported.

    Raises:
        InputError: it is not there, damaged, holds no tensors, or wants to run code.
    """
    file = find_weights(path)
    try:
        size = file.stat().st_size
        with file.open("rb") as stream:
            head = stream.read(_HEAD_BYTES)
    except OSError as error:
        raise InputError(f"{file}: cannot be opened ({error.strerror}).") from error
    what = describe_bytes(head)
    if what is not None:
        raise InputError(f"{file}: no checkpoint but {what} ({size} bytes).")
    called_safe = file.suffix.lower() == ".safetensors" and not head.startswith(_TORCH)
    if called_safe or is_safetensors(head, size):
        return _only_tensors(_read_safetensors(file), file)
    return tensors_of(_read_pickle(file, inert), file)


def _read_safetensors(file: Path) -> dict[str, Tensor]:
    try:
        with safe_open(file, framework="pt") as archive:
            return {name: archive.get_tensor(name) for name in archive.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, RuntimeError, ValueError) as error:
        raise _damaged(file, "safetensors", str(error)) from error


def _read_pickle(file: Path, inert: Collection[str]) -> Any:
    try:
        with warnings.catch_warnings(), torch.serialization.safe_globals(_stand_ins(inert)):
            # torch warns of pickle protocols and of TorchScript, and then refuses them.
            warnings.simplefilter("ignore")
            # Only archives can be mapped, and torch takes them for what their name says.
            if zipfile.is_zipfile(file) and file.suffix.lower() in PICKLED:
                return torch.load(file, map_location="cpu", weights_only=True, mmap=True)
            with file.open("rb") as stream:
                return torch.load(stream, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        foreign = _FOREIGN.search(str(error))
        if foreign is None:
            raise _damaged(file, "a PyTorch checkpoint") from error
        what = foreign[1].strip(".")
        raise InputError(
            f"{file}: refused, since reading it would run code: it holds {what} beside or "
            "instead of tensors. Take the file from its authors, or a safetensors file; if it is "
            "yours, save its state dict alone. If you trust whoever wrote it as you would trust a "
            "program of theirs, convert it once: rangemask convert FILE OUT.safetensors "
            "--trust-pickle."
        ) from error
    except Exception as error:  # damaged bytes fail in any way they like
        # What RuntimeError says is meant for people ("unexpected EOF"); KeyError: '101' is not.
        says = str(error) if isinstance(error, RuntimeError) else ""
        raise _damaged(file, "a PyTorch checkpoint", says) from error


def _damaged(file: Path, kind: str, says: str = "") -> InputError:
    first = f": {says.splitlines()[0][:150]}" if says else ""
    return InputError(
        f"{file}: cannot be read as {kind}; its {file.stat().st_size} bytes are damaged, cut off "
        f"or something else{first.rstrip('.')}. Copy or download it again."
    )


def tensors_of(content: Any, file: Path) -> dict[str, Tensor]:
    """The tensors by name of what a pickled checkpoint held, wherever in it they lie.

    Raises:
        InputError: there are none.
    """
    return _only_tensors(_unwrapped(content), file)


def _unwrapped(content: Any) -> Any:
    while isinstance(content, Mapping):
        inner = (content[name] for name in WRAPPERS if isinstance(content.get(name), Mapping))
        weights = next(inner, None)
        if weights is None:
            break
        content = weights
    return content


def _only_tensors(content: Any, file: Path) -> dict[str, Tensor]:
    if not isinstance(content, Mapping):
        raise InputError(
            f"{file}: holds a {type(content).__name__}, expected tensors by name (a state dict)."
        )
    tensors = {
        str(name): value.detach() for name, value in content.items() if isinstance(value, Tensor)
    }
    if not tensors:
        others = ", ".join(str(name) for name in list(content)[:SHOWN])
        found = f"only {others}" if others else "nothing"
        raise InputError(
            f"{file}: holds no tensors but {found}, expected tensors by name (a state dict)."
        )
    return tensors


def load_strictly(
    module: nn.Module,
    weights: Mapping[str, Tensor],
    *,
    name: str,
    source: str | Path,
    device: torch.device | None = None,
) -> None:
    """Copy weights into a module; every entry must be there and fit, and none be left over.

    Args:
        module: takes the weights. It may have been built on ``torch.device("meta")``, which
            costs neither time nor memory; then it gets its memory here.
        weights: by the module's own names; of any floating-point type.
        name: what the module is, for the error.
        source: where the weights came from, for the error.
        device: where a module without memory gets it; None for the CPU.

    Raises:
        InputError: entries are missing, left over, of another shape or of another kind; the
            first are named, and what the file looks like instead. Or they hold NaN.
    """
    state = module.state_dict()
    expected = {entry: tuple(value.shape) for entry, value in state.items()}
    found = {entry: tuple(value.shape) for entry, value in weights.items()}
    if expected != found:
        other = published_name(found)
        # Metric or relative, the entries do not tell.
        same = other is None or other == name.partition("-metric-")[0]
        hint = "" if same else f"; load it as {other}"
        raise InputError(
            f"{source}: these are not the weights of {name}; {_differences(expected, found)}. "
            f"The file looks like {describe(found)}{hint}."
        )
    for entry, value in weights.items():
        _check_values(entry, value, state[entry], source)
    if any(value.is_meta for value in state.values()):
        if any(entry not in state for entry, _ in module.named_buffers()):
            raise TypeError(f"{name} has buffers outside its state dict; build it with memory.")
        module.to_empty(device=device or torch.device("cpu"))
    module.load_state_dict(dict(weights), strict=True)


def _check_values(entry: str, value: Tensor, into: Tensor, source: str | Path) -> None:
    plain = value.layout is torch.strided and not value.is_meta
    if not plain or value.is_floating_point() != into.is_floating_point():
        raise InputError(
            f"{source}: {entry} is of type {value.dtype}, expected plain {into.dtype}. Quantised "
            "and sparse weights cannot be used; take the original ones."
        )
    # `float` hands float32 on, and makes finite what 8-bit types cannot be asked.
    if value.is_floating_point() and not torch.isfinite(value.float()).all():
        raise InputError(f"{source}: {entry} holds NaN or infinite weights; it is damaged.")


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
