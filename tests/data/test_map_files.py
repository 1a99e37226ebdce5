import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from rangemask.data.map_files import read_depth, read_disparity, read_mask, read_masks, write_map
from rangemask.errors import InputError
from rangemask.structures import MaskSet
from rangemask.structures.images import write_image

relaxed = settings(
    deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
maps = hnp.arrays(
    np.float32,
    hnp.array_shapes(min_dims=2, max_dims=2, min_side=1, max_side=7),
    elements=st.one_of(st.floats(0.125, 200, width=32), st.just(np.nan)),
)


@relaxed
@given(values=maps)
@pytest.mark.parametrize("suffix", [".npy", ".pfm"])
def test_float_maps_come_back_exactly(tmp_path: Path, suffix: str, values: np.ndarray) -> None:
    path = tmp_path / f"map{suffix}"
    write_map(path, values)
    np.testing.assert_array_equal(read_disparity(path), values)
    np.testing.assert_array_equal(read_depth(path), values)


@relaxed
@given(values=maps)
def test_png_keeps_maps_to_half_a_step(tmp_path: Path, values: np.ndarray) -> None:
    write_map(tmp_path / "map.png", values)
    back = read_disparity(tmp_path / "map.png")
    np.testing.assert_array_equal(np.isnan(back), np.isnan(values))
    assert np.nanmax(np.abs(back - values), initial=0) <= 0.5 / 256


def test_a_tiny_value_is_not_mistaken_for_unknown(tmp_path: Path) -> None:
    write_map(tmp_path / "a.png", np.array([[0.0001, np.nan]], dtype=np.float32))
    assert read_disparity(tmp_path / "a.png")[0, 0] == pytest.approx(1 / 256)


def test_kitti_and_millimetres(tmp_path: Path) -> None:
    write_image(tmp_path / "d.png", np.array([[0, 256, 2000]], dtype=np.uint16))
    np.testing.assert_allclose(read_disparity(tmp_path / "d.png"), [[np.nan, 1, 2000 / 256]])
    np.testing.assert_allclose(
        read_depth(tmp_path / "d.png", scale_per_metre=1000), [[np.nan, 0.256, 2.0]]
    )


def test_infinity_and_nonpositive_depth_are_unknown(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.array([[np.inf, -np.inf, 0.0, -1.0, 2.0]]))
    assert np.isnan(read_disparity(tmp_path / "a.npy")).tolist() == [[True, True] + [False] * 3]
    assert np.isnan(read_depth(tmp_path / "a.npy")).tolist() == [[True] * 4 + [False]]


def test_a_pfm_written_by_hand(tmp_path: Path) -> None:
    """Rows bottom-up; a positive scale is big-endian."""
    values = np.array([[1, 2], [3, np.inf]])
    for order, scale in (("<", b"-1.0"), (">", b"1.0")):
        raw = values[::-1].astype(f"{order}f4").tobytes()
        (tmp_path / "a.pfm").write_bytes(b"Pf\n2 2\n" + scale + b"\n" + raw)
        np.testing.assert_array_equal(read_disparity(tmp_path / "a.pfm"), [[1, 2], [3, np.nan]])


@relaxed
@given(raw=st.binary(max_size=80))
@pytest.mark.parametrize("prefix", [b"", b"Pf\n", b"Pf\n3 2\n-1\n", b"\x93NUMPY"])
@pytest.mark.parametrize("suffix", [".pfm", ".npy", ".png"])
def test_any_bytes_are_a_map_or_a_clear_error(
    tmp_path: Path, suffix: str, prefix: bytes, raw: bytes
) -> None:
    path = tmp_path / f"any{suffix}"
    path.write_bytes(prefix + raw)
    try:
        values = read_disparity(path)
    except InputError as error:
        assert "any" in str(error)
    else:
        assert values.ndim == 2
        assert values.dtype == np.float32


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.pfm", b"", "is empty"),
        ("a.pfm", b"P5\n2 2\n255\n", "expected a PFM header"),
        ("a.pfm", b"PF\n2 2\n-1\n" + bytes(48), "three colours"),
        ("a.pfm", b"Pf\n2 2\n-1\n" + bytes(15), "need 16 bytes, the file has 15"),
        ("a.pfm", b"Pf\n999999999 999999999\n-1\n", "Was it cut off"),
        ("a.pfm", b"Pf\n0 2\n-1\n", "impossible PFM header"),
        ("a.pfm", b"Pf\n2 2\n0\n" + bytes(16), "impossible PFM header"),
        ("a.pfm", b"Pf\n2 2\n1e1e1\n" + bytes(16), "not a number"),
        ("a.npy", b"no array", "not an array file"),
        ("a.tif", b"x", "expected a map in"),
    ],
)
def test_damaged_maps_are_named(tmp_path: Path, name: str, content: bytes, words: str) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=f"{name}.*{words}"):
        read_disparity(tmp_path / name)


