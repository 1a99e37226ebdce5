import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rangemask.data.store import LabelStore
from rangemask.errors import InputError
from rangemask.labels.label_studio import ImportOptions, import_tasks
from rangemask.labels.label_studio.brush import encode_brush
from rangemask.labels.label_studio.tasks import check_path, read_tasks
from support.label_studio import annotated, bytes_of, exported, make_store, written

Tasks = list[dict[str, Any]]


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return make_store(tmp_path / "labels")


def refused(store: Path, edit: Callable[[Tasks], Any], **options: Any) -> str:
    """What is said against a whole export; nothing is written."""
    tasks = annotated(exported(store))
    for task in tasks:  # so that something would be written
        task["annotations"][0]["result"].pop()
    changed = edit(tasks)
    before = bytes_of(store)
    path = written(store, tasks if changed is None else changed)
    with pytest.raises(InputError) as caught:
        import_tasks(store, path, ImportOptions(**options))
    assert bytes_of(store) == before
    return str(caught.value)


def put(*keys: Any, value: Any) -> Callable[[Tasks], None]:
    """An edit of the second task."""

    def edit(tasks: Tasks) -> None:
        place: Any = tasks[1]
        for key in keys[:-1]:
            place = place[key]
        place[keys[-1]] = value

    return edit


MARKER = ("data", "rangemask")


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        (put(*MARKER, "store", value="0" * 32), "the export of another project"),
        (put("data", value={"image": "https://host/cat.png"}), "was not exported by rangemask"),
        (put(*MARKER, value={"store": 1}), "damaged"),
        (put(*MARKER, value="x"), "damaged"),
        (put(*MARKER, "shape", value="box"), "shape must be"),
        (put(*MARKER, "frame", value="../../etc/passwd"), "is a path, not the name"),
        (put(*MARKER, "frame", value=".."), "is a path, not the name"),
        (put(*MARKER, "frame", value="a\\b"), "is a path, not the name"),
        (put(*MARKER, "frame", value="frame 0"), "there twice"),
        (put("data", "image", value="/data/local-files/?d=../secret.png"), "leads out"),
        (put("data", "image", value="/etc/passwd"), "leads out"),
        (put("file_upload", value="../../tasks.json"), "leads out"),
        (put("project", value=13), "of project 13, expected 12"),
        (put("annotations", value="none"), "no list of objects"),
        (put("annotations", 0, "result", value=None), "no list of results"),
    ],
)
def test_exports_of_something_else_are_refused(
    store: Path, edit: Callable[[Tasks], None], message: str
) -> None:
    said = refused(store, edit)
    assert message in said
    assert "task 501" in said


def test_labels_that_are_no_classes_are_refused_with_the_list(store: Path) -> None:
    def edit(tasks: Tasks) -> None:
        for task, label in zip(tasks, ("sofa", "lamp"), strict=True):
            task["annotations"][0]["result"][0]["value"]["brushlabels"] = [label]

    said = refused(store, edit)
    assert "lamp, sofa" in said
    assert "person, chair, background" in said


def test_the_project_that_was_asked_for(store: Path) -> None:
    assert "is of project 12, expected 99" in refused(store, lambda _: None, project="99")

    def nameless(tasks: Tasks) -> None:
        for task in tasks:
            del task["project"]

    assert "project (none), expected 12" in refused(store, nameless, project="12")
    tasks = annotated(exported(store))
    report = import_tasks(store, written(store, tasks), ImportOptions(project="12"))
    assert report.project == "12"


