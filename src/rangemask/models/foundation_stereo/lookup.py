"""What the volumes say around the disparity at hand (spec 8.2)."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional as F

from rangemask.models.foundation_stereo.config import LEVELS, RADIUS
from rangemask.models.foundation_stereo.volume import row_correlation, unit_vectors

TAPS = 2 * RADIUS + 1


class Cells(NamedTuple):
    """Values along a line per pixel, wherever they lie in memory."""

    flat: Tensor
    """(M, C): all values."""
    length: int
    """Of every line."""
    stride: int
    """Entries of ``flat`` from one cell of a line to the next."""
    start: Tensor
    """(N,): where the line of each pixel starts in ``flat``."""


class Geometry(NamedTuple):
    """What is looked at."""

    volume: Cells
    """Of a pixel: its planes."""
    row: Cells
    """Of a pixel: its products with all pixels of its row of the right image."""


def build_geometry(volume: Tensor, left: Tensor, right: Tensor) -> Geometry:
    """What the refinement looks at.

    Args:
        volume: (B, D, h, w, C).
        left: (B, F, h, w).
        right: the same.
    """
    batch, planes, height, width, channels = volume.shape
    pixels = torch.arange(height * width, device=volume.device)
    images = torch.arange(batch, device=volume.device)[:, None] * (planes * height * width)
    of_volume = Cells(
        volume.reshape(-1, channels), planes, height * width, (images + pixels).flatten()
    )
    with torch.autocast(left.device.type, enabled=False):
        products = row_correlation(unit_vectors(left)[:, 0], unit_vectors(right)[:, 0])
    lines = torch.arange(batch * height * width, device=volume.device) * width
    return Geometry(of_volume, Cells(products.reshape(-1, 1), width, 1, lines))


def look(geometry: Geometry, disparity: Tensor) -> tuple[Tensor, ...]:
    """Both of them around a disparity, once as they are and once as means of pairs.

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
    for level in range(LEVELS):
        found += [sample(geometry.volume, flat, 2**level), sample(geometry.row, partner, 2**level)]
    return tuple(found)


def sample(cells: Cells, place: Tensor, step: int = 1) -> Tensor:
    """Linear interpolation around a place, 0 outside.

    Args:
        cells: where to read.
        place: (N,), in cells counted from 0.
        step: means of that many cells are read instead; an odd rest is left out.

    Returns:
        (N, 9, C) float32 at ``place / step - 4`` to ``place / step + 4``, counted in such means.
    """
    length = cells.length // step
    # Beyond that, all that is read is outside.
    centre = (place / step).clamp(-RADIUS - 2.0, length + RADIUS + 1.0)
    first = centre.floor()
    share = (centre - first)[:, None, None]
    reach = torch.arange(-RADIUS, RADIUS + 2, device=place.device)
    index = first.long()[:, None] + reach
    inside = ((index >= 0) & (index < length))[..., None]
    index = index.clamp(0, length - 1)[..., None] * step + torch.arange(step, device=place.device)
    index = cells.start[:, None] + index.flatten(1) * cells.stride
    read = cells.flat.index_select(0, index.flatten()).float()
    read = read.view(len(place), TAPS + 1, step, -1)
    read = (read[:, :, 0] if step == 1 else read.mean(2)) * inside
    return torch.lerp(read[:, :-1], read[:, 1:], share)


def published_order(
    found: tuple[Tensor, ...], channels: int, batch: int, size: tuple[int, int]
) -> Tensor:
    """What ``look`` gives as one map (B, ., h, w), as published: taps behind each other.

    Args:
        found: of ``look``.
        channels: of the volume; in memory it may have more.
        batch: B.
        size: h, w.
    """
    maps = [part[..., :channels].transpose(1, 2).flatten(1) for part in found]
    return torch.cat(maps, dim=1).view(batch, *size, -1).permute(0, 3, 1, 2)


def expected_cell(logits: Tensor) -> Tensor:
    """(B, D, h, w) to (B, 1, h, w): the disparity, in cells, that the volume expects."""
    planes = torch.arange(logits.shape[1], device=logits.device, dtype=torch.float32)
    # No product of matrices: autocast would round it.
    expected: Tensor = (F.softmax(logits.float(), dim=1) * planes[:, None, None]).sum(1)
    return expected[:, None]
