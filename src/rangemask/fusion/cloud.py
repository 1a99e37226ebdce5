"""Coloured, labelled point clouds: from a depth map, thinned, and to and from PLY files.

Points are metres in the left camera's frame: x right, y down, z forward.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from rangemask.atomic import atomic_file
from rangemask.errors import InputError
from rangemask.fusion.cleaning import CloudCleaning, clean_pixels
from rangemask.geometry import Rig, back_project
from rangemask.geometry.arrays import AnyArray, BoolMap, FloatMap, ImageArray, PointArray
from rangemask.structures.maps import DepthMap, check_map

_COMMENTS = (
    "rangemask point cloud",
    "units metres",
    "frame left camera, x right, y down, z forward",
    "label 0 belongs to no object",
)


@dataclass(frozen=True, slots=True, eq=False)
class PointCloud:
    """Points with a colour and a label each.

    Raises:
        InputError: an array has another shape or type than stated.
    """

    points_m: PointArray
    """(N, 3) float32 metres, no NaN."""
    colours: NDArray[np.uint8]
    """(N, 3) RGB."""
    labels: NDArray[np.uint16]
    """(N,) instance or class ids; 0 for none."""
    confidence: FloatMap | None = None
    """(N,) float32 in [0, 1]."""

    def __post_init__(self) -> None:
        count = len(self.points_m)
        _check(self.points_m, np.float32, (count, 3), "points_m")
        _check(self.colours, np.uint8, (count, 3), "colours")
        _check(self.labels, np.uint16, (count,), "labels")
        if self.confidence is not None:
            _check(self.confidence, np.float32, (count,), "confidence")

    def __len__(self) -> int:
        return len(self.points_m)

    def select(self, keep: AnyArray) -> PointCloud:
        """Some of the points: by (N,) bool or by indices."""
        confidence = None if self.confidence is None else self.confidence[keep]
        return PointCloud(self.points_m[keep], self.colours[keep], self.labels[keep], confidence)

    def within(self, *, max_range_m: float) -> PointCloud:
        """The points at most so far along the optical axis.

        Raises:
            InputError: the range is not positive.
        """
        _check_positive("max_range_m", max_range_m)
        return self.select(self.points_m[:, 2] <= max_range_m)

    def voxels(self, size_m: float) -> PointCloud:
        """One point for each occupied cube: mean place, colour and confidence, commonest label.

        Args:
            size_m: edge of a cube, m.

        Raises:
            InputError: the size is not positive, or too small for the extent of the cloud.
        """
        _check_positive("size_m", size_m)
        if len(self) == 0:
            return self
        cube, cubes = _cubes(self.points_m, size_m)
        count = np.bincount(cube, minlength=cubes)

        def mean(values: AnyArray) -> AnyArray:
            return np.asarray(np.bincount(cube, weights=values, minlength=cubes)) / count

        points = np.stack([mean(axis) for axis in self.points_m.T], axis=1).astype(np.float32)
        colours = np.stack([mean(channel) for channel in self.colours.T], axis=1)
        return PointCloud(
            points,
            np.round(colours).astype(np.uint8),
            _commonest(cube, self.labels, cubes),
            None if self.confidence is None else mean(self.confidence).astype(np.float32),
        )

    def save(self, path: str | Path) -> None:
        """Write a binary PLY file, whole or not at all.

        Vertices have x y z (float), red green blue (uchar), label (ushort) and, where there is
        one, confidence (float); comments name units and frame.

        Raises:
            OutputError: the file cannot be written.
        """
        vertices = np.empty(
            len(self), dtype=_vertex_type(with_confidence=self.confidence is not None)
        )
        for i, axis in enumerate("xyz"):
            vertices[axis] = self.points_m[:, i]
        for i, channel in enumerate(("red", "green", "blue")):
            vertices[channel] = self.colours[:, i]
        vertices["label"] = self.labels
        if self.confidence is not None:
            vertices["confidence"] = self.confidence
        with atomic_file(path) as staging, staging.open("wb") as file:
            file.write(_header(vertices))
            file.write(vertices.tobytes())

    @classmethod
    def load(cls, path: str | Path) -> PointCloud:
        """Read a PLY file; colours and labels that are missing become grey and 0.

        Raises:
            InputError: the file is missing, damaged, or holds no x, y, z.
        """
        from plyfile import PlyData, PlyParseError

        path = Path(path)
        if not path.is_file():
            raise InputError(f"{path}: expected a point cloud (.ply), but there is no such file.")
        try:
            # Mapped, because plyfile reads unmapped files point by point; copied, to let go of it.
            data = np.array(PlyData.read(os.fspath(path))["vertex"].data)
        except (PlyParseError, KeyError, ValueError, OSError, UnicodeDecodeError) as error:
            raise InputError(f"{path}: not a PLY file, or damaged ({error}).") from error
        names = data.dtype.names or ()
        if not {"x", "y", "z"} <= set(names):
            raise InputError(f"{path}: a point cloud has x, y and z, found {', '.join(names)}.")
        colours = np.full((len(data), 3), 128, dtype=np.uint8)
        if {"red", "green", "blue"} <= set(names):
            colours = np.stack([data[name] for name in ("red", "green", "blue")], axis=1)
        labels = data["label"] if "label" in names else np.zeros(len(data))
        return cls(
            np.stack([data[axis] for axis in "xyz"], axis=1).astype(np.float32),
            colours.astype(np.uint8),
            np.asarray(labels, dtype=np.uint16),
            np.asarray(data["confidence"], dtype=np.float32) if "confidence" in names else None,
        )

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, PointCloud):
            return NotImplemented
        return (
            np.array_equal(self.points_m, other.points_m)
            and np.array_equal(self.colours, other.colours)
            and np.array_equal(self.labels, other.labels)
            and (self.confidence is None) == (other.confidence is None)
            and (
                self.confidence is None
                or other.confidence is None
                or np.array_equal(self.confidence, other.confidence)
            )
        )

    __hash__ = None  # type: ignore[assignment]  # arrays inside


def cloud_from_depth(
    depth: DepthMap,
    rig: Rig,
    image: ImageArray,
    labels: NDArray[np.uint16] | NDArray[np.uint8] | None = None,
    *,
    cleaning: CloudCleaning | None = None,
    keep: BoolMap | None = None,
) -> PointCloud:
    """The points that the left image's pixels see, row by row.

    Args:
        depth: metric, H x W px; unknown pixels give no points.
        rig: straight left camera of W x H px.
        image: (H, W, 3) uint8 RGB, the left image.
        labels: (H, W) instance or class ids; 0 everywhere without them.
        cleaning: what to leave out; everything known is kept without it.
        keep: (H, W), pixels that may give points.

    Raises:
        InputError: depth is not metric, or sizes differ, or the lens is distorted.
    """
    z = depth.metres
    shape = z.shape
    if image.shape != (*shape, 3) or image.dtype != np.uint8:
        raise InputError(f"the image must be uint8 {(*shape, 3)}, got {image.dtype} {image.shape}.")
    chosen = np.isfinite(z) & (z > 0)
    if keep is not None:
        check_map(keep, np.bool_, "keep", shape)
        chosen &= keep
    if labels is None:
        labels = np.zeros(shape, dtype=np.uint16)
    if labels.shape != shape or labels.dtype.kind != "u":
        raise InputError(f"labels must be unsigned {shape}, got {labels.dtype} {labels.shape}.")
    try:
        points = back_project(np.where(chosen, z, np.float32(np.nan)), rig)
    except ValueError as error:
        raise InputError(f"no point cloud: {error}") from error
    if cleaning is not None:
        chosen &= clean_pixels(points, rig.fx, cleaning, depth.confidence)
    return PointCloud(
        points[chosen],
        image[chosen],
        labels[chosen].astype(np.uint16),
        None if depth.confidence is None else depth.confidence[chosen],
    )


def _cubes(points_m: PointArray, size_m: float) -> tuple[NDArray[np.int64], int]:
    """(N,) which cube each point is in, numbered from 0, and how many there are."""
    low = points_m.min(axis=0)
    place = np.floor((points_m - low) / np.float32(size_m)).astype(np.int64)
    sides = [int(side) for side in place.max(axis=0) + 1]
    if sides[0] * sides[1] * sides[2] >= 2**62:
        raise InputError(f"cubes of {size_m:g} m are too small for a cloud of this extent.")
    key = (place[:, 2] * sides[1] + place[:, 1]) * sides[0] + place[:, 0]
    found, cube = np.unique(key, return_inverse=True)
    return cube, found.size


def _commonest(cube: NDArray[np.int64], labels: NDArray[np.uint16], cubes: int) -> AnyArray:
    """(cubes,) the label that most points of each cube have; the smallest where several do."""
    pairs, votes = np.unique((cube << 16) | labels, return_counts=True)
    # Sorted by cube, then votes, then label backwards: the last of each cube wins.
    order = np.lexsort((-(pairs & 0xFFFF), votes, pairs >> 16))
    winners = np.empty(cubes, dtype=np.uint16)
    winners[(pairs >> 16)[order]] = (pairs & 0xFFFF)[order]
    return winners


def _vertex_type(*, with_confidence: bool) -> np.dtype[np.void]:
    fields = [(axis, "<f4") for axis in "xyz"]
    fields += [(channel, "u1") for channel in ("red", "green", "blue")]
    fields.append(("label", "<u2"))
    return np.dtype(fields + ([("confidence", "<f4")] if with_confidence else []))


def _header(vertices: AnyArray) -> bytes:
    kinds = {"<f4": "float", "|u1": "uchar", "<u2": "ushort"}
    lines = ["ply", "format binary_little_endian 1.0"]
    lines += [f"comment {comment}" for comment in _COMMENTS]
    lines.append(f"element vertex {len(vertices)}")
    types = vertices.dtype
    lines += [f"property {kinds[types[name].str]} {name}" for name in types.names or ()]
    return ("\n".join([*lines, "end_header"]) + "\n").encode("ascii")


def _check(array: AnyArray, dtype: type, shape: tuple[int, ...], what: str) -> None:
    if array.dtype != dtype or array.shape != shape:
        raise InputError(
            f"{what} must be {np.dtype(dtype).name} {shape}, got {array.dtype} {array.shape}."
        )


def _check_positive(name: str, value: float) -> None:
    if not value > 0:
        raise InputError(f"{name} must be positive, got {value}.")
