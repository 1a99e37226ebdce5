"""Golden cases of TiO-Depth, and a tiny network that learns."""

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from rangemask.models.two_in_one import (
    Decoded,
    Decoder,
    TwoInOne,
    TwoInOneConfig,
    build_two_in_one,
    read_logits,
)
from rangemask.models.two_in_one.levels import disparity_levels
from rangemask.training.two_in_one import PairBatch, PerceptualFeatures
from support.golden import HERE, filled, filled_weights

D2D = 400.9
GOLDEN = HERE / "tio_depth"


def case(name: str) -> dict[str, NDArray[Any]]:
    """A golden case by its name."""
    return dict(np.load(GOLDEN / f"case_{name}.npz"))


def error(found: Tensor, expected: NDArray[Any]) -> float:
    """Largest difference, relative to the largest value."""
    values = found.detach().float().numpy()
    assert values.shape == expected.shape
    return float(np.abs(values - expected).max() / np.abs(expected).max())


def batch_of(values: dict[str, NDArray[Any]], prefix: str = "") -> PairBatch:
    """The pairs of a case."""
    names = ("color_s", "color_o", "color_s_aug", "color_o_aug", "direct", "K", "T")
    *images, direct, k, t = (torch.from_numpy(values[prefix + name]) for name in names)
    return PairBatch(*images, direct, k[:, 0, 0] * t[:, 0, 3].abs())


def levels() -> Tensor:
    """The published ones."""
    return disparity_levels(49, 2, 300, like=torch.zeros(()))


def logits(values: dict[str, NDArray[Any]], name: str) -> Tensor:
    """What stands for the network in a case."""
    ramp = 0.002 * torch.arange(49.0).view(1, -1, 1, 1)
    found = (torch.from_numpy(values[f"logits_{name}"]).float() - 220) / 16 + ramp
    return found.requires_grad_()


def decoded(values: dict[str, NDArray[Any]], name: str) -> Decoded:
    """What these logits say."""
    return read_logits(logits(values, name), levels(), D2D)


def filled_vgg() -> PerceptualFeatures:
    """VGG-19 on the weights of the cases."""
    network = PerceptualFeatures()
    names = network.state_dict()
    network.load_state_dict({name: filled(name, list(names[name].shape), 0) for name in names})
    return network


class Stub(nn.Module):
    """The encoder of ``case_train_iteration``."""

    def __init__(self, gain: float) -> None:
        super().__init__()
        self.gain = gain
        for level, width in enumerate((96, 192, 384, 768)):
            self.add_module(f"proj{level}", nn.Conv2d(3, width, 1))

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        seen = (images - 0.45) / 0.225
        return tuple(
            self.gain * self.get_submodule(f"proj{level}")(F.avg_pool2d(seen, 2 ** (level + 1)))
            for level in range(4)
        )


def stub_network(seed: int, gain: float) -> TwoInOne:
    """The whole network of ``case_train_iteration``."""
    model = TwoInOne(Stub(gain), Decoder())
    names = {name: list(value.shape) for name, value in model.encoder.state_dict().items()}
    weights = {name: filled(f"0.{name}", shape, seed) for name, shape in names.items()}
    model.encoder.load_state_dict(weights)
    model.decoder.load_state_dict(filled_weights("tio_depth", "decoder", seed))
    return model


def tiny_network(seed: int = 0, **options: Any) -> TwoInOne:
    """Small and with nothing at 0, so that everything learns."""
    torch.manual_seed(seed)
    chosen: dict[str, Any] = {
        "encoder_channels": (6, 8, 10, 12),
        "decoder_ch_num": (8, 64, 64, 64),
        "detail_channels": 4,
        "out_ch": 9,
        "max_disp": 24.0,
        "d2d": 30.0,
        **options,
    }
    model = build_two_in_one(TwoInOneConfig(encoder="nano", **chosen))
    for parameter in model.parameters():
        if parameter.ndim > 1 and not parameter.any():
            nn.init.normal_(parameter, std=0.1)
    return model


def shifted_pairs(
    disparity: int = 6, count: int = 2, size: tuple[int, int] = (64, 96)
) -> PairBatch:
    """Smooth noise seen by two cameras, everything at one disparity; left images are targets."""
    random = torch.Generator().manual_seed(5)
    height, width = size
    coarse = torch.rand(count, 3, height // 4, width // 4 + 8, generator=random)
    wide = F.interpolate(coarse, size=(height, width + 32), mode="bilinear")
    left, right = wide[..., :width].clone(), wide[..., disparity : disparity + width].clone()
    return PairBatch(left, right, left, right, torch.ones(count))
