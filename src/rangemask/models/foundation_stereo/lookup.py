"""What the volumes say around the disparity at hand (spec 8.2)."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from rangemask.models.foundation_stereo.config import LEVELS, RADIUS
from rangemask.models.foundation_stereo.volume import row_correlation, unit_vectors

TAPS = 2 * RADIUS + 1


class Geometry(NamedTuple):
    """What is looked at; per level, coarser by half each.

    Planes lie behind each other in memory, so that what one pixel reads is one piece.
    """

    volumes: tuple[Tensor, ...]
    """(B * h * w, D / 2^l, C) float32."""
    rows: tuple[Tensor, ...]
    """(B * h * w, w / 2^l, 1) float32: the pixel's products with its row of the right image."""


def build_geometry(volume: Tensor, left: Tensor, right: Tensor) -> Geometry:
    """Both pyramids.

    Args:
        volume: (B, C, D, h, w).
        left: (B, F, h, w).
        right: the same.
    """
    planes = volume.float().permute(0, 3, 4, 2, 1).flatten(0, 2)
    with torch.autocast(left.device.type, enabled=False):
        products = row_correlation(unit_vectors(left)[:, 0], unit_vectors(right)[:, 0])
    row = products.flatten(0, 2)[..., None]
    volumes, rows = [planes], [row]
    for _ in range(LEVELS - 1):
        volumes.append(halved(volumes[-1]))
        rows.append(halved(rows[-1]))
    return Geometry(tuple(volumes), tuple(rows))


def halved(values: Tensor) -> Tensor:
    """(N, n, C) to (N, n // 2, C): means of pairs; an odd last one is left out."""
    even = values.shape[1] // 2 * 2
    means: Tensor = values[:, :even].unflatten(1, (-1, 2)).mean(2)
    return means


def look(geometry: Geometry, disparity: Tensor) -> tuple[Tensor, ...]:
    """Both pyramids around a disparity.

    Args:
        geometry: of the pair.
        disparity: (B, 1, h, w), in cells.

    Returns:
        per level the volume's channels (N, 9, C), then the row's products (N, 9, 1), where N
        counts pixels and 9 the cells from -4 to 4 around the disparity.
    """
    column = torch.arange(disparity.shape[-1], device=disparity.device, dtype=disparity.dtype)
    partner = (column - disparity).flatten()
    flat = disparity.flatten()
    found = []
    for level, (volume, row) in enumerate(zip(geometry.volumes, geometry.rows, strict=True)):
        step = 2**level
        found += [sample(volume, flat / step), sample(row, partner / step)]
    return tuple(found)


def sample(values: Tensor, centre: Tensor) -> Tensor:
    """Linear interpolation around a place, 0 outside.

    Args:
        values: (N, n, C).
        centre: (N,), counted from 0.

    Returns:
        (N, 9, C) at ``centre - 4`` to ``centre + 4``.
    """
    count, length, channels = values.shape
    # Beyond that, all that is read is outside.
    centre = centre.clamp(-RADIUS - 2.0, length + RADIUS + 1.0)
    first = centre.floor()
    share = (centre - first)[:, None, None]
    reach = torch.arange(-RADIUS, RADIUS + 2, device=values.device)
    place = first.long()[:, None] + reach
    inside = (place >= 0) & (place < length)
    start = torch.arange(count, device=values.device)[:, None] * length
    index = start + place.clamp(0, length - 1)
    read = values.reshape(-1, channels).index_select(0, index.flatten())
    read = read.view(count, TAPS + 1, channels) * inside[..., None]
    return torch.lerp(read[:, :-1], read[:, 1:], share)


def published_order(found: tuple[Tensor, ...], batch: int, size: tuple[int, int]) -> Tensor:
    """What ``look`` gives as one map (B, channels, h, w), channels as published: taps last."""
    maps = [part.transpose(1, 2).flatten(1) for part in found]
    return torch.cat(maps, dim=1).view(batch, *size, -1).permute(0, 3, 1, 2)


def expected_cell(logits: Tensor) -> Tensor:
    """(B, D, h, w) to (B, 1, h, w): the disparity, in cells, that the volume expects."""
    planes = torch.arange(logits.shape[1], device=logits.device, dtype=torch.float32)
    return torch.einsum("bdhw,d->bhw", F.softmax(logits.float(), dim=1), planes)[:, None]
