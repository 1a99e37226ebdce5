"""The student: one pass, every head, and no more than what was asked for."""

from collections.abc import Callable
from itertools import combinations
from pathlib import Path

import pytest
import torch
from torch import Tensor

from rangemask.errors import InputError
from rangemask.models.config import HEADS, RangeMaskConfig
from rangemask.models.costs import parts_of
from rangemask.models.heads.fusion import FusionHeadConfig
from rangemask.models.heads.semantic import SemanticHeadConfig
from rangemask.models.loading import place
from rangemask.models.rangemask import RangeMask, RangeMaskOutput, build_rangemask
from support.golden import relative_error

SIZE = (56, 84)


def nano(heads: tuple[str, ...] = HEADS, **changes: float) -> RangeMask:
    torch.manual_seed(0)
    config = RangeMaskConfig.preset("nano", heads, classes=("person", "chair"), **changes)
    return build_rangemask(config).train(False)


@pytest.fixture(scope="module")
def student() -> RangeMask:
    """All heads, with a fusion head that does something."""
    model = nano(max_depth_m=10.0)
    assert model.fusion is not None
    for part in (model.fusion.map_change, model.fusion.mask_change):
        assert part is not None
        torch.nn.init.normal_(part.weight, std=0.2)
    return model


@pytest.fixture
def left() -> Tensor:
    return torch.rand(2, 3, *SIZE, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def right() -> Tensor:
    return torch.rand(2, 3, *SIZE, generator=torch.Generator().manual_seed(2))


def tensors(output: object) -> list[Tensor]:
    """All tensors of a nested tuple."""
    if isinstance(output, Tensor):
        return [output]
    if isinstance(output, tuple):
        return [tensor for part in output for tensor in tensors(part)]
    assert output is None
    return []


def count_backbone_images(model: RangeMask, run: Callable[[], object]) -> int:
    seen: list[int] = []
    hook = model.backbone.vit.patch_embed.proj.register_forward_hook(
        lambda _module, given, _result: seen.append(len(given[0]))
    )
    run()
    hook.remove()
    return sum(seen)


def test_the_backbone_sees_every_image_once(
    student: RangeMask, left: Tensor, right: Tensor
) -> None:
    blocks: list[int] = []
    hook = student.backbone.vit.blocks[0].register_forward_hook(
        lambda _module, given, _result: blocks.append(len(given[0]))
    )
    with torch.inference_mode():
        assert count_backbone_images(student, lambda: student(left)) == 2
        assert blocks == [2]
        assert count_backbone_images(student, lambda: student(left, right)) == 4
        assert blocks == [2, 4]  # left and right as one batch
        only = count_backbone_images(student, lambda: student(left, right, heads=["masks"]))
        assert only == 2
    hook.remove()


@pytest.mark.parametrize("heads", [h for n in (1, 2) for h in combinations(HEADS[:5], n)])
def test_any_heads_go_together(heads: tuple[str, ...], left: Tensor, right: Tensor) -> None:
    model = nano(heads)
    assert count_backbone_images(model, lambda: model(left)) == 2
    with torch.inference_mode():
        output = model(left, right if "stereo" in heads else None)
    for name, value in zip(
        ("depth", "stereo", "masks", "prompts", "semantic"), output, strict=True
    ):
        assert (value is not None) == (name in heads)
    assert all(torch.isfinite(tensor).all() for tensor in tensors(output))


def test_heads_that_are_off_cost_nothing() -> None:
    whole, bare = nano(), nano(("semantic",))
    assert {name for name, _ in bare.named_children()} == {"backbone", "semantic"}
    assert not any(name.startswith("pyramid") for name in bare.state_dict())
    costs = parts_of(whole, height=56, width=84)
    alone = parts_of(nano(("depth",)), height=56, width=84)
    assert set(alone) == {"backbone", "pyramid", "depth", "total"}
    assert alone["depth"] == costs["depth"]
    assert alone["total"][1] == pytest.approx(sum(v[1] for k, v in alone.items() if k != "total"))
    assert all(parameters > 0 for parameters, _ in costs.values())
    assert all(gflops > 0 for _, gflops in costs.values())


def test_shapes(student: RangeMask, left: Tensor, right: Tensor) -> None:
    with torch.inference_mode():
        output: RangeMaskOutput = student(left, right)
    assert output.depth is not None
    assert output.depth.shape == (2, *SIZE)
    assert output.depth.min() > 0
    assert output.depth.max() < 10 * 1.65
    assert output.stereo is not None
    assert output.stereo.disparity_px.shape == (2, *SIZE)
    assert output.masks is not None
    assert output.masks.mask_logits.shape == (2, 30, 16, 24)
    assert output.masks.class_logits.shape == (2, 30, 3)
    assert output.semantic_logits is not None
    assert output.semantic_logits.shape == (2, 2, 4, 6)


def test_a_batch_is_its_images(student: RangeMask, left: Tensor, right: Tensor) -> None:
    with torch.inference_mode():
        together = tensors(student(left, right)._replace(prompts=None))
        alone = [
            tensors(student(left[i : i + 1], right[i : i + 1])._replace(prompts=None))
            for i in range(2)
        ]
    for whole, first, second in zip(together, *alone, strict=True):
        torch.testing.assert_close(whole, torch.cat([first, second]), rtol=1e-3, atol=1e-4)


def test_fusion_refines_and_can_be_switched_off(student: RangeMask, left: Tensor) -> None:
    with torch.inference_mode():
        fused, plain = student(left), student(left, fusion=False)
    assert fused.depth is not None
    assert plain.depth is not None
    change = (fused.depth / plain.depth).log().abs()
    assert 0 < change.max() <= 0.5
    assert fused.masks is not None
    assert plain.masks is not None
    assert not torch.equal(fused.masks.mask_logits, plain.masks.mask_logits)
    torch.testing.assert_close(fused.masks.class_logits, plain.masks.class_logits)


def test_an_untrained_fusion_head_changes_nothing(left: Tensor, right: Tensor) -> None:
    model = nano()
    with torch.inference_mode():
        fused, plain = model(left, right), model(left, right, fusion=False)
    for one, other in zip(tensors(fused), tensors(plain), strict=True):
        torch.testing.assert_close(one, other)


def test_gradients_reach_every_head_and_no_frozen_block(left: Tensor, right: Tensor) -> None:
    model = nano(max_depth_m=10.0).train()
    assert model.fusion is not None
    for part in (model.fusion.map_change, model.fusion.mask_change):
        assert part is not None
        torch.nn.init.normal_(part.weight, std=0.2)
    output = model(left, right, deep_supervision=True, all_iterates=True)
    assert model.prompts is not None
    answer = model.prompts(
        output.prompts,
        image_size=SIZE,
        points=torch.full((2, 1, 1, 2), 20.0),
        point_labels=torch.ones(2, 1, 1, dtype=torch.long),
        boxes=torch.tensor([[[2.0, 3.0, 40.0, 50.0]]] * 2),
        mask_input=torch.randn(2, 1, 16, 24),
    )
    loss = sum(t.float().square().mean() for t in tensors(output) + tensors(answer))
    loss.backward()
    reached = {name for name, p in model.named_parameters() if p.grad is not None}
    assert not any(name.startswith("backbone.") for name in reached)
    for head in ("pyramid", "depth", "stereo", "masks", "semantic", "fusion"):
        wanted = {
            n for n, p in model.named_parameters() if n.startswith(f"{head}.") and p.requires_grad
        }
        assert wanted, head
        assert wanted <= reached, sorted(wanted - reached)


def test_the_last_blocks_can_be_trained(left: Tensor) -> None:
    config = RangeMaskConfig.preset("nano", ["depth"])
    changed = RangeMaskConfig.from_dict({**config.to_dict(), "trained_blocks": 2})
    model = build_rangemask(changed)
    model(left).depth.sum().backward()
    trained = {
        n.split(".")[2]
        for n, p in model.backbone.named_parameters()
        if p.grad is not None and ".blocks." in n
    }
    assert trained == {"2", "3"}
    with pytest.raises(InputError, match="trained_blocks is 5, but the backbone has 4"):
        build_rangemask(RangeMaskConfig.from_dict({**config.to_dict(), "trained_blocks": 5}))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_autocast_agrees(
    student: RangeMask, left: Tensor, right: Tensor, dtype: torch.dtype
) -> None:
    with torch.inference_mode():
        exact = student(left, right)
        with torch.autocast("cpu", dtype=dtype):
            rounded = student(left, right)
    for name, one, other in zip(exact._fields, exact, rounded, strict=True):
        if name in {"depth", "semantic_logits"}:
            assert relative_error(other.float().numpy(), one.numpy()) < 0.02, name
    assert rounded.depth is not None


@pytest.mark.parametrize("one_head_at_a_time", [False, True])
def test_reduced_precision_agrees(left: Tensor, right: Tensor, one_head_at_a_time: bool) -> None:
    model = nano(max_depth_m=10.0)
    with torch.inference_mode():
        exact = model(left, right)
        model.compute_in(torch.bfloat16, one_head_at_a_time=one_head_at_a_time)
        rounded = model(left, right)
    assert model.head_dtype == torch.bfloat16
    assert rounded.depth.dtype == torch.float32
    # Not in the steps of bfloat16, which have at most 8 bits.
    assert (rounded.depth != rounded.depth.bfloat16().float()).float().mean() > 0.9
    assert model.backbone.vit.norm.weight.dtype == torch.float32
    for one, other in (
        (exact.depth, rounded.depth),
        (exact.masks.mask_logits, rounded.masks.mask_logits),
        (exact.masks.class_logits, rounded.masks.class_logits),
        (exact.semantic_logits, rounded.semantic_logits),
    ):
        assert relative_error(other.float().numpy(), one.numpy()) < 0.02


def test_compiles_without_graph_breaks(student: RangeMask, left: Tensor, right: Tensor) -> None:
    compiled = torch.compile(student, fullgraph=True, backend="eager")
    with torch.no_grad():
        for one, other in zip(
            tensors(compiled(left, right)), tensors(student(left, right)), strict=True
        ):
            torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def test_channels_last_agrees(left: Tensor) -> None:
    model = nano()
    with torch.inference_mode():
        plain = tensors(model(left))
        place(model, torch.device("cpu"), torch.float32)
        last = tensors(model(left.contiguous(memory_format=torch.channels_last)))
    for one, other in zip(plain, last, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-3, atol=1e-4)


def test_encode_gives_what_heads_read(student: RangeMask, left: Tensor) -> None:
    with torch.inference_mode():
        encoded = student.encode(left)
        assert student.depth is not None
        by_hand = student.depth(encoded.pyramid[0], SIZE)
        torch.testing.assert_close(by_hand, student(left, fusion=False).depth)
    assert [tuple(level.shape[-2:]) for level in encoded.pyramid] == [
        (16, 24),
        (8, 12),
        (4, 6),
        (2, 3),
    ]


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (lambda x: x * torch.nan, "image 0 of the batch holds NaN"),
        (lambda x: x[..., :70], "multiples of 28 px, got 56 x 70"),
        (lambda x: x * 255, "divide 8-bit by 255"),
        (lambda x: x[0], "shape"),
        (lambda x: [x[0], x[1, :, :28]], "must have one size, got .*28.*56"),
        (lambda x: [], "no images"),
    ],
)
def test_bad_images_are_refused(
    student: RangeMask, left: Tensor, spoil: Callable[[Tensor], Tensor], words: str
) -> None:
    with pytest.raises(InputError, match=words):
        student(spoil(left))
    with pytest.raises(InputError):
        student(left, spoil(left))


