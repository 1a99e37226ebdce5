"""Groups of parameters for the optimiser: slower towards the input, no decay of scales."""

from __future__ import annotations

import re
from typing import Any

from torch import nn

from rangemask.training.self_supervision.config import DinoAdaptationConfig
from rangemask.training.self_supervision.student import Student

_BLOCK = re.compile(r"(?:^|\.)vit\.blocks\.(\d+)\.")
_INPUT = re.compile(r"mask_token|vit\.(?:cls_token|reg_token|pos_embed|patch_embed)")


def parameter_groups(student: Student, config: DinoAdaptationConfig) -> list[dict[str, Any]]:
    """What learns, grouped by learning rate and weight decay, as ``torch.optim`` takes it.

    Block ``i`` of ``n`` learns at ``lr * layer_decay ** (n - 1 - i)``; the final norm and the
    heads at ``lr``; what lies before the blocks at ``lr * layer_decay ** n``.

    Args:
        student: ``BackboneAdaptation.student``.
        config: learning rate, its decay by depth, weight decay.

    Returns:
        groups with ``params``, ``lr``, ``weight_decay``, ``name``, and ``backbone``: whether its
        learning rate follows ``learning_rate_factor(..., backbone=True)``.
    """
    groups: dict[str, dict[str, Any]] = {}
    for name, parameter in student.named_parameters():
        if not parameter.requires_grad:
            continue
        depth = _steps_from_the_top(name, student.backbone.depth)
        decayed = _decays(name, parameter)
        backbone = name.startswith("backbone.") or name == "mask_token"
        place = f"top - {depth}" if backbone else "heads"
        key = f"{place}, {'decayed' if decayed else 'not decayed'}"
        group = groups.setdefault(
            key,
            {
                "params": [],
                "lr": config.lr * config.layer_decay**depth,
                "weight_decay": config.weight_decay if decayed else 0.0,
                "name": key,
                "backbone": backbone,
            },
        )
        group["params"].append(parameter)
    return list(groups.values())


def _steps_from_the_top(name: str, depth: int) -> int:
    block = _BLOCK.search(name)
    if block:
        return depth - 1 - int(block.group(1))
    return depth if _INPUT.search(name) else 0


def _decays(name: str, parameter: nn.Parameter) -> bool:
    # Prototypes have unit length: decay would only raise their learning rate.
    return parameter.ndim > 1 and not name.endswith("prototypes") and not _INPUT.search(name)
