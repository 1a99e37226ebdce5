"""Prompts on an encoded image. The published numbers: see ``test_parity``."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F
from torchvision.transforms.v2.functional import normalize, resize

from rangemask.backends.masks.prompting import EncodedImage, PromptAnswer
from rangemask.backends.masks.sam2 import Sam2Image, Sam2Segmenter, image
from rangemask.errors import InputError
from rangemask.models.sam2.prompting import resized
from support.sam2 import PASSPORT, nano_sam2, picture

HEIGHT, WIDTH = 60, 90
BOX = [10.0, 5.0, 70.0, 50.0]


@pytest.fixture(scope="module")
def segmenter() -> Sam2Segmenter:
    return Sam2Segmenter(nano_sam2(), PASSPORT)


@pytest.fixture(scope="module")
def encoded(segmenter: Sam2Segmenter) -> Sam2Image:
    return segmenter.encode(picture(HEIGHT, WIDTH))


def close(found: PromptAnswer, expected: PromptAnswer, rows: Any = slice(None)) -> None:
    np.testing.assert_allclose(
        found.low_res_logits, expected.low_res_logits[rows], rtol=0, atol=1e-4
    )
    np.testing.assert_allclose(found.iou, expected.iou[rows], rtol=0, atol=1e-5)


def test_shapes_and_types(encoded: Sam2Image) -> None:
    checked: EncodedImage = encoded
    for multimask, count in ((False, 1), (True, 3)):
        answer = checked.predict([[(20, 30)], [(50, 9)]], multimask=multimask)
        assert answer.masks.shape == (2, count, HEIGHT, WIDTH)
        assert answer.iou.shape == (2, count)
        assert answer.low_res_logits.shape == (2, count, 32, 32)
        assert answer.masks.dtype == bool
        assert answer.low_res_logits.dtype == answer.iou.dtype == np.float32
        assert np.abs(answer.low_res_logits).max() <= 32
        assert answer.iou.min() >= 0
        assert answer.iou.max() <= 1


def test_one_mask_is_asked_for_by_default(encoded: Sam2Image) -> None:
    assert encoded.predict([[(20, 30)]]).masks.shape[1] == 1


def test_masks_are_the_logits_at_full_size(encoded: Sam2Image) -> None:
    answer = encoded.predict([[(20, 30)], [(60, 9)]], multimask=True)
    wide = F.interpolate(torch.from_numpy(answer.low_res_logits), (HEIGHT, WIDTH), mode="bilinear")
    assert answer.masks.any()
    assert not answer.masks.all()
    np.testing.assert_array_equal(answer.masks, wide.numpy() > 0)


def test_the_answer_depends_on_every_part_of_a_prompt(encoded: Sam2Image) -> None:
    """Nothing that is asked falls on deaf ears."""
    base: dict[str, Any] = {"points": [[(20, 30), (60, 9)]], "point_labels": [[1, 0]]}
    first = encoded.predict(**base)
    others = (
        {"points": [[(20, 30), (60, 40)]], "point_labels": [[1, 0]]},
        {"points": [[(20, 30), (60, 9)]], "point_labels": [[1, 1]]},
        {**base, "boxes": [BOX]},
        {**base, "mask_input": first.low_res_logits},
    )
    for other in others:
        changed = encoded.predict(**other)
        assert np.abs(changed.low_res_logits - first.low_res_logits).max() > 1e-2


PROMPTS = st.lists(
    st.lists(
        st.tuples(st.integers(0, WIDTH - 1), st.integers(0, HEIGHT - 1), st.integers(0, 1)),
        min_size=1,
        max_size=4,
    ),
    min_size=1,
    max_size=5,
)


@settings(deadline=None, max_examples=15)
@given(prompts=PROMPTS, boxes=st.booleans(), multimask=st.booleans())
def test_many_prompts_are_answered_as_each_alone(
    encoded: Sam2Image, prompts: list[list[tuple[int, int, int]]], boxes: bool, multimask: bool
) -> None:
    """Whatever their lengths, in whatever order."""
    points = [[(x, y) for x, y, _ in prompt] for prompt in prompts]
    labels = [[mark for _, _, mark in prompt] for prompt in prompts]
    corners = [[i, 2.0 * i, 40 + i, 50.0] for i in range(len(prompts))]
    together = encoded.predict(
        points, labels, boxes=corners if boxes else None, multimask=multimask
    )
    for index in range(len(prompts)):
        alone = encoded.predict(
            points[index : index + 1],
            labels[index : index + 1],
            boxes=corners[index : index + 1] if boxes else None,
            multimask=multimask,
        )
        close(alone, together, slice(index, index + 1))


def test_padding_is_as_if_it_were_not_there(encoded: Sam2Image) -> None:
    plain = encoded.predict([[(20, 30)]], [[1]], boxes=[BOX])
    for padding in (-1, -10):
        padded = encoded.predict([[(0, 0), (20, 30)]], [[padding, 1]], boxes=[BOX])
        close(padded, plain)
    only = encoded.predict(boxes=[BOX])
    close(encoded.predict([[(20, 30)]], [[-10]], boxes=[BOX]), only)


def test_more_prompts_than_go_at_once(encoded: Sam2Image) -> None:
    count = image.batch_size(torch.device("cpu")) + 3
    boxes = [[i, 0.0, i + 30.0, 40.0] for i in range(count)]
    many = encoded.predict(boxes=boxes)
    assert many.masks.shape[0] == count
    close(encoded.predict(boxes=boxes[-1:]), many, slice(-1, None))


def test_masks_at_points(encoded: Sam2Image) -> None:
    points = [(20.0, 30.0), (60.0, 9.0)]
    masks = encoded.masks_at(points)
    assert masks.shape == (2, HEIGHT, WIDTH)
    expected = encoded.predict([[point] for point in points]).masks[:, 0]
    np.testing.assert_array_equal(masks, expected)


def test_a_mask_alone_is_a_prompt(encoded: Sam2Image) -> None:
    first = encoded.predict([[(20, 30)], [(60, 9)]])
    answer = encoded.predict(mask_input=first.low_res_logits)
    assert answer.masks.shape == (2, 1, HEIGHT, WIDTH)
    close(encoded.predict(mask_input=first.low_res_logits[1, 0][None]), answer, slice(1, 2))


def test_prompts_are_in_pixels_of_the_image(segmenter: Sam2Segmenter) -> None:
    """The same picture at twice the size, and the same places in it: as good as the same mask."""
    small = picture(HEIGHT, WIDTH)
    large = np.repeat(np.repeat(small, 2, 0), 2, 1)
    once = segmenter.encode(small).predict([[(20, 30)]], boxes=[BOX])
    twice = segmenter.encode(large).predict([[(40, 60)]], boxes=[[2 * x for x in BOX]])
    error = np.abs(once.low_res_logits - twice.low_res_logits).mean()
    assert error < 0.1 * np.abs(once.low_res_logits).mean()


@pytest.mark.parametrize("size", [(200, 300), (40, 50), (128, 128)])
def test_images_are_resized_as_the_authors_do_it(size: tuple[int, int]) -> None:
    """Their transform is torchvision's, on floats, and without aliasing."""
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (1, 3, *size), dtype=torch.uint8, generator=generator)
    expected = resize(images.float() / 255, [128, 128], antialias=True)
    expected = normalize(expected, [0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
    torch.testing.assert_close(resized(images, 128), expected, rtol=0, atol=1e-5)


# Errors


@pytest.mark.parametrize(
    ("prompt", "words"),
    [
        ({}, "nothing is asked: give points, boxes or a mask"),
        ({"points": []}, "there is nothing in points"),
        ({"points": [[]]}, "points must be a list of prompts"),
        ({"points": [(20, 30)]}, "points must be a list of prompts"),
        ({"points": [[(90, 30)]]}, r"prompt 0 .*outside of the image of 90 x 60 px"),
        ({"points": [[(5, 5)], [(20, -1)]]}, "prompt 1 .*outside of the image"),
        ({"points": [[(np.nan, 3)]]}, "NaN"),
        ({"points": [[(3, 3)]], "point_labels": [[2]]}, "none of 1 .inside., 0 .outside"),
        ({"points": [[(3, 3)]], "point_labels": [[1, 1]]}, "one label per point"),
        ({"points": [[(3, 3)]], "point_labels": [[-10]]}, "holds only padding"),
        ({"point_labels": [[1]]}, "no points are given"),
        ({"boxes": [[5, 5, 100, 20]]}, "a box outside of the image"),
        ({"boxes": [[50, 5, 20, 20]]}, "a box without area"),
        ({"boxes": [5, 5, 20, 20]}, r"boxes must be \(B, P, 4\)"),
        ({"boxes": [[np.inf, 5, 20, 20]]}, "a box that is NaN or infinite"),
        ({"points": [[(3, 3)]] * 2, "boxes": [BOX]}, "the same number of prompts"),
        ({"mask_input": np.zeros((1, 16, 16))}, r"low_res_logits .*\(P, 32, 32\)"),
        ({"mask_input": np.full((1, 32, 32), np.nan)}, "a mask with NaN"),
        ({"mask_input": "mask"}, r"mask_input must be \(P, h, w\)"),
    ],
)
def test_impossible_prompts_are_refused(
    encoded: Sam2Image, prompt: dict[str, Any], words: str
) -> None:
    with pytest.raises(InputError, match=words):
        encoded.predict(**prompt)


@pytest.mark.parametrize(
    ("shape", "dtype", "words"),
    [
        ((60, 90), np.uint8, r"must be \(H, W, 3\) uint8 RGB, got uint8 \(60, 90\)"),
        ((60, 90, 4), np.uint8, r"must be \(H, W, 3\) uint8 RGB"),
        ((60, 90, 3), np.float32, r"got float32 \(60, 90, 3\)"),
        ((0, 90, 3), np.uint8, r"got uint8 \(0, 90, 3\)"),
        ((4, 90, 3), np.uint8, r"16 times as long as wide, got 90 x 4\. Crop it"),
    ],
)
def test_what_is_no_image_is_refused(
    segmenter: Sam2Segmenter, shape: tuple[int, ...], dtype: Any, words: str
) -> None:
    with pytest.raises(InputError, match=words):
        segmenter.encode(np.zeros(shape, dtype))