def test_a_sequence_is_a_batch(student: RangeMask, left: Tensor) -> None:
    with torch.inference_mode():
        torch.testing.assert_close(student(list(left)).depth, student(left).depth)


def test_prompts_keep_their_place_in_reduced_precision(left: Tensor) -> None:
    model = nano(("prompts", "semantic"))
    assert model.prompts is not None
    frequencies = model.prompts.encoder.shared_embedding.positional_embedding
    asked = {
        "image_size": SIZE,
        "points": torch.rand(2, 3, 1, 2, generator=torch.Generator().manual_seed(3)) * 50,
        "point_labels": torch.ones(2, 3, 1, dtype=torch.long),
        "boxes": torch.tensor([[[2.0, 3.0, 40.0, 50.0]] * 3] * 2),
        "multimask": False,
    }
    with torch.inference_mode():
        exact = model.prompts.predict(model(left).prompts, **asked)
        model.compute_in(torch.bfloat16)
        rounded = model.prompts.predict(model(left).prompts, **asked)
    assert frequencies.dtype == torch.float32
    assert model.semantic is not None
    assert model.semantic.norm.running_var.dtype == torch.float32
    assert rounded.mask_logits.dtype == torch.bfloat16
    error = relative_error(rounded.mask_logits.float().numpy(), exact.mask_logits.numpy())
    assert error < 0.03