def test_other_formats_are_refused(store: Path) -> None:
    minimal = [{"id": 1, "image": "x", "brushlabels": [], "annotator": 1, "annotation_id": 4}]
    assert "JSON-MIN" in refused(store, lambda _: minimal)
    assert "not a list of tasks" in refused(store, lambda _: {"images": [], "annotations": []})
    assert "found a int" in refused(store, lambda _: [1])
    # Our own tasks, before anybody annotated them.
    assert "export as JSON" in refused(store, lambda _: exported(store))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"", "not a list of tasks"),
        (b"id,image\n1,x", "not a list of tasks"),
        (b"\xff\xfe\x00", "cannot be read"),
        (b'[{"id": 1}', "cut off"),
        (b'[{"id": 1}, {"id": ', "cut off"),
        (b'[{"id": 1} {"id": 2}]', "expected a comma"),
        (b"[" * 200_000, "nested too deep"),
    ],
)
def test_damaged_files_speak(tmp_path: Path, text: bytes, message: str) -> None:
    path = tmp_path / "export.json"
    path.write_bytes(text)
    with pytest.raises(InputError, match=message):
        list(read_tasks(path))
    with pytest.raises(InputError, match="cannot be read"):
        list(read_tasks(tmp_path / "none.json"))


def test_tasks_are_read_one_at_a_time(tmp_path: Path) -> None:
    """Tasks longer than what is read at once, and spaces wherever JSON allows them."""
    tasks = [{"id": number, "text": "é]}[{," * (number * 90_000)} for number in range(5)]
    path = tmp_path / "export.json"
    for indent in (None, 2):
        path.write_text("\n " + json.dumps(tasks, indent=indent) + " \n", encoding="utf-8-sig")
        assert list(read_tasks(path)) == tasks
    path.write_text("[ ]")
    assert list(read_tasks(path)) == []


@pytest.mark.parametrize(
    "address",
    [
        "/data/local-files/?d=labels/images/a..b.png",
        "/data/local-files/?d=labels/my%20images/a.png",
        "/data/upload/3/0b1c-a.png",
        "https://host/x/a.png?token=/a",
        "s3://bucket/a.png",
        "images/a.png",
    ],
)
def test_addresses_that_are_taken(address: str) -> None:
    check_path(address)


@pytest.mark.parametrize(
    "address",
    [
        "/data/local-files/?d=../a.png",
        "/data/local-files/?d=labels/%2e%2e/%2e%2e/a.png",
        "/data/local-files/?d=labels/%252e%252e/a.png",
        "/data/local-files/?d=/etc/passwd",
        "/data/local-files/?d=a.png&d=..\\a.png",
        "/data/local-files/?d=C:\\a.png",
        "/data/upload/../../a.png",
        "https://host/../a.png",
        "file:///etc/passwd",
        "C:/Windows/a.png",
        "\\\\host\\share\\a.png",
        "../a.png",
        "/home/a.png",
    ],
)
def test_addresses_that_lead_out_are_refused(address: str) -> None:
    with pytest.raises(InputError, match="leads out"):
        check_path(address)


def test_labels_that_were_never_exported(store: Path, tmp_path: Path) -> None:
    path = written(store, annotated(exported(store)))
    (store / "label-studio-id.txt").unlink()
    with pytest.raises(InputError, match="never exported"):
        import_tasks(store, path)
    with pytest.raises(InputError, match="holds no labels"):
        import_tasks(tmp_path, path)


def problem(store: Path, edit: Callable[[list[dict[str, Any]]], Any]) -> str:
    """What is said against the first frame; the second one is taken, the first stays."""
    tasks = annotated(exported(store))
    edit(tasks[0]["annotations"][0]["result"])
    tasks[1]["annotations"][0]["result"].pop()
    before = (store / "masks" / "frame 0.json").read_bytes()
    report = import_tasks(store, written(store, tasks))
    assert report.frames == {"corrected": ["frame 1"]}
    assert (store / "masks" / "frame 0.json").read_bytes() == before
    assert list(report.problems) == ["frame 0"]
    return report.problems["frame 0"]


