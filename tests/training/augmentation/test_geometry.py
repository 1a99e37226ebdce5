"""Pixels move, labels move with them, and pairs still warp onto each other."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor
from torch.nn import functional

from rangemask.data.synthetic import SensorConfig, random_scene, render
from rangemask.training.augmentation import CropAndScale, Flip, Misalignment, WideAngle, fit
from rangemask.training.augmentation.swapping import can_swap, mirrored, right_sources, swapped
from rangemask.training.augmentation.wide_angle import WideLens, stretched
from rangemask.training.batch import Example
from support.training_pairs import RIG, assert_pair_fits, misfit, seeded

Change = Callable[[Example, torch.Generator], Example]
SIZE = (112, 154)
ALWAYS = {"probability": 1.0}
MOVES: dict[str, Change] = {
    "flip": Flip(**ALWAYS),
    "fit": lambda example, _: fit(example, (98, 182)),
    "crop": lambda example, generator: CropAndScale()(example, generator, SIZE),
    "near": lambda e, g: CropAndScale(zoom=(1.5, 2.5), stretch=0.3)(e, g, SIZE),
    "far": lambda e, g: CropAndScale(zoom=(0.6, 0.9))(e, g, SIZE),
    "wide": WideAngle(**ALWAYS, stretch_depth=True),
    "misaligned": Misalignment(**ALWAYS, shift_px=0.3, tilt_px=0.3),
}
CLASSES = 4


def coded(height: int = 40, width: int = 60) -> Example:
    """Boxes before a wall, whose colour tells their class and their instance, in both eyes."""
    disparities, boxes = (3.0, 9.0, 6.0), ((8, 30, 24, 44), (20, 36, 6, 18))
    left = torch.ones(height, width, dtype=torch.int64)
    disparity = torch.full((height, width), disparities[0])
    right = left.clone()
    for number, (top, bottom, start, end) in enumerate(boxes, start=2):
        shift = int(disparities[number - 1])
        left[top:bottom, start:end] = number
        disparity[top:bottom, start:end] = shift
        right[top:bottom, max(start - shift, 0) : end - shift] = number
    return Example(
        name="coded",
        image=(left / CLASSES).expand(3, -1, -1),
        right_image=(right / CLASSES).expand(3, -1, -1),
        disparity=disparity,
        depth=18 / disparity,
        weight=left / CLASSES,
        semantic=left,
    )


def with_masks(example: Example) -> Example:
    assert example.semantic is not None
    masks = torch.stack([example.semantic == 2, example.semantic == 3])
    return replace(example, masks=masks, mask_classes=torch.tensor([0, 1]))


def inside(values: Tensor) -> Tensor:
    """(H, W): pixels whose neighbourhood has one value, so that no interpolation mixed it."""
    grown = functional.max_pool2d(values[None].float(), 9, 1, 4)[0]
    return (grown == -functional.max_pool2d(-values[None].float(), 9, 1, 4)[0]) & (values > 0)


def assert_labels_fit(example: Example) -> None:
    """Every known label is what the colour says."""
    assert example.semantic is not None
    assert example.disparity is not None
    assert example.weight is not None
    seen = inside(example.semantic)
    assert seen.sum() > 100
    told = (example.image[0] * CLASSES)[seen]
    torch.testing.assert_close(told, example.semantic[seen].float(), atol=0.02, rtol=0)
    torch.testing.assert_close(told, example.weight[seen] * CLASSES, atol=0.02, rtol=0)
    torch.testing.assert_close(example.semantic == 0, example.disparity.isnan())


@pytest.mark.parametrize("name", MOVES)
@pytest.mark.parametrize("seed", range(3))
def test_the_pair_still_warps_onto_itself(dense: list[Example], name: str, seed: int) -> None:
    moved = MOVES[name](dense[seed], seeded(seed))
    assert_pair_fits(moved)


def test_the_measure_tells_a_wrong_pair_from_a_right_one(dense: list[Example]) -> None:
    example = dense[0]
    assert example.disparity is not None
    assert_pair_fits(example, share=0.3)
    for wrong in (
        replace(example, disparity=example.disparity * 1.1),
        replace(example, right_image=example.image, image=example.right_image),
        mirrored(example),
    ):
        with pytest.raises(AssertionError):
            assert_pair_fits(wrong)


@pytest.mark.parametrize("name", MOVES)
@pytest.mark.parametrize("seed", range(3))
def test_labels_stay_on_what_they_label(name: str, seed: int) -> None:
    lens = {"wide": WideAngle(**ALWAYS, vignette=0, softness=0, stretch_depth=True)}
    assert_labels_fit({**MOVES, **lens}[name](coded(), seeded(seed)))


@pytest.mark.parametrize("name", sorted(set(MOVES) - {"flip"}))
def test_masks_stay_on_their_objects(name: str) -> None:
    moved = MOVES[name](with_masks(coded()), seeded(1))
    assert moved.masks is not None
    assert moved.mask_classes is not None
    assert moved.semantic is not None
    assert moved.masks.dtype == torch.bool
    assert len(moved.masks) == len(moved.mask_classes) > 0
    for mask, number in zip(moved.masks, moved.mask_classes, strict=True):
        torch.testing.assert_close(mask, moved.semantic == number + 2)


def test_objects_outside_the_window_are_left_out() -> None:
    example = with_masks(coded())
    for seed in range(20):
        cut = CropAndScale(zoom=(4, 4))(example, seeded(seed), (28, 42))
        assert cut.masks is not None
        assert cut.mask_classes is not None
        assert cut.masks.flatten(1).any(dim=1).all()
        assert len(cut.masks) == len(cut.mask_classes)
        if len(cut.masks) < 2:
            return
    pytest.fail("every window showed both objects")


def test_a_flipped_pair_has_the_truth_of_the_right_camera(dense: list[Example]) -> None:
    made = render(random_scene(0), RIG, sensor=SensorConfig(noise=0), samples=2)
    assert made.right_disparity is not None
    truth = torch.from_numpy(made.right_disparity).flip(-1)
    flipped = swapped(dense[0])
    assert flipped.disparity is not None
    assert flipped.depth is not None
    known = torch.isfinite(flipped.disparity) & torch.isfinite(truth)
    assert known.float().mean() > 0.8
    off = (flipped.disparity - truth)[known].abs()
    assert (off < 0.3).float().mean() > 0.98
    assert off.median() < 0.05
    assert made.right_depth_m is not None
    depth = torch.from_numpy(made.right_depth_m).flip(-1)
    assert ((flipped.depth - depth)[known].abs() < 0.05 * depth[known]).float().mean() > 0.97


def test_swapping_twice_gives_back_what_both_eyes_see(dense: list[Example]) -> None:
    example = dense[1]
    again = swapped(swapped(example))
    torch.testing.assert_close(again.image, example.image)
    assert again.disparity is not None
    assert example.disparity is not None
    off = (again.disparity - example.disparity).abs()
    assert off.nanmedian() < 0.05
    assert (off[torch.isfinite(off)] < 0.3).float().mean() > 0.98


def test_the_nearest_surface_wins_and_cracks_are_unknown() -> None:
    disparity = torch.tensor([[1.0, 1, 1, 1, 1, 1, 4, 1, 1, 1]])
    sources = right_sources(disparity)
    assert sources[0].tolist() == [1, 2, 6, 4, 5, -1, 7, 8, 9, -1]
    # A near surface that the right eye sees wider, and what lies behind peeping through.
    crack = torch.full((1, 12), torch.nan)
    crack[0, [4, 8, 9]] = torch.tensor([1.0, 6, 5])  # land on 3, 2 and 4
    assert right_sources(crack)[0, 2:5].tolist() == [8, -1, 9]


def test_single_images_are_mirrored_with_all_labels() -> None:
    example = replace(with_masks(coded()), right_image=None)
    flipped = Flip(**ALWAYS)(example, seeded())
    for name in ("image", "disparity", "depth", "weight", "semantic", "masks"):
        torch.testing.assert_close(getattr(flipped, name), getattr(example, name).flip(-1))


def test_pairs_whose_labels_cannot_follow_are_not_flipped() -> None:
    example = coded()
    kept = [with_masks(example), replace(example, disparity=None)]
    for one in kept:
        assert not can_swap(one)
        assert Flip(**ALWAYS)(one, seeded()) is one
    bare = Example(name="bare", image=example.image, right_image=example.right_image)
    flipped = Flip(**ALWAYS)(bare, seeded())
    assert bare.right_image is not None
    torch.testing.assert_close(flipped.image, bare.right_image.flip(-1))
    assert flipped.right_image is not None
    torch.testing.assert_close(flipped.right_image, bare.image.flip(-1))


@pytest.mark.parametrize("size", [(60, 80), (84, 112), (240, 320)])
def test_fitting_gives_the_truth_of_the_scaled_camera(
    dense: list[Example], size: tuple[int, int]
) -> None:
    fitted = fit(dense[0], size)
    made = render(random_scene(0), RIG.scaled(size[1], size[0]), sensor=SensorConfig(noise=0))
    assert made.disparity is not None
    assert fitted.disparity is not None
    off = (fitted.disparity - torch.from_numpy(made.disparity)).abs()
    known = torch.isfinite(off)
    assert known.float().mean() > 0.9
    assert (off[known] < 0.15).float().mean() > 0.95


def test_fitting_keeps_proportions_and_pads_below_and_to_the_right() -> None:
    example = with_masks(coded(40, 60))
    fitted = fit(example, (56, 70))
    assert fitted.image.shape == (3, 56, 70)
    assert fitted.disparity is not None
    assert fitted.masks is not None
    inner = round(40 * 70 / 60)
    assert torch.isfinite(fitted.disparity[:inner]).all()
    assert fitted.disparity[inner:].isnan().all()
    assert not fitted.masks[:, inner:].any()
    torch.testing.assert_close(
        fitted.image[:, inner:], fitted.image[:, inner - 1 : inner].expand(-1, 56 - inner, -1)
    )
    padded = fit(example, None, multiple=28)
    assert padded.image.shape == (3, 56, 84)
    torch.testing.assert_close(padded.image[:, :40, :60], example.image)
    assert padded.disparity is not None
    torch.testing.assert_close(padded.disparity[:40, :60], example.disparity)
    assert fit(example, (40, 60)) is example


@pytest.mark.parametrize("seed", range(5))
def test_zoom_keeps_depth_that_of_the_same_camera(seed: int) -> None:
    """depth * disparity is fx * baseline, which is the camera's."""
    example = coded()
    cut = CropAndScale(zoom=(0.7, 2), stretch=0.2)(example, seeded(seed), (40, 60))
    assert cut.depth is not None
    assert cut.disparity is not None
    product = cut.depth * cut.disparity
    known = torch.isfinite(product)
    assert known.any()
    torch.testing.assert_close(product[known], torch.full_like(product[known], 18.0))
    same = CropAndScale(zoom=(0.7, 2), metric_zoom=False)(example, seeded(seed), (40, 60))
    assert same.depth is not None
    assert set(same.depth[torch.isfinite(same.depth)].unique().tolist()) <= {6.0, 2.0, 3.0}


