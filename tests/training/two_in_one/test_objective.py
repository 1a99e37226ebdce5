"""An iteration of all stages: the published numbers, and that something is learnt."""

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from rangemask.errors import InputError
from rangemask.training.two_in_one import (
    STAGES,
    LossConfig,
    PairBatch,
    PerceptualFeatures,
    ScheduleConfig,
    StageSchedule,
    TwoInOneObjective,
    check_batch,
    load_perceptual,
    make_optimizers,
    parameter_groups,
    set_rates,
)
from support.two_in_one import (
    GOLDEN,
    batch_of,
    case,
    error,
    filled_vgg,
    shifted_pairs,
    stub_network,
    tiny_network,
)

SEEN = {"mono": "mono_disp_0_o", "pair": "stereo_disp_0_s", "refine": "refmono_disp_0_s"}
NUMBERS = {"mono": 1, "pair": 2, "refine": 3}


def published(name: str) -> str:
    return name.replace("encoder.", "0.", 1).replace("decoder.", "1.", 1)


@pytest.mark.parametrize("epoch", [1, 21, 31])
def test_an_iteration_is_the_published_one(epoch: int) -> None:
    """Losses, gradients of every parameter, batch statistics; weights stay where they are."""
    values = case("train_iteration")
    model = stub_network(int(values["seed"]), float(values["stub_gain"])).train()
    objective = TwoInOneObjective(perceptual=filled_vgg())
    schedule = ScheduleConfig()
    optimizers = make_optimizers(model, schedule)
    found, total = {}, 0.0
    batch = check_batch(batch_of(values, "input_"))
    for result in objective.stages(model, batch, schedule.active(epoch)):
        key = f"epoch{epoch}_param_group{NUMBERS[result.stage]}"
        found[f"param_group{NUMBERS[result.stage]}-loss"] = value = result.loss.total.item()
        total += value
        found.update({name: float(part) for name, part in result.loss.parts.items()})
        optimizers[result.stage].zero_grad()
        result.loss.total.backward()
        groups = parameter_groups(model, result.stage)
        learning = {
            published(name): parameter
            for group in groups
            for name, parameter in group.parameters.items()
        }
        norms = dict(
            zip(
                values[f"{key}_parameter_names"].tolist(),
                values[f"{key}_gradient_norms"].tolist(),
                strict=True,
            )
        )
        assert learning.keys() == norms.keys()
        for name, norm in norms.items():
            gradient = learning[name].grad
            assert (gradient is None) == math.isnan(norm), name
            if gradient is not None:
                zero = 1e-6 if name.endswith("k_conv.0.bias") else 0
                assert float(gradient.norm()) == pytest.approx(norm, rel=1e-3, abs=zero), name
        assert error(result.seen.disparity, values[f"epoch{epoch}_{SEEN[result.stage]}"]) < 1e-4
    found["loss"] = total
    expected = values[f"epoch{epoch}_loss_names"].tolist()
    for name, value in zip(expected, values[f"epoch{epoch}_loss_values"].tolist(), strict=True):
        assert found.pop(name.partition("/")[0]) == pytest.approx(value, rel=1e-4), name
    assert not found
    check_statistics(model, values, epoch)


def check_statistics(model: Any, values: dict[str, Any], epoch: int) -> None:
    for index, name in enumerate(values[f"epoch{epoch}_bn_names"].tolist()):
        norm = model.decoder.get_submodule(name.removeprefix("1."))
        assert int(norm.num_batches_tracked) == values[f"epoch{epoch}_bn_updates"][index]
        for kind in ("mean", "var"):
            expected = values[f"epoch{epoch}_bn_{kind}_norm"][index]
            assert float(getattr(norm, f"running_{kind}").norm()) == pytest.approx(
                expected, rel=1e-4
            )


# Schedule


def test_rates_are_the_published_ones() -> None:
    values, config = case("schedule"), ScheduleConfig()
    model = tiny_network()
    optimizers = make_optimizers(model, config)
    for row in values["learning_rates"]:
        epoch, *expected = row.tolist()
        set_rates(optimizers, config, int(epoch))
        found = [group["lr"] for stage in STAGES for group in optimizers[stage].param_groups]
        assert found == pytest.approx(expected, rel=1e-9, abs=0)
    assert optimizers["pair"].defaults["betas"] == (0.5, 0.999)
    assert optimizers["pair"].defaults["weight_decay"] == 0


