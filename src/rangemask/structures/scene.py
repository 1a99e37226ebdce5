"""``Scene``: everything known about one frame; both paths produce it, all else reads it."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from rangemask._version import __version__
from rangemask.errors import InputError
from rangemask.geometry import Rig
from rangemask.geometry.arrays import BoolMap, FloatMap
from rangemask.structures.frame import StereoFrame
from rangemask.structures.maps import SemanticMap, check_map, check_unit_range
from rangemask.structures.masks import MaskSet
from rangemask.structures.objects import SceneObject
from rangemask.structures.passport import Provenance

MAPS = ("disparity", "depth", "relative_depth", "confidence", "occluded", "filled")
"""All maps that a scene may have."""

_SHOWN = 12
"""Objects that a scene's line names."""
CONFIDENCE_STEPS = 65535
"""A scene holds confidence in steps of 1 / 65535, so that a 16-bit PNG keeps it exactly."""


@dataclass(frozen=True, slots=True, kw_only=True, eq=False, repr=False)
class Scene:
    """One frame with its maps, its objects, and where they come from.

    Raises:
        InputError: a map does not have the frame's size or its stated type.
    """

    frame: StereoFrame
    disparity: FloatMap | None = None
    """(H, W) float32 px, NaN where unknown; None where no pair was matched."""
    depth: FloatMap | None = None
    """(H, W) float32 metres, NaN where unknown; None where the scale is unknown."""
    relative_depth: FloatMap | None = None
    """(H, W) float32, NaN where unknown: what a monocular model says where there are no metres. It
    grows towards the camera, affine in 1 / depth, with neither scale nor zero."""
    confidence: FloatMap | None = None
    """(H, W) float32 in [0, 1], in steps of 1 / 65535."""
    occluded: BoolMap | None = None
    """(H, W): left pixels that the right camera cannot see."""
    filled: BoolMap | None = None
    """(H, W): pixels whose value was guessed from their surroundings."""
    objects: tuple[SceneObject, ...] = ()
    semantic: SemanticMap | None = None
    provenance: Provenance = field(
        default_factory=lambda: Provenance(rangemask_version=__version__)
    )

    def __post_init__(self) -> None:
        shape = (self.frame.height, self.frame.width)
        for name in ("disparity", "depth", "relative_depth", "confidence"):
            values = getattr(self, name)
            if values is not None:
                check_map(values, np.float32, name, shape)
        for name in ("occluded", "filled"):
            values = getattr(self, name)
            if values is not None:
                check_map(values, np.bool_, name, shape)
        if self.semantic is not None:
            check_map(self.semantic.ids, np.uint8, "semantic ids", shape)
        for thing in self.objects:
            if (thing.rle.height, thing.rle.width) != shape:
                raise InputError(f"the mask of object {thing.id} does not have the frame's size.")
        if self.confidence is not None:
            check_unit_range(self.confidence, "confidence")
            steps = np.round(self.confidence * CONFIDENCE_STEPS) / CONFIDENCE_STEPS
            object.__setattr__(self, "confidence", steps.astype(np.float32))

    def __repr__(self) -> str:
        """Size, maps and objects in one line; arrays would fill the screen."""
        there = [name for name in (*MAPS, "semantic") if getattr(self, name) is not None]
        found = [thing.caption for thing in self.objects]
        more = f", and {len(found) - _SHOWN} more" if len(found) > _SHOWN else ""
        return (
            f"Scene({self.name!r}, {self.frame.width} x {self.frame.height} px; "
            f"{', '.join(there) or 'no maps'}; {', '.join(found[:_SHOWN]) or 'no objects'}{more})"
        )

    @property
    def name(self) -> str:
        """The frame's name."""
        return self.frame.name

    @property
    def rig(self) -> Rig | None:
        """The frame's rig."""
        return self.frame.rig

    @property
    def masks(self) -> MaskSet:
        """The masks of all objects, in their order."""
        return MaskSet(
            self.frame.height,
            self.frame.width,
            tuple(thing.rle for thing in self.objects),
            tuple(thing.label for thing in self.objects),
            tuple(thing.score for thing in self.objects),
        )

    def instance_ids(self) -> np.ndarray:
        """(H, W) uint16: the id of the object at each pixel, 0 for none; the nearest one wins."""
        ids = np.zeros((self.frame.height, self.frame.width), dtype=np.uint16)
        for thing in sorted(self.objects, key=_far_to_near):
            ids[thing.mask] = thing.id
        return ids

    def save(self, folder: str | Path, *, overwrite: bool = False) -> Path:
        """Write the scene to ``folder/<name>/``, whole or not at all.

        Returns:
            the folder that was written.

        Raises:
            OutputError: it exists and overwrite is off, or it cannot be written.
        """
        from rangemask.structures.scene_files import save_scene

        return save_scene(self, folder, overwrite=overwrite)

    @classmethod
    def load(cls, folder: str | Path) -> Scene:
        """Read a scene back: ``folder`` holds ``scene.json``, or one folder that does.

        Raises:
            InputError: no scene or several are there, a file is damaged, or the format is
                newer than this program.
        """
        from rangemask.structures.scene_files import load_scene

        return load_scene(folder)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Scene):
            return NotImplemented
        return (
            self.frame == other.frame
            and self.objects == other.objects
            and self.semantic == other.semantic
            and self.provenance == other.provenance
            and all(_same_map(getattr(self, name), getattr(other, name)) for name in MAPS)
        )

    __hash__ = None  # type: ignore[assignment]  # arrays inside


def _far_to_near(thing: SceneObject) -> float:
    return -thing.distance.median if thing.distance.known else -np.inf


def _same_map(first: np.ndarray | None, second: np.ndarray | None) -> bool:
    if first is None or second is None:
        return first is second
    return np.array_equal(first, second, equal_nan=first.dtype.kind == "f")
