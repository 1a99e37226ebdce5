"""A student as a folder: ``config.json``, ``model.safetensors`` and ``README.md``, the card."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from safetensors.torch import save_file
from torch import Tensor, nn

from rangemask._version import __version__
from rangemask.atomic import atomic_folder
from rangemask.errors import InputError, OutputError
from rangemask.models.backbone_weights import canonical_backbone
from rangemask.models.card import UNTRAINED, ModelCard, Source, card_page
from rangemask.models.config import RangeMaskConfig
from rangemask.models.costs import parts_of
from rangemask.models.depth_anything import canonical_depth_anything
from rangemask.models.loading import place
from rangemask.models.placement import find_device, find_precision, splits_heads
from rangemask.models.rangemask import RangeMask, build_rangemask
from rangemask.models.weights import load_strictly, read_weights, sha256_of

FORMAT = 1
CONFIG_FILE = "config.json"
WEIGHTS_FILE = "model.safetensors"
CARD_FILE = "README.md"
FILES = (CONFIG_FILE, WEIGHTS_FILE, CARD_FILE)


def save_pretrained(model: RangeMask, folder: str | Path, *, overwrite: bool = False) -> Path:
    """Write a student, whole or not at all; see ``RangeMask.save_pretrained``."""
    folder = Path(folder)
    _check_free(folder, overwrite=overwrite)
    side = size_for(model.config, model.config.input_size_px)
    settings = model.config.to_dict()
    config = {
        "format": FORMAT,
        "rangemask_version": __version__,
        "model": settings,
        "card": model.card.to_dict(),
    }
    page = card_page(model.card, settings, parts_of(model, height=side, width=side))
    weights = {name: value.contiguous() for name, value in model.state_dict().items()}
    with atomic_folder(folder, overwrite=overwrite) as staging:
        save_file(weights, staging / WEIGHTS_FILE, metadata={"format": "pt"})
        text = json.dumps(config, indent=2, allow_nan=False) + "\n"
        (staging / CONFIG_FILE).write_text(text, encoding="utf-8")
        (staging / CARD_FILE).write_text(page, encoding="utf-8")
    return folder


def _check_free(folder: Path, *, overwrite: bool) -> None:
    """Refuse to take the place of anything but a student."""
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


def size_for(config: RangeMaskConfig, side_px: float) -> int:
    """The multiple that a side of the input is rounded to."""
    return max(round(side_px / config.multiple_px), 1) * config.multiple_px


def from_pretrained(folder: str | Path) -> RangeMask:
    """Read a student; see ``RangeMask.from_pretrained``."""
    folder = Path(folder).expanduser()
    if folder.name == WEIGHTS_FILE and folder.is_file():
        folder = folder.parent
    values = _read_config(folder)
    model = build_rangemask(
        RangeMaskConfig.from_dict(values["model"]), ModelCard.from_dict(values["card"])
    )
    source = folder / WEIGHTS_FILE
    name = f"the student of {folder / CONFIG_FILE}"
    load_strictly(model, _as_saved(read_weights(source), model), name=name, source=source)
    return model.train(False)


def _as_saved(weights: Mapping[str, Tensor], model: RangeMask) -> dict[str, Tensor]:
    """Weights in the types of a fresh model, which may have been saved in less precision."""
    types = {name: value.dtype for name, value in model.state_dict().items()}
    return {name: value.to(types.get(name, value.dtype)) for name, value in weights.items()}


def _read_config(folder: Path) -> dict[str, Any]:
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
    return values


def load_model(folder: str | Path, *, device: str = "auto", precision: str = "auto") -> RangeMask:
    """A student with its weights, on a device, frozen, ready to predict.

    Args:
        folder: what ``save_pretrained`` or training wrote.
        device: auto, cpu, cuda, cuda:1 or mps.
        precision: auto, float32, bfloat16 or float16; auto is float16 on CUDA, else float32.

    Raises:
        InputError: the folder is not a student, or the device or precision is not there.
    """
    where = find_device(device)
    dtype = find_precision(precision, where)
    model = from_pretrained(folder)
    place(model, where, dtype)
    model.compute_in(dtype, one_head_at_a_time=splits_heads(where, dtype))
    return model


def start_from_backbone(model: RangeMask, checkpoint: str | Path, source: Source) -> None:
    """Put published DINOv2 weights into a student's backbone, and a line into its card.

    Raises:
        InputError: the file cannot be read or is of another backbone.
    """
    weights = canonical_backbone(read_weights(checkpoint))
    name = model.config.backbone
    load_strictly(model.backbone.vit, weights, name=name, source=checkpoint)
    _add_source(model, source, checkpoint)


def start_from_depth_anything(model: RangeMask, checkpoint: str | Path, source: Source) -> None:
    """Put Depth Anything V2 weights into backbone, pyramid and, if there is one, depth head.

    Args:
        model: of the same size of backbone.
        checkpoint: the authors' ``.pth`` or transformers' safetensors.
        source: for the card; its hash is filled in.

    Raises:
        InputError: the file cannot be read, is of another size, or the model has no pyramid.
    """
    if model.pyramid is None:
        raise InputError("a student without a pyramid cannot start from Depth Anything V2.")
    weights = canonical_depth_anything(read_weights(checkpoint))
    parts = nn.ModuleDict({"backbone": model.backbone, "pyramid": model.pyramid})
    if model.depth is None:
        weights = {n: value for n, value in weights.items() if not n.startswith("depth.")}
    else:
        parts["depth"] = model.depth
    load_strictly(parts, weights, name=f"{model.config.backbone} and DPT", source=checkpoint)
    _add_source(model, source, checkpoint)


def _add_source(model: RangeMask, source: Source, checkpoint: str | Path) -> None:
    known = replace(source, sha256=sha256_of(checkpoint))
    training = model.card.training
    if training == UNTRAINED:
        training = f"{source.name} ({source.role}) as given; all other parts have random weights."
    sources = (*model.card.sources, known)
    model.card = replace(model.card, sources=sources, training=training)
