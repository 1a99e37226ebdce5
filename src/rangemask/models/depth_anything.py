"""Depth Anything V2 (arXiv 2406.09414): backbone, pyramid and depth head, and its file names."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from torch import Tensor, nn

from rangemask.errors import InputError
from rangemask.models.backbone import Backbone, build_backbone
from rangemask.models.backbone_weights import backbone_prefix, canonical_backbone
from rangemask.models.heads.depth import DepthHead, DepthHeadConfig
from rangemask.models.presets import DPT_SIZES, VIT_SIZES
from rangemask.models.pyramid import Pyramid
from rangemask.models.recognise import CONFIG_FILE

METRIC_RANGE_M: Mapping[str, float] = MappingProxyType({"indoor": 20.0, "outdoor": 80.0})
"""Farthest depth of the published metric models (Hypersim, Virtual KITTI 2)."""

_AUTHORS = (
    (r"^depth_head\.projects\.", "pyramid.project."),
    (r"^depth_head\.resize_layers\.", "pyramid.resize."),
    (r"^depth_head\.scratch\.layer(\d)_rn\.", lambda m: f"pyramid.level.{int(m[1]) - 1}."),
    (r"^depth_head\.scratch\.refinenet(\d)\.", lambda m: f"pyramid.fuse.{int(m[1]) - 1}."),
    (r"\.out_conv\.", ".out."),
    (r"\.resConfUnit1\.", ".lateral."),
    (r"\.resConfUnit2\.", ".residual."),
    (r"\.conv1\.", ".first."),
    (r"\.conv2\.", ".second."),
    (r"^depth_head\.scratch\.output_conv1\.", "depth.reduce."),
    (r"^depth_head\.scratch\.output_conv2\.0\.", "depth.refine."),
    (r"^depth_head\.scratch\.output_conv2\.2\.", "depth.out."),
)
_TRANSFORMERS = (
    (r"^neck\.reassemble_stage\.layers\.(\d)\.projection\.", r"pyramid.project.\1."),
    (r"^neck\.reassemble_stage\.layers\.(\d)\.resize\.", r"pyramid.resize.\1."),
    (r"^neck\.convs\.", "pyramid.level."),
    (r"^neck\.fusion_stage\.layers\.(\d)\.", lambda m: f"pyramid.fuse.{3 - int(m[1])}."),
    (r"\.projection\.", ".out."),
    (r"\.residual_layer1\.", ".lateral."),
    (r"\.residual_layer2\.", ".residual."),
    (r"\.convolution1\.", ".first."),
    (r"\.convolution2\.", ".second."),
    (r"^head\.conv1\.", "depth.reduce."),
    (r"^head\.conv2\.", "depth.refine."),
    (r"^head\.conv3\.", "depth.out."),
)
_HOLDER = re.compile(r"(pretrained\.|backbone\.(vit\.)?)$")
"""What holds the backbone: the authors' name, transformers', ours."""
_UNUSED = "pyramid.fuse.3.lateral."
"""The coarsest level has no lateral input; published files hold weights for it all the same."""


class DepthAnything(nn.Module):
    """One image to depth, relative or metric.

    Args:
        backbone: DINOv2, tapped at the four layers that the pyramid reads.
        pyramid: of the backbone's width.
        depth: of the pyramid's width.
    """

    def __init__(self, backbone: Backbone, pyramid: Pyramid, depth: DepthHead) -> None:
        super().__init__()
        self.backbone = backbone
        self.pyramid = pyramid
        self.depth = depth

    def forward(self, images: Tensor) -> Tensor:
        """Depth of normalised images.

        Args:
            images: (B, 3, H, W), ImageNet-normalised, H and W multiples of 14.

        Returns:
            (B, H, W), as ``DepthHead`` gives it.
        """
        features = self.backbone.forward_features(images)
        tokens = [level.to(self.depth.reduce.weight.dtype) for level in features.tokens]
        height, width = images.shape[-2:]
        depth: Tensor = self.depth(self.pyramid(tokens)[0], (height, width))
        return depth.float()


def build_depth_anything(size: str, *, max_depth_m: float | None = None) -> DepthAnything:
    """Depth Anything V2 with random weights.

    Args:
        size: small, base, large or giant; or nano, which is ours.
        max_depth_m: farthest depth of a metric model; None for a relative one.
    """
    backbone = build_backbone(f"dinov2-{size}")
    pyramid = Pyramid(backbone.width, DPT_SIZES[size])
    head = DepthHead(DepthHeadConfig(max_depth_m=max_depth_m), pyramid.channels)
    return DepthAnything(backbone, pyramid, head)


def canonical_depth_anything(weights: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Weights by the names used here, from the authors' file, transformers' or ours.

    Names that are none of theirs pass unchanged, so that loading strictly names them. What
    published files hold and nothing uses is left out by name: the backbone's mask token, and
    the lateral input of the coarsest level.
    """
    prefix = backbone_prefix(weights)
    holder = _HOLDER.search(prefix)
    if holder is not None:
        weights = {n.removeprefix(prefix[: holder.start()]): v for n, v in weights.items()}
    held = holder[0] if holder is not None else "backbone.vit."
    encoder = {n.removeprefix(held): v for n, v in weights.items() if n.startswith(held)}
    rules = _TRANSFORMERS if any(n.startswith("neck.") for n in weights) else _AUTHORS
    result = {f"backbone.vit.{n}": v for n, v in canonical_backbone(encoder).items()}
    for name, value in weights.items():
        if not name.startswith(held):
            for pattern, ours in rules:
                name = re.sub(pattern, ours, name)
            if not name.startswith(_UNUSED):
                result[name] = value
    return result


def check_settings(
    settings: Mapping[str, Any], *, size: str, max_depth_m: float | None, source: Path
) -> None:
    """Refuse a file whose settings, which transformers wrote beside it, say something else.

    Relative, metric and first-version files have the same entries; only this tells them apart.

    Args:
        settings: see ``recognise.config_beside``.
        size: asked for.
        max_depth_m: asked for; None for relative depth.
        source: the file of weights, for the error.

    Raises:
        InputError: the settings are of Depth Anything, but of another one.
    """
    if settings.get("model_type") != "depth_anything":
        return
    metric = settings.get("depth_estimation_type", "relative") == "metric"
    farthest_m = settings.get("max_depth")
    said = None
    if metric != (max_depth_m is not None):
        kind, name = ("metric", "with") if metric else ("relative", "without")
        said = f"depth is {kind}; load it by a name {name} -metric-indoor or -metric-outdoor"
    elif metric and farthest_m is not None and farthest_m != max_depth_m:
        said = f"max_depth is {farthest_m} m, not {max_depth_m} m; pass max_depth_m={farthest_m}"
    backbone = settings.get("backbone_config")
    layers = backbone.get("out_indices") if isinstance(backbone, Mapping) else None
    expected = [layer + 1 for layer in VIT_SIZES[size].layers]
    if layers is not None and layers != expected:
        said = f"it reads layers {layers}, not {expected}: another version of Depth Anything"
    if said is not None:
        raise InputError(f"{source}: {CONFIG_FILE} beside it says that {said}.")
