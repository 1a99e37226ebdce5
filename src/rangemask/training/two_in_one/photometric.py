"""How alike two pictures are, and how smooth a disparity map is where its picture is."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.models.vgg import VGG19_Weights, make_layers

from rangemask.errors import InputError
from rangemask.models.weights import load_strictly, read_weights
from rangemask.training.losses.loss import check_shape

logger = logging.getLogger(__name__)

LUMA = (0.299, 0.587, 0.114)
EDGE_RATE = 2.0
"""How fast smoothness is given up at edges of the picture."""
SSIM_SHARE = 0.85
_C1, _C2 = 0.01**2, 0.03**2

_VGG_LAYERS: list[str | int] = [64, 64, "M", 128, 128, "M", 256, 256, 256, 256, "M"]
_VGG_ENDS = (5, 10, 19)
"""After the first, second and third pooling."""


def dissimilarity(first: Tensor, second: Tensor) -> Tensor:
    """(1 - SSIM) / 2 per channel in windows of 3 x 3 px (Wang et al., 2004).

    Args:
        first: (B, C, H, W).
        second: the same.

    Returns:
        (B, C, H, W) in [0, 1].
    """
    check_shape("the second picture", second, first.shape)
    a, b = F.pad(first, (1,) * 4, mode="reflect"), F.pad(second, (1,) * 4, mode="reflect")
    mean_a, mean_b = F.avg_pool2d(a, 3, 1), F.avg_pool2d(b, 3, 1)
    variance_a = F.avg_pool2d(a * a, 3, 1) - mean_a.square()
    variance_b = F.avg_pool2d(b * b, 3, 1) - mean_b.square()
    together = F.avg_pool2d(a * b, 3, 1) - mean_a * mean_b
    above = (2 * mean_a * mean_b + _C1) * (2 * together + _C2)
    below = (mean_a.square() + mean_b.square() + _C1) * (variance_a + variance_b + _C2)
    return ((1 - above / below) / 2).clamp(0, 1)


def photometric_error(found: Tensor, wanted: Tensor) -> Tensor:
    """0.15 mean absolute difference + 0.85 dissimilarity: (B, 3, H, W) twice to (B, 1, H, W)."""
    absolute = (found - wanted).abs().mean(dim=1, keepdim=True)
    structure = dissimilarity(found, wanted).mean(dim=1, keepdim=True)
    return (1 - SSIM_SHARE) * absolute + SSIM_SHARE * structure


def roughness(disparity: Tensor, image: Tensor) -> Tensor:
    """First differences of a disparity map, where the picture's brightness has no edge.

    Edges are second differences of brightness; disparity is not divided by its mean.

    Args:
        disparity: (B, 1, H, W) px.
        image: (B, 3, H, W) in [0, 1].

    Returns:
        (B, 1, H, W).
    """
    weight = image.new_tensor(LUMA).view(1, 3, 1, 1)
    gray = (image * weight).sum(dim=1, keepdim=True)
    d, g = (F.pad(map_, (1,) * 4, mode="replicate") for map_ in (disparity, gray))
    total = torch.zeros_like(disparity)
    for axis, other in ((3, 2), (2, 3)):
        size, across = disparity.shape[axis], disparity.shape[other]
        d_line, g_line = d.narrow(other, 1, across), g.narrow(other, 1, across)
        before, here, after = (d_line.narrow(axis, start, size) for start in range(3))
        slope = (here - before).abs() + (here - after).abs()
        before, here, after = (g_line.narrow(axis, start, size) for start in range(3))
        total = total + slope * torch.exp(-EDGE_RATE * (2 * here - before - after).abs())
    return total


class PerceptualFeatures(nn.Module):
    """VGG-19 (arXiv 1409.1556) up to its third pooling, never trained.

    Its entries are torchvision's, ``features.<n>.*``. As published it is given the images in
    [0, 1] as they are, though it was trained on normalised ones.
    """

    def __init__(self) -> None:
        super().__init__()
        self.features = cast(nn.Sequential, make_layers(_VGG_LAYERS))
        self.requires_grad_(False)

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(B, 3, H, W) to (B, 64, H / 2, W / 2), (B, 128, H / 4, ...), (B, 256, H / 8, ...)."""
        found, start, x = [], 0, images
        for end in _VGG_ENDS:
            x = self.features[start:end](x)
            found.append(x)
            start = end
        return found[0], found[1], found[2]


def perceptual_errors(
    network: PerceptualFeatures, found: Tensor, wanted: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Mean squared differences of features at three depths, each ().

    Args:
        network: frozen.
        found: (B, 3, H, W), gets a gradient.
        wanted: (B, 3, H, W), gets none.
    """
    with torch.no_grad():
        targets = network(wanted)
    first, second, third = (
        (a - b).square().mean() for a, b in zip(network(found), targets, strict=True)
    )
    return first, second, third


def load_perceptual(checkpoint: str | Path | None = None) -> PerceptualFeatures:
    """VGG-19 with ImageNet weights.

    Args:
        checkpoint: torchvision's ``vgg19-dcbb9e9d.pth``, or any file with its entries; None
            downloads it (548 MB), or takes it from torch's cache.

    Raises:
        InputError: it is missing, damaged, another network, or cannot be downloaded.
    """
    source = Path(checkpoint) if checkpoint is not None else _fetch_vgg()
    network = PerceptualFeatures()
    wanted = network.state_dict()
    found = {name: value for name, value in read_weights(source).items() if name in wanted}
    load_strictly(network, found, name="VGG-19", source=source)
    return network


def _fetch_vgg() -> Path:
    url = str(VGG19_Weights.IMAGENET1K_V1.url)
    folder = Path(torch.hub.get_dir()) / "checkpoints"
    target = folder / url.rpartition("/")[2]
    if target.is_file():
        return target
    logger.warning("VGG-19: downloading %s from torchvision (548 MB, trained on ImageNet)", url)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        torch.hub.download_url_to_file(
            url, str(target), hash_prefix=target.stem.rpartition("-")[2], progress=False
        )
    except (OSError, RuntimeError) as error:
        raise InputError(
            f"VGG-19 for the perceptual terms could not be downloaded from {url} "
            f"({type(error).__name__}: {error}). Download it yourself and give its path, or set "
            "loss.mono_perceptual to 0, which leaves these terms out."
        ) from error
    return target
