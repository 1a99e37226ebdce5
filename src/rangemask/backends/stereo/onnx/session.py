"""An ONNX file opened with onnxruntime, and words for what it cannot do."""

from __future__ import annotations

import logging
import re
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rangemask.backends.residence import OutOfMemoryError
from rangemask.errors import InputError

logger = logging.getLogger(__name__)

CPU, CUDA = "CPUExecutionProvider", "CUDAExecutionProvider"
DTYPES: Mapping[str, Any] = MappingProxyType(
    {
        "tensor(float)": np.float32,
        "tensor(float16)": np.float16,
        "tensor(double)": np.float64,
        "tensor(uint8)": np.uint8,
    }
)
"""Types that images can be given in."""
DATA_SUFFIXES = (".data", "_data")
"""What exporters put behind ``net.onnx`` for the file of its weights."""
_ERRORS_ONLY = 3
_CUDA = re.compile(r"cuda(?::(\d+))?")
_MEMORY = re.compile(r"allocate memory|out of memory|bad_alloc", re.IGNORECASE)


@dataclass(frozen=True, slots=True, kw_only=True)
class Port:
    """An input or output of a graph."""

    name: str
    shape: tuple[int | None, ...]
    """None where the size is open."""
    kind: str
    """As onnxruntime calls it: ``tensor(float)``."""

    def __str__(self) -> str:
        sizes = " x ".join("?" if size is None else str(size) for size in self.shape)
        return f"{self.name} ({sizes or 'a number'}, {self.kind})"


@dataclass(frozen=True, slots=True, kw_only=True)
class Network:
    """A graph that is ready to run."""

    path: Path
    inputs: tuple[Port, ...]
    outputs: tuple[Port, ...]
    provider: str
    """Where it truly runs: onnxruntime falls back on the CPU without a word."""
    session: Any
    """``onnxruntime.InferenceSession``."""

    def run(self, wanted: Sequence[str], given: Mapping[str, NDArray[Any]]) -> list[NDArray[Any]]:
        """Values of outputs.

        Args:
            wanted: names of outputs.
            given: values of inputs by name.

        Raises:
            InputError: the graph does not take them.
            OutOfMemoryError: memory ran out.
        """
        try:
            return list(self.session.run(list(wanted), dict(given)))
        except Exception as error:  # every kind of its errors is an Exception of its own
            says = _first_words(error)
            if isinstance(error, MemoryError) or _MEMORY.search(str(error)):
                raise OutOfMemoryError(
                    f"{self.path}: memory ran out ({says}). Export the network at a smaller size, "
                    "or use --device cpu."
                ) from error
            raise InputError(
                f"{self.path}: onnxruntime could not run it ({says}). Does its sidecar say what "
                "it takes?"
            ) from error


def find_network(path: str | Path) -> Path:
    """The ``.onnx`` file: ``path`` itself, or the only one in the folder ``path``.

    Raises:
        InputError: nothing is there, it is no ``.onnx``, or a folder holds none or several.
    """
    path = Path(path).expanduser()
    if path.is_dir():
        found = sorted(path.glob("*.onnx"))
        if len(found) != 1:
            names = ", ".join(file.name for file in found[:3])
            what = f"several networks ({names}); name one of them" if found else "no .onnx file"
            raise InputError(f"{path}: holds {what}.")
        return found[0]
    if not path.is_file():
        raise InputError(f"{path}: no such file. Give an exported network: onnx:net.onnx.")
    if path.suffix.lower() != ".onnx":
        raise InputError(
            f"{path}: an exported network ends in .onnx; this ends in {path.suffix or 'nothing'}. "
            "`rangemask export stereo` makes one of a checkpoint."
        )
    return path


def data_files(network: Path) -> tuple[Path, ...]:
    """Files of weights beside a network that are named after it."""
    files = (network.with_name(network.name + suffix) for suffix in DATA_SUFFIXES)
    return tuple(file for file in files if file.is_file())


