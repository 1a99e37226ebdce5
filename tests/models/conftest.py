"""Filled weights are made once per run: they are hundreds of megabytes of random numbers."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from support.golden import filled_weights

SaveFilled = Callable[..., Path]


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> Iterator[None]:
    """Tiny networks gain nothing from threads, and lose much when cores are shared."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def filled_checkpoint(tmp_path_factory: pytest.TempPathFactory) -> SaveFilled:
    """A checkpoint as its authors distribute it, filled by the rule of the golden cases."""
    made: dict[tuple[str, str, int], Path] = {}
    folder = tmp_path_factory.mktemp("filled")

    def save(system: str, keys: str, seed: int = 0) -> Path:
        wanted = (system, keys, seed)
        if wanted not in made:
            weights = filled_weights(system, keys, seed)
            if system == "depth_anything_v2":
                # As the cases: without it nearly all of the relative output is 0.
                weights["depth_head.scratch.output_conv2.2.bias"].fill_(0.5)
            made[wanted] = folder / f"{system}_{keys}_{seed}.pth"
            torch.save(weights, made[wanted])
        return made[wanted]

    return save
