"""Prompts made from masks, and the loss of the head that answers them."""

import math
from collections.abc import Callable

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from rangemask.errors import InputError
from rangemask.models.heads.masks.promptable import PromptEmbedding, PromptHead, PromptOutput
from rangemask.models.heads.masks.prompts import check_prompts
from rangemask.models.rangemask import RangeMask
from rangemask.training.batch import Batch
from rangemask.training.losses import (
    NothingKnownError,
    PromptLossConfig,
    PromptSampling,
    prompt_loss,
)
from rangemask.training.losses.prompting import (
    PADDING,
    Prompts,
    boxes_of,
    corrected,
    first_prompts,
    jittered_boxes,
)
from rangemask.training.losses.prompts import _compare, asked_for
from support.students import nano_student

Make = Callable[..., Batch]
POINTS, BOXES = PromptSampling(box_share=0.0), PromptSampling(box_share=1.0)


def asked(model: RangeMask, batch: Batch) -> tuple[PromptHead, PromptEmbedding]:
    assert model.prompts is not None
    return model.prompts, model(batch.images, heads=["prompts"]).prompts


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 10_000), density=st.floats(0.01, 1.0), by_box=st.booleans())
def test_prompts_are_true_and_possible(seed: int, density: float, by_box: bool) -> None:
    """Positive points inside, negative ones outside, boxes that the head takes."""
    random = torch.Generator().manual_seed(seed)
    masks = torch.rand(2, 3, 12, 17, generator=random) < density
    masks[..., 3, 4] = True
    config = PromptSampling(box_share=float(by_box), positives=3, negatives=2, box_jitter=1.0)
    prompts = first_prompts(masks, config, random)
    prompts = corrected(prompts, torch.randn(2, 3, 4, 4, generator=random), masks, random)
    mask_input = torch.zeros(2, 3, 4, 4)
    assert check_prompts(2, image_size=(12, 17), mask_input=mask_input, **prompts._asdict()) == 3
    assert prompts.points is not None
    assert prompts.point_labels is not None
    x, y = prompts.points.long().unbind(-1)
    frame, object_ = torch.meshgrid(torch.arange(2), torch.arange(3), indexing="ij")
    inside = masks[frame[..., None], object_[..., None], y, x]
    given = prompts.point_labels >= 0
    assert torch.equal(inside[given], prompts.point_labels[given] == 1)
    if not by_box:
        assert (prompts.point_labels == 1).any(-1).all()


def test_a_mask_that_fills_the_image_has_no_point_outside() -> None:
    masks = torch.ones(1, 1, 8, 8, dtype=torch.bool)
    config = PromptSampling(box_share=0.0, positives=1, negatives=4)
    for seed in range(5):
        labels = first_prompts(masks, config, torch.Generator().manual_seed(seed)).point_labels
        assert labels is not None
        assert labels.tolist() == [[[1, *4 * [PADDING]]]]


def test_prompts_without_points_outside() -> None:
    masks = torch.ones(1, 2, 8, 8, dtype=torch.bool)
    prompts = first_prompts(masks, PromptSampling(box_share=0.0, positives=2, negatives=0))
    assert prompts.points is not None
    assert prompts.points.shape == (1, 2, 2, 2)


def test_boxes_are_tight_and_jitter_is_bounded(generator: torch.Generator) -> None:
    masks = torch.zeros(1, 100, 100, dtype=torch.bool)
    masks[0, 20:61, 30:51] = True
    assert boxes_of(masks).tolist() == [[29.5, 19.5, 50.5, 60.5]]
    exact = jittered_boxes(masks, PromptSampling(box_jitter=0.0))
    assert exact.tolist() == [[29.5, 19.5, 50.5, 60.5]]
    many = masks.expand(2000, 100, 100)
    moved = jittered_boxes(many, PromptSampling(box_jitter=0.1, box_jitter_px=5.0), generator)
    offset = moved - boxes_of(many)
    assert offset.abs().max() <= 5
    narrow = offset[:, 0]
    assert narrow.std().item() == pytest.approx(2.1, rel=0.1)
    assert abs(narrow.mean().item()) < 0.2


