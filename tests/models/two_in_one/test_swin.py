"""The authors' whole network: their file in, their numbers out."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from rangemask.errors import InputError
from rangemask.models.two_in_one import (
    SwinEncoder,
    TwoInOne,
    TwoInOneConfig,
    build_two_in_one,
    load_published,
)
from support.golden import filled_weights
from support.two_in_one import case, error, tiny_network

BOUND = 1e-4


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """As its authors distribute it."""
    weights = filled_weights("tio_depth", "full_swin", int(case("full_swin_64x128")["seed"]))
    tables = {"0.layers.0.blocks.0.attn.relative_position_index": torch.zeros(2, dtype=torch.long)}
    path = tmp_path_factory.mktemp("published") / "model.pth"
    torch.save({"model_params": {**weights, **tables}, "epoch": 50}, path)
    return path


@pytest.fixture(scope="module")
def network(checkpoint: Path) -> TwoInOne:
    model = build_two_in_one(TwoInOneConfig(encoder="swin-t")).eval()
    load_published(model, checkpoint)
    return model


def test_published_numbers(network: TwoInOne) -> None:
    values = case("full_swin_64x128")
    left, right = (torch.from_numpy(values[f"image_{side}"]).float() / 255 for side in "so")
    with torch.inference_mode():
        for level, found in enumerate(network.encoder(left)):
            assert tuple(found.shape) == tuple(values[f"feat_shape_{level}"])
            assert error(found[:, ::8, ::2, ::2], values[f"feat_slice_{level}"]) < BOUND
        assert error(network(left, path="mono").disparity, values["mono_disp_s"]) < BOUND
        assert error(network(left).disparity, values["refine_disp_s"]) < BOUND
        assert error(network(left, right).disparity, values["stereo_disp_s"]) < BOUND
    (source,) = network.card.sources
    assert (source.name, source.licence, source.terms) == ("TiO-Depth", "Apache-2.0", "unknown")


def test_sizes_are_the_published_ones(network: TwoInOne) -> None:
    count = sum(parameter.numel() for parameter in network.parameters())
    running = sum(v.numel() for n, v in network.named_buffers() if "running" in n)
    assert round((count + running) / 1e6, 2) == 35.74


def test_it_compiles_and_takes_half_precision(network: TwoInOne) -> None:
    images = torch.rand(1, 3, 64, 96, generator=torch.Generator().manual_seed(0))
    torch.compiler.reset()
    compiled: Any = torch.compile(network.encoder, fullgraph=True, backend="eager")
    with torch.inference_mode():
        expected = network.encoder(images)
        torch.testing.assert_close(compiled(images), expected)
        with torch.autocast("cpu", dtype=torch.bfloat16):
            found = network.encoder(images)
    for half, full in zip(found, expected, strict=True):
        assert (half.float() - full).abs().mean() < 0.02 * full.abs().mean()


def test_a_gradient_reaches_every_parameter() -> None:
    torch.manual_seed(0)
    encoder = SwinEncoder().eval()
    total = torch.stack([found.square().mean() for found in encoder(torch.rand(1, 3, 32, 48))])
    (total * torch.randn(4)).sum().backward()
    for name, parameter in encoder.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
    assert np.isfinite(float(total.detach().sum()))


def test_other_networks_and_files_are_refused(checkpoint: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"network with encoder=swin-t; into another one"):
        load_published(tiny_network(), checkpoint)
    torch.save({"1._convs.0.x": torch.ones(1)}, tmp_path / "a.pth")
    with pytest.raises(InputError, match=r"these are not the weights of TiO-Depth's Swin-T"):
        load_published(build_two_in_one(TwoInOneConfig(encoder="swin-t")), tmp_path / "a.pth")
