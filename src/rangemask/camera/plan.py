"""Which straight view the rectified cameras get: rotations, focal length, centre, size."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rangemask.camera.lens import inside
from rangemask.camera.rotations import rectifying_rotations
from rangemask.errors import InputError
from rangemask.geometry.arrays import BoolMap, Matrix
from rangemask.geometry.rig import Camera, Rig

FULL_VIEW_HALF_ANGLE = math.radians(60)
"""Widest view of field_of_view=0, from the axis; at its edge a pixel is stretched four times."""
LARGEST_HALF_ANGLE = math.radians(75)
"""Widest view of field_of_view=1; a straight image of 90 degrees would have no end."""

_CELLS = 257
_PASSES = 3
_BISECTIONS = 12


@dataclass(frozen=True, slots=True)
class RectificationPlan:
    """How both raw cameras turn, and the straight camera that both become."""

    left_rotation: Matrix
    """(3, 3), ``x_rectified = R x_left``."""
    right_rotation: Matrix
    camera: Camera
    """Of the rectified images, left and right alike."""


@dataclass(frozen=True, slots=True)
class _Box:
    """A window of the plane z = 1: centre and half sizes, in focal lengths."""

    x: float
    y: float
    half_width: float
    half_height: float

    def towards(self, other: _Box, share: float) -> _Box:
        """Between two windows; sizes by factors, as a zoom."""
        return _Box(
            self.x + (other.x - self.x) * share,
            self.y + (other.y - self.y) * share,
            self.half_width ** (1 - share) * other.half_width**share,
            self.half_height ** (1 - share) * other.half_height**share,
        )


def plan_rectification(
    rig: Rig, *, field_of_view: float = 0.0, size: tuple[int, int] | None = None
) -> RectificationPlan:
    """Choose the straight view of a raw rig.

    The view is found by asking, for a grid of directions, where both lenses image them, and
    not by undoing the lens at the image's border as cv2.stereoRectify does: there, rational
    and fisheye models can fold back, which turns or blows up its result (opencv#10791).

    Args:
        rig: one or two raw cameras of known image size.
        field_of_view: 0 for the largest view without an empty pixel, 1 for all that the
            lenses saw, both within what a straight image can hold; or between.
        size: (width, height) of the rectified images, px; the raw size without it.

    Raises:
        InputError: the image size is unknown, field_of_view is not in [0, 1], the cameras do
            not stand side by side, or they do not look the same way.
    """
    if not 0 <= field_of_view <= 1:
        raise InputError(f"field of view must be between 0 and 1, got {field_of_view}.")
    if rig.size is None:
        raise InputError(
            f"{rig.name or 'rig'}: to rectify, the rig must know its image size. Give image_size "
            "when loading it."
        )
    width, height = size or rig.size
    if min(width, height) < 1:
        raise InputError(f"the size must be positive, got {width} x {height} px.")
    turns = (np.eye(3), np.eye(3)) if rig.right is None else rectifying_rotations(rig)
    cameras = [(rig.left, turns[0])]
    if rig.right is not None:
        cameras.append((rig.right, turns[1]))
    box = _view(cameras, field_of_view, width / height, rig.name)
    focal_px = width / (2 * box.half_width)
    camera = Camera(
        fx=focal_px,
        fy=focal_px,
        # The image spans [-0.5, width - 0.5] when pixel centres are integers.
        cx=(width - 1) / 2 - box.x * focal_px,
        cy=(height - 1) / 2 - box.y * focal_px,
        width=width,
        height=height,
    )
    return RectificationPlan(turns[0], turns[1], camera)


def _view(
    cameras: list[tuple[Camera, Matrix]], field_of_view: float, aspect: float, name: str
) -> _Box:
    full = math.tan(FULL_VIEW_HALF_ANGLE)
    common = _Window.around(cameras, full, both=True)
    if not common.seen.any():
        raise InputError(
            f"{name or 'rig'}: after rectification the two cameras see nothing in common. "
            "Check the rotation between them, or calibrate again."
        )
    inner = common.largest_box(aspect)
    if field_of_view == 0:
        return inner
    limit = math.tan(LARGEST_HALF_ANGLE)
    outer = _Window.around(cameras, limit, both=False).bounding_box(aspect, limit)
    return inner.towards(outer, field_of_view)


@dataclass(frozen=True, slots=True)
class _Window:
    """A grid of directions (x, y, 1) and whether cameras see them."""

    x: NDArray[np.float64]
    y: NDArray[np.float64]
    seen: BoolMap

    @classmethod
    def around(cls, cameras: list[tuple[Camera, Matrix]], limit: float, *, both: bool) -> _Window:
        """A grid that closes in on what both (or either) cameras see, within the limit."""
        reach = min(limit, max(_reach(camera, turn) for camera, turn in cameras))
        x = y = np.linspace(-reach, reach, _CELLS)
        seen = _seen(cameras, x, y, both)
        for _ in range(_PASSES - 1):
            if not seen.any():
                break
            x, y = _closer(x, seen, 0, limit), _closer(y, seen, 1, limit)
            seen = _seen(cameras, x, y, both)
        return cls(x, y, seen)

    def bounding_box(self, aspect: float, limit: float) -> _Box:
        """The smallest window of the aspect (width / height) around everything seen."""
        x, y = self.x[self.seen.any(axis=0)], self.y[self.seen.any(axis=1)]
        half_width, half_height = (x[-1] - x[0]) / 2, (y[-1] - y[0]) / 2
        # Filling out the aspect must not bring back what the limit keeps away.
        half_width = min(max(half_width, half_height * aspect), limit)
        return _Box(
            float(x[0] + x[-1]) / 2,
            float(y[0] + y[-1]) / 2,
            float(half_width),
            float(half_width / aspect),
        )

    def largest_box(self, aspect: float) -> _Box:
        """The largest window of the aspect that is seen everywhere; nearest the axis if equal."""
        step_x, step_y = self.x[1] - self.x[0], self.y[1] - self.y[0]
        unseen = np.zeros((len(self.y) + 1, len(self.x) + 1), dtype=np.int64)
        unseen[1:, 1:] = np.cumsum(np.cumsum(~self.seen, axis=0), axis=1)
        rows, cols = np.nonzero(self.seen)
        low, high = np.zeros(len(rows)), np.full(len(rows), float(len(self.x)))
        for _ in range(_BISECTIONS):
            half = (low + high) / 2
            across = np.ceil(half).astype(int)
            down = np.ceil(half * step_x / step_y / aspect).astype(int)
            fits = _empty(unseen, rows - down, cols - across, rows + down, cols + across)
            low, high = np.where(fits, half, low), np.where(fits, high, half)
        # Centres within one cell of the best are equals: of those the most central wins.
        off = np.hypot(self.x[cols], self.y[rows])
        best = int(np.argmin(np.where(low >= low.max() - 0.5, off, np.inf)))
        half_width = max(float(low[best]), 0.5) * float(step_x)
        return _Box(
            float(self.x[cols[best]]),
            float(self.y[rows[best]]),
            half_width,
            half_width / aspect,
        )


def _empty(
    total: NDArray[np.int64],
    top: NDArray[np.int64],
    left: NDArray[np.int64],
    bottom: NDArray[np.int64],
    right: NDArray[np.int64],
) -> BoolMap:
    """Whether boxes (bounds included) lie on the grid and hold no unseen cell."""
    rows, cols = total.shape[0] - 1, total.shape[1] - 1
    on_grid = (top >= 0) & (left >= 0) & (bottom < rows) & (right < cols)
    top, bottom = np.clip(top, 0, rows - 1), np.clip(bottom, 0, rows - 1)
    left, right = np.clip(left, 0, cols - 1), np.clip(right, 0, cols - 1)
    count = (
        total[bottom + 1, right + 1]
        - total[top, right + 1]
        - total[bottom + 1, left]
        + total[top, left]
    )
    result: BoolMap = on_grid & (count == 0)
    return result


def _seen(
    cameras: list[tuple[Camera, Matrix]],
    x: NDArray[np.float64],
    y: NDArray[np.float64],
    both: bool,
) -> BoolMap:
    rays = np.stack([*np.meshgrid(x, y), np.ones((len(y), len(x)))], axis=-1)
    # Rows of rays times R is R^T times each ray: back into the raw camera.
    join = np.logical_and if both else np.logical_or
    result: BoolMap = join.reduce([inside(camera, rays @ turn) for camera, turn in cameras])
    return result


def _reach(camera: Camera, turn: Matrix) -> float:
    """A generous bound of what a camera sees, from the axis, in focal lengths."""
    width, height = camera.size or (1, 1)
    across = max(camera.cx, width - camera.cx, 1.0) / camera.fx
    down = max(camera.cy, height - camera.cy, 1.0) / camera.fy
    ideal = math.hypot(across, down)
    wide = math.tan(min(ideal, 1.5)) if camera.model == "fisheye" else ideal
    lean = math.acos(float(np.clip(turn[2, 2], -1, 1)))
    return 3 * math.tan(min(math.atan(wide) + lean, 1.5))


def _closer(
    axis: NDArray[np.float64], seen: BoolMap, across: int, limit: float
) -> NDArray[np.float64]:
    """The same number of steps over what was seen and one step on both sides."""
    step = axis[1] - axis[0]
    found = axis[seen.any(axis=across)]
    return np.linspace(max(found[0] - step, -limit), min(found[-1] + step, limit), len(axis))