@settings(deadline=None, max_examples=40)
@given(
    zoom=st.floats(0.3, 4),
    stretch=st.floats(0, 0.5),
    seed=st.integers(0, 2**31),
    height=st.integers(1, 6),
    width=st.integers(1, 6),
)
def test_any_window_keeps_labels_where_they_belong(
    zoom: float, stretch: float, seed: int, height: int, width: int
) -> None:
    size = (14 * height, 14 * width)
    cut = CropAndScale(zoom=(zoom, zoom), stretch=stretch)(coded(), seeded(seed), size)
    assert cut.image.shape == (3, *size)
    assert cut.right_image is not None
    assert cut.right_image.shape == (3, *size)
    assert cut.disparity is not None
    assert cut.semantic is not None
    # Disparity is one factor times what it was: no value is a mixture of two.
    found = cut.disparity[torch.isfinite(cut.disparity)]
    labels = cut.semantic[torch.isfinite(cut.disparity)]
    assert len(found) > 0
    factor = found / torch.tensor([0.0, 3, 9, 6])[labels]
    torch.testing.assert_close(factor, factor[:1].expand_as(factor))


@settings(deadline=None, max_examples=30)
@given(
    angle=st.floats(0.01, 1.2),
    columns=st.lists(st.floats(-1, 1), min_size=1, max_size=8),
    shift=st.floats(0, 1.0),
)
def test_the_lens_and_its_inverse(angle: float, columns: list[float], shift: float) -> None:
    lens = WideLens(half_angle_rad=angle, vignette=0, softness=0)
    x = torch.tensor(columns, dtype=torch.float64)
    inner = lens.inner(x, angle)
    assert (inner.abs() <= 1 + 1e-9).all()
    torch.testing.assert_close(lens.outer(inner, angle), x, atol=1e-8, rtol=0)
    moved = lens.outer(inner - shift, angle)
    known = torch.isfinite(moved)
    assert (moved[known] <= x[known] + 1e-9).all()


