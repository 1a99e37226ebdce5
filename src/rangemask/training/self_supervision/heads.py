"""Heads of DINO and iBOT: an MLP to unit vectors, and their cosines to learned prototypes."""

from __future__ import annotations

from itertools import pairwise
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rangemask.training.self_supervision.config import ProjectionConfig


class ProjectionHead(nn.Module):
    """MLP, unit length, prototypes of unit length (DINO, arXiv 2104.14294, appendix C).

    Prototypes are normalised at every use, which is what the authors' weight norm with its gain
    fixed at 1 computes.

    Args:
        width: channels of a token.
        config: its sizes.
    """

    def __init__(self, width: int, config: ProjectionConfig) -> None:
        super().__init__()
        hidden = [config.hidden] * (config.layers - 1)
        sizes = [width, *hidden, config.bottleneck]
        parts: list[nn.Module] = []
        for index, (inner, outer) in enumerate(pairwise(sizes)):
            parts += [nn.GELU()] if index else []
            parts.append(nn.Linear(inner, outer))
        self.mlp = nn.Sequential(*parts)
        self.prototypes = nn.Parameter(torch.empty(config.prototypes, config.bottleneck))
        for part in parts:
            if isinstance(part, nn.Linear):
                nn.init.trunc_normal_(part.weight, std=0.02)
                nn.init.zeros_(cast(Tensor, part.bias))
        nn.init.trunc_normal_(self.prototypes, std=0.02)

    def forward(self, tokens: Tensor, *, learn_prototypes: bool = True) -> Tensor:
        """Tokens (..., C) to cosines (..., K), float32.

        Args:
            tokens: after the backbone's final norm.
            learn_prototypes: False keeps gradients from the prototypes.
        """
        found = self.mlp(tokens)
        prototypes = self.prototypes if learn_prototypes else self.prototypes.detach()
        # A cosine is divided by a temperature of 0.04: half precision would be off by 0.1 there.
        with torch.autocast(found.device.type, enabled=False):
            unit = F.normalize(found.float(), dim=-1, eps=1e-6)
            return F.linear(unit, F.normalize(prototypes.float(), dim=-1))
