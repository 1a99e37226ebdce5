"""The student: a backbone from which patches can be hidden, and the heads behind it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from rangemask.models.backbone import Backbone
from rangemask.training.self_supervision.config import DinoAdaptationConfig
from rangemask.training.self_supervision.heads import ProjectionHead


class Said(NamedTuple):
    """What a network says of a batch of views."""

    class_token: Tensor
    """(V, C), after the final norm."""
    class_cosines: Tensor
    """(V, K) float32, to the prototypes of images."""
    patch_cosines: Tensor | None
    """(R, K) float32, to the prototypes of patches; of those that were asked for."""


class Student(nn.Module):
    """Backbone, DINO head and iBOT head.

    Args:
        backbone: adapted (``adapters.adapt``).
        config: heads, and whether the mask token learns.
    """

    def __init__(self, backbone: Backbone, config: DinoAdaptationConfig) -> None:
        super().__init__()
        self.backbone = backbone
        self.class_head = ProjectionHead(backbone.width, config.heads)
        self.patch_head = (
            self.class_head if config.heads.shared else ProjectionHead(backbone.width, config.heads)
        )
        # Zero as in DINOv2's first step: the published small to large ones never learnt any.
        self.mask_token = nn.Parameter(
            torch.zeros(backbone.width), requires_grad=config.learn_mask_token
        )

    def forward(
        self,
        images: Tensor,
        *,
        hidden: Tensor | None = None,
        asked: Tensor | None = None,
        learn_backbone: bool = True,
        learn_prototypes: bool = True,
    ) -> Said:
        """Tokens and cosines.

        Args:
            images: (V, 3, H, W) normalised, multiples of 14.
            hidden: (V, h, w) bool, patches that are replaced by the mask token.
            asked: (V, h, w) bool, patches whose cosines are wanted.
            learn_backbone: False lets no gradient into the backbone and keeps nothing for it.
            learn_prototypes: False lets none into the heads' last layer.
        """
        learning = torch.is_grad_enabled() and learn_backbone
        with torch.set_grad_enabled(learning), self._hiding(hidden):
            features = self.backbone.forward_features(images, (self.backbone.depth - 1,))
        class_token = features.class_tokens[0]
        patches = None
        if asked is not None:
            tokens = features.tokens[0].permute(0, 2, 3, 1)[asked.to(images.device)]
            patches = self.patch_head(tokens, learn_prototypes=learn_prototypes)
        cosines = self.class_head(class_token, learn_prototypes=learn_prototypes)
        return Said(class_token, cosines, patches)

    @contextmanager
    def _hiding(self, hidden: Tensor | None) -> Iterator[None]:
        if hidden is None:
            yield
            return

        def replace(module: nn.Module, inputs: Any, patches: Tensor) -> Tensor:
            token = self.mask_token.to(patches.dtype).view(1, -1, 1, 1)
            return torch.where(hidden[:, None].to(patches.device), token, patches)

        # Where patches are embedded, before positions are added, as DINOv2 does it.
        handle = self.backbone.vit.patch_embed.proj.register_forward_hook(replace)
        try:
            yield
        finally:
            handle.remove()
