"""Blocks of patches that the student does not see (BEiT arXiv 2106.08254, iBOT 2111.07832)."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from rangemask.errors import InputError
from rangemask.training.self_supervision.config import MaskConfig

LEAST_BLOCK = 4
"""Patches of the smallest block that is tried."""
_TRIES = 10


def block_masks(
    count: int, grid: tuple[int, int], config: MaskConfig, generator: torch.Generator
) -> Tensor:
    """Hidden patches of some views.

    The shares of the views that hide any are spread evenly over ``config.ratio``, as DINOv2 does,
    and put in random order.

    Args:
        count: views.
        grid: rows and columns of patches.
        config: how many views and patches.
        generator: where random numbers come from.

    Returns:
        (count, rows, columns) bool on the CPU, True where hidden; at least one patch is.

    Raises:
        InputError: there is no view, or too few patches to hide one and see one.
    """
    patches = grid[0] * grid[1]
    if count < 1 or patches < 2:
        raise InputError(f"nothing can be hidden in {count} views of {patches} patches.")
    hiding = max(round(count * config.hidden_views), 1)
    masks = torch.zeros(count, *grid, dtype=torch.bool)
    order = torch.randperm(count, generator=generator, device=generator.device)[:hiding].tolist()
    low, high = config.ratio
    for place, view in enumerate(order):
        share = low + (high - low) * (place + _random(generator)) / hiding
        # Rounded inwards, so that the share is kept on small grids as well.
        least = max(math.ceil(low * patches), 1)
        wanted = min(max(round(share * patches), least), max(math.floor(high * patches), least))
        masks[view] = _blocks(wanted, grid, config.aspect, generator)
    return masks


def _blocks(
    wanted: int, grid: tuple[int, int], aspect: float, generator: torch.Generator
) -> Tensor:
    mask = torch.zeros(grid, dtype=torch.bool)
    for _ in range(_TRIES):
        missing = wanted - int(mask.sum())
        if missing < LEAST_BLOCK:
            break
        area = LEAST_BLOCK + (missing - LEAST_BLOCK) * _random(generator)
        ratio = math.exp((2 * _random(generator) - 1) * math.log(aspect))
        height = min(max(round(math.sqrt(area * ratio)), 1), grid[0])
        width = min(max(round(math.sqrt(area / ratio)), 1), grid[1])
        top = int(_random(generator) * (grid[0] - height + 1))
        left = int(_random(generator) * (grid[1] - width + 1))
        tried = mask.clone()
        tried[top : top + height, left : left + width] = True
        if int(tried.sum()) <= wanted:
            mask = tried
    free = (~mask).flatten().nonzero().squeeze(1)
    order = torch.randperm(len(free), generator=generator, device=generator.device).cpu()
    mask.view(-1)[free[order[: wanted - int(mask.sum())]]] = True
    return mask


def _random(generator: torch.Generator) -> float:
    return float(torch.rand((), generator=generator, device=generator.device))
