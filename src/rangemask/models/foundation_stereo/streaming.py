"""The cost volume piece by piece: the same numbers in a third of the memory, and faster.

One full volume is held, and changed in place; what is computed of it goes from plane to plane (or,
along disparity, from row to row), so that intermediate results are a few planes large. Nothing is
computed twice. Volumes lie in memory as (D, h, w, C), with channels rounded up to what processors
compute at once and an empty plane on either side, which the convolutions read as their padding.

For inference only: gradients need all that is thrown away here. ``Aggregation.forward`` and its
neighbours are the clear version of the same.
"""

from __future__ import annotations

from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rangemask.models.foundation_stereo.aggregation import PATCH, Aggregation
from rangemask.models.foundation_stereo.config import GROUPS
from rangemask.models.foundation_stereo.features import ImageFeatures
from rangemask.models.foundation_stereo.layers import (
    Axial,
    Conv,
    ConvBatchAct3d,
    Norm,
    Residual3d,
    convolve_planes,
    folded,
)
from rangemask.models.foundation_stereo.volume import group_correlation

_ONEDNN_FROM = 20480
LANES = 16
"""What channels are rounded up to: floats in a register of AVX-512."""


class Slabs(NamedTuple):
    """How much of a volume is worked on at a time; less takes less memory."""

    planes: int = 6
    """Disparities."""
    rows: int = 8
    """Of the image at a quarter, where every disparity is needed at once."""


