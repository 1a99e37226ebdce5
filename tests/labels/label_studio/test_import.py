import json
from collections.abc import Callable
from pathlib import Path
from threading import Thread
from typing import Any

import numpy as np
import pytest

from rangemask.data.store import FrameRecord, LabelStore, open_labels
from rangemask.data.store.manifest import summary_of
from rangemask.labels.label_studio import ImportOptions, ImportReport, import_tasks
from rangemask.labels.label_studio.brush import encode_brush
from rangemask.labels.work import is_corrected
from support.label_studio import (
    AT,
    CLASSES,
    HEIGHT,
    RESEARCH,
    TEACHER,
    WIDTH,
    annotated,
    bytes_of,
    exported,
    make_store,
    shapes,
    written,
)

Regions = list[dict[str, Any]]
NEW = np.pad(np.ones((6, 8), dtype=bool), ((30, HEIGHT - 36), (1, WIDTH - 9)))


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return make_store(tmp_path / "labels")


def taken(
    store: Path,
    edit: Callable[[Regions], None] | None = None,
    *,
    values: dict[str, Any] | None = None,
    options: ImportOptions | None = None,
    **export: Any,
) -> ImportReport:
    """Export, edit the first frame, import."""
    tasks = annotated(exported(store, **export), edit, frames=1, **(values or {}))
    return import_tasks(store, written(store, tasks), options)


def rows_of(store: Path) -> list[dict[str, Any]]:
    data = json.loads((store / "masks" / "frame 0.json").read_text())
    rows: list[dict[str, Any]] = data["annotations"]
    return rows


def record_of(store: Path, name: str = "frame 0") -> FrameRecord:
    record = LabelStore(store).record(name)
    assert record is not None
    return record


def painting(mask: np.ndarray, label: str, name: str = "kQ3") -> dict[str, Any]:
    return {
        "id": name,
        "type": "brushlabels",
        "from_name": "brush",
        "to_name": "image",
        "original_width": WIDTH,
        "original_height": HEIGHT,
        "image_rotation": 0,
        "origin": "manual",
        "value": {"format": "rle", "rle": encode_brush(mask), "brushlabels": [label]},
    }


def grow(regions: Regions) -> None:
    regions[0]["value"]["rle"] = encode_brush(shapes()[0] | NEW)


@pytest.mark.parametrize(
    "export",
    [{}, {"shape": "polygon"}, {"shape": "polygon", "tolerance_px": 0}],
    ids=["brush", "polygon", "exact polygon"],
)
def test_unedited_is_bit_identical(store: Path, export: dict[str, Any]) -> None:
    tasks = annotated(exported(store, **export))
    before = bytes_of(store)
    report = import_tasks(store, written(store, tasks))
    assert report.frames == {"unchanged": ["frame 0", "frame 1"]}
    assert (report.kept, report.changed, report.new, report.deleted) == (6, 0, 0, 0)
    assert bytes_of(store) == before


def test_points_that_were_only_rounded_are_unedited(store: Path) -> None:
    def shake(regions: Regions) -> None:
        for region in regions:
            region["value"]["points"] = np.round(region["value"]["points"], 3).tolist()

    before = bytes_of(store)
    report = taken(store, shake, shape="polygon")
    assert report.frames == {"unchanged": ["frame 0", "frame 1"]}
    after = dict(bytes_of(store))
    del after["label-studio-id.txt"]
    assert after == before


def test_a_stream_by_another_encoder_is_unedited(store: Path) -> None:
    """Label Studio writes the same mask with soft edges and colours of its own."""
    from rangemask.labels.label_studio.brush import encode_values

    def again(regions: Regions) -> None:
        for region, mask in zip(regions, shapes(), strict=False):
            rgba = np.full((HEIGHT, WIDTH, 4), 17, dtype=np.uint8)
            rgba[..., 3] = np.where(mask, 200, 90)
            region["value"]["rle"] = encode_values(rgba.ravel())

    assert taken(store, again).frames == {"unchanged": ["frame 0", "frame 1"]}


def test_an_edited_mask_is_a_persons(store: Path) -> None:
    other = (store / "masks" / "frame 1.json").read_bytes()
    before = rows_of(store)
    exported_masks = record_of(store).files["masks"].mark.sha256
    report = taken(store, grow)
    assert report.frames == {"corrected": ["frame 0"], "unchanged": ["frame 1"]}
    assert (report.kept, report.changed) == (2 + 3, 1)
    rows = rows_of(store)
    assert rows[1:] == before[1:]
    assert (rows[0]["id"], rows[0]["score"], rows[0]["distance_m"]) == (1, 1.0, None)
    assert rows[0]["area"] == int((shapes()[0] | NEW).sum())
    assert (store / "masks" / "frame 1.json").read_bytes() == other

    record = record_of(store)
    assert record.files["masks"].details["corrected"] == {
        "by": "ann@example.org",
        "at": AT,
        "annotation": 70,
        "project": "12",
        "exported": exported_masks,
    }
    assert is_corrected(record.files["semantic"])
    assert not is_corrected(record_of(store, "frame 1").files["masks"])
    assert record.quality["masks"] > 0.8
    sample = open_labels(store)[0]
    assert sample.masks is not None
    assert np.array_equal(sample.masks.dense()[0], shapes()[0] | NEW)
    assert sample.semantic is not None
    assert np.array_equal(sample.semantic.mask("person"), shapes()[0] | NEW)


