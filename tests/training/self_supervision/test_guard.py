"""Guard rails: what they measure, when they trip, and that going back is exact."""

from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor

from rangemask.errors import InputError
from rangemask.models.backbone import Backbone
from rangemask.training.batch import Batch
from rangemask.training.self_supervision.adaptation import BackboneAdaptation
from rangemask.training.self_supervision.adapters import plain_state
from rangemask.training.self_supervision.config import AdapterConfig
from rangemask.training.self_supervision.guard import GuardConfig, GuardRail
from rangemask.training.self_supervision.held_out import HeldOut, held_out, patch_labels
from rangemask.training.self_supervision.parameters import parameter_groups
from rangemask.training.self_supervision.probes import (
    balanced_accuracy,
    cosine_distance,
    effective_rank,
    knn_probe,
    linear_cka,
    linear_probe,
    nearest,
)
from rangemask.training.self_supervision.supervisor import FILE, Supervisor

from .conftest import Configure, textured

LORA = AdapterConfig(learned="lora", blocks=0)
BLOCKS = AdapterConfig(learned="blocks", blocks=2)
DESTRUCTIVE, HARMLESS = 1e-1, 1e-6


def labelled(count: int = 8, side: int = 56) -> HeldOut:
    """Dark and light squares in places that differ per image."""
    random = torch.Generator().manual_seed(4)
    patches = side // 14
    labels = torch.randint(1, 3, (count, patches, patches), generator=random)
    pixels = labels.repeat_interleave(14, 1).repeat_interleave(14, 2)[:, None]
    noise = torch.rand(count, 3, side, side, generator=random)
    return HeldOut(images=0.2 * noise + 0.3 * (pixels - 0.5), labels=labels)


def rail(backbone: Backbone, held: HeldOut | None = None, **options: float) -> GuardRail:
    return GuardRail(backbone, held or labelled(), GuardConfig(**options))


def stirred(backbone: Backbone, amount: float) -> Backbone:
    random = torch.Generator().manual_seed(2)
    with torch.no_grad():
        for parameter in backbone.vit.blocks.parameters():
            parameter += amount * torch.randn(parameter.shape, generator=random)
    return backbone


def rows(*centres: float, count: int = 40) -> tuple[Tensor, Tensor]:
    """Clusters about points of a plane, with their numbers."""
    random = torch.Generator().manual_seed(int(10 * sum(centres)))
    labels = torch.arange(len(centres)).repeat_interleave(count)
    angles = torch.tensor(centres)[labels] + 0.05 * torch.randn(len(labels), generator=random)
    return torch.stack([angles.cos(), angles.sin(), torch.ones_like(angles)], 1), labels + 5


def test_probes_tell_what_can_be_told() -> None:
    known, labels = rows(0.0, 2.0, 4.0)
    asked, truth = rows(0.01, 2.01, 4.01)
    noise = torch.randn(120, 3, generator=torch.Generator().manual_seed(0))
    for probe in (knn_probe, linear_probe):
        assert probe(known, labels, asked, truth) == 1
        assert probe(known, labels, noise, truth) < 0.6
        assert probe(torch.ones(120, 3), labels, torch.ones(120, 3), truth) == pytest.approx(1 / 3)


def test_rare_classes_count_as_much() -> None:
    truth = torch.tensor([1] * 98 + [2] * 2)
    assert balanced_accuracy(torch.ones(100, dtype=torch.int64), truth) == pytest.approx(0.5)
    known, labels = rows(0.0, 0.4, count=100)
    keep = torch.cat([torch.arange(100), torch.arange(100, 108)])
    asked, truth = rows(0.01, 0.41)
    assert knn_probe(known[keep], labels[keep], asked, truth) > 0.95


def test_cka_is_blind_to_rotation_and_scale_only() -> None:
    random = torch.Generator().manual_seed(0)
    features = torch.randn(300, 8, generator=random)
    turn = torch.linalg.qr(torch.randn(8, 8, generator=random)).Q
    assert linear_cka(features, 3 * features @ turn + 1) == pytest.approx(1)
    assert linear_cka(features, torch.randn(300, 8, generator=random)) < 0.2
    assert linear_cka(features, torch.ones(300, 8)) == 0


def test_rank_distance_and_nearest() -> None:
    random = torch.Generator().manual_seed(0)
    points = torch.randn(4000, 16, generator=random)
    assert 15.5 < effective_rank(points) <= 16.001
    points[:, 2:] = 0
    assert 1.5 < effective_rank(points) < 2.001
    assert effective_rank(torch.ones(10, 4)) == 1
    assert cosine_distance(points, 2 * points) == pytest.approx(0, abs=1e-6)
    assert cosine_distance(points, -points) == pytest.approx(2)
    assert torch.equal(nearest(3 * torch.eye(5), torch.eye(5).flip(0)), torch.arange(5).flip(0))


