"""``Pipeline``: a frame in, a ``Scene`` out, by the teacher path."""

from __future__ import annotations

import logging
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np

from rangemask._version import __version__
from rangemask.backends.protocols import DepthKindError, DepthModel, Segmenter, StereoMatcher
from rangemask.backends.registry import WITHOUT_WEIGHTS, Role, load
from rangemask.backends.residence import Residence
from rangemask.backends.stereo.to_depth import depth_of_match
from rangemask.camera.rectify import Rectifier
from rangemask.errors import InputError
from rangemask.fusion.align import AlignmentError
from rangemask.fusion.fill import FILLED_CONFIDENCE, FillConfig, fill_depth
from rangemask.fusion.filters import keep_areas, keep_distances, keep_labels, keep_scores
from rangemask.fusion.measure import MeasureConfig, Measurement, measure_masks
from rangemask.fusion.refine import refine_depth, refine_masks, remove_flying_pixels
from rangemask.geometry import Rig
from rangemask.geometry.arrays import FloatMap
from rangemask.structures import (
    DepthMap,
    MaskSet,
    Passport,
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
    filling: FillConfig = field(default_factory=FillConfig)
    """How a pipeline with ``fill`` fills what stereo cannot see."""
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
        depth: name of a monocular depth model, or a model; used where there is no pair, and with
            ``fill`` for what a pair's stereo cannot see.
        fill: whether the depth model, aligned to stereo's metres, fills what stereo cannot see.
            The pixels are marked as filled. Distances rest on them only for objects of which
            stereo saw too little, and are marked as guessed.
        labels: what to look for, for segmenters that understand text.
        fusion: how distances are measured and which objects are kept.
        field_of_view: of rectified images, for rigs that are not rectified: 0 keeps the largest
            view without empty borders, 1 everything that the cameras saw.
        device: where networks run that are given by name: auto, cpu, cuda, cuda:1 or mps.
        precision: what they compute in: auto, float32, bfloat16 or float16.
        memory_budget: such as ``"6GB"``. On a CUDA device networks that do not fit together take
            turns; without it they all stay there, and make room only when memory runs out. On any
            device ``foundation-stereo`` plans how it runs so that it stays within.

    Raises:
        UnknownNameError: a model's name is unknown.
        InputError: neither a stereo matcher nor a depth model is given, or one is missing that
            ``fill`` needs.
    """

    def __init__(
        self,
        stereo: str | StereoMatcher | None = "sgbm",
        masks: str | Segmenter | None = "geometry",
        *,
        depth: str | DepthModel | None = None,
        fill: bool = False,
        labels: Sequence[str] | None = None,
        fusion: FusionConfig | None = None,
        field_of_view: float = 0.0,
        device: str = "auto",
        precision: str = "auto",
        memory_budget: int | str | None = None,
    ) -> None:
        if stereo is None and depth is None:
            raise InputError(
                "a pipeline needs a stereo matcher or a depth model, got neither "
                "(--stereo NAME, --depth NAME)."
            )
        if fill and (stereo is None or depth is None):
            raise InputError(
                "fill=True fills what stereo cannot see from a depth model: give both a stereo "
                "matcher and a depth model, or leave it out."
            )
        # Roles that name one student share it, and the one pass that it makes over a frame.
        self._residence = Residence(memory_budget)
        named = _Loader(device, precision, self._residence)
        self.stereo = named("stereo", stereo) if isinstance(stereo, str) else stereo
        self.masks = named("masks", masks) if isinstance(masks, str) else masks
        self.depth = named("depth", depth) if isinstance(depth, str) else depth
        self.fill = fill
        self.labels = tuple(labels) if labels is not None else None
        self.fusion = fusion if fusion is not None else FusionConfig()
        self._rectify = Rectifier(field_of_view)
        self._said: set[str] = set()

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
        passports: list[Passport] = []
        if frame.right is not None and self.stereo is not None:
            match = self._residence.ask(self.stereo, partial(self.stereo, frame))
            depth = depth_of_match(match, frame)
            if frame.rig is None:
                self._say_once(
                    "%s: no rig was given, so there are no distances. Give one with --rig.",
                    frame.name,
                )
            passports.append(getattr(match, "passport", self.stereo.passport))
        elif self.depth is not None:
            depth = self._residence.ask(self.depth, partial(self.depth, frame))
            passports.append(self.depth.passport)
        else:
            raise InputError(
                f"{frame.name}: one image needs a depth model (--depth NAME). If it holds two "
                "images next to each other, say so: --layout side-by-side."
            )
        # Masks are found in what was seen, not in what is filled in.
        found = self._segment(frame, depth)
        guess = None
        if match is not None and self.depth is not None:
            guess = self._filled(frame, match, depth, self.depth)
            if guess is not None:
                depth = guess
                passports.append(self.depth.passport)
        masks, depth = self.fusion.refined(found.masks, depth)
        if self.masks is not None:
            passports.append(self.masks.passport)
        return Scene(
            frame=frame,
            disparity=None if match is None else match.disparity,
            depth=depth.values if depth.kind == "metric_m" else None,
            relative_depth=self._relative(frame, depth) if match is None else None,
            confidence=depth.confidence,
            occluded=None if match is None else match.occluded,
            filled=depth.filled,
            objects=self._objects(masks, depth, match, frame.rig, guess=guess is not None),
            semantic=found.semantic,
            provenance=Provenance(rangemask_version=__version__, models=tuple(passports)),
        )

    def _filled(
        self, frame: StereoFrame, match: StereoMatch, depth: DepthMap, model: DepthModel
    ) -> DepthMap | None:
        """Stereo's depth with its holes filled; None where that is not wanted or not possible."""
        if not self.fill:
            self._say_once(
                "%s: the depth model %s is not used for pairs, only for single images. With "
                "fill=True (--fill) it fills what stereo cannot see.",
                frame.name,
                model.passport.model,
            )
            return None
        if depth.kind != "metric_m":
            self._say_once(
                "%s: without a rig stereo has no metres, and what it cannot see is not filled.",
                frame.name,
            )
            return None
        mono = self._residence.ask(model, partial(model, frame))
        try:
            return fill_depth(depth, mono, self.fusion.filling, occluded=match.occluded)
        except AlignmentError as error:
            logger.warning("%s: what stereo cannot see is not filled: %s", frame.name, error)
            return None

    def _relative(self, frame: StereoFrame, depth: DepthMap) -> FloatMap | None:
        """What one image's model says without metres, growing towards the camera."""
        if depth.kind == "metric_m":
            return None
        self._say_once(
            "%s: the depth of this image is relative: it has no metres, so distances are unknown. "
            "It is kept as the scene's relative_depth. Use a metric depth model or a stereo pair.",
            frame.name,
        )
        if depth.kind == "relative_inverse":
            return depth.values
        known = np.greater(depth.values, 0)
        inverse = np.full_like(depth.values, np.nan)
        np.divide(np.float32(1), depth.values, out=inverse, where=known)
        return inverse

    def _say_once(self, text: str, *names: str) -> None:
        """A warning that holds for all frames of a run: the first one says it."""
        if text not in self._said:
            self._said.add(text)
            logger.warning(text, *names)

    def _rectified(self, frame: StereoFrame) -> StereoFrame:
        rig = frame.rig
        raw_single = rig is not None and not rig.is_rectified and rig.right is None
        if raw_single and frame.right is not None and self.stereo is None:
            frame = replace(frame, right=None)  # nothing looks at it
        return self._rectify(frame)

    def _segment(self, frame: StereoFrame, depth: DepthMap) -> Segmentation:
        if self.masks is None:
            return Segmentation(MaskSet(frame.height, frame.width))
        try:
            call = partial(self.masks, frame, depth=depth, labels=self.labels)
            found: Segmentation = self._residence.ask(self.masks, call)
            return found
        except DepthKindError as error:
            # The default segmenter must not keep a photograph from being measured at all.
            self._say_once("%s Nothing is segmented.", str(error))
            return Segmentation(MaskSet(frame.height, frame.width))

    def _objects(
        self,
        masks: MaskSet,
        depth: DepthMap,
        match: StereoMatch | None,
        rig: Rig | None,
        *,
        guess: bool,
    ) -> tuple[SceneObject, ...]:
        hidden = None if match is None else match.occluded
        measured = measure_masks(masks, depth, rig, self.fusion.measure, exclude=hidden)
        if guess:
            measured = self._guessed(measured, masks, depth, rig)
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

    def _guessed(
        self, measured: list[Measurement], masks: MaskSet, depth: DepthMap, rig: Rig | None
    ) -> list[Measurement]:
        """The same, with distances on filled pixels for masks of which too little was seen."""
        unknown = [i for i, one in enumerate(measured) if not one.distance.known]
        trust = self.fusion.measure.min_confidence
        config = replace(self.fusion.measure, min_confidence=trust * FILLED_CONFIDENCE)
        guesses = measure_masks(masks.select(unknown), replace(depth, filled=None), rig, config)
        every = list(measured)
        for i, one in zip(unknown, guesses, strict=True):
            if one.distance.known:
                every[i] = replace(one, distance=replace(one.distance, guessed=True))
        return every


class _Loader:
    """Loads the models of one pipeline by name."""

    def __init__(self, device: str, precision: str, residence: Residence) -> None:
        self.device = device
        self.precision = precision
        self.residence = residence
        self.shared: dict[str, Any] = {}

    def __call__(self, role: Role, name: str) -> Any:
        if name in WITHOUT_WEIGHTS:
            return load(role, name)
        model = load(role, name, None, self.device, self.precision, shared=self.shared)
        self.residence.admit(model)
        return model


def _nearness(thing: SceneObject) -> float:
    return thing.distance.median if thing.distance.known else math.inf
