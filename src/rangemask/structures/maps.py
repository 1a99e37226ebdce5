"""What stereo matchers and depth models give: maps on the left image's grid."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np

from rangemask.errors import InputError
from rangemask.geometry.arrays import BoolMap, FloatMap, LabelMap

DepthKind: TypeAlias = Literal["metric_m", "up_to_scale", "relative_inverse"]
"""Metres; metres times one unknown positive factor; or a monocular model's output, which has
neither scale nor zero and grows towards the camera."""

DEPTH_KINDS: tuple[DepthKind, ...] = ("metric_m", "up_to_scale", "relative_inverse")


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class StereoMatch:
    """What a stereo matcher found for one frame.

    Raises:
        InputError: a map has another shape or type than stated, or a confidence is outside
            [0, 1].
    """

    disparity: FloatMap
    """(H, W) float32 px, NaN where unknown; left pixel x matches right pixel x - disparity."""
    confidence: FloatMap
    """(H, W) float32 in [0, 1]; 0 where disparity is unknown."""
    occluded: BoolMap
    """(H, W): left pixels whose partner the right camera cannot see."""
    filled: BoolMap
    """(H, W): pixels whose disparity was guessed from their surroundings, not matched."""

    def __post_init__(self) -> None:
        shape = self.disparity.shape
        check_map(self.disparity, np.float32, "disparity", shape)
        check_map(self.confidence, np.float32, "confidence", shape)
        check_map(self.occluded, np.bool_, "occluded", shape)
        check_map(self.filled, np.bool_, "filled", shape)
        check_unit_range(self.confidence, "confidence")


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class DepthMap:
    """Depth along the left optical axis, with its kind, so that it cannot be misread.

    Raises:
        InputError: wrong shape or type, or an unknown kind.
    """

    values: FloatMap
    """(H, W) float32, NaN where unknown."""
    kind: DepthKind = "metric_m"
    confidence: FloatMap | None = None
    """(H, W) float32 in [0, 1], or None where the model does not tell."""
    filled: BoolMap | None = None
    """(H, W): guessed from the surroundings; None where nothing was."""

    def __post_init__(self) -> None:
        if self.kind not in DEPTH_KINDS:
            raise InputError(f"kind must be one of {', '.join(DEPTH_KINDS)}, got {self.kind!r}.")
        check_map(self.values, np.float32, "depth", self.values.shape)
        if self.confidence is not None:
            check_map(self.confidence, np.float32, "confidence", self.values.shape)
            check_unit_range(self.confidence, "confidence")
        if self.filled is not None:
            check_map(self.filled, np.bool_, "filled", self.values.shape)

    @property
    def metres(self) -> FloatMap:
        """(H, W) float32 metres.

        Raises:
            InputError: the map has no scale.
        """
        if self.kind != "metric_m":
            raise InputError(
                f"this depth map is {self.kind}: it has no scale in metres. Give a rig with a "
                "baseline, a metric model, or align it to a metric reference."
            )
        return self.values


@dataclass(frozen=True, slots=True, eq=False)
class SemanticMap:
    """A class for each pixel.

    Raises:
        InputError: ids are not uint8 (H, W), or one has no name.
    """

    ids: LabelMap
    """(H, W) uint8 indices into names; 0 is unknown."""
    names: tuple[str, ...]

    def __post_init__(self) -> None:
        check_map(self.ids, np.uint8, "semantic ids", self.ids.shape)
        if self.ids.size and int(self.ids.max()) >= len(self.names):
            raise InputError(
                f"semantic id {int(self.ids.max())} has no name; {len(self.names)} names given."
            )

    def mask(self, name: str) -> BoolMap:
        """(H, W): the pixels of one class.

        Raises:
            InputError: no class has that name.
        """
        if name not in self.names:
            raise InputError(f"no class {name!r}; this map knows {', '.join(self.names)}.")
        return np.equal(self.ids, self.names.index(name))

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, SemanticMap):
            return NotImplemented
        return self.names == other.names and np.array_equal(self.ids, other.ids)

    __hash__ = None  # type: ignore[assignment]  # arrays inside


def check_map(
    array: np.ndarray, dtype: type[np.generic], what: str, shape: tuple[int, ...]
) -> None:
    """Fail in words unless the array is 2-D, of the type and of the shape.

    Raises:
        InputError: it is not.
    """
    if not isinstance(array, np.ndarray) or array.ndim != 2:
        found = getattr(array, "shape", type(array).__name__)
        raise InputError(f"{what} must be an array of shape (H, W), got {found}.")
    if array.shape != shape:
        raise InputError(f"{what} must have shape {shape}, got {array.shape}.")
    if array.dtype != dtype:
        raise InputError(f"{what} must be {np.dtype(dtype).name}, got {array.dtype}.")


def check_unit_range(values: FloatMap, what: str) -> None:
    """Fail in words unless all values are within [0, 1].

    Raises:
        InputError: one is outside or NaN.
    """
    if values.size and not (values.min() >= 0 and values.max() <= 1):
        raise InputError(
            f"{what} must lie within [0, 1], got {values.min():g} to {values.max():g}."
        )
