"""The model card: where weights come from, what may be done with them, what they cost."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, TypeAlias, get_args

from rangemask.errors import InputError

UNTRAINED = "None: the heads have random weights."
APACHE = "Apache-2.0"
SourceTerms: TypeAlias = Literal["commercial-ok", "research-only", "unknown"]
TERMS: tuple[SourceTerms, ...] = get_args(SourceTerms)


@dataclass(frozen=True, kw_only=True, slots=True)
class Source:
    """Something that went into a model: weights, a teacher's labels, images.

    Raises:
        InputError: the terms are none of the three.
    """

    name: str
    role: str
    """backbone, depth, labels, images and the like."""
    licence: str
    terms: SourceTerms = "unknown"
    sha256: str | None = None
    """Of the file of weights."""

    def __post_init__(self) -> None:
        if self.terms not in TERMS:
            raise InputError(
                f"terms of {self.name} must be one of {', '.join(TERMS)}, got {self.terms!r}."
            )


@dataclass(frozen=True, kw_only=True, slots=True)
class ModelCard:
    """What a person must know of a model before using it.

    Raises:
        InputError: a metric is no finite number.
    """

    sources: tuple[Source, ...] = ()
    training: str = UNTRAINED
    """Which data the heads were trained on, and how."""
    metrics: Mapping[str, float] = field(default_factory=dict)
    """Name with unit -> value, such as ``"val/rmse_m": 0.31``."""

    def __post_init__(self) -> None:
        if not isinstance(self.metrics, Mapping):
            raise InputError(f"metrics must be values by name, got {self.metrics!r}.")
        for name, value in self.metrics.items():
            if not isinstance(value, int | float) or not math.isfinite(value):
                raise InputError(f"the metric {name} must be a finite number, got {value!r}.")

    @property
    def terms(self) -> SourceTerms:
        """The strictest of all sources; unknown where there are none."""
        terms = {source.terms for source in self.sources}
        if "research-only" in terms:
            return "research-only"
        return "commercial-ok" if terms == {"commercial-ok"} else "unknown"

    @property
    def is_apache(self) -> bool:
        """Whether everything that went in is under Apache-2.0."""
        return bool(self.sources) and all(s.licence == APACHE for s in self.sources)

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
    heads = ", ".join(name for name, value in config.items() if isinstance(value, Mapping))
    return f"""---
library_name: rangemask
license: {"apache-2.0" if card.is_apache else "other"}
tags: [depth-estimation, image-segmentation, stereo]
---

# A RangeMask model on {config["backbone"]}

Heads: {heads}. Terms of use, the strictest of all that went in: **{card.terms}**.

```python
import rangemask as rm

student = rm.load_model("FOLDER")
scene = student.predict(rm.StereoFrame.read("left.png", "right.png", rig=rm.Rig.load("rig.yaml")))
```

{history(card)}
## Cost

One square {"pair" if config.get("stereo") else "image"}, {config["input_size_px"]} px rounded to
what the heads need. A multiply-add counts as two operations.

| part | parameters, M | GFLOPs |
| --- | --- | --- |
{rows}
"""


def history(card: ModelCard) -> str:
    """What went into a model, how it was trained and what was measured, as Markdown."""
    sources = "\n".join(
        f"| {s.role} | {s.name} | {s.licence} | {s.terms} | `{(s.sha256 or '-')[:16]}` |"
        for s in card.sources
    )
    metrics = "\n".join(f"| {name} | {value:g} |" for name, value in card.metrics.items())
    return f"""## What went in

| as | name | licence | terms | SHA-256 |
| --- | --- | --- | --- | --- |
{sources or "| - | nothing: all weights are random | - | - | - |"}

## Training

{card.training}

## Measured

{("| figure | value |" + chr(10) + "| --- | --- |" + chr(10) + metrics) if metrics else "Nothing."}
"""
