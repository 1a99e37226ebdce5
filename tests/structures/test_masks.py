import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from pycocotools import mask as coco

from rangemask.errors import InputError
from rangemask.structures import MaskSet, Rle, Segmentation

relaxed = settings(deadline=None, max_examples=100)
mask_stacks = hnp.arrays(
    np.bool_,
    st.tuples(st.integers(0, 4), st.integers(1, 20), st.integers(1, 20)),
)


@relaxed
@given(masks=mask_stacks)
def test_run_lengths_hold_the_masks_exactly(masks: np.ndarray) -> None:
    held = MaskSet.from_dense(masks)
    np.testing.assert_array_equal(held.dense(), masks)
    np.testing.assert_array_equal(np.asarray(held), masks)
    assert [rle.area for rle in held.rles] == masks.sum(axis=(1, 2)).tolist()
    for one, mask in zip(held, masks, strict=True):
        np.testing.assert_array_equal(one, mask)


@relaxed
@given(masks=mask_stacks)
def test_our_decoder_agrees_with_coco(masks: np.ndarray) -> None:
    """pycocotools made the runs, we take them apart: both must mean the same."""
    for rle, mask in zip(MaskSet.from_dense(masks).rles, masks, strict=True):
        assert rle.area == int(coco.area(rle.to_coco()))
        columns = np.asfortranarray(mask, dtype=np.uint8)
        assert Rle.from_coco(coco.encode(columns)) == rle
        assert Rle.encode(mask) == rle


def test_long_runs_are_decoded() -> None:
    mask = np.zeros((1500, 1700), dtype=bool)
    mask[700:, 3:900] = True
    np.testing.assert_array_equal(Rle.encode(mask).decode(), mask)


def test_uncompressed_coco_is_read() -> None:
    rle = Rle.from_coco({"size": [2, 3], "counts": [1, 2, 3]})
    np.testing.assert_array_equal(rle.decode(), [[False, True, False], [True, False, False]])


def test_boxes() -> None:
    mask = np.zeros((10, 12), dtype=bool)
    mask[2:5, 3:9] = True
    assert Rle.encode(mask).box == (3.0, 2.0, 6.0, 3.0)
    assert Rle.encode(np.zeros((4, 4), dtype=bool)).box == (0.0, 0.0, 0.0, 0.0)


@relaxed
@given(counts=st.text(max_size=12), height=st.integers(1, 9), width=st.integers(1, 9))
def test_any_text_is_a_mask_or_a_clear_error(counts: str, height: int, width: int) -> None:
    try:
        rle = Rle(height, width, counts)
    except InputError:
        return
    assert rle.decode().shape == (height, width)


@pytest.mark.parametrize(
    ("counts", "words"),
    [
        ("~~", "character that COCO does not use"),
        ("P", "cut off"),
        ("o", "cut off"),
        ("O", "negative run"),
        ("1", "do not add up"),
        ("oooooooooooooo0", "too large"),
    ],
)
def test_broken_run_lengths_are_refused(counts: str, words: str) -> None:
    with pytest.raises(InputError, match=words):
        Rle(2, 2, counts)


@pytest.mark.parametrize("rle", [{}, {"size": [2], "counts": "4"}, {"size": "ab", "counts": "4"}])
def test_what_is_no_coco_mask_is_refused(rle: dict[str, object]) -> None:
    with pytest.raises(InputError, match="not a COCO run-length mask"):
        Rle.from_coco(rle)


def test_counts_and_sizes_must_agree() -> None:
    rle = Rle.encode(np.ones((2, 2), dtype=bool))
    with pytest.raises(InputError, match="one label and one score per mask"):
        MaskSet(2, 2, (rle,), (), ())
    with pytest.raises(InputError, match="all masks must be 3 x 2"):
        MaskSet(2, 3, (rle,), ("a",), (1.0,))
    with pytest.raises(InputError, match=r"\(N, H, W\)"):
        MaskSet.from_dense(np.ones((2, 2), dtype=bool))


def test_selecting_keeps_labels_with_their_masks() -> None:
    masks = np.eye(3, dtype=bool)[:, None, :]
    held = MaskSet.from_dense(masks, labels=["a", "b", "c"], scores=[0.1, 0.2, 0.3])
    picked = held.select([2, 0])
    assert (picked.labels, picked.scores) == (("c", "a"), (0.3, 0.1))
    np.testing.assert_array_equal(picked.dense(), masks[[2, 0]])
    segmentation = Segmentation(picked)
    assert (len(segmentation), segmentation.labels, segmentation.scores) == (
        2,
        ("c", "a"),
        (0.3, 0.1),
    )
