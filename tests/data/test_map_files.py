from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from PIL import Image

from rangemask.data.map_files import (
    read_depth,
    read_disparity,
    read_labels,
    read_mask,
    read_masks,
    read_valid,
    write_map,
)
from rangemask.errors import InputError, OutputError
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


HEADER = "{'descr': '<f8', 'fortran_order': False, 'shape': (3, 2), }"


def npy(header: str, body: bytes, version: int = 1) -> bytes:
    length = len(header).to_bytes(2 if version == 1 else 4, "little")
    return b"\x93NUMPY" + bytes([version, 0]) + length + header.encode("latin1") + body


@relaxed
@given(
    header=st.one_of(
        st.text(alphabet="{}[]()'\"descrfontaup:<>|=8bO ,0129-+eE.#\\\n", max_size=60),
        st.tuples(st.integers(0, len(HEADER)), st.characters(max_codepoint=255)).map(
            lambda cut: HEADER[: cut[0]] + cut[1] + HEADER[cut[0] + 1 :]
        ),
    ),
    version=st.sampled_from([1, 2, 3]),
)
def test_any_header_is_an_array_or_a_clear_error(tmp_path: Path, header: str, version: int) -> None:
    path = tmp_path / "any.npy"
    path.write_bytes(npy(header, bytes(48), version))
    try:
        values = read_disparity(path)
    except InputError as error:
        assert "any.npy" in str(error)
    else:
        assert values.ndim == 2
        assert values.dtype == np.float32


@pytest.mark.parametrize("dtype", ["<f2", ">f4", "<f8", "<i4", ">u2"])
@pytest.mark.parametrize("order", ["C", "F"])
def test_arrays_of_every_number_come_back(tmp_path: Path, dtype: str, order: str) -> None:
    values = np.array([[1, 2, 3], [4, 5, 6]], dtype=dtype, order=order)
    np.save(tmp_path / "a.npy", values)
    np.testing.assert_array_equal(read_disparity(tmp_path / "a.npy"), values)


def test_what_float32_cannot_hold_is_unknown(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.array([[1e300, 1.0]]))
    np.testing.assert_array_equal(read_disparity(tmp_path / "a.npy"), [[np.nan, 1]])


@relaxed
@given(values=maps, cut=st.integers(1, 40), suffix=st.sampled_from([".npy", ".pfm"]))
def test_a_map_cut_anywhere_is_refused(
    tmp_path: Path, values: np.ndarray, cut: int, suffix: str
) -> None:
    path = tmp_path / f"cut{suffix}"
    write_map(path, values)
    raw = path.read_bytes()
    path.write_bytes(raw[: max(len(raw) - cut, 0)])
    with pytest.raises(InputError, match=f"cut{suffix}"):
        read_disparity(path)


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
        ("a.npy", npy(HEADER, bytes(47)), "need 48 bytes, the file has 47"),
        ("a.npy", npy(HEADER.replace("3, 2", "9000, 7000"), b""), "the file has 0"),
        ("a.npy", npy(HEADER.replace("3, 2", "999999, 999999"), b""), "expected 1 to 64 million"),
        ("a.npy", npy(HEADER.replace("3, 2", "3, 0"), b""), "expected 1 to 64 million"),
        ("a.npy", npy(HEADER.replace("3, 2", "-3, -2"), b""), "expected 1 to 64 million"),
        ("a.npy", npy(HEADER, bytes(48), version=3), "not an array file"),
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
    with pytest.raises(InputError, match="found object"):
        read_disparity(tmp_path / "objects.npy")
    np.save(tmp_path / "bool.npy", np.ones((2, 2), dtype=bool))
    with pytest.raises(InputError, match=r"expected numbers of shape .* found bool"):
        read_disparity(tmp_path / "bool.npy")
    np.savez(tmp_path / "several.npz", a=np.ones((2, 2)))
    (tmp_path / "several.npz").rename(tmp_path / "several.npy")
    with pytest.raises(InputError, match="not an array file"):
        read_disparity(tmp_path / "several.npy")
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
    with pytest.raises(InputError, match=r"shape \(H, W\), got \(2,\)"):
        write_map(tmp_path / "a.npy", np.ones(2, dtype=np.float32))
    assert list(tmp_path.iterdir()) == []
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot be written"):
        write_map(tmp_path / "file" / "a.npy", np.ones((2, 2), dtype=np.float32))


