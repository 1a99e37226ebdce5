"""Post-processing of monocular depth by a second look at the mirrored image.

All of it works on inverse depth. One of: ``fpp``, the mean of both (Monodepth2); ``gpp``, the mean
but for the image's sides, which come from the look that saw them better (Monodepth, arXiv
1609.03677); ``mspp``, near things from the second look at a smaller image (FAL-Net, arXiv
2007.12656).
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, TypeAlias, get_args

import torch
from torch import Tensor
from torch.nn import functional as F

from rangemask.errors import InputError

Flip: TypeAlias = Literal["none", "fpp", "gpp", "mspp"]
SMALLER = 2 / 3
"""Size of the second look of ``mspp``."""
SIDE = 0.05
"""Share of the width that ``gpp`` takes from one look alone; it fades over as much again."""
NEAR_QUANTILE = 0.95


def flipped_depth(depth_of: Callable[[Tensor], Tensor], images: Tensor, flip: Flip) -> Tensor:
    """Depth of images, improved by a second look.

    Args:
        depth_of: images (B, 3, h, w) of any size to depth (B, 1, h, w); a network that takes
            certain sizes only must resize within.
        images: (B, 3, H, W).
        flip: the rule; ``none`` looks once.

    Returns:
        (B, 1, H, W).

    Raises:
        InputError: an unknown rule.
    """
    if flip not in get_args(Flip):
        raise InputError(f"flip must be one of {', '.join(get_args(Flip))}, got {flip!r}.")
    depth = depth_of(images)
    if flip == "none":
        return depth
    mirrored = images.flip(-1)
    if flip == "mspp":
        size = [int(side * SMALLER) for side in images.shape[-2:]]
        mirrored = F.interpolate(mirrored, size=size, mode="bilinear", align_corners=True)
    return combine(depth, depth_of(mirrored), flip)


def combine(depth: Tensor, of_mirrored: Tensor, flip: Flip) -> Tensor:
    """Both looks in one.

    Args:
        depth: (B, 1, H, W).
        of_mirrored: (B, 1, h, w), depth of the mirrored image as the network gives it; for
            ``mspp`` of the smaller one.
        flip: ``fpp``, ``gpp`` or ``mspp``.

    Returns:
        (B, 1, H, W).

    Raises:
        InputError: an unknown rule.
    """
    if flip == "mspp":
        of_mirrored = F.interpolate(of_mirrored, size=depth.shape[-2:], mode="nearest") * SMALLER
    first, second = 1 / depth, 1 / of_mirrored.flip(-1)
    if flip == "fpp":
        return 2 / (first + second)
    if flip == "gpp":
        across = torch.linspace(0, 1, depth.shape[-1], device=depth.device, dtype=depth.dtype)
        left = 1 - ((across - SIDE) / SIDE).clamp(0, 1)
        right = left.flip(0)
        mean = (first + second) / 2
        return 1 / (right * first + left * second + (1 - left - right) * mean)
    if flip == "mspp":
        nearest = torch.quantile(first.flatten(1), NEAR_QUANTILE, dim=1).view(-1, 1, 1, 1)
        near = (first / (nearest + 1e-6)).clamp(max=1)
        return 1 / torch.lerp(first, second, near)
    raise InputError(f"flip must be fpp, gpp or mspp, got {flip!r}.")
