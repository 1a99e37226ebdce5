"""The decoder of TiO-Depth (arXiv 2309.00933): one set of weights for one view and for two.

Entries are named as in published checkpoints (``_convs.<n>``, there with ``1.`` before), so that
files go either way without a table of names.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple, TypeAlias

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rangemask.errors import InputError
from rangemask.models.two_in_one.levels import (
    LEVELS,
    MAX_DISPARITY_PX,
    MIN_DISPARITY_PX,
    PUBLISHED_D2D,
    disparity_levels,
    expected_disparity,
    volume_of,
)
from rangemask.models.two_in_one.matching import SQUEEZE, Matching
from rangemask.models.two_in_one.parts import ConvElu, OffsetNet, PaddedConv, shifted

Path: TypeAlias = Literal["mono", "refine"]
PUBLISHED_CHANNELS = (96, 192, 384, 768)
"""Of the encoder (Swin-T), shallow to deep."""
DECODER_CHANNELS = (64, 128, 256, 256)
"""Of the decoder's scales 0 to 3."""

PUBLISHED_PREFIX = "1."
"""Before the decoder's entries in files of the whole published model."""
_FIRST = {3: 0, 2: 5, 1: 10, 0: 15}
"""Where a scale's layers begin in ``_convs``: conv_a, conv_e, O1, O2, conv_b; scale 0 has no skip
and so neither conv_e nor offsets."""
_OUT, _MATCHING, _REFINE_OFFSETS, _REFINE_OUT = 17, 18, 21, 24
SHARED = range(_MATCHING)
"""``_convs`` that every path runs through, or that the matching path shares with ``mono``."""
MATCHING = range(_MATCHING, _REFINE_OFFSETS)
"""``_convs`` of the matching modules, scale 3, 2, 1."""
FINAL_BRANCH = range(_REFINE_OFFSETS, _REFINE_OUT + 1)
"""``_convs`` that only ``refine`` runs through."""


class Decoded(NamedTuple):
    """What the decoder says of a view."""

    disparity: Tensor
    """(B, 1, H, W) float32, px of the image that the encoder saw."""
    depth: Tensor
    """(B, 1, H, W) float32: ``d2d / disparity``, m where ``d2d`` is the rig's."""
    logits: Tensor
    """(B, K, H, W)."""
    volume: Tensor
    """(B, K, H, W) float32: softmax of the logits."""
    costs: tuple[Tensor, ...] = ()
    """Of a pair: (B, K, h, w) logits of the matching at scale 3, 2, 1."""
    other: Decoded | None = None
    """Of a pair: the same for the other view."""


def read_logits(logits: Tensor, levels_px: Tensor, d2d: float) -> Decoded:
    """What logits say.

    Args:
        logits: (B, K, H, W).
        levels_px: (K,) float32.
        d2d: see ``Decoder``.
    """
    volume = volume_of(logits)
    disparity = expected_disparity(volume, levels_px)
    return Decoded(disparity, d2d / disparity, logits, volume)


