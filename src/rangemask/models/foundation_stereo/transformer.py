"""Disparity transformer: each pixel's planes look at each other (paper, section 3.2; spec 6)."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rangemask.models.foundation_stereo.config import HEADS, AttentionAxis


class Attention(nn.Module):
    """Attention of one sequence of planes, in one of two readings.

    Over ``disparity``, every plane attends to every plane, per head. Over ``heads``, in every
    plane by itself the heads attend to each other, and nothing is mixed along disparity; that is
    what the published code computes since June 2025.
    """

    def __init__(self, channels: int, axis: AttentionAxis) -> None:
        super().__init__()
        self.axis = axis
        self.q_proj = nn.Linear(channels, channels)
        self.k_proj = nn.Linear(channels, channels)
        self.v_proj = nn.Linear(channels, channels)
        self.out_proj = nn.Linear(channels, channels)

    def forward(self, planes: Tensor) -> Tensor:
        """(N, D, C) to the same."""
        parts = [p(planes) for p in (self.q_proj, self.k_proj, self.v_proj)]
        query, key, value = (part.unflatten(-1, (HEADS, -1)) for part in parts)
        if self.axis == "heads":
            mixed = F.scaled_dot_product_attention(query, key, value)
        else:
            mixed = F.scaled_dot_product_attention(
                query.transpose(1, 2), key.transpose(1, 2), value.transpose(1, 2)
            ).transpose(1, 2)
        answer: Tensor = self.out_proj(mixed.flatten(-2))
        return answer


class Layer(nn.Module):
    """Attention and a small MLP, each normed after it is added."""

    def __init__(self, channels: int, axis: AttentionAxis) -> None:
        super().__init__()
        self.self_attn = Attention(channels, axis)
        self.linear1 = nn.Linear(channels, channels)
        self.linear2 = nn.Linear(channels, channels)
        self.norm1 = nn.LayerNorm(channels)
        self.norm2 = nn.LayerNorm(channels)

    def forward(self, planes: Tensor) -> Tensor:
        """(N, D, C) to the same."""
        planes = self.norm1(planes + self.self_attn(planes))
        change = self.linear2(F.gelu(self.linear1(planes)))
        normed: Tensor = self.norm2(planes + change)
        return normed


class DisparityTransformer(nn.Module):
    """All layers over a coarse volume."""

    def __init__(self, channels: int, layers: int, axis: AttentionAxis) -> None:
        super().__init__()
        self.sa = nn.ModuleList(Layer(channels, axis) for _ in range(layers))

    def forward(self, volume: Tensor) -> Tensor:
        """(B, C, D, h, w) to the same."""
        batch, channels, planes, height, width = volume.shape
        sequences = volume.permute(0, 3, 4, 2, 1).reshape(-1, planes, channels)
        sequences = sequences + codes(planes, channels, volume.device).to(volume.dtype)
        for layer in self.sa:
            sequences = layer(sequences)
        return sequences.view(batch, height, width, planes, channels).permute(0, 4, 3, 1, 2)


def codes(planes: int, channels: int, device: torch.device) -> Tensor:
    """(D, C) sinusoidal codes of the planes: sine and cosine in turns."""
    place = torch.arange(planes, device=device, dtype=torch.float32)[:, None]
    steps = torch.arange(0, channels, 2, device=device, dtype=torch.float32)
    angle = place * torch.pow(10000.0, -steps / channels)
    return torch.stack((angle.sin(), angle.cos()), dim=-1).flatten(1)
