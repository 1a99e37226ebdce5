"""What is written on results of models whose weights are published."""

from __future__ import annotations

from pathlib import Path

from rangemask.models.published import PUBLISHED
from rangemask.models.weights import sha256_of
from rangemask.structures import Passport


def published_passport(
    role: str, name: str, source: Path, options: dict[str, str | int | float | bool | None]
) -> Passport:
    """The passport of a published model, with the file that it was loaded from.

    Args:
        role: stereo, depth, masks or text.
        name: a key of ``PUBLISHED``.
        source: the file of weights.
        options: that its results depend on.
    """
    published = PUBLISHED[name]
    return Passport(
        role=role,
        model=name,
        licence=published.licence,
        licence_class=published.terms,
        weights=source.name,
        weights_sha256=sha256_of(source),
        options=options,
    )
