"""Colours change, labels do not, and the pair still warps onto itself."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest
import torch
from torchvision.transforms.v2 import functional as F

from rangemask.training.augmentation import Blur, Colour, Jpeg, Noise, Occlusion
from rangemask.training.augmentation.filters import colour_matrix, gaussian, mean_grey
from rangemask.training.augmentation.sampling import UNKNOWN
from rangemask.training.batch import Example
from support.training_pairs import assert_pair_fits, seeded

STEPS: dict[str, Callable[[Example, torch.Generator], Example]] = {
    "colour": Colour(probability=1),
    "blur": Blur(probability=1),
    "noise": Noise(probability=1, deviation=0.02),
    "jpeg": Jpeg(probability=1, quality=(60, 95)),
    "occlusion": Occlusion(probability=1),
}


@pytest.mark.parametrize("name", STEPS)
@pytest.mark.parametrize("seed", range(2))
def test_images_change_and_nothing_else(dense: list[Example], name: str, seed: int) -> None:
    example = dense[seed]
    before = example.image.clone()
    changed = STEPS[name](example, seeded(seed))
    torch.testing.assert_close(example.image, before, rtol=0, atol=0)
    for label in UNKNOWN:
        assert getattr(changed, label) is getattr(example, label)
    for image in (changed.image, changed.right_image):
        assert image is not None
        assert image.dtype == torch.float32
        assert image.min() >= 0
        assert image.max() <= 1
    assert changed.right_image is not None
    assert example.right_image is not None
    assert not torch.equal(changed.right_image, example.right_image)
    assert torch.equal(changed.image, example.image) == (name == "occlusion")
    assert_pair_fits(changed, share=0.7)


@pytest.mark.parametrize("name", STEPS)
def test_single_images_are_taken(dense: list[Example], name: str) -> None:
    example = replace(dense[0], right_image=None)
    changed = STEPS[name](example, seeded())
    assert changed.right_image is None
    assert torch.equal(changed.image, example.image) == (name == "occlusion")


def test_eyes_differ_by_as_much_as_asked(dense: list[Example]) -> None:
    example = replace(dense[0], right_image=dense[0].image)
    alike = Colour(probability=1, uneven=0)(example, seeded())
    assert alike.right_image is not None
    torch.testing.assert_close(alike.image, alike.right_image)
    uneven = Colour(probability=1)(example, seeded())
    assert uneven.right_image is not None
    between = (uneven.image - uneven.right_image).abs().mean()
    assert 0 < between < (uneven.image - example.image).abs().mean()


@pytest.mark.parametrize(
    ("amounts", "reference"),
    [
        ({"brightness": 0.7}, lambda image: F.adjust_brightness(image, 0.7)),
        ({"contrast": 0.6}, lambda image: F.adjust_contrast(image, 0.6)),
        ({"saturation": 0.5}, lambda image: F.adjust_saturation(image, 0.5)),
    ],
)
def test_the_matrix_does_what_torchvision_does(
    amounts: dict[str, float], reference: Callable[[torch.Tensor], torch.Tensor]
) -> None:
    image = torch.rand(3, 16, 16, generator=seeded()) * 0.6 + 0.2
    none = {"brightness": 1.0, "contrast": 1.0, "saturation": 1.0, "hue_turns": 0.0}
    matrix, share = colour_matrix(**(none | amounts))
    changed = (matrix @ image.flatten(1)).view_as(image) + share * mean_grey(image)
    torch.testing.assert_close(changed, reference(image), atol=2e-3, rtol=0)


def test_hue_turns_colours_and_leaves_grey() -> None:
    matrix, _ = colour_matrix(brightness=1, contrast=1, saturation=1, hue_turns=0.25)
    grey = torch.full((3,), 0.4)
    torch.testing.assert_close(matrix @ grey, grey, atol=1e-4, rtol=0)
    torch.testing.assert_close(
        torch.linalg.matrix_power(matrix, 4), torch.eye(3), atol=1e-4, rtol=0
    )
    red = torch.tensor([1.0, 0, 0])
    assert (matrix @ red - red).abs().max() > 0.3


@pytest.mark.parametrize("deviation", [0.5, 1.0, 2.3])
def test_the_blur_is_a_gaussian(deviation: float) -> None:
    image = torch.rand(1, 3, 40, 50, generator=seeded())
    expected = F.gaussian_blur(image, [25, 25], [deviation, deviation])
    # Borders differ: ours repeats them, torchvision mirrors them.
    ours = gaussian(image, deviation)[..., 12:-12, 12:-12]
    torch.testing.assert_close(ours, expected[..., 12:-12, 12:-12], atol=0.01, rtol=0)
    flat = torch.full((1, 3, 5, 5), 0.3)
    torch.testing.assert_close(gaussian(flat, deviation), flat)


def test_rectangles_have_the_mean_colour(dense: list[Example]) -> None:
    example = dense[0]
    assert example.right_image is not None
    hidden = Occlusion(probability=1, count=1, side=(0.2, 0.2))(example, seeded(5)).right_image
    assert hidden is not None
    where = (hidden != example.right_image).any(dim=0)
    assert 0 < where.sum() <= 32 * 32
    mean = example.right_image.mean(dim=(1, 2))
    torch.testing.assert_close(hidden[:, where], mean[:, None].expand(3, int(where.sum())))


def test_noise_is_as_strong_as_asked_and_each_eyes_own() -> None:
    grey = torch.full((3, 60, 60), 0.5)
    example = Example(name="grey", image=grey, right_image=grey)
    noisy = [Noise(probability=1, deviation=0.1)(example, seeded(seed)) for seed in range(20)]
    spread = torch.stack([(one.image - grey).std() for one in noisy])
    assert spread.max() < 0.102
    assert 0.03 < spread.mean() < 0.07
    assert noisy[0].right_image is not None
    assert not torch.equal(noisy[0].image, noisy[0].right_image)
