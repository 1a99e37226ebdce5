"""Labels on disk beside the images that they are of (docs/label-store.md)."""

from __future__ import annotations

from rangemask.data.store.dataset import StoredLabels, open_labels
from rangemask.data.store.files import FrameLabels, MapFormat
from rangemask.data.store.recipe import Recipe
from rangemask.data.store.record import KINDS, FileMark, FrameRecord, Kind, LabelFile, Status
from rangemask.data.store.store import LabelStore

__all__ = [
    "KINDS",
    "FileMark",
    "FrameLabels",
    "FrameRecord",
    "Kind",
    "LabelFile",
    "LabelStore",
    "MapFormat",
    "Recipe",
    "Status",
    "StoredLabels",
    "open_labels",
]