class Decoder(nn.Module):
    """Pyramids of one or two views to disparity.

    Args:
        encoder_channels: of the encoder's four maps F0 to F3, shallow (fine) to deep (coarse).
        decoder_ch_num: channels of the decoder's scales 0 to 3.
        out_ch: K, number of disparity levels.
        min_disp: the first level, px of the image that the encoder saw.
        max_disp: the last level, px.
        d2d: focal length (px) times baseline (m), which turns disparity into depth.

    Raises:
        InputError: a number is impossible.
    """

    def __init__(
        self,
        encoder_channels: Sequence[int] = PUBLISHED_CHANNELS,
        *,
        decoder_ch_num: Sequence[int] = DECODER_CHANNELS,
        out_ch: int = LEVELS,
        min_disp: float = MIN_DISPARITY_PX,
        max_disp: float = MAX_DISPARITY_PX,
        d2d: float = PUBLISHED_D2D,
    ) -> None:
        super().__init__()
        check_decoder(encoder_channels, decoder_ch_num, out_ch, min_disp, max_disp, d2d)
        self.encoder_channels = tuple(encoder_channels)
        self.out_ch, self.min_disp, self.max_disp, self.d2d = out_ch, min_disp, max_disp, d2d
        widths = tuple(decoder_ch_num)
        layers: list[nn.Module] = []
        below = self.encoder_channels[3]
        for scale in (3, 2, 1):
            width = widths[scale]
            layers += [ConvElu(below, width), ConvElu(self.encoder_channels[scale - 1], width)]
            layers += [OffsetNet(width), OffsetNet(width), ConvElu(width, width)]
            below = width
        layers += [ConvElu(below, widths[0]), ConvElu(widths[0], widths[0])]
        layers += [PaddedConv(widths[0], out_ch)]
        layers += [Matching(widths[scale], out_ch) for scale in (3, 2, 1)]
        layers += [OffsetNet(widths[scale]) for scale in (3, 2, 1)]
        layers += [PaddedConv(widths[0], out_ch)]
        self._convs = nn.ModuleList(layers)
        self.register_load_state_dict_pre_hook(_accept_published)  # type: ignore[no-untyped-call]

    def forward(
        self,
        pyramid: Sequence[Tensor],
        other: Sequence[Tensor] | None = None,
        size: tuple[int, int] | None = None,
        direct: Tensor | float = 1.0,
        *,
        path: Path = "mono",
        both: bool = True,
    ) -> Decoded:
        """Disparity of a view, by itself or with the help of another.

        Args:
            pyramid: four maps F0 to F3 of the view whose depth is asked for, (B, C, h, w), fine
                to coarse, of any sizes; both sides of each at least 2.
            other: the same of the other view; None for one eye.
            size: H, W of the image that the encoder saw, in whose pixels disparity is counted;
                None for twice the finest map's, as published.
            direct: +1 where the view is the left camera's, -1 where the right one's; one for
                all, or (B,). Of no meaning for one eye.
            path: for one eye: ``mono``, which guides training, or ``refine``, the distilled
                branch that is the published result. A pair has a path of its own.
            both: of a pair: compute the other view too; ``other`` of the result is None without.

        Raises:
            InputError: maps are not as stated, or a name is unknown.
        """
        views = [tuple(pyramid)] if other is None else [tuple(pyramid), tuple(other)]
        self._check(views, direct, path)
        if size is None:
            size = (2 * pyramid[0].shape[-2], 2 * pyramid[0].shape[-1])
        if other is None:
            return self._one(views[0], size, refine=path == "refine")
        return self._pair(views, size, direct, both=both)

    def levels(self, like: Tensor) -> Tensor:
        """(K,) float32 px: the disparity of each level, on the device of a tensor."""
        return disparity_levels(self.out_ch, self.min_disp, self.max_disp, like=like)

    def _one(self, maps: Sequence[Tensor], size: tuple[int, int], *, refine: bool) -> Decoded:
        x = maps[3]
        for scale in (3, 2, 1):
            x = self._joined(scale, x, maps[scale - 1], refine=refine)
        return self._read(self._finest(x, size), _REFINE_OUT if refine else _OUT)

    def _pair(
        self,
        views: Sequence[Sequence[Tensor]],
        size: tuple[int, int],
        direct: Tensor | float,
        *,
        both: bool,
    ) -> Decoded:
        target, other = views[0][3], views[1][3]
        sign = torch.as_tensor(direct, device=target.device, dtype=torch.float32)
        sign = sign.expand(len(target))[:, None]
        share = self.levels(target) / size[1]
        costs: list[tuple[Tensor, Tensor | None]] = []
        for scale in (3, 2, 1):
            # One after the other, since batch statistics are those of a view.
            target = self._joined(scale, target, views[0][scale - 1], refine=False)
            other = self._joined(scale, other, views[1][scale - 1], refine=False)
            matching = self._convs[_MATCHING + 3 - scale]
            shift = sign * share * (target.shape[-1] - 1)
            # The left image finds its match to the left in the right one.
            seen, cost = matching(target, other, -shift)
            other_cost = None
            if both or scale > 1:
                other, other_cost = matching(other, target, shift)
            target = seen
            costs.append((cost, other_cost))
        found = self._read(self._finest(target, size), _OUT)
        found = found._replace(costs=tuple(cost for cost, _ in costs))
        if not both:
            return found
        partner = self._read(self._finest(other, size), _OUT)
        other_costs = tuple(cost for _, cost in costs if cost is not None)
        return found._replace(other=partner._replace(costs=other_costs))

    def _joined(self, scale: int, x: Tensor, skip: Tensor, *, refine: bool) -> Tensor:
        """A scale of the decoder: what comes from below and the encoder's map, both aligned."""
        first = _FIRST[scale]
        conv_a, conv_e, offset_x, offset_e, conv_b = self._convs[first : first + 5]
        if refine:
            offset_e = self._convs[_REFINE_OFFSETS + 3 - scale]
        x = F.interpolate(conv_a(x), size=skip.shape[-2:], mode="nearest")
        skip = conv_e(skip)
        joined = torch.cat([x, skip], dim=1)
        aligned = shifted(x, offset_x(joined)) + shifted(skip, offset_e(joined))
        result: Tensor = conv_b(aligned)
        return result

    def _finest(self, x: Tensor, size: tuple[int, int]) -> Tensor:
        conv_a, conv_b = self._convs[_FIRST[0] : _FIRST[0] + 2]
        result: Tensor = conv_b(F.interpolate(conv_a(x), size=size, mode="nearest"))
        return result

    def _read(self, x: Tensor, out: int) -> Decoded:
        logits: Tensor = self._convs[out](x)
        return read_logits(logits, self.levels(logits), self.d2d)

    def _check(self, views: Sequence[Sequence[Tensor]], direct: Tensor | float, path: str) -> None:
        if path not in ("mono", "refine"):
            raise InputError(f"path must be mono or refine, got {path!r}.")
        for maps in views:
            found = tuple(level.shape[1] for level in maps if level.ndim == 4)
            if found != self.encoder_channels:
                raise InputError(
                    f"expected four maps (B, C, h, w) of {self.encoder_channels} channels, fine to "
                    f"coarse, got {[tuple(level.shape) for level in maps]}."
                )
            if min(min(level.shape[-2:]) for level in maps) < 2:
                raise InputError(
                    f"maps must be 2 cells high and wide, got {[tuple(m.shape) for m in maps]}; "
                    "give a larger image."
                )
        if len(views) == 2 and [a.shape for a in views[0]] != [b.shape for b in views[1]]:
            raise InputError(
                "the maps of both views must have the same shapes, got "
                f"{[tuple(m.shape) for m in views[0]]} and {[tuple(m.shape) for m in views[1]]}."
            )
        if isinstance(direct, Tensor) and direct.shape not in ((), (len(views[0][0]),)):
            raise InputError(
                f"direct must be one number or one per view ({len(views[0][0])},), got shape "
                f"{tuple(direct.shape)}."
            )