def test_corrections_are_where_the_answer_is_wrong(generator: torch.Generator) -> None:
    masks = torch.zeros(1, 3, 8, 8, dtype=torch.bool)
    masks[..., :4, :4] = True
    answer = torch.where(masks, 1.0, -1.0)[..., ::2, ::2].clone()
    answer[0, 1, 0, 1] = -1
    answer[0, 2, 3, 3] = 1
    before = Prompts(None, None, torch.zeros(1, 3, 4))
    prompts = corrected(before, answer, masks, generator)
    assert prompts.points is not None
    assert prompts.point_labels is not None
    assert prompts.boxes is before.boxes
    assert prompts.point_labels[0, :, 0].tolist() == [PADDING, 1, 0]
    assert prompts.points[0, 1:, 0].tolist() == [[3, 1], [7, 7]]
    again = corrected(prompts, answer, masks, generator)
    assert again.points is not None
    assert again.points.shape == (1, 3, 2, 2)


def test_frames_with_fewer_objects_are_asked_again(
    make_batch: Make, squares: tuple[Tensor, ...]
) -> None:
    masks, usable = asked_for(make_batch(3, masks=(*squares, squares[0][:0])), 8)
    assert usable.tolist() == [True, True, False]
    assert masks.shape == (2, 2, 56, 56)
    assert torch.equal(masks[1, 0], masks[1, 1])
    assert {tuple(boxes.tolist()) for boxes in boxes_of(masks[0])} == {
        tuple(boxes.tolist()) for boxes in boxes_of(squares[0])
    }
    assert asked_for(make_batch(masks=squares), 1)[0].shape == (2, 1, 56, 56)


@pytest.mark.parametrize("kind", ["bce", "focal"])
def test_the_truth_costs_nothing_and_only_the_best_mask_learns(kind: str) -> None:
    shares = torch.rand(1, 2, 64).round()
    shares[0, 0, 0] = 0.3
    logits = torch.randn(1, 2, 3, 8, 8)
    logits[:, :, 1] = shares.unflatten(2, (8, 8)).logit(1e-6)
    iou = torch.full((1, 2, 3), 0.25)
    iou[:, :, 1] = 1
    answer = PromptOutput(logits.requires_grad_(), iou.requires_grad_())
    config = PromptLossConfig(kind=kind)  # type: ignore[arg-type]
    best, parts = _compare(answer, shares, config)
    assert torch.equal(best, logits[:, :, 1])
    assert parts["mask"].item() == pytest.approx(0, abs=1e-4)
    assert parts["dice"].item() == pytest.approx(0, abs=1e-4)
    sum(parts.values()).sum().backward()  # type: ignore[union-attr]
    assert logits.grad is not None
    assert iou.grad is not None
    assert (logits.grad[:, :, [0, 2]] == 0).all()
    assert (iou.grad[:, :, [0, 2]] != 0).all()


def test_the_estimated_iou_is_held_against_the_true_one() -> None:
    shares = torch.zeros(1, 1, 64)
    shares[..., :32] = 1
    logits = torch.full((1, 1, 1, 8, 8), -5.0)
    logits[..., 2:6, :] = 5.0
    for kind, expected in (("l1", 1 - 16 / 48), ("mse", (1 - 16 / 48) ** 2)):
        config = PromptLossConfig(iou_kind=kind)  # type: ignore[arg-type]
        parts = _compare(PromptOutput(logits, torch.ones(1, 1, 1)), shares, config)[1]
        assert parts["iou"].item() == pytest.approx(expected)


@pytest.mark.parametrize("sampling", [POINTS, BOXES])
def test_every_parameter_that_is_asked_for_learns(
    make_batch: Make, squares: tuple[Tensor, ...], sampling: PromptSampling
) -> None:
    model, batch = nano_student(("prompts",)), make_batch(masks=squares)
    head, embedding = asked(model, batch)
    loss = prompt_loss(head, embedding, batch, PromptLossConfig(sampling=sampling))
    loss.total.backward()
    silent = {
        name for name, part in head.named_parameters() if part.requires_grad and part.grad is None
    }
    # What only the other kind of prompt uses.
    assert all("point_embed" in name or "not_a_point" in name for name in silent), silent


