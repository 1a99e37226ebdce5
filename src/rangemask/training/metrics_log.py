"""``metrics.csv``: every number of a run by step, whole however often it was resumed."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from lightning.pytorch.loggers.logger import Logger
from lightning_utilities.core.rank_zero import rank_zero_only

from rangemask.atomic import atomic_file

_FIRST = ("step", "epoch")


class MetricsLog(Logger):
    """One row per step, written whole after every epoch.

    Lightning's own CSV logger begins anew when a run is resumed, and loses what was before.

    Args:
        path: of the file; rows that are there stay, but for steps that are done again.
    """

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.path = path
        self.rows: dict[int, dict[str, float]] = {}
        for row in read_rows(path):
            self.rows[int(row["step"])] = row

    @property
    def name(self) -> str:
        """For Lightning."""
        return "metrics"

    @property
    def version(self) -> str:
        """For Lightning."""
        return ""

    @property
    def experiment(self) -> MetricsLog:
        """For Lightning."""
        return self

    @rank_zero_only
    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """Nothing: ``config.yaml`` holds them."""

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Add numbers to the row of a step."""
        row = self.rows.setdefault(int(step or 0), {"step": float(step or 0)})
        row.update({name: float(value) for name, value in metrics.items()})

    @rank_zero_only
    def save(self) -> None:
        """Write all rows, whole or not at all."""
        if not self.rows:
            return
        names = sorted({name for row in self.rows.values() for name in row} - set(_FIRST))
        with (
            atomic_file(self.path) as staging,
            staging.open("w", newline="", encoding="utf-8") as file,
        ):
            writer = csv.DictWriter(file, [*_FIRST, *names])
            writer.writeheader()
            for step in sorted(self.rows):
                row: dict[str, Any] = dict(self.rows[step])
                whole = {name: int(row[name]) for name in _FIRST if name in row}
                writer.writerow({**row, **whole})

    @rank_zero_only
    def finalize(self, status: str) -> None:
        """Write what is there."""
        self.save()


def read_rows(path: Path) -> Iterator[dict[str, float]]:
    """Rows of the file, each with the numbers that it has."""
    if not path.is_file():
        return
    with path.open(newline="", encoding="utf-8") as file:
        for row in csv.DictReader(file):
            yield {name: float(value) for name, value in row.items() if name and value}
