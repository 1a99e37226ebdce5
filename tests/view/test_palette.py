from itertools import combinations, pairwise

import numpy as np
import pytest

from rangemask.view.palette import (
    COLOURS,
    colour_table,
    contrast,
    instance_colour,
    seen_difference,
    text_colour,
)


def test_every_id_has_its_own_colour_and_none_is_black() -> None:
    colours = [instance_colour(identity) for identity in range(1, COLOURS + 1)]
    assert len(set(colours)) == COLOURS
    assert (0, 0, 0) not in colours
    assert instance_colour(COLOURS + 3) == instance_colour(3)


def test_a_colour_does_not_depend_on_which_were_asked_for_before() -> None:
    late = instance_colour(900)
    early = instance_colour(5)
    assert (instance_colour(5), instance_colour(900)) == (early, late)
    assert colour_table(40)[1:17].tolist() == colour_table(16)[1:].tolist()
    assert colour_table(0).tolist() == [[0, 0, 0]]


@pytest.mark.parametrize(("count", "least"), [(7, 0.07), (20, 0.06), (40, 0.04)])
def test_colours_are_far_apart_for_every_kind_of_sight(count: int, least: float) -> None:
    colours = [instance_colour(identity) for identity in range(1, count + 1)]
    assert min(seen_difference(a, b) for a, b in combinations(colours, 2)) > least


def test_red_and_green_that_only_some_tell_apart_count_as_close() -> None:
    seen_by_some = seen_difference((170, 100, 0), (100, 130, 0))
    assert seen_by_some < 0.5 * seen_difference((170, 100, 0), (0, 60, 255))


def test_text_is_readable_on_every_plate() -> None:
    for identity in range(1, 200):
        plate = instance_colour(identity)
        assert contrast(text_colour(plate), plate) >= 4.5


def test_contrast_is_that_of_the_standard() -> None:
    assert contrast((0, 0, 0), (255, 255, 255)) == pytest.approx(21)
    assert contrast((9, 9, 9), (9, 9, 9)) == pytest.approx(1)
    ratios = [contrast((0, 0, 0), (grey, grey, grey)) for grey in range(0, 256, 5)]
    assert all(a < b for a, b in pairwise(ratios))


def test_zero_is_no_object() -> None:
    with pytest.raises(ValueError, match="ids begin at 1, got 0"):
        instance_colour(0)
    assert np.array_equal(colour_table(3)[0], [0, 0, 0])
