"""Schedules, learning rates by depth, and settings that speak."""

from typing import Any

import pytest
import torch

from rangemask.errors import InputError
from rangemask.models.backbone import Backbone
from rangemask.training.self_supervision.adaptation import BackboneAdaptation
from rangemask.training.self_supervision.config import AdapterConfig, DinoAdaptationConfig
from rangemask.training.self_supervision.parameters import parameter_groups
from rangemask.training.self_supervision.schedules import (
    learning_rate_factor,
    teacher_momentum,
    teacher_temperature,
)

from .conftest import Configure


def test_schedules_go_from_start_to_end() -> None:
    config = DinoAdaptationConfig(
        teacher_temperature=(0.04, 0.07), temperature_warmup=0.5, momentum=(0.9, 1.0)
    )
    temperatures = [teacher_temperature(config, at) for at in (0.0, 0.25, 0.5, 1.0)]
    assert temperatures == pytest.approx([0.04, 0.055, 0.07, 0.07])
    momenta = [teacher_momentum(config, at) for at in (0.0, 0.5, 1.0, 2.0)]
    assert momenta == pytest.approx([0.9, 0.95, 1.0, 1.0])
    at_once = DinoAdaptationConfig(temperature_warmup=0.0)
    assert teacher_temperature(at_once, 0.0) == pytest.approx(0.07)


def test_the_backbone_waits_for_its_heads() -> None:
    config = DinoAdaptationConfig(head_warmup=0.2, lr_warmup=0.1, lr_end=0.0)
    heads, backbone = (
        [learning_rate_factor(config, at / 100, backbone=which) for at in range(101)]
        for which in (False, True)
    )
    assert heads[0] == 0 < heads[5] < heads[10]
    assert max(backbone[:21]) == 0 < backbone[25] < backbone[30]
    assert backbone[30:] == pytest.approx(heads[30:])
    assert heads[10:] == sorted(heads[10:], reverse=True)
    assert heads[100] == pytest.approx(0)
    never = DinoAdaptationConfig(head_warmup=1.0)
    assert learning_rate_factor(never, 1.0, backbone=True) == 0


@pytest.mark.parametrize("learned", ["blocks", "lora"])
def test_groups_hold_every_learning_parameter_once(
    backbone: Backbone, configure: Configure, learned: Any
) -> None:
    adapters = AdapterConfig(learned=learned, blocks=3)
    config = configure(adapters=adapters, layer_decay=0.5, lr=1.0, learn_mask_token=True)
    student = BackboneAdaptation(backbone, config).student
    groups = parameter_groups(student, config)
    found = [id(parameter) for group in groups for parameter in group["params"]]
    assert len(set(found)) == len(found)
    assert set(found) == {id(p) for p in student.parameters() if p.requires_grad}
    names = {id(parameter): name for name, parameter in student.named_parameters()}
    rates = {
        names[id(p)]: (group["lr"], group["weight_decay"], group["backbone"])
        for group in groups
        for p in group["params"]
    }
    decay = config.weight_decay
    for name, (rate, decayed, of_backbone) in rates.items():
        assert of_backbone == (name.startswith("backbone") or name == "mask_token")
        if "blocks." in name:
            block = int(name.split("blocks.")[1].split(".")[0])
            assert rate == 0.5 ** (3 - block), name
        if name.endswith("bias") or "norm" in name or "prototypes" in name or ".ls" in name:
            assert decayed == 0, name
    assert rates["mask_token"] == (0.5**4, 0.0, True)
    assert rates["class_head.mlp.0.weight"] == (1.0, decay, False)
    torch.optim.AdamW(groups)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"dino_weight": -1.0}, "dino_weight must not be negative"),
        ({"dino_weight": 0.0, "ibot_weight": 0.0}, "must be positive"),
        ({"targets": "none"}, "sinkhorn, centre"),
        ({"student_temperature": 0.0}, "temperatures"),
        ({"momentum": (0.9, 1.1)}, "momentum"),
        ({"head_warmup": -0.1}, "head_warmup"),
        ({"lr_end": 2.0}, "lr_end"),
        ({"lr": 0.0}, "lr must be positive"),
        ({"layer_decay": 0.0}, "layer_decay"),
        ({"clip_norm": 0.0}, "clip_norm"),
    ],
)
def test_impossible_settings_speak(options: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        DinoAdaptationConfig(**options)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"learned": "all"}, "blocks, lora"),
        ({"learned": "blocks", "blocks": 0}, "at least 1"),
        ({"rank": 0}, "rank"),
        ({"alpha": 0.0}, "alpha"),
        ({"dropout": 1.0}, "dropout"),
    ],
)
def test_impossible_adapters_speak(options: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        AdapterConfig(**options)
