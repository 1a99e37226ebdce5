"""Runs of the two-in-one stage: they leave what they should, and go on exactly."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from rangemask.errors import InputError
from rangemask.models.two_in_one import build_two_in_one
from rangemask.models.two_in_one.pretrained import load_two_in_one, save_two_in_one
from rangemask.training.fit import OutOfMemoryError
from rangemask.training.module import TrainingError
from rangemask.training.plots import read_curves
from rangemask.training.two_in_one.config import TwoInOneTrainConfig
from rangemask.training.two_in_one.fit import fit_two_in_one, make_network
from rangemask.training.two_in_one.module import TwoInOneModule
from rangemask.training.two_in_one.photometric import PerceptualFeatures

Make = Callable[..., TwoInOneTrainConfig]


@pytest.fixture
def make(rendered: Path, tmp_path: Path) -> Make:
    """Settings of a tiny run; tables are merged into its sections."""

    def made(**changes: Any) -> TwoInOneTrainConfig:
        plain: dict[str, Any] = {
            "encoder": "nano",
            "model": {"out_ch": 9, "detail_channels": 0},
            "epochs": 3,
            "data": {
                "root": str(rendered),
                "batch_size": 2,
                "workers": 0,
                "checked_pairs": 1,
                "validation_share": 0.3,
            },
            "augmentation": {"full_size": [64, 96], "crop_size": [32, 64]},
            "loss": {"mono_perceptual": 0.0},
            "trainer": {"accelerator": "cpu", "predictions": 1, "log_every": 1},
            "run": {"root": str(tmp_path / "runs"), "name": "two"},
        }
        for name, value in changes.items():
            plain[name] = plain.get(name, {}) | value if isinstance(value, dict) else value
        return TwoInOneTrainConfig.from_dict(plain)

    return made


def weights(folder: Path) -> dict[str, torch.Tensor]:
    return load_two_in_one(folder).state_dict()


def test_a_run_leaves_networks_numbers_and_what_it_was_made_of(make: Make) -> None:
    fitted = fit_two_in_one(make(), progress=False)
    folder = fitted.folder
    assert fitted.finished
    assert {"mono_abs_rel", "pair_abs_rel", "refine_abs_rel", "pair_rmse_m", "pair_photo"} <= set(
        fitted.scores
    )
    model = load_two_in_one(fitted.best)
    assert model.config.mono_path == "refine", "its branch has learnt in the last epoch"
    # 75 px x 0.12 m at 84 px width, brought to 96 px
    assert model.config.d2d == pytest.approx(75 * 0.12 * 96 / 84)
    assert "without labels" in model.card.training
    assert model.card.metrics["val/pair_abs_rel"] == pytest.approx(fitted.scores["pair_abs_rel"])
    settings = yaml.safe_load((folder / "config.yaml").read_text())
    assert settings["stage"] == "two-in-one"
    assert len(json.loads((folder / "data.json").read_text())["fingerprint"]) == 64
    assert "torch" in json.loads((folder / "environment.json").read_text())["packages"]
    assert json.loads((folder / "run.json").read_text())["state"] == "finished"
    curves = read_curves(folder / "logs" / "metrics.csv")
    assert [len(curves[f"val/{stage}_photo"]) for stage in ("mono", "pair", "refine")] == [3, 2, 1]
    assert list(folder.glob("tensorboard/events*"))
    assert {"loss.png", "abs_rel.png", "photometric.png"} <= {f.name for f in folder.glob("*.png")}
    (kept,) = (folder / "predictions" / "epoch_002").glob("*.npz")
    with np.load(kept) as arrays:
        assert {"image", "one_eye", "two_eyes", "one_eye_refined", "true_disparity"} == set(arrays)


def test_an_interrupted_run_goes_on_as_if_it_had_not_been(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = fit_two_in_one(make(run={"name": "whole"}), progress=False)
    real = TwoInOneModule.training_step

    def killed(self: TwoInOneModule, batch: Any, index: int) -> None:
        if self.current_epoch == 2:
            raise KeyboardInterrupt
        real(self, batch, index)

    monkeypatch.setattr(TwoInOneModule, "training_step", killed)
    with pytest.raises((KeyboardInterrupt, SystemExit)):
        fit_two_in_one(make(), progress=False)
    state = Path(make().run.root) / "two" / "run.json"
    assert json.loads(state.read_text())["state"] == "stopped"
    monkeypatch.setattr(TwoInOneModule, "training_step", real)
    resumed = fit_two_in_one(make(run={"resume": True}), progress=False)
    assert resumed.finished
    first, second = weights(whole.folder / "last"), weights(resumed.folder / "last")
    assert all(torch.equal(first[name], second[name]) for name in first)
    assert resumed.scores == pytest.approx(whole.scores)


def test_a_network_without_its_last_stage_answers_by_its_first(make: Make) -> None:
    fitted = fit_two_in_one(make(epochs=None, schedule={"epochs": 1}), progress=False)
    assert load_two_in_one(fitted.best).config.mono_path == "mono"
    assert set(fitted.scores) == {"mono_abs_rel", "mono_rmse_m", "mono_photo"}
    assert "(mono)" in load_two_in_one(fitted.best).card.training


def test_vgg_is_in_no_checkpoint_and_training_resumes_without_it(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        "rangemask.training.two_in_one.fit.load_perceptual", lambda _: PerceptualFeatures()
    )
    config = make(loss={"mono_perceptual": 0.01}, epochs=1)
    fitted = fit_two_in_one(config, progress=False)
    saved = torch.load(fitted.folder / "checkpoints" / "last.ckpt", weights_only=True)
    assert saved["state_dict"]
    assert not [name for name in saved["state_dict"] if "perceptual" in name]
    longer = replace(config, epochs=2, run=replace(config.run, resume=True))
    assert fit_two_in_one(longer, progress=False).finished


def test_a_loss_that_is_not_finite_stops_and_keeps_the_batch(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    def poisoned(config: TwoInOneTrainConfig, *known: float | None) -> Any:
        model = make_network(config, *known)
        with torch.no_grad():
            next(model.decoder.parameters()).fill_(float("nan"))
        return model

    monkeypatch.setattr("rangemask.training.two_in_one.fit.make_network", poisoned)
    with pytest.raises(TrainingError, match="loss of the stage mono is not finite in epoch 1"):
        fit_two_in_one(make(), progress=False)
    folder = Path(make().run.root) / "two"
    assert json.loads((folder / "run.json").read_text())["state"] == "stopped"
    batch = torch.load(folder / "bad_batch.pt", weights_only=True)
    assert len(batch["names"]) == len(batch["target"]) == 2


def test_lack_of_memory_says_which_options_to_lower(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: Any) -> None:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 20 GiB.")

    monkeypatch.setattr(TwoInOneModule, "training_step", full)
    with pytest.raises(OutOfMemoryError, match=r"data.batch_size \(now 2\).*pyramid=quarter"):
        fit_two_in_one(make(), progress=False)


def test_the_network_knows_how_it_was_trained(make: Make) -> None:
    measured = make_network(make(), 7.0, 60.0).config
    assert (measured.d2d, measured.focal_px, measured.metric) == (7.0, 60.0, True)
    assert measured.full_size == make().augmentation.full_size
    without_baseline = make_network(make(), None).config
    assert not without_baseline.metric
    told = make_network(make(model={"d2d": 5.0}), None).config
    assert (told.d2d, told.metric) == (5.0, True)
    with pytest.raises(InputError, match="full_size is not set here"):
        make_network(make(model={"full_size": [384, 1280]}), None)


def test_it_starts_from_a_network_that_was_saved(make: Make, tmp_path: Path) -> None:
    before = make_network(make(), 7.0)
    save_two_in_one(before, tmp_path / "kept")
    after = make_network(make(start_from=str(tmp_path / "kept")), 9.0)
    assert after.config == before.config
    assert all(torch.equal(a, b) for a, b in zip(before.parameters(), after.parameters(),
                                                 strict=True))  # fmt: skip


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"model": {"colour": 1}}, "model has no colour; it knows d2d"),
        ({"model": {"mono_path": "mono"}}, "model.mono_path is not set here"),
        ({"data": {"root": None}}, "data.root=FOLDER says what to learn from"),
        ({"data": {"root": "nowhere"}}, "nowhere"),
        ({"loss": {"mono_perceptual": 1.0}, "perceptual": "no.pth"}, "does without them"),
        ({"encoder": "dinov2s", "checkpoint": "no.pth"}, "no.pth"),
        ({"run": {"resume": True}}, "no run.json"),
    ],
)
def test_bad_settings_speak_and_leave_nothing(
    make: Make, changes: dict[str, Any], message: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=message):
        fit_two_in_one(make(**changes), progress=False)
    assert not (tmp_path / "runs").exists()


def test_a_frozen_encoder_with_random_weights_is_doubted(
    make: Make, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    tiny = build_two_in_one(make_network(make(), None).config)
    tiny.encoder.requires_grad_(False)
    monkeypatch.setattr("rangemask.training.two_in_one.fit.build_two_in_one", lambda _: tiny)
    make_network(make(encoder="dinov2s", start="none"), None)
    assert "frozen and has random weights" in caplog.text
