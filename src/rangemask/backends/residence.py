"""Several networks on one small GPU: they take turns, and those that do not fit wait in RAM."""

from __future__ import annotations

import logging
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Protocol, TypeVar, runtime_checkable

from rangemask.errors import InputError, RangemaskError

logger = logging.getLogger(__name__)

_Answer = TypeVar("_Answer")
_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}
_BINARY = {"k": 2**10, "m": 2**20, "g": 2**30, "t": 2**40}
_AMOUNT = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([kmgt]?)(i?)b?\s*", re.IGNORECASE)


class OutOfMemoryError(RangemaskError):
    """A network does not fit, alone as it is; says which options lower its need."""


@runtime_checkable
class HasNetworks(Protocol):
    """A model that knows its networks, so that they can be moved."""

    @property
    def networks(self) -> Sequence[Any]:
        """Its ``nn.Module``s."""
        ...


@runtime_checkable
class PlansMemory(Protocol):
    """A model that can keep to a budget by itself, before it works."""

    def plan_within(self, budget_bytes: int, taken_bytes: int = 0) -> None:
        """Keep to a budget, of which others hold a part that they cannot give up."""
        ...


class Meter(Protocol):
    """What measures and frees a device's memory."""

    def start(self, device: Any) -> int:
        """Begin to look for the peak; gives the bytes that are allocated now."""
        ...

    def peak_bytes(self, device: Any) -> int:
        """Most that was allocated since."""
        ...

    def free(self) -> None:
        """Give back what is held for later."""
        ...


class CudaMeter:
    """PyTorch's own count of a CUDA device."""

    def start(self, device: Any) -> int:
        """Begin to look for the peak; gives the bytes that are allocated now."""
        import torch

        torch.cuda.reset_peak_memory_stats(device)
        return int(torch.cuda.memory_allocated(device))

    def peak_bytes(self, device: Any) -> int:
        """Most that was allocated since."""
        import torch

        return int(torch.cuda.max_memory_allocated(device))

    def free(self) -> None:
        """Give back what is held for later."""
        import torch

        torch.cuda.empty_cache()


