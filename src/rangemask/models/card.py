"""The model card: where weights come from, what may be done with them, what they cost."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

from rangemask.errors import InputError
from rangemask.models.published import Terms

UNKNOWN_TERMS = "unknown"


@dataclass(frozen=True, kw_only=True, slots=True)
class Source:
    """Something that went into a model: weights, a teacher's labels, images."""

    name: str
    role: str
    """backbone, depth, labels, images and the like."""
    licence: str
    terms: Terms | str = UNKNOWN_TERMS
    """commercial-ok, research-only or unknown."""
    sha256: str | None = None
    """Of the file of weights."""


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelCard:
    """What a person must know of a model before using it."""

    sources: tuple[Source, ...] = ()
    training: str = "None: the heads have random weights."
    """Which data the heads were trained on, and how."""
    metrics: Mapping[str, float] = field(default_factory=dict)
    """Name with unit -> value, such as ``"val/rmse_m": 0.31``."""

    @property
    def terms(self) -> str:
        """The strictest of all sources."""
        terms = {source.terms for source in self.sources}
        if "research-only" in terms:
            return "research-only"
        return UNKNOWN_TERMS if UNKNOWN_TERMS in terms or not terms else "commercial-ok"

    def to_dict(self) -> dict[str, Any]:
        """As plain values, for JSON."""
        return asdict(self)

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> ModelCard:
        """From plain values.

        Raises:
            InputError: an entry is unknown or missing.
        """
        try:
            sources = tuple(Source(**source) for source in values.get("sources", ()))
            return cls(**{**values, "sources": sources})
        except TypeError as error:
            raise InputError(f"the model card cannot be read: {error}.") from error


def card_page(
    card: ModelCard, config: Mapping[str, Any], parts: Mapping[str, tuple[int, float]]
) -> str:
    """The card as Markdown.

    Args:
        card: where the weights come from.
        config: of the model, as plain values.
        parts: per part its parameters, and its GFLOPs for one image of the configured size.
    """
    rows = "\n".join(
        f"| {name} | {count / 1e6:.2f} | {gflops:.1f} |" for name, (count, gflops) in parts.items()
    )
    sources = "\n".join(
        f"| {s.role} | {s.name} | {s.licence} | {s.terms} | `{(s.sha256 or '-')[:16]}` |"
        for s in card.sources
    )
    metrics = "\n".join(f"| {name} | {value:g} |" for name, value in card.metrics.items())
    heads = ", ".join(name for name, value in config.items() if isinstance(value, Mapping))
    return f"""---
library_name: rangemask
license: {"other" if card.terms != "commercial-ok" else "apache-2.0"}
tags: [depth-estimation, image-segmentation, stereo]
---

# A RangeMask model on {config["backbone"]}

Heads: {heads}. Terms of use, the strictest of all that went in: **{card.terms}**.

```python
import rangemask as rm

student = rm.load_model("FOLDER")
scene = student.predict(rm.StereoFrame.read("left.png", "right.png", rig=rm.Rig.load("rig.yaml")))
```

## What went in

| as | name | licence | terms | SHA-256 |
| --- | --- | --- | --- | --- |
{sources or "| - | nothing: all weights are random | - | - | - |"}

## Training

{card.training}

## Measured

{("| figure | value |" + chr(10) + "| --- | --- |" + chr(10) + metrics) if metrics else "Nothing."}

## Cost

One image whose short side is {config["input_size_px"]} px, square.

| part | parameters, M | GFLOPs |
| --- | --- | --- |
{rows}
"""
