import dataclasses

import pytest
import torch
from torch.nn import functional as F
from transformers import SamConfig, SamMaskDecoderConfig, SamPromptEncoderConfig, SamVisionConfig
from transformers.models.sam.modeling_sam import SamMaskDecoder, SamPromptEncoder

from rangemask.errors import InputError
from rangemask.models.heads.masks.promptable import PromptEmbedding, PromptHead, PromptHeadConfig

CHANNELS, PYRAMID = 24, 8
CONFIG = PromptHeadConfig(width=32, heads=4, mlp_width=48, chunk=2)
SIZE = (70, 98)


@pytest.fixture
def head() -> PromptHead:
    return PromptHead(CONFIG, CHANNELS, PYRAMID).eval()


@pytest.fixture
def embedding(head, features) -> PromptEmbedding:
    return head.embed(*features)


def asked(kind: str, prompts: int = 3, batch: int = 2):
    """Random prompts of one kind, or of several joined by +."""
    height, width = SIZE
    extent = torch.tensor([width - 1.0, height - 1.0])
    given = {}
    if "points" in kind:
        given["points"] = torch.rand(batch, prompts, 2, 2) * extent
        given["point_labels"] = torch.tensor([1, 0]).expand(batch, prompts, 2)
    if "box" in kind:
        corner = torch.rand(batch, prompts, 2) * extent / 2
        given["boxes"] = torch.cat([corner, corner + extent / 3], dim=-1)
    if "mask" in kind:
        given["mask_input"] = torch.randn(batch, prompts, 9, 13)
    return given


KINDS = ["points", "box", "mask", "points+box", "points+mask", "points+box+mask"]


