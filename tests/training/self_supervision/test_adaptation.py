"""The whole objective: steps, teacher, warm-up, one batch over-fitted, no collapse."""

import math

import pytest
import torch
from torch import Tensor

from rangemask.models.backbone import Backbone, build_backbone
from rangemask.training.self_supervision.adaptation import BackboneAdaptation, spread
from rangemask.training.self_supervision.adapters import has_adapters
from rangemask.training.self_supervision.config import (
    AdapterConfig,
    CropConfig,
    DinoAdaptationConfig,
    ProjectionConfig,
)
from rangemask.training.self_supervision.crops import multi_crop
from rangemask.training.self_supervision.losses import information
from rangemask.training.self_supervision.masks import block_masks
from rangemask.training.self_supervision.parameters import parameter_groups

from .conftest import Configure, textured

LORA = AdapterConfig(learned="lora", blocks=0, rank=16, alpha=16.0, mlp=True)
ALL = AdapterConfig(learned="blocks", blocks=4)


def optimiser(adaptation: BackboneAdaptation) -> torch.optim.Optimizer:
    return torch.optim.AdamW(parameter_groups(adaptation.student, adaptation.config))


@pytest.mark.parametrize("adapters", [LORA, AdapterConfig(learned="blocks", blocks=2)])
def test_a_step(
    backbone: Backbone,
    images: Tensor,
    generator: torch.Generator,
    configure: Configure,
    adapters: AdapterConfig,
) -> None:
    adaptation = BackboneAdaptation(backbone, configure(adapters=adapters, learn_mask_token=True))
    loss = adaptation(images, generator, 0.5)
    assert set(loss.parts) == {
        *("dino", "ibot", "koleo", "dino_excess", "ibot_excess", "information", "spread")
    }
    parts = loss.parts["dino"] + loss.parts["ibot"] + 0.1 * loss.parts["koleo"]
    torch.testing.assert_close(loss.total.detach(), parts)
    loss.total.backward()
    for name, parameter in adaptation.named_parameters():
        reached = parameter.grad is not None and bool(parameter.grad.any())
        # The first factor of an adapter learns nothing while the second is zero.
        assert reached == (parameter.requires_grad and "lora_A" not in name), name


def test_teacher_starts_as_the_student_and_follows_without_gradient(
    backbone: Backbone, images: Tensor, generator: torch.Generator, configure: Configure
) -> None:
    adaptation = BackboneAdaptation(backbone, configure(momentum=(0.75, 0.75)))
    student, teacher = adaptation.student, adaptation.teacher
    shown = images[..., :56, :56]
    asked = torch.ones(4, 4, 4, dtype=torch.bool)
    own, averaged = student(shown, asked=asked), teacher.see(student, shown, asked=asked)
    for first, second in zip(own, averaged, strict=True):
        torch.testing.assert_close(first.detach(), second)
        assert not second.requires_grad
    assert not list(teacher.parameters())

    before = {name: value.clone() for name, value in teacher.averages().items()}
    adaptation.training_step(images, generator, 0.5).total.backward()
    optimiser(adaptation).step()
    adaptation.after_step(0.5)
    for name, value in teacher.averages().items():
        wanted = 0.75 * before[name] + 0.25 * student.get_parameter(name).detach()
        torch.testing.assert_close(value, wanted)
    assert any(not torch.equal(value, before[name]) for name, value in teacher.averages().items())


def test_only_what_learns_is_held_twice(backbone: Backbone, configure: Configure) -> None:
    adaptation = BackboneAdaptation(backbone, configure(adapters=AdapterConfig(blocks=1)))
    names = set(adaptation.teacher.averages())
    learning = {n for n, p in adaptation.student.named_parameters() if p.requires_grad}
    assert names == learning
    assert all("lora_" in name for name in names if name.startswith("backbone."))


