import json
import re
from pathlib import Path
from typing import Any
from urllib.parse import unquote
from xml.etree import ElementTree

import numpy as np
import pytest

from rangemask.data.store import LabelStore, Recipe
from rangemask.errors import InputError, OutputError
from rangemask.labels.label_studio import ExportOptions, export_tasks
from rangemask.labels.label_studio.brush import decode_brush
from rangemask.labels.label_studio.config import colour_of
from rangemask.labels.label_studio.polygons import rasterise
from support.label_studio import CLASSES, HEIGHT, WIDTH, exported, make_store, shapes


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return make_store(tmp_path / "my labels")


def test_brush_tasks_are_the_masks(store: Path) -> None:
    tasks = exported(store)
    assert [task["data"]["rangemask"]["frame"] for task in tasks] == ["frame 0", "frame 1"]
    (prediction,) = tasks[0]["predictions"]
    assert prediction["score"] == 0.8
    key = next(iter(LabelStore(store).manifest.recipes))
    assert prediction["model_version"] == f"sam2.1-tiny {key}"
    regions = prediction["result"]
    assert len(regions) == 2  # the third mask has no pixels
    for region, mask in zip(regions, shapes(), strict=False):
        assert (region["original_height"], region["original_width"]) == (HEIGHT, WIDTH)
        assert (region["type"], region["image_rotation"]) == ("brushlabels", 0)
        assert (region["from_name"], region["to_name"]) == ("brush", "image")
        assert np.array_equal(decode_brush(region["value"]["rle"], HEIGHT, WIDTH), mask)
    assert [region["value"]["brushlabels"] for region in regions] == [["person"], ["chair"]]
    assert regions[0]["meta"] == {
        "text": ["score 0.75, 1.50 m"],
        "score": 0.75,
        "mask": 1,
        "distance_m": 1.5,
    }


def test_polygon_tasks_are_the_parts_of_the_masks(store: Path) -> None:
    regions = exported(store, shape="polygon", tolerance_px=0.0)[0]["predictions"][0]["result"]
    found = dict.fromkeys(("person", "chair"), False)
    for region in regions:
        points = np.array(region["value"]["points"]) * (WIDTH, HEIGHT) / 100
        (label,) = region["value"]["polygonlabels"]
        found[label] = found[label] | rasterise(points, HEIGHT, WIDTH)
    assert np.array_equal(found["person"], shapes()[0])
    assert np.array_equal(found["chair"], shapes()[1])
    # The disc is cut through its hole, the table is two parts.
    names = [region["id"] for region in regions]
    assert [re.sub(r"^rm\w+", "rm", name) for name in names] == ["rm", "rm-2", "rm", "rm-2"]


def test_ids_are_stable_and_unique(store: Path) -> None:
    first, again = exported(store), exported(store, shape="polygon")
    ids = [region["id"] for task in first for region in task["predictions"][0]["result"]]
    assert len(set(ids)) == len(ids) == 4
    later = [region["id"] for task in again for region in task["predictions"][0]["result"]]
    assert set(ids) < set(later)
    assert len({task["data"]["rangemask"]["store"] for task in first + again}) == 1


@pytest.mark.parametrize(
    ("options", "address"),
    [
        ({}, "/data/local-files/?d=my labels/images/frame 0.png"),
        ({"local_files": "."}, "/data/local-files/?d=images/frame 0.png"),
        ({"local_files": "../.."}, "/data/local-files/?d={parent}/my labels/images/frame 0.png"),
        ({"image_url": "https://host/x/"}, "https://host/x/images/frame 0.png"),
    ],
)
def test_addresses(store: Path, options: dict[str, Any], address: str) -> None:
    if "local_files" in options:
        options = {"local_files": store / options["local_files"]}
    found = exported(store, **options)[0]["data"]["image"]
    assert " " not in found
    assert unquote(found) == address.format(parent=store.parent.name)


def test_the_configuration_has_all_classes(store: Path) -> None:
    exported(store)
    root = ElementTree.parse(store.parent / "label_config.xml").getroot()  # noqa: S314 - ours
    for tag in ("BrushLabels", "PolygonLabels"):
        control = root.find(tag)
        assert control is not None
        assert tuple(label.get("value") for label in control) == CLASSES
        assert len({label.get("background") for label in control}) == len(CLASSES)
    assert len({colour_of(index) for index in range(255)}) > 250


