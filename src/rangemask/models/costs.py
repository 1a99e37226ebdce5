"""Parameters and floating-point operations of a model's parts."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import lru_cache, partial
from types import MappingProxyType

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from rangemask.models.config import RangeMaskConfig
from rangemask.models.rangemask import RangeMask, build_rangemask


def parts_of(model: RangeMask, *, height: int, width: int) -> dict[str, tuple[int, float]]:
    """Per part: its parameters, and its GFLOPs for one image.

    Nothing is computed: a student of the same configuration without values is run, and what it
    costs is remembered, since training saves many of the same kind. A multiply-add counts as
    two operations. With a stereo head the image is a pair.

    Args:
        model: any student.
        height: px, a multiple of ``config.multiple_px``.
        width: px, likewise.

    Returns:
        by the names of the parts, and ``total``.
    """
    return dict(_parts(model.config, height, width))


@lru_cache(maxsize=8)
def _parts(config: RangeMaskConfig, height: int, width: int) -> Mapping[str, tuple[int, float]]:
    with torch.device("meta"):
        empty = build_rangemask(config).train(False)
    images = torch.empty(1, 3, height, width, device="meta")
    right = images if empty.stereo is not None else None
    tokens = _gflops(lambda: empty.backbone.forward_features(images))
    pyramid = _gflops(lambda: empty.encode(images)) - tokens
    cost = {"backbone": tokens, "pyramid": pyramid}
    if right is not None:
        small = torch.empty(1, 3, *empty.right_size((height, width)), device="meta")
        seen = _gflops(lambda: empty.backbone.forward_features(small))
        cost["backbone"] += seen
        cost["pyramid"] += _gflops(lambda: _pyramid(empty, small)) - seen
    both = cost["backbone"] + cost["pyramid"]
    for head in set(empty.config.heads) - {"fusion"}:
        asked = _gflops(partial(empty, images, right if head == "stereo" else None, heads=[head]))
        read = tokens if head == "semantic" else tokens + pyramid
        cost[head] = asked - (both if head == "stereo" else read)
    total = _gflops(lambda: empty(images, right))
    cost["fusion"] = total - sum(cost.values())
    parts = {name: (_parameters(part), cost[name]) for name, part in empty.named_children()}
    return MappingProxyType({**parts, "total": (_parameters(empty), total)})


def _pyramid(model: RangeMask, images: torch.Tensor) -> object:
    assert model.pyramid is not None  # noqa: S101 - the stereo head brings one
    return model.pyramid(model.backbone.forward_features(images).tokens)


def _gflops(run: Callable[[], object]) -> float:
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        run()
    return float(counter.get_total_flops()) / 1e9


def _parameters(module: nn.Module) -> int:
    return sum(parameter.numel() for parameter in module.parameters())