@pytest.mark.parametrize("name", ["A.NPY", "A.PFM", "A.PNG"])
def test_capital_suffixes_name_formats_too(tmp_path: Path, name: str) -> None:
    write_map(tmp_path / name, np.ones((2, 2), dtype=np.float32))
    assert [path.name for path in tmp_path.iterdir()] == [name]
    assert read_disparity(tmp_path / name).tolist() == [[1, 1], [1, 1]]


def test_a_pfm_with_lines_of_windows(tmp_path: Path) -> None:
    raw = np.array([[1, 2]], dtype="<f4").tobytes()
    (tmp_path / "a.pfm").write_bytes(b"Pf\r\n2 1\r\n-1.0\r\n" + raw)
    assert read_disparity(tmp_path / "a.pfm").tolist() == [[1, 2]]


def test_indices_of_a_palette_are_ids(tmp_path: Path) -> None:
    """VOC and DAVIS store masks so; read as a picture they would be colours."""
    image = Image.fromarray(np.array([[0, 1, 2], [0, 2, 2]], dtype=np.uint8), "P")
    image.putpalette([0, 0, 0, 128, 0, 0, 0, 128, 0])
    image.save(tmp_path / "a.png")
    assert read_labels(tmp_path / "a.png").tolist() == [[0, 1, 2], [0, 2, 2]]
    assert [int(mask.sum()) for mask in read_masks(tmp_path / "a.png")] == [1, 3]


def test_masks_of_one_bit(tmp_path: Path) -> None:
    inside = np.array([[True, False], [False, True]])
    Image.fromarray(inside).save(tmp_path / "a.png")
    np.save(tmp_path / "a.npy", inside)
    for name in ("a.png", "a.npy"):
        np.testing.assert_array_equal(read_mask(tmp_path / name), inside)
        np.testing.assert_array_equal(read_valid(tmp_path / name), inside)
        np.testing.assert_array_equal(read_masks(tmp_path / name).dense(), inside[None])


def test_only_white_is_valid_where_white_occurs(tmp_path: Path) -> None:
    write_image(tmp_path / "a.png", np.array([[0, 128, 255]], dtype=np.uint8))
    assert read_valid(tmp_path / "a.png").tolist() == [[False, False, True]]
    assert read_mask(tmp_path / "a.png").tolist() == [[False, True, True]]
    write_image(tmp_path / "b.png", np.array([[0, 1, 2]], dtype=np.uint8))
    assert read_valid(tmp_path / "b.png").tolist() == [[False, True, True]]


def test_a_map_is_no_set_of_masks(tmp_path: Path) -> None:
    write_image(tmp_path / "a.png", np.arange(20_000, dtype=np.uint16).reshape(100, 200))
    with pytest.raises(InputError, match=r"a\.png: .*19999 different ones.*disparity"):
        read_masks(tmp_path / "a.png")
    np.save(tmp_path / "a.npy", np.ones((2, 2), dtype=np.float32))
    with pytest.raises(InputError, match=r"a\.npy: expected whole numbers or bool"):
        read_masks(tmp_path / "a.npy")


def test_many_ids_keep_their_order(tmp_path: Path) -> None:
    ids = np.arange(1, 51, dtype=np.uint8).reshape(5, 10)
    write_image(tmp_path / "a.png", ids)
    masks = read_masks(tmp_path / "a.png")
    assert len(masks) == len(masks.scores) == 50
    np.testing.assert_array_equal(masks.dense(), ids[None] == ids.reshape(-1, 1, 1))


def test_masks_of_every_kind(tmp_path: Path) -> None:
    ids = np.array([[0, 7, 7], [300, 0, 7]], dtype=np.uint16)
    write_image(tmp_path / "ids.png", ids)
    np.save(tmp_path / "ids.npy", ids)
    expected = np.stack([ids == 7, ids == 300])
    np.testing.assert_array_equal(read_masks(tmp_path / "ids.png").dense(), expected)
    np.testing.assert_array_equal(read_masks(tmp_path / "ids.npy").dense(), expected)
    np.testing.assert_array_equal(read_mask(tmp_path / "ids.png"), ids > 0)


def test_no_name_of_masks(tmp_path: Path) -> None:
    (tmp_path / "a.txt").write_text("x")
    with pytest.raises(InputError, match=r"a\.txt: expected an image of ids"):
        read_masks(tmp_path / "a.txt")


def test_a_picture_of_masks_is_no_mask(tmp_path: Path) -> None:
    write_image(tmp_path / "a.png", np.zeros((2, 2, 3), dtype=np.uint8))
    with pytest.raises(InputError, match="found 3 colours"):
        read_masks(tmp_path / "a.png")
