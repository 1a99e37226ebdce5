from itertools import combinations

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from rangemask.view.placement import Spot, Target, place_labels

WIDTH, HEIGHT = 400, 300


def target(
    box: tuple[float, float, float, float], label: tuple[int, int] = (60, 16), inner: float = 0.0
) -> Target:
    x, y, w, h = box
    centre = (x + w / 2, y + h / 2)
    corners = [(x, y), (x + w, y), (x, y + h), (x + w, y + h), centre]
    return Target(
        width=label[0],
        height=label[1],
        centre=centre,
        box=box,
        edge=np.array(corners, dtype=float),
        inner_px=inner,
    )


def overlap(a: tuple[Spot, Target], b: tuple[Spot, Target]) -> bool:
    (first, one), (second, two) = a, b
    return (
        first.x < second.x + two.width
        and second.x < first.x + one.width
        and first.y < second.y + two.height
        and second.y < first.y + one.height
    )


boxes = st.tuples(
    st.floats(0, WIDTH - 1), st.floats(0, HEIGHT - 1), st.floats(1, 200), st.floats(1, 200)
)
labels = st.tuples(st.integers(5, 150), st.integers(5, 30))


@settings(deadline=None, max_examples=60)
@given(things=st.lists(st.tuples(boxes, labels), max_size=12))
def test_labels_are_inside_and_never_on_each_other(
    things: list[tuple[tuple[float, float, float, float], tuple[int, int]]],
) -> None:
    targets = [target(box, label) for box, label in things]
    spots = place_labels(targets, width=WIDTH, height=HEIGHT)
    assert len(spots) == len(targets)
    placed = [(spot, one) for spot, one in zip(spots, targets, strict=True) if spot is not None]
    for spot, one in placed:
        assert 0 <= spot.x <= WIDTH - one.width
        assert 0 <= spot.y <= HEIGHT - one.height
    assert not any(overlap(a, b) for a, b in combinations(placed, 2))


@settings(deadline=None, max_examples=40)
@given(things=st.lists(boxes, min_size=1, max_size=20))
def test_all_labels_are_placed_where_room_exists(
    things: list[tuple[float, float, float, float]],
) -> None:
    # 20 labels of 60 x 16 px blind at most (2 * 60) * (2 * 16) px each of 400 x 300.
    targets = [target(box) for box in things]
    assert None not in place_labels(targets, width=WIDTH, height=HEIGHT)


def test_many_labels_of_one_place_all_find_room() -> None:
    targets = [target((190, 140, 20, 20))] * 40
    spots = place_labels(targets, width=WIDTH, height=HEIGHT)
    assert None not in spots
    placed = list(zip(spots, targets, strict=True))
    assert not any(overlap(a, b) for a, b in combinations(placed, 2))
    assert spots[0].gap_px < spots[-1].gap_px


def test_the_label_of_a_large_thing_is_inside_it() -> None:
    spot = place_labels([target((50, 50, 300, 200), inner=100)], width=WIDTH, height=HEIGHT)[0]
    assert (spot.x, spot.y) == (170, 142)
    assert spot.gap_px == 0


def test_the_label_of_a_small_thing_touches_it_and_does_not_hide_it() -> None:
    thing = target((200, 150, 12, 12), inner=6)
    spot = place_labels([thing], width=WIDTH, height=HEIGHT)[0]
    own = Target(
        width=12, height=12, centre=thing.centre, box=thing.box, edge=thing.edge, inner_px=6
    )
    assert not overlap((spot, thing), (Spot(200, 150, 0, (0, 0)), own))
    assert spot.gap_px <= 2
    assert spot.y < 150


def test_a_label_keeps_off_other_small_things() -> None:
    first, second = target((200, 150, 20, 20)), target((170, 128, 80, 20))
    alone = place_labels([first], width=WIDTH, height=HEIGHT)[0]
    crowded = place_labels([first, second], width=WIDTH, height=HEIGHT)[0]
    assert alone.y < 150
    blocked = Spot(170, 128, 0, (0, 0))
    other = target((170, 128, 80, 20), label=(80, 20))
    assert overlap((alone, first), (blocked, other))
    assert not overlap((crowded, first), (blocked, other))


def test_the_end_of_a_leader_is_a_point_of_the_thing() -> None:
    targets = [target((190, 140, 20, 20))] * 30
    for spot in place_labels(targets, width=WIDTH, height=HEIGHT):
        assert any(np.array_equal(spot.tip, point) for point in targets[0].edge)


def test_what_does_not_fit_is_left_out() -> None:
    tall = target((10, 10, 5, 5), label=(500, 16))
    low = target((10, 10, 5, 5), label=(60, 301))
    fits = target((10, 10, 5, 5))
    spots = place_labels([tall, fits, low], width=WIDTH, height=HEIGHT)
    assert [spot is None for spot in spots] == [True, False, True]
    assert place_labels([], width=1, height=1) == []


def test_a_label_keeps_off_what_is_blocked_however_far_that_leads() -> None:
    thing = target((10, 10, 10, 10))
    spot = place_labels([thing], width=WIDTH, height=HEIGHT, blocked=[(0, 0, 399, 270)])[0]
    assert spot.y >= 270
    everything = [(0.0, 0.0, float(WIDTH), float(HEIGHT))]
    assert place_labels([thing], width=WIDTH, height=HEIGHT, blocked=everything) == [None]


def test_reach_limits_how_far_a_label_goes() -> None:
    targets = [target((190, 140, 20, 20))] * 60
    spots = place_labels(targets, width=WIDTH, height=HEIGHT, reach_px=50)
    assert None in spots
    assert max(spot.gap_px for spot in spots if spot is not None) <= 50
