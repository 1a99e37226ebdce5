"""All of it together: compositions, determinism, and configs that speak."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields, replace

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rangemask.errors import InputError, UnknownNameError
from rangemask.training.augmentation import (
    PRESETS,
    Augmentation,
    Blur,
    Colour,
    CropAndScale,
    Flip,
    Jpeg,
    Misalignment,
    Noise,
    Occlusion,
    WideAngle,
    check_size,
    fit,
    generator_of,
)
from rangemask.training.batch import Example, collate
from support.training_pairs import assert_pair_fits, assert_same, seeded

SIZE = (112, 154)


@settings(deadline=None, max_examples=12)
@given(
    seed=st.integers(0, 2**31),
    chances=st.lists(st.booleans(), min_size=6, max_size=6),
    zoom=st.floats(0.8, 2),
)
def test_any_composition_warps_onto_itself(
    dense: list[Example], seed: int, chances: list[bool], zoom: float
) -> None:
    flip, wide, aside, hide, colour, blur = (float(chance) for chance in chances)
    augmentation = Augmentation(
        flip=Flip(probability=flip),
        crop=CropAndScale(zoom=(zoom, zoom)),
        wide_angle=WideAngle(
            probability=wide, half_angle_rad=(0.2, 0.5), vignette=0.3, stretch_depth=True
        ),
        misalignment=Misalignment(probability=aside, shift_px=0.2, tilt_px=0.2),
        occlusion=Occlusion(probability=hide, count=1, side=(0.05, 0.1)),
        colour=Colour(probability=colour),
        blur=Blur(probability=blur, deviation_px=(0.3, 0.8)),
        noise=Noise(probability=0),
        jpeg=Jpeg(probability=0),
    )
    made = augmentation(dense[seed % 3], seeded(seed), size=SIZE)
    assert_pair_fits(made, share=0.8)


@pytest.mark.parametrize("preset", PRESETS)
def test_presets_keep_every_contract(
    dense: list[Example], masked: list[Example], preset: str
) -> None:
    augmentation = Augmentation.preset(preset)
    sets = [dense, masked, [replace(one, right_image=None) for one in masked]]
    for examples in sets:
        made = [augmentation(one, seeded(i), size=SIZE) for i, one in enumerate(examples)]
        for one in made:
            assert one.disparity is not None
            assert one.weight is not None
            assert one.semantic is not None
            assert not bool((one.disparity < 0).any())
            assert not bool(one.weight.isnan().any())
            assert one.image.isfinite().all()
            assert one.image.is_contiguous() or one.image.stride()
            assert one.semantic.dtype == torch.int64
            if one.masks is not None:
                assert one.masks.dtype == torch.bool
        batch = collate(made)
        assert batch.images.shape == (3, 3, *SIZE)
        assert (batch.right_images is None) == (examples[0].right_image is None)


@pytest.mark.parametrize("preset", PRESETS)
def test_the_same_generator_makes_the_same_example(masked: list[Example], preset: str) -> None:
    augmentation = Augmentation.preset(preset)
    first = augmentation(masked[0], seeded(3), size=SIZE)
    torch.manual_seed(99)  # the global generator has no say
    assert_same(first, augmentation(masked[0], seeded(3), size=SIZE))
    if preset != "none":
        other = augmentation(masked[0], seeded(4), size=SIZE)
        assert not torch.equal(first.image, other.image)


def test_none_only_fits_the_picture_in(masked: list[Example]) -> None:
    made = Augmentation.preset("none")(masked[0], seeded(), size=SIZE)
    assert_same(made, fit(masked[0], SIZE))


def test_examples_are_not_changed_in_place(masked: list[Example]) -> None:
    example = masked[1]
    names = [f.name for f in fields(Example) if isinstance(getattr(example, f.name), torch.Tensor)]
    before = {name: getattr(example, name).clone() for name in names}
    for seed in range(4):
        Augmentation.preset("full")(example, seeded(seed), size=SIZE)
    for name, values in before.items():
        torch.testing.assert_close(getattr(example, name), values, equal_nan=True, rtol=0, atol=0)


def test_labels_that_are_unknown_everywhere_stay_so(dense: list[Example]) -> None:
    assert dense[0].disparity is not None
    empty = replace(dense[0], disparity=torch.full_like(dense[0].disparity, torch.nan))
    for seed in range(4):
        made = Augmentation.preset("full")(empty, seeded(seed), size=SIZE)
        assert made.disparity is not None
        assert made.disparity.isnan().all()


def test_generators_hang_on_all_three_numbers() -> None:
    def first(*numbers: int) -> float:
        return float(torch.rand((), generator=generator_of(*numbers)))

    draws = [first(0, 0, 0), first(1, 0, 0), first(0, 1, 0), first(0, 0, 1), first(0, 7, 12)]
    assert len(set(draws)) == len(draws)
    assert first(2, 3, 4) == first(2, 3, 4)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Flip(probability=1.5), "Flip.probability must lie within"),
        (lambda: Flip(probability=float("nan")), "Flip.probability must lie within"),
        (lambda: CropAndScale(zoom=(2, 1)), "CropAndScale.zoom must be two numbers at least 0.05"),
        (lambda: CropAndScale(zoom=(1, float("inf"))), "CropAndScale.zoom"),
        (lambda: CropAndScale(stretch=-1), "CropAndScale.stretch must not be negative"),
        (lambda: WideAngle(half_angle_rad=(0.1, 2)), "within \\[0.01, 1.2\\]"),
        (lambda: WideAngle(vignette=2), "WideAngle.vignette must lie within"),
        (lambda: Misalignment(shift_px=-1), "Misalignment.shift_px must not be negative"),
        (lambda: Occlusion(count=0), "Occlusion.count must be at least 1"),
        (lambda: Occlusion(side=(0.5, 1.5)), "Occlusion.side"),
        (lambda: Colour(brightness=0.95), "Colour.brightness must lie within"),
        (lambda: Colour(uneven=-1), "Colour.uneven must not be negative"),
        (lambda: Blur(deviation_px=(-1, 1)), "Blur.deviation_px"),
        (lambda: Noise(deviation=float("inf")), "Noise.deviation"),
        (lambda: Jpeg(quality=(0, 50)), "Jpeg.quality"),
        (lambda: check_size((100, 140), 14), "98 x 140 would fit"),
        (lambda: check_size((0, 140), 14), "14 x 140 would fit"),
        (lambda: check_size(None, 0), "multiple must be at least 1"),
    ],
)
def test_bad_strengths_speak(make: Callable[[], object], words: str) -> None:
    with pytest.raises(InputError, match=words):
        make()


def test_an_unknown_preset_speaks() -> None:
    with pytest.raises(UnknownNameError, match="known are none, light, full"):
        Augmentation.preset("heavy")
