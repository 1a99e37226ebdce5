"""Where a result comes from: which models, weights and licences made it."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Literal, TypeAlias

LicenceClass: TypeAlias = Literal["commercial-ok", "research-only", "unknown"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Passport:
    """What one model of a pipeline is, and under which terms."""

    role: str
    """stereo, depth or masks."""
    model: str
    """Its name in the registry."""
    licence: str
    """Of the code or weights that decide what may be done with the output."""
    licence_class: LicenceClass
    weights: str | None = None
    """File name of the weights; None where there are none."""
    weights_sha256: str | None = None
    options: dict[str, str | int | float | bool | None] = field(default_factory=dict)

    def to_dict(self) -> dict[str, Any]:
        """As plain values, for JSON."""
        return asdict(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class Provenance:
    """How a scene was made."""

    rangemask_version: str
    models: tuple[Passport, ...] = ()

    @property
    def licence_class(self) -> LicenceClass:
        """The strictest of all models: one research-only teacher makes the whole so."""
        classes = {model.licence_class for model in self.models}
        if "research-only" in classes:
            return "research-only"
        return "unknown" if "unknown" in classes or not classes else "commercial-ok"
