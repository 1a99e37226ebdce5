"""The stereo head: the contract of all heads, and that it learns."""

from collections.abc import Callable

import pytest
import torch
from torch import Tensor

from rangemask.errors import InputError
from rangemask.models.heads.stereo import StereoHead, StereoHeadConfig

TINY = StereoHeadConfig(
    max_disparity_px=32,
    iterations=2,
    stem_channels=16,
    match_channels=16,
    groups=4,
    hidden_channels=16,
)


@pytest.fixture
def head() -> StereoHead:
    torch.manual_seed(0)
    return StereoHead(TINY, 8).train(False)


@pytest.fixture
def given() -> list[Tensor]:
    random = torch.Generator().manual_seed(1)
    images = [torch.randn(2, 3, 28, 56, generator=random) for _ in range(2)]
    return [*images, *(torch.randn(2, 8, 8, 16, generator=random) for _ in range(2))]


def test_shapes(head: StereoHead, given: list[Tensor]) -> None:
    with torch.inference_mode():
        output = head(*given)
        every = head(*given, iterations=3, all_iterates=True)
    assert output.disparity_px.shape == output.confidence.shape == (2, 28, 56)
    assert output.coarse_px.shape == (2, 7, 14)
    assert len(output.iterates) == 1
    assert len(every.iterates) == 3
    assert output.disparity_px.min() >= 0
    assert output.confidence.min() >= 0
    assert output.confidence.max() <= 1
    assert output.disparity_px.isfinite().all()


def test_without_refinement_the_coarse_estimate_is_enlarged(
    head: StereoHead, given: list[Tensor]
) -> None:
    with torch.inference_mode():
        output = head(*given, iterations=0)
    means = torch.nn.functional.avg_pool2d(output.disparity_px, 4)
    assert (means - output.coarse_px).abs().mean() < output.coarse_px.std()
    assert output.coarse_px.min() >= 0
    assert output.coarse_px.max() <= 28


def test_a_gradient_reaches_every_parameter(head: StereoHead, given: list[Tensor]) -> None:
    output = head.train()(*given, all_iterates=True)
    loss = output.coarse_px.mean() + sum(i.square().mean() for i in output.iterates)
    loss.backward()
    # Only the first of two iterates' memories reaches the last step.
    assert [n for n, p in head.named_parameters() if p.grad is None or not p.grad.any()] == []


def test_a_batch_is_its_pairs(head: StereoHead, given: list[Tensor]) -> None:
    with torch.inference_mode():
        together = head(*given).disparity_px
        alone = torch.cat([head(*(x[i : i + 1] for x in given)).disparity_px for i in range(2)])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-4)


def test_no_estimate_points_beyond_the_right_image(head: StereoHead, given: list[Tensor]) -> None:
    """Also where the range, 32 px, is wider than the image."""
    narrow = [x[..., :28] for x in given]
    with torch.inference_mode():
        coarse = head(*narrow).coarse_px
    assert (coarse <= 4 * torch.arange(7)).all()
    assert (coarse[..., 1:] > 0).all()


class Stated(torch.nn.Module):
    """Instead of the aggregation: logits by hand."""

    def __init__(self, logits: Tensor) -> None:
        super().__init__()
        self.logits = logits

    def forward(self, volume: Tensor, guide: Tensor) -> Tensor:
        return self.logits


def test_a_peak_beyond_the_border_is_not_seen(head: StereoHead, given: list[Tensor]) -> None:
    logits = torch.zeros(2, 8, 7, 14)
    beyond = torch.arange(14) < torch.arange(8)[:, None, None]
    answers = []
    for peak in (0.0, 90.0):
        head.aggregate = Stated(logits.masked_fill(beyond, peak))  # type: ignore[assignment]
        with torch.inference_mode():
            answers.append(head(*given))
    torch.testing.assert_close(answers[0], answers[1])


def test_a_stated_disparity_is_found_with_confidence(head: StereoHead, given: list[Tensor]) -> None:
    peak = torch.zeros(2, 8, 7, 14).index_fill(1, torch.tensor([3]), 30.0)
    answers = {}
    for name, logits in (("peak", peak), ("flat", 0 * peak)):
        head.aggregate = Stated(logits)  # type: ignore[assignment]
        with torch.inference_mode():
            answers[name] = head(*given, iterations=0)
    where = (..., slice(4, -4), slice(36, None))
    torch.testing.assert_close(answers["peak"].coarse_px[..., 3:], torch.full((2, 7, 11), 12.0))
    assert (answers["peak"].disparity_px[where] - 12).abs().max() < 1e-3
    assert answers["peak"].confidence[where].min() > 0.99
    assert answers["flat"].confidence[where].max() < 0.5


def test_channels_last_changes_nothing(head: StereoHead, given: list[Tensor]) -> None:
    with torch.inference_mode():
        plain = head(*given)
        last = head(*(x.contiguous(memory_format=torch.channels_last) for x in given))
    torch.testing.assert_close(last, plain, rtol=1e-4, atol=1e-4)


