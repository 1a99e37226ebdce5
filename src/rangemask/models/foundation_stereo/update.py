"""The recurrent update: motion, three selective units, and what they say (spec 8.3)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rangemask.models.foundation_stereo.config import LEVELS, FoundationStereoConfig
from rangemask.models.foundation_stereo.context import Context, Maps
from rangemask.models.foundation_stereo.lookup import TAPS


class MotionEncoder(nn.Module):
    """The disparity and what the volumes say around it to one map."""

    def __init__(self, config: FoundationStereoConfig) -> None:
        super().__init__()
        hidden = config.hidden
        self.volume_channels = config.volume_channels
        geometry = LEVELS * TAPS * (config.volume_channels + 1)
        self.convc1 = nn.Conv2d(geometry, 2 * hidden, 1)
        self.convc2 = nn.Conv2d(2 * hidden, 2 * hidden, 3, padding=1)
        self.convd1 = nn.Conv2d(1, hidden // 2, 7, padding=3)
        self.convd2 = nn.Conv2d(hidden // 2, hidden // 2, 3, padding=1)
        self.conv = nn.Conv2d(2 * hidden + hidden // 2, hidden - 1, 3, padding=1)

    def forward(self, disparity: Tensor, found: tuple[Tensor, ...]) -> Tensor:
        """Disparity (B, 1, h, w) and what ``look`` gave to (B, hidden, h, w)."""
        batch, _, *size = disparity.shape
        seen = torch.cat([part.flatten(1) for part in found], dim=1)
        seen = seen.view(batch, *size, -1).permute(0, 3, 1, 2)
        weight = self._by_taps(found)[:, :, None, None]
        maps = F.relu(F.conv2d(seen, weight, self.convc1.bias))
        maps = F.relu(self.convc2(maps))
        own = F.relu(self.convd2(F.relu(self.convd1(disparity))))
        motion = F.relu(self.conv(torch.cat((maps, own), dim=1)))
        return torch.cat((motion, disparity.to(motion.dtype)), dim=1)

    def _by_taps(self, found: tuple[Tensor, ...]) -> Tensor:
        """The first weights, with channels behind taps as ``look`` gives them."""
        widths = [TAPS * self.volume_channels, TAPS] * LEVELS
        parts = self.convc1.weight.flatten(1).split(widths, dim=1)
        ordered = []
        for part, seen in zip(parts, found, strict=True):
            by_tap = part.unflatten(1, (-1, TAPS)).transpose(1, 2)
            # In memory the volume may have more channels, which hold nothing.
            ordered.append(F.pad(by_tap, (0, seen.shape[2] - by_tap.shape[2])).flatten(1))
        return torch.cat(ordered, dim=1)


class Gru(nn.Module):
    """A convolutional gated unit."""

    def __init__(self, hidden: int, inputs: int, kernel: int) -> None:
        super().__init__()
        both = hidden + inputs
        self.convz = nn.Conv2d(both, hidden, kernel, padding=kernel // 2)
        self.convr = nn.Conv2d(both, hidden, kernel, padding=kernel // 2)
        self.convq = nn.Conv2d(both, hidden, kernel, padding=kernel // 2)

    def forward(self, state: Tensor, inputs: Tensor, both: Tensor) -> Tensor:
        """The next state (B, hidden, h, w); ``both`` is what the gates look at."""
        update, reset = self.convz(both).sigmoid(), self.convr(both).sigmoid()
        fresh = self.convq(torch.cat((reset * state, inputs), dim=1)).tanh()
        return torch.lerp(state, fresh, update)


class SelectiveUnit(nn.Module):
    """A unit with a small and one with a large kernel, mixed place by place."""

    def __init__(self, hidden: int, inputs: int) -> None:
        super().__init__()
        self.conv0 = nn.Sequential(nn.Conv2d(inputs, inputs, 3, padding=1), nn.ReLU())
        both = hidden + inputs
        self.conv1 = nn.Sequential(nn.Conv2d(both, both, 3, padding=1), nn.ReLU())
        self.small_gru = Gru(hidden, inputs, 1)
        self.large_gru = Gru(hidden, inputs, 3)

    def start(self, context: Tensor) -> Tensor:
        """What the context adds to the first convolution; it is the same in every round."""
        weight = self._first.weight[:, : context.shape[1]]
        return F.conv2d(context, weight, self._first.bias, padding=1)

    @property
    def _first(self) -> nn.Conv2d:
        first = self.conv0[0]
        assert isinstance(first, nn.Conv2d)  # noqa: S101
        return first

    def forward(self, attention: Tensor, state: Tensor, base: Tensor, news: Tensor) -> Tensor:
        """The next state.

        Args:
            attention: (B, 1, h, w), share of the small kernel.
            state: (B, hidden, h, w).
            base: of ``start``.
            news: (B, inputs - context, h, w), what else is looked at.
        """
        weight = self._first.weight[:, -news.shape[1] :]
        inputs = F.relu(base + F.conv2d(news, weight, padding=1))
        both = self.conv1(torch.cat((inputs, state), dim=1))
        small = self.small_gru(state, inputs, both)
        large = self.large_gru(state, inputs, both)
        mixed: Tensor = attention * small + (1 - attention) * large
        return mixed


class ConvNextBlock(nn.Module):
    """Depthwise convolution and MLP with a scale, without a norm (cf. arXiv 2201.03545)."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.dwconv = nn.Conv2d(channels, channels, 7, padding=3, groups=channels)
        self.pwconv1 = nn.Linear(channels, 4 * channels)
        self.pwconv2 = nn.Linear(4 * channels, channels)
        self.gamma = nn.Parameter(torch.ones(channels))

    def forward(self, features: Tensor) -> Tensor:
        """(B, C, h, w) to the same."""
        change = self.dwconv(features).permute(0, 2, 3, 1)
        change = self.pwconv2(F.gelu(self.pwconv1(change)))
        answer: Tensor = features + (self.gamma * change).permute(0, 3, 1, 2)
        return answer


