"""The parts of the segmenter ``geometry``: laws that hold whatever the scene."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rangemask.backends.masks.geometry import GeometryConfig
from rangemask.backends.masks.geometry.grid import Grid, fill_holes, make_grid
from rangemask.backends.masks.geometry.merging import grow_to_contact, merge
from rangemask.backends.masks.geometry.outline import draw
from rangemask.backends.masks.geometry.planes import find_planes
from rangemask.backends.masks.geometry.segments import renumber
from rangemask.backends.masks.geometry.splitting import split
from rangemask.backends.masks.geometry.structure import find_surroundings, floor_of
from rangemask.geometry import Rig
from rangemask.structures import DepthMap, StereoFrame

HEIGHT, WIDTH = 90, 120
RIG = Rig.rectified(fx=100.0, cx=60.0, cy=45.0, baseline_m=0.5, width=WIDTH, height=HEIGHT)
SCALE = 50.0  # fx * baseline
CONFIG = GeometryConfig()


def grid_of(disparity_px: np.ndarray, rig: Rig | None = RIG) -> Grid:
    depth = (SCALE / disparity_px).astype(np.float32)
    image = np.zeros((*depth.shape, 3), np.uint8)
    grid = make_grid(StereoFrame(image, rig=rig), DepthMap(values=depth), CONFIG)
    assert grid is not None
    return grid


def plane_disparity(normal: np.ndarray, distance_m: float) -> np.ndarray:
    """Disparity of the plane n X = distance, n away from the camera; NaN where it is not seen."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    rays = np.stack([(x - RIG.cx) / RIG.fx, (y - RIG.cy) / RIG.fy, np.ones_like(x)], axis=-1)
    inverse = rays @ normal / distance_m
    return np.where(inverse * SCALE > 0.5, inverse * SCALE, np.nan)


@settings(deadline=None, max_examples=20)
@given(
    tilt=st.floats(-0.5, 0.5),
    turn=st.floats(-0.5, 0.5),
    distance_m=st.floats(0.8, 6.0),
    seed=st.integers(0, 1000),
)
def test_a_plane_is_found_with_its_normal(
    tilt: float, turn: float, distance_m: float, seed: int
) -> None:
    normal = np.array([np.sin(turn), np.sin(tilt), 1.0])
    normal /= np.linalg.norm(normal)
    random = np.random.default_rng(seed)
    true = plane_disparity(normal, distance_m)
    noisy = true + random.normal(0, 0.2, true.shape)
    clutter = random.random(true.shape) < 0.2
    noisy[clutter] += random.uniform(2, 30, int(clutter.sum()))
    grid = grid_of(noisy)
    (plane,) = find_planes(grid, count=1, min_share=0.1, seed=0)
    assert plane.normal(grid) @ -normal > np.cos(np.deg2rad(4.0))
    assert plane.height(grid) * SCALE == pytest.approx(distance_m, rel=0.03)
    assert np.nanmedian(np.abs(plane.disparity(grid.shape) - true)) < 0.3


@settings(deadline=None, max_examples=20)
@given(pitch=st.floats(-0.5, 0.6), seed=st.integers(0, 1000))
def test_floors_are_floors_at_any_pitch(pitch: float, seed: int) -> None:
    """A floor 1.5 m below, seen by a camera that looks down or up by up to 30 degrees."""
    true = plane_disparity(np.array([0.0, np.cos(pitch), np.sin(pitch)]), 1.5)
    noisy = true + np.random.default_rng(seed).normal(0, 0.2, true.shape)
    if np.isfinite(true).mean() < 0.1:
        return
    grid = grid_of(noisy)
    planes = find_planes(grid, count=3, min_share=0.05, seed=0)
    surfaces = find_surroundings(grid, planes, min_share=0.05)
    assert [surface.kind for surface in surfaces] == ["floor-like"]
    assert floor_of(surfaces) is surfaces[0].plane


def test_no_floor_where_there_is_a_wall_only() -> None:
    grid = grid_of(np.full((HEIGHT, WIDTH), 20.0))
    surfaces = find_surroundings(
        grid, find_planes(grid, count=2, min_share=0.1, seed=0), min_share=0.1
    )
    assert [surface.kind for surface in surfaces] == ["wall-like"]
    assert floor_of(surfaces) is None


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 10_000), share=st.floats(0, 0.6))
def test_filling_keeps_what_is_known_and_invents_nothing_nearer(seed: int, share: float) -> None:
    random = np.random.default_rng(seed)
    disparity = random.uniform(5, 50, (20, 30)).astype(np.float32)
    disparity[random.random(disparity.shape) < share] = np.nan
    filled = fill_holes(disparity, 1)
    known = np.isfinite(disparity)
    assert np.array_equal(filled[known], disparity[known])
    given_values = disparity[known]
    assert given_values.size == 0 or np.nanmax(filled) <= given_values.max()


