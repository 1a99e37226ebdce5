"""Batches that are known by construction."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from rangemask.training.batch import Batch


@pytest.fixture(autouse=True)
def _seed() -> None:
    torch.manual_seed(0)


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


@pytest.fixture
def make_batch() -> Callable[..., Batch]:
    def make(count: int = 2, height: int = 56, width: int = 56, **labels: object) -> Batch:
        names = tuple(f"frame{index}" for index in range(count))
        return Batch(names=names, images=torch.rand(count, 3, height, width), **labels)  # type: ignore[arg-type]

    return make


@pytest.fixture
def squares() -> tuple[Tensor, ...]:
    """Two frames of 56 x 56: two objects, and one."""
    masks = torch.zeros(3, 56, 56, dtype=torch.bool)
    masks[0, 5:25, 8:30] = True
    masks[1, 30:52, 20:50] = True
    masks[2, 10:40, 30:50] = True
    return masks[:2], masks[2:]
