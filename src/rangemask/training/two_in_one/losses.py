"""What the three stages minimise (TiO-Depth, sections 3.4 and 3.5).

Every term is the plain mean of a map over pixels and images; names of the terms are the
published ones.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields

import torch
from torch import Tensor
from torch.nn import functional as F

from rangemask.models.two_in_one import Decoded
from rangemask.training.losses.loss import Loss, check_range
from rangemask.training.two_in_one.batch import PairBatch
from rangemask.training.two_in_one.guides import (
    VISIBLE,
    CostGuide,
    cost_guides,
    fused_volume,
    trust_in_pair,
    visibility,
)
from rangemask.training.two_in_one.photometric import (
    PerceptualFeatures,
    perceptual_errors,
    photometric_error,
    roughness,
)
from rangemask.training.two_in_one.warping import synthesise, warp

SURE_ENOUGH = 1.0
"""Absolute difference of a matching from its guide that is left alone."""
_TINY = 1e-5


@dataclass(frozen=True, kw_only=True, slots=True)
class LossConfig:
    """Rates of the terms, as published.

    Raises:
        InputError: a rate is negative.
    """

    mono_photo: float = 1.0
    mono_perceptual: float = 0.01
    """Of each of three depths of VGG-19; 0 needs no VGG-19."""
    mono_smooth: float = 0.0008
    stereo_photo: float = 1.0
    stereo_smooth: float = 0.008
    stereo_cost: float = 0.01
    """Of the matching at each of three scales."""
    stereo_gradient: float = 0.01
    """Published as ``Stereo_gui1``."""
    stereo_outside: float = 0.01
    """Published as ``Stereo_gui2``."""
    refine_hints: float = 1.0

    def __post_init__(self) -> None:
        for field in fields(self):
            check_range(field.name, getattr(self, field.name), 0)


def weighted(terms: Mapping[str, tuple[float, Tensor]]) -> Loss:
    """Rates and terms to the loss of a stage."""
    total = torch.stack([rate * value for rate, value in terms.values()]).sum()
    return Loss(total, {name: value.detach() for name, (_, value) in terms.items()})


def mono_loss(
    found: Decoded,
    batch: PairBatch,
    levels_px: Tensor,
    d2d: float,
    config: LossConfig,
    perceptual: PerceptualFeatures | None,
) -> Loss:
    """Stage 1: the target, made of the other view by what the network says of that other one.

    Args:
        found: ``mono`` path on ``batch.other_jittered``.
        batch: pairs.
        levels_px: (K,) of the network.
        d2d: of the network.
        config: rates.
        perceptual: VGG-19; None leaves its terms out.
    """
    seen, _ = synthesise(found.logits, batch.other_jittered, levels_px, batch.shift(d2d))
    wanted = batch.target_jittered
    terms = {"Mono_photo_discrete": (config.mono_photo, (seen - wanted).abs().mean())}
    if perceptual is not None and config.mono_perceptual:
        for depth, value in enumerate(perceptual_errors(perceptual, seen, wanted), start=1):
            terms[f"Mono_perceptual-{depth}"] = (config.mono_perceptual, value)
    smooth = roughness(found.disparity, batch.other).mean()
    return weighted({**terms, "Mono_smooth": (config.mono_smooth, smooth)})


def pair_loss(
    found: Decoded, mono: Decoded, batch: PairBatch, d2d: float, config: LossConfig
) -> Loss:
    """Stage 2: the pair, guided by what one eye says of the same view.

    Args:
        found: of both views.
        mono: ``mono`` path on ``batch.target_jittered``, without gradient.
        batch: pairs.
        d2d: of the network.
        config: rates.
    """
    shift = batch.shift(d2d)
    wanted, within = guided_target(mono, batch, shift)
    seen, _ = warp(batch.other, found.disparity, shift)
    sizes = [(cost.shape[-2], cost.shape[-1]) for cost in reversed(found.costs)]
    guides = cost_guides(mono.volume, sizes)[::-1]
    terms = {
        "Stereo_photo": (config.stereo_photo, photometric_error(seen, wanted).mean()),
        "Stereo_smooth": (config.stereo_smooth, roughness(found.disparity, batch.target).mean()),
    }
    for scale, cost, guide in zip((3, 2, 1), found.costs, guides, strict=True):
        terms[f"Stereo_cost{scale}"] = (config.stereo_cost, cost_error(cost, guide).mean())
    slopes = slope_difference(mono.disparity, found.disparity).mean()
    apart = outside_difference(mono.disparity, found.disparity, within).mean()
    return weighted(
        {
            **terms,
            "Stereo_gui1": (config.stereo_gradient, slopes),
            "Stereo_gui2": (config.stereo_outside, apart),
        }
    )


@torch.no_grad()
def guided_target(mono: Decoded, batch: PairBatch, shift: Tensor) -> tuple[Tensor, Tensor]:
    """The picture that the pair has to reconstruct: where only one camera sees, the other one's.

    Args:
        mono: of ``batch.target_jittered``.
        batch: pairs.
        shift: see ``PairBatch.shift``.

    Returns:
        (B, 3, H, W), and (B, 1, H, W) bool: where the partner lies within the other image.
    """
    made, within = warp(batch.other, mono.disparity, shift)
    both = within & (visibility(mono.disparity, batch.direct) > VISIBLE)
    return torch.where(both, batch.target, made), within


def cost_error(cost: Tensor, guide: CostGuide) -> Tensor:
    """How far a matching is from its guide, where it is far: (B, K, h, w) to (B, 1, h, w)."""
    apart = (cost.float().softmax(dim=1) - guide.volume).abs().sum(dim=1, keepdim=True)
    return torch.where(apart >= SURE_ENOUGH, apart * guide.confidence, 0)


def slope_difference(first: Tensor, second: Tensor) -> Tensor:
    """Difference of absolute backward differences along x and y: (B, 1, H, W) twice to the same."""
    total = torch.zeros_like(second)
    for axis in (2, 3):
        pad = (1, 0, 0, 0) if axis == 3 else (0, 0, 1, 0)
        a, b = (F.pad(map_, pad, mode="replicate").diff(dim=axis).abs() for map_ in (first, second))
        total = total + (a - b).abs()
    return total


def outside_difference(mono: Tensor, found: Tensor, within: Tensor) -> Tensor:
    """Absolute difference where the partner lies outside the other image, 0 elsewhere."""
    return torch.where(within, 0, (found - mono).abs())


def refine_loss(
    found: Decoded, mono: Decoded, pair: Decoded, batch: PairBatch, config: LossConfig
) -> Loss:
    """Stage 3: one eye learns from the pair where that can be trusted, else from itself.

    Args:
        found: ``refine`` path on ``batch.target_jittered``.
        mono: ``mono`` path on the same, without gradient.
        pair: of both views, without gradient.
        batch: pairs.
        config: rates.
    """
    trust = trust_in_pair(pair.depth, pair.disparity, batch.direct)
    wanted = fused_volume(mono.volume, pair.volume, trust)
    value = divergence(wanted, found.volume).mean()
    return weighted({"Refine_hints": (config.refine_hints, value)})


def divergence(wanted: Tensor, found: Tensor) -> Tensor:
    """Kullback-Leibler divergence, logarithms of p + 1e-5: (B, K, H, W) twice to (B, 1, H, W)."""
    entropy = (wanted * (wanted + _TINY).log()).sum(dim=1, keepdim=True)
    return entropy - (wanted * (found + _TINY).log()).sum(dim=1, keepdim=True)
