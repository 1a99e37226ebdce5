"""A scene against the true disparity of its pair: pixels, and distances of objects."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from rangemask.errors import InputError
from rangemask.geometry import depth_from_disparity
from rangemask.geometry.arrays import FloatMap
from rangemask.metrics.disparity import DisparityMetrics, disparity_metrics
from rangemask.structures import Scene


@dataclass(frozen=True, slots=True, kw_only=True)
class ObjectError:
    """One object's distance against the true depth under its mask."""

    id: int
    true_median_m: float | None
    """Median true depth of all pixels of the mask, m; None where none is known."""
    error_share: float | None
    """How far the distance is off, relative to the true median; None where either is unknown."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SceneTruth:
    """How far a scene is from the truth."""

    disparity: DisparityMetrics
    objects: tuple[ObjectError, ...]

    def to_dict(self) -> dict[str, Any]:
        """As plain values, for JSON."""
        return {
            "disparity": self.disparity.to_dict(),
            "objects": [
                {
                    "id": thing.id,
                    "true_median_m": thing.true_median_m,
                    "error_share": thing.error_share,
                }
                for thing in self.objects
            ],
        }


def compare_with_truth(scene: Scene, truth_px: FloatMap) -> SceneTruth:
    """Measure a scene's disparity and distances.

    Args:
        scene: with disparity and a rig.
        truth_px: (H, W) true disparity, px, NaN where unknown.

    Raises:
        InputError: the scene has no disparity or no rig.
    """
    if scene.disparity is None or scene.rig is None:
        raise InputError(f"{scene.name}: only a matched pair with a rig can be compared.")
    true_depth_m = depth_from_disparity(truth_px, scene.rig)
    objects = []
    for thing in scene.objects:
        inside = true_depth_m[thing.mask]
        inside = inside[np.isfinite(inside)]
        true_m = float(np.median(inside)) if inside.size else None
        known = true_m is not None and thing.distance.known
        objects.append(
            ObjectError(
                id=thing.id,
                true_median_m=true_m,
                error_share=abs(thing.distance.median / true_m - 1) if known and true_m else None,
            )
        )
    return SceneTruth(
        disparity=disparity_metrics(scene.disparity, truth_px), objects=tuple(objects)
    )
