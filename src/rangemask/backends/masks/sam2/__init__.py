"""Segmenter ``sam2.1-*``: everything in an image, things by their names, prompts, and video."""

from __future__ import annotations

from rangemask.backends.masks.sam2.automatic import AutomaticConfig
from rangemask.backends.masks.sam2.image import Sam2Image
from rangemask.backends.masks.sam2.segmenter import Sam2MasksConfig, Sam2Segmenter, build
from rangemask.backends.masks.sam2.video import Sam2Track, Sam2Video

__all__ = [
    "AutomaticConfig",
    "Sam2Image",
    "Sam2MasksConfig",
    "Sam2Segmenter",
    "Sam2Track",
    "Sam2Video",
    "build",
]
