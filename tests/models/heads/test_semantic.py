"""The semantic head, and ids at full size without full-size logits."""

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from rangemask.errors import InputError
from rangemask.models.heads.semantic import (
    SemanticHead,
    SemanticHeadConfig,
    semantic_ids,
    semantic_logits_at,
)


def test_shapes_and_gradients() -> None:
    torch.manual_seed(0)
    head = SemanticHead(SemanticHeadConfig(classes=("a", "b", "c")), 5)
    logits = head([torch.randn(2, 5, 3, 4) for _ in range(4)])
    assert logits.shape == (2, 3, 3, 4)
    assert semantic_logits_at(logits, (30, 40)).shape == (2, 3, 30, 40)
    logits.square().sum().backward()
    assert all(p.grad is not None and torch.isfinite(p.grad).all() for p in head.parameters())


@settings(deadline=None, max_examples=25)
@given(classes=st.integers(2, 20), seed=st.integers(0, 1000))
def test_ids_are_those_of_the_enlarged_logits(classes: int, seed: int) -> None:
    logits = torch.randn(2, classes, 3, 4, generator=torch.Generator().manual_seed(seed))
    expected = semantic_logits_at(logits, (13, 17)).argmax(dim=1) + 1
    assert torch.equal(semantic_ids(logits, (13, 17)).long(), expected)


def test_one_class_stands_against_all_else() -> None:
    logits = torch.tensor([[[[5.0, -5.0]]]])
    assert semantic_ids(logits, (1, 2)).tolist() == [[[1, 0]]]


@pytest.mark.parametrize(
    ("classes", "words"),
    [((), "1 to 255"), (("a", "a"), "each once"), (("",), "names"), (("x",) * 256, "1 to 255")],
)
def test_bad_classes_are_refused(classes: tuple[str, ...], words: str) -> None:
    with pytest.raises(InputError, match=words):
        SemanticHeadConfig(classes=classes)
