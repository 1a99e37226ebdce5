import pytest
import torch
from torch import Tensor

CHANNELS, PYRAMID = 24, 8


@pytest.fixture(autouse=True)
def _seeded() -> None:
    torch.manual_seed(11)


@pytest.fixture
def features() -> tuple[tuple[Tensor, ...], Tensor]:
    """Tokens of four layers and the finest pyramid level of two images, 5 x 7 patches."""
    return make_features(2, 5, 7)


@pytest.fixture
def make():
    return make_features


def make_features(batch: int, height: int, width: int) -> tuple[tuple[Tensor, ...], Tensor]:
    tokens = tuple(torch.randn(batch, CHANNELS, height, width) for _ in range(4))
    return tokens, torch.randn(batch, PYRAMID, 4 * height, 4 * width)
