"""Whatever a label file holds instead of what it should, readers speak and never crash."""

import copy
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from rangemask.data.readers import open_dataset
from rangemask.errors import InputError
from support import layouts
from support.layouts import Truth, Writer

STRANGE: tuple[Any, ...] = (
    None,
    True,
    -1,
    0,
    1.5,
    1e30,
    float("nan"),
    "",
    "a",
    [],
    [[]],
    {},
    {"": 1},
)


@pytest.fixture(scope="module")
def truths() -> list[Truth]:
    return layouts.truths()


def places(value: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    yield path
    items = value.items() if isinstance(value, dict) else ()
    items = enumerate(value) if isinstance(value, list) else items
    for key, child in items:
        yield from places(child, (*path, key))


def replaced(value: Any, path: tuple[Any, ...], other: Any) -> Any:
    if not path:
        return other
    changed = copy.copy(value)
    changed[path[0]] = replaced(value[path[0]], path[1:], other)
    return changed


@pytest.mark.parametrize(
    ("write", "file"),
    [
        (layouts.sa_1b, "sa_000000/sa_0.json"),
        (layouts.sa_v, "sav_000001_manual.json"),
        (layouts.coco, "annotations/instances_val2017.json"),
        (layouts.coco_panoptic, "annotations/panoptic_val2017.json"),
        (layouts.folders, "labels.json"),
        (layouts.yolo, "data.yaml"),
    ],
)
def test_one_value_replaced(write: Writer, file: str, truths: list[Truth], tmp_path: Path) -> None:
    write(tmp_path, truths[:1])
    kind = next(iter({type(entry).__name__ for entry in open_dataset(tmp_path).entries}))  # type: ignore[attr-defined]
    names = {"Sa1bEntry": "sa-1b", "SavEntry": "sa-v", "CocoEntry": "coco"}
    names |= {"PanopticEntry": "coco-panoptic", "FolderEntry": "folders", "YoloEntry": "yolo"}
    dump = yaml.safe_dump if file.endswith("yaml") else json.dumps
    data = yaml.safe_load((tmp_path / file).read_text())
    choices = [(place, strange) for place in places(data) for strange in STRANGE]
    refused = 0
    for place, strange in random.Random(0).sample(choices, min(len(choices), 150)):
        (tmp_path / file).write_text(dump(replaced(data, place, strange)))
        try:
            open_dataset(tmp_path, names[kind])[0]
        except InputError:
            refused += 1
        except IndexError:
            pytest.fail(f"opened without samples: {place} = {strange!r}")
        except Exception as error:  # noqa: BLE001
            pytest.fail(f"{place} = {strange!r}: {error!r}")
    assert refused > 10


@pytest.mark.parametrize("file", ["labels/train/0.txt", "data.yaml"])
def test_bytes_replaced(file: str, truths: list[Truth], tmp_path: Path) -> None:
    layouts.yolo(tmp_path, truths[:1])
    raw = (tmp_path / file).read_bytes()
    chance = random.Random(1)
    for _ in range(150):
        start = chance.randrange(len(raw))
        more = chance.randbytes(chance.randrange(6))
        (tmp_path / file).write_bytes(raw[:start] + more + raw[start + chance.randrange(9) :])
        try:
            for sample in open_dataset(tmp_path, "yolo"):
                assert sample.masks is not None
        except InputError:
            continue