def test_groups_are_the_published_ones() -> None:
    listed = json.loads((GOLDEN / "param_groups.json").read_text(encoding="utf-8"))
    model = tiny_network()
    encoder = {n for n, p in model.encoder.named_parameters() if p.requires_grad}
    schedule = ScheduleConfig()
    for stage, entry in zip(STAGES, listed.values(), strict=True):
        assert schedule.stage(stage).first_epoch == entry["first_epoch"]
        for group, expected in zip(parameter_groups(model, stage), entry["sets"], strict=True):
            assert group.factor == expected["lr_factor"]
            names = {published(name) for name in group.parameters}
            theirs = set(expected["decoder_parameters"])
            if expected["encoder_parameters"] == "all":
                theirs |= {f"0.{name}" for name in encoder}
            assert names == theirs


def test_frozen_parts_are_in_no_group() -> None:
    model = tiny_network(trained_blocks=1)
    names = parameter_groups(model, "mono")[0].parameters
    assert "encoder.backbone.vit.blocks.3.attn.qkv.weight" in names
    assert "encoder.backbone.vit.blocks.2.attn.qkv.weight" not in names


def test_a_schedule_can_be_shortened() -> None:
    short = ScheduleConfig().scaled(10)
    assert short.epochs == 10
    assert short.mono == StageSchedule(first_epoch=1, milestones=(4, 6, 8, 9))
    assert short.pair == StageSchedule(first_epoch=5, milestones=(6, 8, 9))
    assert short.refine == StageSchedule(first_epoch=7, milestones=(8, 9))
    assert short.active(4) == ("mono",)
    assert short.active(5) == ("mono", "pair")
    assert short.active(10) == STAGES
    assert ScheduleConfig().scaled(50) == ScheduleConfig()
    assert ScheduleConfig().scaled(1).active(1) == ("mono", "pair", "refine")


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"epochs": 0}, r"epochs must be 1 or more, got 0"),
        ({"lr": 0}, r"lr must be positive and finite, got 0"),
        ({"betas": (0.5,)}, r"betas must be two numbers within \[0, 1\)"),
        ({"betas": (0.5, 1)}, r"betas must be two numbers within \[0, 1\)"),
        ({"decay": 0}, r"decay must lie within \(0, 1\]"),
        ({"shared_factor": -1}, r"shared_factor must not be negative"),
        (
            {"mono": StageSchedule(first_epoch=2, milestones=())},
            r"the stage mono, which the others build on, begins at epoch 1, not 2",
        ),
    ],
)
def test_impossible_schedules_are_refused(options: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        ScheduleConfig(**options)


def test_impossible_stages_are_refused() -> None:
    with pytest.raises(InputError, match=r"first_epoch is counted from 1, got 0"):
        StageSchedule(first_epoch=0, milestones=())
    with pytest.raises(InputError, match=r"milestones must ascend, got \(3, 2\)"):
        StageSchedule(first_epoch=1, milestones=(3, 2))
    with pytest.raises(InputError, match=r"stage must be one of mono, pair, refine, got 'all'"):
        parameter_groups(tiny_network(), "all")  # type: ignore[arg-type]


# Learning


def train(model: Any, pairs: PairBatch, steps: int, active: tuple[str, ...]) -> list[float]:
    objective = TwoInOneObjective(LossConfig(mono_perceptual=0))
    config = ScheduleConfig(lr=3e-3, shared_factor=1)
    optimizers = make_optimizers(model, config)
    set_rates(optimizers, config, 31)
    totals = []
    for _ in range(steps):
        totals.append(0.0)
        for result in objective.stages(model, pairs, active):
            optimizers[result.stage].zero_grad()
            result.loss.total.backward()
            optimizers[result.stage].step()
            totals[-1] += result.loss.total.item()
    return totals


def still_after(model: Any, pairs: PairBatch, steps: int) -> tuple[list[str], list[float]]:
    """The parameters that did not move, and the losses."""
    before = {name: value.clone() for name, value in model.named_parameters()}
    totals = train(model, pairs, steps, STAGES)
    after = dict(model.named_parameters())
    return [name for name, value in before.items() if torch.equal(after[name], value)], totals


def test_everything_learns_from_pairs_alone() -> None:
    """No labels: the losses fall, and each path finds the one disparity."""
    pairs = shifted_pairs(6, size=(64, 64))
    model = tiny_network(decoder_ch_num=(8, 32, 32, 32)).train()
    still, totals = still_after(model, pairs, 25)
    assert still == []
    assert np.mean(totals[-3:]) < 0.8 * np.mean(totals[:3])
    model.eval()
    with torch.no_grad():
        for found in (
            model(pairs.target),
            model(pairs.target, path="mono"),
            model(pairs.target, pairs.other),
        ):
            assert 4.5 < float(found.disparity[..., 8:].median()) < 7.5


def test_a_pyramid_of_quarter_size_learns_in_all_stages() -> None:
    still, totals = still_after(tiny_network(pyramid="quarter").train(), shifted_pairs(6), 3)
    assert still == []
    assert np.isfinite(totals).all()


def test_frozen_blocks_do_not_move() -> None:
    model = tiny_network(trained_blocks=0).train()
    before = {name: value.clone() for name, value in model.named_parameters()}
    train(model, shifted_pairs(), 2, STAGES)
    moved = {
        name for name, value in model.named_parameters() if not torch.equal(before[name], value)
    }
    assert not any(name.startswith("encoder.backbone.") for name in moved)
    assert any(name.startswith("encoder.pyramid.") for name in moved)


def test_stages_that_do_not_learn_are_not_computed() -> None:
    model, objective = tiny_network(), TwoInOneObjective(LossConfig(mono_perceptual=0))
    for active in (("mono",), ("mono", "pair"), STAGES):
        found = list(objective.stages(model, shifted_pairs(), active))  # type: ignore[arg-type]
        assert tuple(result.stage for result in found) == active


def test_half_precision_gives_nearly_the_same_losses() -> None:
    model, objective = tiny_network(), TwoInOneObjective(perceptual=PerceptualFeatures())
    pairs = shifted_pairs()
    expected = [r.loss.total.item() for r in objective.stages(model, pairs, STAGES)]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found = [r.loss.total.item() for r in objective.stages(model, pairs, STAGES)]
    assert found == pytest.approx(expected, rel=0.05)
    assert all(math.isfinite(value) for value in found)


def test_perceptual_terms_do_not_teach_vgg() -> None:
    objective = TwoInOneObjective(perceptual=PerceptualFeatures())
    assert not any(parameter.requires_grad for parameter in objective.parameters())
    result = next(objective.stages(tiny_network(), shifted_pairs(), STAGES))
    assert {name for name in result.loss.parts if "perceptual" in name} == {
        f"Mono_perceptual-{depth}" for depth in (1, 2, 3)
    }


def test_vgg_loads_from_the_file_of_torchvision(tmp_path: Path) -> None:
    network = PerceptualFeatures()
    weights = {**network.state_dict(), "classifier.0.weight": torch.ones(2, 2)}
    torch.save(weights, tmp_path / "vgg19.pth")
    loaded = load_perceptual(tmp_path / "vgg19.pth")
    image = torch.rand(1, 3, 16, 16)
    torch.testing.assert_close(loaded(image), network(image))
    torch.save({"a": torch.ones(1)}, tmp_path / "b.pth")
    with pytest.raises(InputError, match=r"these are not the weights of VGG-19"):
        load_perceptual(tmp_path / "b.pth")


def test_vgg_that_cannot_be_downloaded_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: Any, **options: Any) -> None:
        raise OSError("no route")

    monkeypatch.setattr(torch.hub, "get_dir", lambda: str(tmp_path))
    monkeypatch.setattr(torch.hub, "download_url_to_file", fail)
    with pytest.raises(InputError, match=r"could not be downloaded .* no route.* set loss\.mono_p"):
        load_perceptual()
    torch.save(PerceptualFeatures().state_dict(), tmp_path / "checkpoints" / "vgg19-dcbb9e9d.pth")
    assert load_perceptual()


# Bad input


def test_bad_batches_are_refused() -> None:
    pairs = shifted_pairs()
    assert check_batch(pairs) is pairs
    known = pairs._replace(focal_baseline=torch.ones(2))
    assert check_batch(known) is known
    for changed, said in (
        ({"target": pairs.target[0]}, r"pairs must be float \(B, 3, H, W\)"),
        ({"other": pairs.other[..., :4]}, r"one shape, got .* \(other\)"),
        ({"other_jittered": pairs.other[:1]}, r"one shape, got .* \(other_jittered\)"),
        ({"direct": torch.ones(3)}, r"direct must be \+1 \(left\) or -1 \(right\)"),
        ({"direct": torch.zeros(2)}, r"direct must be \+1 .* got \[0\.0, 0\.0\]"),
        ({"focal_baseline": torch.zeros(2)}, r"focal_baseline must be positive"),
    ):
        with pytest.raises(InputError, match=said):
            check_batch(pairs._replace(**changed))  # type: ignore[arg-type]