class DisparityHead(nn.Module):
    """The finest state to a change of disparity."""

    def __init__(self, hidden: int) -> None:
        super().__init__()
        self.conv = nn.Sequential(
            nn.Conv2d(hidden, hidden, 3, padding=1),
            nn.ReLU(),
            ConvNextBlock(hidden),
            ConvNextBlock(hidden),
            nn.Conv2d(hidden, 1, 3, padding=1),
        )

    def forward(self, state: Tensor) -> Tensor:
        """(B, hidden, h, w) to (B, 1, h, w)."""
        change: Tensor = self.conv(state)
        return change


class Update(nn.Module):
    """One round: coarse states first, then the motion, then the finest state."""

    def __init__(self, config: FoundationStereoConfig) -> None:
        super().__init__()
        hidden = config.hidden
        self.encoder = MotionEncoder(config)
        self.gru04 = SelectiveUnit(hidden, 3 * hidden)
        self.gru08 = SelectiveUnit(hidden, 3 * hidden)
        self.gru16 = SelectiveUnit(hidden, 2 * hidden)
        self.disp_head = DisparityHead(hidden)
        self.mask = nn.Sequential(
            nn.Conv2d(hidden, 64, 3, padding=1),
            nn.ReLU(),
            nn.Conv2d(64, 32, 3, padding=1),
            nn.ReLU(),
        )

    def start(self, context: Context) -> Maps:
        """What the context adds in every round, at three sizes."""
        fine, middle, coarse = context.inputs
        return self.gru04.start(fine), self.gru08.start(middle), self.gru16.start(coarse)

    def forward(
        self,
        states: Maps,
        bases: Maps,
        attention: Maps,
        disparity: Tensor,
        found: tuple[Tensor, ...],
    ) -> tuple[Maps, Tensor]:
        """One round.

        Args:
            states: at three sizes, fine to coarse.
            bases: of ``start``.
            attention: of the context.
            disparity: (B, 1, h, w), in cells.
            found: what ``look`` gave.

        Returns:
            the next states, and the change of the disparity (B, 1, h, w) float32.
        """
        fine, middle, coarse = states
        coarse = self.gru16(attention[2], coarse, bases[2], pooled(middle))
        news = torch.cat((pooled(fine), resized(coarse, middle)), dim=1)
        middle = self.gru08(attention[1], middle, bases[1], news)
        motion = self.encoder(disparity, found)
        news = torch.cat((motion, resized(middle, fine)), dim=1)
        fine = self.gru04(attention[0], fine, bases[0], news)
        return (fine, middle, coarse), self.disp_head(fine).float()

    def upsampling(self, state: Tensor) -> Tensor:
        """(B, hidden, h, w) to (B, 32, h, w), what the upsampler starts from."""
        mask: Tensor = self.mask(state)
        return 0.25 * mask


def pooled(state: Tensor) -> Tensor:
    """A state at half its size; outside counts as 0."""
    return F.avg_pool2d(state, 3, stride=2, padding=1)


def resized(state: Tensor, like: Tensor) -> Tensor:
    """A state at the size of another one."""
    return F.interpolate(state, like.shape[-2:], mode="bilinear", align_corners=True)
