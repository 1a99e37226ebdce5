"""Loss of the fusion head."""

import math
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from rangemask.errors import InputError
from rangemask.models.heads.masks.automatic import MaskOutput
from rangemask.models.heads.stereo import StereoOutput
from rangemask.models.rangemask import RangeMaskOutput
from rangemask.training.batch import Batch
from rangemask.training.losses import (
    DepthLossConfig,
    FusionLossConfig,
    NothingKnownError,
    fusion_loss,
)
from rangemask.training.losses.fusion import near_borders
from rangemask.training.losses.mask_terms import shares_on_grid
from support.students import nano_student

Make = Callable[..., Batch]


def mask_answer(squares: tuple[Tensor, ...]) -> MaskOutput:
    """The truth, of one class, in a random order."""
    logits = torch.full((2, 4, 16, 16), -14.0)
    for index, masks in enumerate(squares):
        logits[index, : len(masks)] = shares_on_grid(masks, (16, 16)).logit(1e-6)
    order = torch.randperm(4)
    return MaskOutput(torch.zeros(2, 4, 2), logits[:, order], logits, logits, ())


@pytest.fixture
def batch(make_batch: Make, squares: tuple[Tensor, ...]) -> Batch:
    return make_batch(depth=1 + torch.rand(2, 56, 56), masks=squares)


def test_half_depth_half_masks(batch: Batch, squares: tuple[Tensor, ...]) -> None:
    assert batch.depth is not None
    masks = mask_answer(squares)
    output = RangeMaskOutput(depth=batch.depth.clone(), masks=masks)
    assert fusion_loss(output, batch, max_depth_m=10).total.item() == pytest.approx(0, abs=1e-4)
    off = output._replace(depth=batch.depth + 0.5)
    assert fusion_loss(off, batch, max_depth_m=10).total.item() == pytest.approx(0.25, abs=1e-4)
    unsure = output._replace(masks=masks._replace(mask_logits=torch.zeros(2, 4, 16, 16)))
    loss = fusion_loss(unsure, batch, max_depth_m=10)
    assert 0.2 < loss.total < 0.5 * math.log(2)
    torch.testing.assert_close(loss.total, 0.5 * loss.parts["mask"])
    config = FusionLossConfig(depth_weight=1.0, mask_weight=0.0)
    assert set(fusion_loss(off, batch, config, max_depth_m=10).parts) == {"depth"}
    config = FusionLossConfig(depth=DepthLossConfig(kind="log-l1"))
    scaled = output._replace(depth=2 * batch.depth)
    loss = fusion_loss(scaled, batch, config, max_depth_m=10)
    assert loss.parts["depth"].item() == pytest.approx(math.log(2))


def test_of_a_pair_it_is_the_disparity(make_batch: Make) -> None:
    disparity = 5 * torch.rand(2, 56, 56)
    disparity[0, :9] = 200.0
    stereo = StereoOutput(disparity.clamp(max=50) + 2, disparity, disparity, (disparity,))
    output = RangeMaskOutput(depth=disparity, stereo=stereo)
    batch = make_batch(disparity=disparity)
    loss = fusion_loss(output, batch, max_disparity_px=96)
    assert loss.total.item() == pytest.approx(1.0)
    with pytest.raises(InputError, match="refines a disparity here"):
        fusion_loss(output, make_batch(depth=disparity))


def test_relative_depth_has_no_unit(make_batch: Make) -> None:
    """So that scale and shift are free, of inverse depth and of what becomes it."""
    inverse = 0.1 + torch.rand(2, 56, 56)
    output = RangeMaskOutput(depth=3 * inverse + 2)
    for batch, is_inverse in (
        (make_batch(depth=1 / inverse), False),
        (make_batch(depth=inverse), True),
    ):
        loss = fusion_loss(output, batch, inverse_truth=is_inverse)
        assert loss.total.item() == pytest.approx(0, abs=1e-5)
        assert fusion_loss(output, batch, inverse_truth=not is_inverse).total > 0.1
        config = FusionLossConfig(depth=DepthLossConfig(kind="l1", inverse_truth=is_inverse))
        assert fusion_loss(output, batch, config).total.item() == pytest.approx(
            0.5 * (2 * inverse + 2).mean().item(), rel=1e-4
        )


def test_borders_are_near_objects() -> None:
    masks = torch.zeros(2, 9, 12, dtype=torch.bool)
    masks[0, 2:7, 2:6] = True
    masks[1, 2:7, 6:10] = True
    near = near_borders((masks, masks[:0]), (9, 12), 1)
    assert near[1].sum() == 0
    assert near[0, 4].tolist() == [0, 1, 1, 0, 0, 1, 1, 0, 0, 1, 1, 0]
    assert near[0, :, 4].tolist() == [0, 1, 1, 0, 0, 0, 1, 1, 0]


def test_errors_at_borders_count_more(batch: Batch, squares: tuple[Tensor, ...]) -> None:
    assert batch.depth is not None
    masks = mask_answer(squares)
    near = near_borders(squares, (56, 56), 4) > 0
    config = FusionLossConfig(border_weight=3.0)
    for place, ratio in ((near, 4.0), (~near, 1.0)):
        output = RangeMaskOutput(depth=batch.depth + place, masks=masks)
        share = fusion_loss(output, batch, config, max_depth_m=10).parts["depth"]
        weight = (1 + 3 * near).float()
        expected = (ratio * place.flatten(1).sum(1) / weight.flatten(1).sum(1)).mean()
        torch.testing.assert_close(share, expected)
    # A mask that is too large errs at its border; one in the middle of nothing does not.
    wider = masks._replace(mask_logits=masks.mask_logits + 8)
    output = RangeMaskOutput(masks=wider)
    assert batch.masks is not None
    plain = fusion_loss(output, batch).parts["mask"]
    assert fusion_loss(output, batch, config).parts["mask"] > plain


