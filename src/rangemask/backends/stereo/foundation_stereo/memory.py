"""How much memory a pair takes: a measured table, and what it says of a size.

Three phases can hold the most: the features of the images (with the context network, which begins
at full size), the work on the volume, and the refinement. Each is a sum of terms; the largest one
counts. How much of the volume is worked on at a time matters to none of them: at the peak it is the
hourglass, which is not cut, or the refinement.

The table was made by ``python benchmarks/foundation_stereo.py --memory`` on 2026-11-21, with
PyTorch 2.15 on an x86 processor. For CUDA it is a prediction: no GPU has been measured.
"""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import NamedTuple

from rangemask.models.foundation_stereo.config import MULTIPLE_PX, QUARTER


class Need(NamedTuple):
    """Bytes of working memory, above the weights, of one kind of network."""

    feature_px: float
    """Features and context, per pixel of the padded pair."""
    volume_px: float
    """Work on the volume, per pixel."""
    volume_cell: float
    """The same, per cell of the volume: a disparity of a pixel at a quarter."""
    refine_px: float
    """Refinement, per pixel."""
    refine_cell: float
    """The same, per cell of the volume."""


class Kind(NamedTuple):
    """What the table tells apart."""

    large: bool
    """A vision transformer above ViT-S."""
    half: bool
    """Computed in bfloat16 or float16, not in float32."""


NEEDS: Mapping[Kind, Need] = MappingProxyType(
    {
        Kind(large=False, half=False): Need(1414, 152, 256, 1085, 132),
        Kind(large=False, half=True): Need(906, 60, 128, 752, 68),
        Kind(large=True, half=False): Need(1512, 271, 256, 1155, 132),
        Kind(large=True, half=True): Need(932, 130, 128, 800, 68),
    }
)
"""Tensors that are alive at the same time, counted."""
ALIVE_BYTES = 16e6
"""Of these, what does not grow with the size."""
MARGIN = {"cpu": 1.28, "cuda": 1.25}
"""What is taken beyond tensors that are counted."""
FIXED_BYTES = {"cpu": 100e6, "cuda": 300e6}
"""The same, whatever the size: code that is loaded by the first call, scratch of libraries."""


def padded(side: int) -> int:
    """Pixels of a side that the network sees."""
    return side + -side % MULTIPLE_PX


def working_bytes(
    kind: Kind, height: int, width: int, max_disparity_px: int, device: str = "cpu"
) -> int:
    """Largest working memory, above the weights.

    Never smaller for a larger pair or a larger volume.

    Args:
        kind: of network.
        height: of the images that the network sees, before padding.
        width: the same.
        max_disparity_px: of the volume.
        device: kind of device; others than CUDA count as processors.
    """
    where = "cuda" if device == "cuda" else "cpu"
    counted = alive_bytes(NEEDS[kind], padded(height), padded(width), max_disparity_px)
    return round(FIXED_BYTES[where] + MARGIN[where] * counted)


def alive_bytes(need: Need, height: int, width: int, max_disparity_px: int) -> float:
    """Tensors that are alive at the same time, for sides that are multiples of 32."""
    pixels = height * width
    plane = pixels // QUARTER**2
    planes = max_disparity_px // QUARTER
    volume = need.volume_px * pixels + need.volume_cell * plane * planes
    refine = need.refine_px * pixels + need.refine_cell * plane * planes
    refine += row_bytes(height, width)
    return ALIVE_BYTES + max(need.feature_px * pixels, volume, refine)


def row_bytes(height: int, width: int) -> int:
    """Products of every pixel with all of its row, in quarter pixels, float32."""
    return 4 * (height // QUARTER) * (width // QUARTER) ** 2
