"""Scores of validation frames."""

import pytest
import torch

from rangemask.models.config import RangeMaskConfig
from rangemask.models.rangemask import RangeMaskOutput
from rangemask.training.batch import Batch
from rangemask.training.scores import Scores


def test_depth_beyond_what_the_head_can_state_does_not_count() -> None:
    scores = Scores(RangeMaskConfig.preset("nano", ["depth"], max_depth_m=10.0))
    truth = torch.tensor([[[2.0, 4.0, 500.0]]])
    batch = Batch(names=("a",), images=torch.zeros(1, 3, 1, 3), depth=truth)
    scores.update(RangeMaskOutput(depth=torch.tensor([[[2.2, 4.4, 10.0]]])), batch)
    found = scores.result()
    assert found["abs_rel"] == pytest.approx(0.1, rel=1e-4)
    assert found["rmse_m"] < 1