def test_the_licence_stays_the_strictest(tmp_path: Path) -> None:
    for models, expected in (((TEACHER, RESEARCH), "research-only"), ((TEACHER,), "commercial-ok")):
        store = make_store(tmp_path / expected / "labels", 1, models=models)
        taken(store, grow)
        manifest = LabelStore(store).manifest
        assert manifest.complete
        assert summary_of(manifest).licence_class == expected
        recipe = manifest.recipes[manifest.frames[0].files["masks"].recipe]
        assert [model.role for model in recipe.models][-1] == "human"
        assert recipe.models[:-1] == models


def test_deleted_new_and_renamed(store: Path) -> None:
    def edit(regions: Regions) -> None:
        del regions[0]
        regions[0]["value"]["brushlabels"] = ["person"]
        regions.append(painting(NEW, "chair"))

    report = taken(store, edit)
    assert (report.kept, report.changed, report.new, report.deleted) == (1 + 3, 1, 1, 1)
    table, empty, new = rows_of(store)
    # Another name does not move the table: its distance stays.
    assert (table["id"], table["category_id"], table["distance_m"]) == (2, 1, 2.25)
    assert empty["id"] == 3
    assert (new["id"], new["category_id"], new["score"]) == (4, 2, 1.0)
    assert (new["label_studio_id"], new["distance_m"]) == ("kQ3", None)


def test_a_second_import_changes_nothing(store: Path) -> None:
    def edit(regions: Regions) -> None:
        grow(regions)
        del regions[1]
        regions.append(painting(NEW, "chair"))

    tasks = annotated(exported(store), edit)
    path = written(store, tasks)
    import_tasks(store, path)
    before = bytes_of(store)
    assert import_tasks(store, path).frames == {"unchanged": ["frame 0", "frame 1"]}
    assert bytes_of(store) == before
    # What is exported now has the same ids.
    regions = exported(store)[0]["predictions"][0]["result"]
    assert [region["id"] for region in regions] == [
        region["id"] for region in tasks[0]["annotations"][0]["result"]
    ]


def test_ids_of_deleted_masks_are_not_given_again(store: Path) -> None:
    def add(regions: Regions) -> None:
        regions.append(painting(NEW, "chair"))

    taken(store, add)
    taken(store, lambda regions: regions.pop(), values={"updated_at": AT.replace("2026", "2027")})
    assert [row["id"] for row in rows_of(store)] == [1, 2, 3]
    taken(store, add, values={"updated_at": AT.replace("2026", "2028")})
    assert [row["id"] for row in rows_of(store)] == [1, 2, 3, 5]


def test_a_part_of_a_polygon_mask(store: Path) -> None:
    def edit(regions: Regions) -> None:
        # Half of the disc goes, half of the table becomes a person, the rest stays.
        del regions[1]
        regions[2]["value"]["polygonlabels"] = ["person"]

    tasks = annotated(exported(store, shape="polygon"), edit, frames=1)
    path = written(store, tasks)
    report = import_tasks(store, path)
    assert (report.kept, report.changed, report.new, report.deleted) == (1 + 3, 2, 1, 0)
    disc, table, _, new = open_labels(store)[0].masks  # type: ignore[misc]
    assert 0 < disc.sum() < shapes()[0].sum()
    assert not (disc & ~shapes()[0]).any()
    assert np.array_equal(table | new, shapes()[1])
    before = bytes_of(store)
    assert import_tasks(store, path).frames == {"unchanged": ["frame 0", "frame 1"]}
    assert bytes_of(store) == before


def test_polygons_and_rectangles_become_masks(store: Path) -> None:
    def edit(regions: Regions) -> None:
        common = {**painting(NEW, "chair"), "original_width": WIDTH}
        box = {"x": 1 / WIDTH * 100, "y": 75, "width": 8 / WIDTH * 100, "height": 15, "rotation": 0}
        corners = [[1, 30], [9, 30], [9, 36], [1, 36]]
        points = [[x / WIDTH * 100, y / HEIGHT * 100] for x, y in corners]
        for name, value in (
            ("polygonlabels", {"points": points}),
            ("rectanglelabels", box),
        ):
            regions.append(
                {**common, "id": name, "type": name, "value": {**value, name: ["chair"]}}
            )

    assert taken(store, edit).new == 2
    masks = open_labels(store)[0].masks
    assert masks is not None
    for found in masks.dense()[3:]:
        assert np.array_equal(found, NEW)