@pytest.mark.parametrize("angle", [0.1, 0.5, 0.9])
def test_wide_disparity_joins_the_two_images_of_one_point(angle: float) -> None:
    """Undone in both eyes, the match of the stretched picture is the match of the plain one."""
    lens = WideLens(half_angle_rad=angle, vignette=0, softness=0)
    width = 60
    example = coded(40, width)
    wide = stretched(example, lens)
    assert wide.disparity is not None
    u = torch.arange(width, dtype=torch.float64)
    ends = [((x + 0.5) * 2 / width - 1) for x in (u.expand(40, -1), u - wide.disparity)]
    first, second = ((lens.inner(end, angle) + 1) * width / 2 for end in ends)
    plain = first - second
    known = torch.isfinite(plain)
    assert known.float().mean() > 0.9
    assert wide.semantic is not None
    expected = torch.tensor([0.0, 3, 9, 6], dtype=torch.float64)[wide.semantic]
    torch.testing.assert_close(plain[known], expected[known], atol=1e-4, rtol=0)


def test_a_wide_lens_darkens_and_softens_its_corners(dense: list[Example]) -> None:
    plain = WideLens(half_angle_rad=0.3, vignette=0, softness=0)
    example = replace(dense[0], image=torch.rand(3, 120, 160, generator=seeded()))
    sharp = stretched(example, plain).image
    dark = stretched(example, replace(plain, vignette=0.5)).image
    assert dark[:, 0, 0] == pytest.approx(sharp[:, 0, 0] * 0.5, rel=0.03)
    torch.testing.assert_close(dark[:, 60, 80], sharp[:, 60, 80], atol=1e-3, rtol=0)
    soft = stretched(example, replace(plain, softness=1.0)).image
    corner, middle = (
        (slice(None), slice(12), slice(12)),
        (slice(None), slice(54, 66), slice(74, 86)),
    )
    assert soft[corner].std() < 0.5 * sharp[corner].std()
    assert soft[middle].std() > 0.9 * sharp[middle].std()


