import contextlib
import io
import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from rangemask.errors import InputError
from rangemask.metrics import (
    average_precision,
    boundary_f,
    iou_matrix,
    mask_iou,
    mask_metrics,
    semantic_metrics,
)
from rangemask.structures import MaskSet

relaxed = settings(deadline=None, max_examples=40)


def stacks(most: int = 4) -> st.SearchStrategy[np.ndarray]:
    return hnp.arrays(np.bool_, st.tuples(st.integers(0, most), st.just(5), st.just(6)))


@relaxed
@given(first=stacks(), second=stacks())
def test_iou_agrees_with_a_plain_loop(first: np.ndarray, second: np.ndarray) -> None:
    ious = iou_matrix(first, second)
    assert ious.shape == (len(first), len(second))
    for (i, a), (j, b) in itertools.product(enumerate(first), enumerate(second)):
        union = (a | b).sum()
        assert ious[i, j] == pytest.approx((a & b).sum() / union if union else 0)
    np.testing.assert_array_equal(iou_matrix(second, first), ious.T)
    runs = mask_iou(MaskSet.from_dense(first), MaskSet.from_dense(second))
    np.testing.assert_allclose(runs, ious, atol=1e-12)
    assert runs.shape == ious.shape


id_maps = hnp.arrays(np.uint8, (4, 5), elements=st.integers(0, 3))


def masks_of(ids: np.ndarray) -> MaskSet:
    return MaskSet.from_dense(np.stack([ids == name for name in np.unique(ids)]))


@relaxed
@given(first=id_maps, second=id_maps)
def test_panoptic_quality_by_its_definition(first: np.ndarray, second: np.ndarray) -> None:
    """Segments that share no pixel match where their IoU is above one half, and nowhere else."""
    found, true = masks_of(first), masks_of(second)
    pairs = [
        float(iou)
        for a, b in itertools.product(found, true)
        if (iou := (a & b).sum() / (a | b).sum()) > 0.5
    ]
    metrics = mask_metrics(found, true, iou=np.nextafter(0.5, 1))
    alone = len(found) + len(true) - 2 * len(pairs)
    assert metrics.matched == len(pairs)
    assert metrics.panoptic_quality == pytest.approx(sum(pairs) / (len(pairs) + alone / 2))


def test_a_good_pair_is_not_broken_for_two_poor_ones() -> None:
    found, true = np.zeros((2, 1, 100), dtype=bool), np.zeros((2, 1, 100), dtype=bool)
    found[0, 0, :75], found[1, 0, 75:] = True, True
    true[0, 0, 24:], true[1, 0, :24] = True, True  # IoUs .51 and .32, .33 and 0
    metrics = mask_metrics(MaskSet.from_dense(found), MaskSet.from_dense(true))
    assert metrics.matched == 1
    assert metrics.panoptic_quality == pytest.approx(0.51 / 2)
    assert metrics.mean_iou == pytest.approx((24 / 75 + 25 / 76) / 2)


@relaxed
@given(first=stacks(), second=stacks())
def test_matching_is_the_best_of_all(first: np.ndarray, second: np.ndarray) -> None:
    """Against every possible one-to-one assignment."""
    ious = iou_matrix(first, second)
    short, long = sorted(ious.shape)
    wide = ious if ious.shape[0] == short else ious.T
    best = max(
        (
            sum(wide[i, j] for i, j in enumerate(order))
            for order in itertools.permutations(range(long), short)
        ),
        default=0.0,
    )
    metrics = mask_metrics(MaskSet.from_dense(first), MaskSet.from_dense(second))
    if len(second):
        assert metrics.mean_iou == pytest.approx(best / len(second))
    else:
        assert math.isnan(metrics.mean_iou)


def test_a_case_computed_by_hand() -> None:
    truth = np.zeros((2, 4, 4), dtype=bool)
    truth[0, :2], truth[1, 2:] = True, True
    found = np.zeros((3, 4, 4), dtype=bool)
    found[0, :2] = True  # exact
    found[1, 2:3] = True  # half of the second
    found[2, 0, 0] = True  # nothing
    metrics = mask_metrics(MaskSet.from_dense(found), MaskSet.from_dense(truth), iou=0.6)
    assert (metrics.truths, metrics.predictions, metrics.matched) == (2, 3, 1)
    assert metrics.mean_iou == 0.75
    assert metrics.precision == pytest.approx(1 / 3)
    assert metrics.recall == 0.5
    assert metrics.f1 == pytest.approx(0.4)
    assert metrics.panoptic_quality == pytest.approx(1 / 2.5)
    assert metrics.to_dict()["matched"] == 1