def test_right_features_may_be_smaller(head: StereoHead, given: list[Tensor]) -> None:
    given[3] = given[3][..., ::2, ::2]
    with torch.inference_mode():
        assert head(*given).disparity_px.isfinite().all()


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_reduced_precision_keeps_pixels(
    head: StereoHead, given: list[Tensor], dtype: torch.dtype
) -> None:
    with torch.inference_mode():
        exact = head(*given).disparity_px
        with torch.autocast("cpu", dtype=dtype):
            cast = head(*given).disparity_px
        low = head.to(torch.bfloat16)(*(x.bfloat16() for x in given)).disparity_px
    for rounded in (cast, low):
        assert rounded.dtype == torch.float32
        assert (rounded - exact).abs().mean() < 0.2


def test_compiles_without_graph_breaks(head: StereoHead, given: list[Tensor]) -> None:
    compiled = torch.compile(head, fullgraph=True, backend="eager")
    with torch.no_grad():
        torch.testing.assert_close(compiled(*given).disparity_px, head(*given).disparity_px)


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda a: [a[0], a[1][..., :-4], *a[2:]], "must have one shape"),
        (lambda a: [a[0][..., :-2], a[1][..., :-2], *a[2:]], "multiples of 4 px"),
        (lambda a: [a[0][..., :-2, :], a[1][..., :-2, :], *a[2:]], "multiples of 4 px"),
        (lambda a: [a[0][:, :1], a[1][:, :1], *a[2:]], r"\(B, 3, H, W\)"),
        (lambda a: [*a[:2], a[2][:1], a[3]], "left image must be .2, 8, any, any"),
        (lambda a: [*a[:3], a[3][:, :4]], "right image must be .2, 8, any, any"),
    ],
)
def test_bad_images_are_refused(
    head: StereoHead,
    given: list[Tensor],
    spoil: Callable[[list[Tensor]], list[Tensor]],
    words: str,
) -> None:
    with pytest.raises(InputError, match=words):
        head(*spoil(given))
    with pytest.raises(InputError, match="iterations must not be negative"):
        head(*given, iterations=-1)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"max_disparity_px": 40}, "max_disparity_px must be a positive multiple of 16"),
        ({"max_disparity_px": 0}, "max_disparity_px"),
        ({"stem_channels": 12}, "stem_channels"),
        ({"match_channels": 60}, "match_channels must be a positive multiple of 8"),
        ({"groups": 3}, "groups must be|match_channels must be"),
        ({"groups": 0}, "multiple"),
        ({"hidden_channels": -8}, "hidden_channels"),
        ({"iterations": -1}, "iterations must not be negative"),
        ({"radius": 0}, "radius at least 1"),
        ({"right_scale": 0.0}, "right_scale"),
        ({"right_scale": 1.5}, "right_scale"),
    ],
)
def test_bad_configs_are_refused(changes: dict[str, float], words: str) -> None:
    with pytest.raises(InputError, match=words):
        StereoHeadConfig(**changes)


def dots(steps: tuple[int, int], seed: int) -> tuple[Tensor, Tensor, Tensor]:
    """A random-dot pair whose upper and lower half have different disparities."""
    random = torch.Generator().manual_seed(seed)
    wide = torch.randn(1, 3, 64, 128, generator=random)
    left, truth = torch.empty(1, 3, 64, 96), torch.empty(1, 64, 96)
    for half, d in zip((slice(0, 32), slice(32, 64)), steps, strict=True):
        left[:, :, half] = wide[:, :, half, 32 - d : 128 - d]
        truth[:, half] = d
    return left, wide[..., 32:], truth


def test_it_learns() -> None:
    torch.manual_seed(0)
    head = StereoHead(TINY, 8).train()
    pairs = [dots((4, 13), 0), dots((9, 2), 1), dots((17, 8), 2)]
    left, right, truth = (torch.cat(parts) for parts in zip(*pairs, strict=True))
    fine = torch.zeros(3, 8, 20, 28)
    optimizer = torch.optim.AdamW(head.parameters(), lr=4e-3)
    seen = truth.new_zeros(64, 96)
    seen[:, 20:] = 1  # what the right camera sees
    errors = []
    for _ in range(60):
        output = head(left, right, fine, fine, all_iterates=True)
        coarse = torch.nn.functional.avg_pool2d(truth, 4)
        loss = ((output.coarse_px - coarse).abs() * seen[::4, ::4]).mean()
        loss = loss + sum(((i - truth).abs() * seen).mean() for i in output.iterates)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        error = (output.disparity_px - truth).abs()[:, :, 20:].mean()
        errors.append(float(error.detach()))
    assert errors[0] > 4
    assert errors[-1] < 1, errors[-1]
