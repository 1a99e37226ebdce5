"""Whole runs on a processor: what they leave, how they resume, what stops them."""

import csv
import json
import shutil
from dataclasses import replace
from pathlib import Path
from typing import Any

import lightning.pytorch as pl
import numpy as np
import pytest
import torch
from torch import Tensor

import rangemask as rm
from rangemask.data.store import LabelStore
from rangemask.errors import InputError, OutputError
from rangemask.training.batch import Batch
from rangemask.training.config import TrainConfig
from rangemask.training.fit import OutOfMemoryError, fit
from rangemask.training.module import StudentModule, TrainingError, load_batch
from rangemask.training.run_folder import RunFolder
from training.conftest import Settings

STAGES = ("depth", "stereo", "masks", "semantic", "fusion", "joint")


def losses_of(folder: Path) -> dict[int, float]:
    """Training loss by step."""
    with (folder / "logs/metrics.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    return {int(row["step"]): float(row["train/loss"]) for row in rows if row.get("train/loss")}


@pytest.mark.parametrize("stage", STAGES)
def test_every_stage_leaves_a_student_that_predicts(stage: str, settings: Settings) -> None:
    fitted = fit(settings(stage), progress=False)
    assert fitted.finished
    folder = fitted.folder
    names = {path.name for path in folder.iterdir()}
    assert names >= {
        *("run.json", "config.yaml", "environment.json", "data.json", "logs", "tensorboard"),
        *("checkpoints", "best", "last", "predictions", "loss.png"),
    }
    student = rm.load_model(fitted.best, device="cpu")
    assert stage in {*student.config.heads, "joint"}
    assert student.card.terms == "commercial-ok", "the synthetic truth is free"
    assert f"Stage {stage}" in student.card.training
    assert student.card.metrics
    state = json.loads((folder / "run.json").read_text())
    assert (state["state"], state["stage"]) == ("finished", stage)
    data = json.loads((folder / "data.json").read_text())
    assert set(data["train"]).isdisjoint(data["val"])


@pytest.mark.parametrize("ema", [0.0, 0.9])
def test_a_run_that_ends_within_an_epoch_is_judged_and_saved_there(
    ema: float, settings: Settings
) -> None:
    config = settings("semantic", trainer={"max_epochs": 9, "max_steps": 3}, data={"batch_size": 2})
    config = replace(config, optimizer=replace(config.optimizer, ema_decay=ema))
    fitted = fit(config, progress=False)
    assert fitted.finished
    with (fitted.folder / "logs/metrics.csv").open(newline="") as file:
        judged = [int(row["step"]) for row in csv.DictReader(file) if row.get("val/miou")]
    assert judged == [1, 2], "two steps are an epoch of these four frames"
    last = torch.load(fitted.folder / "checkpoints/last.ckpt", weights_only=True)
    assert last["global_step"] == 3


def test_only_what_the_stage_trains_has_changed(settings: Settings) -> None:
    heads = {"heads": ("depth", "masks", "semantic")}
    first = fit(settings("depth", model=heads | {"preset": "nano"}), progress=False)
    again = settings(
        "semantic", model={"start_from": str(first.best)}, run={"name": "later"} | _root(first)
    )
    second = fit(again, progress=False)
    before = rm.load_model(first.best, device="cpu").state_dict()
    after = rm.load_model(second.best, device="cpu").state_dict()
    changed = {name.split(".")[0] for name in before if not torch.equal(before[name], after[name])}
    assert changed == {"semantic"}


def _root(fitted: Any) -> dict[str, str]:
    return {"root": str(fitted.folder.parent)}


class Killed(BaseException):
    """Stands for a process that is gone."""


@pytest.mark.parametrize("stage", ["masks", "depth"])
def test_a_resumed_run_has_the_same_curve(
    stage: str, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = settings(stage, trainer={"max_epochs": 3}, optimizer={"ema_decay": 0.9})
    whole = losses_of(fit(config, progress=False).folder)
    real = StudentModule.training_step

    def killed(self: StudentModule, batch: Batch, index: int) -> Tensor:
        if self.current_epoch == 1 and index == 1:
            raise Killed
        return real(self, batch, index)

    again = replace(config, run=replace(config.run, name="again"))
    monkeypatch.setattr(StudentModule, "training_step", killed)
    with pytest.raises(Killed):
        fit(again, progress=False)
    monkeypatch.setattr(StudentModule, "training_step", real)
    torch.manual_seed(99)  # whatever the new process has done before
    resumed = fit(replace(again, run=replace(again.run, resume=True)), progress=False)
    parts = losses_of(resumed.folder)
    assert len(whole) == 6
    assert parts.keys() == whole.keys()
    np.testing.assert_allclose(list(parts.values()), list(whole.values()), rtol=1e-6)


def test_a_run_of_other_data_or_stage_is_not_resumed(
    settings: Settings, rendered: Path, tmp_path: Path
) -> None:
    config = settings("depth")
    fitted = fit(config, progress=False)
    resume = replace(config, run=replace(config.run, resume=True))
    with pytest.raises(InputError, match="is a run of stage depth, not of semantic"):
        fit(replace(resume, stage="semantic"), progress=False)
    root = shutil.copytree(rendered, tmp_path / "other")
    store = LabelStore(root)
    record = store.record("scene00001")
    assert record is not None
    store.commit(replace(record, width=83))
    store.finish()
    with pytest.raises(InputError, match="the data has changed since the run began"):
        fit(replace(resume, data=replace(config.data, root=str(root))), progress=False)
    with pytest.raises(OutputError, match=r"is taken.*run\.resume=true"):
        fit(config, progress=False)
    (fitted.folder / "checkpoints/last.ckpt").unlink()
    with pytest.raises(InputError, match="holds no checkpoint to go on from"):
        fit(resume, progress=False)


def test_run_folders_of_other_versions_speak(tmp_path: Path) -> None:
    run = tmp_path / "run.json"
    for version, word in ((0, "an older"), (9, "a newer")):
        run.write_text(json.dumps({"format": "rangemask-run", "format_version": version}))
        with pytest.raises(InputError, match=f"was written by {word} rangemask"):
            RunFolder.open(tmp_path)
    run.write_text("{}")
    with pytest.raises(InputError, match="is not the folder of a training run"):
        RunFolder.open(tmp_path)
    run.write_text("[")
    with pytest.raises(InputError, match="cannot be read"):
        RunFolder.open(tmp_path)
    run.unlink()
    with pytest.raises(InputError, match=r"holds no run\.json"):
        RunFolder.open(tmp_path)


def test_a_loss_that_is_not_finite_stops_with_its_batch(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = settings("semantic", trainer={"max_epochs": 3})
    real = StudentModule.on_train_epoch_start

    def poisoned(self: StudentModule) -> None:
        real(self)
        if self.current_epoch == 1:
            assert self.student.semantic is not None
            self.student.semantic.classify.weight.data.fill_(float("nan"))

    monkeypatch.setattr(StudentModule, "on_train_epoch_start", poisoned)
    with pytest.raises(TrainingError, match=r"not finite at step 2 .*bad_batch\.pt.*optimizer\.lr"):
        fit(config, progress=False)
    folder = Path(config.run.root) / "semantic"
    batch = load_batch(folder / "bad_batch.pt")
    assert len(batch) == 2
    assert batch.semantic is not None
    assert (folder / "checkpoints/last.ckpt").is_file(), "the last good one stays"
    assert json.loads((folder / "run.json").read_text())["state"] == "stopped"


def test_lack_of_memory_says_what_to_lower(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: StudentModule, batch: Batch, index: int) -> Tensor:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")

    monkeypatch.setattr(StudentModule, "training_step", full)
    with pytest.raises(OutOfMemoryError, match=r"data\.batch_size \(now 2\).*checkpointing=true"):
        fit(settings("depth"), progress=False)


def unlabelled(rendered: Path, root: Path, *kinds: str) -> Path:
    """The rendered frames without some kinds of labels."""
    shutil.copytree(rendered, root)
    store = LabelStore(root)
    for name, record in store.records().items():
        files = {kind: file for kind, file in record.files.items() if kind not in kinds}
        store.commit(replace(record, files=files), before=store.record(name))
    store.finish()
    return root


def test_labels_that_the_stage_needs_must_be_there(
    settings: Settings, rendered: Path, tmp_path: Path
) -> None:
    root = unlabelled(rendered, tmp_path / "bare", "masks", "disparity")
    data = {"root": str(root)}
    with pytest.raises(InputError, match="learns from instance masks, which the sample lacks"):
        fit(settings("masks", data=data), progress=False)
    with pytest.raises(InputError, match="learns from disparity, which the sample lacks"):
        fit(settings("stereo", data=data), progress=False)
    with pytest.raises(InputError, match=r"data\.root=FOLDER says what to learn from"):
        fit(settings("stereo", data={"root": None}), progress=False)
    with pytest.raises(InputError, match="holds no labelled frame"):
        fit(settings("stereo", data={"min_quality": 1.1}), progress=False)


def test_classes_that_the_data_lacks_speak(settings: Settings) -> None:
    with pytest.raises(InputError, match=r"the class list does not match: .*dragon"):
        fit(settings("semantic", data={"classes": ("person", "dragon")}), progress=False)


def test_a_frame_without_known_disparity_teaches_nothing_and_is_named(
    settings: Settings, rendered: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    root = shutil.copytree(rendered, tmp_path / "holes")
    path = root / "disparity/scene00000.npy"
    np.save(path, np.full_like(np.load(path), np.nan))
    config = settings("stereo", data={"root": str(root), "augmentation": "none"})
    assert fit(config, progress=False).finished
    assert "scene00000: no pixel has a known label (disparity)" in caplog.text


def test_gradients_accumulate_and_recomputed_activations_teach_the_same(
    settings: Settings,
) -> None:
    base = {"trained_blocks": -1, "preset": "nano", "max_depth_m": 20.0}
    plain = fit(settings("depth", model=base, run={"name": "plain"}), progress=False)
    saved = settings("depth", model=base | {"checkpointing": True}, run={"name": "saved"})
    saved = replace(saved, run=replace(saved.run, root=str(plain.folder.parent)))
    other = fit(saved, progress=False)
    first, second = losses_of(plain.folder), losses_of(other.folder)
    np.testing.assert_allclose(list(first.values()), list(second.values()), rtol=1e-4)
    few = settings("depth", optimizer={"accumulate": 2}, run={"name": "few"})
    assert fit(few, progress=False).finished


@pytest.mark.parametrize("precision", ["bfloat16"])
def test_other_precisions_train(precision: str, settings: Settings) -> None:
    trainer = {"precision": precision, "max_epochs": 1, "accelerator": "cpu", "log_every": 1}
    config = settings("joint", trainer=trainer)
    fitted = fit(config, progress=False)
    assert all(np.isfinite(loss) for loss in losses_of(fitted.folder).values())


def test_early_stopping_stops(settings: Settings) -> None:
    config = settings("semantic", trainer={"max_epochs": 30, "patience": 1}, optimizer={"lr": 1e-9})
    fitted = fit(config, progress=False)
    assert len(losses_of(fitted.folder)) < 30


def test_settings_go_to_plain_values_and_back(settings: Settings) -> None:
    config = settings("depth", loss={"depth": {"kind": "l1"}})
    assert TrainConfig.from_dict(json.loads(json.dumps(config.to_dict()))) == config
    assert isinstance(pl.LightningModule, type)


@pytest.mark.parametrize(
    ("section", "values", "message"),
    [
        ("data", {"size_px": (3,)}, "height and width"),
        ("data", {"batch_size": 0}, "batch_size must be 1 or more"),
        ("data", {"validation_share": 1.0}, "validation_share must lie within"),
        ("optimizer", {"lr": -1.0}, "lr must be positive"),
        ("optimizer", {"ema_decay": 2.0}, "ema_decay must lie within"),
        ("optimizer", {"accumulate": 0}, "accumulate must be 1 or more"),
        ("optimizer", {"clip_norm": -1.0}, "must not be negative"),
        ("trainer", {"max_epochs": 0}, "must be 1 or more"),
        ("trainer", {"patience": -1}, "must not be negative"),
    ],
)
def test_impossible_settings_speak(
    section: str, values: dict[str, Any], message: str, settings: Settings
) -> None:
    with pytest.raises(InputError, match=message):
        settings("depth", **{section: values})


def test_every_epoch_sees_its_frames_otherwise(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[tuple[tuple[str, ...], float]] = []
    real = StudentModule.training_step

    def noted(self: StudentModule, batch: Batch, index: int) -> Tensor:
        seen.append((batch.names, float(batch.images.mean())))
        return real(self, batch, index)

    monkeypatch.setattr(StudentModule, "training_step", noted)
    fit(settings("semantic", trainer={"max_epochs": 2}, data={"batch_size": 1}), progress=False)
    first, second = dict(seen[:4]), dict(seen[4:])
    assert first.keys() == second.keys()
    assert all(abs(first[name] - second[name]) > 1e-4 for name in first)
