"""Loss of the automatic mask head, and its matching."""

import math
from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torch import Tensor

from rangemask.errors import InputError
from rangemask.models.heads.masks.automatic import MaskOutput
from rangemask.training.batch import Batch
from rangemask.training.losses import MaskLossConfig, mask_loss
from rangemask.training.losses.mask_terms import shares_on_grid
from rangemask.training.losses.matching import CostWeights, match, objects_of
from support.students import nano_student

Make = Callable[..., Batch]
WEIGHTS = CostWeights(2, 5, 5, "bce")
CONFIGS = {"grid": MaskLossConfig(), "focal": MaskLossConfig(kind="focal")}
CONFIGS["points"] = MaskLossConfig(points=200)


def answer(
    class_logits: Tensor, mask_logits: Tensor, auxiliary: tuple[tuple[Tensor, Tensor], ...] = ()
) -> MaskOutput:
    empty = torch.zeros(len(class_logits), 1)
    return MaskOutput(class_logits, mask_logits, empty, empty, auxiliary)


def random_answer(count: int = 2, queries: int = 5, classes: int = 2) -> MaskOutput:
    return answer(torch.randn(count, queries, classes + 1), torch.randn(count, queries, 16, 16))


def perfect(masks: tuple[Tensor, ...], classes: tuple[Tensor, ...]) -> MaskOutput:
    """Objects in reverse order, after two queries that say there is nothing."""
    class_logits = torch.full((len(masks), 5, 3), -30.0)
    mask_logits = torch.full((len(masks), 5, 16, 16), -30.0)
    class_logits[..., 2] = 30
    for index, (found, ids) in enumerate(zip(masks, classes, strict=True)):
        for place, (mask, id_) in enumerate(zip(found, ids, strict=True)):
            query = 4 - place
            mask_logits[index, query] = shares_on_grid(mask[None], (16, 16))[0].logit(1e-6)
            class_logits[index, query] = -30.0
            class_logits[index, query, id_] = 30.0
    return answer(class_logits, mask_logits)


@pytest.fixture
def batch(make_batch: Make, squares: tuple[Tensor, ...]) -> Batch:
    classes = (torch.tensor([1, 0]), torch.tensor([0]))
    return make_batch(masks=squares, mask_classes=classes)


@pytest.mark.parametrize("name", ["grid", "focal"])
def test_the_truth_costs_nothing(batch: Batch, name: str) -> None:
    assert batch.masks is not None
    assert batch.mask_classes is not None
    output = perfect(batch.masks, batch.mask_classes)
    loss = mask_loss(output, batch, CONFIGS[name])
    assert loss.total.item() == pytest.approx(0, abs=1e-4)
    assert set(loss.parts) == {"class", "mask", "dice"}
    classes = (torch.tensor([0, 0]), torch.tensor([0]))
    worse = mask_loss(output, replace(batch, mask_classes=classes), CONFIGS[name])
    assert worse.parts["class"] > 1
    assert worse.parts["mask"].item() == pytest.approx(0, abs=1e-4)


def test_matching_finds_the_cheapest_assignment(batch: Batch) -> None:
    assert batch.masks is not None
    assert batch.mask_classes is not None
    output = perfect(batch.masks, batch.mask_classes)
    for points in (None, 500):
        pairs = match(
            output.class_logits, output.mask_logits, objects_of(batch, 2), WEIGHTS, points=points
        )
        found = sorted(zip(*(part.tolist() for part in pairs), strict=True))
        assert found == [(0, 3, 1), (0, 4, 0), (1, 4, 0)]


@pytest.mark.parametrize("name", ["grid", "focal"])
def test_the_order_of_objects_and_queries_does_not_matter(batch: Batch, name: str) -> None:
    output = random_answer()
    expected = mask_loss(output, batch, CONFIGS[name]).total
    assert batch.masks is not None
    assert batch.mask_classes is not None
    turned = replace(
        batch,
        masks=tuple(masks.flip(0) for masks in batch.masks),
        mask_classes=tuple(ids.flip(0) for ids in batch.mask_classes),
    )
    torch.testing.assert_close(mask_loss(output, turned, CONFIGS[name]).total, expected)
    order = torch.tensor([3, 0, 4, 1, 2])
    shuffled = answer(output.class_logits[:, order], output.mask_logits[:, order])
    torch.testing.assert_close(mask_loss(shuffled, batch, CONFIGS[name]).total, expected)


