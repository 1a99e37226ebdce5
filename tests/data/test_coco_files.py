import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from rangemask.data.coco_files import read_coco
from rangemask.data.map_files import read_masks
from rangemask.errors import InputError
from rangemask.structures import MaskSet, Scene, SceneObject, StereoFrame

relaxed = settings(
    deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
MASKS = MaskSet.from_dense(
    np.array([[[0, 1, 1], [0, 0, 1]], [[1, 0, 0], [0, 1, 0]]], dtype=bool),
    labels=["a", "b"],
    scores=[0.5, 1.0],
)
RLE = MASKS.rles[0].to_coco()
IMAGE = {"id": 7, "file_name": "day/7.png", "height": 2, "width": 3}


def rows_of(masks: MaskSet) -> list[dict[str, Any]]:
    return [
        {"image_id": 7, "segmentation": rle.to_coco(), "category_id": i, "score": score}
        for i, (rle, score) in enumerate(zip(masks.rles, masks.scores, strict=True))
    ]


def data_set(**changes: object) -> dict[str, Any]:
    categories = [{"id": 0, "name": "a"}, {"id": 1, "name": "b"}]
    return {
        "images": [IMAGE],
        "categories": categories,
        "annotations": rows_of(MASKS),
        **changes,
    }


def written(folder: Path, data: object) -> Path:
    path = folder / "any.json"
    path.write_text(json.dumps(data))
    return path


def test_instances_of_one_image(tmp_path: Path) -> None:
    path = written(tmp_path, data_set())
    assert read_masks(path) == MASKS
    assert read_coco(path).masks == {"7": MASKS}
    bare = [
        {key: value for key, value in row.items() if key != "image_id"} for row in rows_of(MASKS)
    ]
    assert read_masks(written(tmp_path, data_set(annotations=bare))) == MASKS
    empty = read_masks(written(tmp_path, data_set(annotations=[])))
    assert (len(empty), empty.height, empty.width) == (0, 2, 3)


def test_a_list_of_results(tmp_path: Path) -> None:
    data = read_coco(written(tmp_path, data_set(annotations=[])))
    path = written(tmp_path, rows_of(MASKS))
    alone = read_masks(path)
    assert (alone.scores, alone.labels) == ((0.5, 1.0), ("object", "object"))
    assert read_coco(path, known=data).masks == {"7": MASKS}
    nothing = read_coco(written(tmp_path, []), known=data).masks["7"]
    assert (len(nothing), nothing.height, nothing.width) == (0, 2, 3)
    stray = [{**rows_of(MASKS)[0], "image_id": 8}]
    assert list(read_coco(written(tmp_path, stray), known=data).masks) == ["7", "8"]


def test_what_a_scene_saves_is_read(tmp_path: Path, frame: StereoFrame) -> None:
    dense = np.zeros((1, 48, 64), dtype=bool)
    dense[0, 5:9, 7:20] = True
    thing = SceneObject(id=1, label="cup", score=0.75, rle=MaskSet.from_dense(dense).rles[0])
    folder = Scene(frame=frame, objects=(thing,)).save(tmp_path)
    masks = read_masks(folder / "segmentation" / "masks.json")
    assert (masks.labels, masks.scores) == (("cup",), (0.75,))
    np.testing.assert_array_equal(masks.dense(), dense)


def test_names_that_need_their_folder(tmp_path: Path) -> None:
    images = [{**IMAGE, "id": i, "file_name": f"{day}/7.png"} for i, day in enumerate("ab")]
    path = written(tmp_path, data_set(images=images, annotations=[]))
    assert list(read_coco(path).masks) == ["a/7", "b/7"]
    with pytest.raises(InputError, match="masks of one image, found 2"):
        read_masks(path)


def test_runs_uncompressed_and_polygons_and_crowds(tmp_path: Path) -> None:
    image = {**IMAGE, "height": 5, "width": 6}
    square = np.zeros((5, 6), dtype=bool)
    square[1:4, 2:4] = True
    runs = [11, 3, 2, 3, 11]  # columns, outside first
    polygon = [2, 1, 4, 1, 4, 4, 2, 4]
    far = [0, 4, 1, 4, 1, 5, 0, 5]
    rows = [
        {"image_id": 7, "segmentation": {"size": [5, 6], "counts": runs}},
        {"image_id": 7, "segmentation": [polygon]},
        {"image_id": 7, "segmentation": [polygon, far]},
        {"image_id": 7, "segmentation": {"size": [5, 6], "counts": runs}, "iscrowd": 1},
        {"image_id": 7, "segmentation": []},
    ]
    masks = read_masks(written(tmp_path, data_set(images=[image], annotations=rows))).dense()
    assert len(masks) == 4
    np.testing.assert_array_equal(masks[0], square)
    np.testing.assert_array_equal(masks[1], square)
    square[4, 0] = True
    np.testing.assert_array_equal(masks[2], square)
    assert not masks[3].any()


@relaxed
@given(
    dense=hnp.arrays(np.bool_, st.tuples(st.integers(1, 4), st.integers(1, 6), st.integers(1, 6)))
)
def test_masks_come_back(tmp_path: Path, dense: np.ndarray) -> None:
    rows = [{"segmentation": rle.to_coco()} for rle in MaskSet.from_dense(dense).rles]
    np.testing.assert_array_equal(read_masks(written(tmp_path, rows)).dense(), dense)


junk = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 2**70) | st.floats() | st.text(max_size=4),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(["segmentation", "size", "counts", "image_id", "id", "score"]),
            inner,
            max_size=3,
        )
    ),
    max_leaves=8,
)