def test_the_same_backbone_has_not_moved(backbone: Backbone) -> None:
    backbone.train()
    guard = rail(backbone)
    verdict = guard.check(backbone)
    assert verdict.ok
    assert verdict.reasons == ()
    assert verdict.numbers == verdict.start == guard.start
    numbers = verdict.numbers
    assert numbers.class_drift == pytest.approx(0, abs=1e-9)
    assert numbers.patch_drift == pytest.approx(0, abs=1e-9)
    assert numbers.cka == pytest.approx(1)
    assert numbers.knn is not None
    assert numbers.knn > 80
    assert numbers.linear is not None
    assert numbers.linear > 80
    assert backbone.training
    assert set(rail(backbone, HeldOut(images=textured(4, 56))).start.named()).isdisjoint(
        {"knn", "linear"}
    )


def test_drift_grows_with_the_change(backbone: Backbone) -> None:
    guard = rail(backbone)
    start = {name: value.clone() for name, value in backbone.state_dict().items()}
    found = []
    for amount in (0.003, 0.01, 0.1):
        backbone.load_state_dict(start)
        found.append(guard.check(stirred(backbone, amount)).numbers)
    assert 0 < found[0].patch_drift < found[1].patch_drift < found[2].patch_drift
    assert 0 < found[0].class_drift < found[1].class_drift < found[2].class_drift
    assert 1 > found[0].cka > found[1].cka > found[2].cka


def test_shallow_layers_are_looked_at_too(backbone: Backbone) -> None:
    """Dense heads read them; the last layer alone would hide what happens there."""
    guard = rail(backbone, max_drift=1e-4)
    backbone.layers = (3,)
    last_only = rail(backbone).start
    assert last_only.patch_drift == 0
    backbone.layers = (0, 1, 2, 3)
    with torch.no_grad():
        backbone.vit.blocks[0].mlp.fc2.bias.normal_(generator=torch.Generator().manual_seed(0))
    assert "patch drift" in " ".join(guard.check(backbone).reasons)


def test_each_limit_speaks_of_itself(backbone: Backbone) -> None:
    held = labelled()
    free = {"max_drift": 2.0, "min_cka": 0.0, "min_rank_share": 0.0}
    free |= {"max_fall_points": 100.0, "max_retrieval_fall_points": 100.0}
    limits = {
        "max_drift": (0.05, ("class drift", "patch drift")),
        "min_cka": (0.99, ("CKA",)),
        "max_fall_points": (1.0, ("knn fell", "linear fell")),
        "min_rank_share": (0.99, ("features collapse",)),
    }
    rails = {name: rail(backbone, held, **free | {name: at}) for name, (at, _) in limits.items()}
    open_rail = rail(backbone, held, **free)
    with torch.no_grad():  # one channel is left, and knows little
        stirred(backbone, 0.2)
        backbone.vit.norm.weight[1:] = 0
    assert open_rail.check(backbone).ok
    for name, guard in rails.items():
        verdict = guard.check(backbone)
        told = " ".join(verdict.reasons)
        assert not verdict.ok, name
        for words in limits[name][1]:
            assert words in told, (name, told, verdict.numbers, verdict.start)


def test_retrieval_stands_in_where_there_are_no_labels(backbone: Backbone) -> None:
    """Tokens that know no more than their place are no help to find a patch in a mirror."""
    free = {"max_drift": 2.0, "min_cka": 0.0, "min_rank_share": 0.0}
    guard = rail(backbone, HeldOut(images=textured(8, 56, seed=3)), **free)
    assert guard.start.patch_retrieval > 15
    with torch.no_grad():
        backbone.vit.patch_embed.proj.weight.zero_()
    verdict = guard.check(backbone)
    assert verdict.numbers.patch_retrieval < 10
    assert [reason.split(" fell")[0] for reason in verdict.reasons] == [
        *("patch retrieval", "image retrieval")
    ]


def test_features_that_are_not_numbers(backbone: Backbone) -> None:
    guard = rail(backbone)
    with torch.no_grad():
        backbone.vit.norm.bias[0] = torch.nan
    verdict = guard.check(backbone)
    assert not verdict.ok
    assert verdict.reasons == ("features are NaN or infinite",)
    with pytest.raises(InputError, match="before any training"):
        rail(backbone)


def trained(adaptation: BackboneAdaptation, lr: float, steps: int) -> None:
    generator = torch.Generator().manual_seed(0)
    config = replace(adaptation.config, lr=lr)
    optimizer = torch.optim.AdamW(parameter_groups(adaptation.student, config))
    for step in range(steps):
        optimizer.zero_grad()
        adaptation(textured(4, 56), generator, step / steps).total.backward()
        optimizer.step()
        adaptation.after_step(step / steps)