def test_unequal_pairs_and_absent_heads_are_refused(student: RangeMask, left: Tensor) -> None:
    with pytest.raises(InputError, match="left and right images must have one shape"):
        student(left, left[:1])
    with pytest.raises(InputError, match=r"no head masks; it has depth"):
        nano(("depth",))(left, heads=["depth", "masks"])


def test_depth_stays_within_its_range(left: Tensor) -> None:
    model = nano(("depth", "fusion"), max_depth_m=10.0)
    assert model.depth is not None
    assert model.fusion is not None
    torch.nn.init.constant_(model.depth.out.bias, 20.0)
    torch.nn.init.constant_(model.fusion.map_change.bias, 1.0)
    with torch.inference_mode():
        assert model(left).depth.max() <= 10


def test_right_images_may_be_seen_smaller(left: Tensor, right: Tensor) -> None:
    config = RangeMaskConfig.preset("nano", ["stereo"]).to_dict()
    config["stereo"]["right_scale"] = 0.5
    model = build_rangemask(RangeMaskConfig.from_dict(config)).train(False)
    sizes: list[tuple[int, ...]] = []
    model.backbone.vit.patch_embed.proj.register_forward_hook(
        lambda _module, given, _result: sizes.append(tuple(given[0].shape[-2:]))
    )
    with torch.inference_mode():
        model(left, right)
    assert sorted(sizes) == [(28, 42), SIZE]
    whole = parts_of(nano(("stereo",)), height=56, width=84)
    less = parts_of(model, height=56, width=84)
    assert less["backbone"][1] < whole["backbone"][1]
    assert less["stereo"][1] == pytest.approx(whole["stereo"][1], rel=1e-6)


