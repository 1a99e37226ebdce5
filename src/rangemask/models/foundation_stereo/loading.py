"""FoundationStereo with weights, on a device and in a precision."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from pathlib import Path

import torch

from rangemask.errors import InputError
from rangemask.models.foundation_stereo.config import (
    VARIANTS,
    AttentionAxis,
    FoundationStereoConfig,
)
from rangemask.models.foundation_stereo.names import canonical_foundation_stereo, check_kind
from rangemask.models.foundation_stereo.network import FoundationStereo
from rangemask.models.loading import place
from rangemask.models.placement import find_device, find_precision
from rangemask.models.weights import find_weights, load_strictly, read_weights

HOME = "https://github.com/NVlabs/FoundationStereo"
"""Where the authors hand out their weights, by a link in the page."""
BESIDE_WEIGHTS: Collection[str] = (
    *(f"omegaconf.{name}" for name in ("dictconfig.DictConfig", "listconfig.ListConfig")),
    *(f"omegaconf.base.{name}" for name in ("ContainerMetadata", "Metadata", "Node")),
    *(
        f"omegaconf.nodes.{kind}Node"
        for kind in ("Any", "Boolean", "Bytes", "Enum", "Float", "Integer", "Path", "String")
    ),
    *(f"builtins.{name}" for name in ("bool", "dict", "float", "int", "list", "str", "tuple")),
    *("argparse.Namespace", "collections.defaultdict", "types.SimpleNamespace", "typing.Any"),
    *(f"{core}.multiarray.scalar" for core in ("numpy.core", "numpy._core")),
    *(f"{core}.multiarray._reconstruct" for core in ("numpy.core", "numpy._core")),
    *("numpy.dtype", "numpy.ndarray", "pathlib.PosixPath", "pathlib.WindowsPath"),
)
"""What training code leaves in a checkpoint: settings, counters, paths. None of it is used, none of
it is run: see ``read_weights``."""


def load_foundation_stereo(
    checkpoint: str | Path | None,
    *,
    device: str = "auto",
    precision: str = "auto",
    attention: AttentionAxis = "disparity",
    vit: str | None = None,
    config: FoundationStereoConfig | None = None,
) -> tuple[FoundationStereo, Path]:
    """The network, frozen, and the file that its weights came from.

    Args:
        checkpoint: the authors' ``model_best_bp2.pth``, which is mapped and not read as a whole;
            a safetensors file with its entries; or a folder with one.
        device: auto, cpu, cuda, cuda:1 or mps.
        precision: of the vision transformer's matrix products: auto, float32, bfloat16 or
            float16. Run the network under ``torch.autocast`` for the others.
        attention: what the disparity transformer attends over.
        vit: ``vits`` or ``vitl``, where settings beside the file say so; recognised otherwise.
        config: sizes other than the published ones, for tests.

    Raises:
        InputError: there is no checkpoint, or it is damaged, of another model, or of another size
            than the settings say.
    """
    if checkpoint is None:
        raise InputError(
            "foundation-stereo needs checkpoint=PATH (--stereo foundation-stereo:PATH): its "
            f"authors hand out the weights by a link at {HOME} (model weights), for research "
            "use only. Take model_best_bp2.pth and the cfg.yaml beside it, of 11-33-40 (ViT-S) "
            "or 23-51-11 (ViT-L)."
        )
    where = find_device(device)
    dtype = find_precision(precision, where)
    source = find_weights(checkpoint)
    weights = canonical_foundation_stereo(read_weights(source, inert=BESIDE_WEIGHTS))
    found = check_kind({name: tuple(value.shape) for name, value in weights.items()}, source)
    _check_settings(vit, found, source)
    sizes = config if config is not None else FoundationStereoConfig(vit=found)
    with torch.device("meta"):  # random weights take seconds, and are overwritten
        network = FoundationStereo(replace(sizes, attention=attention))
    load_strictly(network, weights, name="foundation-stereo", source=source, device=where)
    place(network, where, dtype)
    for parameter in network.parameters():
        if parameter.ndim == 5:
            parameter.data = parameter.data.contiguous(memory_format=torch.channels_last_3d)
    return network, source


def _check_settings(vit: str | None, found: str, source: Path) -> None:
    if vit is None or VARIANTS.get(vit, vit) == found:
        return
    name = next((name for name, size in VARIANTS.items() if size == found), found)
    raise InputError(
        f"{source}: the settings beside it say vit_size {vit}, but the weights are of {name}. Put "
        "every cfg.yaml beside its own weights, or take it away: the weights tell by themselves."
    )
