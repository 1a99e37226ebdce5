"""Which numbers of a backbone learn: its last blocks, or low-rank adapters that merge back."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor, nn

from rangemask.atomic import atomic_file
from rangemask.errors import InputError
from rangemask.models.backbone import Backbone
from rangemask.training.self_supervision.config import AdapterConfig

KIND = "rangemask backbone adapters"
_ADAPTER = "default"
_BASE = ".base_layer."


def adapt(backbone: Backbone, config: AdapterConfig) -> None:
    """Freeze a backbone but for what ``config`` lets learn, in place.

    Adapters (LoRA, arXiv 2106.09685) start as zero: the features stay what they are.

    Raises:
        InputError: the backbone has fewer blocks, or has adapters already.
    """
    if config.blocks > backbone.depth:
        raise InputError(
            f"blocks is {config.blocks}, but the backbone has {backbone.depth} blocks."
        )
    if has_adapters(backbone):
        raise InputError("the backbone has adapters already; merge them first (merge_adapters).")
    backbone.requires_grad_(False)
    if config.learned == "blocks":
        backbone.vit.blocks[-config.blocks :].requires_grad_(True)
        backbone.vit.norm.requires_grad_(True)
    else:
        _inject(backbone, config)


def has_adapters(backbone: nn.Module) -> bool:
    """Whether low-rank adapters are in a module."""
    return any(True for _ in _adapted(backbone))


def plain_state(backbone: Backbone) -> dict[str, Tensor]:
    """The backbone's weights by their usual names, adapters added in; the backbone keeps its own.

    What a checkpoint is to hold, so that it loads as any DINOv2.
    """
    state = backbone.state_dict()
    plain = {name.replace(_BASE, "."): value for name, value in state.items() if _is_plain(name)}
    for name, layer in _adapted(backbone):
        plain[f"{name}.weight"] = _merged_weight(layer)
    return plain


def merge_adapters(backbone: Backbone) -> None:
    """Add the adapters into the weights and take them out, in place: a plain DINOv2 again."""
    for name, layer in list(_adapted(backbone)):
        weight = _merged_weight(layer)
        base = layer.get_base_layer()
        base.weight.data = weight
        parent, _, child = name.rpartition(".")
        setattr(backbone.get_submodule(parent), child, base)


def adapter_state(backbone: nn.Module) -> dict[str, Tensor]:
    """The adapters' tensors alone, by name."""
    return {name: value for name, value in backbone.state_dict().items() if ".lora_" in name}


def save_adapters(path: str | Path, backbone: Backbone, config: AdapterConfig) -> None:
    """Write the adapters alone (safetensors), with what is needed to put them in again.

    Raises:
        InputError: there are none.
        OutputError: the file cannot be written.
    """
    state = adapter_state(backbone)
    if not state:
        raise InputError('the backbone has no adapters to save; adapt it with learned="lora".')
    told = {name: getattr(config, name) for name in ("blocks", "rank", "alpha", "mlp")}
    told |= {"width": backbone.width, "depth": backbone.depth}
    held = {name: value.detach().cpu().contiguous() for name, value in state.items()}
    with atomic_file(path) as staging:
        save_file(held, staging, metadata={"kind": KIND, "adapters": json.dumps(told)})


def load_adapters(path: str | Path, backbone: Backbone) -> AdapterConfig:
    """Put saved adapters into a plain backbone, in place.

    Returns:
        what they were made with (without dropout).

    Raises:
        InputError: the file is not there, holds no adapters, or those of another backbone.
    """
    try:
        with safe_open(str(path), framework="pt") as file:
            about = file.metadata() or {}
            state = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise InputError(f"{path}: no adapters can be read from it ({error}).") from error
    if about.get("kind") != KIND:
        raise InputError(f"{path}: holds no adapters; save_adapters writes such files.")
    told: dict[str, Any] = json.loads(about["adapters"])
    made_for, here = (told.pop("width"), told.pop("depth")), (backbone.width, backbone.depth)
    if made_for != here:
        raise InputError(
            f"{path}: these adapters are for a backbone {made_for[0]} wide with {made_for[1]} "
            f"blocks, this one is {here[0]} wide with {here[1]}."
        )
    config = AdapterConfig(learned="lora", **told)
    adapt(backbone, config)
    wrong = set(state) ^ set(adapter_state(backbone))
    if wrong:
        raise InputError(f"{path}: adapters do not fit: {', '.join(sorted(wrong)[:3])}.")
    backbone.load_state_dict(state, strict=False)
    return config


def set_checkpointing(backbone: Backbone, *, enable: bool) -> None:
    """Compute blocks again in the backward pass, or keep what they computed (timm's switch)."""
    backbone.vit.set_grad_checkpointing(enable)


def _inject(backbone: Backbone, config: AdapterConfig) -> None:
    # Here, since it takes seconds to import and only adapters need it.
    from peft import LoraConfig, inject_adapter_in_model

    first = backbone.depth - config.blocks if config.blocks else 0
    numbers = "|".join(str(index) for index in range(first, backbone.depth))
    matrices = r"attn\.(qkv|proj)" + (r"|mlp\.(fc1|fc2)" if config.mlp else "")
    lora = LoraConfig(
        r=config.rank,
        lora_alpha=config.alpha,  # type: ignore[arg-type]
        lora_dropout=config.dropout,
        target_modules=rf"blocks\.({numbers})\.({matrices})",
        bias="none",
    )
    inject_adapter_in_model(lora, backbone.vit, adapter_name=_ADAPTER)


def _adapted(module: nn.Module) -> Iterator[tuple[str, Any]]:
    # By what it has, not by its class: peft takes seconds to import.
    for name, part in module.named_modules():
        if hasattr(part, "lora_A") and hasattr(part, "get_base_layer"):
            yield name, part


def _is_plain(name: str) -> bool:
    return ".lora_" not in name


@torch.no_grad()
def _merged_weight(layer: Any) -> Tensor:
    weight: Tensor = layer.get_base_layer().weight
    # In float32 whatever the weights are in, so that little is lost in the sum.
    delta = layer.lora_B[_ADAPTER].weight.float() @ layer.lora_A[_ADAPTER].weight.float()
    merged: Tensor = (weight.float() + layer.scaling[_ADAPTER] * delta).to(weight.dtype)
    return merged