class Residence:
    """Who is on the GPU.

    What a model needs is measured the first time that it is asked; for that, with a budget, it has
    the GPU to itself. From then on the others stay as far as the budget reaches. Models on other
    devices than CUDA are left alone: an Apple GPU has no memory of its own to make room in.

    A model that plans its memory is told the budget on any device. On CUDA all of it is its own,
    since the others make room; elsewhere their weights stay where they are, and count.

    Args:
        budget: bytes, or text such as "6GB", that weights and intermediate results may take
            together; None for all that there is.
        meter: of the memory.

    Raises:
        InputError: the budget is no amount of memory.
    """

    def __init__(self, budget: int | str | None = None, meter: Meter | None = None) -> None:
        self.budget_bytes = None if budget is None else parse_bytes(budget)
        self._meter: Meter = meter if meter is not None else CudaMeter()
        self._homes: dict[int, Any] = {}
        self._networks: dict[int, Any] = {}
        self._needs: dict[int, int] = {}
        self._said: set[int] = set()
        self._settled: dict[int, Any] = {}

    def admit(self, model: object) -> None:
        """Let a model that was just loaded wait in RAM until it is asked, if there is a budget."""
        if self.budget_bytes is None:
            return
        self._park(list(self._of(model)))
        self._settle(model)
        self._tell(model)

    def ask(self, model: object, call: Callable[[], _Answer]) -> _Answer:
        """Let a model work, with room for it.

        Where memory runs out all the same, everybody else makes room and it tries once more.

        Raises:
            OutOfMemoryError: it does not fit alone either.
        """
        self._tell(model)
        try:
            with self._using(model):
                return call()
        except (RuntimeError, OutOfMemoryError) as error:
            hopeless = isinstance(error, OutOfMemoryError) and not self._of(model)
            if not is_out_of_memory(error) or hopeless:
                raise
        logger.warning("memory ran out: the other models make room, and it is tried once more")
        self._park([one for one in self._networks if one not in self._of(model)])
        try:
            with self._using(model):
                return call()
        except RuntimeError as error:
            if not is_out_of_memory(error):
                raise
            raise OutOfMemoryError(
                f"the device's memory does not suffice ({str(error).splitlines()[0][:200]}). Use "
                "smaller images, --precision bfloat16 (or float16), a smaller model, or --device "
                "cpu."
            ) from error

    def _settle(self, model: object) -> None:
        """Remember networks that are never moved."""
        for network in model.networks if isinstance(model, HasNetworks) else ():
            if id(network) not in self._homes:
                self._settled[id(network)] = network

    def _tell(self, model: object) -> None:
        if self.budget_bytes is None or not isinstance(model, PlansMemory):
            return
        own = {id(one) for one in (model.networks if isinstance(model, HasNetworks) else ())}
        taken = 0
        if own & self._settled.keys():
            others = (one for key, one in self._settled.items() if key not in own)
            taken = sum(_bytes_of(one) for one in others)
        model.plan_within(self.budget_bytes, taken)

    @contextmanager
    def _using(self, model: object) -> Iterator[None]:
        mine = self._of(model)
        if not mine:
            yield
            return
        home = next(iter(mine.values()))
        self._make_room(model, mine)
        for key in mine:
            self._move(key, self._homes[key])
        others = self._meter.start(home) - sum(_bytes_of(self._networks[key]) for key in mine)
        yield
        need = self._meter.peak_bytes(home) - others
        self._needs[id(model)] = max(need, self._needs.get(id(model), 0))
        self._say_if_above(model)

    def _of(self, model: object) -> dict[int, Any]:
        """Homes of a model's networks that live on a CUDA device; those are remembered."""
        for network in model.networks if isinstance(model, HasNetworks) else ():
            device = _device_of(network)
            if id(network) not in self._homes and device is not None and device.type == "cuda":
                self._homes[id(network)] = device
                self._networks[id(network)] = network
        found = model.networks if isinstance(model, HasNetworks) else ()
        return {id(one): self._homes[id(one)] for one in found if id(one) in self._homes}

    def _make_room(self, model: object, mine: dict[int, Any]) -> None:
        if self.budget_bytes is None:
            return
        others = [key for key in self._networks if key not in mine and self._is_home(key)]
        need = self._needs.get(id(model))
        if need is None:
            self._park(others)
            return
        room = self.budget_bytes - need - self._resident_bytes(without=mine)
        parked = []
        for key in sorted(others, key=lambda key: -_bytes_of(self._networks[key])):
            if room >= 0:
                break
            parked.append(key)
            room += _bytes_of(self._networks[key])
        self._park(parked)

    def _park(self, keys: Sequence[int]) -> None:
        moved = [key for key in keys if self._is_home(key)]
        for key in moved:
            self._move(key, "cpu")
        if moved:
            self._meter.free()

    def _move(self, key: int, device: Any) -> None:
        if str(_device_of(self._networks[key])) != str(device):
            self._networks[key].to(device)

    def _is_home(self, key: int) -> bool:
        return str(_device_of(self._networks[key])) == str(self._homes[key])

    def _resident_bytes(self, without: dict[int, Any]) -> int:
        return sum(
            _bytes_of(network)
            for key, network in self._networks.items()
            if key not in without and self._is_home(key)
        )

    def _say_if_above(self, model: object) -> None:
        need = self._needs[id(model)]
        if self.budget_bytes is None or need <= self.budget_bytes or id(model) in self._said:
            return
        self._said.add(id(model))
        logger.warning(
            "%s took %.1f GB, more than the memory budget of %.1f GB; smaller images or a lower "
            "precision would lower that",
            *(type(model).__name__, need / 1e9, self.budget_bytes / 1e9),
        )


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error is a device's lack of memory; told without importing torch."""
    return any(kind.__name__ == "OutOfMemoryError" for kind in type(error).__mro__)


def parse_bytes(amount: int | str) -> int:
    """An amount of memory in bytes: 6GB is 6e9, 6GiB 6 x 2^30.

    Raises:
        InputError: it is no positive amount.
    """
    found = _AMOUNT.fullmatch(str(amount))
    units = _BINARY if found is not None and found[3] else _UNITS
    unit = "" if found is None else found[2].lower()
    size = int(float(found[1]) * units[unit]) if found is not None and unit in units else 0
    if size <= 0:
        raise InputError(f"a memory budget is an amount such as 6GB or 5.5GiB, got {amount!r}.")
    return size


def _device_of(network: Any) -> Any:
    first = next(iter(network.parameters()), None)
    return None if first is None else first.device


def _bytes_of(network: Any) -> int:
    tensors = (*network.parameters(), *network.buffers())
    return sum(int(tensor.nbytes) for tensor in tensors)
