"""A model of ours as a folder: ``config.json``, ``model.safetensors`` and ``README.md``."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import Tensor, nn

from rangemask._version import __version__
from rangemask.atomic import atomic_folder
from rangemask.errors import InputError, OutputError
from rangemask.models.card import ModelCard
from rangemask.models.weights import load_strictly, read_weights

FORMAT = 1
CONFIG_FILE = "config.json"
WEIGHTS_FILE = "model.safetensors"
CARD_FILE = "README.md"
FILES = (CONFIG_FILE, WEIGHTS_FILE, CARD_FILE)
ARCHITECTURE = "architecture"
"""The entry of ``config.json`` that says what a network is; RangeMask's have none."""
RANGEMASK = "rangemask"


def write_folder(
    model: nn.Module,
    folder: Path,
    *,
    settings: Mapping[str, Any],
    card: ModelCard,
    page: str,
    architecture: str = RANGEMASK,
    overwrite: bool = False,
) -> None:
    """Write a model, whole or not at all.

    Args:
        model: its weights are written in the types that they have.
        folder: where to.
        settings: what rebuilds it, as plain values.
        card: where its weights come from.
        page: the card as Markdown.
        architecture: what it is.
        overwrite: replace a model that is there.

    Raises:
        OutputError: the folder exists and overwrite is off, holds anything but a model, or
            cannot be written.
    """
    named = {} if architecture == RANGEMASK else {ARCHITECTURE: architecture}
    config = {
        "format": FORMAT,
        "rangemask_version": __version__,
        **named,
        "model": dict(settings),
        "card": card.to_dict(),
    }
    weights = {name: value.contiguous() for name, value in model.state_dict().items()}
    check_replaceable(folder, overwrite=overwrite)
    with atomic_folder(folder, overwrite=overwrite) as staging:
        save_file(weights, staging / WEIGHTS_FILE, metadata={"format": "pt"})
        text = json.dumps(config, indent=2, allow_nan=False) + "\n"
        (staging / CONFIG_FILE).write_text(text, encoding="utf-8")
        (staging / CARD_FILE).write_text(page, encoding="utf-8")


def check_replaceable(folder: Path, *, overwrite: bool) -> None:
    """Refuse to take the place of anything but a model of ours.

    Raises:
        OutputError: something else, or a model and overwrite is off.
    """
    if not folder.is_dir():
        return  # `atomic_folder` speaks of files
    if not overwrite:
        raise OutputError(f"{folder}: already exists and is kept; pass overwrite=True.")
    others = sorted({file.name for file in folder.iterdir()} - set(FILES))
    if others:
        raise OutputError(
            f"{folder}: holds {', '.join(others[:3])} besides a student, which overwriting would "
            "remove; choose another folder."
        )


def own_folder(path: str | Path) -> Path:
    """The folder of a model, which its file of weights names as well."""
    path = Path(path).expanduser()
    return path.parent if path.name == WEIGHTS_FILE and path.is_file() else path


def read_config(folder: Path) -> dict[str, Any]:
    """What ``config.json`` says; ``model``, ``card`` and ``architecture`` are there.

    Raises:
        InputError: it is not there, cannot be read, or is something else's.
    """
    path = folder / CONFIG_FILE
    if not folder.is_dir():
        raise InputError(
            f"{folder}: no such folder. A student is a folder with {CONFIG_FILE} and "
            f"{WEIGHTS_FILE}."
        )
    try:
        values: Any = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise InputError(
            f"{folder}: holds no {CONFIG_FILE}; this is not a student that was saved."
        ) from error
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read ({error}).") from error
    if not isinstance(values, dict):
        raise InputError(f"{path}: must hold a table of settings, got {values!r:.60}.")
    missing = {"format", "model", "card"} - set(values)
    if missing:
        raise InputError(f"{path}: has no {', '.join(sorted(missing))}; this is not a student.")
    if values["format"] != FORMAT:
        raise InputError(
            f"{path}: has format {values['format']!r}, this version reads {FORMAT}. "
            "Update rangemask."
        )
    if not isinstance(values["card"], Mapping):
        raise InputError(f"{path}: its card must be a table, got {values['card']!r}.")
    return {ARCHITECTURE: RANGEMASK, **values}


def check_architecture(values: Mapping[str, Any], folder: Path, wanted: str) -> None:
    """Refuse a model of another kind.

    Raises:
        InputError: it is one.
    """
    found = values[ARCHITECTURE]
    if found != wanted:
        raise InputError(
            f"{folder / CONFIG_FILE}: is of a {found} network, not of {wanted}; "
            "rangemask.load_model reads either."
        )


def fill_from(model: nn.Module, folder: Path) -> None:
    """Give a model, built by its config, its weights.

    Raises:
        InputError: they are missing, damaged or of another configuration.
    """
    source = folder / WEIGHTS_FILE
    weights = _as_saved(read_weights(source), model)
    load_strictly(model, weights, name=f"the student of {folder / CONFIG_FILE}", source=source)


def _as_saved(weights: Mapping[str, Tensor], model: nn.Module) -> dict[str, Tensor]:
    """Weights in the types of a fresh model, which may have been saved in less precision."""
    types = {name: value.dtype for name, value in model.state_dict().items()}
    return {name: value.to(types.get(name, value.dtype)) for name, value in weights.items()}
