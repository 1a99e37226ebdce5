"""Filled weights as the authors' files hold them, and networks that several tests share."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from support.golden import HERE, filled_weights

SaveFilled = Callable[[str], Path]


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> Iterator[None]:
    """Several tests run beside each other, and the cores are shared."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def published(tmp_path_factory: pytest.TempPathFactory) -> SaveFilled:
    """``model_best_bp2.pth`` of a size, in a folder of its own, filled by the cases' rule."""
    made: dict[str, Path] = {}

    def save(size: str) -> Path:
        if size not in made:
            keys = HERE / "foundation_stereo" / f"keys_{size}.json"
            counters = json.loads(keys.read_text(encoding="utf-8"))["integer"]
            weights = filled_weights("foundation_stereo", size)
            weights |= {name: torch.zeros((), dtype=torch.long) for name in counters}
            made[size] = tmp_path_factory.mktemp(size) / "model_best_bp2.pth"
            torch.save({"model": weights, "global_step": 0, "epoch": 0}, made[size])
        return made[size]

    return save
