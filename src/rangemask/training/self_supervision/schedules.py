"""What changes while training goes on, as functions of progress in [0, 1]."""

from __future__ import annotations

import math

from rangemask.training.self_supervision.config import DinoAdaptationConfig


def teacher_temperature(config: DinoAdaptationConfig, progress: float) -> float:
    """Of the teacher's softmax: linear up to ``temperature_warmup``, constant from there."""
    first, last = config.teacher_temperature
    done = min(progress / config.temperature_warmup, 1.0) if config.temperature_warmup else 1.0
    return first + (last - first) * done


def teacher_momentum(config: DinoAdaptationConfig, progress: float) -> float:
    """Share of its old self that the teacher keeps at a step; along a cosine."""
    first, last = config.momentum
    return last - (last - first) * _cosine(progress)


def learning_rate_factor(config: DinoAdaptationConfig, progress: float, *, backbone: bool) -> float:
    """By how much the learning rate of a parameter group is multiplied.

    Args:
        config: the schedule.
        progress: share of optimiser steps done.
        backbone: the group belongs to the backbone, which waits for its heads.
    """
    start = config.head_warmup if backbone else 0.0
    if progress < start or start >= 1:
        return 0.0
    rising = min((progress - start) / config.lr_warmup, 1.0) if config.lr_warmup else 1.0
    return rising * (config.lr_end + (1 - config.lr_end) * _cosine(progress))


def backbone_learns(config: DinoAdaptationConfig, progress: float) -> bool:
    """Whether the warm-up of the heads is over."""
    return progress >= config.head_warmup


def _cosine(progress: float) -> float:
    """From 1 at the start to 0 at the end."""
    return 0.5 * (1 + math.cos(math.pi * min(max(progress, 0.0), 1.0)))
