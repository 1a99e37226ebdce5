"""Rendered pairs with exact truth, as examples."""

from __future__ import annotations

import pytest

from rangemask.data.sample import Sample
from rangemask.training.batch import Example
from rangemask.training.examples import to_example
from support.training_pairs import ALL, DENSE, sample_of


@pytest.fixture(scope="session")
def samples() -> list[Sample]:
    return [sample_of(seed) for seed in range(3)]


@pytest.fixture(scope="session")
def dense(samples: list[Sample]) -> list[Example]:
    """Pairs with disparity, depth, weight and semantic map."""
    return [to_example(sample, DENSE) for sample in samples]


@pytest.fixture(scope="session")
def masked(samples: list[Sample]) -> list[Example]:
    """The same with masks as well."""
    return [to_example(sample, ALL) for sample in samples]
