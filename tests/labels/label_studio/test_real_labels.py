"""Labels of the offline teachers, corrected, and labelled again."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rangemask.data.store import LabelStore, open_labels
from rangemask.labels import LabelConfig, RunOptions, label_dataset
from rangemask.labels.label_studio import import_tasks
from rangemask.labels.label_studio.brush import decode_brush, encode_brush
from rangemask.labels.work import is_corrected
from support.datasets import label_files, stereo_dataset
from support.label_studio import annotated, exported, written

CONFIG = LabelConfig(stereo_options={"quality": "fast"})
OTHER = LabelConfig(stereo_options={"quality": "fast"}, mask_options={"min_area_px": 900})


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    root = stereo_dataset(tmp_path / "set", frames=2)
    label_dataset(root, CONFIG)
    return root


def shrink(regions: list[dict[str, Any]]) -> None:
    """Keep the largest object alone, without its lowest rows."""
    masks = [decode_brush(region["value"]["rle"], 120, 160) for region in regions]
    largest = int(np.argmax([mask.sum() for mask in masks]))
    rows = np.flatnonzero(masks[largest].any(axis=1))
    masks[largest][rows[-3] :] = False
    regions[:] = [regions[largest]]
    regions[0]["value"]["rle"] = encode_brush(masks[largest])


@pytest.mark.parametrize("shape", ["brush", "polygon"])
def test_unedited_labels_stay_to_the_bit(dataset: Path, shape: str) -> None:
    tasks = annotated(exported(dataset, shape=shape))
    before = label_files(dataset)
    report = import_tasks(dataset, written(dataset, tasks))
    assert list(report.frames) == ["unchanged"]
    assert report.kept > 2
    assert label_files(dataset) == before


def test_corrected_masks_are_measured_and_never_labelled_again(dataset: Path) -> None:
    before = open_labels(dataset)[0]
    tasks = annotated(exported(dataset), shrink, frames=1)
    report = import_tasks(dataset, written(dataset, tasks))
    assert (report.changed, report.new) == (1, 0)
    path = dataset / "masks" / "f000.json"
    corrected, other = path.read_bytes(), (dataset / "masks" / "f001.json").read_bytes()
    (row,) = exported(dataset)[0]["predictions"][0]["result"]
    (old,) = tasks[0]["annotations"][0]["result"]
    assert (row["id"], row["score"]) == (old["id"], 1.0)
    assert row["meta"]["distance_m"] == pytest.approx(old["meta"]["distance_m"], rel=0.1)
    assert before.masks is not None
    assert len(before.masks) > 1

    assert label_dataset(dataset, CONFIG).done == {"kept": 2}
    # The segmenter knows its own map of classes, which nobody corrected.
    assert not is_corrected(LabelStore(dataset).records()["f000"].files["semantic"])
    label_dataset(dataset, OTHER, RunOptions(overwrite=True))
    assert path.read_bytes() == corrected
    assert (dataset / "masks" / "f001.json").read_bytes() != other


def test_a_distance_that_cannot_be_measured_is_unknown(dataset: Path) -> None:
    tasks = annotated(exported(dataset), shrink, frames=1)
    (dataset / "disparity" / "f000.png").write_bytes(b"")
    report = import_tasks(dataset, written(dataset, tasks))
    assert report.changed == 1
    (row,) = exported(dataset)[0]["predictions"][0]["result"]
    assert row["meta"]["distance_m"] is None
