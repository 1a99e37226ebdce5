"""Automatic masks: a plain mask decoder on frozen tokens.

Learned queries and patch tokens go jointly through a few transformer blocks; several layers of
the backbone come in by lateral connections (after PMT, arXiv 2603.25398, section 3, and EoMT,
arXiv 2503.19108). The first is needed because a frozen backbone cannot take queries itself, the
second because its last layer alone has lost what is fine.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import torch
from timm.layers.mlp import Mlp
from timm.layers.norm import LayerNorm2d
from timm.layers.pos_embed_sincos import build_sincos2d_pos_embed
from timm.models.vision_transformer import Block
from torch import Tensor, nn
from torch.nn import functional as F

from rangemask.errors import InputError
from rangemask.models.blocks import Attention

TOKEN_LAYERS = 4
"""Backbone layers that come in, shallow to deep."""


class MaskOutput(NamedTuple):
    """What the automatic head says of a batch, N queries each.

    ``mask_logits`` are ``query_embeddings`` times ``mask_features`` and nothing more, so that
    whoever corrects the features corrects the masks of all queries (``masks_of``).
    """

    class_logits: Tensor
    """(B, N, K + 1); the last one is "no object"."""
    mask_logits: Tensor
    """(B, N, 4h, 4w); inside where positive."""
    query_embeddings: Tensor
    """(B, N, D)."""
    mask_features: Tensor
    """(B, D, 4h, 4w)."""
    auxiliary: tuple[tuple[Tensor, Tensor], ...]
    """Class and mask logits after every block but the last, for deep supervision; else empty."""


@dataclass(frozen=True, kw_only=True, slots=True)
class MaskHeadConfig:
    """The automatic mask head."""

    classes: tuple[str, ...] = ("object",)
    """Names of the classes, in the order of the logits."""
    queries: int = 100
    """Most masks that an image can have."""
    width: int = 192
    """Channels inside the blocks, a multiple of 4 and of ``heads``."""
    heads: int = 3
    """Attention heads; 64 channels a head are fastest."""
    blocks: int = 2
    """Transformer blocks that queries and tokens pass together."""
    mlp_ratio: float = 4.0
    """Hidden channels of a block's MLP, by ``width``."""
    mask_width: int = 64
    """Channels of the mask features (D): what a mask costs per pixel."""
    drop_path: float = 0.0
    """Stochastic depth of the blocks while training, in [0, 1)."""

    def __post_init__(self) -> None:
        if not isinstance(self.classes, tuple):
            raise InputError(f"classes must be a tuple of names, got {self.classes!r}.")
        if not self.classes or len(set(self.classes)) < len(self.classes) or "" in self.classes:
            raise InputError(f"classes must be names, each once, got {self.classes!r}.")
        for name in ("queries", "width", "heads", "blocks", "mask_width"):
            if getattr(self, name) < 1:
                raise InputError(f"{name} must be at least 1, got {getattr(self, name)}.")
        if self.width % 4 or self.width % self.heads:
            raise InputError(
                f"width must be a multiple of 4 and of heads ({self.heads}), got {self.width}."
            )
        if not 0 < self.mlp_ratio < float("inf"):
            raise InputError(f"mlp_ratio must be positive, got {self.mlp_ratio}.")
        if not 0 <= self.drop_path < 1:
            raise InputError(f"drop_path must be in [0, 1), got {self.drop_path}.")


