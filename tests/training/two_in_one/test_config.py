"""Settings of the two-in-one stage: the published ones, and what cannot be."""

from pathlib import Path
from typing import Any

import pytest
import yaml

import rangemask.cli.train
from rangemask.errors import InputError
from rangemask.training.two_in_one.config import TwoInOneTrainConfig


def test_the_published_settings_are_the_defaults() -> None:
    config = TwoInOneTrainConfig()
    assert config.encoder == "dinov2b"
    assert config.augmentation.full_size == (384, 1280)
    assert config.augmentation.crop_size == (256, 832)
    assert (config.data.batch_size, config.run.seed, config.plan.epochs) == (8, 2021, 50)
    assert [config.plan.stage(name).first_epoch for name in ("mono", "pair", "refine")] == [
        1, 21, 31]  # fmt: skip
    assert (config.plan.lr, config.plan.betas) == (1e-4, (0.5, 0.999))


@pytest.mark.parametrize("data", ["pairs", "kitti"])
def test_the_file_of_settings_says_the_same(data: str) -> None:
    conf: Path = rangemask.cli.train.CONF
    plain = yaml.safe_load((conf / "two-in-one.yaml").read_text())
    plain = {name: value for name, value in plain.items() if name not in {"defaults", "hydra"}}
    plain["data"] = yaml.safe_load((conf / "data" / f"{data}.yaml").read_text())
    assert set(plain["model"].values()) == {None}
    if data == "kitti":
        kitti = {name: plain["data"].pop(name) for name in ("kind", "validation_kind")}
        assert kitti == {"kind": "kitti-eigen-train", "validation_kind": "kitti-eigen-test"}
        assert plain["data"].pop("validation") == "${data.root}"
    told = TwoInOneTrainConfig.from_dict(plain).to_dict() | {"model": {}}
    assert told == TwoInOneTrainConfig().to_dict()


def test_epochs_move_the_whole_schedule() -> None:
    plan = TwoInOneTrainConfig(epochs=10).plan
    assert (plan.epochs, plan.pair.first_epoch, plan.refine.first_epoch) == (10, 5, 7)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"stage": "depth"}, "stage must be two-in-one"),
        ({"start": "imagenet"}, "start must be one of auto, none, dinov2"),
        ({"epochs": 0}, "epochs must be 1 or more"),
        ({"augmentation": {"full_size": [380, 1280]}}, r"multiples of 32 px.*\[384, 1280\] is"),
        ({"data": {"checked_pairs": -1}}, "checked_pairs must not be negative"),
        ({"data": {"batch_size": 0}}, "batch_size must be 1 or more"),
        ({"trainer": {"log_every": 0}}, "log_every must be 1 or more"),
        ({"colour": 1}, "config has no colour"),
    ],
)
def test_what_cannot_be_speaks(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        TwoInOneTrainConfig.from_dict(changes)
