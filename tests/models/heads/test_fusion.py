"""The fusion head by itself."""

import pytest
import torch

from rangemask.errors import InputError
from rangemask.models.heads.fusion import FusionHead, FusionHeadConfig, presence_of


def image_of(fine: torch.Tensor) -> torch.Tensor:
    """A picture of which the features may be."""
    height, width = (side * 7 // 2 for side in fine.shape[-2:])
    return (
        torch.linspace(-1, 1, 3 * height * width)
        .view(1, 3, height, width)
        .repeat(len(fine), 1, 1, 1)
    )


@pytest.fixture
def head() -> FusionHead:
    torch.manual_seed(0)
    head = FusionHead(FusionHeadConfig(width=8), 6, mask_width=5, refines_map=True)
    assert head.map_change is not None
    torch.nn.init.normal_(head.map_change.weight)
    return head


def test_the_map_keeps_its_scale(head: FusionHead) -> None:
    """Metres or millimetres: the same relative change."""
    fine, depth = torch.randn(2, 6, 8, 12), torch.rand(2, 28, 42) + 1
    metres = head(fine, image_of(fine), map_=depth).map
    millimetres = head(fine, image_of(fine), map_=depth * 1000).map
    assert metres is not None
    assert not torch.allclose(metres, depth)
    torch.testing.assert_close(millimetres, metres * 1000, rtol=1e-3, atol=1e-3)


def test_the_change_is_bounded(head: FusionHead) -> None:
    assert head.map_change is not None
    torch.nn.init.constant_(head.map_change.bias, 1e4)  # type: ignore[arg-type]
    depth = torch.rand(1, 14, 14) + 1
    fine = torch.randn(1, 6, 4, 4)
    refined = head(fine, image_of(fine), map_=depth).map
    torch.testing.assert_close(refined, depth * torch.tensor(0.5).exp())


def test_zero_depth_and_constant_maps_stay_finite(head: FusionHead) -> None:
    fine = torch.randn(1, 6, 4, 4)
    for depth in (torch.zeros(1, 14, 14), torch.ones(1, 14, 14)):
        refined = head(fine, image_of(fine), map_=depth).map
        assert refined is not None
        assert torch.isfinite(refined).all()
        assert (refined[depth == 0] == 0).all()


def test_gradients_of_constant_maps_are_finite(head: FusionHead) -> None:
    fine = torch.randn(1, 6, 4, 4, requires_grad=True)
    for value in (0.0, 3.0):
        depth = torch.full((1, 14, 14), value, requires_grad=True)
        refined = head(fine, image_of(fine), map_=depth).map
        assert refined is not None
        refined.sum().backward()
        assert depth.grad is not None
        assert torch.isfinite(depth.grad).all()
        assert depth.grad.any()
    assert all(p.grad is None or torch.isfinite(p.grad).all() for p in head.parameters())


def test_without_evidence_there_is_nothing_to_refine(head: FusionHead) -> None:
    fine = torch.randn(1, 6, 4, 4)
    fused = head(fine, image_of(fine))
    assert fused == (None, None)


def test_objects_are_evidence(head: FusionHead) -> None:
    fine, depth = torch.randn(1, 6, 8, 8), torch.rand(1, 28, 28) + 1
    one = head(fine, image_of(fine), map_=depth, presence=torch.zeros(1, 8, 8)).map
    presence = torch.zeros(1, 8, 8)
    presence[:, 2:5, 2:5] = 1
    other = head(fine, image_of(fine), map_=depth, presence=presence).map
    assert not torch.allclose(one, other)


def test_the_image_brings_detail_that_features_lack(head: FusionHead) -> None:
    fine, depth = torch.randn(1, 6, 8, 8), torch.rand(1, 28, 28) + 1
    plain, edged = torch.zeros(1, 3, 28, 28), torch.zeros(1, 3, 28, 28)
    edged[..., 14:] = 1
    assert not torch.allclose(head(fine, plain, map_=depth).map, head(fine, edged, map_=depth).map)
    blind = FusionHead(
        FusionHeadConfig(width=8, detail_channels=0), 6, mask_width=5, refines_map=True
    )
    torch.nn.init.ones_(blind.map_change.weight)  # type: ignore[union-attr]
    seen = [blind(fine, image, map_=depth).map for image in (plain, edged)]
    torch.testing.assert_close(*seen)


def test_presence_is_the_surest_object() -> None:
    class_logits = torch.tensor([[[10.0, -10.0], [-10.0, 10.0]]])
    mask_logits = torch.stack([torch.full((2, 2), -2.0), torch.full((2, 2), 9.0)])[None]
    presence = presence_of(class_logits, mask_logits)
    torch.testing.assert_close(presence, torch.full((1, 2, 2), 0.1192), atol=1e-3, rtol=0)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"width": 0}, "at least 1"),
        ({"blocks": 0}, "at least 1"),
        ({"detail_channels": -1}, "must not be negative"),
        ({"largest_change": 0.0}, "positive"),
    ],
)
def test_bad_configs_are_refused(changes: dict[str, float], words: str) -> None:
    with pytest.raises(InputError, match=words):
        FusionHeadConfig(**changes)
