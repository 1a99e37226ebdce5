"""Prompts as a person would give them, made from masks: points, boxes, corrections."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor

from rangemask.models.heads.masks.prompts import NEGATIVE, PADDINGS, POSITIVE
from rangemask.training.losses.loss import check_range
from rangemask.training.losses.points import pixels_inside, uniform

PADDING = PADDINGS[0]


@dataclass(frozen=True, kw_only=True, slots=True)
class PromptSampling:
    """How prompts are made.

    Raises:
        InputError: a number is impossible.
    """

    objects: int = 8
    """Most objects of a frame that are asked for, drawn at random."""
    box_share: float = 0.5
    """How often a batch is asked by boxes; else by points."""
    positives: int = 2
    """Most points inside an object, at least one is there."""
    negatives: int = 1
    """Most points outside of it."""
    box_jitter: float = 0.1
    """Standard deviation of a box's sides, by its size (Segment Anything, appendix A)."""
    box_jitter_px: float = 20.0
    """Farthest that a side moves."""

    def __post_init__(self) -> None:
        check_range("objects", self.objects, 1)
        check_range("box_share", self.box_share, 0, 1)
        check_range("positives", self.positives, 1)
        check_range("negatives", self.negatives, 0)
        check_range("box_jitter", self.box_jitter, 0)
        check_range("box_jitter_px", self.box_jitter_px, 0)


class Prompts(NamedTuple):
    """What is asked, P prompts per frame; as ``PromptHead.predict`` takes it."""

    points: Tensor | None
    """(B, P, K, 2) x, y in px."""
    point_labels: Tensor | None
    """(B, P, K)."""
    boxes: Tensor | None
    """(B, P, 4) left, top, right, bottom in px."""


@torch.no_grad()
def first_prompts(
    masks: Tensor, config: PromptSampling, generator: torch.Generator | None = None
) -> Prompts:
    """Boxes for all, or points for all.

    Args:
        masks: (B, P, H, W) bool, none of them empty.
        config: how many of what.
        generator: of the random numbers.
    """
    frames, count = masks.shape[:2]
    flat = masks.flatten(0, 1)
    by_box = uniform(1, device=torch.device("cpu"), generator=generator).item() < config.box_share
    if by_box:
        return Prompts(None, None, jittered_boxes(flat, config, generator).view(frames, count, 4))
    inside, _ = pixels_inside(flat, config.positives, generator)
    outside, some = pixels_inside(~flat, max(config.negatives, 1), generator)
    labels = torch.cat(
        [
            _some_of(config.positives, POSITIVE, flat, generator, at_least=1),
            torch.where(
                some[:, None],
                _some_of(config.negatives, NEGATIVE, flat, generator, at_least=0),
                PADDING,
            ),
        ],
        dim=1,
    )
    points = torch.cat([inside, outside[:, : config.negatives]], dim=1)
    return Prompts(points.unflatten(0, (frames, count)), labels.unflatten(0, (frames, count)), None)


@torch.no_grad()
def corrected(
    prompts: Prompts,
    answer: Tensor,
    masks: Tensor,
    generator: torch.Generator | None = None,
) -> Prompts:
    """The same prompts and a point where the answer is wrong; a perfect one gets padding.

    Args:
        prompts: what was asked before.
        answer: (B, P, h, w) logits, of any size.
        masks: (B, P, H, W) bool, the truth.
        generator: of the random numbers.
    """
    rows, columns = (
        _centres(masks.shape[-2], answer.shape[-2]),
        _centres(masks.shape[-1], answer.shape[-1]),
    )
    rows, columns = rows.to(masks.device), columns.to(masks.device)
    truth = masks[..., rows[:, None], columns]
    cell, wrong = pixels_inside(((answer > 0) != truth).flatten(0, 1), 1, generator)
    column, row = cell[:, 0].long().unbind(-1)
    positive = truth.flatten(0, 1)[torch.arange(len(row), device=row.device), row, column]
    label = torch.where(wrong, torch.where(positive, POSITIVE, NEGATIVE), PADDING)
    point = torch.stack([columns[column], rows[row]], dim=-1).float()
    shape = masks.shape[:2]
    point, label = point.view(*shape, 1, 2), label.view(*shape, 1)
    if prompts.points is None or prompts.point_labels is None:
        return prompts._replace(points=point, point_labels=label)
    return prompts._replace(
        points=torch.cat([prompts.points, point], dim=2),
        point_labels=torch.cat([prompts.point_labels, label], dim=2),
    )


def boxes_of(masks: Tensor) -> Tensor:
    """Tight boxes around the pixels, (N, H, W) bool to (N, 4): outer borders, in px."""
    sides = []
    for axis in (1, 2):
        there = masks.any(axis)
        place = torch.arange(there.shape[1], device=masks.device)
        first = torch.where(there, place, there.shape[1]).amin(1)
        last = torch.where(there, place, -1).amax(1)
        sides.append((first - 0.5, last + 0.5))
    (left, right), (top, bottom) = sides
    return torch.stack([left, top, right, bottom], dim=1)


def jittered_boxes(
    masks: Tensor, config: PromptSampling, generator: torch.Generator | None = None
) -> Tensor:
    """Boxes as drawn by hand, inside the image and at least a pixel wide; (N, 4) px.

    Args:
        masks: (N, H, W) bool, none of them empty.
        config: how far they are off.
        generator: of the random numbers.
    """
    boxes = boxes_of(masks)
    size = (boxes[:, 2:] - boxes[:, :2]).repeat(1, 2)
    # Box-Muller: the generator may be of another device than the masks.
    noise = uniform(2, *boxes.shape, device=boxes.device, generator=generator)
    normal = (-2 * (1 - noise[0]).log()).sqrt() * (2 * torch.pi * noise[1]).cos()
    limit = config.box_jitter_px
    moved = boxes + (normal * config.box_jitter * size).clamp(-limit, limit)
    height, width = masks.shape[-2:]
    edge = boxes.new_tensor([width, height]) - 0.5
    start = torch.minimum(moved[:, :2].clamp(min=-0.5), edge - 1)
    end = torch.minimum(torch.maximum(moved[:, 2:], start + 1), edge)
    return torch.cat([start, end], dim=1)


def _some_of(
    slots: int, label: int, masks: Tensor, generator: torch.Generator | None, *, at_least: int
) -> Tensor:
    """Labels of a random number of points, (N, slots), the rest of them padding."""
    share = uniform(len(masks), 1, device=masks.device, generator=generator)
    given = at_least + (share * (slots - at_least + 1)).long()
    slot = torch.arange(slots, device=masks.device)
    return torch.where(slot < given, label, PADDING)


def _centres(size_px: int, cells: int) -> Tensor:
    """The pixel at the centre of each of some cells."""
    centre = (torch.arange(cells) + 0.5) * size_px / cells
    return centre.long().clamp(max=size_px - 1)
