import dataclasses

import pytest
import torch
from torch.nn import functional as F
from transformers import Mask2FormerConfig
from transformers.models.mask2former.modeling_mask2former import Mask2FormerLoss

from rangemask.errors import InputError
from rangemask.models.heads.masks.automatic import AutomaticMaskHead, MaskHeadConfig, masks_of
from rangemask.models.heads.masks.merging import instances

CHANNELS, PYRAMID = 24, 8
CONFIG = MaskHeadConfig(
    classes=("person", "chair"), queries=6, width=32, heads=2, blocks=2, mask_width=16
)


@pytest.fixture
def head() -> AutomaticMaskHead:
    return AutomaticMaskHead(CONFIG, CHANNELS, PYRAMID).eval()


def criterion(classes: int, points: int = 128) -> Mask2FormerLoss:
    weights = {"loss_cross_entropy": 2.0, "loss_mask": 5.0, "loss_dice": 5.0}
    config = Mask2FormerConfig(num_labels=classes, train_num_points=points)
    return Mask2FormerLoss(config, weights)


class TestContract:
    def test_shapes(self, head, features):
        output = head(*features)
        assert output.class_logits.shape == (2, 6, 3)
        assert output.mask_logits.shape == (2, 6, 20, 28)
        assert output.query_embeddings.shape == (2, 6, 16)
        assert output.mask_features.shape == (2, 16, 20, 28)
        assert output.auxiliary == ()
        assert all(torch.isfinite(value).all() for value in output[:4])

    def test_masks_are_queries_times_features_and_nothing_more(self, head, features):
        output = head(*features)
        expected = torch.einsum("bnd,bdhw->bnhw", output.query_embeddings, output.mask_features)
        torch.testing.assert_close(output.mask_logits, expected)
        torch.testing.assert_close(
            masks_of(output.query_embeddings, output.mask_features), output.mask_logits
        )

    def test_a_batch_is_its_images(self, head, features):
        tokens, fine = features
        both = head(tokens, fine)
        for i in range(2):
            one = head(tuple(level[i : i + 1] for level in tokens), fine[i : i + 1])
            torch.testing.assert_close(both.mask_logits[i : i + 1], one.mask_logits)
            torch.testing.assert_close(both.class_logits[i : i + 1], one.class_logits)

    @pytest.mark.parametrize("blocks", [1, 2, 3, 4, 6])
    def test_a_gradient_reaches_every_parameter(self, features, blocks):
        config = dataclasses.replace(CONFIG, blocks=blocks)
        head = AutomaticMaskHead(config, CHANNELS, PYRAMID)
        output = head(*features)
        (output.class_logits.square().mean() + output.mask_logits.square().mean()).backward()
        for name, parameter in head.named_parameters():
            assert parameter.grad is not None, name
            assert parameter.grad.abs().sum() > 0, name

    @pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
    def test_autocast_agrees(self, head, features, dtype):
        exact = head(*features)
        with torch.autocast("cpu", dtype=dtype):
            rough = head(*features)
        error = (rough.mask_logits.float() - exact.mask_logits).abs().max()
        assert 0 < error < 0.05 * exact.mask_logits.abs().max()
        torch.testing.assert_close(
            rough.class_logits.float(), exact.class_logits, atol=0.05, rtol=0.05
        )

    def test_whole_module_in_half_precision(self, head, features):
        tokens, fine = features
        output = head.bfloat16()(tuple(level.bfloat16() for level in tokens), fine.bfloat16())
        assert output.mask_logits.dtype == torch.bfloat16
        assert torch.isfinite(output.mask_logits).all()

    def test_channels_last_agrees(self, head, features):
        tokens, fine = features
        exact = head(tokens, fine)
        layout = torch.channels_last
        other = head.to(memory_format=layout)(
            tuple(level.to(memory_format=layout) for level in tokens), fine.to(memory_format=layout)
        )
        torch.testing.assert_close(other.mask_logits, exact.mask_logits, atol=1e-5, rtol=1e-4)

    def test_compiles_in_one_graph(self, head, features):
        compiled = torch.compile(head, fullgraph=True, backend="eager")
        torch.testing.assert_close(compiled(*features).mask_logits, head(*features).mask_logits)

    @pytest.mark.parametrize("grid", [(1, 1), (3, 11), (9, 4)])
    def test_any_grid(self, head, make, grid):
        output = head(*make(1, *grid))
        assert output.mask_logits.shape[-2:] == (4 * grid[0], 4 * grid[1])

    def test_places_matter(self, head, make):
        """Uniform tokens still give masks that know where they are."""
        tokens, fine = make(1, 5, 7)
        flat = tuple(torch.ones_like(level) for level in tokens)
        logits = head(flat, torch.zeros_like(fine)).mask_logits
        assert logits.std(dim=(-2, -1)).min() > 1e-3

    def test_every_layer_and_the_fine_level_come_in(self, head, features):
        tokens, fine = features
        base = head(tokens, fine).mask_logits
        for i in range(4):
            changed = tuple(level + (i == j) for j, level in enumerate(tokens))
            assert not torch.allclose(head(changed, fine).mask_logits, base, atol=1e-4)
        assert not torch.allclose(head(tokens, fine + 1).mask_logits, base, atol=1e-4)

    def test_deep_supervision_adds_the_earlier_blocks(self, head, features):
        plain = head(*features)
        deep = head(*features, deep_supervision=True)
        assert len(deep.auxiliary) == CONFIG.blocks - 1
        class_logits, mask_logits = deep.auxiliary[0]
        assert class_logits.shape == deep.class_logits.shape
        assert mask_logits.shape == deep.mask_logits.shape
        assert not torch.allclose(mask_logits, deep.mask_logits)
        torch.testing.assert_close(deep.mask_logits, plain.mask_logits)


