"""A run on disk: what was asked, on what, with what, and what came of it.

runs/depth-1/
  run.json            stage, state, version of this layout
  config.yaml         every setting, resolved
  environment.json    versions, device, git state
  data.json           frames of both sides, and a fingerprint of them
  logs/metrics.csv    every number logged; tensorboard/ holds them as well
  checkpoints/        last.ckpt to resume from, best.ckpt
  best/ last/         students: what ``load_model`` takes
  predictions/        of some validation frames, every epoch
  *.png, report.html  curves, and those predictions as a page
"""

from __future__ import annotations

import json
import platform
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path
from typing import Any, Protocol

import yaml

from rangemask._version import __version__
from rangemask.atomic import atomic_file
from rangemask.errors import InputError, OutputError
from rangemask.training.config import RunConfig

FORMAT = "rangemask-run"
FORMAT_VERSION = 1
RUN_FILE = "run.json"
_PACKAGES = ("torch", "lightning", "timm", "transformers", "numpy", "hydra-core")
_GIT_PATIENCE_S = 5


class Settings(Protocol):
    """What a run was asked, of whatever kind it is."""

    @property
    def stage(self) -> str:
        """Its name."""
        ...

    @property
    def run(self) -> RunConfig:
        """Where it goes."""
        ...

    def to_dict(self) -> dict[str, Any]:
        """As plain values."""
        ...


@dataclass(frozen=True, slots=True)
class RunFolder:
    """Where one run is."""

    path: Path

    @property
    def checkpoints(self) -> Path:
        """Lightning's, to resume from."""
        return self.path / "checkpoints"

    @property
    def last_checkpoint(self) -> Path:
        """Of the last whole epoch."""
        return self.checkpoints / "last.ckpt"

    @property
    def predictions(self) -> Path:
        """Of validation frames, a folder per epoch."""
        return self.path / "predictions"

    @property
    def metrics_csv(self) -> Path:
        """Everything that was logged."""
        return self.path / "logs" / "metrics.csv"

    @classmethod
    def create(cls, run: RunConfig, stage: str) -> RunFolder:
        """A new folder, or with ``resume`` one that is there.

        Raises:
            InputError: there is nothing to resume, or it is of another version or stage.
            OutputError: the folder is taken, or cannot be made.
        """
        root = Path(run.root)
        if run.resume:
            if run.name is None:
                raise InputError("run.resume=true needs run.name=FOLDER, the run to go on with.")
            folder = cls.open(root / run.name)
            if folder.read()["stage"] != stage:
                raise InputError(
                    f"{folder.path}: is a run of stage {folder.read()['stage']}, not of {stage}."
                )
            if not folder.last_checkpoint.is_file():
                raise InputError(f"{folder.path}: holds no checkpoint to go on from.")
            return folder
        path = root / run.name if run.name is not None else _free(root, stage)
        if path.exists() and any(path.iterdir()):
            raise OutputError(
                f"{path}: is taken. Choose another run.name, or run.resume=true to go on with it."
            )
        try:
            path.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise OutputError(f"{path}: cannot be made ({error.strerror or error}).") from error
        folder = cls(path)
        folder.write_state(stage, "started")
        return folder

    @classmethod
    def open(cls, path: str | Path) -> RunFolder:
        """A run that is there.

        Raises:
            InputError: it is no run, or of a version that this program does not read.
        """
        folder = cls(Path(path))
        values = folder.read()
        version = values.get("format_version")
        if values.get("format") != FORMAT:
            raise InputError(f"{folder.path}: is not the folder of a training run.")
        if version != FORMAT_VERSION:
            older = isinstance(version, int) and version < FORMAT_VERSION
            raise InputError(
                f"{folder.path}: was written by {'an older' if older else 'a newer'} rangemask "
                f"(run format {version}, this one has {FORMAT_VERSION}). Its students in best/ and "
                "last/ load all the same; to train on, start a new run with model.start_from."
            )
        return folder

    def read(self) -> dict[str, Any]:
        """What ``run.json`` says.

        Raises:
            InputError: it is missing or damaged.
        """
        file = self.path / RUN_FILE
        try:
            values = json.loads(file.read_text(encoding="utf-8"))
        except FileNotFoundError as error:
            raise InputError(
                f"{self.path}: holds no {RUN_FILE}; this is no training run."
            ) from error
        except (OSError, ValueError) as error:
            raise InputError(f"{file}: cannot be read ({error}).") from error
        if not isinstance(values, dict):
            raise InputError(f"{file}: is damaged.")
        return values

    def write_state(self, stage: str, state: str, **more: Any) -> None:
        """Say how far the run is: started, finished, stopped, failed."""
        values = {
            "format": FORMAT,
            "format_version": FORMAT_VERSION,
            "stage": stage,
            "state": state,
            "rangemask_version": __version__,
            **more,
        }
        self.write_json(RUN_FILE, values)

    def write_json(self, name: str, values: Mapping[str, Any]) -> None:
        """Write a table, whole or not at all."""
        with atomic_file(self.path / name) as staging:
            staging.write_text(json.dumps(values, indent=2, default=str) + "\n", encoding="utf-8")

    def write_config(self, config: Settings) -> None:
        """Write every setting, so that the run can be made again."""
        plain = json.loads(json.dumps(config.to_dict()))
        with atomic_file(self.path / "config.yaml") as staging:
            staging.write_text(yaml.safe_dump(plain, sort_keys=False), encoding="utf-8")


def environment() -> dict[str, Any]:
    """What a run was made with: versions, machine, git state of the working folder."""
    return {
        "rangemask": __version__,
        "python": platform.python_version(),
        "platform": platform.platform(),
        "packages": {name: _version(name) for name in _PACKAGES},
        "git": _git(),
    }


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None


def _git() -> dict[str, Any] | None:
    """Commit and whether files differ from it; None outside a repository."""
    commit = _git_says("rev-parse", "HEAD")
    if commit is None:
        return None
    return {"commit": commit, "changed": bool(_git_says("status", "--porcelain"))}


def _git_says(*arguments: str) -> str | None:
    try:
        done = subprocess.run(  # noqa: S603 - fixed words
            ["git", *arguments],  # noqa: S607 - whichever git the person has
            capture_output=True,
            text=True,
            timeout=_GIT_PATIENCE_S,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def _free(root: Path, stage: str) -> Path:
    number = 1
    while (root / f"{stage}-{number}").exists():
        number += 1
    return root / f"{stage}-{number}"
