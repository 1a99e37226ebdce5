"""Guard rails: how far a backbone has moved from what it was, and what it has unlearnt."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from rangemask.errors import InputError
from rangemask.models.backbone import Backbone
from rangemask.models.images import normalise
from rangemask.training.self_supervision.config import demand
from rangemask.training.self_supervision.crops import recoloured
from rangemask.training.self_supervision.held_out import HeldOut
from rangemask.training.self_supervision.probes import (
    cosine_distance,
    effective_rank,
    knn_probe,
    linear_cka,
    linear_probe,
    nearest,
)
from rangemask.training.self_supervision.teacher import evaluating


@dataclass(frozen=True, kw_only=True, slots=True)
class GuardConfig:
    """Limits, all against the backbone that training began with.

    Raises:
        InputError: a number is impossible.
    """

    max_drift: float = 0.3
    """Mean cosine distance of tokens to what they were, of the worst layer that heads read."""
    min_cka: float = 0.7
    """Linear CKA of patches with what they were."""
    max_fall_points: float = 3.0
    """Points (of 100) that the k-NN or the linear probe may fall."""
    max_retrieval_fall_points: float = 10.0
    """Points that finding patches and images again may fall."""
    min_rank_share: float = 0.5
    """Effective rank of patches, as a share of what it was."""
    patches_per_image: int = 64
    """Patches that are looked at, rare classes first; always the same ones."""
    batch_size: int = 8
    """Images that go through the backbone at once."""
    seed: int = 0
    """Of the choice of patches and of the changed colours."""

    def __post_init__(self) -> None:
        demand(0 < self.max_drift <= 2, "max_drift must lie in (0, 2]", self.max_drift)
        demand(0 <= self.min_cka <= 1, "min_cka must lie in [0, 1]", self.min_cka)
        demand(
            0 <= self.min_rank_share <= 1, "min_rank_share must lie in [0, 1]", self.min_rank_share
        )
        for name in ("max_fall_points", "max_retrieval_fall_points"):
            value = getattr(self, name)
            demand(0 <= value <= 100, f"{name} must lie in [0, 100]", value)
        for name in ("patches_per_image", "batch_size"):
            demand(getattr(self, name) >= 1, f"{name} must be at least 1", getattr(self, name))


@dataclass(frozen=True, kw_only=True, slots=True)
class GuardNumbers:
    """What was measured; probes in points of 100, None without labels."""

    class_drift: float
    patch_drift: float
    cka: float
    knn: float | None
    linear: float | None
    patch_retrieval: float
    """Patches found again in mirrored, recoloured images."""
    image_retrieval: float
    """Images found again by their class tokens."""
    rank: float
    """Effective rank of patches."""

    def named(self) -> dict[str, float]:
        """Those that are there, for logs."""
        return {name: value for name, value in asdict(self).items() if value is not None}


class Verdict(NamedTuple):
    """Whether a backbone may go on learning."""

    ok: bool
    reasons: tuple[str, ...]
    """What is beyond its limit, in words; empty where all is well."""
    numbers: GuardNumbers
    start: GuardNumbers
    """The same of the backbone that training began with."""


class _Tokens(NamedTuple):
    """Of all held-out images, on the CPU, float32."""

    class_token: Tensor
    """(N, C), last layer."""
    patches: tuple[Tensor, ...]
    """Per layer that heads read, (N, P, C); the last layer at the end."""

    @property
    def finite(self) -> bool:
        return all(bool(part.isfinite().all()) for part in (self.class_token, *self.patches))


class GuardRail:
    """Compares a backbone with what it was when this was made.

    Where a run is resumed it has to be made before the resumed numbers are loaded.

    Args:
        backbone: as training begins with it; it is not kept.
        images: held-out images, perhaps with labels.
        config: limits.

    Raises:
        InputError: its features are not finite.
    """

    def __init__(self, backbone: Backbone, images: HeldOut, config: GuardConfig) -> None:
        self.config = config
        self._held = images
        generator = torch.Generator().manual_seed(config.seed)
        self._places = _chosen_patches(images, config.patches_per_image, generator)
        self._mirrored = _mirrored(images.images, generator)
        self._first = self._tokens(backbone, images.images, self._places)
        if not self._first.finite:
            raise InputError(
                "the backbone gives NaN or infinite features before any training; its weights "
                "are damaged, or its precision is too small."
            )
        self.start = self._measured(backbone, self._first)

    def check(self, backbone: Backbone) -> Verdict:
        """Measure a backbone; nothing of it is changed.

        Args:
            backbone: of the same shape as the first.
        """
        tokens = self._tokens(backbone, self._held.images, self._places)
        if not tokens.finite:
            nothing = math.nan
            numbers = GuardNumbers(
                class_drift=nothing,
                patch_drift=nothing,
                cka=nothing,
                knn=None,
                linear=None,
                patch_retrieval=nothing,
                image_retrieval=nothing,
                rank=nothing,
            )
            return Verdict(False, ("features are NaN or infinite",), numbers, self.start)
        numbers = self._measured(backbone, tokens)
        reasons = tuple(_reasons(numbers, self.start, self.config))
        return Verdict(not reasons, reasons, numbers, self.start)

    @torch.no_grad()
    def _tokens(self, backbone: Backbone, images: Tensor, places: Tensor) -> _Tokens:
        device = next(backbone.parameters()).device
        layers = tuple(dict.fromkeys((*sorted(backbone.layers), backbone.depth - 1)))
        class_tokens: list[Tensor] = []
        patches: list[list[Tensor]] = [[] for _ in layers]
        with evaluating(backbone):
            for start in range(0, len(images), self.config.batch_size):
                part = slice(start, start + self.config.batch_size)
                seen = backbone.forward_features(normalise(images[part].to(device)), layers)
                class_tokens.append(seen.class_tokens[-1].float().cpu())
                for kept, level in zip(patches, seen.tokens, strict=True):
                    rows = level.flatten(2).transpose(1, 2).float().cpu()
                    index = places[part, :, None].expand(-1, -1, rows.shape[-1])
                    kept.append(rows.gather(1, index))
        return _Tokens(torch.cat(class_tokens), tuple(torch.cat(kept) for kept in patches))

    def _measured(self, backbone: Backbone, tokens: _Tokens) -> GuardNumbers:
        first, last = self._first, tokens.patches[-1]
        knn, linear = self._probed(last)
        patch_retrieval, image_retrieval = self._found_again(backbone, tokens)
        return GuardNumbers(
            class_drift=cosine_distance(tokens.class_token, first.class_token),
            patch_drift=max(map(cosine_distance, tokens.patches, first.patches)),
            cka=linear_cka(last.flatten(0, 1), first.patches[-1].flatten(0, 1)),
            knn=knn,
            linear=linear,
            patch_retrieval=patch_retrieval,
            image_retrieval=image_retrieval,
            rank=effective_rank(last.flatten(0, 1)),
        )

    def _probed(self, patches: Tensor) -> tuple[float | None, float | None]:
        if self._held.labels is None:
            return None, None
        labels, half = self._held.labels.flatten(1).gather(1, self._places), self._held.half
        halves = ((patches[:half], labels[:half]), (patches[half:], labels[half:]))
        (known, classes), (asked, truth) = ((rows[y > 0], y[y > 0]) for rows, y in halves)
        fair = torch.isin(truth, classes)  # a class that was never shown cannot be told
        task = (known, classes, asked[fair], truth[fair])
        return 100 * knn_probe(*task), 100 * linear_probe(*task)

    def _found_again(self, backbone: Backbone, tokens: _Tokens) -> tuple[float, float]:
        columns = self._held.images.shape[-1] // backbone.patch_px
        row, column = self._places // columns, self._places % columns
        mirrored = row * columns + (columns - 1 - column)
        again = self._tokens(backbone, self._mirrored, mirrored)
        count, per_image = self._places.shape
        image = torch.arange(count).repeat_interleave(per_image)
        place = torch.stack([row.flatten(), column.flatten()], dim=1)
        found = nearest(tokens.patches[-1].flatten(0, 1), again.patches[-1].flatten(0, 1))
        near = (place - place[found]).abs().amax(1) <= 1
        patch = (near & (image == image[found])).float().mean()
        whole = nearest(tokens.class_token, again.class_token) == torch.arange(count)
        return 100 * float(patch), 100 * float(whole.float().mean())


def _chosen_patches(images: HeldOut, count: int, generator: torch.Generator) -> Tensor:
    """(N, P) indices of patches, drawn without return; rare classes are likelier."""
    rows, columns = (side // Backbone.patch_px for side in images.images.shape[-2:])
    weight = torch.ones(len(images.images), rows * columns)
    if images.labels is not None:
        flat = images.labels.flatten(1)
        weight = 1 / flat.flatten().bincount()[flat].float()
        weight = torch.where(flat > 0, weight, 1e-9)
    # Keys of weighted sampling (Efraimidis and Spirakis 2006).
    keys = torch.rand(weight.shape, generator=generator).clamp(min=1e-12).log() / weight
    return keys.topk(min(count, rows * columns), dim=1).indices


def _mirrored(images: Tensor, generator: torch.Generator) -> Tensor:
    numbers = torch.rand(len(images), 4, generator=generator).tolist()
    pairs = zip(images.float().flip(-1).clamp(0, 1), numbers, strict=True)
    return torch.stack([recoloured(image, row, 1.0) for image, row in pairs])


def _reasons(now: GuardNumbers, start: GuardNumbers, config: GuardConfig) -> list[str]:
    if not all(math.isfinite(value) for value in now.named().values()):
        return ["features of recoloured images are NaN or infinite"]
    reasons = []
    for name in ("class_drift", "patch_drift"):
        if getattr(now, name) > config.max_drift:
            found = f"{getattr(now, name):.3f} is above {config.max_drift:g}"
            reasons.append(f"{name.replace('_', ' ')} {found}")
    if now.cka < config.min_cka:
        reasons.append(f"CKA {now.cka:.3f} is below {config.min_cka:g}")
    falls = {
        "knn": config.max_fall_points,
        "linear": config.max_fall_points,
        "patch_retrieval": config.max_retrieval_fall_points,
        "image_retrieval": config.max_retrieval_fall_points,
    }
    for name, most in falls.items():
        before, after = getattr(start, name), getattr(now, name)
        if before is not None and before - after > most:
            told = f"fell from {before:.1f} to {after:.1f}, more than {most:g} points"
            reasons.append(f"{name.replace('_', ' ')} {told}")
    if now.rank < config.min_rank_share * start.rank:
        share = f"less than {config.min_rank_share:g} of {start.rank:.1f}"
        reasons.append(f"features collapse: effective rank {now.rank:.1f}, {share}")
    return reasons
