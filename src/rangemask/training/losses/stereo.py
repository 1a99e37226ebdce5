"""Losses of the stereo head: its first estimate, and each of its refinements."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from rangemask.errors import InputError
from rangemask.models.heads.stereo import StereoOutput
from rangemask.training.batch import Batch
from rangemask.training.losses.loss import (
    Loss,
    check_range,
    check_shape,
    full_precision,
    loss_of_frames,
    trust,
    weighted_mean,
)


@dataclass(frozen=True, kw_only=True, slots=True)
class StereoLossConfig:
    """How disparities are compared.

    Raises:
        InputError: a number is impossible.
    """

    coarse_weight: float = 1.0
    """Of the first estimate."""
    iterate_weight: float = 1.0
    """Of the refinements together."""
    gamma: float = 0.9
    """The last refinement counts 1, each one before it this much of the next, in (0, 1];
    RAFT-Stereo (arXiv 2109.07547, equation 2)."""
    smooth_px: float = 1.0
    """Below it, errors of the first estimate count squared."""
    max_disparity_px: float | None = None
    """Pixels with more are left out; None: what the caller says the volume spans."""

    def __post_init__(self) -> None:
        check_range("coarse_weight", self.coarse_weight, 0)
        check_range("iterate_weight", self.iterate_weight, 0)
        check_range("gamma", self.gamma, 0, 1, open_=True)
        check_range("smooth_px", self.smooth_px, 0, open_=True)
        if self.max_disparity_px is not None:
            check_range("max_disparity_px", self.max_disparity_px, 0, open_=True)


def stereo_loss(
    output: StereoOutput,
    batch: Batch,
    config: StereoLossConfig | None = None,
    *,
    max_disparity_px: float | None = None,
) -> Loss:
    """Smooth L1 on the first estimate, weighted L1 on the refinements.

    Args:
        output: of the stereo head, called with ``all_iterates``.
        batch: with disparity.
        config: weights; None for the defaults.
        max_disparity_px: of the head, ``RangeMaskConfig.stereo.max_disparity_px``; used where
            the config names none. None: all disparities count.

    Raises:
        InputError: there is no disparity, or its shape is another.
        NothingKnownError: no pixel of the batch is known and in range.
    """
    config = StereoLossConfig() if config is None else config
    if batch.disparity is None:
        raise InputError("a stereo head learns from disparity, and these frames have none.")
    check_shape("the disparity", batch.disparity, output.iterates[-1].shape)
    limit = max_disparity_px if config.max_disparity_px is None else config.max_disparity_px
    truth, known = disparity_truth(batch.disparity, limit)
    weight = trust(known, batch.weight)
    with full_precision(truth):
        truth = torch.where(weight > 0, truth.float(), 0)
        parts = {
            "coarse": _coarse(output.coarse_px.float(), truth, weight, config.smooth_px),
            "iterates": _iterates(output.iterates, truth, weight, config.gamma),
        }
        with torch.no_grad():
            last = torch.where(weight > 0, output.disparity_px.float(), 0)
            parts["epe_px"] = weighted_mean((last - truth).abs(), weight)
        return loss_of_frames(
            parts,
            {"coarse": config.coarse_weight, "iterates": config.iterate_weight, "epe_px": 0.0},
            (weight > 0).flatten(1).any(1),
            batch.names,
            f"a known disparity{'' if limit is None else f' of at most {limit:g} px'}",
        )


def disparity_truth(disparity: Tensor, limit_px: float | None) -> tuple[Tensor, Tensor]:
    """Disparities, and where they are known and in range: (B, H, W) and (B, H, W) bool.

    Args:
        disparity: (B, H, W) px, NaN where unknown.
        limit_px: largest one that counts; None: any finite one.
    """
    known = torch.isfinite(disparity) & (disparity >= 0)
    return disparity, known if limit_px is None else known & (disparity <= limit_px)


def coarse_truth(truth: Tensor, weight: Tensor, size: tuple[int, int]) -> tuple[Tensor, Tensor]:
    """Disparities of the cells of a coarse grid, and their weights.

    A cell takes the (lower) median of its known pixels: at the border of an object a mean would
    be a disparity that no surface has. Its weight is the mean over all of its pixels. A cell
    whose match lies beyond the edge of the right image has none, since the volume cannot state
    it.

    Args:
        truth: (B, H, W) px, finite.
        weight: (B, H, W), 0 where unknown.
        size: h and w of the grid, divisors of H and W.

    Returns:
        (B, h, w) px of the full size, 0 where unknown, and (B, h, w).

    Raises:
        InputError: the grid does not divide the map.
    """
    (height, width), (rows, columns) = truth.shape[-2:], size
    if height % rows or width % columns:
        raise InputError(
            f"the first estimate must divide the disparity map of {height} x {width}, got "
            f"{rows} x {columns}."
        )
    cells = torch.where(weight > 0, truth, torch.nan)
    median = _blocks(cells, size).nanmedian(dim=-1).values
    trusted = _blocks(weight, size).mean(dim=-1)
    # First column of each cell: the cell as a whole must have a match.
    edge_px = torch.arange(columns, device=truth.device) * (width // columns)
    reachable = median <= edge_px
    return torch.where(reachable, median, 0), torch.where(reachable, trusted, 0)


def _blocks(values: Tensor, size: tuple[int, int]) -> Tensor:
    """(B, H, W) to (B, h, w, pixels of a cell)."""
    (height, width), (rows, columns) = values.shape[-2:], size
    split = values.unflatten(2, (columns, width // columns)).unflatten(1, (rows, height // rows))
    blocks: Tensor = split.transpose(2, 3).flatten(3)
    return blocks


def _coarse(coarse: Tensor, truth: Tensor, weight: Tensor, smooth_px: float) -> Tensor:
    target, trusted = coarse_truth(truth, weight, (coarse.shape[-2], coarse.shape[-1]))
    coarse = torch.where(trusted > 0, coarse, 0)
    error = F.smooth_l1_loss(coarse, target, reduction="none", beta=smooth_px)
    return weighted_mean(error, trusted)


def _iterates(iterates: tuple[Tensor, ...], truth: Tensor, weight: Tensor, gamma: float) -> Tensor:
    known = weight > 0
    total = truth.new_zeros(len(truth))
    for back, iterate in enumerate(reversed(iterates)):
        error = (torch.where(known, iterate.float(), 0) - truth).abs()
        total = total + gamma**back * weighted_mean(error, weight)
    return total