def test_a_batch_is_the_mean_of_its_frames(batch: Batch) -> None:
    output = random_answer()
    singles = []
    for i in range(2):
        assert batch.masks is not None
        assert batch.mask_classes is not None
        one = Batch(
            names=batch.names[i : i + 1],
            images=batch.images[i : i + 1],
            masks=batch.masks[i : i + 1],
            mask_classes=batch.mask_classes[i : i + 1],
        )
        part = answer(output.class_logits[i : i + 1], output.mask_logits[i : i + 1])
        singles.append(mask_loss(part, one).total)
    expected = (singles[0] + singles[1]) / 2
    torch.testing.assert_close(mask_loss(output, batch).total, expected)


@pytest.mark.parametrize("name", list(CONFIGS))
def test_only_matched_masks_have_a_gradient(
    batch: Batch, name: str, generator: torch.Generator
) -> None:
    output = random_answer()
    masks, classes = output.mask_logits.requires_grad_(), output.class_logits.requires_grad_()
    mask_loss(output, batch, CONFIGS[name], generator=generator).total.backward()
    assert masks.grad is not None
    assert classes.grad is not None
    assert (masks.grad != 0).flatten(2).any(2).sum(1).tolist() == [2, 1]
    assert (classes.grad != 0).all()


@pytest.mark.parametrize("name", list(CONFIGS))
def test_frames_without_objects_teach_that_there_are_none(
    make_batch: Make, name: str, squares: tuple[Tensor, ...]
) -> None:
    none, empty = squares[0][:0], torch.zeros_like(squares[1])
    classes = (torch.zeros(0, dtype=torch.long), torch.tensor([0]))
    batch = make_batch(masks=(none, empty), mask_classes=classes)
    output = random_answer()
    masks, logits = output.mask_logits.requires_grad_(), output.class_logits.requires_grad_()
    loss = mask_loss(output, batch, CONFIGS[name])
    assert (loss.parts["mask"], loss.parts["dice"], loss.skipped) == (0, 0, ())
    expected = -logits.log_softmax(-1)[..., 2].mean()
    torch.testing.assert_close(loss.parts["class"], expected.detach())
    loss.total.backward()
    assert masks.grad is not None
    assert (masks.grad == 0).all()


def test_more_objects_than_queries(batch: Batch) -> None:
    output = random_answer(queries=1)
    loss = mask_loss(output, batch)
    assert torch.isfinite(loss.total)
    assert len(match(*output[:2], objects_of(batch, 2), WEIGHTS).query) == 2


def test_no_object_counts_less(make_batch: Make, squares: tuple[Tensor, ...]) -> None:
    """One matched query that errs by a, two unmatched ones by b: weighted mean."""
    batch = make_batch(1, masks=squares[1:], mask_classes=(torch.tensor([0]),))
    output = answer(torch.zeros(1, 3, 3), torch.zeros(1, 3, 16, 16))
    output.class_logits[:, :, 2] = 1.0
    for weight in (0.1, 1.0):
        config = MaskLossConfig(no_object_weight=weight)
        error = -output.class_logits[0, 0].log_softmax(-1)
        expected = (error[0] + 2 * weight * error[2]) / (1 + 2 * weight)
        torch.testing.assert_close(mask_loss(output, batch, config).parts["class"], expected)


def test_earlier_blocks_are_supervised(batch: Batch) -> None:
    output, other = random_answer(), random_answer()
    both = output._replace(auxiliary=(other[:2], other[:2]))
    config = MaskLossConfig(auxiliary_weight=0.5)
    expected = mask_loss(output, batch).total + mask_loss(other, batch).total
    torch.testing.assert_close(mask_loss(both, batch, config).total, expected)


