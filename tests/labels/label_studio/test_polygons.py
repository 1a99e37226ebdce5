import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from rangemask.errors import InputError
from rangemask.labels.label_studio.polygons import pieces_of, rasterise, same_points

MASKS = arrays.arrays(bool, st.tuples(st.integers(1, 14), st.integers(1, 14)))


@settings(deadline=None, max_examples=100)
@given(MASKS)
def test_exact_outlines_are_the_mask(mask: np.ndarray) -> None:
    """Parts do not overlap, have no holes, and together are the mask."""
    painted = np.zeros(mask.shape, dtype=int)
    for piece in pieces_of(mask, 0.0):
        own = np.zeros_like(mask)
        piece.paint(own)
        assert np.array_equal(rasterise(piece.outline, *mask.shape), own)
        painted += own
    assert np.array_equal(painted, mask.astype(int))


def test_a_ring_is_cut_through_its_hole() -> None:
    rows, columns = np.mgrid[:41, :41]
    away = np.hypot(rows - 20.0, columns - 20.0)
    ring = (away < 19) & (away > 8)
    pieces = pieces_of(ring, 1.0)
    assert len(pieces) == 2
    whole = np.logical_or.reduce([rasterise(piece.outline, 41, 41) for piece in pieces])
    assert (whole & ring).sum() / (whole | ring).sum() > 0.9
    assert max(len(piece.outline) for piece in pieces) < 40


def test_specks_get_no_outline_but_the_largest_part_does() -> None:
    mask = np.zeros((30, 30), dtype=bool)
    mask[5:20, 5:20] = True
    mask[25, 25] = True
    mask[10, 10] = False
    (piece,) = pieces_of(mask, 1.0)
    assert len(piece.outline) == 4
    lonely = np.zeros((30, 30), dtype=bool)
    lonely[3, 3] = lonely[9, 9:11] = True
    (piece,) = pieces_of(lonely, 1.0)
    assert np.count_nonzero(piece.pixels) == 2
    assert len(pieces_of(lonely, 0.0)) == 2
    assert pieces_of(np.zeros((4, 4), dtype=bool), 1.0) == []


def test_centres_decide() -> None:
    square = np.array([[1.4, 1.4], [3.6, 1.4], [3.6, 3.6], [1.4, 3.6]])
    found = rasterise(square, 5, 6)
    assert np.argwhere(found).min(0).tolist() == [1, 1]
    assert np.argwhere(found).max(0).tolist() == [3, 3]
    beyond = rasterise(np.array([[-9.0, -9.0], [9.0, -9.0], [9.0, 9.0], [-9.0, 9.0]]), 5, 6)
    assert beyond.all()
    star = np.array([[0.0, 0.0], [4.0, 4.0], [4.0, 0.0], [0.0, 4.0]])
    assert not rasterise(star, 4, 4)[0, 1:3].any()


@pytest.mark.parametrize(
    "points",
    [np.zeros((2, 2)), np.zeros((4, 3)), np.array([[0, 0], [1, 1], [np.nan, 2]]), [[0, 0]] * 3],
)
def test_bad_polygons_speak(points: object) -> None:
    values = np.array(points, dtype=float)
    if isinstance(points, list):
        values[0] = 1e9
    with pytest.raises(InputError, match=r"three corners|by far"):
        rasterise(values, 10, 10)


def test_points_are_the_same_but_for_rounding() -> None:
    points = np.array([[0.0, 0.0], [10.0, 0.0], [5.0, 5.0]])
    assert same_points(points, points + 0.01)
    assert not same_points(points, points + 0.2)
    assert not same_points(points, points[:2])
