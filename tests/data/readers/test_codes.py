"""Laws of the codes: what is written is read back, within the code's step."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from rangemask.data.readers import decode_fsd, decode_panoptic, encode_fsd, encode_panoptic
from rangemask.data.readers.disparity_codes import read_coded
from rangemask.data.readers.yolo import draw_polygon, parse_line
from rangemask.errors import InputError
from rangemask.structures.images import write_image
from support.layouts import outline

relaxed = settings(deadline=None, max_examples=60)
disparities = hnp.arrays(
    np.float32,
    hnp.array_shapes(min_dims=2, max_dims=2, max_side=5),
    elements=st.one_of(st.just(float("nan")), st.floats(0, 16_000, width=32)),
)


@relaxed
@given(disparity=disparities, base=st.sampled_from([255, 256]))
def test_fsd_colours_give_back_the_disparity(disparity: np.ndarray, base: int) -> None:
    colours = encode_fsd(disparity, base)
    assert (colours.dtype, colours.shape) == (np.uint8, (*disparity.shape, 3))
    back = decode_fsd(colours, base)
    assert back.dtype == np.float32
    np.testing.assert_array_equal(np.isfinite(back), np.isfinite(disparity))
    known = np.isfinite(disparity)
    # Half a step, a whole one next to 0, and what float32 can tell.
    allowed = np.where(disparity[known] < 0.0005, 0.001, 0.0005) + 1e-6 * disparity[known] + 1e-6
    assert (np.abs(back[known] - disparity[known]) <= allowed).all()
    np.testing.assert_array_equal(encode_fsd(back, base), colours)


def test_fsd_colours_by_hand() -> None:
    colours = np.array([[[0, 0, 0], [0, 0, 1], [0, 1, 0], [1, 0, 0], [2, 10, 7]]], dtype=np.uint8)
    expected = [[np.nan, 0.001, 0.255, 65.025, (2 * 65025 + 10 * 255 + 7) / 1000]]
    np.testing.assert_allclose(decode_fsd(colours), np.array(expected, np.float32))
    assert decode_fsd(colours, 256)[0, 2] == np.float32(0.256)
    assert decode_fsd(colours, 256)[0, 3] == np.float32(65.536)


@pytest.mark.parametrize("value", [-1.0, 17_000.0])
def test_fsd_refuses_what_does_not_fit(value: float) -> None:
    with pytest.raises(InputError, match=r"colours hold disparities of 0 to 16646\.4 px"):
        encode_fsd(np.full((1, 1), value, np.float32))


def test_fsd_refuses_other_bases_and_arrays() -> None:
    with pytest.raises(InputError, match="255 or 256, got 254"):
        decode_fsd(np.zeros((1, 1, 3), np.uint8), 254)
    with pytest.raises(InputError, match="255 or 256, got 2"):
        encode_fsd(np.zeros((1, 1), np.float32), 2)
    with pytest.raises(InputError, match="colour-coded disparity"):
        decode_fsd(np.zeros((1, 1), np.uint8))


@relaxed
@given(
    ids=hnp.arrays(
        np.uint32,
        hnp.array_shapes(min_dims=2, max_dims=2, max_side=5),
        elements=st.integers(0, 2**24 - 1),
    )
)
def test_panoptic_colours_give_back_the_ids(ids: np.ndarray) -> None:
    np.testing.assert_array_equal(decode_panoptic(encode_panoptic(ids)), ids)


def test_panoptic_colours_by_hand() -> None:
    assert decode_panoptic(np.array([[[1, 2, 3]]], np.uint8)).item() == 1 + 2 * 256 + 3 * 65536
    with pytest.raises(InputError, match="ids below 16777216, found 16777216"):
        encode_panoptic(np.array([[1 << 24]], np.uint32))
    with pytest.raises(InputError, match="ids as colours"):
        decode_panoptic(np.zeros((2, 2), np.uint8))


@relaxed
@given(
    centre=st.tuples(st.floats(12, 36), st.floats(12, 28)),
    radii=st.tuples(st.floats(5, 18), st.floats(5, 18)),
    box=st.tuples(st.integers(5, 30), st.integers(5, 20), st.integers(8, 17), st.integers(8, 17)),
)
def test_polygons_of_a_mask_draw_the_mask(
    centre: tuple[float, float],
    radii: tuple[float, float],
    box: tuple[int, int, int, int],
) -> None:
    rows, columns = np.mgrid[:40, :48]
    mask = ((columns - centre[0]) / radii[0]) ** 2 + ((rows - centre[1]) / radii[1]) ** 2 <= 1
    x, y, width, height = box
    if mask[y : y + height, x : x + width].any():  # else there would be two pieces
        mask[y : y + height, x : x + width] = True
    line = " ".join(["1", *(f"{value:.6f}" for value in (outline(mask) / (48, 40)).ravel())])
    number, corners = parse_line(line, 2)
    drawn = draw_polygon(corners, 40, 48).decode()
    assert number == 1
    assert (drawn & mask).sum() / (drawn | mask).sum() > 0.95


def test_a_polygon_by_hand() -> None:
    drawn = draw_polygon(np.array([[0.25, 0.25], [0.75, 0.25], [0.75, 0.5], [0.25, 0.5]]), 8, 8)
    expected = np.zeros((8, 8), dtype=bool)
    expected[2:4, 2:6] = True
    np.testing.assert_array_equal(drawn.decode(), expected)


def test_crestereo_steps(tmp_path: Path) -> None:
    file = tmp_path / "a.png"
    write_image(file, np.array([[0, 1, 64, 65535]], np.uint16))
    np.testing.assert_array_equal(read_coded(file, "crestereo"), [[np.nan, 1 / 32, 2, 65535 / 32]])
    write_image(file, np.zeros((1, 1, 3), np.uint8))
    with pytest.raises(InputError, match="expected a grey PNG"):
        read_coded(file, "crestereo")


def test_colours_of_either_base_from_files(tmp_path: Path) -> None:
    file = tmp_path / "a.png"
    write_image(file, np.full((1, 1, 3), 1, np.uint8))
    assert read_coded(file, "any") == read_coded(file, "fsd-255") == np.float32(65.281)
    assert read_coded(file, "fsd-256") == np.float32(65.793)
    write_image(file, np.full((1, 1), 512, np.uint16))
    assert read_coded(file, "any").item() == 2
    with pytest.raises(InputError, match=r"a\.png: expected colour-coded disparity"):
        read_coded(file, "fsd-255")