@pytest.mark.parametrize("adapters", [BLOCKS, LORA])
@pytest.mark.parametrize("on_disk", [False, True])
@pytest.mark.parametrize("with_labels", [False, True])
def test_destruction_is_stopped_and_undone_to_the_bit(
    backbone: Backbone,
    configure: Configure,
    tmp_path: Path,
    adapters: AdapterConfig,
    on_disk: bool,
    with_labels: bool,
) -> None:
    held = labelled()
    guard = rail(backbone, held if with_labels else HeldOut(images=held.images))
    adaptation = BackboneAdaptation(backbone, configure(adapters=adapters))
    supervisor = Supervisor(adaptation, guard, tmp_path if on_disk else None)
    trained(adaptation, HARMLESS, 3)
    assert supervisor.check().ok  # harmless training is let go on, and is the new good state
    assert supervisor.stopped is None
    good = {name: value.clone() for name, value in adaptation.state_dict().items()}
    plain = {name: value.clone() for name, value in plain_state(backbone).items()}
    own = dict(adaptation.named_parameters())

    trained(adaptation, DESTRUCTIVE, 6)
    now = plain_state(backbone)
    assert any(not torch.equal(now[name], value) for name, value in plain.items())
    verdict = supervisor.check()
    assert not verdict.ok
    assert any(reason.startswith("student: ") for reason in verdict.reasons)
    assert all(torch.equal(adaptation.state_dict()[name], value) for name, value in good.items())
    back = plain_state(backbone)
    assert all(torch.equal(back[name], value) for name, value in plain.items())
    assert all(own[name] is value for name, value in adaptation.named_parameters())
    assert supervisor.stopped == verdict == supervisor.check()
    assert (tmp_path / FILE).is_file() == on_disk


def test_a_bad_teacher_is_seen_as_well(backbone: Backbone, configure: Configure) -> None:
    guard = rail(backbone)
    adaptation = BackboneAdaptation(backbone, configure(adapters=BLOCKS))
    supervisor = Supervisor(adaptation, guard)
    for name, value in adaptation.teacher.averages().items():
        if name.startswith("backbone."):
            value.normal_(generator=torch.Generator().manual_seed(0))
    verdict = supervisor.check()
    assert not verdict.ok
    assert all(reason.startswith("teacher: ") for reason in verdict.reasons)
    assert supervisor.guard.check(backbone).ok


def test_labels_of_patches() -> None:
    labels = torch.zeros(1, 28, 42, dtype=torch.int64)
    labels[0, :14, :14] = 3
    labels[0, :14, 14:22] = 2  # 8 of 14 columns
    labels[0, :14, 28:34] = 2  # 6 of 14
    labels[0, 14:, :7], labels[0, 14:, 7:14] = 1, 2  # half and half: neither
    assert patch_labels(labels)[0].tolist() == [[3, 2, 0], [0, 0, 0]]


def batch(count: int = 4, **labels: object) -> Batch:
    names = tuple(str(index) for index in range(count))
    return Batch(names=names, images=textured(count, 50), **labels)


def test_held_out_from_batches() -> None:
    semantic = torch.ones(4, 50, 50, dtype=torch.int64)
    semantic[:, :, 25:] = 2
    found = held_out([batch(semantic=semantic), batch(semantic=semantic)], most=6)
    assert found.images.shape == (6, 3, 56, 56)
    assert found.labels is not None
    assert found.labels[0].tolist() == [[1, 1, 2, 2]] * 3 + [[1, 0, 2, 0]]

    mask = torch.zeros(1, 50, 50, dtype=torch.bool)
    mask[0, :28, :28] = True
    objects = held_out([batch(masks=(mask,) * 4, mask_classes=(torch.tensor([4]),) * 4)])
    assert objects.labels is not None
    assert objects.labels[0, :3, :3].tolist() == [[6, 6, 1], [6, 6, 1], [1, 1, 1]]

    assert held_out([batch()]).labels is None
    assert held_out([batch(semantic=semantic), batch()]).labels is None
    assert held_out([batch(semantic=torch.ones_like(semantic))]).labels is None


def test_bad_input_speaks() -> None:
    images, labels = labelled().images, labelled().labels
    assert labels is not None
    with pytest.raises(InputError, match="at least 4 held-out images"):
        HeldOut(images=images[:3])
    with pytest.raises(InputError, match="multiples of 14"):
        HeldOut(images=images[..., :50])
    with pytest.raises(InputError, match="labels of patches must have shape"):
        HeldOut(images=images, labels=labels[:, :2])
    with pytest.raises(InputError, match="at least two classes"):
        HeldOut(images=images, labels=torch.ones_like(labels))
    with pytest.raises(InputError, match="no held-out images"):
        held_out([])
    for options, words in (
        ({"max_drift": 0.0}, "max_drift"),
        ({"min_cka": 1.5}, "min_cka"),
        ({"min_rank_share": -0.5}, r"min_rank_share must lie in \[0, 1\], got -0.5"),
        ({"max_fall_points": -1.0}, "max_fall_points"),
        ({"patches_per_image": 0}, "patches_per_image"),
    ):
        with pytest.raises(InputError, match=words):
            GuardConfig(**options)
