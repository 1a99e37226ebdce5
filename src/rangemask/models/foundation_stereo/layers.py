"""Convolutions with their norms, in two and three dimensions, as the published files name them."""

from __future__ import annotations

from typing import Any, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Conv: TypeAlias = nn.Conv2d | nn.Conv3d | nn.ConvTranspose2d | nn.ConvTranspose3d
Norm: TypeAlias = nn.BatchNorm2d | nn.BatchNorm3d


def instance_norm(features: Tensor) -> Tensor:
    """(B, C, H, W) with mean 0 and variance 1 per image and channel; nothing is learned.

    By hand, since PyTorch's own brings channels-last tensors into another layout and back.
    """
    exact = features.float()
    variance, mean = torch.var_mean(exact, (2, 3), correction=0, keepdim=True)
    return ((exact - mean) * (variance + 1e-5).rsqrt()).to(features.dtype)


def folded(conv: Conv, norm: Norm) -> tuple[Tensor, Tensor]:
    """Weight and bias of a convolution that does the norm's work too."""
    assert norm.running_mean is not None and norm.running_var is not None  # noqa: S101, PT018
    scale = norm.weight * (norm.running_var + norm.eps).rsqrt()
    shift = norm.bias - norm.running_mean * scale
    bias = shift if conv.bias is None else shift + conv.bias * scale
    shape = [1] * conv.weight.ndim
    shape[1 if conv.transposed else 0] = -1
    return conv.weight * scale.view(shape), bias


def convolve(conv: Conv, norm: Norm, features: Tensor) -> Tensor:
    """Convolution and batch norm, as one where the norm's statistics are fixed."""
    if norm.training:
        normed: Tensor = norm(conv(features))
        return normed
    weight, bias = folded(conv, norm)
    return apply_conv(conv, features, weight, bias)


def apply_conv(conv: Conv, features: Tensor, weight: Tensor, bias: Tensor | None) -> Tensor:
    """What ``conv`` does, with another weight and bias."""
    functions: dict[type[nn.Module], Any] = {
        nn.Conv2d: F.conv2d,
        nn.Conv3d: F.conv3d,
        nn.ConvTranspose2d: F.conv_transpose2d,
        nn.ConvTranspose3d: F.conv_transpose3d,
    }
    answer: Tensor = functions[type(conv)](
        features, weight, bias, stride=conv.stride, padding=conv.padding, groups=conv.groups
    )
    return answer


class ConvAct2d(nn.Module):
    """Convolution, instance norm if wanted, leaky ReLU."""

    def __init__(
        self, channels: int, out: int, kernel: int = 3, *, stride: int = 1, norm: bool = True
    ) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, out, kernel, stride, kernel // 2, bias=False)
        self.norm = norm

    def forward(self, features: Tensor) -> Tensor:
        """(B, channels, H, W) to (B, out, H / stride, W / stride)."""
        found = self.conv(features)
        return F.leaky_relu(instance_norm(found) if self.norm else found)


class UpConvAct2d(nn.Module):
    """Transposed convolution to twice the size, instance norm if wanted, leaky ReLU."""

    def __init__(self, channels: int, out: int, *, norm: bool = True) -> None:
        super().__init__()
        self.conv = nn.ConvTranspose2d(channels, out, 4, 2, 1, bias=False)
        self.norm = norm

    def forward(self, features: Tensor) -> Tensor:
        """(B, channels, H, W) to (B, out, 2H, 2W)."""
        found = self.conv(features)
        return F.leaky_relu(instance_norm(found) if self.norm else found)