def test_heads_are_names_not_a_name(student: RangeMask, left: Tensor) -> None:
    with pytest.raises(InputError, match=r"such as \['depth'\]"):
        student(left, heads="depth")


def test_configs_survive_json_and_refuse_what_they_do_not_know() -> None:
    config = RangeMaskConfig.preset("small", classes=("person",), max_depth_m=20)
    assert RangeMaskConfig.from_dict(config.to_dict()) == config
    plain = config.to_dict()
    for change, words in (
        ({"colour": 1}, "config has no colour; it knows backbone"),
        ({"depth": {"max_depth": 3}}, r"config\.depth has no max_depth"),
        ({"depth": 3}, r"config\.depth must be a table"),
        ({"depth": {"max_depth_m": -1.0}}, "max_depth_m must be positive"),
        ({"input_size_px": "big"}, r"config\.input_size_px must be int"),
        ({"input_size_px": True}, r"config\.input_size_px must be int"),
        ({"input_size_px": 3}, "at least 14"),
        ({"trained_blocks": -1}, "must not be negative"),
        ({"backbone": "dinov2-tiny"}, "no backbone 'dinov2-tiny'"),
        ({"masks": {"classes": "person"}}, r"config\.masks\.classes must be tuple"),
        ({"masks": {"classes": [1]}}, r"config\.masks\.classes\[0\] must be str"),
    ):
        with pytest.raises(InputError, match=words):
            RangeMaskConfig.from_dict({**plain, **change})
    with pytest.raises(InputError, match="needs a head"):
        RangeMaskConfig()
    with pytest.raises(InputError, match="fusion head refines"):
        RangeMaskConfig(semantic=SemanticHeadConfig(), fusion=FusionHeadConfig())
    with pytest.raises(InputError, match="no preset 'tiny'"):
        RangeMaskConfig.preset("tiny")
    with pytest.raises(InputError, match="no head sound"):
        RangeMaskConfig.preset("nano", ["sound"])


def test_presets_scale() -> None:
    for name, width in (("small", 384), ("base", 768), ("large", 1024)):
        with torch.device("meta"):
            model = build_rangemask(RangeMaskConfig.preset(name, ["depth", "semantic"]))
        assert model.backbone.width == width
        assert Path(model.config.backbone).name == f"dinov2-{name}"
