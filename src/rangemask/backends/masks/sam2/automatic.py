"""Everything in an image: a grid of points, and of their masks those that are worth keeping.

As the authors' mask generator does it, but what is judged is judged at low resolution: masks
are brought to the size of the image only once they are kept, a few at a time, and are run
lengths from then on.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torchvision.ops import batched_nms, masks_to_boxes
from transformers import Sam2Model

from rangemask.backends.masks.sam2.cleaning import Crop, distinct, full_size
from rangemask.backends.masks.sam2.image import batch_size, encode_image, side_px
from rangemask.errors import InputError
from rangemask.geometry.arrays import ImageArray
from rangemask.models.sam2.prompting import computing, decode_sure, stability
from rangemask.structures import MaskSet
from rangemask.structures.masks import Rle

LABEL = "object"
_POOLED = 512
"""Candidates that are held as logits; beyond, repetitions are thrown out before the end."""
_EDGE = 0.02
"""Masks that come as near to a crop's edge, as a share of its side, are cut off there."""


@dataclass(frozen=True, kw_only=True, slots=True)
class AutomaticConfig:
    """How everything in an image is found; defaults as published, but for cleaning.

    Raises:
        InputError: a number is impossible.
    """

    points_per_side: int = 32
    """The grid has as many points squared."""
    points_per_batch: int | None = None
    """Points that are decoded at once; more take more memory. None for what suits the device."""
    min_iou: float = 0.8
    """Masks whose fit the model itself guesses to be worse are left out."""
    min_stability: float = 0.95
    """Masks are left out whose area changes more when the threshold does: IoU of the two."""
    stability_delta: float = 1.0
    """By how much the threshold changes, up and down, in logits."""
    nms_iou: float = 0.7
    """Of masks whose boxes or areas overlap more, the one with the better score is kept."""
    min_region_px: int = 100
    """Regions and holes with fewer pixels are cleaned away; 0 keeps them."""
    max_masks: int = 256
    """Most masks per image, best first."""
    crop_layers: int = 0
    """Layers of crops beside the whole image, for small things: layer i has 4^i crops."""
    crop_overlap: float = 512 / 1500
    """How far crops of the first layer overlap, as a share of the image's short side."""
    crop_points_divisor: int = 1
    """In layer i the grid's side has fewer points by this to the power of i."""

    def __post_init__(self) -> None:
        for name in ("points_per_side", "max_masks", "crop_points_divisor"):
            _check_whole(name, getattr(self, name), least=1)
        if self.points_per_batch is not None:
            _check_whole("points_per_batch", self.points_per_batch, least=1)
        for name in ("min_region_px", "crop_layers"):
            _check_whole(name, getattr(self, name), least=0)
        for name in ("min_iou", "min_stability", "nms_iou", "crop_overlap"):
            if not 0 <= getattr(self, name) <= 1:
                raise InputError(f"{name} must be in [0, 1], got {getattr(self, name)}.")
        if not 0 <= self.stability_delta < float("inf"):
            raise InputError(f"stability_delta must not be negative, got {self.stability_delta}.")


def _check_whole(name: str, value: int, *, least: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool) or value < least:
        raise InputError(f"{name} must be a whole number of at least {least}, got {value!r}.")


class _Candidates(NamedTuple):
    """Masks at low resolution."""

    logits: Tensor
    """(n, h, w)"""
    iou: Tensor
    """(n,)"""
    boxes: Tensor
    """(n, 4), left, top, right, bottom in px of the logits; centres of the outermost ones."""

    def select(self, which: Tensor) -> _Candidates:
        """Those at the given indices, or where true."""
        return _Candidates(*(part[which] for part in self))


def find_everything(network: Sam2Model, image: ImageArray, config: AutomaticConfig) -> MaskSet:
    """Masks of everything in an image, by the model's own guess of their fit, best first.

    Args:
        network: SAM 2.1.
        image: (H, W, 3) uint8 RGB.
        config: what is kept.

    Raises:
        InputError: the image is a strip.
    """
    height, width = image.shape[:2]
    rles: list[Rle] = []
    scores: list[float] = []
    sizes: list[int] = []
    for crop in crops_of(height, width, config):
        found = _candidates(network, image, crop, config)
        whole = full_size(found.logits, crop, (height, width), min_region_px=config.min_region_px)
        for rle, score in zip(whole, found.iou.tolist(), strict=True):
            if rle.area:
                rles.append(rle)
                scores.append(min(score, 1.0))
                sizes.append((crop.right - crop.left) * (crop.bottom - crop.top))
    # What is seen in a smaller crop is seen more sharply.
    order = sorted(range(len(rles)), key=lambda i: (sizes[i], -scores[i]))
    kept = [order[i] for i in distinct([rles[i] for i in order], config.nms_iou)]
    best = sorted(kept, key=lambda i: -scores[i])[: config.max_masks]
    return MaskSet(
        height,
        width,
        tuple(rles[i] for i in best),
        (LABEL,) * len(best),
        tuple(scores[i] for i in best),
    )


