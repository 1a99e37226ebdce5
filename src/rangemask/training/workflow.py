"""A workflow: stages one after the other, each on the student of the one before."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from rangemask.atomic import atomic_folder
from rangemask.errors import InputError, OutputError
from rangemask.training.config import RunConfig, TrainConfig
from rangemask.training.fit import Fitted, fit
from rangemask.training.run_folder import RUN_FILE, RunFolder

logger = logging.getLogger(__name__)

STAGE = "workflow"


@dataclass(frozen=True, kw_only=True, slots=True)
class Workflow:
    """Steps with one data set, one split and one seed.

    Raises:
        InputError: there are no steps.
    """

    steps: tuple[TrainConfig, ...]
    """Each whole; names of runs and what they start from are filled in as they come."""
    run: RunConfig = field(default_factory=RunConfig)

    def __post_init__(self) -> None:
        if not self.steps:
            raise InputError("a workflow needs steps, such as steps=[{stage: depth}].")

    @classmethod
    def from_dict(cls, settings: Mapping[str, Any]) -> Workflow:
        """From settings with ``steps``: each step holds what it does differently from the rest.

        Raises:
            InputError: a setting is unknown or impossible; the step is named.
        """
        shared = {name: value for name, value in settings.items() if name not in {"steps", "stage"}}
        steps = settings.get("steps") or ()
        if not isinstance(steps, Sequence) or not all(isinstance(one, Mapping) for one in steps):
            raise InputError(f"steps must be a list of tables, got {steps!r}.")
        configs = []
        for number, step in enumerate(steps, start=1):
            try:
                configs.append(TrainConfig.from_dict(_merged(shared, step)))
            except InputError as error:
                raise InputError(f"step {number} ({step.get('stage')}): {error}") from error
        run = TrainConfig.from_dict({"run": settings.get("run", {})}).run
        return cls(steps=tuple(configs), run=run)


def run_workflow(workflow: Workflow, *, progress: bool = True) -> Fitted:
    """Train all steps; the student of the last one is left in ``best``.

    With ``run.resume`` finished steps are kept, and the one that was interrupted goes on.

    Raises:
        InputError: a step's settings, data or checkpoints cannot be used.
        OutputError: the folder is taken or cannot be written.
    """
    folder = _folder(workflow.run)
    folder.write_state(STAGE, "running", steps=[step.stage for step in workflow.steps])
    before: Path | None = None
    scores: dict[str, float] = {}
    for number, step in enumerate(workflow.steps, start=1):
        name = f"{number}-{step.stage}"
        logger.info("step %d of %d: %s", number, len(workflow.steps), step.stage)
        fitted = _step(folder, name, step, before, progress=progress)
        if not fitted.finished:
            folder.write_state(STAGE, "stopped", at=name)
            return replace(fitted, folder=folder.path)
        before = fitted.best
        scores |= {f"{step.stage}/{score}": value for score, value in fitted.scores.items()}
    with atomic_folder(folder.path / "best", overwrite=True) as staging:
        shutil.copytree(str(before), staging, dirs_exist_ok=True)
    folder.write_state(STAGE, "finished", best=scores)
    return Fitted(folder=folder.path, best=folder.path / "best", scores=scores, finished=True)


def _step(
    folder: RunFolder, name: str, step: TrainConfig, before: Path | None, *, progress: bool
) -> Fitted:
    path = folder.path / name
    run = replace(step.run, root=str(folder.path), name=name, resume=False)
    if (path / RUN_FILE).is_file():
        earlier = RunFolder.open(path)
        state = earlier.read()
        if state["state"] == "finished":
            logger.info("%s was finished before and is kept", name)
            return Fitted(
                folder=path, best=path / "best", scores=state.get("best", {}), finished=True
            )
        if earlier.last_checkpoint.is_file():
            run = replace(run, resume=True)
        else:
            shutil.rmtree(path)  # it had not come to the end of its first epoch
    model = step.model
    if before is not None:
        model = replace(model, start_from=str(before), backbone=None, depth_anything=None)
    return fit(replace(step, run=run, model=model), progress=progress)


def _folder(run: RunConfig) -> RunFolder:
    path = Path(run.root) / (run.name or STAGE)
    if (path / RUN_FILE).is_file():
        folder = RunFolder.open(path)
        if folder.read()["stage"] != STAGE:
            raise InputError(f"{path}: is no workflow but a run of one stage.")
        if not run.resume:
            raise OutputError(
                f"{path}: is taken. Choose another run.name, or run.resume=true to go on with it."
            )
        return folder
    if path.exists() and any(path.iterdir()):
        raise OutputError(f"{path}: is taken by other files. Choose another run.name.")
    path.mkdir(parents=True, exist_ok=True)
    return RunFolder(path)


def _merged(shared: Mapping[str, Any], step: Mapping[str, Any]) -> dict[str, Any]:
    """A step's tables over those of the workflow."""
    merged = dict(shared)
    for name, value in step.items():
        known = merged.get(name)
        tables = isinstance(value, Mapping) and isinstance(known, Mapping)
        merged[name] = {**known, **value} if tables else value  # type: ignore[dict-item]
    return merged