class ConvBatchAct2d(nn.Module):
    """Convolution, batch norm, leaky ReLU."""

    def __init__(self, channels: int, out: int, kernel: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, out, kernel, padding=kernel // 2, bias=False)
        self.bn = nn.BatchNorm2d(out)

    def forward(self, features: Tensor) -> Tensor:
        """(B, channels, H, W) to (B, out, H, W)."""
        return F.leaky_relu(convolve(self.conv, self.bn, features))


class ConvBatchAct3d(nn.Module):
    """Convolution in three dimensions, batch norm, leaky ReLU."""

    def __init__(self, channels: int, out: int, kernel: int = 3, *, stride: int = 1) -> None:
        super().__init__()
        self.conv = nn.Conv3d(channels, out, kernel, stride, kernel // 2, bias=False)
        self.bn = nn.BatchNorm3d(out)

    def forward(self, volume: Tensor) -> Tensor:
        """(B, channels, D, h, w) to (B, out, D / stride, h / stride, w / stride)."""
        return F.leaky_relu(convolve(self.conv, self.bn, volume))


class UpConvBatchAct3d(nn.Module):
    """Transposed convolution to twice the size, batch norm, leaky ReLU."""

    def __init__(self, channels: int, out: int) -> None:
        super().__init__()
        self.conv = nn.ConvTranspose3d(channels, out, 4, 2, 1, bias=False)
        self.bn = nn.BatchNorm3d(out)

    def forward(self, volume: Tensor) -> Tensor:
        """(B, channels, D, h, w) to (B, out, 2D, 2h, 2w)."""
        return F.leaky_relu(convolve(self.conv, self.bn, volume))


class Residual3d(nn.Module):
    """Two convolutions with batch norms, added to what came in."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv3d(channels, channels, 3, padding=1, bias=False)
        self.bn1 = nn.BatchNorm3d(channels)
        self.conv2 = nn.Conv3d(channels, channels, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm3d(channels)

    def forward(self, volume: Tensor) -> Tensor:
        """(B, C, D, h, w) to the same."""
        change = F.relu(convolve(self.conv1, self.bn1, volume))
        return F.relu(volume + convolve(self.conv2, self.bn2, change))


class Axial(nn.Module):
    """A convolution over the image plane, then one along disparity (paper, section 3.2)."""

    reach = 17

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Sequential(
            nn.Conv3d(channels, channels, (1, 3, 3), padding=(0, 1, 1)), nn.BatchNorm3d(channels)
        )
        along = (self.reach, 1, 1)
        self.conv2 = nn.Sequential(
            nn.Conv3d(channels, channels, along, padding=(self.reach // 2, 0, 0)),
            nn.BatchNorm3d(channels),
        )

    @property
    def across(self) -> tuple[nn.Conv3d, nn.BatchNorm3d]:
        """What looks over the image plane."""
        return _pair(self.conv1)

    @property
    def along(self) -> tuple[nn.Conv3d, nn.BatchNorm3d]:
        """What looks along disparity."""
        return _pair(self.conv2)

    def forward(self, volume: Tensor) -> Tensor:
        """(B, C, D, h, w) to the same."""
        if self.training:
            return F.relu(self.conv2(F.relu(self.conv1(volume))))
        # In two dimensions, which libraries are ten times as fast at.
        batch, planes, height = volume.shape[0], volume.shape[2], volume.shape[3]
        weight, bias = folded(*self.across)
        images = volume.permute(0, 2, 3, 4, 1).flatten(0, 1)
        images = F.relu_(convolve_planes(images, weight[:, :, 0], bias, (1, 1)))
        weight, bias = folded(*self.along)
        strips = images.unflatten(0, (batch, planes)).flatten(2, 3)
        strips = F.relu_(convolve_planes(strips, weight[..., 0], bias, (self.reach // 2, 0)))
        answer: Tensor = strips.unflatten(2, (height, -1)).permute(0, 4, 1, 2, 3)
        return answer


def convolve_planes(
    images: Tensor, weight: Tensor, bias: Tensor | None, padding: tuple[int, ...]
) -> Tensor:
    """A convolution of images (B, H, W, C) whose channels come last, to the same."""
    weight = weight.contiguous(memory_format=torch.channels_last)
    found = F.conv2d(images.permute(0, 3, 1, 2), weight, bias, padding=padding)
    return found.permute(0, 2, 3, 1)


def _pair(half: nn.Sequential) -> tuple[nn.Conv3d, nn.BatchNorm3d]:
    conv, norm = half
    assert isinstance(conv, nn.Conv3d) and isinstance(norm, nn.BatchNorm3d)  # noqa: S101, PT018
    return conv, norm


class Gate(nn.Module):
    """Image features decide, per pixel, how much of each channel of a volume passes."""

    def __init__(self, channels: int, out: int) -> None:
        super().__init__()
        self.feat_att = nn.Sequential(
            ConvBatchAct2d(channels, channels // 2, 1), nn.Conv2d(channels // 2, out, 1)
        )

    def weights(self, features: Tensor) -> Tensor:
        """(B, channels, h, w) to (B, out, h, w) in (0, 1)."""
        found: Tensor = self.feat_att(features)
        return found.sigmoid()

    def forward(self, volume: Tensor, features: Tensor) -> Tensor:
        """(B, out, D, h, w) and (B, channels, h, w) to (B, out, D, h, w)."""
        return self.weights(features)[:, :, None] * volume


class ResidualBatch2d(nn.Module):
    """Two convolutions with batch norms and a shortcut, as in ResNet."""

    def __init__(self, channels: int, out: int, stride: int = 1) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, out, 3, stride, 1)
        self.norm1 = nn.BatchNorm2d(out)
        self.conv2 = nn.Conv2d(out, out, 3, padding=1)
        self.norm2 = nn.BatchNorm2d(out)
        same = stride == 1 and channels == out
        self.downsample = (
            None
            if same
            else nn.Sequential(nn.Conv2d(channels, out, 1, stride), nn.BatchNorm2d(out))
        )

    def forward(self, features: Tensor) -> Tensor:
        """(B, channels, H, W) to (B, out, H / stride, W / stride)."""
        change = F.relu(convolve(self.conv1, self.norm1, features))
        change = F.relu(convolve(self.conv2, self.norm2, change))
        if self.downsample is not None:
            conv, norm = self.downsample
            assert isinstance(conv, nn.Conv2d) and isinstance(norm, nn.BatchNorm2d)  # noqa: S101, PT018
            features = convolve(conv, norm, features)
        return F.relu(features + change)


class ResidualInstance2d(nn.Module):
    """Two convolutions with instance norms, added to what came in.

    Args:
        channels: of both sides.
        bias: of the convolutions.
        active: whether the change passes a ReLU before it is added.
    """

    def __init__(self, channels: int, *, bias: bool, active: bool) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(channels, channels, 3, padding=1, bias=bias)
        self.conv2 = nn.Conv2d(channels, channels, 3, padding=1, bias=bias)
        self.active = active

    def forward(self, features: Tensor) -> Tensor:
        """(B, C, H, W) to the same."""
        change = F.relu(instance_norm(self.conv1(features)))
        change = instance_norm(self.conv2(change))
        return F.relu(features + (F.relu(change) if self.active else change))