def test_of_several_that_fit_the_best_is_the_partner() -> None:
    found, true = np.ones((1, 1, 10), dtype=bool), np.ones((2, 1, 10), dtype=bool)
    true[0, 0, :4] = False  # 0.6, and the second 1
    metrics = mask_metrics(MaskSet.from_dense(found), MaskSet.from_dense(true))
    assert metrics.matched == 1
    assert metrics.panoptic_quality == pytest.approx(1 / 1.5)


def test_labels_can_forbid_a_match() -> None:
    mask = np.ones((1, 3, 3), dtype=bool)
    cat, dog = (MaskSet.from_dense(mask, labels=[name]) for name in ("cat", "dog"))
    assert mask_metrics(cat, dog).recall == 1
    assert mask_metrics(cat, dog, use_labels=True).recall == 0


def random_images(seed: int, labels: list[str]) -> list[tuple[MaskSet, MaskSet]]:
    """Truths and noisy copies of them, with false positives and repeats."""
    random = np.random.default_rng(seed)
    images = []
    for _ in range(3):
        truth = np.zeros((4, 40, 40), dtype=bool)
        for mask in truth:
            y, x = random.integers(0, 28, 2)
            h, w = random.integers(5, 12, 2)
            mask[y : y + h, x : x + w] = True
        shifts = random.integers(-2, 3, (7, 2))
        found = np.stack(
            [np.roll(truth[random.integers(4)], tuple(shift), (0, 1)) for shift in shifts]
        )
        images.append(
            (
                MaskSet.from_dense(
                    found,
                    labels=random.choice(labels, 7).tolist(),
                    scores=random.permutation(7) / 7,
                ),
                MaskSet.from_dense(truth, labels=random.choice(labels, 4).tolist()),
            )
        )
    return images


def coco_ap(images: list[tuple[MaskSet, MaskSet]], labels: list[str]) -> tuple[float, ...]:
    """The reference implementation on the same masks."""
    truth, found = [], []
    for number, (predicted, true) in enumerate(images, start=1):
        for masks, rows in ((true, truth), (predicted, found)):
            for rle, label, score in zip(masks.rles, masks.labels, masks.scores, strict=True):
                rows.append(
                    {
                        "id": len(rows) + 1,
                        "image_id": number,
                        "category_id": labels.index(label) + 1,
                        "segmentation": rle.to_coco(),
                        "area": rle.area,
                        "bbox": list(rle.box),
                        "iscrowd": 0,
                        "score": score,
                    }
                )
    with contextlib.redirect_stdout(io.StringIO()):
        coco = COCO()
        coco.dataset = {
            "images": [{"id": i + 1, "height": 40, "width": 40} for i in range(len(images))],
            "categories": [{"id": i + 1, "name": name} for i, name in enumerate(labels)],
            "annotations": truth,
            "info": {},
        }
        coco.createIndex()
        evaluation = COCOeval(coco, coco.loadRes(found), "segm")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return tuple(evaluation.stats[:3])


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("labels", [["a"], ["a", "b"]])
@pytest.mark.filterwarnings("ignore:__array__ implementation:DeprecationWarning")
def test_average_precision_agrees_with_coco(seed: int, labels: list[str]) -> None:
    images = random_images(seed, labels)
    ours = average_precision(images)
    np.testing.assert_allclose((ours.ap, ours.ap50, ours.ap75), coco_ap(images, labels), atol=1e-9)


def test_average_precision_of_nothing() -> None:
    empty = MaskSet(3, 3)
    full = MaskSet.from_dense(np.ones((1, 3, 3), dtype=bool))
    assert math.isnan(average_precision([(full, empty)]).ap)
    assert average_precision([(empty, full)]).ap == 0
    assert average_precision([(full, full)]).to_dict() == {"ap": 1, "ap50": 1, "ap75": 1}
    other = MaskSet.from_dense(np.ones((1, 3, 3), dtype=bool), labels=["x"])
    assert average_precision([(other, full)]).ap == 0
    assert average_precision([(other, full)], use_labels=False).ap == 1


