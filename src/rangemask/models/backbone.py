"""DINOv2 on timm's vision transformer, with the published numbers at every input size.

timm resizes the position embedding with antialiasing and without the published offset, which
moves the features by about 1 % away from 518 x 518 px. Here it is done as its authors do
(arXiv 2304.07193 and their ``interpolate_pos_encoding``): without registers bicubic with a
scale factor of ``(grid + 0.1) / 37`` and no antialiasing; with registers to the size itself,
with antialiasing.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any, Literal, NamedTuple, TypeAlias, cast

import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn
from torch.nn import functional as F
from torch.utils.checkpoint import checkpoint

from rangemask.errors import InputError
from rangemask.models.blocks import Attention, Mlp, SwiGlu
from rangemask.models.images import Fit, check_images, fit_to_multiple, normalise
from rangemask.models.presets import GRID, PATCH_PX, REGISTERS, VIT_SIZES

PositionRule: TypeAlias = Literal["offset", "antialias"]

PUBLISHED_OFFSET = 0.1
"""Patches added to the grid before the scale is computed; kept so that numbers agree."""


class Features(NamedTuple):
    """What the backbone knows of a batch of images, per layer, shallow to deep."""

    tokens: tuple[Tensor, ...]
    """(B, C, H / 14, W / 14) each: patch features after the final norm."""
    class_tokens: tuple[Tensor, ...]
    """(B, C) each, after the final norm."""


class Backbone(nn.Module):
    """A DINOv2 vision transformer.

    Args:
        vit: patches of 14 px, a class token, perhaps registers.
        position_rule: how the position embedding is resized.
        layers: blocks that ``forward_features`` gives.
    """

    patch_px = PATCH_PX

    def __init__(
        self, vit: VisionTransformer, *, position_rule: PositionRule, layers: Sequence[int]
    ) -> None:
        super().__init__()
        self.vit = vit
        self.position_rule = position_rule
        self.layers = self._checked(layers)

    @property
    def width(self) -> int:
        """Channels of a token."""
        return int(self.vit.embed_dim)

    @property
    def dtype(self) -> torch.dtype:
        """What the patches are embedded in."""
        return cast(nn.Conv2d, self.vit.patch_embed.proj).weight.dtype

    @property
    def depth(self) -> int:
        """Number of blocks."""
        return len(self.vit.blocks)

    def forward(self, images: Tensor) -> Tensor:
        """The model's plain output: the class token of the last layer, (B, C), normed.

        Args:
            images: as for ``intermediate``.
        """
        features = self.forward_features(self._prepared(images, "pad"), (self.depth - 1,))
        return features.class_tokens[-1]

    def intermediate(
        self,
        images: Tensor | Sequence[Tensor],
        layers: Sequence[int] | None = None,
        *,
        class_tokens: bool = False,
        norm: bool = True,
        fit: Fit = "pad",
    ) -> list[Tensor] | list[tuple[Tensor, Tensor]]:
        """Patch features of some layers.

        Args:
            images: (B, 3, H, W) float, RGB in [0, 1], or a sequence of (3, H, W) of one size.
            layers: blocks, counted from 0; negative ones from the end. None for those that a
                DPT head reads.
            class_tokens: give pairs of patch features and the layer's class token (B, C).
            norm: apply the final layer norm, as published; False for the raw tokens.
            fit: what becomes of images that are no multiple of 14. ``pad`` repeats the last row
                and column to the right and at the bottom, so that pixels stay where they are
                (h = ceil(H / 14)); ``resize`` scales to the nearest multiple
                (h = round(H / 14)); ``strict`` refuses them.

        Returns:
            per layer, in the order asked for, (B, C, h, w).

        Raises:
            InputError: images have another shape or type, hold NaN, go beyond [0, 1] or are
                of several sizes; or a layer does not exist.
        """
        wanted = self.layers if layers is None else self._checked(layers)
        features = self.forward_features(self._prepared(images, fit), wanted, norm=norm)
        if class_tokens:
            return list(zip(features.tokens, features.class_tokens, strict=True))
        return list(features.tokens)

    def forward_features(
        self, images: Tensor, layers: Sequence[int] | None = None, *, norm: bool = True
    ) -> Features:
        """Features of normalised images; nothing is checked.

        Args:
            images: (B, 3, H, W), ImageNet-normalised, H and W multiples of 14.
            layers: blocks counted from 0, in any order; None for ``self.layers``.
            norm: apply the final layer norm.
        """
        wanted = self.layers if layers is None else tuple(layers)
        grid = (images.shape[-2] // PATCH_PX, images.shape[-1] // PATCH_PX)
        hidden = self._embedded(images, grid)
        prefix = self.vit.num_prefix_tokens
        tokens: dict[int, Tensor] = {}
        classes: dict[int, Tensor] = {}
        recompute = self.vit.grad_checkpointing and torch.is_grad_enabled()
        for index, block in enumerate(self.vit.blocks[: max(wanted) + 1]):
            hidden = checkpoint(block, hidden, use_reentrant=False) if recompute else block(hidden)
            if index in wanted:
                seen = self.vit.norm(hidden) if norm else hidden
                classes[index] = seen[:, 0]
                tokens[index] = seen[:, prefix:].unflatten(1, grid).permute(0, 3, 1, 2)
        return Features(
            tuple(tokens[index] for index in wanted), tuple(classes[index] for index in wanted)
        )

    def _embedded(self, images: Tensor, grid: tuple[int, int]) -> Tensor:
        """Class token, registers and patches with their positions, (B, 1 + R + h * w, C)."""
        # The projection alone: timm's module around it checks the size, which ties a compiled
        # graph to one.
        projection = cast(nn.Conv2d, self.vit.patch_embed.proj)
        patches = projection(images.to(self.dtype)).flatten(2).transpose(1, 2)
        first, position = self._positions(grid)
        parts = [first.expand(len(images), -1, -1)]
        if self.vit.reg_token is not None:
            parts.append(self.vit.reg_token.expand(len(images), -1, -1))
        return torch.cat([*parts, patches + position], dim=1)

    def _positions(self, grid: tuple[int, int]) -> tuple[Tensor, Tensor]:
        """The class token with its position (1, 1, C), and those of the patches (1, h * w, C)."""
        first, patches = cast(Tensor, self.vit.cls_token), cast(Tensor, self.vit.pos_embed)
        if not self.vit.no_embed_class:  # else timm has added it to the token itself
            first, patches = first + patches[:, :1], patches[:, 1:]
        trained = cast(tuple[int, int], self.vit.patch_embed.grid_size)
        if grid == trained:
            return first, patches
        plane = patches.float().unflatten(1, trained).permute(0, 3, 1, 2)
        if self.position_rule == "antialias":
            plane = F.interpolate(plane, size=grid, mode="bicubic", antialias=True)
        else:
            scale = [(new + PUBLISHED_OFFSET) / old for new, old in zip(grid, trained, strict=True)]
            plane = F.interpolate(plane, scale_factor=scale, mode="bicubic")
        return first, plane.flatten(2).transpose(1, 2).to(patches.dtype)

    def _prepared(self, images: Tensor | Sequence[Tensor], fit: Fit) -> Tensor:
        batch = fit_to_multiple(check_images(images), PATCH_PX, fit)
        return normalise(batch.to(next(self.parameters()).device))

    def _checked(self, layers: Sequence[int]) -> tuple[int, ...]:
        depth = len(self.vit.blocks)
        if not layers:
            raise InputError("no layers were asked for; name at least one.")
        for layer in layers:
            if not -depth <= layer < depth:
                raise InputError(f"no layer {layer}: this backbone has {depth}, counted from 0.")
        wanted = tuple(layer % depth for layer in layers)
        if len(set(wanted)) < len(wanted):
            raise InputError(f"layers {tuple(layers)} name one layer twice.")
        return wanted


def build_backbone(name: str) -> Backbone:
    """A backbone with random weights.

    Args:
        name: ``dinov2-{small,base,large,giant}``, ``dinov2-nano`` (ours), each also with
            ``-reg``.

    Raises:
        InputError: no backbone has that name.
    """
    size, registers = parse_name(name)
    numbers = VIT_SIZES[size]
    mlp: dict[str, Any] = {"mlp_layer": Mlp}
    if numbers.swiglu:
        gated = partial(SwiGlu, gate_last=False)
        mlp = {"mlp_layer": gated, "act_layer": nn.SiLU, "mlp_ratio": 2.66667 * 2}
    vit = VisionTransformer(
        img_size=GRID * PATCH_PX,
        patch_size=PATCH_PX,
        num_classes=0,
        embed_dim=numbers.width,
        depth=numbers.depth,
        num_heads=numbers.heads,
        init_values=numbers.layer_scale,
        reg_tokens=REGISTERS if registers else 0,
        no_embed_class=registers,
        dynamic_img_size=True,
        attn_layer=Attention,
        **mlp,
    )
    rule: PositionRule = "antialias" if registers else "offset"
    return Backbone(vit, position_rule=rule, layers=numbers.layers)


def parse_name(name: str) -> tuple[str, bool]:
    """Size and whether there are registers, from ``dinov2-<size>[-reg]``.

    Raises:
        InputError: no backbone has that name.
    """
    size = name.removeprefix("dinov2-").removesuffix("-reg")
    if not name.startswith("dinov2-") or size not in VIT_SIZES:
        known = ", ".join(f"dinov2-{size}[-reg]" for size in VIT_SIZES)
        raise InputError(f"no backbone {name!r}; known: {known}.")
    return size, name.endswith("-reg")
