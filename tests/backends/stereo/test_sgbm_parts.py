"""The stages of the sgbm matcher, each against a slow clear version or a made answer."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rangemask.backends.stereo.sgbm import borders, census, consistency, filling, paths, planes
from rangemask.backends.stereo.sgbm import semiglobal as semiglobal_module
from rangemask.backends.stereo.sgbm.config import SgbmConfig
from rangemask.backends.stereo.sgbm.range_search import find_span, look_for_range
from rangemask.backends.stereo.sgbm.semiglobal import match_semiglobal, strips
from rangemask.backends.stereo.sgbm.span import DisparitySpan
from rangemask.backends.stereo.sgbm.winner import Winners, find_winners
from rangemask.errors import InputError
from rangemask.geometry import Rig

NAN = np.float32(np.nan)


def noise(height: int, width: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)


def shifted(shift_px: int, height: int, width: int) -> tuple[np.ndarray, np.ndarray]:
    margin = abs(shift_px)
    wide = noise(height, width + 2 * margin)
    left = wide[:, margin : margin + width]
    return left.copy(), wide[:, margin + shift_px : margin + shift_px + width].copy()


# Config


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"quality": "good"}, "quality must be 'best' or 'fast', got 'good'"),
        ({"near_m": 0.0}, "near_m must be a positive number of metres, got 0.0"),
        ({"far_m": -2.0}, "far_m must be a positive"),
        ({"near_m": float("nan")}, "near_m must be a positive"),
        ({"near_m": 3.0, "far_m": 2.0}, "near_m must be smaller than far_m"),
        ({"min_disparity_px": 9, "max_disparity_px": 9}, "must be smaller than max_disparity_px"),
    ],
)
def test_a_config_that_cannot_be_says_why(options: dict[str, Any], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        SgbmConfig(**options)


# Range search


@pytest.mark.parametrize("shift_px", [0, 3, 11, 40, 90])
def test_the_range_is_found_from_the_pair(shift_px: int) -> None:
    found = look_for_range(*shifted(shift_px, 80, 300))
    assert found is not None
    low, high = found
    assert 0 <= low <= shift_px <= high
    assert high - low < 16


def test_crossed_views_are_searched_below_zero() -> None:
    found = look_for_range(*shifted(-7, 80, 300))
    assert found is not None
    assert found[0] <= -7 <= found[1]


def test_two_distances_span_the_range() -> None:
    left, right = shifted(8, 120, 300)
    near_left, near_right = shifted(52, 120, 300)
    left[60:], right[60:] = near_left[60:], near_right[60:]
    low, high = look_for_range(left, right) or (0, 0)
    assert low <= 8
    assert 52 <= high < 64


def test_a_blank_pair_tells_no_range() -> None:
    blank = np.full((40, 60, 3), 90, np.uint8)
    assert look_for_range(blank, blank) is None
    assert find_span(SgbmConfig(), blank, blank, None) is None


def test_each_end_of_the_range_may_be_told() -> None:
    left, right = shifted(11, 60, 200)
    told = SgbmConfig(min_disparity_px=2, max_disparity_px=33)
    assert find_span(told, left, right, None) == DisparitySpan(2, 32)
    low = find_span(SgbmConfig(min_disparity_px=5), left, right, None)
    assert low is not None
    assert (low.first_px, 11 <= low.last_px < 24) == (5, True)
    high = find_span(SgbmConfig(max_disparity_px=20), left, right, None)
    assert high is not None
    assert (high.first_px <= 11, high.last_px) == (True, 20)
    blank = np.zeros_like(left)
    assert find_span(SgbmConfig(min_disparity_px=5), blank, blank, None) == DisparitySpan(5, 76)


def test_the_range_stays_within_the_image() -> None:
    left, right = shifted(2, 20, 30)
    wide = SgbmConfig(min_disparity_px=-100, max_disparity_px=100)
    assert find_span(wide, left, right, None) == DisparitySpan(-29, 59)
    beyond = SgbmConfig(min_disparity_px=40, max_disparity_px=50)
    assert find_span(beyond, left, right, None) is None


def test_distances_become_disparities() -> None:
    left, right = shifted(2, 20, 200)
    rig = Rig.rectified(fx=100, cx=100, cy=10, baseline_m=0.2, width=200, height=20, doffs_px=4)
    # 20 px m: at 0.5 m 40 px, less 4; at 5 m 4 px, less 4.
    config = SgbmConfig(near_m=0.5, far_m=5.0)
    assert find_span(config, left, right, rig) == DisparitySpan(0, 37)
    # What is told in px goes before.
    config = SgbmConfig(near_m=0.5, far_m=5.0, max_disparity_px=20)
    assert find_span(config, left, right, rig) == DisparitySpan(0, 21)


def test_distances_need_a_rig_that_can_turn_them() -> None:
    left, right = shifted(2, 20, 60)
    with pytest.raises(InputError, match="near_m needs the rig"):
        find_span(SgbmConfig(near_m=1.0), left, right, None)
    mono = Rig.rectified(fx=100, cx=30, cy=10, baseline_m=0.1, width=60, height=20).left
    with pytest.raises(InputError, match="far_m cannot be turned into a disparity"):
        find_span(SgbmConfig(far_m=1.0), left, right, Rig(left=mono))


def test_ends_that_cross_are_refused() -> None:
    left, right = shifted(2, 20, 60)
    rig = Rig.rectified(fx=100, cx=30, cy=10, baseline_m=0.1, width=60, height=20)
    with pytest.raises(InputError, match="search range is empty: it would run from 20 to 10 px"):
        find_span(SgbmConfig(min_disparity_px=20, near_m=1.0), left, right, rig)


# Costs, paths, winners


def test_census_bits_say_who_is_darker() -> None:
    grey = noise(9, 12)[..., 0]
    bits = census.census_bits(grey)
    framed = np.pad(grey, ((3, 3), (4, 4)), mode="edge")
    for y, x in ((0, 0), (4, 5), (8, 11)):
        window = framed[y : y + 7, x : x + 9]
        board = [
            window[dy, dx] < grey[y, x]
            for dy in range(7)
            for dx in range(9)
            if (dy + dx) % 2 == 1 and (dy, dx) != (3, 4)
        ]
        assert len(board) == 30
        assert bits[y, x] == int("".join("01"[int(bit)] for bit in board), 2)


@pytest.mark.parametrize("first_px", [-3, 0, 2])
def test_costs_are_low_at_the_true_disparity_and_fair_outside(first_px: int) -> None:
    left, right = shifted(2, 12, 20)
    span = DisparitySpan(first_px, 6)
    costs = np.empty((6, 12, 20), np.uint8)
    census.fill_costs(census.view_of(left), census.view_of(right), span, costs)
    true = costs[2 - first_px][:, 8:-8]
    assert true.max() < 3
    assert costs.max() <= census.COST_CAP
    for index in range(6):
        shift_px = first_px + index
        outside = costs[index][:, :shift_px] if shift_px > 0 else costs[index][:, 20 + shift_px :]
        assert (outside == census.OUTSIDE_COST).all()


def slow_path(costs: np.ndarray, penalties: np.ndarray) -> np.ndarray:
    """One path from above, word for word after Hirschmueller, equation 13."""
    count, height, width = costs.shape
    path = np.zeros(costs.shape, np.int64)
    for y in range(height):
        for x in range(width):
            for d in range(count):
                if y == 0:
                    path[d, y, x] = costs[d, y, x]
                    continue
                before = path[:, y - 1, x]
                ways = [before[d], before.min() + penalties[y - 1, x]]
                ways += [before[n] + paths.STEP_PENALTY for n in (d - 1, d + 1) if 0 <= n < count]
                path[d, y, x] = costs[d, y, x] + min(ways)
            path[:, y, x] -= path[:, y, x].min()
    return path


@settings(max_examples=15, deadline=None)
@given(seed=st.integers(0, 10**6), count=st.integers(1, 9), height=st.integers(2, 7))
def test_paths_equal_the_slow_version(seed: int, count: int, height: int) -> None:
    random = np.random.default_rng(seed)
    costs = random.integers(0, census.COST_CAP + 1, (count, height, 5), dtype=np.uint8)
    penalties = paths.jump_penalties(random.integers(0, 256, (height, 5), dtype=np.uint8))
    found = np.empty_like(costs)
    paths.add_vertical_paths(costs, penalties, found)
    down = slow_path(costs, penalties)
    up = slow_path(costs[:, ::-1], penalties[::-1])[:, ::-1]
    assert np.array_equal(found, down + up)


def test_jumps_are_cheap_across_edges_only() -> None:
    grey = np.array([[10], [10], [200]], np.uint8)
    calm, edge = paths.jump_penalties(grey)[:, 0]
    assert (calm, edge) == (paths.JUMP_PENALTY, paths.LEAST_JUMP_PENALTY)


@pytest.mark.parametrize("count", [1, 3, 100, 128, 129, 200])
def test_winners_and_margins(count: int) -> None:
    random = np.random.default_rng(count)
    parts = random.integers(0, 255, (2, count, 3, 4), dtype=np.uint8)
    found = Winners(np.empty((3, 4), np.float32), np.empty((3, 4), np.float32))
    find_winners(parts[0], parts[1], DisparitySpan(-2, count), found)
    total = parts.astype(int).sum(axis=0)
    index = total.argmin(axis=0)
    assert np.abs(found.disparity_px - (index - 2)).max() <= 0.5
    assert found.margin is not None
    for y, x in np.ndindex(3, 4):
        far = np.abs(np.arange(count) - index[y, x]) > 2
        margin = total[far, y, x].min() - total[:, y, x].min() if far.any() else 0
        assert found.margin[y, x] == margin


def test_strips_cover_every_row_once() -> None:
    edges = strips((1110, 1282), 190)
    assert len(edges) > 1
    assert (edges[0][0], edges[-1][1]) == (0, 1110)
    assert all(here[1] == there[0] for here, there in itertools.pairwise(edges))


def test_strips_hardly_change_the_result(monkeypatch: pytest.MonkeyPatch) -> None:
    left, right = shifted(9, 160, 80)
    whole = match_semiglobal(left, right, DisparitySpan(0, 20))
    monkeypatch.setattr(semiglobal_module, "STRIP_ENTRIES", 80 * 20 * 60)
    parts = match_semiglobal(left, right, DisparitySpan(0, 20))
    assert np.mean(whole.left_px == parts.left_px) > 0.99


# Agreement of the views


def test_views_agree_where_they_point_at_each_other() -> None:
    left_px = np.array([[2, 2, 2, 2, NAN, 1]], np.float32)
    right_px = np.array([[2, 2, 2, 1, 1, 5]], np.float32)
    # x = 2 and 3 land on 0 and 1, which say 2 as well; x = 5 lands on 4, which says 1.
    found = consistency.agree(left_px, right_px, 0.5)
    assert found.tolist() == [[False, False, True, True, False, True]]


def test_hidden_is_what_lies_behind_or_lands_outside() -> None:
    left_px = np.array([[1, 1, 1, 4, 4, 1, 1, 1]], np.float32)
    right_px = np.array([[4, 1, 1, 1, 1, 1, 1, 1]], np.float32)
    right_px[0, :1] = 4
    found = consistency.hidden(left_px, right_px, left_px, 1.0)
    # x = 0 lands outside; x = 1 lands on what the pixel x = 4 shows nearer.
    assert found[0, :2].all()
    assert not found[0, 5:].any()


def test_speckles_go_and_surfaces_stay() -> None:
    disparity_px = np.full((40, 40), 5, np.float32)
    disparity_px[10:13, 10:13] = 20
    cleaned = consistency.without_speckles(disparity_px, 20)
    assert np.isnan(cleaned[10:13, 10:13]).all()
    assert np.isnan(cleaned).sum() == 9


# Filling, planes, borders


def test_gaps_take_the_farther_side() -> None:
    row = np.array([[NAN, NAN, 7, NAN, NAN, 3, NAN]], np.float32)
    assert filling.fill_from_background(row).tolist() == [[7, 7, 7, 3, 3, 3, 3]]


def test_rows_without_anything_take_from_above_and_below() -> None:
    disparity_px = np.full((5, 4), NAN, np.float32)
    disparity_px[1, 2] = 6
    assert (filling.fill_from_background(disparity_px) == 6).all()
    assert np.isnan(filling.fill_from_background(np.full((3, 3), NAN, np.float32))).all()


def test_the_left_strip_goes_on_with_the_slope() -> None:
    columns = np.arange(80, dtype=np.float32)
    wall_px = np.tile(30 - 0.1 * columns, (40, 1)).astype(np.float32)
    seen_px = wall_px.copy()
    seen_px[:, :30] = NAN
    filled_px = filling.fill_from_background(seen_px)
    assert np.array_equal(filled_px[:, 30:], wall_px[:, 30:])
    assert np.abs(filled_px - wall_px).max() < 1.0
    assert filled_px[0, 0] > seen_px[0, 30] + 2.0


def test_a_plane_is_found_among_outliers() -> None:
    random = np.random.default_rng(5)
    points = np.column_stack([random.uniform(0, 90, (400, 2)), np.ones(400)])
    values = points @ [0.1, -0.05, 20.0] + random.normal(0, 0.1, 400)
    values[:120] = random.uniform(0, 40, 120)
    plane = planes.robust_plane(points, values, np.ones(400))
    assert plane is not None
    assert plane == pytest.approx([0.1, -0.05, 20.0], abs=0.05)
    assert planes.robust_plane(points, random.uniform(0, 90, 400), np.ones(400)) is None
    one_line = np.column_stack([np.arange(60.0), np.zeros(60), np.ones(60)])
    assert planes.robust_plane(one_line, np.arange(60.0), np.ones(60)) is None


def test_an_even_region_takes_the_plane_of_its_rim() -> None:
    image = np.full((120, 160, 3), 200, np.uint8)
    image[20:100, 30:130] = 60
    rows, columns = np.mgrid[:120, :160].astype(np.float32)
    true_px = np.where(image[..., 0] == 60, 30 + 0.05 * columns - 0.1 * rows, 4).astype(np.float32)
    matched_px = true_px.copy()
    matched_px[32:88, 42:118] = NAN
    regions = planes.even_regions(image)
    found = planes.fit_planes(matched_px, np.ones(true_px.shape, np.float32), regions)
    inside = np.s_[25:95, 35:125]
    assert np.abs(found.disparity_px[inside] - true_px[inside]).max() < 0.3
    assert found.spanned[inside].all()
    # Matches at one side only do not span it, and none at all give no plane.
    matched_px[35:100] = NAN
    drawn_out = planes.fit_planes(matched_px, np.ones(true_px.shape, np.float32), regions)
    assert not drawn_out.spanned[inside].any()
    nothing = planes.fit_planes(np.full_like(true_px, NAN), true_px, regions)
    assert np.isnan(nothing.disparity_px).all()


def test_matches_amid_failures_deep_in_an_even_region_are_doubtful() -> None:
    regions = planes.even_regions(np.full((80, 80, 3), 128, np.uint8))
    matched_px = np.full((80, 80), 5, np.float32)
    assert not planes.doubtful(matched_px, regions).any()
    matched_px[np.random.default_rng(0).random((80, 80)) < 0.4] = NAN
    assert planes.doubtful(matched_px, regions).mean() > 0.5


def test_a_border_moves_to_the_edge_of_the_picture() -> None:
    image = np.full((40, 60, 3), 40, np.uint8)
    image[:, 30:] = 200
    true_px = np.where(image[..., 0] == 200, 20, 5).astype(np.float32)
    widened_px = true_px.copy()
    widened_px[:, 28:30] = 20
    found_px, changed = borders.sharpen_borders(widened_px, image)
    assert np.array_equal(found_px, true_px)
    assert np.array_equal(changed, widened_px != true_px)


def test_slopes_and_flat_maps_have_no_borders() -> None:
    image = noise(30, 40)
    slope_px = np.tile(np.linspace(5, 25, 40, dtype=np.float32), (30, 1))
    for disparity_px in (slope_px, np.full((30, 40), 7, np.float32)):
        found_px, changed = borders.sharpen_borders(disparity_px, image)
        assert np.array_equal(found_px, disparity_px)
        assert not changed.any()
