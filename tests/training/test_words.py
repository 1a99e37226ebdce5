"""Scores in words."""

import pytest

from rangemask.training.plots import PLOTS
from rangemask.training.scores import DIRECTIONS
from rangemask.training.self_supervision.guard import GuardNumbers
from rangemask.training.words import NAMES, in_words, name_of, value_of


def test_every_score_has_a_name() -> None:
    drawn = {name.partition("/")[2] for series in PLOTS.values() for name in series}
    assert {*DIRECTIONS, *GuardNumbers.__dataclass_fields__, *drawn} <= set(NAMES)


@pytest.mark.parametrize(
    ("score", "value", "words"),
    [
        ("miou", 0.5437, "54.4 %"),
        ("knn", 28.35, "28.4 %"),
        ("rmse_m", 1.528, "1.53 m"),
        ("epe_px", 0.6107, "0.611 px"),
        ("patch_drift", 1.7e-11, "< 0.0001"),
        ("patch_drift", 0.0, "0"),
        ("depth/rmse_m", 2.0, "2 m"),
    ],
)
def test_values_carry_their_units(score: str, value: float, words: str) -> None:
    assert value_of(score, value) == words


def test_a_score_of_a_workflow_names_its_step() -> None:
    assert name_of("depth/rmse_m") == "depth, RMSE, after depth"
    assert in_words({"miou": 0.5, "ap50": 0.25}) == "masks, AP50 25.0 %; classes, mean IoU 50.0 %"
