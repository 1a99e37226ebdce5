"""A student as a folder: ``config.json``, ``model.safetensors`` and ``README.md``, the card."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from torch import nn

from rangemask.errors import InputError
from rangemask.models.backbone_weights import canonical_backbone
from rangemask.models.card import UNTRAINED, ModelCard, Source, card_page
from rangemask.models.config import RangeMaskConfig
from rangemask.models.costs import parts_of
from rangemask.models.depth_anything import canonical_depth_anything
from rangemask.models.folders import (
    ARCHITECTURE,
    CONFIG_FILE,
    RANGEMASK,
    check_architecture,
    check_replaceable,
    fill_from,
    own_folder,
    read_config,
    write_folder,
)
from rangemask.models.loading import place
from rangemask.models.placement import find_device, find_precision, splits_heads
from rangemask.models.rangemask import RangeMask, build_rangemask
from rangemask.models.two_in_one.network import TwoInOne
from rangemask.models.two_in_one.pretrained import (
    TWO_IN_ONE,
    is_published_file,
    load_published_file,
    load_two_in_one,
)
from rangemask.models.weights import load_strictly, read_weights, sha256_of


def save_pretrained(model: RangeMask, folder: str | Path, *, overwrite: bool = False) -> Path:
    """Write a student, whole or not at all; see ``RangeMask.save_pretrained``."""
    folder = Path(folder)
    check_replaceable(folder, overwrite=overwrite)
    side = size_for(model.config, model.config.input_size_px)
    settings = model.config.to_dict()
    page = card_page(model.card, settings, parts_of(model, height=side, width=side))
    write_folder(model, folder, settings=settings, card=model.card, page=page, overwrite=overwrite)
    return folder


def size_for(config: RangeMaskConfig, side_px: float) -> int:
    """The multiple that a side of the input is rounded to."""
    return max(round(side_px / config.multiple_px), 1) * config.multiple_px


def from_pretrained(folder: str | Path) -> RangeMask:
    """Read a student; see ``RangeMask.from_pretrained``."""
    folder = own_folder(folder)
    values = read_config(folder)
    check_architecture(values, folder, RANGEMASK)
    model = build_rangemask(
        RangeMaskConfig.from_dict(values["model"]), ModelCard.from_dict(values["card"])
    )
    fill_from(model, folder)
    return model.train(False)


def load_model(
    folder: str | Path, *, device: str = "auto", precision: str = "auto"
) -> RangeMask | TwoInOne:
    """A network with its weights, on a device, frozen, ready to predict.

    Args:
        folder: what ``save_pretrained`` or training wrote, a student or a two-in-one network; or
            a checkpoint of TiO-Depth's authors.
        device: auto, cpu, cuda, cuda:1 or mps.
        precision: auto, float32, bfloat16 or float16; auto is float16 on CUDA, else float32.

    Raises:
        InputError: it is none of these, or the device or precision is not there.
    """
    where = find_device(device)
    dtype = find_precision(precision, where)
    model = _read_two_in_one(folder)
    if model is not None:
        place(model, where, dtype)
        return model
    student = from_pretrained(folder)
    place(student, where, dtype)
    student.compute_in(dtype, one_head_at_a_time=splits_heads(where, dtype))
    return student


def _read_two_in_one(path: str | Path) -> TwoInOne | None:
    """A two-in-one network; None for anything else."""
    folder = own_folder(path)
    if is_published_file(folder):
        return load_published_file(folder)
    if not (folder / CONFIG_FILE).is_file():
        return None
    architecture = read_config(folder)[ARCHITECTURE]
    if architecture not in (RANGEMASK, TWO_IN_ONE):
        raise InputError(
            f"{folder / CONFIG_FILE}: is of an architecture {architecture!r}; this version knows "
            f"{RANGEMASK} and {TWO_IN_ONE}. Update rangemask."
        )
    return load_two_in_one(folder) if architecture == TWO_IN_ONE else None


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