def test_averaged_lends_the_teacher_and_gives_back(
    backbone: Backbone, images: Tensor, configure: Configure
) -> None:
    adaptation = BackboneAdaptation(backbone, configure(adapters=LORA))
    for name, value in adaptation.teacher.averages().items():
        if "lora_B" in name:
            value.normal_(std=0.1, generator=torch.Generator().manual_seed(1))
    before = adaptation.backbone(images)
    seen = adaptation.teacher.see(adaptation.student, images).class_token
    with adaptation.averaged() as averaged, torch.no_grad():
        lent = averaged.forward_features(images, (3,)).class_tokens[0]
    torch.testing.assert_close(lent, seen)
    assert torch.equal(adaptation.backbone(images), before)

    fresh = build_backbone("dinov2-nano").eval()
    fresh.load_state_dict(adaptation.product())
    torch.testing.assert_close(
        fresh.forward_features(images, (3,)).class_tokens[0], seen, atol=1e-4, rtol=1e-4
    )
    assert has_adapters(adaptation.backbone)


def test_heads_warm_up_alone(
    backbone: Backbone, images: Tensor, generator: torch.Generator, configure: Configure
) -> None:
    """Not even weight decay moves a backbone that waits, nor prototypes that are frozen."""
    config = configure(head_warmup=0.5, frozen_prototypes=0.25, adapters=ALL)
    adaptation = BackboneAdaptation(backbone, config)
    optimizer = optimiser(adaptation)
    student = adaptation.student
    watched = (
        "backbone.vit.blocks.3.mlp.fc1.weight",
        "class_head.prototypes",
        "class_head.mlp.0.weight",
    )
    for progress, moves in (
        (0.0, (False, False, True)),
        (0.3, (False, True, True)),
        (0.6, (True,) * 3),
    ):
        before = [student.get_parameter(name).detach().clone() for name in watched]
        optimizer.zero_grad()
        adaptation(images, generator, progress).total.backward()
        optimizer.step()
        after = [student.get_parameter(name) for name in watched]
        moved = tuple(not torch.equal(a, b) for a, b in zip(before, after, strict=True))
        assert moved == moves


def test_hidden_patches_are_hidden(backbone: Backbone, configure: Configure) -> None:
    """What lies under a hidden patch has no influence, what lies beside it has."""
    student = BackboneAdaptation(backbone, configure()).student
    shown = textured(1, 56)
    hidden = torch.zeros(1, 4, 4, dtype=torch.bool)
    hidden[0, 1, 2] = True
    under, beside = shown.clone(), shown.clone()
    under[..., 14:28, 28:42] += 0.3
    beside[..., 14:28, 14:28] += 0.3
    first, second, third = (student(x, hidden=hidden).class_token for x in (shown, under, beside))
    assert torch.equal(first, second)
    assert not torch.allclose(first, third)
    assert not torch.allclose(student(shown).class_token, first)
    plain = backbone.forward_features(shown, (3,)).class_tokens[0]
    assert torch.equal(student(shown).class_token, plain)  # and nothing stays behind


@pytest.mark.parametrize("adapters", [ALL, LORA])
def test_one_batch_is_over_fitted(adapters: AdapterConfig, configure: Configure) -> None:
    """With fixed views and teacher, what is above the targets' entropy falls to 2 %.

    The loss itself cannot: it is bounded from below by that entropy.
    """
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(0)
    # KoLeo pulls elsewhere, and has no floor.
    config = configure(adapters=adapters, koleo_weight=0.0, lr=3e-3, layer_decay=1.0)
    adaptation = BackboneAdaptation(build_backbone("dinov2-nano"), config)
    optimizer = optimiser(adaptation)
    crops = multi_crop(textured(4, 56), config.crops, generator)
    masks = block_masks(8, (4, 4), config.masks, generator)
    excess = []
    steps = 110
    for step in range(steps + 1):
        loss = adaptation.loss_of_views(crops, masks, 0.0)
        excess.append(float(loss.parts["dino_excess"] + loss.parts["ibot_excess"]))
        optimizer.zero_grad()
        loss.total.backward()
        torch.nn.utils.clip_grad_norm_(adaptation.student.parameters(), config.clip_norm)
        for group in optimizer.param_groups:
            group["lr"] = config.lr * (1 - step / (steps + 1))
        optimizer.step()
    assert excess[0] > 1
    assert excess[-1] <= 0.02 * excess[0]


