"""``sam2.1-*`` by name, with weights, on a device and in a precision."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn
from transformers import Sam2Model, Sam2VideoModel

from rangemask.errors import InputError
from rangemask.models.loading import place
from rangemask.models.placement import find_device, find_precision
from rangemask.models.published import fetch
from rangemask.models.sam2.names import canonical_sam2, is_older, size_of
from rangemask.models.sam2.presets import PREFIX, image_config, size_named, video_config
from rangemask.models.weights import find_weights, load_strictly, read_weights


def load_sam2(
    name: str,
    *,
    checkpoint: str | Path | None = None,
    device: str = "auto",
    precision: str = "auto",
) -> tuple[Sam2Model, Path]:
    """SAM 2.1 for single images, frozen, and the file that its weights came from.

    Args:
        name: ``sam2.1-{tiny,small,base-plus,large}``.
        checkpoint: the authors' ``.pt``, which is converted in memory; what transformers'
            ``Sam2Model`` or ``Sam2VideoModel`` saves, a file or the folder. None downloads the
            authors' file, or takes it from the cache.
        device: auto, cpu, cuda, cuda:1 or mps.
        precision: of convolutions and matrix products: auto, float32, bfloat16 or float16. Norms,
            positions and the residual stream stay in float32; run it under ``computing``.

    Raises:
        InputError: a name is unknown, or the file is missing, damaged, of another size, of the
            first SAM 2 or of another model.
    """
    config = image_config(size_named(name))
    with torch.device("meta"):  # random weights take seconds, and are overwritten
        network = Sam2Model(config)
    source, weights = _weights(name, checkpoint, video=False)
    where = find_device(device)
    load_strictly(network, weights, name=name, source=source, device=where)
    _place(network, where, find_precision(precision, where))
    return network, source


def load_sam2_video(
    name: str,
    *,
    checkpoint: str | Path | None = None,
    device: str = "auto",
    precision: str = "auto",
) -> tuple[Sam2VideoModel, Path]:
    """SAM 2.1 with its memory, for video; see ``load_sam2``, which takes the same files.

    Raises:
        InputError: as for ``load_sam2``; or the file holds a model of single images only.
    """
    config = video_config(size_named(name))
    with torch.device("meta"):
        network = Sam2VideoModel(config)
    source, weights = _weights(name, checkpoint, video=True)
    where = find_device(device)
    # The constants of memory attention are in no file: they are made once there is memory.
    attention: Any = network.memory_attention
    rotation = type(attention.rotary_emb)
    attention.rotary_emb = nn.Identity()
    del attention.position_ids
    load_strictly(network, weights, name=name, source=source, device=where)
    attention.rotary_emb = rotation(config=config)
    places = attention.precompute_positions(config)
    attention.register_buffer("position_ids", places, persistent=False)
    _place(network, where, find_precision(precision, where))
    return network, source


def _weights(
    name: str, checkpoint: str | Path | None, *, video: bool
) -> tuple[Path, Mapping[str, Tensor]]:
    """The file and what it holds by transformers' names, once it is seen to be of that size."""
    source = find_weights(checkpoint if checkpoint is not None else fetch(name))
    weights = read_weights(source)
    shapes = {entry: tuple(value.shape) for entry, value in weights.items()}
    found = size_of(shapes)
    if found is not None and f"{PREFIX}{found}" != name:
        raise InputError(
            f"{source}: these are weights of {PREFIX}{found}, not of {name}. Load them as "
            f"{PREFIX}{found}, or take the file of {name}."
        )
    if found is not None and is_older(shapes):
        raise InputError(
            f"{source}: these are weights of the first SAM 2, not of SAM 2.1. Take the file whose "
            "name begins with sam2.1."
        )
    return source, canonical_sam2(weights, video=video)


def _place(network: nn.Module, device: torch.device, dtype: torch.dtype) -> None:
    """Freeze and bring to a device; what autocast would convert at every call is converted once."""
    place(network, device, dtype)
    products = (nn.Linear, nn.Conv2d, nn.ConvTranspose2d)
    for part in network.modules():
        if isinstance(part, products):
            part.to(dtype)