class TestContract:
    @pytest.mark.parametrize("kind", KINDS)
    @pytest.mark.parametrize("multimask", [True, False])
    def test_shapes(self, head, embedding, kind, multimask):
        answer = head.predict(embedding, image_size=SIZE, **asked(kind), multimask=multimask)
        count = 3 if multimask else 1
        assert answer.mask_logits.shape == (2, 3, count, 20, 28)
        assert answer.iou.shape == (2, 3, count)
        assert torch.isfinite(answer.mask_logits).all()
        assert ((answer.iou >= 0) & (answer.iou <= 1)).all()

    def test_embedding(self, embedding):
        assert embedding.image.shape == (2, 32, 5, 7)
        assert embedding.fine.shape == (2, 4, 20, 28)
        assert embedding.positions.shape == (1, 32, 5, 7)

    @pytest.mark.parametrize("kind", KINDS)
    def test_prompts_together_equal_prompts_one_by_one(self, head, embedding, kind):
        given = asked(kind)
        together = head(embedding, image_size=SIZE, **given)
        for i in range(3):
            one = {name: value[:, i : i + 1] for name, value in given.items()}
            alone = head(embedding, image_size=SIZE, **one)
            _close(together.mask_logits[:, i : i + 1], alone.mask_logits)
            _close(together.iou[:, i : i + 1], alone.iou)

    @pytest.mark.parametrize("kind", ["points", "points+box+mask"])
    def test_a_batch_is_its_images(self, head, features, kind):
        given = asked(kind)
        tokens, fine = features
        both = head(head.embed(tokens, fine), image_size=SIZE, **given)
        for i in range(2):
            part = slice(i, i + 1)
            embedding = head.embed(tuple(level[part] for level in tokens), fine[part])
            one = head(embedding, image_size=SIZE, **{k: v[part] for k, v in given.items()})
            _close(both.mask_logits[part], one.mask_logits)

    @pytest.mark.parametrize("chunk", [1, 5])
    def test_chunks_change_nothing(self, head, embedding, chunk):
        given = asked("points+mask", prompts=5)
        other = PromptHead(dataclasses.replace(CONFIG, chunk=chunk), CHANNELS, PYRAMID).eval()
        other.load_state_dict(head.state_dict())
        expected = head(embedding, image_size=SIZE, **given)
        _close(other(embedding, image_size=SIZE, **given).mask_logits, expected.mask_logits)

    @pytest.mark.parametrize("label", [-1, -10])
    @pytest.mark.parametrize("kind", ["points", "points+box"])
    def test_padding_counts_as_not_given(self, head, embedding, label, kind):
        given = asked(kind)
        plain = head.predict(embedding, image_size=SIZE, **given)
        padding = torch.full((2, 3, 2, 2), float("nan"))
        given["points"] = torch.cat([given["points"], padding], dim=2)
        given["point_labels"] = F.pad(given["point_labels"], (0, 2), value=label)
        padded = head.predict(embedding, image_size=SIZE, **given)
        _close(padded.mask_logits, plain.mask_logits)
        _close(padded.iou, plain.iou)

    def test_a_gradient_reaches_every_trainable_parameter(self, head, features):
        loss = torch.zeros(())
        for kind in KINDS:
            for multimask in (True, False):
                answer = head(
                    head.embed(*features), image_size=SIZE, **asked(kind), multimask=multimask
                )
                loss = loss + answer.mask_logits.square().mean() + answer.iou.square().mean()
        loss.backward()
        for name, parameter in head.named_parameters():
            if not parameter.requires_grad:
                continue
            assert parameter.grad is not None, name
            assert parameter.grad.abs().sum() > 0, name
        frozen = {name for name, value in head.named_parameters() if not value.requires_grad}
        unseen = {name for name, _ in head.named_parameters() if name.endswith("k_proj.bias")}
        assert frozen == unseen | {"encoder.shared_embedding.positional_embedding"}

    @pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
    def test_autocast_agrees(self, head, features, dtype):
        given = asked("points+box+mask")
        exact = head(head.embed(*features), image_size=SIZE, **given)
        with torch.autocast("cpu", dtype=dtype):
            rough = head(head.embed(*features), image_size=SIZE, **given)
        error = (rough.mask_logits.float() - exact.mask_logits).abs().max()
        assert 0 < error < 0.05 * exact.mask_logits.abs().max()
        torch.testing.assert_close(rough.iou.float(), exact.iou, atol=0.02, rtol=0)

    def test_whole_module_in_half_precision(self, head, features):
        tokens, fine = features
        given = asked("points+box+mask")
        exact = head(head.embed(tokens, fine), image_size=SIZE, **given)
        embedding = head.bfloat16().embed(tuple(x.bfloat16() for x in tokens), fine.bfloat16())
        answer = head(embedding, image_size=SIZE, **given)
        assert answer.mask_logits.dtype == torch.bfloat16
        error = (answer.mask_logits.float() - exact.mask_logits).abs().mean()
        assert error < 0.1 * exact.mask_logits.abs().mean()

    def test_channels_last_agrees(self, head, features):
        tokens, fine = features
        given = asked("points+mask")
        exact = head(head.embed(tokens, fine), image_size=SIZE, **given)
        layout = torch.channels_last
        other = head.to(memory_format=layout)
        embedding = other.embed(
            tuple(level.to(memory_format=layout) for level in tokens), fine.to(memory_format=layout)
        )
        _close(other(embedding, image_size=SIZE, **given).mask_logits, exact.mask_logits)

    @pytest.mark.parametrize("kind", ["points", "points+box+mask"])
    def test_compiles_in_one_graph(self, head, features, kind):
        given = asked(kind)

        def whole(tokens, fine, given):
            return head(head.embed(tokens, fine), image_size=SIZE, **given)

        compiled = torch.compile(whole, fullgraph=True, backend="eager")
        answer, expected = compiled(*features, given), whole(*features, given)
        _close(answer.mask_logits, expected.mask_logits)
        _close(answer.iou, expected.iou)

    def test_another_image_size_leaves_no_trace(self, head, make):
        """Nothing that a call computes stays in the module."""
        given = asked("points", batch=1)
        features, before = make(1, 5, 7), {k: v.clone() for k, v in head.state_dict().items()}
        first = head(head.embed(*features), image_size=SIZE, **given)
        head(head.embed(*make(1, 9, 3)), image_size=(126, 42), **asked("mask", batch=1))
        again = head(head.embed(*features), image_size=SIZE, **given)
        assert torch.equal(first.mask_logits, again.mask_logits)
        assert all(torch.equal(before[k], v) for k, v in head.state_dict().items())


