"""Losses against what they are by definition, their floors, and heads."""

import math

import pytest
import torch
from torch import Tensor, distributed

from rangemask.errors import InputError
from rangemask.training.self_supervision.config import ProjectionConfig, TargetRule
from rangemask.training.self_supervision.heads import ProjectionHead
from rangemask.training.self_supervision.losses import (
    Targets,
    dino_loss,
    entropy,
    ibot_loss,
    koleo_loss,
    sinkhorn_knopp,
)


def cosines(*shape: int, seed: int = 0) -> Tensor:
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed)) * 2 - 1


def test_sinkhorn_uses_all_prototypes_alike() -> None:
    """A teacher that prefers one prototype is spread, as many iterations as it takes."""
    logits = cosines(32, 8)
    logits[:, 0] += 1
    assert (sinkhorn_knopp(logits, 0.1, 0).sum(0)[0] / sinkhorn_knopp(logits, 0.1, 0).sum()) > 0.9
    few, many = (sinkhorn_knopp(logits, 0.1, steps) for steps in (3, 200))
    torch.testing.assert_close(few.sum(1), torch.ones(32))
    torch.testing.assert_close(many.sum(0), torch.full((8,), 4.0), atol=1e-3, rtol=0)
    assert (few.sum(0) - 4).abs().max() < 2


def test_sinkhorn_stands_small_temperatures() -> None:
    found = sinkhorn_knopp(cosines(16, 64).half(), 0.01)
    assert found.dtype == torch.float32
    assert found.isfinite().all()
    torch.testing.assert_close(found.sum(1), torch.ones(16))


def test_centre_follows_and_keeps_one_prototype_from_winning() -> None:
    targets = Targets(8, "centre", 0.5)
    logits = cosines(64, 8)
    logits[:, 3] += 1
    first = targets(logits, 0.1)
    torch.testing.assert_close(first, (logits / 0.1).softmax(-1))
    torch.testing.assert_close(targets.centre, logits.mean(0) / 2)
    for _ in range(20):
        last = targets(logits, 0.1)
    assert first.mean(0)[3] > 0.5
    assert last.mean(0)[3] < 0.25
    targets.eval()
    before = targets.centre.clone()
    targets(logits + 1, 0.1)
    assert torch.equal(targets.centre, before)


def test_dino_is_the_mean_over_pairs_of_different_views() -> None:
    large, small = cosines(2, 3, 8), cosines(4, 3, 8, seed=1)
    targets = cosines(2, 3, 8, seed=2).mul(5).softmax(-1)
    pairs = []
    for place, target in enumerate(targets):
        for index, view in enumerate([*large, *small]):
            if place != index:
                said = (view / 0.1).log_softmax(-1)
                pairs.append(-(target * said).sum(-1).mean())
    found = dino_loss(list(large), list(small), list(targets), 0.1)
    assert len(pairs) == 2 + 2 * 4
    torch.testing.assert_close(found.loss, torch.stack(pairs).mean())


def test_floor_is_reached_and_never_undercut() -> None:
    """The best answer to several targets is their mean; no answer is below the floor."""
    targets = list(cosines(2, 3, 8).mul(3).softmax(-1))
    best = [targets[1].log() * 0.1, targets[0].log() * 0.1]
    mean = torch.stack(targets).mean(0).log() * 0.1
    found = dino_loss(best, [mean], targets, 0.1)
    assert abs(float(found.excess)) < 1e-5
    for seed in range(20):
        other = dino_loss(list(cosines(2, 3, 8, seed=seed)), [mean], targets, 0.1)
        assert other.excess > 1e-3


def test_ibot_counts_every_view_alike() -> None:
    masks = torch.zeros(3, 2, 4, dtype=torch.bool)
    masks[0, 0, 0] = masks[2] = True
    logits, targets = cosines(9, 8), cosines(9, 8, seed=1).mul(4).softmax(-1)
    per_patch = -(targets * (logits / 0.1).log_softmax(-1)).sum(-1)
    found = ibot_loss(logits, targets, masks, 0.1)
    torch.testing.assert_close(found.loss, (per_patch[0] + per_patch[1:].mean()) / 2)
    at_best = ibot_loss(targets.log() * 0.1, targets, masks, 0.1)
    torch.testing.assert_close(at_best.loss, at_best.floor)