def test_maps_of_another_kind_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        read_disparity(tmp_path / "gone.npy")
    np.save(tmp_path / "three.npy", np.zeros((2, 2, 3)))
    with pytest.raises(InputError, match=r"\(H, W\), found float64 \(2, 2, 3\)"):
        read_disparity(tmp_path / "three.npy")
    np.save(tmp_path / "objects.npy", np.array([[{}]]), allow_pickle=True)
    with pytest.raises(InputError, match="not an array file"):
        read_disparity(tmp_path / "objects.npy")
    write_image(tmp_path / "colour.png", np.zeros((2, 2, 3), dtype=np.uint8))
    with pytest.raises(InputError, match="colour picture"):
        read_disparity(tmp_path / "colour.png")
    with pytest.raises(InputError, match="scale_per_metre"):
        read_depth(tmp_path / "three.npy", scale_per_metre=0)


def test_what_does_not_fit_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="expected a name ending in"):
        write_map(tmp_path / "a.jpg", np.ones((2, 2), dtype=np.float32))
    with pytest.raises(InputError, match=r"holds 0 to 255\.996"):
        write_map(tmp_path / "a.png", np.full((2, 2), 300, dtype=np.float32))
    assert list(tmp_path.iterdir()) == []


def test_masks_of_every_kind(tmp_path: Path) -> None:
    ids = np.array([[0, 7, 7], [300, 0, 7]], dtype=np.uint16)
    write_image(tmp_path / "ids.png", ids)
    np.save(tmp_path / "ids.npy", ids)
    expected = np.stack([ids == 7, ids == 300])
    np.testing.assert_array_equal(read_masks(tmp_path / "ids.png").dense(), expected)
    np.testing.assert_array_equal(read_masks(tmp_path / "ids.npy").dense(), expected)
    np.testing.assert_array_equal(read_mask(tmp_path / "ids.png"), ids > 0)
    masks = MaskSet.from_dense(expected, labels=["a", "b"], scores=[0.5, 1.0])
    rows = [
        {"segmentation": rle.to_coco(), "category_id": i, "score": score}
        for i, (rle, score) in enumerate(zip(masks.rles, masks.scores, strict=True))
    ]
    (tmp_path / "results.json").write_text(json.dumps(rows))
    assert read_masks(tmp_path / "results.json").scores == (0.5, 1.0)
    whole = {
        "images": [{"height": 2, "width": 3}],
        "categories": [{"id": 0, "name": "a"}, {"id": 1, "name": "b"}],
        "annotations": rows,
    }
    (tmp_path / "instances.json").write_text(json.dumps(whole))
    assert read_masks(tmp_path / "instances.json") == masks
    (tmp_path / "none.json").write_text(json.dumps({**whole, "annotations": []}))
    assert len(read_masks(tmp_path / "none.json")) == 0


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("a.json", "[", "not COCO"),
        ("a.json", "3", "not COCO"),
        ("a.json", "[]", "not COCO"),
        ("a.json", '[{"segmentation": [[1, 2]]}]', "not COCO|not a COCO"),
        ("a.json", '[{"image_id": 1}, {"image_id": 2}]', "masks of one image, found 2"),
        ("a.txt", "x", "expected an image of ids"),
    ],
)
def test_damaged_masks_are_named(tmp_path: Path, name: str, content: str, words: str) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(InputError, match=f"{name}.*({words})"):
        read_masks(tmp_path / name)


def test_a_picture_of_masks_is_no_mask(tmp_path: Path) -> None:
    write_image(tmp_path / "a.png", np.zeros((2, 2, 3), dtype=np.uint8))
    with pytest.raises(InputError, match="found 3 colours"):
        read_masks(tmp_path / "a.png")
