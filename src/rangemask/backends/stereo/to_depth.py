"""From a match to depth: in metres with a rig, up to one unknown factor without."""

from __future__ import annotations

from rangemask.errors import InputError
from rangemask.geometry import Rig, depth_from_disparity
from rangemask.structures import DepthMap, StereoFrame, StereoMatch

_ASSUMED_FOCAL_SHARE = 0.9
"""Focal length over image width of a common lens (58 degrees); only for frames without a rig."""


def depth_of_match(match: StereoMatch, frame: StereoFrame) -> DepthMap:
    """Depth of a matched pair: in metres with a rig, up to one factor without.

    Raises:
        InputError: the rig has no baseline.
    """
    rig = frame.rig
    if rig is None:
        guess = assumed_rig(frame.width, frame.height)
        values = depth_from_disparity(match.disparity, guess)
        return DepthMap(
            values=values, kind="up_to_scale", confidence=match.confidence, filled=match.filled
        )
    if rig.baseline_m is None:
        raise InputError(
            f"{frame.name}: the rig has no baseline, so disparity has no scale in metres. "
            "Give the rig of the calibrated pair, or none to get disparity alone."
        )
    return DepthMap(
        values=depth_from_disparity(match.disparity, rig),
        confidence=match.confidence,
        filled=match.filled,
    )


def assumed_rig(width: int, height: int) -> Rig:
    """A common lens with a baseline of 1, for geometry up to one unknown factor."""
    return Rig.rectified(
        fx=_ASSUMED_FOCAL_SHARE * width,
        cx=(width - 1) / 2,
        cy=(height - 1) / 2,
        baseline_m=1.0,
        width=width,
        height=height,
    )