def test_names_of_classes_may_hold_anything(store: Path) -> None:
    begun = LabelStore(store)
    manifest = begun.manifest
    begun.begin(list(manifest.recipes.values()), classes=["<\"a\" & 'b'>"], rig=None, min_quality=0)
    begun.finish()
    exported(store)
    root = ElementTree.parse(store.parent / "label_config.xml").getroot()  # noqa: S314 - ours
    assert [label.get("value") for label in root.iter("Label")][3] == "<\"a\" & 'b'>"


def test_quality_and_rejected_frames(store: Path) -> None:
    labels = LabelStore(store)
    record = labels.record("frame 1")
    assert record is not None
    values = record.to_dict()
    rejected = type(record).from_dict(
        {**values, "status": "rejected", "reason": "masks", "quality": {"masks": 0.3}}
    )
    labels.commit(rejected)
    labels.finish()
    assert len(exported(store)) == 1
    assert len(exported(store, rejected=True)) == 2
    assert len(exported(store, rejected=True, min_quality=0.5)) == 1
    with pytest.raises(InputError, match="none of 0 frames has masks"):
        exported(store, min_quality=0.95)


def test_frames_without_masks_are_no_tasks(store: Path) -> None:
    labels = LabelStore(store)
    record = labels.record("frame 1")
    assert record is not None
    values = record.to_dict()
    del values["files"]["masks"]
    labels.commit(type(record).from_dict(values))
    labels.finish()
    report = export_tasks(store, store.parent / "tasks.json")
    assert (report.tasks, report.without_masks, report.empty) == (1, ["frame 1"], 1)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"shape": "box"}, "shape must be"),
        ({"tolerance_px": -1}, "tolerance_px"),
        ({"tolerance_px": float("nan")}, "tolerance_px"),
        ({"min_quality": 2}, "min_quality"),
        ({"image_url": "http://x", "local_files": Path()}, "one address"),
    ],
)
def test_bad_options_speak(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        ExportOptions(**options)


def test_bad_places_speak(store: Path, tmp_path: Path) -> None:
    (tmp_path / "other").mkdir()
    for place in (tmp_path / "other", tmp_path / "nowhere"):
        with pytest.raises(InputError, match="do not lie in"):
            exported(store, local_files=place)
    with pytest.raises(InputError, match="holds no labels"):
        export_tasks(tmp_path / "other", tmp_path / "tasks.json")
    with pytest.raises(InputError, match="labelling configuration"):
        export_tasks(store, tmp_path / "label_config.xml")
    with pytest.raises(OutputError, match="cannot be written"):
        export_tasks(store, store / "manifest.json" / "tasks.json")


def test_a_damaged_masks_file_speaks_and_leaves_nothing(store: Path, tmp_path: Path) -> None:
    path = store / "masks" / "frame 1.json"
    path.write_bytes(path.read_bytes()[:-30])
    with pytest.raises(InputError, match=r"frame 1\.json"):
        exported(store)
    assert not list(tmp_path.glob("*tasks*"))


def test_masks_with_one_id_speak(store: Path) -> None:
    path = store / "masks" / "frame 0.json"
    data = json.loads(path.read_text())
    data["annotations"][1]["id"] = 1
    path.write_text(json.dumps(data))
    with pytest.raises(InputError, match="an id of its own"):
        exported(store)


def test_a_damaged_store_id_speaks(store: Path) -> None:
    (store / "label-studio-id.txt").write_text("mine\n")
    with pytest.raises(InputError, match="32 hexadecimal digits"):
        exported(store)


def test_a_recipe_that_is_lost_is_still_named(store: Path) -> None:
    manifest = json.loads((store / "manifest.json").read_text())
    (key,) = manifest["recipes"]
    assert Recipe.from_dict(manifest["recipes"][key]).key == key
    manifest["recipes"] = {}
    (store / "manifest.json").write_text(json.dumps(manifest))
    assert exported(store)[0]["predictions"][0]["model_version"] == key


def test_two_first_exports_agree_on_the_id(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def too_late(source: Path, target: Path) -> None:
        Path(target).write_text("a" * 32 + "\n")
        raise FileExistsError(source)

    monkeypatch.setattr("rangemask.labels.label_studio.marker.os.link", too_late)
    assert exported(store)[0]["data"]["rangemask"]["store"] == "a" * 32


def test_an_id_on_a_disk_without_links(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def without_links(source: Path, target: Path) -> None:
        raise PermissionError(source, target)

    monkeypatch.setattr("rangemask.labels.label_studio.marker.os.link", without_links)
    found = exported(store)[0]["data"]["rangemask"]["store"]
    assert (store / "label-studio-id.txt").read_text() == found + "\n"
    assert not list(store.glob(".label-studio-id*"))
