"""Checkpoints as others write them, tiny, with the numbers of ``dinov2-nano``."""

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor, nn
from transformers import (
    DepthAnythingConfig,
    DepthAnythingForDepthEstimation,
    Dinov2Config,
    Dinov2Model,
    Dinov2WithRegistersConfig,
    Dinov2WithRegistersModel,
)

NANO: dict[str, Any] = {
    "hidden_size": 96,
    "num_hidden_layers": 4,
    "num_attention_heads": 3,
    "image_size": 518,
    "patch_size": 14,
    "layerscale_value": 1.0,
}

RELEASE_4 = (
    (".attention.q_proj.", ".attention.attention.query."),
    (".attention.k_proj.", ".attention.attention.key."),
    (".attention.v_proj.", ".attention.attention.value."),
    (".attention.o_proj.", ".attention.output.dense."),
    (".mlp.down_proj.", ".mlp.weights_out."),
)


def randomise(module: nn.Module) -> nn.Module:
    """Every weight a number of its own, so that none can be missed or mixed up."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, value in module.named_parameters():
            noise = 0.05 * torch.randn(value.shape, generator=generator)
            scale = "norm" in name or "lambda" in name or "gamma" in name
            value.copy_(1 + noise if scale and not name.endswith("bias") else noise)
    return module.eval()


def transformers_backbone(*, registers: bool = False, swiglu: bool = False) -> nn.Module:
    """transformers' DINOv2 with random weights."""
    torch.manual_seed(0)
    if registers:
        config = Dinov2WithRegistersConfig(**NANO, num_register_tokens=4, use_swiglu_ffn=swiglu)
        return randomise(Dinov2WithRegistersModel(config))
    return randomise(Dinov2Model(Dinov2Config(**NANO, use_swiglu_ffn=swiglu)))


def transformers_depth_anything(*, max_depth_m: int | None = None) -> nn.Module:
    """transformers' Depth Anything with random weights, and positions that hold at any size."""
    torch.manual_seed(0)
    backbone = Dinov2Config(
        **NANO, out_indices=[1, 2, 3, 4], reshape_hidden_states=False, apply_layernorm=True
    )
    config = DepthAnythingConfig(
        backbone_config=backbone,
        reassemble_hidden_size=96,
        neck_hidden_sizes=[24, 48, 96, 96],
        fusion_hidden_size=32,
        depth_estimation_type="relative" if max_depth_m is None else "metric",
        max_depth=1 if max_depth_m is None else max_depth_m,
    )
    model = randomise(DepthAnythingForDepthEstimation(config))
    with torch.no_grad():
        position = model.backbone.embeddings.position_embeddings
        position[:, 1:] = position[:, 1:2]
        # Without it nearly all of the relative output is 0.
        model.head.conv3.bias.fill_(0.5)
    return model


def release_5(folder: Path) -> dict[str, Tensor]:
    """The saved weights with q, k, v, gate and up apart, as release 5 names them."""
    weights = load_file(folder / "model.safetensors")
    found = {}
    for name, value in weights.items():
        for new, old in RELEASE_4:
            name = name.replace(old, new)
        if ".mlp.weights_in." in name:
            gate, up = value.chunk(2)
            found[name.replace("weights_in", "gate_proj")] = gate.contiguous()
            found[name.replace("weights_in", "up_proj")] = up.contiguous()
        else:
            found[name] = value
    return found


def release_4(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Names of release 5 to those of release 4, which published files have."""
    found = {}
    for name, value in weights.items():
        for new, old in RELEASE_4:
            name = name.replace(new, old)
        if ".mlp.gate_proj." in name:
            up = weights[name.replace("gate_proj", "up_proj")]
            found[name.replace("gate_proj", "weights_in")] = torch.cat([value, up])
        elif ".mlp.up_proj." not in name:
            found[name] = value
    return found


def authors(weights: dict[str, Tensor]) -> dict[str, Tensor]:
    """Names of transformers' release 5 to those of the DINOv2 authors."""
    embeddings = {
        "embeddings.patch_embeddings.projection.": "patch_embed.proj.",
        "embeddings.position_embeddings": "pos_embed",
        "embeddings.": "",
        "layernorm.": "norm.",
        "encoder.layer.": "blocks.",
        "layer_scale1.lambda1": "ls1.gamma",
        "layer_scale2.lambda1": "ls2.gamma",
        "attention.o_proj": "attn.proj",
        "mlp.down_proj": "mlp.w3",
    }
    found = {}
    for name, value in weights.items():
        ours = name
        for theirs, renamed in embeddings.items():
            ours = ours.replace(theirs, renamed)
        if ".q_proj." in name:
            parts = [weights[name.replace("q_proj", f"{part}_proj")] for part in "qkv"]
            found[ours.replace("attention.q_proj", "attn.qkv")] = torch.cat(parts)
        elif ".gate_proj." in name:
            up = weights[name.replace("gate_proj", "up_proj")]
            found[ours.replace("gate_proj", "w12")] = torch.cat([value, up])
        elif not any(part in name for part in (".k_proj.", ".v_proj.", ".up_proj.")):
            found[ours] = value
    return found


def save_all(folder: Path, model: Any) -> dict[str, Path]:
    """A backbone of transformers as its users may hold it, by format."""
    model.save_pretrained(folder / "saved")
    weights = release_5(folder / "saved")
    save_file(weights, folder / "release5.safetensors")
    save_file(release_4(weights), folder / "release4.safetensors")
    torch.save(authors(weights), folder / "authors.pth")
    return {
        "saved": folder / "saved",
        "release 5": folder / "release5.safetensors",
        "release 4": folder / "release4.safetensors",
        "authors": folder / "authors.pth",
    }
