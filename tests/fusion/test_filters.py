"""Which objects are kept."""

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from rangemask.errors import InputError
from rangemask.fusion.filters import (
    keep_areas,
    keep_distances,
    keep_extents,
    keep_labels,
    keep_scores,
)
from rangemask.structures import Distance, Rle, SceneObject


def thing(id=1, label="box", score=0.5, median=math.nan, area=4, extent=(math.nan,) * 3):
    mask = np.zeros((10, 10), dtype=bool)
    mask.ravel()[:area] = True
    return SceneObject(
        id=id,
        label=label,
        score=score,
        rle=Rle.encode(mask),
        distance=Distance(median=median),
        extent=extent,
    )


def ids(objects):
    return [one.id for one in objects]


NEAR, FAR, LOST = thing(1, median=1.0), thing(2, median=3.0), thing(3)


@pytest.mark.parametrize(
    ("limits", "kept"),
    [
        ({}, [1, 2, 3]),
        ({"max_m": 2.0}, [1]),
        ({"min_m": 2.0}, [2]),
        ({"min_m": 1.0, "max_m": 3.0}, [1, 2]),
        ({"max_m": 0.5}, []),
        ({"min_m": 0.0}, [1, 2]),
    ],
)
def test_distances_within_the_range_are_kept_and_unknown_ones_only_without_a_range(limits, kept):
    assert ids(keep_distances([NEAR, FAR, LOST], **limits)) == kept


@given(st.lists(st.floats(0.1, 10) | st.just(math.nan), max_size=8), st.floats(0, 12))
def test_a_limit_parts_the_known_objects_in_two(medians, limit):
    objects = [thing(i, median=median) for i, median in enumerate(medians)]
    near, far = keep_distances(objects, max_m=limit), keep_distances(objects, min_m=limit)
    on_it = sum(median == limit for median in medians)
    assert len(near) + len(far) - on_it == sum(not math.isnan(median) for median in medians)
    assert ids(near) == sorted(ids(near))


def test_labels_are_compared_as_people_write_them():
    objects = [thing(1, "person"), thing(2, "Dining  table"), thing(3, "cup")]
    assert ids(keep_labels(objects, ["Person", "dining table "])) == [1, 2]
    assert ids(keep_labels(objects, None)) == [1, 2, 3]
    assert ids(keep_labels(objects, ["dog"])) == []


def test_areas_sizes_and_scores():
    objects = [
        thing(1, area=4, score=0.2, extent=(0.1, 0.5, 0.2)),
        thing(2, area=50, score=0.9, extent=(2.0, 0.5, 0.2)),
        thing(3, area=100, score=0.5),
    ]
    assert ids(keep_areas(objects, min_px=50)) == [2, 3]
    assert ids(keep_areas(objects, min_px=5, max_px=50)) == [2]
    assert ids(keep_extents(objects, min_m=0.5)) == [1, 2]
    assert ids(keep_extents(objects, max_m=1.0)) == [1]
    assert ids(keep_extents(objects)) == [1, 2, 3]
    assert ids(keep_scores(objects, 0.5)) == [2, 3]


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: keep_distances([], min_m=2.0, max_m=1.0), "range of distances .* got 2 m to 1 m"),
        (lambda: keep_distances([], min_m=-1.0), "range of distances .* got -1 m to open"),
        (lambda: keep_distances([], max_m=math.nan), "range of distances .* got open to nan m"),
        (lambda: keep_areas([], min_px=-1), "range of areas .* got -1 px to open"),
        (lambda: keep_extents([], max_m=-0.5), "range of sizes .* got open to -0.5 m"),
        (lambda: keep_scores([], 1.5), "score lies within 0 to 1, got 1.5"),
        (lambda: keep_labels([], "person"), "labels must be a list .* got 'person'"),
        (lambda: keep_labels([], []), r"labels must be a list .* got \[\]"),
    ],
)
def test_impossible_limits_are_said_in_words(call, words):
    with pytest.raises(InputError, match=words):
        call()
