"""What each stage trains, what it learns from, and how it is judged."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from rangemask.errors import InputError
from rangemask.models.config import RangeMaskConfig
from rangemask.training.config import StageName
from rangemask.training.examples import Need, Wanted


@dataclass(frozen=True, kw_only=True, slots=True)
class Stage:
    """One stage."""

    name: StageName
    trains: tuple[str, ...]
    """Heads that learn, of those that the student has."""
    asks: tuple[str, ...]
    """Heads that are computed, of those that the student has."""
    score: str
    """What the best checkpoint is best in."""


STAGES: Mapping[StageName, Stage] = MappingProxyType(
    {
        "depth": Stage(name="depth", trains=("depth",), asks=("depth",), score="abs_rel"),
        "stereo": Stage(
            name="stereo",
            trains=("stereo",),
            asks=("stereo",),
            score="epe_px",
        ),
        "masks": Stage(
            name="masks",
            trains=("masks", "prompts"),
            asks=("masks", "prompts"),
            score="ap50",
        ),
        "semantic": Stage(
            name="semantic",
            trains=("semantic",),
            asks=("semantic",),
            score="miou",
        ),
        "fusion": Stage(
            name="fusion",
            trains=("fusion",),
            asks=("depth", "masks", "fusion"),
            score="loss",
        ),
        "joint": Stage(
            name="joint",
            trains=("depth", "stereo", "masks", "prompts", "semantic", "fusion"),
            asks=("depth", "stereo", "masks", "prompts", "semantic", "fusion"),
            score="loss",
        ),
    }
)
"""All but ``backbone``, which learns without labels."""


_LEARNS_FROM: Mapping[str, tuple[Need, ...]] = MappingProxyType(
    {
        "depth": ("depth",),
        "stereo": ("right", "disparity"),
        "masks": ("masks",),
        "prompts": ("masks",),
        "semantic": ("semantic",),
    }
)


def asked_of(stage: Stage, config: RangeMaskConfig) -> tuple[str, ...]:
    """The heads that a stage computes for a student.

    Fusion refines the disparity of a pair or else depth; with both heads it learns on depth,
    which needs no pairs.
    """
    asked = tuple(head for head in stage.asks if head in config.heads)
    if stage.name == "fusion" and "depth" not in asked and "stereo" in config.heads:
        return ("stereo", *asked)
    return asked


def needs_of(stage: Stage, config: RangeMaskConfig) -> frozenset[Need]:
    """The labels that a stage needs for a student."""
    return frozenset(
        need for head in asked_of(stage, config) for need in _LEARNS_FROM.get(head, ())
    )


def wanted_of(stage: Stage, config: RangeMaskConfig) -> Wanted:
    """What is made of each sample.

    Raises:
        InputError: the student has none of the heads that the stage trains, or two heads of
            different classes.
    """
    there = [head for head in stage.trains if head in config.heads]
    if not there:
        raise InputError(
            f"stage {stage.name} trains {' and '.join(stage.trains)}, and this student has "
            f"{', '.join(config.heads)} only."
        )
    asked = needs_of(stage, config)
    classes: list[tuple[str, ...]] = []
    if "masks" in asked and config.masks is not None:
        classes.append(config.masks.classes)
    if "semantic" in asked and config.semantic is not None:
        classes.append(config.semantic.classes)
    if len(set(classes)) > 1:
        raise InputError(
            f"masks and semantic learn together and must have one list of classes, got "
            f"{', '.join(classes[0])} and {', '.join(classes[1])}."
        )
    relative = config.depth is not None and config.depth.max_depth_m is None
    return Wanted(
        needs=asked,
        classes=classes[0] if classes else (),
        depth="relative_inverse" if relative else "metric_m",
    )
