"""A small label store, and Label Studio's part in a round trip, played without it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rangemask.data.store import FrameLabels, FrameRecord, LabelStore, Recipe
from rangemask.data.store.files import encode
from rangemask.labels.label_studio import ExportOptions, export_tasks
from rangemask.labels.teachers import painted
from rangemask.structures import MaskSet, Passport
from rangemask.structures.images import write_image

HEIGHT, WIDTH = 40, 61
CLASSES = ("person", "chair", "background")
TEACHER = Passport(
    role="masks",
    model="sam2.1-tiny",
    licence="Apache-2.0",
    licence_class="commercial-ok",
)
RESEARCH = Passport(
    role="stereo", model="matcher", licence="non-commercial", licence_class="research-only"
)
AT = "2026-05-04T03:02:01.000000Z"


def shapes() -> NDArray[np.bool_]:
    """A disc with a hole, a table of two parts, and nothing; (3, H, W)."""
    rows, columns = np.mgrid[:HEIGHT, :WIDTH]
    away = np.hypot(rows - 14.0, columns - 15.0)
    table = np.zeros((HEIGHT, WIDTH), dtype=bool)
    table[20:24, 34:58] = table[24:38, 36:40] = table[5:11, 40:52] = True
    return np.stack([(away < 13) & (away > 5), table, np.zeros_like(table)])


def make_store(root: Path, frames: int = 2, *, models: tuple[Passport, ...] = (TEACHER,)) -> Path:
    """Frames with masks, distances and a semantic map painted from the masks."""
    store = LabelStore(root)
    recipe = Recipe(kinds=("masks", "semantic"), models=models, options={"labels": ["person"]})
    store.begin([recipe], classes=CLASSES, rig=None, min_quality=0.5)
    random = np.random.default_rng(3)
    for number in range(frames):
        name = f"frame {number}"
        source = root / "images" / f"{name}.png"
        source.parent.mkdir(parents=True, exist_ok=True)
        write_image(source, random.integers(0, 256, (HEIGHT, WIDTH, 3), dtype=np.uint8))
        masks = MaskSet.from_dense(
            shapes(), labels=("person", "chair", "chair"), scores=(0.75, 0.875, 0.25)
        )
        labels = FrameLabels(
            masks=masks,
            distances_m=(1.5, 2.25, float("nan")),
            semantic=painted(masks, CLASSES[:2]),
        )
        left = store.write_image("images", name, source)
        files = store.write_labels(
            name,
            encode(labels, left.path, CLASSES, "png"),
            {"masks": recipe.key, "semantic": recipe.key},
        )
        record = FrameRecord(
            name=name,
            status="labelled",
            width=WIDTH,
            height=HEIGHT,
            images={"left": left},
            files=files,
            quality={"exposure": 0.9, "masks": 0.8},
        )
        store.commit(record)
    store.finish()
    return root


def exported(store: Path, **options: Any) -> list[dict[str, Any]]:
    """The tasks of a store, as exported."""
    output = store.parent / "tasks.json"
    export_tasks(store, output, ExportOptions(**options))
    found: list[dict[str, Any]] = json.loads(output.read_text(encoding="utf-8"))
    return found


def annotated(
    tasks: list[dict[str, Any]],
    edit: Callable[[list[dict[str, Any]]], None] | None = None,
    *,
    frames: int | None = None,
    **values: Any,
) -> list[dict[str, Any]]:
    """The tasks as Label Studio exports them once somebody has submitted each.

    Args:
        tasks: as exported by rangemask.
        edit: called with each frame's regions, which it may change.
        frames: how many are edited; all by default.
        values: of the annotations.
    """
    done = []
    for number, task in enumerate(tasks):
        regions = json.loads(json.dumps(task["predictions"][0]["result"]))
        if edit is not None and (frames is None or number < frames):
            edit(regions)
        annotation = {
            "id": 70 + number,
            "completed_by": {"id": 3, "email": "ann@example.org"},
            "result": [{**region, "origin": "prediction"} for region in regions],
            "was_cancelled": False,
            "created_at": AT,
            "updated_at": AT,
            **values,
        }
        done.append(
            {
                "id": 500 + number,
                "annotations": [annotation],
                "drafts": [],
                "predictions": [1],
                "data": task["data"],
                "file_upload": "0b1c-tasks.json",
                "project": 12,
            }
        )
    return done


def written(store: Path, tasks: Any) -> Path:
    """An export as a file."""
    path = store.parent / "export.json"
    path.write_text(json.dumps(tasks), encoding="utf-8")
    return path


def bytes_of(root: Path) -> Mapping[str, bytes]:
    """Everything in a folder but locks."""
    return {
        path.relative_to(root).as_posix(): path.read_bytes()
        for path in sorted(root.rglob("*"))
        if path.is_file() and path.suffix != ".lock"
    }
