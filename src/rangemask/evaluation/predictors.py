"""What can be judged on a data set: pipelines, students, runs, and scenes that were saved."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np

from rangemask.backends.protocols import DepthModel
from rangemask.backends.registry import BUILDERS, STUDENT, Role, load, names
from rangemask.errors import InputError, UnknownNameError
from rangemask.geometry.arrays import FloatMap
from rangemask.pipeline import Pipeline
from rangemask.structures import DepthMap, MaskSet, Scene, SemanticMap, StereoFrame
from rangemask.structures.scene_files import SCENE_FILE

RUN_FILE = "run.json"
_RUN_FORMAT, _RUN_VERSION = "rangemask-run", 1
_ROLES: tuple[Role, ...] = ("stereo", "depth", "masks")
_UNSURE = 0.05
"""Average precision asks for the order of unsure objects, too."""
_SURE = 0.5
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
    """A pipeline, or a segmenter alone.

    Where a pipeline has both a matcher and a depth model, both are asked and judged.
    """

    name: str
    pipeline: Pipeline | None
    masks: Any = None
    """A segmenter for frames that the pipeline cannot measure; the pipeline's own by default."""
    gives: frozenset[str] | None = None
    """What it says, where that is known better than from its parts."""
    sure_from: float = 0.0
    """Score from which the predictor stands by a mask."""
    trained_on: frozenset[str] = frozenset()

    @property
    def kinds(self) -> frozenset[str]:
        """What it may say."""
        if self.gives is not None:
            return self.gives
        pipeline = self.pipeline
        found = set() if self._segmenter is None else {"masks", "semantic"}
        if pipeline is not None and pipeline.stereo is not None:
            found.add("disparity")
        if pipeline is not None and pipeline.depth is not None:
            found.add("depth")
        return frozenset(found)

    @property
    def labels(self) -> tuple[str, ...] | None:
        """What its masks may be called."""
        labels: tuple[str, ...] | None = getattr(self._segmenter, "labels", None)
        return labels or None

    @property
    def _segmenter(self) -> Any:
        return self.masks if self.pipeline is None else self.pipeline.masks

    def __call__(self, frame: StereoFrame) -> Prediction:
        """Predict one frame.

        Raises:
            InputError: it cannot, or the frame is not rectified.
        """
        start = time.perf_counter()
        pipeline = self.pipeline
        if pipeline is None or (
            pipeline.depth is None and (frame.right is None or pipeline.stereo is None)
        ):
            return self._segmented(frame, start)
        scene = pipeline(frame)
        if scene.frame.left is not frame.left:
            raise InputError(
                f"{frame.name}: is not rectified, so that what is predicted lies on other pixels "
                "than the labels. Rectify the images and make labels of those."
            )
        depth = None
        if pipeline.depth is not None and scene.disparity is not None:
            model: DepthModel = pipeline.depth
            depth = model(scene.frame)
        return _of_scene(scene, depth, self.sure_from, time.perf_counter() - start)

    def _segmented(self, frame: StereoFrame, start: float) -> Prediction:
        if self._segmenter is None:
            raise InputError(f"{frame.name}: has one image, and {self.name} needs a pair.")
        found = self._segmenter(frame, depth=None, labels=None)
        return Prediction(
            masks=found.masks,
            sure=_sure(found.masks, self.sure_from),
            semantic=found.semantic,
            seconds=time.perf_counter() - start,
        )


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
        return _of_scene(scene, None, 0.0, None)


def open_predictor(
    run: str | Path, *, device: str = "auto", precision: str = "auto"
) -> PipelinePredictor | SavedScenes:
    """What is at a path, or has a name, ready to be judged.

    Args:
        run: folder of a training run (its best student), of a student, of scenes that
            ``rangemask predict`` wrote, or models by name: ``sgbm``, ``sgbm+geometry``,
            ``student:PATH``.
        device: where networks run.
        precision: what they compute in.

    Raises:
        InputError: nothing that can be judged is there, or a run is of another version.
        UnknownNameError: no model has that name.
    """
    path = Path(run)
    if path.is_dir():
        return _of_folder(path, device, precision)
    chosen: dict[Role, str] = {}
    for part in str(run).split("+"):
        plain = part.partition(":")[0]
        if plain == STUDENT:
            return open_student(Path(part.partition(":")[2]), device=device, precision=precision)
        roles = [role for role in _ROLES if plain in BUILDERS[role]]
        if not roles:
            known = ", ".join(dict.fromkeys(name for role in _ROLES for name in names(role)))
            raise UnknownNameError(
                f"{run}: no such folder, and no model is called {plain!r}. Give the folder of a "
                f"run, of a student or of saved scenes, or some of {known} joined by +."
            )
        chosen[roles[0]] = part
    return open_teachers(chosen, device=device, precision=precision)


