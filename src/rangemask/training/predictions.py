"""Small pictures' worth of what a student says of validation frames, kept for the run's page."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from rangemask.atomic import atomic_file
from rangemask.models.config import RangeMaskConfig
from rangemask.models.heads.masks.merging import instances, masks_at_size
from rangemask.models.heads.semantic import semantic_ids
from rangemask.models.rangemask import RangeMaskOutput
from rangemask.training.batch import Batch

WIDTH_PX = 320
"""Of what is kept."""


def keep_predictions(
    folder: Path, config: RangeMaskConfig, output: RangeMaskOutput, batch: Batch, most: int
) -> int:
    """Write ``NAME.npz`` for the first frames of a batch.

    Each holds ``image`` (uint8) and, of what there is, ``depth_m`` or ``relative_depth``,
    ``disparity``, ``semantic`` and ``objects`` (ids, 0 for none), each also as ``true_...``, all
    at a width of 320 px.

    Returns:
        how many were written.
    """
    count = min(len(batch), most)
    for index in range(count):
        arrays = _arrays_of(index, config, output, batch)
        # Names of frames are plain folder names.
        with atomic_file(folder / f"{batch.names[index]}.npz") as staging:
            np.savez_compressed(staging, **arrays)
    return count


def _arrays_of(
    index: int, config: RangeMaskConfig, output: RangeMaskOutput, batch: Batch
) -> dict[str, Any]:
    image = batch.images[index]
    height, width = image.shape[-2:]
    size = (max(1, round(height * WIDTH_PX / width)), WIDTH_PX)
    small = F.interpolate(image[None].float(), size=size, mode="bilinear", antialias=True)[0]
    arrays: dict[str, Any] = {
        "image": (small.clamp(0, 1) * 255).round().byte().permute(1, 2, 0).cpu().numpy()
    }
    metric = config.depth is not None and config.depth.max_depth_m is not None
    depth = "depth_m" if metric else "relative_depth"
    maps: dict[str, Tensor | None] = {
        depth: output.depth,
        f"true_{depth}": batch.depth,
        "disparity": None if output.stereo is None else output.stereo.disparity_px,
        "true_disparity": batch.disparity,
        "true_semantic": batch.semantic,
    }
    if output.semantic_logits is not None:
        logits = output.semantic_logits[index : index + 1].float()
        arrays["semantic"] = _nearest(semantic_ids(logits, (height, width))[0], size)
    for name, values in maps.items():
        if values is not None:
            arrays[name] = _nearest(values[index], size)
    if output.masks is not None and config.masks is not None:
        (found,) = instances(
            output.masks.class_logits[index : index + 1].float(),
            output.masks.mask_logits[index : index + 1].float(),
        )
        arrays["objects"] = _painted(masks_at_size(found.mask_logits, height, width), size)
    if batch.masks is not None:
        arrays["true_objects"] = _painted(batch.masks[index], size)
    return arrays


def _painted(masks: Tensor, size: tuple[int, int]) -> Any:
    """(n, H, W) bool, best first, to ids; the best on top."""
    if not len(masks):
        return np.zeros(size, dtype=np.uint8)
    ids = torch.zeros(masks.shape[-2:], dtype=torch.int64, device=masks.device)
    for number in range(min(len(masks), 255) - 1, -1, -1):
        ids[masks[number]] = number + 1
    return _nearest(ids, size)


def _nearest(values: Tensor, size: tuple[int, int]) -> Any:
    small = F.interpolate(values[None, None].float(), size=size, mode="nearest-exact")[0, 0]
    whole = not values.is_floating_point()
    return small.cpu().numpy().astype(np.uint8 if whole else np.float32)
