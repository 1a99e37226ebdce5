"""How a mask is compared with the truth, and how truths come to the grid of the logits.

Truths are shares in [0, 1]: a cell of the grid that an object covers by half is 1/2, so that the
border of the enlarged mask can lie anywhere within it. Every term is 0 where the probabilities
equal the shares.
"""

from __future__ import annotations

from typing import Literal, TypeAlias

import torch
from torch import Tensor
from torch.nn import functional as F

MaskLossKind: TypeAlias = Literal["bce", "focal"]
FOCAL_ALPHA = 0.25
"""Weight of the inside; that of the outside is what is missing to 1 (arXiv 1708.02002)."""
FOCAL_GAMMA = 2


def shares_on_grid(masks: Tensor, size: tuple[int, int]) -> Tensor:
    """Share of each cell that a mask covers, (N, H, W) bool to (N, h, w) float32.

    Args:
        masks: (N, H, W).
        size: h, w.
    """
    if len(masks) == 0:
        return torch.zeros(0, *size, device=masks.device)
    return F.interpolate(masks[None].float(), size=size, mode="area")[0]


def mask_divergence(logits: Tensor, truth: Tensor, kind: MaskLossKind) -> Tensor:
    """Per place: binary cross-entropy less what no answer could avoid, maybe focal.

    The difference to plain cross-entropy is constant: gradients are the same. For shares of 0
    and 1 the focal kind is the published one; for those between it is that of generalised focal
    loss (arXiv 2006.04388, equation 5).

    Args:
        logits: (..., P).
        truth: (..., P) in [0, 1].
        kind: plain or focal.

    Returns:
        (..., P).
    """
    entropy = F.binary_cross_entropy_with_logits(logits, truth, reduction="none")
    entropy = entropy + torch.xlogy(truth, truth) + torch.xlogy(1 - truth, 1 - truth)
    if kind == "bce":
        return entropy
    balance = FOCAL_ALPHA * truth + (1 - FOCAL_ALPHA) * (1 - truth)
    return balance * (logits.sigmoid() - truth).abs() ** FOCAL_GAMMA * entropy


def dice_loss(logits: Tensor, truth: Tensor) -> Tensor:
    """1 - Dice coefficient (V-Net, arXiv 1606.04797, section 3), smoothed by 1.

    Its denominator has squares, so that shares between 0 and 1 can be met.

    Args:
        logits: (..., P).
        truth: (..., P) in [0, 1].

    Returns:
        (...) in [0, 1].
    """
    inside = logits.sigmoid()
    together = (inside * truth).sum(-1)
    size = inside.square().sum(-1) + truth.square().sum(-1)
    return 1 - (2 * together + 1) / (size + 1)


def divergence_of_pairs(logits: Tensor, truth: Tensor, kind: MaskLossKind) -> Tensor:
    """Mean ``mask_divergence`` of every answer with every truth, up to a constant per truth.

    The focal kind is weighed as if places were shared out between inside and outside, which is
    the same for shares of 0 and 1.

    Args:
        logits: (B, N, P).
        truth: (B, M, P).
        kind: plain or focal.

    Returns:
        (B, N, M).
    """
    outside = F.softplus(logits)
    inside = outside - logits
    if kind == "focal":
        probability = logits.sigmoid()
        inside = FOCAL_ALPHA * (1 - probability) ** FOCAL_GAMMA * inside
        outside = (1 - FOCAL_ALPHA) * probability**FOCAL_GAMMA * outside
    together = (inside - outside) @ truth.transpose(1, 2)
    pairs: Tensor = (together + outside.sum(-1, keepdim=True)) / logits.shape[-1]
    return pairs


def dice_of_pairs(logits: Tensor, truth: Tensor) -> Tensor:
    """``dice_loss`` of every answer with every truth, (B, N, P) and (B, M, P) to (B, N, M)."""
    inside = logits.sigmoid()
    together = inside @ truth.transpose(1, 2)
    size = inside.square().sum(-1, keepdim=True) + truth.square().sum(-1)[:, None]
    pairs: Tensor = 1 - (2 * together + 1) / (size + 1)
    return pairs
