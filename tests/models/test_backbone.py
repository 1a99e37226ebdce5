"""The published numbers through the loader that users call, and what the backbone refuses."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor

import rangemask
from rangemask.errors import InputError
from rangemask.models.backbone import Backbone, build_backbone
from rangemask.models.blocks import compute_in
from support.golden import case_id, cases, relative_error

NAMES = {
    "dinov2_vits14": ("dinov2-small", "vits14"),
    "dinov2_vitb14": ("dinov2-base", "vitb14"),
    "dinov2_vits14_reg": ("dinov2-small-reg", "vits14_reg"),
}


@pytest.mark.parametrize("path", cases("dinov2"), ids=case_id)
def test_published_numbers(path: Path, filled_checkpoint: Callable[..., Path]) -> None:
    case = np.load(path)
    name, keys = NAMES[str(case["model"])]
    checkpoint = filled_checkpoint("dinov2", keys, int(case["seed"]))
    backbone = rangemask.load_backbone(name, checkpoint=checkpoint, device="cpu")
    images = torch.from_numpy(case["image"]).float() / 255
    layers = case["layers"].tolist()
    step = int(case.get("spatial_step", 1))
    with torch.inference_mode():
        found = backbone.intermediate(images, layers, class_tokens=True)
        head = backbone(images)
        (raw,) = backbone.intermediate(images, [layers[-1]], norm=False)
    for index, (tokens, class_token) in enumerate(found):
        tokens = tokens[:, ::8, ::step, ::step]
        assert relative_error(tokens.numpy(), case[f"feature_{index}"]) < 1e-5
        assert relative_error(class_token.numpy(), case[f"cls_{index}"]) < 1e-5
    assert relative_error(head.numpy(), case["cls_head"]) < 1e-5
    if "raw_tokens_last" in case:
        raw = raw.flatten(2).transpose(1, 2)[:, :: int(case.get("raw_step", 1)), ::8]
        assert relative_error(raw.numpy(), case["raw_tokens_last"]) < 1e-5


@pytest.fixture(scope="module")
def nano() -> Backbone:
    torch.manual_seed(0)
    return build_backbone("dinov2-nano").eval()


@pytest.fixture
def images() -> Tensor:
    return torch.rand(2, 3, 42, 70, generator=torch.Generator().manual_seed(1))


@pytest.mark.parametrize("name", ["dinov2-nano", "dinov2-nano-reg"])
def test_shapes_and_gradients(name: str, images: Tensor) -> None:
    backbone = build_backbone(name)
    tokens = backbone.intermediate(images, (1, 3))
    assert [tuple(level.shape) for level in tokens] == [(2, 96, 3, 5)] * 2
    assert all(torch.isfinite(level).all() for level in tokens)
    (tokens[1].square().sum() + backbone(images).square().sum()).backward()
    assert all(p.grad is not None and p.grad.any() for p in backbone.parameters())


def test_layers_come_in_the_order_asked_for(nano: Backbone, images: Tensor) -> None:
    with torch.inference_mode():
        first, last = nano.intermediate(images, (0, 3))
        again = nano.intermediate(images, (-1, 0))
        default = nano.intermediate(images)
    torch.testing.assert_close(again, [last, first])
    assert len(default) == 4
    torch.testing.assert_close(default[-1], last)


def test_a_batch_is_its_images(nano: Backbone, images: Tensor) -> None:
    with torch.inference_mode():
        together = nano.intermediate(images)[-1]
        alone = torch.cat([nano.intermediate(image[None])[-1] for image in images])
    torch.testing.assert_close(together, alone, rtol=1e-4, atol=1e-5)


def test_padding_keeps_pixels_in_place(nano: Backbone) -> None:
    image = torch.rand(1, 3, 30, 45, generator=torch.Generator().manual_seed(2))
    by_hand = torch.nn.functional.pad(image, (0, 11, 0, 12), mode="replicate")
    with torch.inference_mode():
        torch.testing.assert_close(nano.intermediate(image), nano.intermediate(by_hand))
        resized = nano.intermediate(image, fit="resize")[-1]
    assert resized.shape[-2:] == (2, 3)
    with pytest.raises(InputError, match=r"multiples of 14 px, got 30 x 45"):
        nano.intermediate(image, fit="strict")
    with pytest.raises(InputError, match="fit must be one of pad, resize, strict"):
        nano.intermediate(image, fit="crop")  # type: ignore[arg-type]


def test_a_sequence_of_images_is_a_batch(nano: Backbone, images: Tensor) -> None:
    with torch.inference_mode():
        torch.testing.assert_close(nano.intermediate(list(images)), nano.intermediate(images))


def nan_in(images: Tensor) -> Tensor:
    spoilt = images.clone()
    spoilt[1, 2, 3, 4] = torch.nan
    return spoilt


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (nan_in, "image 1 of the batch holds NaN"),
        (lambda x: x / 0, "holds NaN or infinite"),
        (lambda x: x * 255, r"in \[0, 1\], got .* divide 8-bit by 255"),
        (lambda x: x - 2, r"in \[0, 1\]"),
        (lambda x: (x * 255).to(torch.uint8), r"must be float, .* got torch.uint8"),
        (lambda x: x[0], r"shape \(B, 3, H, W\), got \(3, 42, 70\)"),
        (lambda x: x[:, :1], r"got \(2, 1, 42, 70\)"),
        (lambda x: x[:0], "nothing in images"),
        (lambda x: [], "no images in the batch"),
        (lambda x: [x[0], x[1, :, :28]], r"must have one size, got .*28.*42"),
    ],
)
def test_bad_images_are_refused(
    nano: Backbone, images: Tensor, spoil: Callable[[Tensor], Tensor], words: str
) -> None:
    with pytest.raises(InputError, match=words):
        nano.intermediate(spoil(images))


@pytest.mark.parametrize(
    ("layers", "words"),
    [((4,), "no layer 4"), ((-5,), "no layer -5"), ((), "no layers"), ((3, -1), "one layer twice")],
)
def test_bad_layers_are_refused(
    nano: Backbone, images: Tensor, layers: tuple[int, ...], words: str
) -> None:
    with pytest.raises(InputError, match=words):
        nano.intermediate(images, layers)


@pytest.mark.parametrize("name", ["dinov2", "dinov2-huge", "dinov3-small", "small"])
def test_unknown_names_are_refused(name: str) -> None:
    with pytest.raises(InputError, match="known: dinov2-nano"):
        build_backbone(name)


@pytest.mark.parametrize("one_head_at_a_time", [False, True])
@pytest.mark.parametrize(("dtype", "within"), [(torch.bfloat16, 0.01), (torch.float16, 0.002)])
def test_reduced_precision_agrees(
    images: Tensor, dtype: torch.dtype, within: float, one_head_at_a_time: bool
) -> None:
    torch.manual_seed(0)
    backbone = build_backbone("dinov2-nano").eval()
    with torch.inference_mode():
        exact = backbone.intermediate(images)[-1]
        compute_in(backbone, dtype, one_head_at_a_time=one_head_at_a_time)
        rounded = backbone.intermediate(images)[-1]
    assert rounded.dtype == torch.float32
    assert 0 < relative_error(rounded.numpy(), exact.numpy()) < within


def test_attention_one_head_at_a_time_is_attention(nano: Backbone, images: Tensor) -> None:
    other = build_backbone("dinov2-nano").eval()
    other.load_state_dict(nano.state_dict())
    compute_in(other, torch.float32, one_head_at_a_time=True)
    with torch.inference_mode():
        torch.testing.assert_close(
            other.intermediate(images), nano.intermediate(images), rtol=1e-4, atol=1e-5
        )


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast_agrees(nano: Backbone, images: Tensor, dtype: torch.dtype) -> None:
    with torch.inference_mode():
        exact = nano.intermediate(images)[-1]
        with torch.autocast("cpu", dtype=dtype):
            rounded = nano.intermediate(images)[-1]
    assert relative_error(rounded.float().numpy(), exact.numpy()) < 0.01


def test_compiles_without_graph_breaks(nano: Backbone, images: Tensor) -> None:
    compiled = torch.compile(nano.intermediate, fullgraph=True, backend="eager")
    with torch.no_grad():
        torch.testing.assert_close(compiled(images), nano.intermediate(images))