def check_decoder(
    encoder_channels: Sequence[int],
    decoder_ch_num: Sequence[int],
    out_ch: int,
    min_disp: float,
    max_disp: float,
    d2d: float,
) -> None:
    """Refuse numbers that make no decoder; see ``Decoder``.

    Raises:
        InputError: one is impossible.
    """
    for name, widths in (
        ("encoder_channels", encoder_channels),
        ("decoder_ch_num", decoder_ch_num),
    ):
        if len(widths) != 4 or min(widths) < 1:
            raise InputError(f"{name} must be four positive numbers, got {tuple(widths)}.")
    if min(decoder_ch_num[1:]) < SQUEEZE:
        raise InputError(
            f"decoder_ch_num must be {SQUEEZE} or more at scales 1 to 3, for the attention over "
            f"channels, got {tuple(decoder_ch_num)}."
        )
    if out_ch < 2:
        raise InputError(f"out_ch must be 2 levels or more, got {out_ch}.")
    if not 0 < min_disp < max_disp < float("inf"):
        raise InputError(f"expected 0 < min_disp < max_disp, got {min_disp} and {max_disp} px.")
    if not 0 < d2d < float("inf"):
        raise InputError(
            f"d2d is focal length (px) times baseline (m) and must be positive, got {d2d}."
        )


def published_entries(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The decoder's entries of a published file, whole or not, by the names used here.

    Entries of anything else are left out.
    """
    holder = f"{PUBLISHED_PREFIX}_convs."
    whole = any(name.startswith(holder) for name in weights)
    cut = len(PUBLISHED_PREFIX) if whole else 0
    start = holder if whole else "_convs."
    return {name[cut:]: value for name, value in weights.items() if name.startswith(start)}


def _accept_published(module: nn.Module, state: dict[str, Any], prefix: str, *rest: Any) -> None:
    """Take published names, and counters of batches from the module where the file has none."""
    for name in [name for name in state if name.startswith(f"{prefix}{PUBLISHED_PREFIX}_convs.")]:
        state[prefix + name[len(prefix) + len(PUBLISHED_PREFIX) :]] = state.pop(name)
    if not any(name.startswith(f"{prefix}_convs.") for name in state):
        return
    for name, value in module.state_dict().items():
        if name.endswith("num_batches_tracked"):
            state.setdefault(prefix + name, value)