def test_it_learns_without_collapse(configure: Configure) -> None:
    """The student tells images apart, and neither tokens nor the teacher's answers run together."""
    torch.manual_seed(0)
    generator = torch.Generator().manual_seed(0)
    crops = CropConfig(
        global_px=56,
        local_px=28,
        local_views=2,
        global_scale=(0.5, 1.0),
        local_scale=(0.2, 0.5),
        jitter=0,
        grey=0,
        blur=(0.2, 0, 0),
        solarise=0,
    )
    config = configure(adapters=ALL, lr=1e-3, crops=crops)
    adaptation = BackboneAdaptation(build_backbone("dinov2-nano"), config)
    optimizer = optimiser(adaptation)
    images = textured(16, 70)
    seen: list[dict[str, float]] = []
    steps = 90
    for step in range(steps):
        batch = images[torch.randperm(16, generator=generator)[:8]]
        loss = adaptation(batch, generator, step / steps)
        seen.append({name: float(value) for name, value in loss.parts.items()})
        seen[-1]["total"] = loss.total.item()
        optimizer.zero_grad()
        loss.total.backward()
        torch.nn.utils.clip_grad_norm_(adaptation.student.parameters(), config.clip_norm)
        optimizer.step()
        adaptation.after_step(step / steps)

    def mean(name: str, part: slice) -> float:
        return sum(row[name] for row in seen[part]) / len(seen[part])

    first, last = slice(0, 8), slice(-8, None)
    assert mean("total", last) < mean("total", first) - 0.8
    # Saying the same of every image costs log K; it does better.
    assert mean("dino", last) < math.log(config.heads.prototypes) - 0.1
    assert mean("information", last) > 0.3
    assert mean("spread", last) > 0.6


def test_collapse_is_seen() -> None:
    random = torch.Generator().manual_seed(0)
    apart = torch.randn(64, 96, generator=random)
    assert spread(apart) > 0.9
    assert spread(torch.ones(64, 96) + 0.01 * apart) < 0.05
    one_hot, uniform = torch.eye(8)[:1].expand(16, 8), torch.full((16, 8), 1 / 8)
    assert abs(float(information(one_hot))) < 1e-6
    assert abs(float(information(uniform))) < 1e-6
    torch.testing.assert_close(information(torch.eye(8)), torch.tensor(math.log(8)))


def test_resumes_from_its_state(
    backbone: Backbone, images: Tensor, generator: torch.Generator, configure: Configure
) -> None:
    config = configure(targets="centre")
    first = BackboneAdaptation(backbone, config)
    first(images, generator, 0.5).total.backward()
    optimiser(first).step()
    first.after_step(0.5)
    again = BackboneAdaptation(build_backbone("dinov2-nano"), config)
    again.load_state_dict(first.state_dict())
    losses = [
        one(images, torch.Generator().manual_seed(9), 0.5).total.item() for one in (first, again)
    ]
    assert losses[0] == losses[1]


def test_bfloat16_agrees(backbone: Backbone, images: Tensor, configure: Configure) -> None:
    adaptation = BackboneAdaptation(backbone, configure(adapters=LORA))
    plain = adaptation(images, torch.Generator().manual_seed(1), 0.5)
    with torch.autocast("cpu", torch.bfloat16):
        half = adaptation(images, torch.Generator().manual_seed(1), 0.5)
    assert half.total.dtype == torch.float32
    torch.testing.assert_close(half.total, plain.total, rtol=0.03, atol=0)


def test_one_image_of_few_views(backbone: Backbone, configure: Configure) -> None:
    config = configure(
        crops=CropConfig(global_px=56, local_views=0),
        heads=ProjectionConfig(prototypes=8, hidden=16, bottleneck=8, shared=True),
        gradient_checkpointing=True,
    )
    adaptation = BackboneAdaptation(backbone, config)
    assert adaptation.student.patch_head is adaptation.student.class_head
    loss = adaptation(textured(1, 40), torch.Generator().manual_seed(0), 1.0)
    loss.total.backward()
    assert loss.total.isfinite()
    without = BackboneAdaptation(build_backbone("dinov2-nano"), configure(ibot_weight=0.0))
    assert "ibot" not in without(textured(2, 40), torch.Generator().manual_seed(0), 1.0).parts


def test_defaults_hold_together() -> None:
    config = DinoAdaptationConfig()
    assert config.adapters.learned == "lora"
    assert config.lr == 1e-4