@relaxed
@given(value=junk, more=junk)
@pytest.mark.parametrize(
    "place", ["all", "row", "segmentation", "counts", "size", "image", "score", "category"]
)
def test_any_json_is_masks_or_a_clear_error(
    tmp_path: Path, place: str, value: object, more: object
) -> None:
    row, rle = rows_of(MASKS)[0], RLE
    data: object = {
        "all": value,
        "row": [value, more],
        "segmentation": data_set(annotations=[{**row, "segmentation": value}]),
        "counts": [{**row, "segmentation": {**rle, "counts": value}}],
        "size": [{**row, "segmentation": {"size": value, "counts": more}}],
        "image": data_set(images=[value, {**IMAGE, "id": more}]),
        "score": [{**row, "score": value, "image_id": more}],
        "category": data_set(categories=[{"id": value, "name": more}]),
    }[place]
    path = written(tmp_path, data)
    try:
        masks = read_coco(path).masks
    except InputError as error:
        assert "any.json" in str(error)
    else:
        assert all(isinstance(some, MaskSet) for some in masks.values())


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (3, "list or object, found int"),
        ({}, "not masks of COCO's layout"),
        ([], "no masks and no table of images"),
        ([{"segmentation": [[1, 2, 3, 4, 5, 6]]}], "needs the image's size"),
        ([{"segmentation": {"size": [2, 3], "counts": [7]}}], "do not add up"),
        ([{"segmentation": {"size": [2, 3], "counts": [7, -1]}}], "do not add up"),
        ([{"segmentation": {"size": [2, 3], "counts": [2, 2.0, 2]}}], "do not add up"),
        ([{"segmentation": {"size": [99999, 99999], "counts": "0"}}], "expected 1 to 64 million"),
        ([{"segmentation": RLE, "score": float("nan")}], "not a finite number"),
        ([{"image_id": i, "segmentation": RLE} for i in (1, 2)], "masks of one image, found 2"),
        (data_set(annotations=[{"image_id": 7, "segmentation": [[1, 2, 3, 4]]}]), "three corners"),
        (
            data_set(annotations=[{"image_id": 7, "segmentation": [[0, 0, 1, 1, 1e9, 0]]}]),
            "leaves its image",
        ),
        (data_set(images=[IMAGE, IMAGE]), "two images have one id"),
        (data_set(images=[IMAGE, {**IMAGE, "id": 8}]), "two images have one file_name"),
        (data_set(images=[{**IMAGE, "height": 9}]), "all masks must be 3 x 9 px"),
    ],
)
def test_damaged_files_are_named(tmp_path: Path, data: object, words: str) -> None:
    with pytest.raises(InputError, match=rf"any\.json: .*{words}"):
        read_masks(written(tmp_path, data))


def test_files_that_are_no_json(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"gone\.json: .*does not exist"):
        read_coco(tmp_path / "gone.json")
    with pytest.raises(InputError, match=r"is a folder"):
        read_coco(tmp_path)
    path = tmp_path / "any.json"
    for raw, words in ((b"", "is empty"), (b"[", "not masks"), (b"\xff", "not masks")):
        path.write_bytes(raw)
        with pytest.raises(InputError, match=rf"any\.json: .*{words}"):
            read_masks(path)
    path.write_text("[" * 100_000)
    with pytest.raises(InputError, match=r"any\.json: not masks"):
        read_coco(path)
