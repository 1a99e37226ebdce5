"""Losses of the depth head: metric, up to a scale, up to a scale and a shift."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias, get_args

import torch
from torch import Tensor

from rangemask.errors import InputError
from rangemask.training.batch import Batch
from rangemask.training.losses.loss import (
    Loss,
    check_choice,
    check_range,
    check_shape,
    full_precision,
    loss_of_frames,
    trust,
    weighted_mean,
)

DepthLossKind: TypeAlias = Literal["l1", "log-l1", "silog", "ssi", "ssi-trim"]
"""``l1``: in the unit of the map; ``log-l1``: of natural logarithms; ``silog``: scale-invariant
log (Eigen et al., NIPS 2014, equation 4); ``ssi`` and ``ssi-trim``: scale- and shift-invariant,
by least squares and robust (MiDaS, arXiv 1907.01341, section 5)."""

NEAR_ZERO = 1e-6
"""Below it, a spread is none and a logarithm is not taken."""
ROOT_SOFTNESS = 1e-3
"""Where the root of ``silog`` turns into a parabola, whose slope is finite."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DepthLossConfig:
    """How a depth map is compared.

    Raises:
        InputError: a name is unknown or a number impossible.
    """

    kind: DepthLossKind = "silog"
    """See ``DepthLossKind``; ``ssi`` or ``ssi-trim`` for a relative head."""
    variance_focus: float = 0.5
    """Of ``silog``: the share of the mean error that is forgiven, lambda: 0 forgives no scale, 1
    all of it; 0.5 as in the paper, 0.85 as in BTS (arXiv 1907.10326)."""
    root: bool = True
    """Of ``silog``: its root, as Depth Anything V2 is tuned with, which is less ruled by few
    large errors; else as in the paper."""
    trimmed: float = 0.2
    """Of ``ssi-trim``: share of pixels with the largest errors that is left out, in [0, 1)."""
    gradient_weight: float | None = None
    """Of multi-scale gradient matching of the error; None: 0.5 for ``ssi`` and ``ssi-trim``, as
    in MiDaS, and 0 for the others."""
    gradient_scales: int = 4
    """Resolutions of the gradient matching, each half of the one before."""
    inverse_truth: bool = False
    """Labels of depth are relative inverse depth (``relative_inverse``), as teachers for one eye
    give it; only for relative heads."""

    def __post_init__(self) -> None:
        check_choice("kind", self.kind, get_args(DepthLossKind))
        check_range("variance_focus", self.variance_focus, 0, 1)
        check_range("trimmed", self.trimmed, 0, 0.99)
        check_range("gradient_weight", self.gradients, 0)
        check_range("gradient_scales", self.gradient_scales, 1)

    @property
    def gradients(self) -> float:
        """Weight of the gradient matching."""
        if self.gradient_weight is not None:
            return self.gradient_weight
        return 0.5 if self.kind in ("ssi", "ssi-trim") else 0.0


def depth_loss(
    predicted: Tensor,
    batch: Batch,
    config: DepthLossConfig | None = None,
    *,
    max_depth_m: float | None = None,
    importance: Tensor | None = None,
) -> Loss:
    """Compare the depth head's map with the truth.

    A relative head, which states inverse depth, learns from disparity if the batch has it, else
    from depth.

    Args:
        predicted: (B, H, W) metres, or relative inverse depth.
        batch: with depth, or for a relative head with disparity or depth.
        config: how to compare; None for the default.
        max_depth_m: farthest depth of a metric head, ``RangeMaskConfig.depth.max_depth_m``;
            farther pixels are left out. None for a relative head.
        importance: (B, H, W), multiplied to the weights.

    Raises:
        InputError: there is no label, its shape is another, or it does not suit the head.
        NothingKnownError: no pixel of the batch is known.
    """
    config = DepthLossConfig() if config is None else config
    truth, known = depth_truth(batch, max_depth_m=max_depth_m, inverse=config.inverse_truth)
    return map_loss(predicted, truth, known, batch, config, importance=importance)


