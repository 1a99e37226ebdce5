"""What an encoder starts from: DINOv2, or Depth Anything V2 with its DPT layers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Literal, TypeAlias, get_args

from torch import nn

from rangemask.errors import InputError
from rangemask.models.backbone_weights import canonical_backbone
from rangemask.models.card import ModelCard, Source
from rangemask.models.depth_anything import canonical_depth_anything
from rangemask.models.published import PUBLISHED, fetch
from rangemask.models.two_in_one.config import ENCODERS
from rangemask.models.two_in_one.encoder import DinoEncoder
from rangemask.models.two_in_one.network import TwoInOne
from rangemask.models.weights import find_weights, load_strictly, read_weights, sha256_of

Start: TypeAlias = Literal["dinov2", "depth-anything-v2"]
STARTS: tuple[Start, ...] = get_args(Start)


def start_encoder(
    model: TwoInOne, start: Start = "dinov2", *, checkpoint: str | Path | None = None
) -> None:
    """Give an encoder published weights, and the model's card a line of where they are from.

    What is not published keeps its values, and what learns keeps learning.

    Args:
        model: as ``build_two_in_one`` made it.
        start: ``dinov2``: the vision transformer (Apache-2.0); ``depth-anything-v2``: that and
            the DPT layers, as trained for relative depth (small is Apache-2.0; base and large
            are CC-BY-NC-4.0, so what learns from them must not be sold; giant has not been
            published).
        checkpoint: the published file; None downloads it, or takes it from the cache.

    Raises:
        InputError: a name is unknown, nothing is published under it, or the file does not fit.
    """
    if start not in STARTS:
        raise InputError(f"start must be one of {', '.join(STARTS)}, got {start!r}.")
    encoder = model.encoder
    if not isinstance(encoder, DinoEncoder):
        raise InputError(f"an encoder {type(encoder).__name__} cannot start from {start}.")
    name = f"{start}-{ENCODERS[model.config.encoder]}"
    if checkpoint is None and name not in PUBLISHED:
        there = ", ".join(one for one in ENCODERS if f"{start}-{ENCODERS[one]}" in PUBLISHED)
        raise InputError(
            f"no {start} has been published for {model.config.encoder}, only for {there}; "
            "give checkpoint=FILE, or choose another encoder."
        )
    source = find_weights(fetch(name) if checkpoint is None else checkpoint)
    if start == "dinov2":
        weights = canonical_backbone(read_weights(source))
        load_strictly(encoder.backbone.vit, weights, name=name, source=source)
    else:
        parts = nn.ModuleDict({"backbone": encoder.backbone, "pyramid": encoder.pyramid})
        found = canonical_depth_anything(read_weights(source))
        kept = {entry: value for entry, value in found.items() if not entry.startswith("depth.")}
        load_strictly(parts, kept, name=name, source=source)
    model.card = _with_source(model.card, name, start, source)


def _with_source(card: ModelCard, name: str, start: Start, file: Path) -> ModelCard:
    entry = PUBLISHED.get(name)
    line = Source(
        name=name,
        role="backbone" if start == "dinov2" else "backbone, pyramid",
        licence="unknown" if entry is None else entry.licence,
        terms="unknown" if entry is None else entry.terms,
        sha256=sha256_of(file),
    )
    return replace(card, sources=(*card.sources, line))