def test_boundary_f_against_all_distances() -> None:
    """Against the definition: a contour pixel counts when one of the other lies near enough."""
    random = np.random.default_rng(3)
    for _ in range(5):
        masks = []
        for _ in range(2):
            mask = np.zeros((20, 24), dtype=bool)
            y, x = random.integers(0, 10, 2)
            mask[y : y + 8, x : x + 9] = True
            masks.append(mask)
        contours = []
        for mask in masks:
            outside = np.pad(~mask, 1, constant_values=True)
            near = outside[:-2, 1:-1] | outside[2:, 1:-1] | outside[1:-1, :-2] | outside[1:-1, 2:]
            contours.append(np.argwhere(mask & near))
        distance = np.linalg.norm(contours[0][:, None] - contours[1][None], axis=-1)
        precision, recall = ((distance.min(axis) <= 2).mean() for axis in (1, 0))
        expected = 2 * precision * recall / (precision + recall) if precision + recall else 0
        assert boundary_f(*masks, tolerance=2) == pytest.approx(expected)


def test_boundary_f_at_its_ends() -> None:
    full, empty = np.ones((9, 9), dtype=bool), np.zeros((9, 9), dtype=bool)
    assert boundary_f(full, full) == 1
    assert boundary_f(empty, empty) == 1
    assert boundary_f(full, empty) == 0
    corner = empty.copy()
    corner[4, 4] = True
    assert boundary_f(full, corner, tolerance=1) == 0


@relaxed
@given(
    found=hnp.arrays(np.uint8, (6, 6), elements=st.integers(0, 3)),
    truth=hnp.arrays(np.uint8, (6, 6), elements=st.integers(0, 3)),
)
def test_semantic_agrees_with_a_plain_loop(found: np.ndarray, truth: np.ndarray) -> None:
    counted = truth != 0
    metrics = semantic_metrics(found, truth)
    if not counted.any():
        assert math.isnan(metrics.mean_iou)
        return
    ious = {}
    for name in set(np.unique([found[counted], truth[counted]])) - {0}:
        p, t = (found == name) & counted, (truth == name) & counted
        ious[int(name)] = (p & t).sum() / (p | t).sum()
    assert metrics.class_iou == pytest.approx(ious)
    assert metrics.mean_iou == pytest.approx(np.mean(list(ious.values())))
    assert metrics.pixel_accuracy == pytest.approx((found == truth)[counted].mean())


def test_large_ids_cost_no_table_and_several_can_be_left_out() -> None:
    truth = np.array([[2**40, 255, 0, 7]])
    found = np.array([[2**40, 7, 7, 255]])
    metrics = semantic_metrics(found, truth, ignore=(0, 255))
    assert metrics.class_iou == {2**40: 1, 7: 0}
    assert (metrics.mean_iou, metrics.pixel_accuracy) == (0.5, 0.5)


def test_semantic_becomes_plain_values() -> None:
    values = semantic_metrics(np.ones((2, 2), np.uint8), np.ones((2, 2), np.uint8)).to_dict()
    assert values == {"mean_iou": 1, "pixel_accuracy": 1, "class_iou": {"1": 1}}
    assert semantic_metrics(np.zeros((1, 1), int), np.zeros((1, 1), int), ignore=None).mean_iou == 1


def test_what_does_not_belong_together_is_refused() -> None:
    small, large = np.ones((1, 2, 2), dtype=bool), np.ones((1, 3, 3), dtype=bool)
    with pytest.raises(InputError, match="of one size"):
        iou_matrix(small, large)
    with pytest.raises(InputError, match="same image"):
        mask_metrics(MaskSet.from_dense(small), MaskSet.from_dense(large))
    with pytest.raises(InputError, match="IoU threshold"):
        mask_metrics(MaskSet.from_dense(small), MaskSet.from_dense(small), iou=0)
    with pytest.raises(InputError, match=r"\(H, W\)"):
        boundary_f(small[0], large[0])
    with pytest.raises(InputError, match="tolerance"):
        boundary_f(small[0], small[0], tolerance=-1)
    with pytest.raises(InputError, match="differ in shape"):
        semantic_metrics(np.ones((2, 2), int), np.ones((3, 2), int))
    with pytest.raises(InputError, match="whole numbers from 0"):
        semantic_metrics(np.ones((2, 2)), np.ones((2, 2)))
