"""Numbers as the text formats write them."""

from __future__ import annotations

from collections.abc import Iterable


def number_list(values: Iterable[float]) -> str:
    """``1.0, 2.5``: every digit that tells two numbers apart."""
    return ", ".join(repr(float(value)) for value in values)
