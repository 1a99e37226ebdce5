"""The teachers of a run: loaded once in a process, asked frame by frame."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from functools import partial
from types import MappingProxyType
from typing import Any, Protocol, TypeVar, runtime_checkable

import numpy as np

from rangemask._version import __version__
from rangemask.backends.protocols import DepthModel, Segmenter, StereoMatcher
from rangemask.backends.registry import WITHOUT_WEIGHTS, Role, load
from rangemask.backends.residence import Residence
from rangemask.backends.stereo.to_depth import depth_of_match
from rangemask.camera.rectify import Rectifier
from rangemask.data.store import FrameLabels, Kind, Recipe
from rangemask.fusion.measure import measure_masks
from rangemask.geometry import Rig
from rangemask.geometry.arrays import FloatMap
from rangemask.labels.config import LabelConfig
from rangemask.labels.quality import image_quality, mask_quality, rounded, stereo_quality
from rangemask.labels.trust import agreeing, agreement, left_right, mirrored, weigh
from rangemask.structures import (
    DepthMap,
    MaskSet,
    Passport,
    Segmentation,
    SemanticMap,
    StereoFrame,
    StereoMatch,
)
from rangemask.structures.scene_files import rig_to_json

_Answer = TypeVar("_Answer")

BACKGROUND = "background"
"""The class of what no mask covers, where masks become a semantic map."""
UNKNOWN = "unknown"

_LOOK_BACK_THEMSELVES = frozenset({"sgbm"})
STEREO_KINDS: tuple[Kind, ...] = ("disparity", "confidence", "weight")
MASK_KINDS: tuple[Kind, ...] = ("masks", "semantic")


@runtime_checkable
class KnowsClasses(Protocol):
    """A segmenter that can list its labels beforehand."""

    @property
    def classes(self) -> tuple[str, ...]:
        """All labels that it gives, objects first."""
        ...


@runtime_checkable
class Prepares(Protocol):
    """A segmenter that loads what labels need."""

    def prepare(self, labels: Sequence[str] | None = None) -> None:
        """Load it, so that the passport is complete before the first frame."""
        ...


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class Judged:
    """One frame with its labels and what they are worth."""

    frame: StereoFrame
    """As the labels fit it: rectified where its rig was not."""
    labels: FrameLabels
    quality: dict[str, float]


class Teachers:
    """All teachers of a run.

    Args:
        config: which they are.
        rig: of the pairs, which the labels depend on.

    Raises:
        InputError: one cannot be loaded.
    """

    def __init__(self, config: LabelConfig, rig: Rig | None = None) -> None:
        self.config = config
        self._rig = None if rig is None else _short_hash(rig_to_json(rig))
        self._shared: dict[str, Any] = {}
        self._residence = Residence(config.memory_budget)
        self.stereo: StereoMatcher | None = self._load(
            "stereo", config.stereo, config.stereo_options
        )
        self.second: StereoMatcher | None = self._load("stereo", config.second_stereo)
        self.depth: DepthModel | None = self._load("depth", config.depth)
        self.masks: Segmenter | None = self._load("masks", config.masks, config.mask_options)
        self._rectify = Rectifier(config.field_of_view)
        wanted = config.left_right
        itself = config.stereo in _LOOK_BACK_THEMSELVES
        self._looks_back = wanted == "on" or (wanted == "auto" and not itself)

    def _load(
        self, role: Role, name: str | None, options: Mapping[str, Any] = MappingProxyType({})
    ) -> Any:
        if name is None:
            return None
        if name in WITHOUT_WEIGHTS:
            return load(role, name, options=options)
        device, precision = self.config.device, self.config.precision
        model = load(role, name, None, device, precision, options=options, shared=self._shared)
        if isinstance(model, Prepares):
            model.prepare(self.config.labels)
        self._residence.admit(model)
        return model

    @property
    def classes(self) -> tuple[str, ...]:
        """Every class that the labels may have, in the order of their ids."""
        own = self.masks.classes if isinstance(self.masks, KnowsClasses) else ()
        if self.config.labels is None:
            return own
        return (*self.config.labels, BACKGROUND)

    @property
    def recipes(self) -> dict[Kind, Recipe]:
        """How each kind of label is made."""
        recipes: dict[Kind, Recipe] = {}
        config = self.config
        if self.stereo is not None:
            second = () if self.second is None else (_as(self.second.passport, "second stereo"),)
            options = {"left_right": self._looks_back, "trust": asdict(config.trust)}
            models = (self.stereo.passport, *second)
            recipes |= dict.fromkeys(STEREO_KINDS, self._recipe(STEREO_KINDS, models, options))
        if self.depth is not None:
            recipes["depth"] = self._recipe(("depth",), (self.depth.passport,), {})
        if self.masks is not None:
            # The segmenter sees depth, so what made that has a part in the masks.
            seen = [one.passport for one in (self.stereo, self.depth) if one is not None]
            options = {"labels": None if config.labels is None else list(config.labels)}
            models = (self.masks.passport, *seen)
            recipes |= dict.fromkeys(MASK_KINDS, self._recipe(MASK_KINDS, models, options))
        return recipes

    def _recipe(
        self, kinds: Sequence[Kind], models: tuple[Passport, ...], options: dict[str, Any]
    ) -> Recipe:
        config = self.config
        common = {"field_of_view": config.field_of_view, "maps": config.maps, "rig": self._rig}
        return Recipe(
            kinds=tuple(kinds),
            models=models,
            options={**common, **options},
            rangemask_version=__version__,
        )

    def kinds_for(self, *, pair: bool) -> tuple[Kind, ...]:
        """What is made of a pair, or of a single image."""
        return tuple(kind for kind in self.recipes if pair or kind not in STEREO_KINDS)

    def __call__(
        self, frame: StereoFrame, early: Callable[[FrameLabels], None] | None = None
    ) -> Judged:
        """Label one frame.

        Args:
            frame: to look at.
            early: called with those labels that are there before the segmenter begins.

        Raises:
            InputError: a teacher cannot work with it.
        """
        frame = self._rectify(frame)
        quality = image_quality(frame.left)
        labels = FrameLabels()
        seen: DepthMap | None = None
        if self.stereo is not None and frame.right is not None:
            match = possible(self._ask(self.stereo, frame), frame.rig)
            weight, scores = self._weight(frame, match)
            quality |= {**stereo_quality(match, weight), **scores}
            seen = depth_of_match(match, frame)
            labels = replace(
                labels, disparity=match.disparity, confidence=match.confidence, weight=weight
            )
        if self.depth is not None:
            mono = self._ask(self.depth, frame)
            labels = replace(labels, depth=mono)
            seen = mono if seen is None else seen
        if early is not None:
            early(labels)
        if self.masks is not None:
            found = self._ask(self.masks, frame, depth=seen, labels=self.config.labels)
            quality |= mask_quality(found.masks)
            labels = replace(
                labels,
                masks=found.masks,
                distances_m=self._distances(found.masks, seen, frame),
                semantic=self._semantic(found),
            )
        return Judged(frame=frame, labels=labels, quality=quality)

    def _ask(self, model: Callable[..., _Answer], *frame: StereoFrame, **more: Any) -> _Answer:
        return self._residence.ask(model, partial(model, *frame, **more))

    def _weight(self, frame: StereoFrame, match: StereoMatch) -> tuple[FloatMap, dict[str, float]]:
        opinions: list[FloatMap] = []
        scores: dict[str, float] = {}
        known = np.isfinite(match.disparity) & ~match.occluded & ~match.filled
        if self._looks_back and self.stereo is not None:
            back = self._ask(self.stereo, mirrored(frame)).disparity[:, ::-1]
            opinion = left_right(match.disparity, np.ascontiguousarray(back), self.config.trust)
            opinions.append(opinion)
            scores["left-right"] = rounded(agreeing(opinion, known))
        if self.second is not None:
            second = self._ask(self.second, frame)
            opinion = agreement(match.disparity, second.disparity, self.config.trust)
            opinions.append(opinion)
            scores["agreement"] = rounded(agreeing(opinion, known))
        return weigh(match, *opinions), scores

    def _distances(
        self, masks: MaskSet, depth: DepthMap | None, frame: StereoFrame
    ) -> tuple[float, ...]:
        if depth is None or depth.kind != "metric_m":
            return ()
        return tuple(one.distance.median for one in measure_masks(masks, depth, frame.rig))

    def _semantic(self, found: Segmentation) -> SemanticMap | None:
        if found.semantic is not None or self.config.labels is None:
            return found.semantic
        return painted(found.masks, self.config.labels)


def possible(match: StereoMatch, rig: Rig | None) -> StereoMatch:
    """A match without what would lie behind infinity; swapped images give much of that."""
    doffs_px = 0.0 if rig is None or rig.right is None else rig.doffs_px
    behind = match.disparity + np.float32(doffs_px) <= 0
    if not behind.any():
        return match
    return replace(
        match,
        disparity=np.where(behind, np.float32(np.nan), match.disparity),
        confidence=np.where(behind, np.float32(0), match.confidence),
    )


def painted(masks: MaskSet, classes: Sequence[str]) -> SemanticMap:
    """Masks as one class per pixel: where some overlap, the one with the best score."""
    names = (UNKNOWN, *classes, BACKGROUND)
    ids = np.full((masks.height, masks.width), len(names) - 1, dtype=np.uint8)
    for index in np.argsort(masks.scores, kind="stable"):
        ids[masks.rles[index].decode()] = names.index(masks.labels[index])
    return SemanticMap(ids, names)


def _short_hash(values: Any) -> str:
    text = json.dumps(values, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _as(passport: Passport, role: str) -> Passport:
    return replace(passport, role=role)
