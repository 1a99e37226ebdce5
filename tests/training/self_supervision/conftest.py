"""A tiny backbone, images that differ in texture, and a configuration that fits both."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest
import torch
from torch import Tensor

from rangemask.models.backbone import Backbone, build_backbone
from rangemask.training.self_supervision.config import (
    AdapterConfig,
    CropConfig,
    DinoAdaptationConfig,
    MaskConfig,
    ProjectionConfig,
)

Configure = Callable[..., DinoAdaptationConfig]


@pytest.fixture(autouse=True, scope="session")
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture
def generator() -> torch.Generator:
    return torch.Generator().manual_seed(0)


@pytest.fixture
def backbone() -> Backbone:
    torch.manual_seed(0)
    return build_backbone("dinov2-nano").eval()


@pytest.fixture
def images() -> Tensor:
    return textured(4, 112)


def textured(count: int, side: int, seed: int = 0) -> Tensor:
    """Noise, smooth, of another coarseness and colour per image."""
    random = torch.Generator().manual_seed(seed)
    made = []
    for index in range(count):
        cells = 3 + 3 * (index % 4)
        noise = torch.rand(1, 3, cells, cells, generator=random)
        made.append(torch.nn.functional.interpolate(noise, size=(side, side), mode="bilinear"))
    return torch.cat(made)


@pytest.fixture(scope="session")
def configure() -> Configure:
    def made(**changes: Any) -> DinoAdaptationConfig:
        config = DinoAdaptationConfig(
            adapters=AdapterConfig(learned="blocks", blocks=2),
            crops=CropConfig(global_px=56, local_px=28, local_views=2),
            masks=MaskConfig(),
            heads=ProjectionConfig(prototypes=64, hidden=48, bottleneck=32),
            head_warmup=0.0,
            frozen_prototypes=0.0,
        )
        return replace(config, **changes)

    return made