class TestAgainstTransformers:
    """The published modules side by side, on a square grid, with the same weights."""

    SIDE, GRID = 112, 8

    @pytest.fixture
    def encoder(self, head) -> SamPromptEncoder:
        vision = SamVisionConfig(num_pos_feats=16)
        vision.scale = 1
        prompts = SamPromptEncoderConfig(hidden_size=32, image_size=self.SIDE, patch_size=14)
        encoder = SamPromptEncoder(SamConfig(vision_config=vision, prompt_encoder_config=prompts))
        encoder.load_state_dict(head.encoder.state_dict())
        return encoder.eval()

    @pytest.fixture
    def decoder(self, head) -> SamMaskDecoder:
        config = SamMaskDecoderConfig(
            hidden_size=32, num_attention_heads=4, mlp_dim=48, iou_head_hidden_dim=32
        )
        decoder = SamMaskDecoder(config)
        decoder.load_state_dict(head.decoder.state_dict())
        return decoder.eval()

    @pytest.mark.parametrize("kind", ["points", "box", "points+box", "mask", "points+mask"])
    @pytest.mark.parametrize("multimask", [True, False])
    def test_agrees(self, head, encoder, decoder, make, kind, multimask):
        grid = self.GRID
        embedding = head.embed(*make(2, grid, grid))
        embedding = embedding._replace(fine=torch.zeros_like(embedding.fine))
        prompts = 1 if "mask" in kind else 3  # transformers takes one mask per image
        given = asked(kind, prompts=prompts)
        if "mask" in kind:
            given["mask_input"] = torch.randn(2, 1, 4 * grid, 4 * grid)
        answer = head.predict(
            embedding, image_size=(self.SIDE, self.SIDE), **given, multimask=multimask
        )

        sparse, dense = encoder(
            given.get("points"),
            given.get("point_labels"),
            given.get("boxes"),
            given.get("mask_input"),
        )
        # SamModel.get_image_wide_positional_embeddings
        ones = torch.ones(grid, grid)
        centres = torch.stack([ones.cumsum(1) - 0.5, ones.cumsum(0) - 0.5], dim=-1) / grid
        places = encoder.shared_embedding(centres).permute(2, 0, 1)[None].expand(2, -1, -1, -1)
        masks, iou = decoder(embedding.image, places, sparse, dense, multimask)
        assert masks.abs().max() > 0.1
        torch.testing.assert_close(answer.mask_logits, masks, atol=1e-4, rtol=0)
        torch.testing.assert_close(answer.iou, iou.sigmoid(), atol=1e-5, rtol=0)

    def test_initial_frequencies_are_the_published_ones(self):
        head = PromptHead(PromptHeadConfig(), CHANNELS, PYRAMID)
        frequencies = head.encoder.shared_embedding.positional_embedding
        assert 0.8 < frequencies.std() < 1.2


class TestPlaces:
    def test_resized_together_with_the_image_they_are_encoded_alike(self, head, embedding):
        given = asked("points+box")
        small = head(embedding, image_size=SIZE, **given)
        # Pixel centres are at integers: x maps to (x + 0.5) s - 0.5.
        scale = torch.tensor([3.0, 2.0])
        large = {
            "points": (given["points"] + 0.5) * scale - 0.5,
            "point_labels": given["point_labels"],
            "boxes": (given["boxes"] + 0.5) * scale.repeat(2) - 0.5,
        }
        answer = head(embedding, image_size=(2 * SIZE[0], 3 * SIZE[1]), **large)
        _close(answer.mask_logits, small.mask_logits)

    def test_the_centre_of_a_patch_is_encoded_as_that_patch(self, head, embedding):
        rows, columns = torch.meshgrid(torch.arange(5.0), torch.arange(7.0), indexing="ij")
        centres = torch.stack([columns, rows], dim=-1).flatten(0, 1) * 14 + 6.5
        inside = torch.ones(1, 35, 1)
        sparse, _ = head._sparse(SIZE, centres[None, :, None], inside, None)
        label = head.encoder.point_embed[1].weight
        torch.testing.assert_close(
            (sparse[0, :, 0] - label).T.reshape(32, 5, 7),
            embedding.positions[0],
            atol=1e-4,
            rtol=0,
        )

    def test_points_boxes_masks_and_labels_all_matter(self, head, embedding):
        given = asked("points+box+mask")
        base = head(embedding, image_size=SIZE, **given).mask_logits
        for name in given:
            changed = 1 - given[name] if name == "point_labels" else given[name] * 0.5
            other = head(embedding, image_size=SIZE, **{**given, name: changed}).mask_logits
            assert not torch.allclose(other, base, atol=1e-4), name