class AutomaticMaskHead(nn.Module):
    """Class and mask per learned query.

    Args:
        config: sizes and class names.
        token_channels: C of the backbone's tokens.
        pyramid_channels: P of the pyramid's finest level.
    """

    def __init__(self, config: MaskHeadConfig, token_channels: int, pyramid_channels: int) -> None:
        super().__init__()
        self.config = config
        self.queries = nn.Parameter(torch.empty(config.queries, config.width))
        self.laterals = nn.ModuleList(
            nn.Linear(token_channels, config.width) for _ in range(TOKEN_LAYERS)
        )
        self.blocks = nn.ModuleList(
            Block(
                config.width,
                config.heads,
                mlp_ratio=config.mlp_ratio,
                qkv_bias=True,
                drop_path=config.drop_path,
                attn_layer=Attention,
            )
            for _ in range(config.blocks)
        )
        self.norm = nn.LayerNorm(config.width)
        self.class_logits = nn.Linear(config.width, len(config.classes) + 1)
        self.query_embedding = Mlp(config.width, config.width, config.mask_width)
        self.mask_features = MaskFeatures(config.width, pyramid_channels, config.mask_width)
        nn.init.trunc_normal_(self.queries, std=1.0)

    def forward(
        self, tokens: tuple[Tensor, ...], fine: Tensor, deep_supervision: bool = False
    ) -> MaskOutput:
        """Decode.

        Args:
            tokens: four of (B, C, h, w), normed patch features, shallow to deep.
            fine: (B, P, 4h, 4w), the finest level of the pyramid.
            deep_supervision: give the answers of the earlier blocks too.

        Raises:
            InputError: the shapes do not fit each other.
        """
        _check_shapes(tokens, fine)
        height, width = tokens[-1].shape[-2:]
        patches = _positions(self.config.width, height, width, tokens[-1])
        joint = self.queries.expand(tokens[-1].shape[0], -1, -1)
        count = joint.shape[1]
        auxiliary: list[tuple[Tensor, Tensor]] = []
        for index, block in enumerate(self.blocks):
            for level in _levels_of_block(index, len(self.blocks)):
                patches = patches + self.laterals[level](tokens[level].flatten(2).transpose(1, 2))
            joint = block(torch.cat([joint[:, :count], patches], dim=1))
            patches = joint[:, count:]
            if deep_supervision and index + 1 < len(self.blocks):
                answer = self._answer(joint, fine, (height, width))
                auxiliary.append((answer.class_logits, answer.mask_logits))
        return self._answer(joint, fine, (height, width))._replace(auxiliary=tuple(auxiliary))

    def _answer(self, joint: Tensor, fine: Tensor, grid: tuple[int, int]) -> MaskOutput:
        """Logits of the state after a block, (B, N + hw, width)."""
        queries, patches = self.norm(joint).split(
            [self.config.queries, joint.shape[1] - self.config.queries], dim=1
        )
        features = self.mask_features(patches, fine, grid)
        embeddings = self.query_embedding(queries)
        return MaskOutput(
            self.class_logits(queries), masks_of(embeddings, features), embeddings, features, ()
        )


class MaskFeatures(nn.Module):
    """Patch tokens and the finest level of the pyramid, joined into features of pixels."""

    def __init__(self, token_width: int, pyramid_channels: int, width: int) -> None:
        super().__init__()
        self.coarse = nn.Linear(token_width, width)
        self.fine = nn.Conv2d(pyramid_channels, width, 1)
        self.smooth = nn.Conv2d(width, width, 3, padding=1, groups=width)
        self.norm = LayerNorm2d(width)
        self.out = nn.Conv2d(width, width, 1)

    def forward(self, patches: Tensor, fine: Tensor, grid: tuple[int, int]) -> Tensor:
        """Features of the pixels.

        Args:
            patches: (B, hw, token_width).
            fine: (B, P, 4h, 4w).
            grid: h and w.

        Returns:
            (B, width, 4h, 4w).
        """
        coarse = self.coarse(patches).transpose(1, 2).unflatten(2, grid)
        coarse = F.interpolate(coarse, size=fine.shape[-2:], mode="bilinear")
        joined = F.gelu(coarse + self.fine(fine))
        # The bilinear grid of the patches shows without a convolution that sees neighbours.
        features: Tensor = self.out(F.gelu(self.norm(self.smooth(joined))))
        return features


def masks_of(query_embeddings: Tensor, mask_features: Tensor) -> Tensor:
    """Mask logits of all queries, (B, N, H, W).

    Args:
        query_embeddings: (B, N, D).
        mask_features: (B, D, H, W).
    """
    size = mask_features.shape[-2:]
    logits: Tensor = (query_embeddings @ mask_features.flatten(2)).unflatten(2, size)
    return logits


def _levels_of_block(index: int, blocks: int) -> range:
    """Backbone layers that come in before a block: deep ones first, spread over the blocks."""
    first, last = (TOKEN_LAYERS * step // blocks for step in (index, index + 1))
    if blocks > TOKEN_LAYERS:
        first, last = min(index, TOKEN_LAYERS), min(index + 1, TOKEN_LAYERS)
    return range(TOKEN_LAYERS - 1 - first, TOKEN_LAYERS - 1 - last, -1)


def _positions(width: int, height: int, columns: int, like: Tensor) -> Tensor:
    """Sine-cosine position of every patch, (1, height * columns, width), for any grid."""
    places: Tensor = build_sincos2d_pos_embed(
        [height, columns], width, device=like.device, dtype=like.dtype
    )
    return places[None]


def _check_shapes(tokens: tuple[Tensor, ...], fine: Tensor) -> None:
    shapes = {tuple(level.shape) for level in tokens}
    if len(tokens) != TOKEN_LAYERS or len(shapes) != 1:
        raise InputError(
            f"the mask head needs {TOKEN_LAYERS} token maps of one shape (B, C, h, w), got "
            f"{[tuple(level.shape) for level in tokens]}."
        )
    batch, _, height, width = tokens[0].shape
    if (fine.shape[0], *fine.shape[2:]) != (batch, 4 * height, 4 * width):
        raise InputError(
            f"the fine features must be (B, P, 4h, 4w) = ({batch}, P, {4 * height}, "
            f"{4 * width}), got {tuple(fine.shape)}."
        )
