"""What trained networks of ours are in a role, and under which terms."""

from __future__ import annotations

from collections.abc import Mapping

from rangemask.models.card import ModelCard
from rangemask.structures import Passport


def student_passport(
    card: ModelCard,
    role: str,
    *,
    weights: str | None,
    sha256: str | None,
    options: Mapping[str, str | int | float | bool | None],
) -> Passport:
    """A passport from a network's card: its licences are those of all that it learnt from.

    Args:
        card: of the network.
        role: that it plays.
        weights: name of its folder or file; None where it was made in memory.
        sha256: of its weights, where they are a file.
        options: that change what it says.
    """
    licences = sorted({source.licence for source in card.sources})
    return Passport(
        role=role,
        model="student",
        licence=", ".join(licences) or "unknown: random weights",
        licence_class=card.terms,
        weights=weights,
        weights_sha256=sha256,
        options=dict(options),
    )
