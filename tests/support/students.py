"""Students for tests: tiny, random, of any heads."""

from pathlib import Path

import torch

from rangemask.models.config import HEADS, RangeMaskConfig
from rangemask.models.rangemask import RangeMask, build_rangemask


def nano_student(
    heads: tuple[str, ...] = HEADS, *, max_depth_m: float | None = 10.0, seed: int = 0
) -> RangeMask:
    """A student that finds some objects, though they mean nothing."""
    torch.manual_seed(seed)
    config = RangeMaskConfig.preset(
        "nano", heads, classes=("person", "chair"), max_depth_m=max_depth_m
    )
    student = build_rangemask(config).train(False)
    if student.masks is not None:
        # Random queries are sure of nothing; these are sure of a class.
        torch.nn.init.normal_(student.masks.class_logits.weight, std=2)
    return student


def saved_student(folder: Path, heads: tuple[str, ...] = HEADS, **changes: float | None) -> Path:
    """A student on disk."""
    return nano_student(heads, **changes).save_pretrained(folder)