BIG = encode_brush(np.zeros((41, 61), dtype=bool))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"type": "keypointlabels"}, "'keypointlabels', which is no mask"),
        ({"type": "relation"}, "'relation', which is no mask"),
        ({"id": None}, "has no id"),
        ({"original_width": 62}, "its image is 62 x 40 px"),
        ({"image_rotation": 90}, "rotated"),
        ({"value": {"format": "rle", "rle": [1, 2], "brushlabels": ["chair"]}}, "expected 9760"),
        ({"value": {"format": "rle", "rle": BIG, "brushlabels": ["chair"]}}, "expected 9760"),
        ({"value": {"format": "mask", "rle": [], "brushlabels": ["chair"]}}, "in format 'mask'"),
        ({"value": {"format": "rle", "rle": BIG, "brushlabels": []}}, "0 labels"),
        ({"value": {"brushlabels": ["person", "chair"]}}, "2 labels"),
        ({"value": None}, "damaged"),
        (
            {"type": "polygonlabels", "value": {"points": [[1, 1]], "polygonlabels": ["chair"]}},
            "three corners",
        ),
        (
            {"type": "polygonlabels", "value": {"points": [[1], [2]], "polygonlabels": ["chair"]}},
            "three corners",
        ),
        (
            {"type": "polygonlabels", "value": {"points": "abc", "polygonlabels": ["chair"]}},
            "damaged",
        ),
        (
            {"type": "rectanglelabels", "value": {"x": 1, "rectanglelabels": ["chair"]}},
            "damaged",
        ),
        (
            {"type": "rectanglelabels", "value": {"rotation": 9, "rectanglelabels": ["chair"]}},
            "rotated",
        ),
    ],
)
def test_regions_that_are_no_masks_leave_the_frame(
    store: Path, change: dict[str, Any], message: str
) -> None:
    assert message in problem(store, lambda regions: regions[0].update(change))


def test_regions_of_one_id_leave_the_frame(store: Path) -> None:
    assert "two regions" in problem(store, lambda regions: regions.append(regions[0]))


def test_a_damaged_masks_file_leaves_the_frame(store: Path) -> None:
    def damage(_: Any) -> None:
        path = store / "masks" / "frame 0.json"
        path.write_bytes(path.read_bytes()[:-9])

    assert "frame 0.json" in problem(store, damage)


def test_a_frame_that_is_gone(store: Path) -> None:
    tasks = annotated(exported(store))
    (store / "records" / "frame 0.json").unlink()
    report = import_tasks(store, written(store, tasks))
    assert "no masks of this frame any more" in report.problems["frame 0"]


@pytest.mark.parametrize("name", ["frame 7", "n" * 5000, "nul\0"])
def test_a_frame_that_never_was(store: Path, name: str) -> None:
    tasks = annotated(exported(store))
    tasks[0]["data"]["rangemask"]["frame"] = name
    report = import_tasks(store, written(store, tasks))
    assert "no masks of this frame any more" in report.problems[name]


def test_a_recipe_that_is_lost(store: Path) -> None:
    tasks = annotated(exported(store), lambda regions: regions.pop())
    data = json.loads((store / "manifest.json").read_text())
    data["recipes"] = {}
    (store / "manifest.json").write_text(json.dumps(data))
    report = import_tasks(store, written(store, tasks))
    assert "does not know what made" in report.problems["frame 0"]


def test_labels_that_were_made_anew_since_the_export(store: Path) -> None:
    tasks = annotated(exported(store), lambda regions: regions.pop(), frames=1)
    labels = LabelStore(store)
    record = labels.record("frame 0")
    assert record is not None
    values = record.to_dict()
    values["files"]["masks"]["sha256"] = "f" * 64
    labels.commit(type(record).from_dict(values))
    report = import_tasks(store, written(store, tasks))
    assert "made anew since the export" in report.problems["frame 0"]


def test_an_older_correction_does_not_undo_a_newer_one(store: Path) -> None:
    tasks = exported(store)

    def drop(regions: list[dict[str, Any]]) -> None:
        regions.pop()

    newer = annotated(tasks, drop, frames=1, updated_at="2026-09-01T10:00:00Z")
    import_tasks(store, written(store, newer))
    report = import_tasks(store, written(store, annotated(tasks)))
    assert "newer correction, of 2026-09-01" in report.problems["frame 0"]
    nameless = annotated(tasks, created_at=None, updated_at="yesterday", completed_by=None)
    report = import_tasks(store, written(store, nameless))
    assert "this one is of yesterday" in report.problems["frame 0"]
