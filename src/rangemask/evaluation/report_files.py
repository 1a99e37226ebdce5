"""An evaluation on disk: ``report.json`` and one line per frame in ``frames.csv``."""

from __future__ import annotations

import csv
import json
import math
from pathlib import Path

from rangemask.evaluation.comparison import Comparison
from rangemask.evaluation.datasets import DatasetReport
from rangemask.evaluation.frames import FrameResult

REPORT_FILE = "report.json"
FRAMES_FILE = "frames.csv"


def write_report_files(report: DatasetReport | Comparison, folder: Path) -> None:
    """Write both files into a folder that is there."""
    text = json.dumps(report.to_dict(), indent=2, allow_nan=False)
    (folder / REPORT_FILE).write_text(text + "\n", encoding="utf-8")
    runs = (report,) if isinstance(report, DatasetReport) else (report.first, report.second)
    lines = [(run.predictor, frame) for run in runs for frame in run.frames]
    columns = list(dict.fromkeys(name for _, frame in lines for name in _row(frame)))
    with (folder / FRAMES_FILE).open("w", newline="", encoding="utf-8") as file:
        table = csv.DictWriter(file, ["run", "frame", "sequence", *columns])
        table.writeheader()
        for run, frame in lines:
            known = {"run": run, "frame": frame.name, "sequence": frame.sequence}
            table.writerow({**known, **_row(frame)})


def _row(frame: FrameResult) -> dict[str, float | str]:
    """Kind and metric to value; unknown numbers are empty."""
    numbers = {
        f"{kind}.{metric}": value
        for kind, row in frame.values.items()
        for metric, value in row.items()
    }
    if frame.seconds is not None:
        numbers["seconds"] = frame.seconds
    return {name: value if math.isfinite(value) else "" for name, value in numbers.items()}