def lanes(channels: int) -> int:
    """Channels of a volume in memory."""
    return -(-channels // LANES) * LANES


def empty_volume(like: Tensor, planes: int, channels: int) -> Tensor:
    """(D + 2, h, w, lanes) of zeros, for a map (1, C, h, w)."""
    height, width = like.shape[-2:]
    return like.new_zeros(planes + 2, height, width, lanes(channels))


def fill_volume(
    stem: nn.Sequential,
    features: tuple[Tensor, Tensor],
    projected: tuple[Tensor, Tensor],
    planes: int,
    slabs: Slabs,
) -> Tensor:
    """The volume after its stem.

    Args:
        stem: of ``corr_stem``.
        features: (1, F, h, w) of the left and the right image.
        projected: (1, P, h, w) of both.
        planes: D.
        slabs: how much at a time.

    Returns:
        (D + 2, h, w, lanes).
    """
    mix, smooth, *residuals = stem
    assert isinstance(mix, nn.Conv3d) and isinstance(smooth, ConvBatchAct3d)  # noqa: S101, PT018
    volume = empty_volume(projected[0], planes, mix.out_channels)
    raw = _Raw(mix, features, projected, planes, slabs)
    weight, bias = _weights(smooth.conv, smooth.bn, volume.shape[-1], volume.shape[-1])
    before = torch.zeros_like(volume[:1])
    done = 0  # planes made of the raw volume
    for first, last in _slices(volume, planes, slabs.planes):
        until = min(last + 1, planes)
        slab = torch.cat((before, raw.planes(done, until), volume[-1:]))[: last - first + 2]
        before, done = slab[-2:], until
        found = _convolved(slab, weight, bias)
        volume[1 + first : 1 + last] = F.leaky_relu_(found)
        del slab, found
    del raw
    for block in residuals:
        assert isinstance(block, Residual3d)  # noqa: S101
        residual_(volume, block, slabs)
    return volume


class _Raw:
    """The raw volume after its first, pointwise convolution, some planes at a time.

    That convolution is a sum over what is correlated, what the left and what the right image say;
    of the last two, one map each is enough, the right one moved along.
    """

    def __init__(
        self,
        mix: nn.Conv3d,
        features: tuple[Tensor, Tensor],
        projected: tuple[Tensor, Tensor],
        planes: int,
        slabs: Slabs,
    ) -> None:
        out = lanes(mix.out_channels)
        weight = F.pad(mix.weight.flatten(1), (0, 0, 0, out - mix.out_channels))
        assert mix.bias is not None  # noqa: S101
        bias = F.pad(mix.bias, (0, out - mix.out_channels))
        own, partner = projected[0].shape[1], projected[1].shape[1]
        of_pair, of_left, of_right = weight.split((GROUPS, own, partner), dim=1)
        self._of_pair = of_pair
        self._left = F.linear(projected[0][0].permute(1, 2, 0), of_left, bias)
        self._right = F.linear(projected[1][0].permute(1, 2, 0), of_right)
        left, right = features
        height, width = left.shape[-2:]
        self._pair = projected[0].new_empty(planes, height, width, GROUPS)
        for top, end in _pieces(height, slabs.rows):
            piece = group_correlation(left[:, :, top:end], right[:, :, top:end], planes)
            self._pair[:, top:end] = piece[0].permute(1, 2, 3, 0)

    def planes(self, first: int, last: int) -> Tensor:
        """(last - first, h, w, lanes)."""
        found = F.linear(self._pair[first:last], self._of_pair)
        found += self._left
        for plane in range(first, min(last, found.shape[2])):
            moved = self._right if plane == 0 else self._right[:, :-plane]
            found[plane - first, :, plane:] += moved
        return found


def residual_(volume: Tensor, block: Residual3d, slabs: Slabs) -> None:
    """``Residual3d`` in place, on a volume with empty planes around it.

    The second convolution is a plane behind the first, whose input is overwritten when nothing
    needs it any more.
    """
    width = volume.shape[-1]
    first_pair = _weights(block.conv1, block.bn1, width, width)
    second_pair = _weights(block.conv2, block.bn2, width, width)
    planes = len(volume) - 2
    before = torch.zeros_like(volume[:1])
    done = 0  # planes that are final
    for first, last in _slices(volume, planes, slabs.planes):
        change = F.relu_(_convolved(volume[first : last + 2], *first_pair))
        ending = (volume[-1:],) if last == planes else ()
        slab = torch.cat((before, change, *ending))
        until = planes if last == planes else last - 1
        before = slab[-2:]
        if until > done:
            final = volume[1 + done : 1 + until]
            final += _convolved(slab, *second_pair)
            F.relu_(final)
        done = until


def gate_(volume: Tensor, weights: Tensor) -> None:
    """Multiply all planes by (1, C, h, w), in place."""
    share = weights[0].permute(1, 2, 0)
    volume[..., : share.shape[-1]] *= share


def axial_(volume: Tensor, block: Axial, slabs: Slabs) -> None:
    """``Axial`` in place, on a volume with empty planes around it."""
    width = volume.shape[-1]
    inner = volume[1:-1]
    weight, bias = _weights(*block.across, width, width)
    for first, last in _pieces(len(inner), slabs.planes):
        piece = inner[first:last]
        piece.copy_(F.relu_(convolve_planes(piece, weight[:, :, 0], bias, (1, 1))))
    weight, bias = _weights(*block.along, width, width)
    for top, end in _pieces(inner.shape[1], slabs.rows):
        piece = inner[:, top:end]
        strip = piece.flatten(1, 2)[None]
        found = convolve_planes(strip, weight[..., 0], bias, (Axial.reach // 2, 0))
        piece.copy_(F.relu_(found).view(piece.shape))


def aggregate_(volume: Tensor, net: Aggregation, features: ImageFeatures, slabs: Slabs) -> None:
    """``Aggregation`` in place, on a volume with empty planes around it."""
    coarse = _coarse(volume, net)
    # Not named before, since the hourglass lets go of what it is given.
    halved = net.hourglass(
        net.conv1[1](_halved(volume, net, slabs).permute(3, 0, 1, 2)[None]), features
    )
    _enlarge_into(volume, net, halved, slabs)
    _add_coarse(volume, coarse)
    for block in net.conv_out:
        assert isinstance(block, Axial)  # noqa: S101
        axial_(volume, block, slabs)


def _halved(volume: Tensor, net: Aggregation, slabs: Slabs) -> Tensor:
    """(D / 2, h / 2, w / 2, 2C): the first convolution of the hourglass."""
    first = net.conv1[0]
    assert isinstance(first, ConvBatchAct3d)  # noqa: S101
    weight, bias = _weights(first.conv, first.bn, volume.shape[-1], first.conv.out_channels)
    planes, height, width = (side // 2 for side in (len(volume) - 2, *volume.shape[1:3]))
    halved = volume.new_empty(planes, height, width, first.conv.out_channels)
    for begin, end in _slices(volume, planes, max(slabs.planes // 2, 1)):
        found = _convolved(volume[2 * begin : 2 * end + 1], weight, bias, stride=2)
        halved[begin:end] = F.leaky_relu_(found)
    return halved


def _coarse(volume: Tensor, net: Aggregation) -> Tensor:
    """(D / 4, C, h / 4, w / 4), by the transformer."""
    conv, norm = net.patch
    weight, bias = folded(conv, norm)
    channels = conv.out_channels
    by_channel = weight[:, 0].permute(1, 2, 3, 0)
    planes, height, width = (side // PATCH for side in (len(volume) - 2, *volume.shape[1:3]))
    found = volume.new_empty(planes, height, width, channels)
    for plane in range(planes):
        patch = volume[1 + PATCH * plane : 1 + PATCH * (plane + 1), ..., :channels]
        cells = patch.unflatten(2, (width, PATCH)).unflatten(1, (height, PATCH))
        weighted = cells * by_channel[:, None, :, None].to(cells.dtype)
        found[plane] = weighted.sum((0, 2, 4)) + bias
    answer: Tensor = net.transformer(found.permute(3, 0, 1, 2)[None])
    return answer[0].transpose(0, 1)


def _enlarge_into(volume: Tensor, net: Aggregation, halved: Tensor, slabs: Slabs) -> None:
    """The last transposed convolution, (1, 2C, D / 2, h / 2, w / 2) into the volume."""
    last = net.conv1_up
    weight, bias = folded(last.conv, last.bn)
    extra = volume.shape[-1] - weight.shape[1]
    weight, bias = F.pad(weight, (0,) * 7 + (extra,)), F.pad(bias, (0, extra))
    count = halved.shape[2]
    for first, end in _pieces(count, max(slabs.planes // 2, 1)):
        above, below = int(first > 0), int(end < count)
        piece = halved[:, :, first - above : end + below]
        found = F.conv_transpose3d(piece, weight, bias, stride=2, padding=1)[0]
        kept = found[:, 2 * above : found.shape[1] - 2 * below]
        volume[1 + 2 * first : 1 + 2 * end] = F.leaky_relu(kept).permute(1, 2, 3, 0)


def _add_coarse(volume: Tensor, coarse: Tensor) -> None:
    """Add (D / 4, C, h / 4, w / 4), enlarged to the volume's size, plane by plane."""
    channels = coarse.shape[1]
    inner = volume[1:-1]
    wide = F.interpolate(coarse, inner.shape[1:3], mode="bilinear").permute(0, 2, 3, 1)
    for plane, into in enumerate(inner):
        place = max((plane + 0.5) / PATCH - 0.5, 0.0)
        below = int(place)
        above = min(below + 1, len(wide) - 1)
        into[..., :channels] += torch.lerp(wide[below], wide[above], place - below)


def classify(volume: Tensor, net: nn.Sequential, slabs: Slabs) -> Tensor:
    """``classifier`` of a volume with empty planes around it, (1, D, h, w) float32."""
    reduce, block, last = net
    assert isinstance(reduce, ConvBatchAct3d) and isinstance(block, Residual3d)  # noqa: S101, PT018
    assert isinstance(last, nn.Conv3d) and last.bias is not None  # noqa: S101, PT018
    planes = len(volume) - 2
    small = volume.new_zeros(*volume.shape[:3], lanes(reduce.conv.out_channels))
    weight, bias = _weights(reduce.conv, reduce.bn, volume.shape[-1], small.shape[-1])
    for first, end in _slices(volume, planes, slabs.planes):
        found = _convolved(volume[first : end + 2], weight, bias)
        small[1 + first : 1 + end] = F.leaky_relu_(found)
    residual_(small, block, slabs)
    # One convolution over the image per plane of the kernel; their answers are added up.
    kernel = last.weight[0].permute(1, 0, 2, 3)
    kernel = F.pad(kernel, (0, 0, 0, 0, 0, small.shape[-1] - kernel.shape[1]))
    reach = len(kernel)
    logits = last.bias.float().expand(planes, *volume.shape[1:3]).clone()
    for first, end in _pieces(planes, slabs.planes):
        found = convolve_planes(small[1 + first : 1 + end], kernel, None, (reach // 2,) * 2)
        for k in range(reach):
            moved = reach // 2 - k
            low, high = max(first + moved, 0), min(end + moved, planes)
            if low < high:
                logits[low:high] += found[low - moved - first : high - moved - first, ..., k]
    return logits[None]


def _weights(conv: Conv, norm: Norm, inputs: int, outputs: int) -> tuple[Tensor, Tensor]:
    """Weight and bias with the norm folded in, for volumes of that many channels in memory."""
    weight, bias = folded(conv, norm)
    more_in, more_out = inputs - weight.shape[1], outputs - weight.shape[0]
    around = (0,) * (2 * (weight.ndim - 2))
    weight = F.pad(weight, (*around, 0, more_in, 0, more_out))
    # Else convolutions bring what they read into another layout first: half the speed.
    return weight.contiguous(memory_format=torch.channels_last_3d), F.pad(bias, (0, more_out))


def _convolved(slab: Tensor, weight: Tensor, bias: Tensor, stride: int = 1) -> Tensor:
    """A convolution of (n + 2, h, w, C) that reads its first and last plane as padding."""
    maps = slab.permute(3, 0, 1, 2)[None]
    found = F.conv3d(maps, weight, bias, stride, padding=(0, 1, 1))
    return found[0].permute(1, 2, 3, 0)


def _slices(volume: Tensor, count: int, size: int) -> list[tuple[int, int]]:
    """Pieces of the planes of a volume, of nearly equal size, large enough to be fast.

    Of one sample, PyTorch hands only those convolutions to oneDNN whose C x D x h is above 20480;
    others take ten times as long, and memory for every tap of the kernel.
    """
    least = _ONEDNN_FROM // (volume.shape[-1] * volume.shape[1]) + 1
    number = min(-(-count // size), max(count // least, 1))
    return _pieces(count, -(-count // number))


def _pieces(count: int, size: int) -> list[tuple[int, int]]:
    """Nearly equal, so that the last one is no rest."""
    number = -(-count // size)
    return list(pairwise(count * i // number for i in range(number + 1)))