def test_erased_masks_are_deleted(store: Path) -> None:
    def erase(regions: Regions) -> None:
        for region in regions:
            region["value"]["rle"] = encode_brush(np.zeros((HEIGHT, WIDTH), dtype=bool))
        regions.append(painting(np.zeros((HEIGHT, WIDTH), dtype=bool), "chair"))

    report = taken(store, erase)
    assert (report.deleted, report.new) == (2, 0)
    assert [row["id"] for row in rows_of(store)] == [3]


def test_the_newest_completed_annotation_wins(store: Path) -> None:
    tasks = annotated(exported(store))
    first = tasks[0]["annotations"][0]
    newer = json.loads(json.dumps(first))
    grow(newer["result"])
    newer |= {"id": 90, "updated_at": "2026-06-01T00:00:00Z"}
    dropped = {**first, "id": 91, "result": [], "updated_at": "2026-07-01T00:00:00Z"}
    dropped["was_cancelled"] = True
    tasks[0]["annotations"] = [newer, dropped, first]
    tasks[1]["annotations"] = [dropped]
    report = import_tasks(store, written(store, tasks))
    assert report.frames == {"corrected": ["frame 0"], "not_annotated": ["frame 1"]}
    assert report.several == ["frame 0"]
    assert record_of(store).files["masks"].details["corrected"]["annotation"] == 90


def test_dry_run_writes_nothing(store: Path) -> None:
    tasks = annotated(exported(store), grow)
    before = bytes_of(store)
    path = written(store, tasks)
    report = import_tasks(store, path, ImportOptions(dry_run=True, accept_all=True))
    assert report.frames == {"corrected": ["frame 0", "frame 1"]}
    assert bytes_of(store) == before
    assert import_tasks(store, path).changed == report.changed == 2


def test_accept_all_protects_what_was_looked_at(store: Path) -> None:
    masks = (store / "masks" / "frame 0.json").read_bytes()
    report = taken(store, options=ImportOptions(accept_all=True))
    assert report.frames == {"accepted": ["frame 0", "frame 1"]}
    assert (store / "masks" / "frame 0.json").read_bytes() == masks
    file = record_of(store).files["masks"]
    assert is_corrected(file)
    assert LabelStore(store).manifest.recipes[file.recipe].models[-1].role == "human"
    again = taken(store, options=ImportOptions(accept_all=True))
    assert again.frames == {"unchanged": ["frame 0", "frame 1"]}


def test_rejected_frames_are_judged_anew(store: Path) -> None:
    labels = LabelStore(store)
    values = record_of(store).to_dict()
    poor = {**values, "status": "rejected", "reason": "masks", "quality": {"masks": 0.1}}
    labels.commit(FrameRecord.from_dict(poor))
    labels.finish()
    taken(store, grow, rejected=True)
    assert record_of(store).status == "labelled"
    values = record_of(store).to_dict()
    poor = {**values, "status": "rejected", "reason": "exposure", "quality": {"exposure": 0.1}}
    labels.commit(FrameRecord.from_dict(poor))
    taken(store, lambda regions: regions.pop(), rejected=True)
    assert (record_of(store).status, record_of(store).reason) == ("rejected", "exposure")


def test_a_segmenters_own_map_of_classes_stays(store: Path) -> None:
    """Only a map that was painted from the masks is painted anew."""
    from rangemask.structures.images import write_image

    path = store / "semantic" / "frame 0.png"
    write_image(path, np.full((HEIGHT, WIDTH), 2, dtype=np.uint8))
    before = path.read_bytes()
    taken(store, grow)
    assert path.read_bytes() == before
    assert not is_corrected(record_of(store).files["semantic"])


def test_a_frame_that_was_killed_between_file_and_record(store: Path) -> None:
    tasks = annotated(exported(store), grow, frames=1)
    record = (store / "records" / "frame 0.json").read_bytes()
    path = written(store, tasks)
    import_tasks(store, path)
    masks = (store / "masks" / "frame 0.json").read_bytes()
    (store / "records" / "frame 0.json").write_bytes(record)  # as if it had not come to it
    assert import_tasks(store, path).frames["corrected"] == ["frame 0"]
    assert (store / "masks" / "frame 0.json").read_bytes() == masks
    assert LabelStore(store).is_whole(record_of(store))
    assert is_corrected(record_of(store).files["masks"])
    assert LabelStore(store).manifest.classes == CLASSES


def test_a_frame_that_is_being_labelled_is_waited_for(store: Path) -> None:
    path = written(store, annotated(exported(store), grow, frames=1))
    reports: list[ImportReport] = []
    worker = Thread(target=lambda: reports.append(import_tasks(store, path)))
    with LabelStore(store).claim("frame 0") as ours:
        assert ours
        worker.start()
        worker.join(0.3)
        assert not reports
        assert record_of(store).files["masks"].recipe in LabelStore(store).manifest.recipes
    worker.join(20)
    assert reports[0].frames["corrected"] == ["frame 0"]