def crops_of(height: int, width: int, config: AutomaticConfig) -> list[Crop]:
    """The whole image, and what else of it is looked at more closely."""
    crops = [Crop(0, 0, width, height, 0)]
    for layer in range(1, config.crop_layers + 1):
        side = 2**layer
        overlap = config.crop_overlap * min(height, width) * 2 / side
        rows, columns = (_spans(length, side, overlap) for length in (height, width))
        crops += [Crop(x[0], y[0], x[1], y[1], layer) for y in rows for x in columns]
    return crops


def _spans(length: int, count: int, overlap: float) -> list[tuple[int, int]]:
    """Start and end of equal parts of a line that overlap."""
    part = int(np.ceil((overlap * (count - 1) + length) / count))
    starts = (int((part - overlap) * index) for index in range(count))
    return [(start, min(start + part, length)) for start in starts]


def _candidates(
    network: Sam2Model, image: ImageArray, crop: Crop, config: AutomaticConfig
) -> _Candidates:
    """What is worth keeping of a crop, best first."""
    features = encode_image(network, image[crop.top : crop.bottom, crop.left : crop.right])
    side = max(1, config.points_per_side // config.crop_points_divisor**crop.layer)
    grid = _grid(side, side_px(network), features.embedding.device)
    pool: _Candidates | None = None
    with torch.inference_mode(), computing(network):
        for points in grid.split(config.points_per_batch or batch_size(grid.device)):
            answer = decode_sure(network, features, points, config.min_iou)
            stable = stability(answer.logits.flatten(1), config.stability_delta)
            inside = answer.logits > 0
            good = (stable >= config.min_stability) & inside.flatten(1).any(1)
            boxes = masks_to_boxes(inside[good])
            found = _Candidates(answer.logits[good], answer.iou[good], boxes)
            found = found.select(_uncut(found, crop, image.shape[:2]))
            if pool is not None:
                found = _Candidates(*(torch.cat(both) for both in zip(pool, found, strict=True)))
            pool = found
            if len(pool.iou) > _POOLED:
                pool = _without_repeats(pool, config)
    assert pool is not None  # noqa: S101 - a grid has points
    return _without_repeats(pool, config)


def _grid(side: int, side_px: int, device: torch.device) -> Tensor:
    """Points at the centres of side * side cells of the network's input, (N, 2) px."""
    line = (torch.arange(side, device=device) + 0.5) * (side_px / side)
    y, x = torch.meshgrid(line, line, indexing="ij")
    return torch.stack([x, y], dim=-1).flatten(0, 1)


def _uncut(found: _Candidates, crop: Crop, image_size: tuple[int, ...]) -> Tensor:
    """Which masks a crop does not cut off, (n,) bool: they end within it, or the image does."""
    last = found.logits.shape[-1] - 1
    near = found.boxes.new_tensor([0, 0, last, last])
    at_edge = (found.boxes - near).abs() <= _EDGE * last
    height, width = image_size[:2]
    ends = [crop.left == 0, crop.top == 0, crop.right == width, crop.bottom == height]
    return ~(at_edge & ~torch.tensor(ends, device=at_edge.device)).any(1)


def _without_repeats(found: _Candidates, config: AutomaticConfig) -> _Candidates:
    """Best first, without those whose box a better one has too."""
    # Boxes count whole pixels, so that one pixel is not nothing. IoU is that of the image: the
    # square grid only stretches it.
    whole = found.boxes + found.boxes.new_tensor([0, 0, 1, 1])
    kind = torch.zeros(len(whole), dtype=torch.long, device=whole.device)
    kept = batched_nms(whole, found.iou.to(whole.dtype), kind, config.nms_iou)
    return found.select(kept[:_POOLED])
