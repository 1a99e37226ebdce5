"""``Pipeline``: a frame in, a ``Scene`` out, by the teacher path."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from rangemask._version import __version__
from rangemask.backends.protocols import DepthModel, Segmenter, StereoMatcher
from rangemask.backends.registry import load_depth, load_masks, load_stereo
from rangemask.backends.stereo.to_depth import depth_of_match
from rangemask.camera.rectify import Rectification
from rangemask.errors import InputError
from rangemask.fusion.filters import keep_areas, keep_distances, keep_labels, keep_scores
from rangemask.fusion.measure import MeasureConfig, measure_masks
from rangemask.fusion.refine import refine_depth, refine_masks, remove_flying_pixels
from rangemask.geometry import Rig
from rangemask.structures import (
    DepthMap,
    MaskSet,
    Provenance,
    Scene,
    SceneObject,
    Segmentation,
    StereoFrame,
    StereoMatch,
)

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True, slots=True)
class FusionConfig:
    """What happens between masks and depth, and which objects are kept.

    Raises:
        InputError: a limit is impossible, or the range is empty.
    """

    measure: MeasureConfig = field(default_factory=MeasureConfig)
    refine_masks: bool = False
    """Draw mask edges to depth edges; for masks of a network over depth with sharp edges."""
    refine_depth: bool = False
    """Replace depth that bled over an object's border by that of its nearest inner pixel."""
    remove_flying_pixels: bool = False
    """Make depth unknown that lies between two surfaces and belongs to neither."""
    min_distance_m: float | None = None
    """Objects nearer than this are dropped, and those of unknown distance."""
    max_distance_m: float | None = None
    """Objects farther than this are dropped, and those of unknown distance."""
    labels: tuple[str, ...] | None = None
    """Objects with other labels are dropped."""
    min_score: float = 0.0
    """Objects that the segmenter is less sure of are dropped."""
    min_area_px: int = 0
    """Objects with fewer pixels are dropped."""

    def __post_init__(self) -> None:
        self.select(())  # the filters check their limits

    def refined(self, masks: MaskSet, depth: DepthMap) -> tuple[MaskSet, DepthMap]:
        """Masks and depth after the refinements that are switched on."""
        if self.refine_masks:
            masks = refine_masks(masks, depth)
        if self.refine_depth:
            depth = refine_depth(depth, masks)
        if self.remove_flying_pixels:
            depth = remove_flying_pixels(depth)
        return masks, depth

    def select(self, things: Iterable[SceneObject]) -> tuple[SceneObject, ...]:
        """The objects that pass all filters."""
        kept = keep_distances(things, min_m=self.min_distance_m, max_m=self.max_distance_m)
        kept = keep_areas(keep_labels(kept, self.labels), min_px=self.min_area_px)
        return keep_scores(kept, self.min_score)


class Pipeline:
    """Any stereo matcher or depth model, any segmenter, fused into one ``Scene``.

    Args:
        stereo: name of a stereo matcher, a matcher, or None to go without.
        masks: name of a segmenter, a segmenter, or None to find no objects.
        depth: name of a monocular depth model, or a model; used where there is no pair.
        labels: what to look for, for segmenters that understand text.
        fusion: how distances are measured and which objects are kept.
        field_of_view: of rectified images, for rigs that are not rectified: 0 keeps the largest
            view without empty borders, 1 everything that the cameras saw.

    Raises:
        UnknownNameError: a model's name is unknown.
        InputError: neither a stereo matcher nor a depth model is given.
    """

    def __init__(
        self,
        stereo: str | StereoMatcher | None = "sgbm",
        masks: str | Segmenter | None = "geometry",
        *,
        depth: str | DepthModel | None = None,
        labels: Sequence[str] | None = None,
        fusion: FusionConfig | None = None,
        field_of_view: float = 0.0,
    ) -> None:
        if stereo is None and depth is None:
            raise InputError("a pipeline needs a stereo matcher or a depth model, got neither.")
        self.stereo = load_stereo(stereo) if isinstance(stereo, str) else stereo
        self.masks = load_masks(masks) if isinstance(masks, str) else masks
        self.depth = load_depth(depth) if isinstance(depth, str) else depth
        self.labels = tuple(labels) if labels is not None else None
        self.fusion = fusion if fusion is not None else FusionConfig()
        self.field_of_view = field_of_view
        self._rectification: Rectification | None = None

    def __call__(self, frame: StereoFrame) -> Scene:
        """Find the objects of one frame and how far away they are.

        A frame whose rig is not rectified is rectified first; the scene then holds the
        rectified frame. A pair without a rig gives disparity but no distances.

        Raises:
            InputError: the frame has one image and there is no depth model, or its rig
                has no baseline.
        """
        frame = self._rectified(frame)
        match: StereoMatch | None = None
        if frame.right is not None and self.stereo is not None:
            match = self.stereo(frame)
            depth = depth_of_match(match, frame)
        elif self.depth is not None:
            depth = self.depth(frame)
        else:
            raise InputError(
                f"{frame.name}: one image needs a depth model (--depth NAME). If it holds two "
                "images next to each other, say so: --layout side-by-side."
            )
        found = self._segment(frame, depth)
        masks, depth = self.fusion.refined(found.masks, depth)
        return Scene(
            frame=frame,
            disparity=None if match is None else match.disparity,
            depth=depth.values if depth.kind == "metric_m" else None,
            confidence=depth.confidence,
            occluded=None if match is None else match.occluded,
            filled=depth.filled,
            objects=self._objects(masks, depth, match, frame.rig),
            semantic=found.semantic,
            provenance=self._provenance(used_stereo=match is not None),
        )

    def _rectified(self, frame: StereoFrame) -> StereoFrame:
        rig = frame.rig
        if rig is None or rig.is_rectified:
            return frame
        if frame.right is not None and rig.right is None:
            raise InputError(
                f"{frame.name}: the rig describes one camera, the frame has two images. "
                "Give the rig of the pair."
            )
        if self._rectification is None or self._rectification.source != rig:
            logger.info("the rig is not rectified: its images are rectified before matching")
            self._rectification = Rectification(rig, field_of_view=self.field_of_view)
        return self._rectification.rectify(frame)

    def _segment(self, frame: StereoFrame, depth: DepthMap) -> Segmentation:
        if self.masks is None:
            return Segmentation(MaskSet(frame.height, frame.width))
        return self.masks(frame, depth=depth, labels=self.labels)

    def _objects(
        self, masks: MaskSet, depth: DepthMap, match: StereoMatch | None, rig: Rig | None
    ) -> tuple[SceneObject, ...]:
        hidden = None if match is None else match.occluded
        measured = measure_masks(masks, depth, rig, self.fusion.measure, exclude=hidden)
        things = [
            SceneObject(
                id=0,
                label=label,
                score=score,
                rle=rle,
                distance=measurement.distance,
                centroid=measurement.centroid,
                extent=measurement.extent,
            )
            for rle, label, score, measurement in zip(
                masks.rles, masks.labels, masks.scores, measured, strict=True
            )
        ]
        nearest_first = sorted(self.fusion.select(things), key=_nearness)
        return tuple(replace(thing, id=i) for i, thing in enumerate(nearest_first, start=1))

    def _provenance(self, *, used_stereo: bool) -> Provenance:
        used = (self.stereo if used_stereo else self.depth, self.masks)
        return Provenance(
            rangemask_version=__version__,
            models=tuple(model.passport for model in used if model is not None),
        )


def _nearness(thing: SceneObject) -> float:
    return thing.distance.median if thing.distance.known else math.inf
