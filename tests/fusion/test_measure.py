"""Distances of masks: laws, known geometry, and equality with the plain loop."""

import dataclasses
import math

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from rangemask.errors import InputError
from rangemask.fusion.measure import MeasureConfig, Measurement, measure_masks
from rangemask.fusion.reference import eroded, measure_masks_loop
from rangemask.geometry import Rig
from rangemask.structures import DepthMap, MaskSet

PLAIN = MeasureConfig(max_erode_px=0, find_layers=False)


def rig_of(height, width, f=100.0):
    return Rig.rectified(
        fx=f, cx=(width - 1) / 2, cy=(height - 1) / 2, baseline_m=0.1, width=width, height=height
    )


def numbers(measurements):
    return np.array([[*m.distance.values(), *m.centroid, *m.extent] for m in measurements]).reshape(
        -1, 14
    )


def assert_same(first, second):
    np.testing.assert_allclose(numbers(first), numbers(second), rtol=1e-6, atol=1e-6)


def random_scene(seed, count=None, height=None, width=None):
    """Overlapping blobs, rectangles, thin bars and specks over two noisy depth layers."""
    random = np.random.default_rng(seed)
    height = height or int(random.integers(1, 70))
    width = width or int(random.integers(1, 70))
    count = int(random.integers(0, 9)) if count is None else count
    masks = np.zeros((count, height, width), dtype=bool)
    y, x = np.mgrid[:height, :width]
    for mask in masks:
        kind = random.integers(5)
        if kind == 0:
            mask[:] = random.random((height, width)) < random.random()
        elif kind == 1:
            mask[random.integers(height), random.integers(width)] = True
        elif kind == 4:
            mask[:] = random.random() < 0.5
        else:
            size = random.uniform(1, 30, 2)
            at = random.uniform(0, 1, 2) * (height, width)
            near = np.abs(y - at[0]) / size[0], np.abs(x - at[1]) / size[1]
            mask[:] = (np.hypot(*near) if kind == 2 else np.maximum(*near)) < 1
    depth = random.choice([1.0, 1.3, 4.0], (height, width)) * random.normal(1, 0.01, (height, 1))
    depth[random.random((height, width)) < random.random() * 0.5] = np.nan
    confidence = random.random((height, width)).astype(np.float32)
    return masks, DepthMap(
        values=depth.astype(np.float32),
        confidence=confidence,
        filled=random.random((height, width)) < 0.1,
    )


@settings(deadline=None, max_examples=60)
@given(seed=st.integers(0, 2**32 - 1), erode=st.sampled_from([0, 2, 8]))
@example(seed=26998, erode=0)  # two perfect fits, told apart by rounding alone
def test_the_vectorised_pass_gives_the_numbers_of_the_plain_loop(seed, erode):
    masks, depth = random_scene(seed)
    rig = rig_of(*depth.values.shape)
    config = MeasureConfig(max_erode_px=erode, erode_share=0.15, min_layer_pixels=20)
    exclude = np.random.default_rng(seed).random(depth.values.shape) < 0.1
    expected = measure_masks_loop(masks, depth, rig, config, exclude=exclude)
    assert_same(measure_masks(masks, depth, rig, config, exclude=exclude), expected)
    packed = MaskSet.from_dense(masks)
    assert_same(measure_masks(packed, depth, rig, config, exclude=exclude), expected)


def test_parts_do_not_change_the_numbers(monkeypatch):
    masks, depth = random_scene(5, count=40, height=64, width=80)
    rig = rig_of(64, 80)
    expected = measure_masks(masks, depth, rig)
    assert {m.distance.layers for m in expected} == {0, 1, 2}
    monkeypatch.setattr("rangemask.fusion.measure._PART_PIXELS", 7 * 64 * 80)
    assert measure_masks(masks, depth, rig) == expected
    monkeypatch.setattr("rangemask.fusion.measure._PART_AREA", 3000)
    assert measure_masks(masks, depth, rig) == expected
    assert measure_masks(MaskSet.from_dense(masks), depth, rig) == expected


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 2**32 - 1), factor=st.sampled_from([0.5, 2.0, 1024.0]))
def test_scaling_depth_scales_the_lengths_and_nothing_else(seed, factor):
    masks, depth = random_scene(seed)
    rig = rig_of(*depth.values.shape)
    scaled = dataclasses.replace(depth, values=depth.values * np.float32(factor))
    expected = numbers(measure_masks(masks, depth, rig))
    lengths = [0, 1, 2, 3, *range(7, 14)]
    expected[:, lengths] *= factor
    np.testing.assert_allclose(numbers(measure_masks(masks, scaled, rig)), expected, rtol=1e-6)


