"""Augmentation and KITTI's camera: the published numbers, and pairs that stay pairs."""

from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rangemask.errors import InputError
from rangemask.training.two_in_one import AugmentationConfig
from rangemask.training.two_in_one.augmentation import (
    Jitter,
    crop_at,
    crop_room,
    cut,
    jittered,
    resized,
)
from rangemask.training.two_in_one.kitti import camera_of, d2d_of
from support.two_in_one import case

FULL, CROP = (384, 1280), (256, 832)


def test_crops_are_the_published_ones() -> None:
    for row in case("data")["crop_rows"].tolist():
        scale, height, width, window_h, window_w, i, j, *corner_and_size = row
        found = crop_at(scale, int(i), int(j), FULL, CROP)
        assert list(found) == [height, width, *corner_and_size]
        assert crop_room(scale, FULL, CROP) == (FULL[0] - window_h, FULL[1] - window_w)


@settings(deadline=None, max_examples=200)
@given(scale=st.floats(0.75, 1.5), i=st.floats(0, 1), j=st.floats(0, 1))
def test_crops_lie_within(scale: float, i: float, j: float) -> None:
    down, across = crop_room(scale, FULL, CROP)
    found = crop_at(scale, round(i * down), round(j * across), FULL, CROP)
    assert 0 <= found.top <= found.resized_height - CROP[0]
    assert 0 <= found.left <= found.resized_width - CROP[1]


@pytest.mark.parametrize("index", [0, 1])
def test_colours_are_the_published_ones(index: int) -> None:
    values = case("data")
    gamma, brightness, *channels = values[f"aug_param_{index}"].tolist()
    change = Jitter(gamma, brightness, (channels[0], channels[1], channels[2]))
    found = jittered(torch.from_numpy(values["aug_in"]), change)
    np.testing.assert_allclose(found.numpy(), values[f"aug_out_{index}"], rtol=0, atol=1e-6)


@pytest.mark.parametrize("size", [(375, 1242), (370, 1224), (376, 1241)])
def test_cameras_are_the_published_ones(size: tuple[int, int]) -> None:
    expected = case("data")[f"K_{size[1]}x{size[0]}"]
    found = camera_of(size, FULL)
    assert (found.fx, found.cx) == pytest.approx((expected[0, 0], expected[0, 2]), rel=1e-9)
    assert (found.fy, found.cy) == pytest.approx((expected[1, 1], expected[1, 2]), rel=1e-9)
    assert found.focal_baseline == pytest.approx(0.54 * expected[0, 0])


def test_d2d_is_the_published_one() -> None:
    assert d2d_of(1280) == pytest.approx(float(case("data")["disp_k_1280"]), rel=1e-9)
    assert d2d_of(1260) == pytest.approx(394.6, abs=0.1)


SMALL = {"full_size": (24, 40), "crop_size": (16, 28)}


def images(seed: int = 0) -> tuple[Any, Any]:
    """A pair of disparity 4, without texture across rows."""
    wide = np.random.default_rng(seed).integers(0, 256, (24, 44, 3), dtype=np.uint8)
    return wide[:, :40], wide[:, 4:]


@settings(deadline=None, max_examples=40)
@given(seed=st.integers(0, 10_000))
def test_a_pair_stays_a_pair(seed: int) -> None:
    """Whatever is drawn, the left image's pixels lie further left in the right one."""
    config = AugmentationConfig(**SMALL, scale=(1, 1))
    left, right = images()
    found = config(left, right, torch.Generator().manual_seed(seed))
    torch.testing.assert_close(found.left[..., 4:], found.right[..., :-4])
    assert found.left.shape == (3, 16, 28)
    torch.testing.assert_close(found.left_jittered[..., 4:], found.right_jittered[..., :-4])
    assert 0 <= found.left_jittered.min() <= found.left_jittered.max() <= 1


def test_the_same_seed_draws_the_same() -> None:
    config, (left, right) = AugmentationConfig(**SMALL), images()
    first = config(left, right, torch.Generator().manual_seed(3))
    again = config(left, right, torch.Generator().manual_seed(3))
    torch.testing.assert_close(first, again)
    assert not all(
        torch.equal(first.left, config(left, right, torch.Generator().manual_seed(seed)).left)
        for seed in range(4, 8)
    )


def test_probabilities_of_0_and_1_are_heeded() -> None:
    left, right = images()
    generator = torch.Generator().manual_seed(0)
    still = AugmentationConfig(**{**SMALL, "crop_size": (24, 40)}, scale=(1, 1), flip=0, jitter=0)
    # A whole image leaves no room for the window, which is a pixel larger than the crop.
    found = still(left, right, generator)
    torch.testing.assert_close(found.left, torch.from_numpy(left.copy()).permute(2, 0, 1) / 255)
    torch.testing.assert_close(found.left_jittered, found.left)
    always = AugmentationConfig(**{**SMALL, "crop_size": (24, 40)}, scale=(1, 1), flip=1, jitter=1)
    found = always(left, right, generator)
    mirrored = torch.from_numpy(right[:, ::-1].copy()).permute(2, 0, 1) / 255
    torch.testing.assert_close(found.left, mirrored)
    assert not torch.equal(found.left_jittered, found.left)


def test_images_are_resized_then_cut() -> None:
    left, _ = images()
    crop = crop_at(1.5, 3, 5, (24, 40), (16, 28))
    whole = resized(left, (36, 60))
    expected = whole[:, crop.top : crop.top + 16, crop.left : crop.left + 28]
    torch.testing.assert_close(cut(left, crop), expected)
    assert (crop.top, crop.left) == (4, 7)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"full_size": (384,)}, r"full_size must be two positive numbers, got \(384,\)"),
        ({"scale": (0, 1)}, r"scale must be two positive numbers"),
        ({"gamma": (1.2, 0.8)}, r"gamma must be a range, from small to large"),
        ({"flip": 1.5}, r"flip must lie within \[0, 1\], got 1\.5"),
        ({"jitter": -1}, r"jitter must lie within \[0, 1\], got -1"),
        ({"scale": (0.5, 1)}, r"a crop of \(256, 832\) does not fit into \(384, 1280\)"),
    ],
)
def test_impossible_settings_are_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        AugmentationConfig(**options)


def test_images_of_two_sizes_are_refused() -> None:
    left, right = images()
    with pytest.raises(InputError, match=r"both images of a pair must have one size"):
        AugmentationConfig(**SMALL)(left, right[:, 1:], torch.Generator())
