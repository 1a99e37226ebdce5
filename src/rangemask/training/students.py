"""The student that a run begins with: new, or an earlier one with the heads that it lacks."""

from __future__ import annotations

import logging
from collections.abc import Collection, Mapping
from dataclasses import asdict, replace
from typing import Any

import torch

from rangemask.errors import InputError
from rangemask.models.card import ModelCard, Source
from rangemask.models.config import HEADS, RangeMaskConfig
from rangemask.models.plain import from_plain
from rangemask.models.pretrained import (
    from_pretrained,
    start_from_backbone,
    start_from_depth_anything,
)
from rangemask.models.published import PUBLISHED, fetch
from rangemask.models.rangemask import RangeMask, build_rangemask
from rangemask.models.weights import find_weights
from rangemask.training.config import TrainConfig
from rangemask.training.stages import STAGES

logger = logging.getLogger(__name__)

DOWNLOAD = "download"


def student_for(config: TrainConfig, classes: tuple[str, ...]) -> RangeMask:
    """The student of a run, with everything that its stage trains.

    Args:
        config: of the run.
        classes: for heads that are new.

    Raises:
        InputError: a checkpoint cannot be used, or classes are missing that a head needs.
    """
    torch.manual_seed(config.run.seed)
    model = config.model
    if model.start_from is not None:
        if model.backbone is not None or model.depth_anything is not None:
            raise InputError(
                "model.start_from brings its own backbone; leave model.backbone and "
                "model.depth_anything out."
            )
        student = _with_heads(from_pretrained(model.start_from), config, classes)
    else:
        student = _new(config, classes)
    if model.trained_blocks is not None:
        blocks = student.backbone.depth if model.trained_blocks == -1 else model.trained_blocks
        student.config = replace(student.config, trained_blocks=blocks)
        student.freeze()
    if model.checkpointing:
        student.backbone.vit.set_grad_checkpointing(True)
    return student


def _new(config: TrainConfig, classes: tuple[str, ...]) -> RangeMask:
    model = config.model
    heads = model.heads if model.heads is not None else _heads_of(config)
    chosen = config.data.classes or classes or ("object",)
    made = RangeMaskConfig.preset(
        model.preset, heads, classes=chosen, max_depth_m=model.max_depth_m
    )
    # It shall look at images at the size that it learns from.
    made = replace(made, input_size_px=min(config.data.size_px))
    made = _with_options(made, model.head_options, made.heads)
    student = build_rangemask(made)
    name = made.backbone
    if model.depth_anything is not None:
        source = _source(f"depth-anything-v2-{model.preset}", "backbone, pyramid, depth")
        start_from_depth_anything(student, find_weights(model.depth_anything), source)
    elif model.backbone is not None:
        path = fetch(name) if model.backbone == DOWNLOAD else find_weights(model.backbone)
        start_from_backbone(student, path, _source(name, "backbone"))
    elif model.preset != "nano" and not made.trained_blocks and not model.trained_blocks:
        logger.warning(
            "the backbone is frozen and has random weights: heads learn little from it. Give "
            "model.backbone=FILE (or %s), model.depth_anything=FILE, or model.trained_blocks=-1.",
            DOWNLOAD,
        )
    return student


def _heads_of(config: TrainConfig) -> tuple[str, ...]:
    stage = STAGES[config.stage]
    asked = {*stage.asks, *stage.trains}
    return tuple(head for head in HEADS if head in asked)


def _with_heads(student: RangeMask, config: TrainConfig, classes: tuple[str, ...]) -> RangeMask:
    """The same student, with new heads where the stage needs some that it lacks."""
    asked = config.model.heads if config.model.heads is not None else STAGES[config.stage].trains
    missing = [head for head in HEADS if head in asked and head not in student.config.heads]
    if not missing:
        _with_options(student.config, config.model.head_options, ())
        return student
    chosen = config.data.classes or classes or ("object",)
    size = student.config.backbone.removeprefix("dinov2-").removesuffix("-reg")
    fresh = RangeMaskConfig.preset(
        "large" if size == "giant" else size,
        missing if missing != ["fusion"] else ["fusion", "depth"],
        classes=chosen,
        max_depth_m=config.model.max_depth_m,
    )
    fresh = _with_options(fresh, config.model.head_options, missing)
    new = {head: getattr(fresh, head) for head in missing}
    grown = build_rangemask(replace(student.config, **new), student.card)
    kept = student.state_dict()
    lacking = [name for name in grown.state_dict() if name not in kept]
    outcome = grown.load_state_dict(kept, strict=False)
    if outcome.unexpected_keys or sorted(outcome.missing_keys) != sorted(lacking):
        raise InputError(
            f"the student has {', '.join(student.config.heads)}; {', '.join(missing)} cannot be "
            f"added to it ({', '.join(outcome.unexpected_keys[:3])} do not fit)."
        )
    logger.info("new heads with random weights: %s", ", ".join(missing))
    return grown


def _with_options(
    student: RangeMaskConfig, options: Mapping[str, Mapping[str, Any]], new: Collection[str]
) -> RangeMaskConfig:
    """The configuration with what is asked of its new heads."""
    for head, values in options.items():
        now: Any = getattr(student, head, None)
        if not isinstance(values, Mapping):
            raise InputError(f"model.head_options.{head} must be a table, got {values!r}.")
        if head not in new:
            if now is not None and {**asdict(now), **values} == asdict(now):
                continue  # as a workflow says it in every step
            raise InputError(
                f"model.head_options names {head}, which is no new head of this student "
                f"({', '.join(new) or 'it has none'}); a head keeps the options that it began with."
            )
        changed = {**asdict(now), **values}
        where = f"model.head_options.{head}"
        student = replace(student, **{head: from_plain(type(now), changed, where)})
    return student


def _source(name: str, role: str) -> Source:
    """Published weights with their terms; of others nothing is known."""
    published = PUBLISHED.get(name)
    if published is None:
        return Source(name=name, role=role, licence="unknown")
    return Source(name=name, role=role, licence=published.licence, terms=published.terms)


def trained_card(card: ModelCard, sources: tuple[Source, ...], training: str) -> ModelCard:
    """The card of a student that has learnt: labels bind it as weights do."""
    known = dict.fromkeys((*card.sources, *sources))
    before = "" if card.training.startswith("None") else f"{card.training} "
    return replace(card, sources=tuple(known), training=f"{before}{training}")
