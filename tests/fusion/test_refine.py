"""Borders of masks and depth made to agree: what each step puts right and what it leaves alone."""

import dataclasses

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rangemask.errors import InputError
from rangemask.fusion.refine import (
    RefineConfig,
    flying_pixels,
    refine_depth,
    refine_masks,
    remove_flying_pixels,
)
from rangemask.structures import DepthMap, MaskSet

HEIGHT, WIDTH = 90, 120


def square(radius):
    return np.ones((2 * radius + 1, 2 * radius + 1), dtype=np.uint8)


def wider(mask, radius):
    return cv2.dilate(mask.view(np.uint8), square(radius)).astype(bool)


def narrower(mask, radius):
    return cv2.erode(mask.view(np.uint8), square(radius)).astype(bool)


def disc_before_wall(near=1.0, far=3.0, noise=0.01, seed=0):
    """A disc and a thin bar that belongs to it, in the air before a slanted wall."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    mask = np.hypot(y - 45, x - 50) < 22
    mask |= (abs(y - 45) < 3) & (x >= 50) & (x < 100)
    depth = far / (1 + 0.3 * (x / WIDTH - 0.5))
    depth[mask] = near
    depth *= np.random.default_rng(seed).normal(1, noise, depth.shape)
    return mask, DepthMap(values=depth.astype(np.float32))


def box_on_floor():
    """A box whose lower edge meets a floor without a step."""
    y = np.arange(HEIGHT)[:, None] + np.zeros((1, WIDTH))
    inverse = np.maximum(0.1, (y - 30) / 60)
    mask = np.zeros((HEIGHT, WIDTH), dtype=bool)
    mask[20:61, 40:80] = True
    inverse[mask] = inverse[60, 0]
    return mask, DepthMap(values=(1 / inverse).astype(np.float32))


def iou(first, second):
    return (first & second).sum() / (first | second).sum()


@pytest.mark.parametrize("scene", [disc_before_wall, box_on_floor])
def test_right_masks_and_right_depth_stay_as_they_are(scene):
    mask, depth = scene()
    assert np.array_equal(refine_masks(mask[None], depth)[0], mask)
    same = refine_depth(depth, mask[None])
    assert np.array_equal(same.values, depth.values)
    assert not same.filled.any()


@pytest.mark.parametrize("spoil", [lambda m: wider(m, 3), lambda m: narrower(m, 2)])
def test_masks_end_where_depth_steps(spoil):
    mask, depth = disc_before_wall()
    spoilt = spoil(mask)
    refined = refine_masks(spoilt[None], depth)[0]
    assert iou(mask, spoilt) < 0.85
    assert iou(mask, refined) > 0.97


def test_shifted_masks_come_back():
    mask, depth = disc_before_wall()
    spoilt = np.roll(mask, (2, -2), axis=(0, 1))
    assert iou(mask, spoilt) < 0.85
    assert iou(mask, refine_masks(spoilt[None], depth)[0]) > 0.95


def test_a_part_on_another_layer_is_cut_however_large():
    mask, depth = disc_before_wall()
    spoilt = mask.copy()
    spoilt[60:88, 60:85] = True  # a leak far wider than any band
    refined = refine_masks(spoilt[None], depth)[0]
    assert iou(mask, spoilt) < 0.8
    assert iou(mask, refined) > 0.97


def test_a_mask_does_not_run_out_over_the_floor_it_stands_on():
    mask, depth = box_on_floor()
    short = mask.copy()
    short[55:] = False  # the feet are missing: there is no step to grow to
    refined = refine_masks(short[None], depth)[0]
    assert not refined[63:].any()
    sides = narrower(mask, 3)
    grown = refine_masks(sides[None], depth, RefineConfig(grow_px=5))[0]
    assert grown[30:45, 40:80].all()
    assert not grown[:, :40].any()
    assert not grown[:, 80:].any()


def test_unknown_depth_neither_cuts_nor_grows():
    mask, _ = disc_before_wall()
    nothing = DepthMap(values=np.full(mask.shape, np.nan, dtype=np.float32))
    assert np.array_equal(refine_masks(mask[None], nothing)[0], mask)
    _, depth = disc_before_wall()
    values = depth.values.copy()
    rim = wider(mask, 4) & ~narrower(mask, 2)
    values[rim] = np.nan
    spoilt = wider(mask, 2)
    assert np.array_equal(refine_masks(spoilt[None], DepthMap(values=values))[0], spoilt)


def test_masks_keep_type_number_labels_and_order():
    mask, depth = disc_before_wall()
    stack = np.stack([mask, np.zeros_like(mask), wider(mask, 2)])
    refined = refine_masks(stack, depth)
    assert refined.dtype == bool
    assert refined.shape == stack.shape
    assert not refined[1].any()
    packed = MaskSet.from_dense(stack, labels=["a", "b", "c"], scores=[0.1, 0.2, 0.3])
    answer = refine_masks(packed, depth)
    assert (answer.labels, answer.scores) == (packed.labels, packed.scores)
    assert np.array_equal(answer.dense(), refined)
    assert np.array_equal(refine_masks(stack[::-1], depth), refined[::-1])
    assert refine_masks(stack[:0], depth).shape == (0, HEIGHT, WIDTH)


@settings(deadline=None, max_examples=20)
@given(dx=st.integers(0, 15), dy=st.integers(0, 15), factor=st.sampled_from([0.25, 2.0, 64.0]))
def test_refining_moves_with_the_image_and_knows_no_unit(dx, dy, factor):
    mask, depth = disc_before_wall(noise=0.0)
    patch = np.zeros((2, HEIGHT + 15, WIDTH + 15), dtype=bool)
    patch[0, :HEIGHT, :WIDTH] = wider(mask, 2)
    patch[1] = np.roll(patch[0], (dy, dx), axis=(0, 1))
    values = np.full(patch.shape[1:], 3.0, dtype=np.float32)
    values[:HEIGHT, :WIDTH] = np.where(mask, depth.values, 3.0)
    there = np.roll(values, (dy, dx), axis=(0, 1)) * np.float32(factor)
    first = refine_masks(patch[:1], DepthMap(values=values))[0]
    second = refine_masks(patch[1:], DepthMap(values=there, kind="up_to_scale"))[0]
    assert np.array_equal(np.roll(first, (dy, dx), axis=(0, 1)), second)
    assert iou(first[:HEIGHT, :WIDTH], mask) > 0.97


def test_depth_that_bled_in_is_replaced_by_the_inner_layers():
    mask, depth = disc_before_wall()
    spoilt = np.asarray(cv2.dilate(depth.values, square(2)))  # the wall eats the disc's rim
    bled = mask & (np.abs(spoilt - 1) > 0.2)
    assert bled.sum() > 200
    filled = refine_depth(DepthMap(values=spoilt), mask[None])
    assert np.abs(filled.values[bled] - 1).max() < 0.1
    assert filled.filled[bled].all()
    assert not filled.filled[~mask].any()
    assert np.array_equal(filled.values[~filled.filled], spoilt[~filled.filled])
    confidence = np.ones(mask.shape, dtype=np.float32)
    unknown = refine_depth(DepthMap(values=spoilt, confidence=confidence), mask[None], fill=False)
    assert np.isnan(unknown.values[bled]).all()
    assert (unknown.confidence[bled] == 0).all()
    assert np.isfinite(unknown.values[~bled & ~filled.filled]).all()
    assert unknown.filled is None


def test_where_masks_overlap_a_pixel_that_one_of_them_explains_stays():
    mask, depth = disc_before_wall()
    wall = np.ones_like(mask)
    wall[30:60, 30:60] = False
    same = refine_depth(depth, np.stack([wider(mask, 3), wall]))
    assert np.array_equal(same.values[~wider(mask, 3)], depth.values[~wider(mask, 3)])
    ring = wider(mask, 3) & ~mask & wall
    assert ring.sum() > 100
    assert np.array_equal(same.values[ring], depth.values[ring])
    already = dataclasses.replace(depth, filled=~mask)
    assert np.array_equal(refine_depth(already, mask[None]).filled, ~mask)


def smeared(mask, depth, radius):
    values = np.asarray(cv2.blur(depth.values, (2 * radius + 1, 2 * radius + 1)))
    between = (values > 1.15) & (values < 2.3)
    return DepthMap(values=values, confidence=np.ones(mask.shape, dtype=np.float32)), between


@pytest.mark.parametrize("radius", [1, 2])
def test_pixels_that_hang_between_two_layers_are_found_and_removed(radius):
    mask, depth = disc_before_wall()
    depth, between = smeared(mask, depth, radius)
    flying = flying_pixels(depth)
    assert between.sum() > 200
    assert flying[between].mean() > 0.5
    assert flying[~wider(between, 2)].sum() == 0
    clean = remove_flying_pixels(depth)
    assert np.array_equal(np.isnan(clean.values), flying)
    assert (clean.confidence[flying] == 0).all()
    assert np.isfinite(depth.values).all()
    left_half = np.zeros_like(mask)
    left_half[:, :50] = True
    assert np.array_equal(flying_pixels(depth, near=left_half), flying & left_half)


def test_clean_edges_do_not_fly():
    _, depth = disc_before_wall()
    assert not flying_pixels(depth).any()


@settings(deadline=None, max_examples=30)
@given(slope=st.floats(-0.012, 0.012), tilt=st.floats(-0.012, 0.012), noise=st.sampled_from([0, 1]))
def test_no_plane_flies_however_slanted(slope, tilt, noise):
    y, x = np.mgrid[:40, :60]
    inverse = 1.0 + slope * (x - 30) + tilt * (y - 20)
    inverse += np.random.default_rng(0).normal(0, 0.002, inverse.shape) * noise
    depth = DepthMap(values=(1 / np.maximum(inverse, 0.02)).astype(np.float32))
    assert flying_pixels(depth, RefineConfig(jump=0.05)).mean() < 0.002


@pytest.mark.parametrize("shape", [(1, 1), (1, 40), (40, 1), (2, 3)])
def test_odd_sizes_and_unknown_maps(shape):
    depth = DepthMap(values=np.full(shape, 2.0, dtype=np.float32))
    nothing = DepthMap(values=np.full(shape, np.nan, dtype=np.float32))
    masks = np.ones((1, *shape), dtype=bool)
    for one in (depth, nothing):
        assert refine_masks(masks, one).all()
        np.testing.assert_array_equal(refine_depth(one, masks).values, one.values)
        assert not flying_pixels(one).any()


def test_what_cannot_be_refined_is_said_in_words():
    mask, depth = disc_before_wall()
    relative = dataclasses.replace(depth, kind="relative_inverse")
    for call in (
        lambda: refine_masks(mask[None], relative),
        lambda: refine_depth(relative, mask[None]),
        lambda: flying_pixels(relative),
    ):
        with pytest.raises(InputError, match="relative_inverse: steps in it have no size"):
            call()
    with pytest.raises(InputError, match="masks are 5 x 5 px but the depth map is 120 x 90"):
        refine_masks(np.zeros((1, 5, 5), dtype=bool), depth)
    with pytest.raises(InputError, match=r"near must have shape \(90, 120\)"):
        flying_pixels(depth, near=np.ones((5, 5), dtype=bool))
    for option in ({"jump": 0}, {"band_px": -1}, {"grow_px": 101}, {"main_share": 2}):
        with pytest.raises(InputError, match=f"{next(iter(option))} must be within"):
            RefineConfig(**option)
