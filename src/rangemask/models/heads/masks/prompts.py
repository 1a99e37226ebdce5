"""What a person asks for: points, boxes and previous masks, checked before a network sees them."""

from __future__ import annotations

import torch
from torch import Tensor

from rangemask.errors import InputError

POSITIVE, NEGATIVE = 1, 0
"""Labels of a point: inside the object, outside of it."""
PADDINGS = (-1, -10)
"""Labels of a point that is not there. SAM's encoder knows two of them, "not a point" and
"ignore", which both still take part in attention; here a padded prompt equals one without."""


def check_prompts(
    batch: int,
    *,
    image_size: tuple[int, int],
    points: Tensor | None = None,
    point_labels: Tensor | None = None,
    boxes: Tensor | None = None,
    mask_input: Tensor | None = None,
) -> int:
    """Refuse prompts that make no sense; reads values, so that it stays out of compiled code.

    Args:
        batch: number of images, B.
        image_size: height and width of the network's input, px.
        points: (B, P, K, 2), x and y in px; pixel centres are at integers.
        point_labels: (B, P, K), 1 inside, 0 outside, negative for padding.
        boxes: (B, P, 4), left, top, right, bottom in px.
        mask_input: (B, P, h, w), logits.

    Returns:
        P, the number of prompts per image.

    Raises:
        InputError: nothing is asked, shapes disagree, values are NaN, a point or box lies
            outside of the image, or a label is unknown; the first such prompt is named.
    """
    count = _count(batch, points, point_labels, boxes, mask_input)
    if points is not None and point_labels is not None:
        _check_points(points, point_labels, image_size)
        if boxes is None and mask_input is None:
            _refuse((point_labels < 0).all(-1), "holds only padding; give it a point")
    if boxes is not None:
        _check_boxes(boxes, image_size)
    if mask_input is not None:
        _refuse(~torch.isfinite(mask_input).flatten(2).all(-1), "has a mask with NaN or infinity")
    return count


def _count(
    batch: int,
    points: Tensor | None,
    point_labels: Tensor | None,
    boxes: Tensor | None,
    mask_input: Tensor | None,
) -> int:
    """Number of prompts per image, once all shapes agree on it."""
    if (points is None) != (point_labels is None):
        raise InputError("points and point_labels come together: one label per point.")
    if points is None and boxes is None and mask_input is None:
        raise InputError("nothing is asked: give points, boxes or a mask.")
    expected = {
        "points": (points, "(B, P, K, 2)", 4, (2,)),
        "point_labels": (point_labels, "(B, P, K)", 3, ()),
        "boxes": (boxes, "(B, P, 4)", 3, (4,)),
        "mask_input": (mask_input, "(B, P, h, w)", 4, ()),
    }
    counts = {}
    for name, (value, shape, dimensions, end) in expected.items():
        if value is None:
            continue
        found = tuple(value.shape)
        if len(found) != dimensions or found[0] != batch or found[dimensions - len(end) :] != end:
            raise InputError(f"{name} must be {shape} with B = {batch}, got {found}.")
        if 0 in found:
            raise InputError(f"there is nothing in {name} of shape {found}; give at least one.")
        counts[name] = found[1]
    if points is not None and point_labels is not None and points.shape[:-1] != point_labels.shape:
        raise InputError(
            f"there must be one label per point, got points {tuple(points.shape)} and labels "
            f"{tuple(point_labels.shape)}."
        )
    if len(set(counts.values())) > 1:
        raise InputError(f"all kinds must have the same number of prompts, got {counts}.")
    return next(iter(counts.values()))


def _check_points(points: Tensor, labels: Tensor, image_size: tuple[int, int]) -> None:
    known = torch.isin(labels, labels.new_tensor([POSITIVE, NEGATIVE, *PADDINGS]))
    _refuse(
        ~known.all(-1), "has a label that is none of 1 (inside), 0 (outside), -1 or -10 (padding)"
    )
    given = labels >= 0
    _refuse((~torch.isfinite(points).all(-1) & given).any(-1), "has a point that is NaN or inf")
    height, width = image_size
    edge = points.new_tensor([width, height]) - 0.5
    outside = ((points < -0.5) | (points > edge)).any(-1) & given
    _refuse(outside.any(-1), f"has a point outside of the image of {width} x {height} px")


def _check_boxes(boxes: Tensor, image_size: tuple[int, int]) -> None:
    _refuse(~torch.isfinite(boxes).all(-1), "has a box that is NaN or infinite")
    height, width = image_size
    # A right or lower edge may be counted to the last pixel's centre, its border or its end.
    limit = boxes.new_tensor([width, height, width, height])
    outside = (boxes < -0.5) | (boxes > limit)
    _refuse(outside.any(-1), f"has a box outside of the image of {width} x {height} px")
    empty = (boxes[..., 2:] <= boxes[..., :2]).any(-1)
    _refuse(empty, "has a box without area; boxes are left, top, right, bottom")


def _refuse(wrong: Tensor, why: str) -> None:
    """Name the first prompt of (B, P) that is wrong."""
    if bool(wrong.any()):
        image, prompt = torch.nonzero(wrong)[0].tolist()
        raise InputError(f"prompt {prompt} of image {image} {why}.")