def open_teachers(
    chosen: Mapping[Role, str], *, device: str = "auto", precision: str = "auto"
) -> PipelinePredictor:
    """Models by role and name.

    Raises:
        InputError: a model cannot be loaded.
        UnknownNameError: no model has that name.
    """
    shared: dict[str, Any] = {}
    models: dict[str, Any] = {
        role: load(role, name, None, device, precision, shared=shared)
        for role, name in chosen.items()
    }
    name = "+".join(chosen[role] for role in _ROLES if role in chosen)
    return _predictor(name, models)


def open_student(
    folder: Path, *, name: str | None = None, device: str = "auto", precision: str = "auto"
) -> PipelinePredictor:
    """A student with all the heads that can be judged.

    Raises:
        InputError: the folder is no student, or it has no such head.
    """
    heads = _heads_of(folder)
    asked: dict[str, tuple[Role, dict[str, Any]]] = {}
    if "stereo" in heads:
        asked["stereo"] = ("stereo", {})
    if "depth" in heads:
        asked["depth"] = ("depth", {})
    if heads & {"masks", "semantic"}:
        asked["masks"] = ("masks", {"min_score": _UNSURE})
    if not asked:
        raise InputError(
            f"{folder}: this student has {', '.join(sorted(heads)) or 'no heads'}, and nothing of "
            "that can be judged without prompts."
        )
    shared: dict[str, Any] = {}
    models = {
        key: load(role, STUDENT, folder, device, precision, options=options, shared=shared)
        for key, (role, options) in asked.items()
    }
    gives = {"stereo": "disparity", "depth": "depth", "masks": "masks", "semantic": "semantic"}
    return _predictor(
        name or str(folder),
        models,
        gives=frozenset(gives[head] for head in heads if head in gives),
        sure_from=_SURE,
    )


def _predictor(
    name: str,
    models: Mapping[str, Any],
    *,
    gives: frozenset[str] | None = None,
    sure_from: float = 0.0,
) -> PipelinePredictor:
    stereo, depth, masks = (models.get(role) for role in _ROLES)
    pipeline = None
    if stereo is not None or depth is not None:
        pipeline = Pipeline(stereo, masks, depth=depth)
    return PipelinePredictor(
        name=name, pipeline=pipeline, masks=masks, gives=gives, sure_from=sure_from
    )


def _of_folder(path: Path, device: str, precision: str) -> PipelinePredictor | SavedScenes:
    if (path / RUN_FILE).is_file():
        return _of_run(path, device, precision)
    if (path / "config.json").is_file():
        return open_student(path, device=device, precision=precision)
    if (path / SCENE_FILE).is_file():
        return SavedScenes(name=str(path), folders={path.resolve().name: path})
    scenes = sorted(path.glob(f"*/{SCENE_FILE}"))
    if scenes:
        return SavedScenes(
            name=str(path), folders={file.parent.name: file.parent for file in scenes}
        )
    raise InputError(
        f"{path}: holds no training run ({RUN_FILE}), no student (config.json) and no saved "
        f"scenes (NAME/{SCENE_FILE})."
    )


def _of_run(path: Path, device: str, precision: str) -> PipelinePredictor:
    state = _read_json(path / RUN_FILE)
    if state.get("format") != _RUN_FORMAT:
        raise InputError(f"{path}: is not the folder of a training run.")
    version = state.get("format_version")
    if version != _RUN_VERSION:
        older = isinstance(version, int) and version < _RUN_VERSION
        raise InputError(
            f"{path}: was written by {'an older' if older else 'a newer'} rangemask (run format "
            f"{version}, this one has {_RUN_VERSION}). Judge its student instead: {path / 'best'}."
        )
    student = next((path / name for name in ("best", "last") if (path / name).is_dir()), None)
    if student is None:
        raise InputError(
            f"{path}: holds no student yet (best/); the run's state is {state.get('state')!r}. "
            "Let it finish its first epoch."
        )
    predictor = open_student(student, name=str(path), device=device, precision=precision)
    frames = _read_json(path / "data.json") if (path / "data.json").is_file() else {}
    trained = frames.get("train")
    return PipelinePredictor(
        name=predictor.name,
        pipeline=predictor.pipeline,
        masks=predictor.masks,
        gives=predictor.gives,
        sure_from=predictor.sure_from,
        trained_on=frozenset(map(str, trained)) if isinstance(trained, list) else frozenset(),
    )


def _heads_of(folder: Path) -> frozenset[str]:
    """Heads by the student's own words; what is damaged there is said when it is loaded."""
    if not (folder / "config.json").is_file():
        raise InputError(
            f"{folder}: holds no config.json; a student is a folder with config.json and "
            "model.safetensors."
        )
    model = _read_json(folder / "config.json").get("model")
    if not isinstance(model, Mapping):
        raise InputError(f"{folder / 'config.json'}: has no settings of a model.")
    heads = ("depth", "stereo", "masks", "prompts", "semantic", "fusion")
    return frozenset(head for head in heads if model.get(head) is not None)


def _read_json(path: Path) -> dict[str, Any]:
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read ({error}).") from error
    if not isinstance(values, dict):
        raise InputError(f"{path}: is damaged, it must hold a table.")
    return values


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