def depth_truth(
    batch: Batch, *, max_depth_m: float | None, inverse: bool = False
) -> tuple[Tensor, Tensor]:
    """What a depth head should say, and where that is known: (B, H, W) and (B, H, W) bool.

    Args:
        batch: with depth, or for a relative head with disparity or depth.
        max_depth_m: of a metric head; None for a relative one.
        inverse: the batch's depth is relative inverse depth.

    Raises:
        InputError: there is no label, or it does not suit the head.
    """
    if max_depth_m is not None:
        if batch.depth is None or inverse:
            raise InputError(
                "a metric depth head learns from depth in metres, and these frames have "
                f"{'relative inverse depth' if inverse else 'none'}; disparity becomes metres "
                "with a rig, or train a relative head (max_depth_m: null)."
            )
        # An infinite distance is known, but this head cannot state it.
        return batch.depth, (batch.depth > 0) & (batch.depth <= max_depth_m)
    if batch.depth is not None and inverse:
        return batch.depth, torch.isfinite(batch.depth) & (batch.depth >= 0)
    if batch.disparity is not None:
        return batch.disparity, torch.isfinite(batch.disparity) & (batch.disparity >= 0)
    if batch.depth is None:
        raise InputError("a depth head learns from depth or disparity, and these frames have none.")
    known = batch.depth > 0
    return 1 / torch.where(known, batch.depth.float(), 1), known


def map_loss(
    predicted: Tensor,
    truth: Tensor,
    known: Tensor,
    batch: Batch,
    config: DepthLossConfig,
    *,
    importance: Tensor | None = None,
) -> Loss:
    """Compare any map with its truth, where that is known; ``batch`` gives weights and names.

    Args:
        predicted: (B, H, W).
        truth: (B, H, W).
        known: (B, H, W) bool.
        batch: where the maps belong.
        config: how to compare.
        importance: (B, H, W), multiplied to the weights.

    Raises:
        InputError: shapes differ.
        NothingKnownError: no pixel of the batch is known.
    """
    check_shape("the truth", truth, predicted.shape)
    if config.kind in ("log-l1", "silog"):
        known = known & (truth > NEAR_ZERO)
    weight = trust(known, batch.weight)
    if importance is not None:
        check_shape("the importance", importance, predicted.shape)
        weight = weight * importance
    known = weight > 0
    with full_precision(predicted):
        # Chosen before any arithmetic, so that no unknown pixel has a gradient, not even NaN.
        predicted = torch.where(known, predicted.float(), 1)
        truth = torch.where(known, truth.float(), 1)
        error = _error(predicted, truth, weight, config)
        parts: dict[str, Tensor] = {config.kind: _MEASURES[config.kind](error, weight, config)}
        if config.gradients:
            parts["gradient"] = gradient_matching(error, weight, config.gradient_scales)
        return loss_of_frames(
            parts,
            dict.fromkeys(parts, 1.0) | {"gradient": config.gradients},
            known.flatten(1).any(1),
            batch.names,
            "a known depth or disparity in range",
        )


def aligned(predicted: Tensor, truth: Tensor, weight: Tensor) -> Tensor:
    """A map brought onto the truth by the scale and shift of least squares, per frame.

    A map that runs against the truth would get a negative scale, under which it could learn the
    world inside out; it gets the scale that makes the spreads equal instead.

    Args:
        predicted: (B, H, W).
        truth: (B, H, W).
        weight: (B, H, W).
    """
    predicted, spread = _centred(predicted, weight)
    target, target_spread = _centred(truth, weight)
    together = weighted_mean(predicted * target, weight)
    varied = spread > NEAR_ZERO * NEAR_ZERO
    squares = together / torch.where(varied, spread, 1)
    ratio = target_spread / torch.where(varied, spread, 1)
    # The slope of a root at 0 has no bound.
    equal = torch.where(ratio > 0, torch.where(ratio > 0, ratio, 1).sqrt(), 0)
    scale = torch.where(together > 0, squares, torch.where(varied, equal, 1))
    return _per_frame(scale) * predicted + (truth - target)