@settings(deadline=None, max_examples=25)
@given(seed=st.integers(0, 2**32 - 1))
def test_masks_do_not_know_of_each_other(seed):
    masks, depth = random_scene(seed, count=6)
    rig = rig_of(*depth.values.shape)
    together = measure_masks(masks, depth, rig)
    order = np.random.default_rng(seed).permutation(6)
    assert measure_masks(masks[order], depth, rig) == [together[i] for i in order]
    assert [measure_masks(mask[None], depth, rig)[0] for mask in masks] == together


def test_a_flat_wall_is_measured_exactly():
    depth = DepthMap(values=np.full((60, 80), 2.0, dtype=np.float32))
    masks = np.zeros((1, 60, 80), dtype=bool)
    masks[0, 20:40, 30:50] = True
    found = measure_masks(masks, depth, rig_of(60, 80), PLAIN)[0]
    assert found.distance.median == found.distance.p10 == found.distance.p90 == 2.0
    assert (found.distance.spread, found.distance.valid_share) == (0.0, 1.0)
    assert (found.distance.pixels, found.distance.layers) == (400, 1)
    np.testing.assert_allclose(found.centroid, (0.0, 0.0, 2.0), atol=1e-6)
    # Pixels 30 to 49 are 19 apart; the outer 2 % on both sides are left out: 0.02 * 399 of 20 each.
    np.testing.assert_allclose(found.extent, (0.02 * 19, 0.02 * 19, 0.0), atol=1e-6)


def test_a_slanted_floor_has_the_quantiles_of_its_plane():
    height, width, f, camera_m = 120, 160, 100.0, 1.5
    rows = np.arange(height) - (height - 1) / 2
    with np.errstate(divide="ignore"):
        z = np.where(rows > 10, f * camera_m / rows, np.nan)
    depth = DepthMap(values=np.repeat(z[:, None], width, axis=1).astype(np.float32))
    masks = np.zeros((1, height, width), dtype=bool)
    masks[0, 75:120] = True
    found = measure_masks(masks, depth, rig_of(height, width, f), PLAIN)[0]
    assert found.distance.median == pytest.approx(f * camera_m / rows[97], rel=1e-6)
    # The floor lies 1.5 m below the camera everywhere: y is down.
    assert found.centroid[1] == pytest.approx(camera_m, rel=1e-6)
    assert found.extent[1] == pytest.approx(0.0, abs=1e-5)
    layered = measure_masks(masks, depth, rig_of(height, width, f))[0]
    assert layered.distance.layers == 1
    assert math.isnan(layered.distance.behind)


@settings(deadline=None, max_examples=40)
@given(
    slope_x=st.floats(-0.99, 0.99),
    slope_y=st.floats(-0.99, 0.99),
    noise=st.sampled_from([0.0, 0.01]),
    hole=st.sampled_from(["none", "rows", "columns", "disc"]),
    seed=st.integers(0, 1000),
)
def test_one_slanted_plane_is_one_layer_even_with_a_hole(slope_x, slope_y, noise, hole, seed):
    y, x = np.mgrid[-1:1:60j, -1:1:80j]
    total = abs(slope_x) + abs(slope_y)
    if total > 0.95:
        slope_x, slope_y = 0.95 * slope_x / total, 0.95 * slope_y / total
    inverse = 0.5 * (1 + slope_x * x + slope_y * y)
    inverse += np.random.default_rng(seed).normal(0, 1, x.shape) * noise
    depth = 1 / np.clip(inverse, 1e-3, None)
    mask = np.ones((1, *x.shape), dtype=bool)
    gap = {"none": x > 9, "rows": abs(y) < 0.3, "columns": abs(x) < 0.3, "disc": x**2 + y**2 < 0.4}
    mask[0][gap[hole]] = False
    found = measure_masks(mask, DepthMap(values=depth.astype(np.float32)))[0].distance
    assert found.layers == 1
    assert found.pixels > 1000