def open_network(path: Path, device: str = "auto", threads: int | None = None) -> Network:
    """Open a graph where it was asked for.

    Args:
        path: of ``find_network``.
        device: auto, cpu, cuda or cuda:1.
        threads: of the CPU; None for all cores.

    Raises:
        InputError: onnxruntime is missing, the device is not there, or the file cannot be used.
    """
    runtime = _onnxruntime()
    providers = _providers(device, runtime.get_available_providers())
    options = runtime.SessionOptions()
    options.log_severity_level = _ERRORS_ONLY
    if threads is not None:
        options.intra_op_num_threads = threads
    try:
        session = runtime.InferenceSession(str(path), options, providers=providers)
    except Exception as error:  # every kind of its errors is an Exception of its own
        raise InputError(_why_not(path, error, runtime.__version__)) from error
    provider = session.get_providers()[0]
    if provider != CUDA and providers[0] != CPU:
        _fell_back(path, device)
    elif device == "auto" and provider != CUDA and shutil.which("nvidia-smi") is not None:
        logger.warning(
            "onnx: this machine seems to have an NVIDIA GPU, but the onnxruntime that is "
            "installed cannot use it: pip uninstall onnxruntime, then pip install onnxruntime-gpu"
        )
    logger.info("onnx: %s runs on %s", path.name, provider.removesuffix("ExecutionProvider"))
    return Network(
        path=path,
        inputs=tuple(map(_port, session.get_inputs())),
        outputs=tuple(map(_port, session.get_outputs())),
        provider=provider,
        session=session,
    )


def _onnxruntime() -> Any:
    try:
        import onnxruntime
    except ImportError as error:
        raise InputError(
            "the matcher onnx needs onnxruntime, which is not installed: pip install "
            '"rangemask[onnx]" (for NVIDIA GPUs, pip install onnxruntime-gpu instead).'
        ) from error
    return onnxruntime


def _providers(device: str, available: Sequence[str]) -> list[Any]:
    """What onnxruntime is asked for, best first."""
    cuda = _CUDA.fullmatch(device)
    if device == "cpu" or (device == "auto" and CUDA not in available):
        return [CPU]
    if device != "auto" and cuda is None:
        raise InputError(
            f"the matcher onnx runs on auto, cpu, cuda or cuda:1; got device {device!r}."
        )
    if CUDA not in available:
        raise InputError(
            f"device {device!r}: the onnxruntime that is installed knows no CUDA (it has "
            f"{', '.join(available)}). pip uninstall onnxruntime, then pip install "
            "onnxruntime-gpu; or use --device cpu."
        )
    index = cuda[1] if cuda is not None and cuda[1] else "0"
    return [(CUDA, {"device_id": index}), CPU]


def _fell_back(path: Path, device: str) -> None:
    words = (
        "onnxruntime could not start CUDA and fell back on the CPU. Do its CUDA and cuDNN fit "
        "(onnxruntime.ai, CUDA execution provider)?"
    )
    if device != "auto":
        raise InputError(f"{path}: device {device!r}: {words}")
    logger.warning("onnx: %s", words)


def _why_not(path: Path, error: Exception, version: str) -> str:
    """What onnxruntime's refusal means for a person."""
    says = str(error)
    if re.search(r"external data", says, re.IGNORECASE):
        return (
            f"{path}: its weights lie in a file of their own that is missing, cut off or of "
            f"another network: {_after(says, 'Error:')}. Copy it beside {path.name}, under the "
            "name that it was exported with."
        )
    if re.search(r"released onnx opset|unsupported model ir version", says, re.IGNORECASE):
        return (
            f"{path}: was exported for a later ONNX than onnxruntime {version} knows "
            f"({_first_words(error)}). Update onnxruntime, or export with a lower opset."
        )
    if re.search(r"no op registered|not a registered function", says, re.IGNORECASE):
        return (
            f"{path}: has an operation that onnxruntime {version} does not know "
            f"({_first_words(error)}). Networks with plugins of TensorRT run there only; export "
            "it without them."
        )
    if re.search(r"protobuf", says, re.IGNORECASE):
        return f"{path}: is no ONNX file, or a damaged one ({path.stat().st_size} bytes)."
    return f"{path}: onnxruntime {version} cannot use it ({_first_words(error)})."


def _first_words(error: BaseException) -> str:
    """The end of the first line, where onnxruntime says what is wrong after where it is."""
    text = str(error).strip()
    return (text.splitlines()[0] if text else type(error).__name__)[-300:]


def _after(text: str, mark: str) -> str:
    return text.rpartition(mark)[2].strip()[-300:]


def _port(value: Any) -> Port:
    shape = tuple(size if isinstance(size, int) and size > 0 else None for size in value.shape)
    return Port(name=value.name, shape=shape, kind=value.type)
