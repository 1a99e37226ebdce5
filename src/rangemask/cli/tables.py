"""Tables of objects for the terminal."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.table import Table


def object_table(objects: Sequence[dict[str, Any]]) -> Table:
    """One row per object of ``scene.json``, nearest first."""
    table = Table(title="Objects, nearest first")
    for column in ("id", "label", "distance", "10 % .. 90 %", "measured", "score"):
        table.add_column(column, justify="right")
    for thing in objects:
        distance = thing["distance"]
        table.add_row(
            str(thing["id"]),
            thing["label"],
            metres(distance["median"]),
            f"{metres(distance['p10'])} .. {metres(distance['p90'])}",
            f"{distance['valid_share']:.0%}",
            f"{thing['score']:.2f}",
        )
    return table


def metres(value: float | None) -> str:
    """A distance as people read it."""
    return "unknown" if value is None else f"{value:.2f} m"