def fence(seed=0, near=1.5, far=4.0, wires=0.4, flying=0.0, floor=False):
    """Posts before a wall, or before a floor around the far depth."""
    random = np.random.default_rng(seed)
    depth = np.full((120, 160), far)
    if floor:
        depth = np.repeat(far / np.linspace(0.6, 1.4, 120)[:, None], 160, axis=1)
    posts = np.arange(160) % 20 < 20 * wires
    depth[:, posts] = near
    depth *= random.normal(1, 0.01, depth.shape)
    mixed = random.random(depth.shape) < flying
    depth[mixed] = random.uniform(near, far, mixed.sum())
    mask = np.zeros((1, 120, 160), dtype=bool)
    mask[0, 10:110, 10:150] = True
    return mask, DepthMap(values=depth.astype(np.float32)), posts


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"wires": 0.2},
        {"wires": 0.75},
        {"flying": 0.06},
        {"floor": True},
        {"near": 3.2},
    ],
)
def test_a_fence_before_a_wall_is_two_layers_and_the_fence_is_reported(options):
    mask, depth, posts = fence(**options)
    found = measure_masks(mask, depth, rig_of(120, 160))[0]
    near = options.get("near", 1.5)
    assert found.distance.layers == 2
    assert found.distance.median == pytest.approx(near, rel=0.01)
    assert found.distance.behind == pytest.approx(4.0, rel=0.1)
    assert found.distance.p90 < 1.2 * near
    assert found.extent[2] < 0.3 * near
    share = posts[10:150].mean()
    assert found.distance.pixels == pytest.approx(100 * 140 * share, rel=0.25)
    # Without the search the two are mixed.
    mixed = measure_masks(mask, depth, None, MeasureConfig(find_layers=False))[0].distance
    assert mixed.layers == 1
    assert mixed.p90 > 3.5


def test_a_few_near_pixels_are_noise_not_a_layer():
    mask, depth, _ = fence(wires=0.1)
    found = measure_masks(mask, depth)[0].distance
    assert found.layers == 1
    assert found.median == pytest.approx(4.0, rel=0.01)


def test_two_pieces_at_two_depths_are_two_layers_although_a_plane_nearly_fits():
    depth = np.full((60, 200), 1.0, dtype=np.float32)
    depth[:, 100:] = 3.0
    depth *= np.random.default_rng(0).normal(1, 0.01, depth.shape).astype(np.float32)
    mask = np.zeros((1, 60, 200), dtype=bool)
    mask[0, :, 5:45] = mask[0, :, 160:195] = True
    found = measure_masks(mask, DepthMap(values=depth))[0].distance
    assert (found.layers, round(found.median, 1), round(found.behind, 1)) == (2, 1.0, 3.0)


def test_bleeding_at_the_border_does_not_reach_the_distance():
    depth = np.full((100, 100), 5.0, dtype=np.float32)
    mask = np.zeros((1, 100, 100), dtype=bool)
    mask[0, 30:60, 30:60] = True
    depth[33:57, 33:57] = 2.0  # the outer three pixels hold the background
    config = MeasureConfig(erode_share=0.1, max_erode_px=8, find_layers=False)
    found = measure_masks(mask, DepthMap(values=depth), None, config)[0].distance
    assert (found.p10, found.median, found.p90, found.pixels) == (2.0, 2.0, 2.0, 24 * 24)
    raw = measure_masks(mask, DepthMap(values=depth), None, PLAIN)[0].distance
    assert raw.p90 == 5.0


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 2**32 - 1), dx=st.integers(0, 20), dy=st.integers(0, 20))
def test_erosion_moves_with_the_mask(seed, dx, dy):
    random = np.random.default_rng(seed)
    config = MeasureConfig(erode_share=0.1)
    mask = np.zeros((80, 80), dtype=bool)
    patch = random.random((20, 20)) < 0.9
    patch[4:16, 4:16] = True
    mask[10:30, 10:30] = patch
    moved = np.roll(mask, (dy, dx), axis=(0, 1))
    assert np.array_equal(
        np.roll(eroded(mask, config), (dy, dx), axis=(0, 1)), eroded(moved, config)
    )
    depth = DepthMap(values=random.random((80, 80), dtype=np.float32) + 1)
    there = DepthMap(values=np.roll(depth.values, (dy, dx), axis=(0, 1)))
    assert measure_masks(mask[None], depth, None, config) == measure_masks(
        moved[None], there, None, config
    )


