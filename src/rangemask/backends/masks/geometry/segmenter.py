"""The segmenter ``geometry``: planes first, then what stands out from them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

import cv2
import numpy as np

from rangemask.backends.masks.geometry.config import GeometryConfig
from rangemask.backends.masks.geometry.grid import Grid, make_grid
from rangemask.backends.masks.geometry.merging import grow_to_contact, merge
from rangemask.backends.masks.geometry.outline import draw
from rangemask.backends.masks.geometry.planes import Plane, find_planes
from rangemask.backends.masks.geometry.quality import Doubles, scores
from rangemask.backends.masks.geometry.segments import Labels
from rangemask.backends.masks.geometry.splitting import split, stands_out
from rangemask.backends.masks.geometry.structure import (
    Surface,
    background,
    find_surroundings,
    floor_of,
)
from rangemask.backends.protocols import DepthKindError
from rangemask.backends.stereo.sgbm import SgbmMatcher
from rangemask.backends.stereo.to_depth import depth_of_match
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
SEMANTIC_NAMES = ("unknown", "floor-like", "wall-like", "ceiling-like", "other plane", LABEL)
_LEAST_SIDE_PX = 16


class GeometrySegmenter:
    """Finds planes in depth and calls "object" what stands out from them."""

    def __init__(self, config: GeometryConfig | None = None) -> None:
        self.config = config if config is not None else GeometryConfig()

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

    @property
    def classes(self) -> tuple[str, ...]:
        """All labels that it gives, objects first."""
        return (LABEL, *SEMANTIC_NAMES[1:-1])

    def __call__(
        self,
        frame: StereoFrame,
        *,
        depth: DepthMap | None = None,
        labels: Sequence[str] | None = None,
    ) -> Segmentation:
        """Find objects and planes.

        Args:
            frame: what the camera saw; without a rig a lens of 58 degrees is assumed.
            depth: (H, W), metric or up to scale; filled pixels are not looked at. Without it a
                pair is matched by ``sgbm``.
            labels: nothing, or just "object": this segmenter knows no names.

        Returns:
            Masks without overlap, each with a score, and a map of kinds of planes.

        Raises:
            InputError: names were asked for, depth is missing, relative or of another size.
        """
        depth = _checked(frame, depth, labels)
        if min(frame.width, frame.height) < _LEAST_SIDE_PX:
            return _nothing(frame)
        grid = make_grid(frame, depth, self.config)
        if grid is None:
            return _nothing(frame)
        surfaces = self._surroundings(grid)
        background_px = background(grid, surfaces)
        instances, marks = self._instances(grid, background_px, floor_of(surfaces))
        masks, kept = draw(grid, instances, background_px, frame.left, self.config)
        return Segmentation(
            MaskSet.from_dense(masks, scores=[float(marks[number]) for number in kept]),
            SemanticMap(_semantic(grid, surfaces, masks), SEMANTIC_NAMES),
        )

    def _surroundings(self, grid: Grid) -> list[Surface]:
        config = self.config
        planes = find_planes(
            grid, count=config.max_planes, min_share=config.min_plane_share, seed=config.seed
        )
        return find_surroundings(grid, planes, min_share=config.min_plane_share)

    def _instances(
        self, grid: Grid, background_px: FloatMap, floor: Plane | None
    ) -> tuple[Labels, Doubles]:
        """Objects on the grid and the score of each number."""
        labels, count = split(grid, stands_out(grid, background_px))
        labels, count = merge(grid, labels, count, background_px)
        marks = scores(grid, labels, count, background_px, floor, self.config)
        good = marks >= max(self.config.min_score, 1e-6)
        numbers = np.where(good, np.cumsum(good), 0).astype(np.int32)
        labels = grow_to_contact(grid, numbers[labels], background_px)
        return labels, np.concatenate([[0.0], marks[good]])


def _checked(frame: StereoFrame, depth: DepthMap | None, labels: Sequence[str] | None) -> DepthMap:
    if labels is not None and tuple(labels) != (LABEL,):
        asked = ", ".join(map(repr, labels)) or "no labels at all"
        raise InputError(
            f"{frame.name}: geometry knows no names, but was asked for {asked}. Use a segmenter "
            "with text prompts, or leave the labels out."
        )
    if depth is None and frame.right is None:
        raise InputError(
            f"{frame.name}: geometry finds objects in depth and was given one image without it: "
            "pass depth=, or give a stereo pair."
        )
    if depth is None:
        depth = depth_of_match(SgbmMatcher()(frame), frame)
    if depth.kind == "relative_inverse":
        raise DepthKindError(
            f"{frame.name}: geometry needs depth with a known zero, and relative depth of one "
            "image has none. Use a stereo pair or a metric depth model."
        )
    if depth.values.shape != (frame.height, frame.width):
        height, width = depth.values.shape
        raise InputError(
            f"{frame.name}: the image is {frame.width} x {frame.height} px, but its depth is "
            f"{width} x {height}. Give the depth of this image."
        )
    return depth


def _semantic(grid: Grid, surfaces: list[Surface], masks: BoolMap) -> LabelMap:
    """(H, W) ids of ``SEMANTIC_NAMES``."""
    small = np.zeros(grid.shape, np.uint8)
    for surface in surfaces:
        small[surface.inside] = SEMANTIC_NAMES.index(surface.kind)
    height, width = grid.full_px.shape
    rows = np.minimum(np.arange(height) // grid.stride, small.shape[0] - 1)
    columns = np.minimum(np.arange(width) // grid.stride, small.shape[1] - 1)
    ids = np.asarray(cv2.medianBlur(small, 5), np.uint8)[rows[:, None], columns]
    ids[masks.any(axis=0)] = SEMANTIC_NAMES.index(LABEL)
    return ids


def _nothing(frame: StereoFrame) -> Segmentation:
    ids = np.zeros((frame.height, frame.width), np.uint8)
    return Segmentation(MaskSet(frame.height, frame.width), SemanticMap(ids, SEMANTIC_NAMES))
