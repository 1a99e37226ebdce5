import json
from pathlib import Path

import pytest

from rangemask.errors import InputError, UnknownNameError
from rangemask.evaluation.opening import open_predictor, open_teachers
from support.students import saved_student


def run_folder(root: Path, **changes: object) -> Path:
    """A training run as it stands on disk, with a student that has a semantic head."""
    root.mkdir()
    state = {"format": "rangemask-run", "format_version": 1, "state": "finished", **changes}
    (root / "run.json").write_text(json.dumps(state))
    (root / "data.json").write_text(json.dumps({"train": ["a", "b"], "val": ["c"]}))
    return root


def test_a_run_is_judged_by_its_best_student(tmp_path: Path) -> None:
    run = run_folder(tmp_path / "run")
    saved_student(run / "best", ("semantic",))
    found = open_predictor(run, device="cpu")
    assert found.name == str(run)
    assert found.kinds == {"semantic"}
    assert found.trained_on == {"a", "b"}


def test_a_student_says_what_its_heads_say(tmp_path: Path) -> None:
    saved_student(tmp_path / "s", ("stereo", "depth", "masks"))
    found = open_predictor(f"student:{tmp_path / 's'}", device="cpu")
    assert found.kinds == {"disparity", "depth", "masks"}
    assert found.labels == ("person", "chair")
    assert open_predictor(tmp_path / "s", device="cpu").kinds == found.kinds


def test_models_by_name() -> None:
    found = open_predictor("sgbm+geometry")
    assert found.name == "sgbm+geometry"
    assert found.kinds == {"disparity", "masks", "semantic"}
    assert open_teachers({"stereo": "sgbm"}).kinds == {"disparity"}


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"format_version": 0}, "an older rangemask .run format 0, this one has 1.*best"),
        ({"format_version": 9}, "a newer rangemask"),
        ({"format": "other"}, "not the folder of a training run"),
        ({"state": "started"}, "holds no student yet .best/.; the run's state is 'started'"),
    ],
)
def test_runs_that_cannot_be_judged_speak(
    tmp_path: Path, changes: dict[str, object], words: str
) -> None:
    run = run_folder(tmp_path / "run", **changes)
    with pytest.raises(InputError, match=words):
        open_predictor(run)


def test_folders_that_are_nothing_speak(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no training run .*, no student .* and no saved scenes"):
        open_predictor(tmp_path)
    (tmp_path / "run.json").write_text("{")
    with pytest.raises(InputError, match="cannot be read"):
        open_predictor(tmp_path)
    (tmp_path / "run.json").write_text("[]")
    with pytest.raises(InputError, match="must hold a table"):
        open_predictor(tmp_path)
    with pytest.raises(UnknownNameError, match=r"no model is called 'sgmb'.*sgbm"):
        open_predictor("sgmb+geometry")
    with pytest.raises(InputError, match=r"holds no config\.json"):
        open_predictor("student:nowhere")


def test_a_student_that_only_answers_prompts_cannot_be_judged(tmp_path: Path) -> None:
    saved_student(tmp_path / "s", ("prompts",))
    with pytest.raises(InputError, match=r"has prompts, and nothing of that can be judged"):
        open_predictor(tmp_path / "s")
    (tmp_path / "s" / "config.json").write_text("{}")
    with pytest.raises(InputError, match="has no settings of a model"):
        open_predictor(tmp_path / "s")
