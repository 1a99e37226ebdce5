"""What can be judged on a data set: pipelines, students, runs, and scenes that were saved."""

from __future__ import annotations

import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from rangemask.backends.protocols import DepthModel
from rangemask.errors import InputError
from rangemask.geometry.arrays import FloatMap
from rangemask.pipeline import Pipeline
from rangemask.structures import DepthMap, MaskSet, Scene, SemanticMap, StereoFrame

_SAME_PICTURE = 3.0
"""Mean difference of two images, of 255, up to which one is the other written again."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Prediction:
    """What a predictor says of one frame; None for what it does not say."""

    disparity: FloatMap | None = None
    """(H, W) px, NaN where unknown."""
    stereo_depth_m: FloatMap | None = None
    """(H, W) metres from the disparity, NaN where unknown."""
    depth: DepthMap | None = None
    """Of the left image alone, with its kind."""
    semantic: SemanticMap | None = None
    masks: MaskSet | None = None
    """All, the unsure ones as well."""
    sure: tuple[int, ...] = ()
    """Which of the masks the predictor stands by."""
    distances_m: tuple[float, ...] | None = None
    """Of each mask, NaN where unknown; None where there are no metres."""
    seconds: float | None = None
    """How long it took; None for what was saved."""


class Predictor(Protocol):
    """Anything that is judged."""

    @property
    def name(self) -> str:
        """For tables."""
        ...

    @property
    def kinds(self) -> frozenset[str]:
        """What it may say: disparity, depth, semantic, masks."""
        ...

    @property
    def labels(self) -> tuple[str, ...] | None:
        """What its masks may be called; None where that is not known beforehand."""
        ...

    @property
    def trained_on(self) -> frozenset[str]:
        """Names of the frames that it has learnt from, as far as that is known."""
        ...

    def __call__(self, frame: StereoFrame) -> Prediction:
        """Predict one frame.

        Raises:
            InputError: it cannot.
        """
        ...


@dataclass(frozen=True, slots=True, kw_only=True)
class PipelinePredictor:
    """A pipeline, two of them, or a segmenter alone.

    Where there are both a matcher and a depth model, both are asked of a pair, and judged.
    """

    name: str
    pipeline: Pipeline | None = None
    """For pairs; and for single images, if there is no other."""
    single: Pipeline | None = None
    """For single images."""
    depth: DepthModel | None = None
    """Asked of pairs, besides the matcher."""
    masks: Any = None
    """A segmenter for frames that no pipeline can measure."""
    gives: frozenset[str]
    """What it may say."""
    sure_from: float = 0.0
    """Score from which the predictor stands by a mask."""
    trained_on: frozenset[str] = frozenset()

    @classmethod
    def of(cls, pipeline: Pipeline) -> PipelinePredictor:
        """A pipeline as it is."""
        models = (pipeline.stereo, pipeline.depth, pipeline.masks)
        words = dict.fromkeys(one.passport.model for one in models if one is not None)
        return cls(
            name="+".join(words),
            pipeline=pipeline,
            depth=pipeline.depth,
            masks=pipeline.masks,
            gives=kinds_of(*models),
        )

    @property
    def kinds(self) -> frozenset[str]:
        """What it may say."""
        return self.gives

    @property
    def labels(self) -> tuple[str, ...] | None:
        """What its masks may be called."""
        labels: tuple[str, ...] | None = getattr(self.masks, "labels", None)
        return labels or None

    def __call__(self, frame: StereoFrame) -> Prediction:
        """Predict one frame.

        Raises:
            InputError: it cannot, or the frame is not rectified.
        """
        start = time.perf_counter()
        chosen = self.pipeline
        if chosen is None or chosen.stereo is None or frame.right is None:
            chosen = self.single if self.single is not None else chosen
            if chosen is None or chosen.depth is None:
                return self._segmented(frame, start)
        scene = chosen(frame)
        if scene.frame.left is not frame.left:
            raise InputError(
                f"{frame.name}: is not rectified, so that what is predicted lies on other pixels "
                "than the labels. Rectify the images and make labels of those."
            )
        besides = None
        if self.depth is not None and scene.disparity is not None:
            besides = self.depth(scene.frame)
        seconds = time.perf_counter() - start
        found = _of_scene(scene, besides, self.sure_from, seconds)
        return found if "masks" in self.gives else without_masks(found)

    def _segmented(self, frame: StereoFrame, start: float) -> Prediction:
        if self.masks is None:
            raise InputError(f"{frame.name}: has one image, and {self.name} needs a pair.")
        found = self.masks(frame, depth=None, labels=None)
        prediction = Prediction(
            masks=found.masks,
            sure=_sure(found.masks, self.sure_from),
            semantic=found.semantic,
            seconds=time.perf_counter() - start,
        )
        return prediction if "masks" in self.gives else without_masks(prediction)


@dataclass(frozen=True, slots=True, kw_only=True)
class SavedScenes:
    """Scenes that ``rangemask predict`` wrote, matched to frames by name."""

    name: str
    folders: Mapping[str, Path]
    """By name of the frame."""
    trained_on: frozenset[str] = frozenset()
    labels: tuple[str, ...] | None = None
    kinds: frozenset[str] = frozenset({"disparity", "depth", "masks", "semantic"})

    def __call__(self, frame: StereoFrame) -> Prediction:
        """Read the scene of a frame.

        Raises:
            InputError: there is none, it is damaged, or it is of another picture.
        """
        if frame.name not in self.folders:
            raise InputError(f"{frame.name}: no scene was saved of this frame in {self.name}.")
        scene = Scene.load(self.folders[frame.name])
        mine, true = scene.frame, frame
        if (mine.height, mine.width) != (true.height, true.width):
            raise InputError(
                f"{frame.name}: the saved scene is {mine.width} x {mine.height} px, the data set's "
                f"frame {true.width} x {true.height}. Predict the data set's own images."
            )
        apart = np.abs(mine.left.astype(np.int16) - true.left).mean()
        if apart > _SAME_PICTURE:
            raise InputError(
                f"{frame.name}: the saved scene shows another picture than the data set's frame "
                "(or the same before it was rectified). Predict the data set's own images."
            )
        found = _of_scene(scene, None, 0.0, None)
        # Without a segmenter no objects are no answer; scenes of older programs do not say.
        roles = {model.role for model in scene.provenance.models}
        return without_masks(found) if roles and "masks" not in roles else found


def without_masks(prediction: Prediction) -> Prediction:
    """Of a predictor that looks for no objects: to find none is not its answer."""
    return replace(prediction, masks=None, sure=(), distances_m=None)


def kinds_of(stereo: object, depth: object, masks: object) -> frozenset[str]:
    """What models of these roles, or None, may say."""
    found = {"masks", "semantic"} if masks is not None else set()
    found |= {"disparity"} if stereo is not None else set()
    return frozenset(found | ({"depth"} if depth is not None else set()))


def _of_scene(
    scene: Scene, depth: DepthMap | None, sure_from: float, seconds: float | None
) -> Prediction:
    masks = scene.masks
    by_stereo = scene.disparity is not None
    if depth is None and not by_stereo:
        if scene.depth is not None:
            depth = DepthMap(values=scene.depth)
        elif scene.relative_depth is not None:
            depth = DepthMap(values=scene.relative_depth, kind="relative_inverse")
    metres = scene.depth is not None
    return Prediction(
        disparity=scene.disparity,
        stereo_depth_m=scene.depth if by_stereo else None,
        depth=depth,
        semantic=scene.semantic,
        masks=masks,
        sure=_sure(masks, sure_from),
        distances_m=tuple(one.distance.median for one in scene.objects) if metres else None,
        seconds=seconds,
    )


def _sure(masks: MaskSet, sure_from: float) -> tuple[int, ...]:
    return tuple(i for i, score in enumerate(masks.scores) if score >= sure_from)
