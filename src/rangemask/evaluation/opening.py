"""From a path or a name to something that can be judged."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

from rangemask.backends.registry import BUILDERS, STUDENT, Role, load, names
from rangemask.errors import InputError, UnknownNameError
from rangemask.evaluation.predictors import PipelinePredictor, SavedScenes, kinds_of
from rangemask.pipeline import Pipeline
from rangemask.structures.scene_files import SCENE_FILE

RUN_FILE = "run.json"
_RUN_FORMAT, _RUN_VERSION = "rangemask-run", 1
_ROLES: tuple[Role, ...] = ("stereo", "depth", "masks")
_TWO_IN_ONE = "two-in-one"
_TWO_IN_ONE_ROLES = frozenset({"stereo", "depth"})
_PICKLED = (".pth", ".pt", ".bin", ".ckpt")
_UNSURE = 0.05
"""Average precision asks for the order of unsure objects, too."""
_SURE = 0.5
"""What a student stands by; it is the default of its segmenter."""


def open_predictor(
    run: str | Path,
    *,
    device: str = "auto",
    precision: str = "auto",
    depth_options: Mapping[str, Any] = MappingProxyType({}),
) -> PipelinePredictor | SavedScenes:
    """What is at a path, or has a name, ready to be judged.

    Args:
        run: folder of a training run (its best student), of a student, of scenes that
            ``rangemask predict`` wrote, or models by name: ``sgbm``, ``sgbm+geometry``,
            ``student:PATH``.
        device: where networks run.
        precision: what they compute in.
        depth_options: of the depth model, such as ``flip="fpp"`` of a two-in-one network.

    Raises:
        InputError: nothing that can be judged is there, or a run is of another version.
        UnknownNameError: no model has that name.
    """
    path = Path(run)
    if path.is_dir():
        return _of_folder(path, device, precision, depth_options)
    chosen: dict[Role, str] = {}
    for part in str(run).split("+"):
        plain = part.partition(":")[0]
        if plain == STUDENT:
            folder = Path(part.partition(":")[2]).expanduser()
            if (folder / RUN_FILE).is_file():
                return _of_run(folder, device, precision, depth_options)
            return open_student(
                folder, device=device, precision=precision, depth_options=depth_options
            )
        roles = [role for role in _ROLES if plain in BUILDERS[role]]
        if not roles:
            known = ", ".join(dict.fromkeys(name for role in _ROLES for name in names(role)))
            raise UnknownNameError(
                f"{run}: no such folder, and no model is called {plain!r}. Give the folder of a "
                f"run, of a student or of saved scenes, or some of {known} joined by +."
            )
        chosen[roles[0]] = part
    return open_teachers(chosen, device=device, precision=precision, depth_options=depth_options)


def open_teachers(
    chosen: Mapping[Role, str],
    *,
    device: str = "auto",
    precision: str = "auto",
    depth_options: Mapping[str, Any] = MappingProxyType({}),
) -> PipelinePredictor:
    """Models by role and name.

    Raises:
        InputError: a model cannot be loaded.
        UnknownNameError: no model has that name.
    """
    shared: dict[str, Any] = {}
    models: dict[str, Any] = {
        role: load(
            *(role, name, None, device, precision),
            options=depth_options if role == "depth" else {},
            shared=shared,
        )
        for role, name in chosen.items()
    }
    name = "+".join(chosen[role] for role in _ROLES if role in chosen)
    return _predictor(name, models)


def open_student(
    folder: Path,
    *,
    name: str | None = None,
    device: str = "auto",
    precision: str = "auto",
    depth_options: Mapping[str, Any] = MappingProxyType({}),
) -> PipelinePredictor:
    """A student with all the heads that can be judged, or a two-in-one network in both roles.

    Raises:
        InputError: the folder is no student, or it has no such head.
    """
    heads = _heads_of(folder)
    asked: dict[str, tuple[Role, dict[str, Any]]] = {}
    if "stereo" in heads:
        asked["stereo"] = ("stereo", {})
    if "depth" in heads:
        asked["depth"] = ("depth", dict(depth_options))
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
    return PipelinePredictor(
        name=name,
        pipeline=None if stereo is None else Pipeline(stereo, masks),
        single=None if depth is None else Pipeline(None, masks, depth=depth),
        depth=depth,
        masks=masks,
        gives=kinds_of(stereo, depth, masks) if gives is None else gives,
        sure_from=sure_from,
    )


def _of_folder(
    path: Path, device: str, precision: str, depth_options: Mapping[str, Any]
) -> PipelinePredictor | SavedScenes:
    if (path / RUN_FILE).is_file():
        return _of_run(path, device, precision, depth_options)
    if (path / "config.json").is_file():
        return open_student(path, device=device, precision=precision, depth_options=depth_options)
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


def _of_run(
    path: Path, device: str, precision: str, depth_options: Mapping[str, Any]
) -> PipelinePredictor:
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
    predictor = open_student(
        student,
        name=str(path),
        device=device,
        precision=precision,
        depth_options=depth_options,
    )
    frames = _read_json(path / "data.json") if (path / "data.json").is_file() else {}
    trained = frames.get("train")
    known = frozenset(map(str, trained)) if isinstance(trained, list) else frozenset()
    return replace(predictor, trained_on=known)


def _heads_of(folder: Path) -> frozenset[str]:
    """Heads by the student's own words; what is damaged there is said when it is loaded.

    A two-in-one network, or its authors' file, has no heads but plays both roles.
    """
    if folder.is_file() and folder.suffix.lower() in _PICKLED:
        return _TWO_IN_ONE_ROLES
    if folder.is_file() and folder.name == "model.safetensors":
        folder = folder.parent
    if not (folder / "config.json").is_file():
        raise InputError(
            f"{folder}: holds no config.json; a student is a folder with config.json and "
            "model.safetensors."
        )
    values = _read_json(folder / "config.json")
    if values.get("architecture") == _TWO_IN_ONE:
        return _TWO_IN_ONE_ROLES
    model = values.get("model")
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
