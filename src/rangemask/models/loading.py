"""Names to networks with weights, on a device and in a precision."""

from __future__ import annotations

import logging
from pathlib import Path

import torch

from rangemask.errors import InputError
from rangemask.models.backbone import Backbone, build_backbone
from rangemask.models.backbone_weights import canonical_backbone
from rangemask.models.blocks import cast, compute_in
from rangemask.models.depth_anything import (
    METRIC_RANGE_M,
    DepthAnything,
    build_depth_anything,
    canonical_depth_anything,
    check_settings,
)
from rangemask.models.placement import find_device, find_precision, splits_heads
from rangemask.models.presets import DPT_SIZES
from rangemask.models.published import PUBLISHED, fetch
from rangemask.models.recognise import config_beside
from rangemask.models.weights import find_weights, load_strictly, read_weights

logger = logging.getLogger(__name__)

DEPTH_ANYTHING = "depth-anything-v2-"
_KINDS = ("", *METRIC_RANGE_M)


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
            one of them; also a larger model that holds such a backbone, of which the log then
            tells. None downloads the published weights, or takes them from the cache.
        device: auto, cpu, cuda, cuda:1 or mps.
        precision: of the blocks' matrix products: auto, float32, bfloat16 or float16. The
            features are float32 in any case.

    Raises:
        InputError: a name is unknown, or the file is missing, damaged or of another model.
    """
    where = find_device(device)
    dtype = find_precision(precision, where)
    with torch.device("meta"):  # random weights take seconds, and are overwritten
        backbone = build_backbone(name)
    source = find_weights(checkpoint if checkpoint is not None else fetch(name))
    weights = canonical_backbone(read_weights(source))
    load_strictly(backbone.vit, weights, name=name, source=source, device=where)
    place(backbone, where, dtype)
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
        InputError: as for ``load_backbone``; or the settings that transformers wrote beside the
            file say that it is another model.
    """
    size, kind = _parsed(name)
    if max_depth_m is not None and kind is None:
        raise InputError(f"{name} gives relative depth; max_depth_m is for metric models.")
    if kind is not None and max_depth_m is None:
        max_depth_m = METRIC_RANGE_M[kind]
    where = find_device(device)
    dtype = find_precision(precision, where)
    with torch.device("meta"):  # random weights take seconds, and are overwritten
        network = build_depth_anything(size, max_depth_m=max_depth_m)
    source = find_weights(checkpoint if checkpoint is not None else fetch(name))
    settings = config_beside(source)
    check_settings(settings, size=size, max_depth_m=max_depth_m, source=source)
    _warn_of_file_name(name, source)
    weights = canonical_depth_anything(read_weights(source))
    load_strictly(network, weights, name=name, source=source, device=where)
    cast(network.pyramid, dtype)
    cast(network.depth, dtype)
    place(network, where, dtype)
    return network, source


def _parsed(name: str) -> tuple[str, str | None]:
    """Size, and indoor, outdoor or, for relative depth, None."""
    size, _, kind = name.removeprefix(DEPTH_ANYTHING).partition("-metric-")
    if not name.startswith(DEPTH_ANYTHING) or size not in DPT_SIZES or kind not in _KINDS:
        known = ", ".join(f"{DEPTH_ANYTHING}{known}" for known in DPT_SIZES)
        raise InputError(
            f"no depth model {name!r}; known: {known}, each also with -metric-indoor or "
            "-metric-outdoor."
        )
    return size, kind or None


def _warn_of_file_name(name: str, source: Path) -> None:
    """Relative and metric files have the same entries; their published names tell them apart."""
    others = [other for other, entry in PUBLISHED.items() if entry.file == source.name]
    if others and name not in others and name in PUBLISHED:
        logger.warning(
            "%s is called as the published weights of %s, but is loaded as %s; relative and metric "
            "files cannot be told apart by what they hold",
            *(source, others[0], name),
        )


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
