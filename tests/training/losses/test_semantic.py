"""Loss of the semantic head."""

import math
from collections.abc import Callable
from typing import get_args

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from rangemask.errors import InputError
from rangemask.training.batch import Batch
from rangemask.training.losses import NothingKnownError, SemanticLossConfig, semantic, semantic_loss
from rangemask.training.losses.semantic import Resolution

Make = Callable[..., Batch]
RESOLUTIONS = get_args(Resolution)


def patches(classes: int, count: int = 2) -> Tensor:
    """Labels 0 to classes, one per patch."""
    ids = torch.randint(0, classes + 1, (count, 4, 4))
    return ids.repeat_interleave(14, 1).repeat_interleave(14, 2)


def test_pixels_is_the_cross_entropy_of_the_enlarged(make_batch: Make) -> None:
    labels, logits = torch.randint(1, 4, (2, 56, 56)), torch.randn(2, 3, 4, 4)
    large = F.interpolate(logits, size=(56, 56), mode="bilinear")
    loss = semantic_loss(logits, make_batch(semantic=labels))
    torch.testing.assert_close(loss.total, F.cross_entropy(large, labels - 1))


def test_one_frame_at_a_time_says_the_same(
    make_batch: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    labels, logits = patches(3), torch.randn(2, 3, 4, 4, requires_grad=True)
    results = []
    for kept in (semantic.KEPT_AT_ONCE, 1):
        monkeypatch.setattr(semantic, "KEPT_AT_ONCE", kept)
        loss = semantic_loss(logits, make_batch(semantic=labels)).total
        results.append((loss.detach(), *torch.autograd.grad(loss, logits)))
    torch.testing.assert_close(results[0], results[1])


def test_patches_cost_nothing_where_shares_are_met(make_batch: Make) -> None:
    labels = torch.randint(0, 4, (2, 56, 56))
    share = F.one_hot(labels, 4)[..., 1:].permute(0, 3, 1, 2).float()
    share = F.avg_pool2d(share, 14)
    batch, config = make_batch(semantic=labels), SemanticLossConfig(resolution="patches")
    logits = (share / share.sum(1, keepdim=True)).log().requires_grad_()
    loss = semantic_loss(logits, batch, config)
    assert loss.total.item() == pytest.approx(0, abs=1e-6)
    (gradient,) = torch.autograd.grad(loss.total, logits)
    assert gradient.abs().max() < 1e-6
    assert semantic_loss(logits.flip(1), batch, config).total > 1e-3


def test_both_resolutions_agree_on_what_is_the_same_everywhere(make_batch: Make) -> None:
    labels = torch.full((2, 56, 56), 2)
    logits = torch.randn(2, 3, 1, 1).expand(2, 3, 4, 4)
    losses = [
        semantic_loss(logits, make_batch(semantic=labels), SemanticLossConfig(resolution=name))
        for name in RESOLUTIONS
    ]
    torch.testing.assert_close(losses[0].total, losses[1].total)


@pytest.mark.parametrize("resolution", RESOLUTIONS)
def test_only_known_pixels_have_a_gradient(make_batch: Make, resolution: Resolution) -> None:
    labels = torch.zeros(2, 56, 56, dtype=torch.long)
    labels[0, :14, :14] = 2
    logits = torch.randn(2, 3, 4, 4, requires_grad=True)
    config = SemanticLossConfig(resolution=resolution)
    loss = semantic_loss(logits, make_batch(semantic=labels), config)
    assert loss.skipped == ("frame1",)
    loss.total.backward()
    assert logits.grad is not None
    assert (logits.grad[1] == 0).all()
    assert (logits.grad[0, :, 2:] == 0).all()
    assert (logits.grad[0, :, 0, 0] != 0).all()


@pytest.mark.parametrize("resolution", RESOLUTIONS)
def test_a_batch_is_the_mean_of_its_frames(make_batch: Make, resolution: Resolution) -> None:
    labels, logits = patches(3), torch.randn(2, 3, 4, 4)
    labels[0, :20] = 0
    config = SemanticLossConfig(resolution=resolution, class_weights=(1.0, 2.0, 0.5))
    both = semantic_loss(logits, make_batch(semantic=labels), config).total
    singles = [
        semantic_loss(logits[i : i + 1], make_batch(1, semantic=labels[i : i + 1]), config).total
        for i in range(2)
    ]
    torch.testing.assert_close(both, (singles[0] + singles[1]) / 2)


@pytest.mark.parametrize("resolution", RESOLUTIONS)
def test_a_class_of_weight_zero_is_unknown(make_batch: Make, resolution: Resolution) -> None:
    labels, logits = patches(3), torch.randn(2, 3, 4, 4)
    config = SemanticLossConfig(resolution=resolution, class_weights=(1.0, 0.0, 1.0))
    weighted = semantic_loss(logits, make_batch(semantic=labels), config)
    hidden = make_batch(semantic=torch.where(labels == 2, 0, labels))
    plain = semantic_loss(logits, hidden, SemanticLossConfig(resolution=resolution))
    torch.testing.assert_close(weighted.total, plain.total)


@pytest.mark.parametrize("resolution", RESOLUTIONS)
def test_one_class_alone_against_all_else(make_batch: Make, resolution: Resolution) -> None:
    """Binary cross-entropy; what it is not must be said, or taken from the unlabelled."""
    inside = torch.rand(2, 1, 4, 4) > 0.5
    labels = torch.where(inside[:, 0], 1, 2).repeat_interleave(14, 1).repeat_interleave(14, 2)
    logits = torch.randn(2, 1, 4, 4)
    config = SemanticLossConfig(resolution=resolution)
    loss = semantic_loss(logits, make_batch(semantic=labels), config).total
    if resolution == "patches":
        expected = F.binary_cross_entropy_with_logits(logits, inside.float())
    else:
        large = F.interpolate(logits, size=(56, 56), mode="bilinear")
        expected = F.binary_cross_entropy_with_logits(large[:, 0], (labels == 1).float())
    torch.testing.assert_close(loss, expected)
    unlabelled = make_batch(semantic=torch.where(labels == 2, 0, labels))
    config = SemanticLossConfig(resolution=resolution, unknown_is_other=True)
    torch.testing.assert_close(semantic_loss(logits, unlabelled, config).total, loss)


def test_half_precision_in_is_full_precision_within(make_batch: Make) -> None:
    labels, logits = patches(3), torch.randn(2, 3, 4, 4).bfloat16()
    for resolution in RESOLUTIONS:
        config = SemanticLossConfig(resolution=resolution)
        expected = semantic_loss(logits.float(), make_batch(semantic=labels), config)
        with torch.autocast("cpu", torch.bfloat16):
            loss = semantic_loss(logits, make_batch(semantic=labels), config)
        torch.testing.assert_close(loss.total, expected.total)


def test_labels_that_do_not_suit_speak(make_batch: Make) -> None:
    logits = torch.randn(2, 3, 4, 4)
    with pytest.raises(InputError, match="learns from semantic labels"):
        semantic_loss(logits, make_batch())
    with pytest.raises(InputError, match="semantic labels must be"):
        semantic_loss(logits, make_batch(semantic=torch.ones(2, 4, 4, dtype=torch.long)))
    labels = patches(3)
    labels[1, 3, 3] = 4
    with pytest.raises(InputError, match=r"frame1 go from 0 to 4.* 0 \(unknown\) to 3"):
        semantic_loss(logits, make_batch(semantic=labels))
    nothing = make_batch(semantic=torch.zeros_like(labels))
    with pytest.raises(NothingKnownError, match="semantic label"):
        semantic_loss(logits, nothing)
    good = make_batch(semantic=patches(3))
    two = SemanticLossConfig(class_weights=(1.0, 1.0))
    with pytest.raises(InputError, match="must be 3 weights for this head, got 2"):
        semantic_loss(logits, good, two)
    three = SemanticLossConfig(class_weights=(1.0, 1.0, 1.0))
    with pytest.raises(InputError, match="2 weights"):
        semantic_loss(logits[:, :1], make_batch(semantic=patches(1)), three)
    odd = make_batch(semantic=patches(3))
    with pytest.raises(InputError, match="patches of 5 x 5 do not divide labels of 56 x 56"):
        semantic_loss(torch.randn(2, 3, 5, 5), odd, SemanticLossConfig(resolution="patches"))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"resolution": "cells"}, "resolution must be one of pixels, patches"),
        ({"class_weights": (1.0, -1.0)}, "class_weights must be in"),
        ({"class_weights": (0.0, 0.0)}, "must have one above 0"),
    ],
)
def test_impossible_options_speak(options: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        SemanticLossConfig(**options)  # type: ignore[arg-type]


@pytest.mark.parametrize("classes", [1, 3])
def test_over_fits(make_batch: Make, classes: int) -> None:
    """Shares of patches can be met, whatever the labels; single pixels at a patch's cannot."""
    labels = torch.randint(0, max(classes, 2) + 1, (2, 56, 56))
    batch, config = make_batch(semantic=labels), SemanticLossConfig(resolution="patches")
    logits = torch.randn(2, classes, 4, 4, requires_grad=True)
    optimizer = torch.optim.Adam([logits], lr=0.1)
    start = last = math.nan
    for step in range(150):
        loss = semantic_loss(logits, batch, config).total
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        last = loss.item()
        start = last if step == 0 else start
    assert last < 0.02 * start
