"""Crops and hidden patches."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from rangemask.errors import InputError
from rangemask.training.self_supervision.config import CropConfig, MaskConfig
from rangemask.training.self_supervision.crops import multi_crop, recoloured
from rangemask.training.self_supervision.masks import block_masks

UNCHANGED = {"jitter": 0, "grey": 0, "blur": (0, 0, 0), "solarise": 0}
PLAIN = CropConfig(global_px=56, local_px=28, local_views=3, **UNCHANGED)


def test_shapes_and_range(images: Tensor, generator: torch.Generator) -> None:
    crops = multi_crop(images, CropConfig(global_px=56, local_px=28, local_views=3), generator)
    assert crops.large.shape == (8, 3, 56, 56)
    assert crops.small.shape == (12, 3, 28, 28)
    for views in crops:
        assert views.isfinite().all()
        assert 0 <= views.min() <= views.max() <= 1


def test_the_same_generator_gives_the_same_views(images: Tensor) -> None:
    made = [multi_crop(images, PLAIN, torch.Generator().manual_seed(seed)) for seed in (1, 1, 2)]
    assert torch.equal(made[0].large, made[1].large)
    assert torch.equal(made[0].small, made[1].small)
    assert not torch.equal(made[0].large, made[2].large)


def test_views_lie_by_image_within_a_view(generator: torch.Generator) -> None:
    """Without changed colours the views of a grey image are that grey: whose view is whose."""
    greys = torch.tensor([0.1, 0.4, 0.7, 0.9]).view(4, 1, 1, 1).expand(4, 3, 70, 90)
    crops = multi_crop(greys, PLAIN, generator)
    for views in crops:
        for view in views.split(4):
            torch.testing.assert_close(view, greys[:, :, :1, :1].expand_as(view))


def test_small_views_show_less(generator: torch.Generator) -> None:
    """On a ramp, what a view spans tells how much it shows."""
    ramp = torch.linspace(0, 1, 112).expand(16, 3, 112, 112)
    crops = multi_crop(ramp, PLAIN, generator)
    spans = [views.amax((1, 2, 3)) - views.amin((1, 2, 3)) for views in crops]
    assert spans[0].min() > 0.45  # sqrt(0.32 x 3/4), less a little
    assert spans[1].max() < 0.7  # sqrt(0.32 x 4/3), more a little


def test_mirroring(images: Tensor) -> None:
    whole = {"global_scale": (1.0, 1.0), "local_views": 0, "global_px": 56}
    options = UNCHANGED | whole
    seen = [
        multi_crop(images, CropConfig(flip=flip, **options), torch.Generator().manual_seed(0))
        for flip in (0.0, 1.0)
    ]
    assert torch.equal(seen[0].large.flip(-1), seen[1].large)
    assert seen[0].small.shape == (0, 3, 98, 98)


@pytest.mark.parametrize(
    "change", [{"jitter": 1.0}, {"grey": 1.0}, {"blur": (1.0, 1.0, 1.0)}, {"solarise": 1.0}]
)
def test_colours_change(images: Tensor, change: dict[str, object]) -> None:
    base = {"global_px": 56, "local_px": 28} | UNCHANGED
    plain, changed = (
        multi_crop(images, CropConfig(**base | extra), torch.Generator().manual_seed(0))
        for extra in ({}, change)
    )
    first, second = (part.mean() for part in (plain.large - changed.large).abs().chunk(2))
    assert second > 1e-4
    assert (first > 1e-4) == ("solarise" not in change)


def test_half_changes_no_colour(images: Tensor) -> None:
    torch.testing.assert_close(recoloured(images, (0.5,) * 4, 1.0), images, atol=1e-5, rtol=0)


@settings(deadline=None, max_examples=40)
@given(
    count=st.integers(1, 9),
    grid=st.tuples(st.integers(4, 16), st.integers(4, 16)),
    low=st.floats(0.05, 0.5),
    reach=st.floats(0, 0.4),
    share=st.floats(0, 1),
    seed=st.integers(0, 99),
)
def test_shares_of_hidden_patches(
    count: int, grid: tuple[int, int], low: float, reach: float, share: float, seed: int
) -> None:
    config = MaskConfig(hidden_views=share, ratio=(low, low + reach))
    masks = block_masks(count, grid, config, torch.Generator().manual_seed(seed))
    assert masks.shape == (count, *grid)
    hidden = masks.flatten(1).sum(1)
    assert int((hidden > 0).sum()) == max(round(count * share), 1)
    shares = hidden[hidden > 0] / (grid[0] * grid[1])
    one = 1 / (grid[0] * grid[1])
    assert low - 1e-6 <= shares.min()
    assert shares.max() <= max(low + reach, low + one) + 1e-6


def test_hidden_patches_are_blocks() -> None:
    """A hidden patch has more hidden neighbours than chance would give it."""
    config = MaskConfig(hidden_views=1.0, ratio=(0.3, 0.3))
    masks = block_masks(32, (16, 16), config, torch.Generator().manual_seed(0))
    beside = (masks[:, :, 1:] & masks[:, :, :-1]).sum() / masks[:, :, 1:].sum()
    assert beside > 0.6  # by chance 0.3


def test_bad_input_speaks(generator: torch.Generator) -> None:
    with pytest.raises(InputError, match="nothing can be hidden"):
        block_masks(0, (4, 4), MaskConfig(), generator)
    with pytest.raises(InputError, match="divide 8-bit by 255"):
        multi_crop(torch.full((1, 3, 56, 56), 200.0), PLAIN, generator)
    for options, words in (
        ({"global_px": 225}, "multiple of 14"),
        ({"local_views": -1}, "must not be negative"),
        ({"global_scale": (0.5, 0.2)}, "smaller first"),
        ({"flip": 1.5}, r"in \[0, 1\]"),
        ({"blur": (0.0, 0.0, 2.0)}, "blur"),
    ):
        with pytest.raises(InputError, match=words):
            CropConfig(**options)
    for options, words in (
        ({"ratio": (0.1, 1.0)}, "leave a patch"),
        ({"aspect": 0.0}, "aspect"),
        ({"hidden_views": 2.0}, "hidden_views"),
    ):
        with pytest.raises(InputError, match=words):
            MaskConfig(**options)