def test_the_loss_follows_the_generator(make_batch: Make, squares: tuple[Tensor, ...]) -> None:
    model, batch = nano_student(("prompts",)), make_batch(masks=squares)
    head, embedding = asked(model, batch)
    totals = [
        prompt_loss(
            head, embedding, batch, generator=torch.Generator().manual_seed(seed)
        ).total.item()
        for seed in (1, 1, 2)
    ]
    assert totals[0] == totals[1] != totals[2]


def test_a_frame_without_objects_is_left_out_by_name(
    make_batch: Make, squares: tuple[Tensor, ...]
) -> None:
    model = nano_student(("prompts",))
    batch = make_batch(masks=(squares[0][:0], squares[1]))
    head, embedding = asked(model, batch)
    loss = prompt_loss(head, embedding, batch, generator=torch.Generator().manual_seed(0))
    assert loss.skipped == ("frame0",)
    one = Batch(names=("frame1",), images=batch.images[1:], masks=squares[1:])
    alone = prompt_loss(*asked(model, one), one, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(loss.total, alone.total)
    loss.total.backward()


def test_half_precision(make_batch: Make, squares: tuple[Tensor, ...]) -> None:
    model, batch = nano_student(("prompts",)), make_batch(masks=squares)
    config = PromptLossConfig(rounds=0, sampling=BOXES)
    totals = []
    for enabled in (False, True):
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            head, embedding = asked(model, batch)
            random = torch.Generator().manual_seed(0)
            totals.append(prompt_loss(head, embedding, batch, config, generator=random).total)
    assert totals[1].dtype == torch.float32
    torch.testing.assert_close(totals[1], totals[0], rtol=0.05, atol=0.05)


def test_bad_input_speaks(make_batch: Make, squares: tuple[Tensor, ...]) -> None:
    model, batch = nano_student(("prompts",)), make_batch()
    head, embedding = asked(model, batch)
    with pytest.raises(InputError, match="learn from instance masks"):
        prompt_loss(head, embedding, batch)
    empty = make_batch(masks=(squares[0][:0], torch.zeros_like(squares[1])))
    with pytest.raises(NothingKnownError, match="frame0, frame1 has an object"):
        prompt_loss(head, embedding, empty)


@pytest.mark.parametrize(
    ("config", "options"),
    [
        (PromptLossConfig, {"kind": "l1"}),
        (PromptLossConfig, {"iou_kind": "l2"}),
        (PromptLossConfig, {"rounds": -1}),
        (PromptLossConfig, {"mask_weight": math.nan}),
        (PromptSampling, {"objects": 0}),
        (PromptSampling, {"box_share": 2.0}),
        (PromptSampling, {"positives": 0}),
        (PromptSampling, {"negatives": -1}),
        (PromptSampling, {"box_jitter": -1.0}),
        (PromptSampling, {"box_jitter_px": -1.0}),
    ],
)
def test_impossible_options_speak(config: type, options: dict[str, object]) -> None:
    with pytest.raises(InputError, match=f"{next(iter(options))} must be"):
        config(**options)


def test_over_fits(make_batch: Make, squares: tuple[Tensor, ...]) -> None:
    """The prompt head of a student, from random weights, on the same questions again."""
    model, batch = nano_student(("prompts",)).train(), make_batch(masks=squares)
    optimizer = torch.optim.AdamW(
        [part for part in model.parameters() if part.requires_grad], lr=2e-3, weight_decay=0
    )
    history = []
    for step in range(100):
        for group in optimizer.param_groups:
            group["lr"] = 4e-3 * min(1, (step + 1) / 10) * (1 - step / 100)
        random = torch.Generator().manual_seed(0)
        loss = prompt_loss(*asked(model, batch), batch, generator=random).total
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        history.append(loss.item())
    assert history[-1] < 0.02 * history[0]