def test_pictures_with_depth_stay_those_of_a_pinhole(dense: list[Example]) -> None:
    seen = WideAngle(**ALWAYS)(dense[0], seeded(1))
    for name in ("disparity", "depth", "weight", "semantic"):
        assert getattr(seen, name) is getattr(dense[0], name)
    assert seen.image[:, 0, 0].sum() < dense[0].image[:, 0, 0].sum()
    bare = replace(dense[0], depth=None)
    assert not torch.equal(WideAngle(**ALWAYS)(bare, seeded(1)).semantic, dense[0].semantic)


def test_misalignment_moves_rows_of_the_right_eye_only(dense: list[Example]) -> None:
    example = dense[0]
    moved = Misalignment(**ALWAYS, shift_px=1, tilt_px=0)(example, seeded(3))
    assert moved.image is example.image
    assert moved.disparity is example.disparity
    assert moved.right_image is not None
    assert example.right_image is not None
    assert not torch.equal(moved.right_image, example.right_image)
    assert Misalignment(**ALWAYS)(replace(example, right_image=None), seeded()).right_image is None
    ramp = torch.arange(120.0)[:, None].expand(3, 120, 160) / 120
    one = replace(example, right_image=ramp)
    tilted = Misalignment(**ALWAYS, shift_px=0, tilt_px=2)(one, seeded(1)).right_image
    assert tilted is not None
    change = (tilted - ramp)[0, 60] * 120
    torch.testing.assert_close(change, -change.flip(0), atol=1e-3, rtol=0)
    assert 0.01 < change.abs().max() <= 2


def test_rows_off_by_much_would_be_noticed(dense: list[Example]) -> None:
    """The measure sees rows, too: five pixels spoil what a third of one does not."""
    example = dense[0]
    assert example.disparity is not None
    assert example.right_image is not None
    rolled = replace(example, right_image=example.right_image.roll(5, dims=1))
    assert misfit(rolled, example.disparity) > 2 * misfit(example, example.disparity)


def test_numbers_are_those_of_numpy() -> None:
    """Labels are taken from the pixel under the centre, as Pillow's nearest neighbour does."""
    example = coded()
    fitted = fit(example, (20, 30))
    assert fitted.disparity is not None
    assert example.disparity is not None
    rows, columns = (((np.arange(n) + 0.5) * 2).astype(int) for n in (20, 30))
    expected = example.disparity.numpy()[rows[:, None], columns] / 2
    np.testing.assert_array_equal(fitted.disparity.numpy(), expected)
