"""Labels to Label Studio, where people correct them, and back (docs/label-studio.md)."""

from __future__ import annotations

from rangemask.labels.label_studio.export import ExportOptions, ExportReport, export_tasks
from rangemask.labels.label_studio.importing import ImportOptions, ImportReport, import_tasks

__all__ = [
    "ExportOptions",
    "ExportReport",
    "ImportOptions",
    "ImportReport",
    "export_tasks",
    "import_tasks",
]
