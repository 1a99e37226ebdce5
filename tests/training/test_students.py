"""The student that a run begins with."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from rangemask.errors import InputError
from rangemask.models.pretrained import save_pretrained
from rangemask.training.config import DataConfig, ModelConfig, TrainConfig
from rangemask.training.students import student_for


def _config(stage: str = "stereo", **model: Any) -> TrainConfig:
    return TrainConfig(
        stage=stage,  # type: ignore[arg-type]
        data=DataConfig(size_px=(112, 168)),
        model=ModelConfig(preset="nano", **model),
    )


def test_new_heads_take_options() -> None:
    options = {"stereo": {"max_disparity_px": 48}, "depth": {"max_depth_m": 20.0}}
    student = student_for(_config(heads=("depth", "stereo"), head_options=options), ())
    assert student.config.stereo is not None
    assert student.config.stereo.max_disparity_px == 48
    assert student.config.stereo.iterations == 2  # what the preset says stays
    assert student.config.depth is not None
    assert student.config.depth.max_depth_m == 20.0


def test_a_new_student_looks_at_images_at_the_size_it_learns_from() -> None:
    assert student_for(_config(), ()).config.input_size_px == 112


def test_heads_that_are_added_take_options(tmp_path: Path) -> None:
    save_pretrained(student_for(_config("depth"), ()), tmp_path / "first")
    config = _config(
        start_from=str(tmp_path / "first"), head_options={"stereo": {"max_disparity_px": 32}}
    )
    grown = student_for(config, ())
    assert grown.config.stereo is not None
    assert grown.config.stereo.max_disparity_px == 32


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"stereo": {"max_disparity_px": 30}}, "positive multiple of 16, got 30"),
        ({"stereo": {"disparities": 48}}, r"head_options\.stereo has no disparities"),
        ({"stereo": 48}, "must be a table, got 48"),
        ({"depth": {"max_depth_m": 20.0}}, r"names depth, which is no new head .*\(stereo\)"),
    ],
)
def test_wrong_options_speak(options: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError, match=message):
        student_for(_config(head_options=options), ())


def test_heads_that_are_there_keep_theirs(tmp_path: Path) -> None:
    save_pretrained(student_for(_config(), ()), tmp_path / "first")
    config = _config(
        start_from=str(tmp_path / "first"), head_options={"stereo": {"max_disparity_px": 32}}
    )
    with pytest.raises(InputError, match=r"it has none.*keeps the options"):
        student_for(config, ())
    same = replace(config.model, head_options={"stereo": {"max_disparity_px": 96}})
    assert student_for(replace(config, model=same), ()).config.stereo is not None
    assert student_for(
        replace(config, model=replace(config.model, head_options={})), ()
    ).config.heads == ("stereo",)
