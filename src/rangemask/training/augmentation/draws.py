"""Random numbers from generators, so that an example can be made again, and checks of strengths."""

from __future__ import annotations

import math

import numpy as np
import torch

from rangemask.errors import InputError


def generator_of(seed: int, epoch: int, index: int) -> torch.Generator:
    """A generator that depends on these three numbers and nothing else.

    A resumed run and any number of workers thus see the same examples.
    """
    state = np.random.SeedSequence([seed, epoch, index]).generate_state(1, np.uint64)[0]
    # torch takes signed numbers of 64 bits.
    return torch.Generator().manual_seed(int(state) >> 1)


def uniform(generator: torch.Generator, low: float, high: float) -> float:
    """A number from [low, high)."""
    return low + (high - low) * torch.rand((), generator=generator, dtype=torch.float64).item()


def log_uniform(generator: torch.Generator, low: float, high: float) -> float:
    """A factor from [low, high), as likely to double as to halve."""
    return math.exp(uniform(generator, math.log(low), math.log(high)))


def integer(generator: torch.Generator, low: int, high: int) -> int:
    """One of low, ..., high."""
    return int(torch.randint(low, high + 1, (), generator=generator).item())


def happens(generator: torch.Generator, probability: float) -> bool:
    """True that often; one number is drawn in any case."""
    return uniform(generator, 0, 1) < probability


def check_share(owner: object, *names: str) -> None:
    """Fail in words unless these fields lie within [0, 1].

    Raises:
        InputError: one does not.
    """
    for name in names:
        value = getattr(owner, name)
        if not 0 <= value <= 1:
            raise InputError(f"{_of(owner, name)} must lie within [0, 1], got {value}.")


def check_strength(owner: object, *names: str) -> None:
    """Fail in words unless these fields are finite and not negative.

    Raises:
        InputError: one is not.
    """
    for name in names:
        value = getattr(owner, name)
        if not 0 <= value < math.inf:
            raise InputError(f"{_of(owner, name)} must not be negative, got {value}.")


def check_range(owner: object, name: str, *, low: float, high: float = math.inf) -> None:
    """Fail in words unless a field is a pair of numbers, smaller first, within [low, high].

    Raises:
        InputError: it is not.
    """
    value = getattr(owner, name)
    # Written so that NaN fails too.
    if not (len(value) == 2 and low <= value[0] <= value[1] <= high and value[1] < math.inf):
        limit = f"at least {low:g}" if high == math.inf else f"within [{low:g}, {high:g}]"
        raise InputError(
            f"{_of(owner, name)} must be two numbers {limit}, the smaller one first, got {value}."
        )


def _of(owner: object, name: str) -> str:
    return f"{type(owner).__name__}.{name}"
