"""DINO, iBOT and KoLeo, in float32 whatever comes in (DINOv2, arXiv 2304.07193, section 4).

A cross-entropy cannot fall below the entropy of its targets. Losses come with that floor: what
is above it is what the student can still learn.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, distributed, nn
from torch.nn import functional as F

from rangemask.errors import InputError
from rangemask.training.self_supervision.config import TargetRule

SINKHORN_ITERATIONS = 3


class Bounded(NamedTuple):
    """A cross-entropy and the least it can be for its targets; both without shape, float32."""

    loss: Tensor
    floor: Tensor

    @property
    def excess(self) -> Tensor:
        """What is above the floor: 0 where the student says just what the targets do."""
        return self.loss - self.floor


@torch.no_grad()
def sinkhorn_knopp(
    logits: Tensor, temperature: float, iterations: int = SINKHORN_ITERATIONS
) -> Tensor:
    """Targets that use all prototypes alike (SwAV, arXiv 2006.09882, section 3).

    Where processes train together, all their rows count.

    Args:
        logits: (R, K) cosines of the teacher.
        temperature: the smaller, the surer.
        iterations: of scaling columns and rows.

    Returns:
        (R, K) float32, rows sum to 1.
    """
    scores = logits.float() / temperature
    top = _over_processes(scores.max(), distributed.ReduceOp.MAX)
    shares = (scores - top).exp()
    for _ in range(iterations):
        columns = _over_processes(shares.sum(0), distributed.ReduceOp.SUM)
        shares = shares / columns.clamp(min=torch.finfo(shares.dtype).tiny)
        shares = shares / shares.sum(1, keepdim=True).clamp(min=torch.finfo(shares.dtype).tiny)
    return shares


class Targets(nn.Module):
    """What the student is to say, from what the teacher says.

    Args:
        prototypes: K.
        rule: ``sinkhorn``, or ``centre``: a softmax of what is above the running mean (DINO).
        momentum: of the running mean.
    """

    centre: Tensor

    def __init__(self, prototypes: int, rule: TargetRule, momentum: float) -> None:
        super().__init__()
        self.rule, self.momentum = rule, momentum
        self.register_buffer("centre", torch.zeros(prototypes))

    @torch.no_grad()
    def forward(self, logits: Tensor, temperature: float) -> Tensor:
        """(R, K) cosines to (R, K) targets; in training the running mean moves on afterwards."""
        with torch.autocast(logits.device.type, enabled=False):
            if self.rule == "sinkhorn":
                return sinkhorn_knopp(logits, temperature)
            logits = logits.float()
            targets = ((logits - self.centre) / temperature).softmax(-1)
            if self.training:
                rows = _over_processes(logits.new_tensor(len(logits)), distributed.ReduceOp.SUM)
                mean = _over_processes(logits.sum(0), distributed.ReduceOp.SUM) / rows
                self.centre.lerp_(mean, 1 - self.momentum)
            return targets


def dino_loss(
    large: Sequence[Tensor], small: Sequence[Tensor], targets: Sequence[Tensor], temperature: float
) -> Bounded:
    """Every view is to say what the teacher says of the other large ones.

    Args:
        large: per large view, the student's cosines (B, K).
        small: the same of the small views.
        targets: per large view, the teacher's (B, K).
        temperature: the student's.

    Returns:
        means over views and images. The floor is the entropy of the mean of a view's targets.

    Raises:
        InputError: fewer than two large views, or not as many targets.
    """
    if len(large) < 2 or len(large) != len(targets):
        raise InputError(
            f"DINO compares two large views or more, got {len(large)} of the student and "
            f"{len(targets)} of the teacher."
        )
    losses, floors = [], []
    for index, view in enumerate([*large, *small]):
        others = [target for place, target in enumerate(targets) if place != index]
        wanted = torch.stack(others).float().mean(0)
        losses.append(_cross_entropy(view, wanted, temperature).mean())
        floors.append(entropy(wanted).mean())
    # A mean over pairs: a small view has as many as there are large ones, a large one fewer.
    pairs = torch.tensor(
        [len(large) - 1] * len(large) + [len(large)] * len(small),
        dtype=torch.float32,
        device=losses[0].device,
    )
    pairs = pairs / pairs.sum()
    return Bounded((torch.stack(losses) * pairs).sum(), (torch.stack(floors) * pairs).sum())


def ibot_loss(logits: Tensor, targets: Tensor, masks: Tensor, temperature: float) -> Bounded:
    """Hidden patches are to be what the teacher sees there (arXiv 2111.07832).

    Args:
        logits: (R, K), the student's cosines of hidden patches, in the order of ``masks``.
        targets: (R, K), the teacher's of the same patches.
        masks: (V, h, w) bool, True where hidden: R in all.
        temperature: the student's.

    Returns:
        mean over views that hide patches of the mean over their hidden patches.
    """
    hidden = masks.flatten(1).sum(1)
    weight = (1 / hidden.clamp(min=1)).repeat_interleave(hidden).to(logits.device).float()
    weight = weight / weight.sum()
    loss = (_cross_entropy(logits, targets.float(), temperature) * weight).sum()
    return Bounded(loss, (entropy(targets) * weight).sum())


def koleo_loss(tokens: Tensor) -> Tensor:
    """Keep a batch apart: minus the mean log distance to the nearest one (arXiv 1806.03198).

    Args:
        tokens: (B, C) class tokens of one view.

    Returns:
        without shape, float32; 0 for a single image, which has no neighbour.
    """
    with torch.autocast(tokens.device.type, enabled=False):
        unit = F.normalize(tokens.float(), dim=-1, eps=1e-8)
        if len(unit) < 2:
            return unit.sum() * 0
        with torch.no_grad():
            alike = unit @ unit.T
            nearest = alike.fill_diagonal_(-2.0).argmax(1)
        distance = (unit - unit[nearest] + 1e-8).norm(dim=-1)
        loss: Tensor = -(distance + 1e-8).log().mean()
        return loss


def entropy(shares: Tensor) -> Tensor:
    """Of distributions (..., K), in nats, float32."""
    found: Tensor = torch.special.entr(shares.float()).sum(-1)
    return found


@torch.no_grad()
def information(targets: Tensor) -> Tensor:
    """What targets (R, K) tell about which row they belong to, in nats, at most log R.

    0 where all rows have the same, be it one prototype or all of them alike: the two ways in which
    a teacher collapses.
    """
    return entropy(targets.mean(0)) - entropy(targets).mean()


def _cross_entropy(logits: Tensor, targets: Tensor, temperature: float) -> Tensor:
    with torch.autocast(logits.device.type, enabled=False):
        said = F.log_softmax(logits.float() / temperature, dim=-1)
        found: Tensor = -(targets * said).sum(-1)
        return found


def _over_processes(value: Tensor, how: distributed.ReduceOp.RedOpType) -> Tensor:
    if distributed.is_available() and distributed.is_initialized():
        distributed.all_reduce(value, op=how)
    return value