def test_a_shadow_is_filled_from_behind_and_sky_is_not() -> None:
    disparity = np.full((12, 200), 10.0, np.float32)
    disparity[:, 60:80] = 30.0
    disparity[:, 40:60] = np.nan  # as wide as the step: hidden by the object to its right
    disparity[:, 120:180] = np.nan
    filled = fill_holes(disparity, 1)
    assert (filled[:, 40:60] == 10.0).all()
    assert np.isnan(filled[:, 130:170]).all()


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 10_000))
def test_numbers_have_no_gaps(seed: int) -> None:
    random = np.random.default_rng(seed)
    values = random.integers(0, 50, (9, 11))
    inside = random.random(values.shape) < 0.5
    labels, count = renumber(values, inside)
    assert np.array_equal(np.unique(labels[inside]), np.arange(1, count + 1))
    assert not labels[~inside].any()
    pairs = {(int(a), int(b)) for a, b in zip(values[inside], labels[inside], strict=True)}
    assert len(pairs) == count


def blocks(near_px: float) -> tuple[Grid, np.ndarray]:
    """Two blocks side by side, 20 px and ``near_px`` of disparity, far above a far wall."""
    disparity = np.full((HEIGHT, WIDTH), 4.0)
    disparity[20:70, 30:60] = 20.0
    disparity[20:70, 60:90] = near_px
    grid = grid_of(disparity)
    raised = np.zeros((HEIGHT, WIDTH), bool)
    raised[22:68, 32:88] = True  # a median rounds the corners
    return grid, raised


def test_a_step_parts_and_a_small_one_is_mended() -> None:
    """2.5 m and 1.25 m are two things; 2.5 m and 2.3 m are one of 75 cm width."""
    wall = np.full((HEIGHT, WIDTH), 4.0, np.float32)
    for near_px, things in ((40.0, 2), (21.8, 1)):
        grid, raised = blocks(near_px)
        labels, count = split(grid, raised)
        assert count == 2
        assert merge(grid, labels, count, wall)[1] == things


def test_a_thing_grows_down_to_the_floor_and_no_farther() -> None:
    """The contact is where the floor gets as near as the thing."""
    rows = np.arange(HEIGHT, dtype=np.float64)[:, None]
    floor = np.repeat(np.maximum(rows - 20, 1) * 0.4, WIDTH, axis=1)
    disparity = floor.copy()
    disparity[30:71, 40:60] = 20.0  # the floor is that near in row 70
    grid = grid_of(disparity)
    labels = np.zeros((HEIGHT, WIDTH), np.int32)
    labels[30:60, 40:60] = 1
    grown = grow_to_contact(grid, labels, floor.astype(np.float32))
    bottom = np.flatnonzero(grown[:, 50])[-1]
    assert 67 <= bottom <= 70
    assert not grown[:, :38].any()


@pytest.mark.parametrize("snap", [False, True])
def test_what_lies_side_by_side_is_two_things(snap: bool) -> None:
    disparity = np.full((HEIGHT, WIDTH), 4.0)
    labels = np.zeros((HEIGHT, WIDTH), np.int32)
    image = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    for rows, columns in ((slice(10, 40), slice(20, 50)), (slice(50, 80), slice(20, 50)),
                          (slice(30, 60), slice(80, 110))):  # fmt: skip
        labels[rows, columns] = 1
        disparity[rows, columns] = 20.0
        image[rows, columns] = 200
    grid = grid_of(disparity)
    far = np.full((HEIGHT, WIDTH), 4.0, np.float32)
    masks, numbers = draw(grid, labels, far, image, GeometryConfig(snap=snap))
    assert numbers == [1, 1]
    assert sorted(int(mask.sum()) for mask in masks) == pytest.approx([900, 1800], rel=0.02)


def test_outlines_go_to_where_the_colour_changes() -> None:
    """Depth is fat by 3 px; the image knows better."""
    disparity = np.full((HEIGHT, WIDTH), 4.0)
    disparity[27:63, 37:83] = 20.0
    image = np.full((HEIGHT, WIDTH, 3), 40, np.uint8)
    image[30:60, 40:80] = (200, 90, 60)
    labels = (disparity == 20).astype(np.int32)
    depth = (SCALE / disparity).astype(np.float32)
    confidence = np.ones(depth.shape, np.float32)
    confidence[24:66, 34:86] = 0.3
    confidence[34:56, 44:76] = 1
    grid = make_grid(
        StereoFrame(image, rig=RIG), DepthMap(values=depth, confidence=confidence), CONFIG
    )
    assert grid is not None
    masks, _ = draw(grid, labels, np.full(grid.shape, 4.0, np.float32), image, CONFIG)
    true = np.zeros((HEIGHT, WIDTH), bool)
    true[30:60, 40:80] = True
    assert (masks[0] & true).sum() / (masks[0] | true).sum() > 0.88
    assert (labels.astype(bool) & true).sum() / (labels.astype(bool) | true).sum() < 0.75


def test_scale_of_depth_is_taken_from_the_nearest_without_a_baseline() -> None:
    near, far = np.full((HEIGHT, WIDTH), 20.0), np.full((HEIGHT, WIDTH), 2.0)
    for disparity in (near, far):
        grid = grid_of(disparity, rig=None)
        assert np.allclose(grid.disparity_px, 0.1 * WIDTH)
    assert np.allclose(grid_of(near).disparity_px, 20.0)
