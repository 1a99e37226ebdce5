"""Depth Anything V2 (arXiv 2406.09414): backbone, pyramid and depth head, and its file names."""

from __future__ import annotations

import re
from collections.abc import Mapping
from types import MappingProxyType

from torch import Tensor, nn

from rangemask.models.backbone import Backbone, build_backbone
from rangemask.models.backbone_weights import canonical_backbone
from rangemask.models.heads.depth import DepthHead, DepthHeadConfig
from rangemask.models.presets import DPT_SIZES
from rangemask.models.pyramid import Pyramid

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
        tokens = [level.to(self.depth.out.weight.dtype) for level in features.tokens]
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

    Names that are none of theirs pass unchanged, so that loading strictly names them.
    """
    prefix = "pretrained." if any(n.startswith("pretrained.") for n in weights) else "backbone."
    encoder = {n.removeprefix(prefix): v for n, v in weights.items() if n.startswith(prefix)}
    rules = _TRANSFORMERS if any(n.startswith("neck.") for n in weights) else _AUTHORS
    result = {f"backbone.vit.{n}": v for n, v in canonical_backbone(encoder).items()}
    for name, value in weights.items():
        if not name.startswith(prefix):
            for pattern, ours in rules:
                name = re.sub(pattern, ours, name)
            if not name.startswith(_UNUSED):
                result[name] = value
    return result
