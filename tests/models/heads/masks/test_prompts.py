import pytest
import torch

from rangemask.errors import InputError
from rangemask.models.heads.masks.prompts import check_prompts

SIZE = (40, 60)
NAN = float("nan")


def points(*places):
    """One image, one point per prompt."""
    return torch.tensor(places, dtype=torch.float32)[None, :, None]


def ones(count):
    return torch.ones(1, count, 1)


def test_counts_the_prompts():
    assert check_prompts(1, image_size=SIZE, points=points((0, 0)), point_labels=ones(1)) == 1
    boxes = torch.tensor([[[0.0, 0, 60, 40]] * 3] * 2)
    assert check_prompts(2, image_size=SIZE, boxes=boxes) == 3
    masks = torch.zeros(2, 3, 5, 5)
    assert check_prompts(2, image_size=SIZE, boxes=boxes, mask_input=masks) == 3


def test_edges_of_the_image_are_inside():
    edges = points((-0.5, -0.5), (59.5, 39.5))
    assert check_prompts(1, image_size=SIZE, points=edges, point_labels=ones(2)) == 2


def test_padding_may_hold_anything():
    places = torch.tensor([[[[5.0, 5.0], [NAN, -99.0]]]])
    labels = torch.tensor([[[1, -10]]])
    assert check_prompts(1, image_size=SIZE, points=places, point_labels=labels) == 1


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, "nothing is asked"),
        ({"points": points((1, 1))}, "points and point_labels come together"),
        ({"point_labels": ones(1)}, "points and point_labels come together"),
        ({"points": torch.zeros(1, 0, 1, 2), "point_labels": ones(0)}, "there is nothing in"),
        ({"boxes": torch.zeros(1, 0, 4)}, "there is nothing in boxes"),
        ({"points": torch.zeros(1, 2), "point_labels": ones(1)}, r"points must be \(B, P, K, 2\)"),
        ({"boxes": torch.zeros(2, 1, 4)}, r"boxes must be \(B, P, 4\) with B = 1"),
        ({"boxes": torch.zeros(1, 1, 3)}, r"boxes must be \(B, P, 4\)"),
        ({"mask_input": torch.zeros(1, 4, 4)}, r"mask_input must be \(B, P, h, w\)"),
        ({"points": points((1, 1)), "point_labels": ones(2)}, "one label per point"),
        (
            {"mask_input": torch.zeros(1, 2, 4, 4), "boxes": torch.tensor([[[0, 0, 2, 2]]])},
            "the same number of prompts, got {'boxes': 1, 'mask_input': 2}",
        ),
        (
            {"points": points((1, 1), (NAN, 1)), "point_labels": ones(2)},
            "prompt 1 of image 0 has a point that is NaN",
        ),
        (
            {"points": points((1, 1), (1, 1), (60, 1)), "point_labels": ones(3)},
            "prompt 2 of image 0 has a point outside of the image of 60 x 40 px",
        ),
        ({"points": points((1, 40)), "point_labels": ones(1)}, "prompt 0 .* outside"),
        ({"points": points((1, -1)), "point_labels": ones(1)}, "prompt 0 .* outside"),
        ({"points": points((1, 1)), "point_labels": 2 * ones(1)}, "has a label that is none of"),
        ({"points": points((1, 1)), "point_labels": NAN * ones(1)}, "has a label that is none of"),
        ({"points": points((1, 1)), "point_labels": -ones(1)}, "holds only padding"),
        ({"boxes": torch.tensor([[[0, 0, NAN, 2]]])}, "has a box that is NaN"),
        ({"boxes": torch.tensor([[[0.0, 0, 2, 41]]])}, "has a box outside of the image"),
        ({"boxes": torch.tensor([[[5.0, 0, 2, 4]]])}, "has a box without area"),
        ({"mask_input": torch.full((1, 1, 4, 4), NAN)}, "has a mask with NaN"),
    ],
)
def test_speaks(given, message):
    with pytest.raises(InputError, match=message):
        check_prompts(1, image_size=SIZE, **given)
