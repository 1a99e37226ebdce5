"""The segmenter ``geometry``: planes first, then what stands out from them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

import cv2
import numpy as np

from rangemask.backends.masks.geometry.config import GeometryConfig
from rangemask.backends.masks.geometry.edges import full_masks
from rangemask.backends.masks.geometry.grid import Grid, make_grid
from rangemask.backends.masks.geometry.instances import find_instances
from rangemask.backends.masks.geometry.planes import PlaneFound, find_planes, structure
from rangemask.errors import InputError
from rangemask.geometry.arrays import BoolMap, FloatMap, LabelMap
from rangemask.structures import (
    DepthMap,
    MaskSet,
    Passport,
    Segmentation,
    SemanticMap,
    StereoFrame,
)

LABEL = "object"
SEMANTIC_NAMES = (
    "unknown",
    "floor-like",
    "wall-like",
    "ceiling-like",
    "other plane",
    LABEL,
)
_LEAST_SIDE_PX = 16


class GeometrySegmenter:
    """Finds planes in depth and calls "object" what stands out from them."""

    def __init__(self, config: GeometryConfig | None = None) -> None:
        self.config = config or GeometryConfig()

    @property
    def passport(self) -> Passport:
        """What it is and under which licence."""
        return Passport(
            role="masks",
            model="geometry",
            licence="Apache-2.0",
            licence_class="commercial-ok",
            options=asdict(self.config),
        )

    def __call__(
        self,
        frame: StereoFrame,
        *,
        depth: DepthMap | None = None,
        labels: Sequence[str] | None = None,
    ) -> Segmentation:
        """Find objects and planes.

        Args:
            frame: what the camera saw; edges of masks are drawn to edges of its left image.
            depth: (H, W), metric or up to scale; filled pixels are not looked at.
            labels: nothing, or just "object": this segmenter knows no names.

        Raises:
            InputError: labels were asked for, or there is no depth with a zero.
        """
        depth = self._checked(frame, depth, labels)
        if min(frame.width, frame.height) < _LEAST_SIDE_PX:
            return _nothing(frame)
        grid = make_grid(depth, frame.rig, self.config)
        planes = find_planes(grid, self.config)
        ground = structure(planes, grid, self.config)
        found = find_instances(grid, _background(ground, grid), self.config)
        masks = full_masks(
            found.labels, len(found.scores), grid.step, frame.left, snap=self.config.snap
        )
        kept = [i for i, mask in enumerate(masks) if mask.any()]
        dense = np.stack([masks[i] for i in kept]) if kept else _no_masks(frame)
        return Segmentation(
            MaskSet.from_dense(
                dense, labels=[LABEL] * len(kept), scores=[found.scores[i] for i in kept]
            ),
            SemanticMap(_semantic(ground, grid, dense), SEMANTIC_NAMES),
        )

    def _checked(
        self, frame: StereoFrame, depth: DepthMap | None, labels: Sequence[str] | None
    ) -> DepthMap:
        if labels is not None and set(labels) != {LABEL}:
            raise InputError(
                f"geometry finds shapes and knows no names, but was asked for "
                f"{', '.join(labels) or 'none'}. Use a segmenter with text prompts, or no labels."
            )
        if depth is None:
            raise InputError("geometry finds objects in depth: pass depth=, as Pipeline does.")
        if depth.kind == "relative_inverse":
            raise InputError(
                "geometry needs depth whose zero is known; relative depth of one image has none. "
                "Use a metric model, or a pair."
            )
        if depth.values.shape != (frame.height, frame.width):
            raise InputError(
                f"{frame.name}: depth is {depth.values.shape}, the image "
                f"{(frame.height, frame.width)}."
            )
        return depth


def _background(ground: list[PlaneFound], grid: Grid) -> FloatMap:
    """(h, w) the nearest structure in each direction; 0 where there is none."""
    nearest = np.zeros(grid.disparity_px.shape, dtype=np.float32)
    for plane in ground:
        np.maximum(nearest, plane.disparity_px(grid), out=nearest)
    return nearest


def _semantic(ground: list[PlaneFound], grid: Grid, masks: BoolMap) -> LabelMap:
    height, width = grid.full_px.shape
    small = np.zeros(grid.disparity_px.shape, dtype=np.uint8)
    for plane in ground:
        small[plane.inliers] = SEMANTIC_NAMES.index(plane.kind)
    rows = np.minimum(np.arange(height) // grid.step, small.shape[0] - 1)
    columns = np.minimum(np.arange(width) // grid.step, small.shape[1] - 1)
    ids = cv2.medianBlur(np.ascontiguousarray(small[rows][:, columns]), 5)
    ids = np.asarray(ids, dtype=np.uint8)
    ids[masks.any(axis=0)] = SEMANTIC_NAMES.index(LABEL)
    return ids


def _no_masks(frame: StereoFrame) -> BoolMap:
    return np.zeros((0, frame.height, frame.width), dtype=bool)


def _nothing(frame: StereoFrame) -> Segmentation:
    ids = np.zeros((frame.height, frame.width), dtype=np.uint8)
    return Segmentation(MaskSet.from_dense(_no_masks(frame)), SemanticMap(ids, SEMANTIC_NAMES))
