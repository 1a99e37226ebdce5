"""The stereo matcher ``sgbm``: a rectified pair to disparity, without weights."""

from __future__ import annotations

from dataclasses import asdict

import numpy as np

from rangemask.backends.stereo.sgbm.config import SgbmConfig
from rangemask.backends.stereo.sgbm.opencv import match_opencv
from rangemask.backends.stereo.sgbm.range_search import find_span
from rangemask.backends.stereo.sgbm.semiglobal import match_semiglobal
from rangemask.backends.stereo.sgbm.subpixel import refine_subpixel
from rangemask.backends.stereo.sgbm.surface import build_surface
from rangemask.errors import InputError
from rangemask.structures import Passport, StereoFrame, StereoMatch

LEAST_SIDE_PX = 2
"""A single row or column has no neighbourhood to compare."""


class SgbmMatcher:
    """Semi-global matching (Hirschmueller, PAMI 2008), checked, repaired and judged."""

    name = "sgbm"

    def __init__(self, config: SgbmConfig | None = None) -> None:
        self.config = config or SgbmConfig()

    @property
    def passport(self) -> Passport:
        """What it is and under which licence."""
        return Passport(
            role="stereo",
            model=self.name,
            licence="Apache-2.0 (OpenCV)",
            licence_class="commercial-ok",
            options=asdict(self.config),
        )

    def __call__(self, frame: StereoFrame) -> StereoMatch:
        """Match one rectified frame.

        Raises:
            InputError: the frame has no right image, or the search range cannot be had.
        """
        if frame.right is None:
            raise InputError(
                f"{frame.name}: stereo matching needs a left and a right image, and this frame "
                "has only one. Give the right image, or use a depth model instead."
            )
        span = find_span(self.config, frame.left, frame.right, frame.rig)
        if span is None or min(frame.left.shape[:2]) < LEAST_SIDE_PX:
            return _nothing_matched(frame.left.shape[:2])
        match = match_semiglobal if self.config.quality == "best" else match_opencv
        surface = build_surface(frame.left, match(frame.left, frame.right, span))
        disparity_px = surface.disparity_px
        if self.config.quality == "best":
            between_px = refine_subpixel(frame.left, frame.right, disparity_px)
            disparity_px = np.where(surface.matched, between_px, disparity_px)
        given = np.isfinite(disparity_px)
        if not self.config.fill:
            given &= surface.matched
        return StereoMatch(
            disparity=np.where(given, disparity_px, np.float32(np.nan)),
            confidence=np.where(given, surface.confidence, np.float32(0.0)),
            occluded=surface.occluded,
            filled=given & ~surface.matched,
        )


def _nothing_matched(shape: tuple[int, int]) -> StereoMatch:
    return StereoMatch(
        disparity=np.full(shape, np.nan, np.float32),
        confidence=np.zeros(shape, np.float32),
        occluded=np.zeros(shape, np.bool_),
        filled=np.zeros(shape, np.bool_),
    )
