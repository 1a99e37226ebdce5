"""Segmenter ``geometry``: objects from depth alone, for use without any weights."""

from typing import Any

from rangemask.backends.masks.geometry.config import GeometryConfig
from rangemask.backends.masks.geometry.segmenter import SEMANTIC_NAMES, GeometrySegmenter
from rangemask.backends.options import LoadOptions, make_config, refuse_weights

__all__ = ["SEMANTIC_NAMES", "GeometryConfig", "GeometrySegmenter", "build"]


def build(given: LoadOptions, **options: Any) -> GeometrySegmenter:
    """The segmenter for the registry.

    Raises:
        InputError: weights or a device were asked for, or an option is unknown or impossible.
    """
    refuse_weights("geometry", given)
    return GeometrySegmenter(make_config("geometry", GeometryConfig, options))