def normalised(values: Tensor, known: Tensor) -> Tensor:
    """A map with median 0 and mean absolute deviation from it 1, per frame (MiDaS, equation 5).

    Args:
        values: (B, H, W).
        known: (B, H, W) bool, what the statistics are of.
    """
    middle = _median(values, known)
    centred = values - _per_frame(middle)
    spread = weighted_mean(centred.abs(), known.float())
    return centred / _per_frame(torch.where(spread > NEAR_ZERO, spread, 1))


def gradient_matching(error: Tensor, weight: Tensor, scales: int) -> Tensor:
    """Mean slope of the error, per frame, summed over resolutions (MiDaS, equation 11).

    It keeps edges of the map where those of the truth are. Resolutions are halved by leaving
    out pixels: means would blur what is known with what is not.

    Args:
        error: (B, H, W), finite everywhere.
        weight: (B, H, W).
        scales: how many.
    """
    total = error.new_zeros(len(error))
    for level in range(scales):
        step = 2**level
        small, trusted = error[:, ::step, ::step], weight[:, ::step, ::step]
        for axis in (1, 2):
            if small.shape[axis] < 2:
                continue
            first, second = trusted.narrow(axis, 0, small.shape[axis] - 1), _rest(trusted, axis)
            total = total + weighted_mean(small.diff(dim=axis).abs(), torch.minimum(first, second))
    return total


def _rest(values: Tensor, axis: int) -> Tensor:
    return values.narrow(axis, 1, values.shape[axis] - 1)


def _error(predicted: Tensor, truth: Tensor, weight: Tensor, config: DepthLossConfig) -> Tensor:
    """(B, H, W), what the kinds of losses measure."""
    if config.kind == "l1":
        return predicted - truth
    if config.kind in ("log-l1", "silog"):
        return predicted.clamp(min=NEAR_ZERO).log() - truth.log()
    truth = normalised(truth, weight > 0)
    if config.kind == "ssi":
        return aligned(predicted, truth, weight) - truth
    return normalised(predicted, weight > 0) - truth


def _l1(error: Tensor, weight: Tensor, config: DepthLossConfig) -> Tensor:
    return weighted_mean(error.abs(), weight)


def _silog(error: Tensor, weight: Tensor, config: DepthLossConfig) -> Tensor:
    mean = weighted_mean(error, weight)
    variance = weighted_mean((error - _per_frame(mean)).square(), weight)
    value = variance + (1 - config.variance_focus) * mean.square()
    if not config.root:
        return value
    return (value + ROOT_SOFTNESS**2).sqrt() - ROOT_SOFTNESS


def _ssi(error: Tensor, weight: Tensor, config: DepthLossConfig) -> Tensor:
    return weighted_mean(error.square(), weight) / 2


def _ssi_trim(error: Tensor, weight: Tensor, config: DepthLossConfig) -> Tensor:
    error, known = error.abs(), weight > 0
    ranked = torch.where(known, error.detach(), torch.inf).flatten(1)
    counts = known.flatten(1).sum(1).tolist()
    kept = [max(round(count * (1 - config.trimmed)), 1) for count in counts]
    worst = [row.kthvalue(count).values for row, count in zip(ranked, kept, strict=True)]
    within = error.detach() <= _per_frame(torch.stack(worst))
    # Divided by all of the weight, as published: what is left out counts as 0.
    return weighted_mean(torch.where(within, error, 0), weight) / 2


_MEASURES = {"l1": _l1, "log-l1": _l1, "silog": _silog, "ssi": _ssi, "ssi-trim": _ssi_trim}


def _centred(values: Tensor, weight: Tensor) -> tuple[Tensor, Tensor]:
    """Values without their mean, and their variance (B,)."""
    centred = values - _per_frame(weighted_mean(values, weight))
    return centred, weighted_mean(centred.square(), weight)


def _median(values: Tensor, known: Tensor) -> Tensor:
    """(B,); 0 where nothing is known."""
    middle = torch.where(known, values, torch.nan).flatten(1).nanmedian(dim=1).values
    return torch.where(known.flatten(1).any(1), middle, 0)


def _per_frame(values: Tensor) -> Tensor:
    return values[:, None, None]
