"""The backbone stage: it runs, it is guarded, it can be resumed."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import rangemask as rm
from rangemask.errors import InputError
from rangemask.training.adapt import AdaptationModule, adapt_backbone
from rangemask.training.config import TrainConfig
from training.conftest import Settings

SMALL: dict[str, Any] = {
    "crops": {"global_px": 56, "local_px": 28, "local_views": 2},
    "heads": {"prototypes": 32, "hidden": 32, "bottleneck": 16},
}


def of_backbone(settings: Settings, **changes: Any) -> TrainConfig:
    data = {"validation_share": 0.7, "batch_size": 2, "size_px": (56, 84), "workers": 0}
    config = settings("depth", data=data | changes.pop("data", {}))
    return replace(config, stage="backbone", adaptation=SMALL, **changes)


def test_it_leaves_plain_weights_and_says_what_the_guard_saw(settings: Settings) -> None:
    fitted = adapt_backbone(of_backbone(settings), progress=False)
    assert fitted.finished
    assert {"cka", "patch_drift", "knn", "linear"} <= set(fitted.scores)
    backbone = rm.load_backbone("dinov2-nano", checkpoint=fitted.best, device="cpu")
    features = backbone.intermediate(torch.zeros(1, 3, 28, 28), layers=(3,))
    assert features[0].shape == (1, 96, 2, 2)
    assert json.loads((fitted.folder / "run.json").read_text())["state"] == "finished"


def test_few_images_are_doubted(settings: Settings, caplog: pytest.LogCaptureFixture) -> None:
    config = of_backbone(settings)
    config = replace(config, trainer=replace(config.trainer, max_steps=1))
    adapt_backbone(config, progress=False)
    assert "recordings: with fewer than 10000 images or 10 recordings" in caplog.text


def test_the_guard_stops_it_and_brings_the_good_state_back(
    settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    config = of_backbone(settings)
    wild = {**SMALL, "lr": 1.0, "head_warmup": 0.0, "adapters": {"learned": "blocks", "blocks": 4}}
    config = replace(
        config,
        adaptation=wild | {"momentum": [0.0, 0.0]},
        guard={"max_drift": 0.001},
        trainer=replace(config.trainer, max_epochs=5),
    )
    fitted = adapt_backbone(config, progress=False)
    assert not fitted.finished
    assert fitted.reasons
    assert "the guard stops training" in caplog.text
    state = json.loads((fitted.folder / "run.json").read_text())
    assert state["state"] == "stopped by the guard"
    again = replace(config, run=replace(config.run, name="start"), guard={}, adaptation=SMALL)
    again = replace(again, trainer=replace(config.trainer, max_epochs=1), optimizer=replace(
        config.optimizer, lr=1e-12))  # fmt: skip
    start = adapt_backbone(again, progress=False)
    kept, first = (
        rm.load_backbone("dinov2-nano", checkpoint=path, device="cpu").state_dict()
        for path in (fitted.best, start.best)
    )
    assert all(torch.allclose(kept[name], first[name], atol=1e-5) for name in first)


def test_it_resumes(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    config = of_backbone(settings)
    config = replace(config, trainer=replace(config.trainer, max_epochs=2))
    real = AdaptationModule.training_step

    def killed(self: AdaptationModule, batch: Any, index: int) -> torch.Tensor:
        if self.current_epoch == 1:
            raise KeyboardInterrupt
        return real(self, batch, index)

    monkeypatch.setattr(AdaptationModule, "training_step", killed)
    with pytest.raises((KeyboardInterrupt, SystemExit)):
        adapt_backbone(config, progress=False)
    monkeypatch.setattr(AdaptationModule, "training_step", real)
    resumed = replace(config, run=replace(config.run, resume=True))
    assert adapt_backbone(resumed, progress=False).finished


def test_a_backbone_that_has_learnt_nothing_is_not_adapted(settings: Settings) -> None:
    config = of_backbone(settings)
    config = replace(config, model=replace(config.model, preset="small"))
    with pytest.raises(InputError, match="needs one that has learnt"):
        adapt_backbone(config, progress=False)


def test_unknown_options_speak(settings: Settings, tmp_path: Path) -> None:
    config = replace(of_backbone(settings), adaptation={"colour": 1})
    with pytest.raises(InputError, match="adaptation has no colour"):
        adapt_backbone(config, progress=False)
    with pytest.raises(InputError, match="guard has no teeth"):
        adapt_backbone(replace(of_backbone(settings), guard={"teeth": 1}), progress=False)
    assert not (tmp_path / "runs").exists()