def test_random_places_come_from_the_generator(batch: Batch) -> None:
    output, config = random_answer(), CONFIGS["points"]
    losses = [
        mask_loss(output, batch, config, generator=torch.Generator().manual_seed(seed)).total
        for seed in (1, 1, 2)
    ]
    assert losses[0] == losses[1] != losses[2]


def test_many_random_places_agree_with_the_grid(
    make_batch: Make, generator: torch.Generator
) -> None:
    """Where no cell is shared, so that both have the same truth."""
    masks = torch.zeros(2, 1, 56, 56, dtype=torch.bool)
    masks[0, :, 14:42, :28] = True
    masks[1, :, 7:21, 28:49] = True
    batch = make_batch(masks=tuple(masks))
    smooth = torch.nn.functional.interpolate(torch.randn(2, 5, 3, 3), size=(16, 16), mode="area")
    output = answer(torch.randn(2, 5, 2), smooth)
    config = MaskLossConfig(points=20_000, unsure_share=0.0)
    places = mask_loss(output, batch, config, generator=generator)
    grid = mask_loss(output, batch)
    for name in ("mask", "dice"):
        torch.testing.assert_close(places.parts[name], grid.parts[name], atol=0.02, rtol=0.02)


def test_half_precision_in_is_full_precision_within(batch: Batch) -> None:
    output = random_answer()
    half = answer(output.class_logits.bfloat16(), output.mask_logits.bfloat16())
    expected = mask_loss(answer(half.class_logits.float(), half.mask_logits.float()), batch)
    with torch.autocast("cpu", torch.bfloat16):
        loss = mask_loss(half, batch)
    torch.testing.assert_close(loss.total, expected.total)


def test_a_diverged_network_gets_a_loss_that_says_so(batch: Batch) -> None:
    """NaN, for the trainer to stop at, instead of an error of the assignment."""
    output = random_answer()
    output.mask_logits[0] = torch.nan
    assert mask_loss(output, batch).total.isnan()


def test_labels_that_do_not_suit_speak(make_batch: Make, squares: tuple[Tensor, ...]) -> None:
    output = random_answer()
    with pytest.raises(InputError, match="learn from instance masks"):
        mask_loss(output, make_batch())
    with pytest.raises(InputError, match="no classes, but the head tells 2 apart"):
        mask_loss(output, make_batch(masks=squares))
    classes = (torch.tensor([0, 2]), torch.tensor([0]))
    with pytest.raises(InputError, match="frame0 has the class 2, but the head knows 0 to 1"):
        mask_loss(output, make_batch(masks=squares, mask_classes=classes))
    with pytest.raises(InputError, match="classes of masks must be"):
        mask_loss(output, make_batch(masks=squares, mask_classes=(classes[1], classes[1])))
    small = tuple(masks[:, ::2] for masks in squares)
    with pytest.raises(InputError, match=r"masks must be \(2, 56, 56\)"):
        mask_loss(output, make_batch(masks=small, mask_classes=classes))


@pytest.mark.parametrize(
    "options",
    [
        {"kind": "l1"},
        {"class_weight": -1.0},
        {"no_object_weight": 0.0},
        {"points": 0},
        {"oversampling": 0.5},
        {"unsure_share": 1.5},
    ],
)
def test_impossible_options_speak(options: dict[str, object]) -> None:
    with pytest.raises(InputError, match=f"{next(iter(options))} must be"):
        MaskLossConfig(**options)  # type: ignore[arg-type]


def test_over_fits(batch: Batch) -> None:
    """The mask head of a student, from random weights."""
    model = nano_student(("masks",)).train()
    optimizer = torch.optim.AdamW(
        [part for part in model.parameters() if part.requires_grad], lr=3e-3, weight_decay=0
    )
    start = last = math.nan
    for step in range(90):
        for group in optimizer.param_groups:
            group["lr"] = 3e-3 * min(1, (step + 1) / 10) * (1 - step / 90)
        output = model(batch.images, deep_supervision=True).masks
        loss = mask_loss(output, batch).total
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        last = loss.item()
        start = last if step == 0 else start
    assert last < 0.02 * start
