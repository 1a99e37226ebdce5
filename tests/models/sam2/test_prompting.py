"""Contract of encoding and decoding: compiled, with gradients, in batches."""

from typing import Any

import pytest
import torch

from rangemask.models.sam2.prompting import decode, decode_sure, encode, stability
from support.sam2 import nano_sam2


@pytest.fixture(scope="module")
def network() -> Any:
    return nano_sam2()


def images(count: int) -> torch.Tensor:
    return torch.randn(count, 3, 128, 128, generator=torch.Generator().manual_seed(3))


POINTS = torch.tensor([[[60.0, 40.0]], [[20.0, 100.0]], [[90.0, 90.0]]])
INSIDE = torch.ones(3, 1, dtype=torch.long)


def test_two_images_are_two_times_one(network: Any) -> None:
    both = encode(network, images(2))
    for index in range(2):
        alone = encode(network, images(2)[index : index + 1])
        for found, expected in zip(both[:3], alone[:3], strict=True):
            torch.testing.assert_close(found[index : index + 1], expected, rtol=1e-4, atol=1e-4)
    shapes = [tuple(level.shape[1:]) for level in both]
    assert shapes == [(128, 8, 8), (32, 16, 16), (16, 32, 32), (128, 8, 8)]


def test_channels_last_is_the_same(network: Any) -> None:
    plain = encode(network, images(1))
    last = encode(network, images(1).contiguous(memory_format=torch.channels_last))
    for found, expected in zip(last, plain, strict=True):
        torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_it_compiles(network: Any) -> None:
    @torch.compile(fullgraph=True, backend="eager")
    def run(pixels: torch.Tensor, points: torch.Tensor) -> torch.Tensor:
        features = encode(network, pixels)
        return decode(network, features, points=points, labels=INSIDE, multimask=True).logits

    features = encode(network, images(1))
    expected = decode(network, features, points=POINTS, labels=INSIDE, multimask=True).logits
    torch.testing.assert_close(run(images(1), POINTS), expected, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("multimask", [False, True])
def test_gradients_reach_encoder_prompts_and_decoder(multimask: bool) -> None:
    network = nano_sam2().requires_grad_(True)
    features = encode(network, images(1))
    answer = decode(network, features, points=POINTS, labels=INSIDE, multimask=multimask)
    (answer.logits.mean() + answer.iou.mean()).backward()
    for name in (
        "vision_encoder.backbone.patch_embed.projection.weight",
        "no_memory_embedding",
        "prompt_encoder.point_embed.weight",
        "mask_decoder.conv_s0.weight",
        "mask_decoder.transformer.layers.0.cross_attn_image_to_token.q_proj.weight",
        "mask_decoder.iou_prediction_head.proj_in.weight",
    ):
        value = network.get_parameter(name).grad
        assert value is not None
        assert value.abs().max() > 0


def test_sure_masks_are_those_of_all(network: Any) -> None:
    features = encode(network, images(1))
    every = decode(network, features, points=POINTS, labels=INSIDE, multimask=True)
    for least in (0.0, float(every.iou.median()), 1.0):
        sure = decode_sure(network, features, POINTS[:, 0], least)
        kept = every.iou >= least
        assert sure.logits.shape == (int(kept.sum()), 32, 32)
        torch.testing.assert_close(sure.logits, every.logits[kept], rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(sure.iou, every.iou[kept], rtol=1e-5, atol=1e-5)


def test_one_mask_is_the_first_if_stable_and_else_the_surest(network: Any) -> None:
    features = encode(network, images(1))
    several = decode(network, features, points=POINTS, labels=INSIDE, multimask=True)
    decoder = network.mask_decoder
    before = decoder.dynamic_multimask_stability_thresh
    try:
        decoder.dynamic_multimask_stability_thresh = 1.1  # nothing is stable
        one = decode(network, features, points=POINTS, labels=INSIDE)
        best = several.iou.argmax(1)
        torch.testing.assert_close(one.logits[:, 0], several.logits[torch.arange(3), best])
        decoder.dynamic_multimask_stability_thresh = 0.0  # everything is
        first = decode(network, features, points=POINTS, labels=INSIDE)
    finally:
        decoder.dynamic_multimask_stability_thresh = before
    assert not torch.allclose(first.logits, one.logits, atol=1e-2)
    assert first.logits.shape == one.logits.shape == (3, 1, 32, 32)


def test_stability_is_an_iou_of_two_thresholds() -> None:
    logits = torch.tensor([[3.0, 0.5, -0.5, -3.0], [-5.0] * 4, [5.0] * 4])
    torch.testing.assert_close(stability(logits, 1.0), torch.tensor([1 / 3, 1.0, 1.0]))