class TestErrors:
    def test_checks_prompts(self, head, embedding):
        given = asked("points")
        given["points"][1, 2, 0, 0] = 98.0
        with pytest.raises(InputError, match="prompt 2 of image 1 has a point outside"):
            head.predict(embedding, image_size=SIZE, **given)

    def test_forward_without_a_prompt(self, head, embedding):
        with pytest.raises(InputError, match="nothing is asked"):
            head(embedding, image_size=SIZE)

    def test_shapes(self, head, features):
        tokens, fine = features
        with pytest.raises(InputError, match="4 token maps of one shape"):
            head.embed((*tokens[:3], tokens[3][..., 1:]), fine)
        with pytest.raises(InputError, match=r"= \(2, P, 20, 28\), got"):
            head.embed(tokens, fine[..., 1:])

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"width": 24}, "width must be a multiple of 16"),
            ({"heads": 3}, "twice heads"),
            ({"depth": 0}, "depth must be at least 1"),
            ({"chunk": 0}, "chunk must be at least 1"),
            ({"mask_channels": 6}, "mask_channels must be a positive multiple of 4"),
        ],
    )
    def test_config(self, change, message):
        with pytest.raises(InputError, match=message):
            dataclasses.replace(CONFIG, **change)


def test_it_learns_which_of_two_rectangles_is_pointed_at():
    masks = torch.zeros(2, 32, 32)
    masks[0, 4:20, 2:12] = 1
    masks[1, 12:30, 16:30] = 1
    image = torch.cat([masks, 1 - masks.sum(0, keepdim=True)])[None]
    patches = F.pixel_unshuffle(image, 4)
    tokens = tuple(
        torch.einsum("bchw,dc->bdhw", patches, torch.randn(CHANNELS, 48) / 4) for _ in range(4)
    )
    fine = torch.einsum("bchw,dc->bdhw", image, torch.randn(PYRAMID, 3))
    head = PromptHead(dataclasses.replace(CONFIG, chunk=8), CHANNELS, PYRAMID)
    optimizer = torch.optim.AdamW(head.parameters(), lr=2e-3)
    inside = [torch.nonzero(mask).flip(-1) * 3.5 + 1.25 for mask in masks]
    truth = masks.repeat_interleave(4, 0)
    for _ in range(180):
        answer = _point_at(head, tokens, fine, inside)
        loss = F.binary_cross_entropy_with_logits(answer.mask_logits[0, :, 0], truth)
        optimizer.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(head.parameters(), 1.0)
        optimizer.step()
    found = _point_at(head.eval(), tokens, fine, inside).mask_logits[0, :, 0] > 0
    overlaps = (found & truth.bool()).sum((1, 2)) / (found | truth.bool()).sum((1, 2))
    assert overlaps.min() > 0.8


def _point_at(head, tokens, fine, inside):
    """Four random points of each object, one prompt each."""
    places = [each[torch.randint(len(each), (4,))] for each in inside]
    return head(
        head.embed(tokens, fine),
        image_size=(112, 112),
        points=torch.cat(places)[None, :, None],
        point_labels=torch.ones(1, 8, 1),
        multimask=False,
    )


def _close(found, expected):
    torch.testing.assert_close(found, expected, atol=2e-5, rtol=1e-4)