def test_erosion_keeps_what_the_images_border_cuts_off():
    depth = DepthMap(values=np.ones((40, 40), dtype=np.float32))
    config = MeasureConfig(erode_share=0.1)
    full = np.ones((1, 40, 40), dtype=bool)
    assert measure_masks(full, depth, None, config)[0].distance.pixels == 1600
    corner = np.zeros((1, 40, 40), dtype=bool)
    corner[0, :20, :20] = True
    assert measure_masks(corner, depth, None, config)[0].distance.pixels == 18 * 18


def test_a_thin_mask_keeps_its_core():
    depth = np.full((100, 100), 6.0, dtype=np.float32)
    depth[:, 50] = 1.0
    mask = np.zeros((3, 100, 100), dtype=bool)
    mask[0, :, 50] = True  # one pixel wide
    mask[1, :, 49:52] = True  # three: its middle is the core
    mask[2, np.arange(100), np.arange(100)] = True  # a diagonal
    found = measure_masks(mask, DepthMap(values=depth), None, MeasureConfig(erode_share=0.3))
    assert [m.distance.pixels for m in found] == [100, 100, 100]
    assert [m.distance.median for m in found] == [1.0, 1.0, 6.0]


def test_too_little_known_is_unknown_not_wrong():
    depth = np.full((40, 40), np.nan, dtype=np.float32)
    depth[:5] = 1.0
    mask = np.ones((1, 40, 40), dtype=bool)
    found = measure_masks(mask, DepthMap(values=depth), rig_of(40, 40))[0]
    assert not found.distance.known
    assert found.distance.valid_share == 0.125
    assert (found.distance.pixels, found.distance.layers) == (200, 0)
    assert all(math.isnan(value) for value in (*found.centroid, *found.extent))
    enough = MeasureConfig(min_valid_share=0.125)
    assert measure_masks(mask, DepthMap(values=depth), None, enough)[0].distance.median == 1.0
    more = MeasureConfig(min_valid_share=0.0, min_pixels=201)
    assert not measure_masks(mask, DepthMap(values=depth), None, more)[0].distance.known


def test_untrusted_filled_excluded_and_impossible_pixels_are_not_measured():
    depth = np.full((4, 10), 2.0, dtype=np.float32)
    depth[0, :2] = (-9.0, np.inf)
    confidence = np.ones((4, 10), dtype=np.float32)
    confidence[1] = 0.1
    depth[1] = 9.0
    filled = np.zeros((4, 10), dtype=bool)
    filled[2], depth[2] = True, 7.0
    exclude = np.zeros((4, 10), dtype=bool)
    exclude[3], depth[3] = True, 5.0
    map_ = DepthMap(values=depth, confidence=confidence, filled=filled)
    mask = np.ones((1, 4, 10), dtype=bool)
    config = MeasureConfig(min_valid_share=0.1)
    found = measure_masks(mask, map_, None, config, exclude=exclude)[0].distance
    assert (found.median, found.p90, found.pixels, found.valid_share) == (2.0, 2.0, 8, 0.2)
    assert measure_masks(mask, map_, None, config)[0].distance.p90 == 5.0


@pytest.mark.parametrize("kind", ["up_to_scale", "relative_inverse"])
def test_depth_without_a_scale_gives_no_distance(kind):
    depth = DepthMap(values=np.ones((5, 5), dtype=np.float32), kind=kind)
    mask = np.ones((2, 5, 5), dtype=bool)
    assert measure_masks(mask, depth, rig_of(5, 5)) == [Measurement()] * 2
    assert measure_masks_loop(mask, depth, rig_of(5, 5)) == [Measurement()] * 2


def test_without_a_rig_there_are_distances_but_no_places():
    depth = DepthMap(values=np.ones((5, 5), dtype=np.float32))
    found = measure_masks(np.ones((1, 5, 5), dtype=bool), depth)[0]
    assert found.distance.median == 1.0
    assert np.isnan((*found.centroid, *found.extent)).all()


@pytest.mark.parametrize("shape", [(1, 1), (1, 50), (50, 1), (8, 16), (3, 64)])
def test_odd_sizes(shape):
    masks = np.ones((2, *shape), dtype=bool)
    masks[1] = False
    depth = DepthMap(values=np.full(shape, 3.0, dtype=np.float32))
    config = MeasureConfig(min_pixels=1)
    for stack in (masks, MaskSet.from_dense(masks)):
        full, empty = measure_masks(stack, depth, rig_of(*shape), config)
        assert (full.distance.median, full.distance.pixels) == (3.0, shape[0] * shape[1])
        assert (empty.distance.known, empty.distance.pixels) == (False, 0)


