"""Names to networks with weights, on a device and in a precision."""

from __future__ import annotations

import logging
from pathlib import Path

import torch

from rangemask.models.backbone import Backbone, build_backbone
from rangemask.models.backbone_weights import canonical_backbone
from rangemask.models.blocks import compute_in
from rangemask.models.depth_anything import (
    METRIC_RANGE_M,
    DepthAnything,
    build_depth_anything,
    canonical_depth_anything,
)
from rangemask.models.placement import find_device, find_precision, splits_heads
from rangemask.models.published import fetch
from rangemask.models.weights import find_weights, load_strictly, read_weights

logger = logging.getLogger(__name__)


def load_backbone(
    name: str,
    *,
    checkpoint: str | Path | None = None,
    device: str = "auto",
    precision: str = "auto",
) -> Backbone:
    """A DINOv2 backbone with weights, frozen, ready to give features.

    Args:
        name: ``dinov2-{small,base,large,giant}``, each also with ``-reg``.
        checkpoint: the authors' ``.pth``, timm's or transformers' safetensors, or a folder with
            one of them; None downloads the published weights, or takes them from the cache.
        device: auto, cpu, cuda, cuda:1 or mps.
        precision: of the blocks' matrix products: auto, float32, bfloat16 or float16. The
            features are float32 in any case.

    Raises:
        InputError: a name is unknown, or the file is missing, damaged or of another model.
    """
    backbone = build_backbone(name)
    where = find_device(device)
    source = find_weights(checkpoint if checkpoint is not None else fetch(name))
    weights = canonical_backbone(read_weights(source))
    load_strictly(backbone.vit, weights, name=name, source=source)
    place(backbone, where, find_precision(precision, where))
    return backbone


def load_depth_anything(
    name: str,
    *,
    checkpoint: str | Path | None = None,
    device: str = "auto",
    precision: str = "auto",
    max_depth_m: float | None = None,
) -> tuple[DepthAnything, Path]:
    """Depth Anything V2 with weights, frozen, and the file that they came from.

    Args:
        name: ``depth-anything-v2-{small,base,large}``, for metres with ``-metric-indoor`` or
            ``-metric-outdoor``.
        checkpoint: the authors' ``.pth``, transformers' safetensors, or a folder with one.
        device: as for ``load_backbone``.
        precision: as for ``load_backbone``, and of the convolutions.
        max_depth_m: farthest depth of a metric model that was trained for another than the
            published 20 m indoors and 80 m outdoors.

    Raises:
        InputError: as for ``load_backbone``.
    """
    size, _, kind = name.removeprefix("depth-anything-v2-").partition("-metric-")
    if kind and max_depth_m is None:
        max_depth_m = METRIC_RANGE_M[kind]
    where = find_device(device)
    network = build_depth_anything(size, max_depth_m=max_depth_m if kind else None)
    source = find_weights(checkpoint if checkpoint is not None else fetch(name))
    weights = canonical_depth_anything(read_weights(source))
    load_strictly(network, weights, name=name, source=source)
    dtype = find_precision(precision, where)
    network.pyramid.to(dtype)
    network.depth.to(dtype)
    place(network, where, dtype)
    return network, source


def place(network: torch.nn.Module, device: torch.device, dtype: torch.dtype) -> None:
    """Freeze a network and bring it to a device, its blocks to a precision."""
    if device.type == "cpu" and dtype == torch.float16:
        logger.warning("float16 on a processor is slower than float32; bfloat16 may be faster")
    network.train(False).requires_grad_(False)
    network.to(device)
    for parameter in network.parameters():
        if parameter.ndim == 4:  # `Module.to` refuses networks with 3D convolutions
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last)
    compute_in(network, dtype, one_head_at_a_time=splits_heads(device, dtype))
