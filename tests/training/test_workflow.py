"""Stages one after the other."""

import json
import shutil
from typing import Any

import pytest

import rangemask as rm
from rangemask.errors import InputError, OutputError
from rangemask.training.module import StudentModule
from rangemask.training.workflow import Workflow, run_workflow
from training.conftest import Settings


def settings_of(settings: Settings, **changes: Any) -> dict[str, Any]:
    plain = json.loads(json.dumps(settings("depth").to_dict()))
    plain["run"]["name"] = "all"
    plain["model"]["heads"] = ["depth", "masks", "fusion"]
    steps = [{"stage": "depth"}, {"stage": "fusion", "model": {"train_pyramid": False}}]
    return {**plain, "stage": "workflow", "steps": steps, **changes}


def test_each_step_begins_with_the_student_before(settings: Settings) -> None:
    fitted = run_workflow(Workflow.from_dict(settings_of(settings)), progress=False)
    assert fitted.finished
    student = rm.load_model(fitted.best, device="cpu")
    assert student.config.heads == ("depth", "masks", "fusion")
    assert "Stage depth" in student.card.training
    assert "Stage fusion" in student.card.training
    assert {"depth/abs_rel", "fusion/loss"} <= set(fitted.scores)
    first = rm.load_model(fitted.folder / "1-depth/best", device="cpu").state_dict()
    kept = [name for name in first if name.split(".")[0] in {"backbone", "pyramid", "depth"}]
    assert all((first[name] == student.state_dict()[name]).all() for name in kept)


def test_an_interrupted_workflow_goes_on(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    plain = settings_of(settings)
    real = StudentModule.training_step

    def killed(self: StudentModule, batch: Any, index: int) -> Any:
        if self.stage.name == "fusion":
            raise RuntimeError("gone")
        return real(self, batch, index)

    monkeypatch.setattr(StudentModule, "training_step", killed)
    with pytest.raises(RuntimeError, match="gone"):
        run_workflow(Workflow.from_dict(plain), progress=False)
    monkeypatch.setattr(StudentModule, "training_step", real)
    with pytest.raises(OutputError, match=r"is taken.*run\.resume=true"):
        run_workflow(Workflow.from_dict(plain), progress=False)
    plain["run"]["resume"] = True
    fitted = run_workflow(Workflow.from_dict(plain), progress=False)
    assert fitted.finished
    made = (fitted.folder / "1-depth/run.json").stat().st_mtime_ns
    shutil.rmtree(fitted.folder / "2-fusion")
    run_workflow(Workflow.from_dict(plain), progress=False)
    assert (fitted.folder / "1-depth/run.json").stat().st_mtime_ns == made, "it was kept"


def test_bad_workflows_speak(settings: Settings) -> None:
    for steps, message in (
        ([], "a workflow needs steps"),
        ("depth", "steps must be a list of tables"),
        ([{"stage": "depth"}, {"stage": "dpeth"}], r"step 2 \(dpeth\): config\.stage"),
        ([{"stage": "depth", "optimizer": {"lr": -1}}], r"step 1 \(depth\): optimizer\.lr"),
    ):
        with pytest.raises(InputError, match=message):
            Workflow.from_dict(settings_of(settings, steps=steps))
    fitted = run_workflow(Workflow.from_dict(settings_of(settings)), progress=False)
    other = settings_of(settings)
    other["run"] |= {"root": str(fitted.folder), "name": "1-depth"}
    with pytest.raises(InputError, match="is no workflow but a run of one stage"):
        run_workflow(Workflow.from_dict(other), progress=False)