def test_only_known_pixels_have_a_gradient(batch: Batch, squares: tuple[Tensor, ...]) -> None:
    assert batch.depth is not None
    known = torch.rand(2, 56, 56) > 0.5
    depth = (batch.depth + 1).requires_grad_()
    masked = replace(batch, depth=torch.where(known, batch.depth, torch.nan))
    config = FusionLossConfig(border_weight=2.0)
    output = RangeMaskOutput(depth=depth, masks=mask_answer(squares))
    fusion_loss(output, masked, config, max_depth_m=10).total.backward()
    assert depth.grad is not None
    assert (depth.grad[~known] == 0).all()
    assert (depth.grad[known] != 0).all()


def test_masks_teach_where_no_depth_is_known(batch: Batch, squares: tuple[Tensor, ...]) -> None:
    depth = torch.rand(2, 56, 56, requires_grad=True)
    unknown = replace(batch, depth=torch.full((2, 56, 56), torch.nan))
    output = RangeMaskOutput(depth=depth, masks=mask_answer(squares))
    loss = fusion_loss(output, unknown, max_depth_m=10)
    assert (set(loss.parts), loss.skipped) == ({"mask"}, batch.names)
    loss.total.backward()
    assert depth.grad is not None
    assert (depth.grad == 0).all()
    with pytest.raises(NothingKnownError):
        fusion_loss(output._replace(masks=None), unknown, max_depth_m=10)


def test_a_frame_without_depth_is_named(batch: Batch, squares: tuple[Tensor, ...]) -> None:
    assert batch.depth is not None
    half = replace(batch, depth=batch.depth.clone())
    assert half.depth is not None
    half.depth[1] = torch.nan
    output = RangeMaskOutput(depth=batch.depth + 1, masks=mask_answer(squares))
    loss = fusion_loss(output, half, max_depth_m=10)
    assert loss.skipped == ("frame1",)
    assert loss.parts["depth"].item() == pytest.approx(1)


def test_half_precision_in_is_full_precision_within(
    batch: Batch, squares: tuple[Tensor, ...]
) -> None:
    masks = mask_answer(squares)
    masks = masks._replace(mask_logits=torch.randn(2, 4, 16, 16).bfloat16())
    output = RangeMaskOutput(depth=torch.rand(2, 56, 56).bfloat16(), masks=masks)
    full = RangeMaskOutput(
        depth=output.depth.float() if output.depth is not None else None,
        masks=masks._replace(mask_logits=masks.mask_logits.float()),
    )
    expected = fusion_loss(full, batch, max_depth_m=10).total
    with torch.autocast("cpu", torch.bfloat16):
        loss = fusion_loss(output, batch, max_depth_m=10).total
    torch.testing.assert_close(loss, expected)


def test_bad_input_speaks(make_batch: Make, squares: tuple[Tensor, ...]) -> None:
    with pytest.raises(InputError, match="neither a map nor a mask"):
        fusion_loss(RangeMaskOutput(), make_batch())
    output = RangeMaskOutput(masks=mask_answer(squares))
    with pytest.raises(InputError, match="learn from instance masks"):
        fusion_loss(output, make_batch())
    with pytest.raises(InputError, match="border_weight needs instance masks"):
        fusion_loss(output, make_batch(), FusionLossConfig(border_weight=1.0))
    with pytest.raises(InputError, match="masks must be"):
        near_borders(squares, (55, 56), 2)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"depth_weight": -1.0}, "depth_weight must be in"),
        ({"border_weight": -1.0}, "border_weight must be in"),
        ({"border_px": 0}, "border_px must be in"),
        ({"depth_weight": 0.0, "mask_weight": 0.0}, "must be above 0"),
    ],
)
def test_impossible_options_speak(options: dict[str, float], message: str) -> None:
    with pytest.raises(InputError, match=message):
        FusionLossConfig(**options)  # type: ignore[arg-type]


def test_over_fits(make_batch: Make, squares: tuple[Tensor, ...]) -> None:
    """All of a student that fusion reads, from random weights, on objects before a wall."""
    model = nano_student(("depth", "masks", "fusion")).train()
    depth = torch.full((2, 56, 56), 6.0)
    for index, masks in enumerate(squares):
        depth[index, masks.any(0)] = 2.0
    classes = (torch.tensor([0, 1]), torch.tensor([0]))
    batch = make_batch(depth=depth, masks=squares, mask_classes=classes)
    optimizer = torch.optim.AdamW(
        [part for part in model.parameters() if part.requires_grad], lr=4e-3, weight_decay=0
    )
    history = []
    for step in range(160):
        for group in optimizer.param_groups:
            group["lr"] = 4e-3 * min(1, (step + 1) / 10) * (1 - step / 160)
        loss = fusion_loss(model(batch.images), batch, max_depth_m=10).total
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        history.append(loss.item())
    assert history[-1] < 0.02 * history[0]
