"""Batches of images: checked, fitted, normalised. What is refused: see ``test_backbone``."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from rangemask.errors import InputError
from rangemask.models.images import DEVIATION, FITS, MEAN, check_images, fit_to_multiple, normalise


def batch(height: int, width: int) -> Tensor:
    return torch.rand(2, 3, height, width, generator=torch.Generator().manual_seed(0))


def test_a_batch_passes_as_it_is() -> None:
    images = batch(5, 7)
    assert check_images(images) is images


@pytest.mark.parametrize("values", [(-0.4, 1.4), (0.0, 0.0), (0.2, 0.9)])
def test_overshoot_of_resampling_passes(values: tuple[float, float]) -> None:
    images = torch.full((1, 3, 4, 4), values[0])
    images[..., 0] = values[1]
    assert check_images(images) is images


@pytest.mark.parametrize("values", [(-0.6, 1.0), (0.0, 1.6), (0.0, 255.0), (-2.1, 2.6)])
def test_other_ranges_are_refused(values: tuple[float, float]) -> None:
    images = torch.full((1, 3, 4, 4), values[0])
    images[..., 0] = values[1]
    with pytest.raises(InputError, match=r"in \[0, 1\], got .*do not normalise"):
        check_images(images)


def test_images_without_values_pass() -> None:
    images = torch.empty(1, 3, 4, 4, device="meta")
    assert check_images(images) is images


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_other_float_types_pass(dtype: torch.dtype) -> None:
    assert check_images(batch(4, 4).to(dtype)).dtype == dtype


def test_one_image_of_many_is_named() -> None:
    images = batch(4, 4)
    images[1, 0, 0, 0] = torch.inf
    with pytest.raises(InputError, match="image 1 of the batch holds NaN or infinite"):
        check_images(images)


@settings(deadline=None, max_examples=40)
@given(
    height=st.integers(1, 60),
    width=st.integers(1, 60),
    multiple=st.sampled_from([1, 7, 14, 28]),
    fit=st.sampled_from(["pad", "resize"]),
)
def test_fitted_sides_are_multiples(height: int, width: int, multiple: int, fit: str) -> None:
    images = batch(height, width)
    found = fit_to_multiple(images, multiple, fit)  # type: ignore[arg-type]
    for before, after in zip((height, width), found.shape[-2:], strict=True):
        assert after % multiple == 0
        assert after > 0
        if fit == "pad":
            assert 0 <= after - before < multiple
        else:
            assert abs(after - before) <= multiple / 2 or after == multiple > before
    if fit == "pad":
        torch.testing.assert_close(found[..., :height, :width], images, rtol=0, atol=0)
    assert 0 <= found.min() <= found.max() <= 1


@pytest.mark.parametrize("fit", FITS)
def test_what_fits_is_not_touched(fit: str) -> None:
    images = batch(28, 14)
    assert fit_to_multiple(images, 14, fit) is images  # type: ignore[arg-type]


def test_padding_repeats_the_border() -> None:
    images = batch(13, 10)
    found = fit_to_multiple(images, 14, "pad")
    torch.testing.assert_close(found[..., 13, :10], images[..., 12, :])
    torch.testing.assert_close(found[..., 13], found[..., 9])


def test_normalising_takes_the_mean_away() -> None:
    mean = torch.tensor(MEAN).view(1, 3, 1, 1).expand(1, 3, 2, 2)
    deviation = torch.tensor(DEVIATION).view(1, 3, 1, 1)
    torch.testing.assert_close(normalise(mean), torch.zeros(1, 3, 2, 2))
    torch.testing.assert_close(normalise(mean + deviation), torch.ones(1, 3, 2, 2))
    assert normalise(mean.half()).dtype == torch.float16
