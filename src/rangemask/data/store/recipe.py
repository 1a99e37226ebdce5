"""What made a label: models with their weights and licences, and every option that matters."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from rangemask.structures import Passport, Provenance
from rangemask.structures.passport import LicenceClass


@dataclass(frozen=True, slots=True, kw_only=True)
class Recipe:
    """How some kinds of labels were made; two runs with one recipe make the same files."""

    kinds: tuple[str, ...]
    """What it makes: some of ``record.KINDS``."""
    models: tuple[Passport, ...]
    options: Mapping[str, Any] = field(default_factory=dict)
    """Plain values besides the models' own options."""
    rangemask_version: str = ""
    """For people: no part of the key, or every update would ask to label anew."""

    @property
    def key(self) -> str:
        """Short name of the recipe; the same for the same models, weights and options."""
        plain = self.to_dict()
        del plain["rangemask_version"]
        return hashlib.sha256(json.dumps(plain, sort_keys=True).encode()).hexdigest()[:16]

    @property
    def licence_class(self) -> LicenceClass:
        """The strictest of all models."""
        return Provenance(rangemask_version="", models=self.models).licence_class

    def to_dict(self) -> dict[str, Any]:
        """As plain values, for JSON."""
        return {
            "kinds": list(self.kinds),
            "models": [model.to_dict() for model in self.models],
            "options": dict(self.options),
            "rangemask_version": self.rangemask_version,
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Recipe:
        """The inverse of ``to_dict``.

        Raises:
            KeyError: a key is missing.
            TypeError: a value is of the wrong type.
        """
        return cls(
            kinds=tuple(str(kind) for kind in values["kinds"]),
            models=tuple(Passport(**model) for model in values["models"]),
            options=dict(values["options"]),
            rangemask_version=str(values["rangemask_version"]),
        )

    def differences(self, other: Recipe) -> Iterator[str]:
        """What another recipe does differently, in words, such as "quality was 'best', is 'fast'".

        Args:
            other: the newer one.
        """
        before, after = _flat(self), _flat(other)
        for name in sorted({*before, *after}):
            if before.get(name) != after.get(name):
                yield f"{name} was {before.get(name)!r}, is {after.get(name)!r}"


def _flat(recipe: Recipe) -> dict[str, Any]:
    flat: dict[str, Any] = {f"option {name}": value for name, value in recipe.options.items()}
    flat["kinds"] = ", ".join(recipe.kinds)
    for number, model in enumerate(recipe.models):
        role = model.role if [one.role for one in recipe.models].count(model.role) == 1 else None
        name = role or f"{model.role} model {number + 1}"
        flat[name] = model.model
        flat[f"{name} weights"] = model.weights_sha256
        flat[f"{name} licence"] = model.licence
        flat |= {f"{name} option {option}": value for option, value in model.options.items()}
    return flat