def test_one_pixel_no_pixel_no_mask_and_no_depth():
    depth = DepthMap(values=np.full((9, 9), 3.0, dtype=np.float32))
    nothing = DepthMap(values=np.full((9, 9), np.nan, dtype=np.float32))
    mask = np.zeros((1, 9, 9), dtype=bool)
    mask[0, 4, 4] = True
    one = measure_masks(mask, depth, rig_of(9, 9), MeasureConfig(min_pixels=1))[0]
    assert (one.distance.median, one.distance.spread, one.distance.pixels) == (3.0, 0.0, 1)
    assert one.extent == (0.0, 0.0, 0.0)
    assert not measure_masks(mask, depth)[0].distance.known
    assert not measure_masks(mask, nothing, rig_of(9, 9))[0].distance.known
    assert measure_masks(mask[:0], depth) == []
    assert measure_masks(MaskSet(9, 9), depth) == []


def test_a_thousand_small_masks():
    masks = np.zeros((1000, 100, 120), dtype=bool)
    y, x = np.divmod(np.arange(1000), 40)
    for i in range(3):
        for j in range(3):
            masks[np.arange(1000), 4 * y + i, 3 * x + j] = True
    values = np.repeat(np.repeat((1 + np.arange(1000)).reshape(25, 40), 4, axis=0), 3, axis=1)
    found = measure_masks(masks, DepthMap(values=values.astype(np.float32)), rig_of(100, 120))
    assert [m.distance.median for m in found] == [1.0 + i for i in range(1000)]
    assert {m.distance.pixels for m in found} == {9}


def test_masks_may_be_any_view():
    masks, depth = random_scene(3, count=5, height=30, width=40)
    turned = np.ascontiguousarray(masks.transpose(1, 2, 0)).transpose(2, 0, 1)
    assert not turned.flags.c_contiguous
    assert measure_masks(turned, depth) == measure_masks(masks, depth)


@pytest.mark.parametrize(
    ("masks", "words"),
    [
        (np.zeros((2, 5, 6), dtype=np.uint8), "masks must be bool .* got uint8"),
        (np.zeros((5, 6), dtype=bool), "masks must be bool .* got bool"),
        ([[True]], "masks must be bool .* got .*list"),
        (np.zeros((2, 6, 5), dtype=bool), "masks are 5 x 6 px but the depth map is 6 x 5"),
        (MaskSet(7, 8), "masks are 8 x 7 px but the depth map is 6 x 5"),
    ],
)
def test_wrong_masks_are_said_in_words(masks, words):
    with pytest.raises(InputError, match=words):
        measure_masks(masks, DepthMap(values=np.ones((5, 6), dtype=np.float32)))


def test_a_wrong_rig_or_exclude_is_said_in_words():
    depth = DepthMap(values=np.ones((5, 6), dtype=np.float32))
    masks = np.ones((1, 5, 6), dtype=bool)
    with pytest.raises(InputError, match=r"rig is for \(8, 8\) px .* Rig.scaled\(6, 5\)"):
        measure_masks(masks, depth, rig_of(8, 8))
    bent = dataclasses.replace(rig_of(5, 6).left, distortion=(0.1, 0.0, 0.0, 0.0))
    with pytest.raises(InputError, match="distorted; rectify"):
        measure_masks(masks, depth, Rig(left=bent))
    with pytest.raises(InputError, match=r"exclude must have shape \(5, 6\)"):
        measure_masks(masks, depth, exclude=np.zeros((6, 5), dtype=bool))


@pytest.mark.parametrize(
    ("option", "value"),
    [
        ("erode_share", -0.1),
        ("max_erode_px", -1),
        ("min_core_share", 1.5),
        ("min_confidence", math.nan),
        ("min_pixels", 0),
        ("min_valid_share", 2.0),
        ("min_layer_share", 0.5),
        ("min_layer_gap", -1.0),
        ("min_layer_pixels", 0),
    ],
)
def test_impossible_options_are_said_in_words(option, value):
    with pytest.raises(InputError, match=f"{option} must be within"):
        MeasureConfig(**{option: value})