def test_entropy() -> None:
    shares = torch.tensor([[0.25] * 4, [1.0, 0, 0, 0]])
    torch.testing.assert_close(entropy(shares), torch.tensor([math.log(4), 0.0]))


def test_koleo_is_the_log_of_the_nearest_distance_and_drives_apart() -> None:
    angles = torch.tensor([0.0, 0.2, 2.0])
    points = torch.stack([angles.cos(), angles.sin()], dim=1) * 3
    nearest = torch.tensor([2 * math.sin(0.1), 2 * math.sin(0.1), 2 * math.sin(0.9)])
    torch.testing.assert_close(koleo_loss(points), -nearest.log().mean(), atol=1e-4, rtol=0)

    tokens = torch.randn(6, 8, generator=torch.Generator().manual_seed(0)) * 0.01 + 1
    tokens.requires_grad_()
    before = koleo_loss(tokens)
    before.backward()
    assert koleo_loss(tokens.detach() - 0.01 * tokens.grad) < before
    assert koleo_loss(torch.ones(1, 8)) == 0
    assert koleo_loss(torch.ones(3, 8)).isfinite()


def test_losses_are_float32_under_autocast() -> None:
    logits, targets = cosines(4, 8), cosines(4, 8, seed=1).mul(4).softmax(-1)
    masks = torch.ones(1, 2, 2, dtype=torch.bool)
    with torch.autocast("cpu", torch.bfloat16):
        found = ibot_loss(logits.bfloat16(), targets, masks, 0.1).loss
        apart = koleo_loss(logits.bfloat16())
    assert found.dtype == apart.dtype == torch.float32
    torch.testing.assert_close(found, ibot_loss(logits.bfloat16(), targets, masks, 0.1).loss)


def test_dino_without_two_views_speaks() -> None:
    view = cosines(3, 8)
    with pytest.raises(InputError, match="two large views"):
        dino_loss([view], [], [view.softmax(-1)], 0.1)


def test_head_gives_cosines_and_every_parameter_learns() -> None:
    torch.manual_seed(0)
    head = ProjectionHead(96, ProjectionConfig(prototypes=32, hidden=24, bottleneck=16))
    tokens = torch.randn(5, 7, 96)
    found = head(tokens)
    assert found.shape == (5, 7, 32)
    assert found.abs().max() <= 1 + 1e-5
    # The length of prototypes has no say.
    head.prototypes.data *= torch.rand(32, 1) + 0.5
    torch.testing.assert_close(head(tokens), found)
    (head(tokens) * torch.randn(32)).sum().backward()
    assert all(p.grad is not None and p.grad.any() for p in head.parameters())
    head.zero_grad()
    (head(tokens, learn_prototypes=False) * torch.randn(32)).sum().backward()
    assert head.prototypes.grad is None
    with torch.autocast("cpu", torch.bfloat16):
        half = head(tokens)
    assert half.dtype == torch.float32
    torch.testing.assert_close(half, found, atol=0.03, rtol=0)
    with pytest.raises(InputError, match="prototypes must be at least 2"):
        ProjectionConfig(prototypes=1)


@pytest.mark.parametrize("rule", ["sinkhorn", "centre"])
def test_rows_of_all_processes_count(rule: TargetRule, monkeypatch: pytest.MonkeyPatch) -> None:
    """A process beside one that has the same rows: as if one had them twice."""
    logits = cosines(16, 8)
    together = Targets(8, rule, 0.5)
    wanted = [together(torch.cat([logits, logits]), 0.1)[:16] for _ in range(2)]

    def add_the_same(value: Tensor, op: distributed.ReduceOp.RedOpType) -> None:
        if op == distributed.ReduceOp.SUM:
            value.mul_(2)

    monkeypatch.setattr(distributed, "is_initialized", lambda: True)
    monkeypatch.setattr(distributed, "all_reduce", add_the_same)
    apart = Targets(8, rule, 0.5)
    for expected in wanted:
        torch.testing.assert_close(apart(logits, 0.1), expected)