class TestErrors:
    def test_three_token_maps(self, head, features):
        tokens, fine = features
        with pytest.raises(InputError, match="4 token maps of one shape"):
            head(tokens[:3], fine)

    def test_fine_level_of_another_grid(self, head, features):
        tokens, fine = features
        with pytest.raises(InputError, match=r"\(2, P, 20, 28\), got \(2, 8, 19, 28\)"):
            head(tokens, fine[:, :, 1:])

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"classes": ()}, "classes must be names"),
            ({"classes": ("a", "a")}, "each once"),
            ({"queries": 0}, "queries must be at least 1"),
            ({"width": 33}, "width must be a multiple"),
            ({"heads": 3}, "width must be a multiple"),
            ({"mlp_ratio": 0.0}, "mlp_ratio must be positive"),
            ({"drop_path": 1.0}, "drop_path must be in"),
        ],
    )
    def test_config(self, change, message):
        with pytest.raises(InputError, match=message):
            dataclasses.replace(CONFIG, **change)


class TestLearning:
    def test_the_loss_of_mask2former_takes_the_output(self, features):
        head = AutomaticMaskHead(CONFIG, CHANNELS, PYRAMID)
        output = head(*features, deep_supervision=True)
        masks = [(torch.rand(count, 70, 98) > 0.5).float() for count in (2, 3)]
        labels = [torch.randint(0, 2, (count,)) for count in (2, 3)]
        losses = criterion(2)(
            output.mask_logits,
            output.class_logits,
            masks,
            labels,
            [{"class_queries_logits": c, "masks_queries_logits": m} for c, m in output.auxiliary],
        )
        assert {"loss_mask", "loss_dice", "loss_cross_entropy", "loss_mask_0"} <= set(losses)
        sum(losses.values()).backward()
        assert all(torch.isfinite(parameter.grad).all() for parameter in head.parameters())

    def test_it_overfits_two_images_on_random_frozen_tokens(self):
        """Coloured rectangles, told apart from random projections of their pixels."""
        images, masks, labels = rectangles()
        tokens, fine = random_features(images)
        config = dataclasses.replace(CONFIG, queries=5, classes=("red", "blue"))
        head = AutomaticMaskHead(config, CHANNELS, PYRAMID)
        loss = criterion(2, points=256)
        optimizer = torch.optim.AdamW(head.parameters(), lr=3e-3)
        for _ in range(120):
            output = head(tokens, fine)
            losses = loss(output.mask_logits, output.class_logits, masks, labels)
            total = sum(loss.weight_dict[name] * value for name, value in losses.items())
            optimizer.zero_grad()
            total.backward()
            optimizer.step()
        output = head.eval()(tokens, fine)
        found = instances(output.class_logits, output.mask_logits, min_score=0.5)
        for image, truth, wanted in zip(found, masks, labels, strict=True):
            assert sorted(image.labels.tolist()) == sorted(wanted.tolist())
            inside = image.mask_logits > 0
            for mask, label in zip(truth.bool(), wanted, strict=True):
                same = inside[image.labels == label]
                overlaps = (same & mask).sum((1, 2)) / (same | mask).sum((1, 2))
                assert overlaps.max() > 0.8


def rectangles():
    """Two images of 32 x 32 px with a red and a blue rectangle each, masks and labels."""
    images, masks = torch.zeros(2, 3, 32, 32), torch.zeros(2, 2, 32, 32)
    boxes = [[(2, 3, 14, 12), (16, 10, 30, 28)], [(4, 18, 20, 30), (12, 2, 28, 14)]]
    for i, pair in enumerate(boxes):
        for label, (left, top, right, bottom) in enumerate(pair):
            images[i, 2 * label, top:bottom, left:right] = 1
            masks[i, label, top:bottom, left:right] = 1
    return images, list(masks), [torch.tensor([0, 1])] * 2


def random_features(images):
    """What a frozen backbone might know: random linear maps of patches and of pixels."""
    patches = F.pixel_unshuffle(images, 4)
    tokens = tuple(
        torch.einsum("bchw,dc->bdhw", patches, torch.randn(CHANNELS, 48) / 4) for _ in range(4)
    )
    return tokens, torch.einsum("bchw,dc->bdhw", images, torch.randn(PYRAMID, 3))
