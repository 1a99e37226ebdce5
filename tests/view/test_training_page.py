"""The page of a training run."""

import json
from pathlib import Path

import numpy as np
import pytest

from rangemask.errors import InputError
from rangemask.view.training_page import _ids_picture, write_training_page


def test_every_class_has_its_colour_and_the_unknown_is_black() -> None:
    picture = _ids_picture(np.array([[0, 1, 2, 4]], dtype=np.uint8))
    colours = [tuple(colour) for colour in picture[0].tolist()]
    assert colours[0] == (0, 0, 0)
    assert len(set(colours)) == 4


def test_a_page_names_state_epochs_and_damaged_predictions(tmp_path: Path) -> None:
    state = {"stage": "depth", "state": "finished", "best": {"abs_rel": 0.25}}
    (tmp_path / "run.json").write_text(json.dumps(state))
    epoch = tmp_path / "predictions/epoch_003"
    epoch.mkdir(parents=True)
    depth = np.ones((4, 6), dtype=np.float32)
    image = np.zeros((4, 6, 3), dtype=np.uint8)
    np.savez_compressed(epoch / "a.npz", image=image, depth_m=depth, true_depth_m=depth)
    (epoch / "b.npz").write_bytes(b"cut")
    page = write_training_page(tmp_path).read_text()
    assert "Epoch 3" in page
    assert "0.25" in page
    assert page.count("<img") == 3
    assert "b: " in page


def test_the_page_of_a_workflow_leads_to_those_of_its_steps(tmp_path: Path) -> None:
    for number, stage in enumerate(("depth", "masks"), start=1):
        step = tmp_path / f"{number}-{stage}"
        step.mkdir()
        best = {"abs_rel": 0.25} if stage == "depth" else {"ap50": 0.5}
        state = {"stage": stage, "state": "finished", "best": best}
        (step / "run.json").write_text(json.dumps(state))
    whole = {"stage": "workflow", "state": "finished", "best": {"depth/abs_rel": 0.25}}
    (tmp_path / "run.json").write_text(json.dumps(whole))
    page = write_training_page(tmp_path).read_text()
    assert page.index('href="1-depth/report.html"') < page.index('href="2-masks/report.html"')
    assert "50.0 %" in page
    assert "Predictions stand" not in page, "there are none"
    assert "depth, relative error" in (tmp_path / "1-depth/report.html").read_text()


def test_other_folders_speak(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is not the folder of a training run"):
        write_training_page(tmp_path)
