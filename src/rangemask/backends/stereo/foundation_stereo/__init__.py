"""Stereo matcher ``foundation-stereo``: the disparity teacher that users have."""

from __future__ import annotations

import logging
from typing import Any

from rangemask.backends.options import LoadOptions, make_config
from rangemask.backends.stereo.foundation_stereo.config import (
    FoundationStereoOptions,
    settings_beside,
)
from rangemask.backends.stereo.foundation_stereo.matcher import (
    FoundationStereoMatch,
    FoundationStereoMatcher,
    with_options,
)
from rangemask.models.foundation_stereo.loading import load_foundation_stereo
from rangemask.models.placement import find_device, find_precision
from rangemask.models.weights import find_weights, sha256_of
from rangemask.structures import Passport

__all__ = [
    "FoundationStereoMatch",
    "FoundationStereoMatcher",
    "FoundationStereoOptions",
    "build",
]

logger = logging.getLogger(__name__)

NAME = "foundation-stereo"
LICENCE = "NVIDIA non-commercial, research use only"
"""Of the published weights; the code here is our own."""


def build(given: LoadOptions, **options: Any) -> FoundationStereoMatcher:
    """The matcher for the registry; the log says once under which terms the weights are.

    Raises:
        InputError: there is no checkpoint, or it cannot be used; or an option is unknown or
            impossible.
    """
    asked = make_config(NAME, FoundationStereoOptions, options)
    settings = {} if given.checkpoint is None else settings_beside(find_weights(given.checkpoint))
    completed = asked.completed(settings)
    network, source = load_foundation_stereo(
        given.checkpoint,
        device=given.device,
        precision=given.precision,
        attention=completed.attention,
        vit=settings.get("vit_size"),
    )
    logger.warning(
        "%s: these weights (%s) are for research use only, by their licence; so is what they make",
        *(NAME, source.name),
    )
    passport = Passport(
        role="stereo",
        model=NAME,
        licence=LICENCE,
        licence_class="research-only",
        weights=source.name,
        weights_sha256=sha256_of(source),
    )
    dtype = find_precision(given.precision, find_device(given.device))
    passport = with_options(passport, completed, given.precision)
    return FoundationStereoMatcher(network, passport, completed, dtype)
