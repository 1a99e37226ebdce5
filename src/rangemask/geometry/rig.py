"""One or two calibrated cameras as a frozen value.

Conventions (docs/conventions.md): pixel centres lie at integer coordinates, the camera
frame is x right, y down, z forward, and a point of the left camera's frame moves to the
right camera's as ``x_right = R x_left + t``. After rectification R is the identity and
t = (-baseline, 0, 0).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal, TypeAlias

import numpy as np

from rangemask.geometry.arrays import Matrix

LensModel: TypeAlias = Literal["pinhole", "fisheye"]

DISTORTION_TERMS: dict[LensModel, tuple[int, ...]] = {
    "pinhole": (0, 4, 5, 8, 12, 14),
    "fisheye": (4,),
}
"""How many coefficients OpenCV knows for each lens model, in OpenCV's order."""

_IDENTITY = ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))
_RECTIFIED_TOLERANCE = 1e-6

Row: TypeAlias = tuple[float, float, float]


@dataclass(frozen=True, kw_only=True, slots=True)
class Camera:
    """Intrinsics and lens of one camera.

    Raises:
        ValueError: a value is not finite, a focal length or size is not positive, or the
            number of distortion coefficients does not belong to the lens model.
    """

    fx: float
    """Focal length along x, px."""
    fy: float
    """Focal length along y, px."""
    cx: float
    """Principal point, px from the centre of the left-most pixel."""
    cy: float
    """Principal point, px from the centre of the top-most pixel."""
    width: int | None = None
    """Image width in px; None where the calibration file does not say."""
    height: int | None = None
    """Image height in px; None where the calibration file does not say."""
    model: LensModel = "pinhole"
    distortion: tuple[float, ...] = ()
    """OpenCV's coefficients: k1 k2 p1 p2 [k3 [k4 k5 k6 [s1..s4 [tx ty]]]], or fisheye k1..k4."""

    def __post_init__(self) -> None:
        for name in ("fx", "fy", "cx", "cy"):
            value = getattr(self, name)
            if not math.isfinite(value):
                raise ValueError(f"{name} must be a finite number, got {value}.")
        if self.fx <= 0 or self.fy <= 0:
            raise ValueError(f"focal lengths must be positive, got fx={self.fx}, fy={self.fy}.")
        if (self.width is None) != (self.height is None):
            raise ValueError(f"width and height go together, got {self.width} x {self.height}.")
        if self.width is not None and self.height is not None and min(self.width, self.height) < 1:
            raise ValueError(f"image size must be positive, got {self.width} x {self.height}.")
        if self.model not in DISTORTION_TERMS:
            raise ValueError(f"lens model must be 'pinhole' or 'fisheye', got {self.model!r}.")
        if len(self.distortion) not in DISTORTION_TERMS[self.model]:
            raise ValueError(
                f"a {self.model} lens has {_one_of(DISTORTION_TERMS[self.model])} distortion "
                f"coefficients, got {len(self.distortion)}."
            )
        if not all(math.isfinite(value) for value in self.distortion):
            raise ValueError(f"distortion must be finite numbers, got {self.distortion}.")

    @property
    def matrix(self) -> Matrix:
        """K, (3, 3)."""
        return np.array([[self.fx, 0.0, self.cx], [0.0, self.fy, self.cy], [0.0, 0.0, 1.0]])

    @property
    def size(self) -> tuple[int, int] | None:
        """(width, height) in px, or None where unknown."""
        if self.width is None or self.height is None:
            return None
        return self.width, self.height

    @property
    def is_distorted(self) -> bool:
        """Whether straight lines of the world are bent in the image."""
        return self.model == "fisheye" or any(self.distortion)

    def scaled(self, width: int, height: int) -> Camera:
        """The same camera after its image is resized to width x height px.

        Raises:
            ValueError: the camera's own image size is unknown.
        """
        if self.width is None or self.height is None:
            raise ValueError("a camera of unknown image size cannot be scaled.")
        scale_x, scale_y = width / self.width, height / self.height
        return replace(
            self,
            fx=self.fx * scale_x,
            fy=self.fy * scale_y,
            # Pixel centres are integers, so the image's corner is at -0.5 and stays there.
            cx=(self.cx + 0.5) * scale_x - 0.5,
            cy=(self.cy + 0.5) * scale_y - 0.5,
            width=width,
            height=height,
        )

    def cropped(self, x: int, y: int, width: int, height: int) -> Camera:
        """The same camera after its image is cut to the box at (x, y), in px."""
        return replace(self, cx=self.cx - x, cy=self.cy - y, width=width, height=height)


@dataclass(frozen=True, kw_only=True, slots=True)
class Rig:
    """Calibration of one or two cameras; ``Rig.load`` reads it from any common file.

    Raises:
        ValueError: a rotation that is no rotation, a translation that is not finite, image
            sizes that differ, or a rectified pair whose baseline is not positive.
    """

    left: Camera
    right: Camera | None = None
    rotation: tuple[Row, Row, Row] = _IDENTITY
    """R of ``x_right = R x_left + t``."""
    translation_m: Row = (0.0, 0.0, 0.0)
    """t of ``x_right = R x_left + t``, metres."""
    name: str = field(default="", compare=False)

    def __post_init__(self) -> None:
        if not np.isfinite(self.translation_m).all():
            raise ValueError(f"translation must be finite numbers, got {self.translation_m}.")
        rotation = np.asarray(self.rotation, dtype=np.float64)
        if not np.isfinite(rotation).all():
            raise ValueError(f"rotation must be finite numbers, got {self.rotation}.")
        off = float(np.abs(rotation @ rotation.T - np.eye(3)).max())
        if off > 1e-3 or np.linalg.det(rotation) < 0:
            raise ValueError(f"rotation must be a rotation matrix, R R^T is off by {off:.3g}.")
        if self.right is None:
            return
        if self.left.size != self.right.size:
            raise ValueError(
                f"left and right must have one image size, got {self.left.size} and "
                f"{self.right.size}."
            )
        if self.is_rectified and self.translation_m[0] > 0:
            raise ValueError(
                f"baseline must be positive, got {-self.translation_m[0]:g} m: the right camera "
                "stands to the left of the left one. Swap left and right."
            )

    @classmethod
    def rectified(
        cls,
        *,
        fx: float,
        fy: float | None = None,
        cx: float,
        cy: float,
        baseline_m: float,
        width: int | None = None,
        height: int | None = None,
        doffs_px: float = 0.0,
        name: str = "",
    ) -> Rig:
        """A rectified pair from the few numbers that describe it.

        Args:
            fx: focal length, px; fy defaults to it.
            fy: focal length along y, px.
            cx: principal point of the left image, px.
            cy: principal point of both images, px.
            baseline_m: distance of the two cameras, metres.
            width: image width, px.
            height: image height, px.
            doffs_px: x of the right principal point minus x of the left one (Middlebury).
            name: what to call it.

        Raises:
            ValueError: the baseline is not a positive number, or see ``Camera``.
        """
        if not (math.isfinite(baseline_m) and baseline_m > 0):
            raise ValueError(f"baseline must be a positive number of metres, got {baseline_m}.")
        left = Camera(fx=fx, fy=fx if fy is None else fy, cx=cx, cy=cy, width=width, height=height)
        return cls(
            left=left,
            right=replace(left, cx=cx + doffs_px),
            translation_m=(-baseline_m, 0.0, 0.0),
            name=name,
        )

    @classmethod
    def load(cls, path: str | Path, *, image_size: tuple[int, int] | None = None) -> Rig:
        """Read a calibration file of any format that docs/rig-files.md lists.

        Args:
            path: the file (for a ROS ``camera_info`` pair, the left one or their folder).
            image_size: (width, height) in px for formats that do not hold it.

        Raises:
            InputError: the file is missing, of no known format, or holds impossible values.
        """
        from rangemask.camera.rig_files import load_rig

        return load_rig(path, image_size=image_size)

    def save(self, path: str | Path, *, format: str | None = None) -> None:
        """Write a calibration file; the format follows the name unless it is given.

        Raises:
            InputError: the format is unknown or cannot hold this rig.
        """
        from rangemask.camera.rig_files import save_rig

        save_rig(self, path, format=format)

    @property
    def is_rectified(self) -> bool:
        """Whether rows of both images are the same epipolar lines and lenses are straight.

        A single camera counts as rectified when its lens is straight.
        """
        if self.left.is_distorted:
            return False
        if self.right is None:
            return True
        left, right = self.left, self.right
        turned = np.abs(np.asarray(self.rotation) - np.eye(3)).max()
        aside = max(abs(self.translation_m[1]), abs(self.translation_m[2]))
        return bool(
            not right.is_distorted
            and turned < _RECTIFIED_TOLERANCE
            and aside <= _RECTIFIED_TOLERANCE * max(1.0, abs(self.translation_m[0]))
            and math.isclose(left.fx, right.fx, rel_tol=1e-6)
            and math.isclose(left.fy, right.fy, rel_tol=1e-6)
            and abs(left.cy - right.cy) < 1e-3
        )

    @property
    def fx(self) -> float:
        """Focal length of the left camera along x, px."""
        return self.left.fx

    @property
    def fy(self) -> float:
        """Focal length of the left camera along y, px."""
        return self.left.fy

    @property
    def cx(self) -> float:
        """Principal point of the left camera, px."""
        return self.left.cx

    @property
    def cy(self) -> float:
        """Principal point of the left camera, px."""
        return self.left.cy

    @property
    def size(self) -> tuple[int, int] | None:
        """(width, height) in px of the left image, or None where unknown."""
        return self.left.size

    @property
    def baseline_m(self) -> float | None:
        """Distance of the two optical centres in metres; None without a second camera or scale."""
        if self.right is None:
            return None
        length = float(np.linalg.norm(self.translation_m))
        return length if length > 0 else None

    @property
    def doffs_px(self) -> float:
        """The right principal point's x minus the left one's, px (Middlebury's doffs)."""
        return 0.0 if self.right is None else self.right.cx - self.left.cx

    def scaled(self, width: int, height: int) -> Rig:
        """The same rig after both images are resized to width x height px."""
        right = None if self.right is None else self.right.scaled(width, height)
        return replace(self, left=self.left.scaled(width, height), right=right)

    def cropped(self, x: int, y: int, width: int, height: int) -> Rig:
        """The same rig after both images are cut to the same box at (x, y), in px.

        Raises:
            ValueError: the box is empty or leaves the image.
        """
        size = self.size
        if width < 1 or height < 1 or x < 0 or y < 0:
            raise ValueError(f"the box must be inside the image, got {(x, y, width, height)}.")
        if size is not None and (x + width > size[0] or y + height > size[1]):
            raise ValueError(f"the box {(x, y, width, height)} leaves the image of {size}.")
        right = None if self.right is None else self.right.cropped(x, y, width, height)
        return replace(self, left=self.left.cropped(x, y, width, height), right=right)

    def with_size(self, width: int, height: int) -> Rig:
        """The same rig with its image size stated, for files that do not hold it."""
        right = None if self.right is None else replace(self.right, width=width, height=height)
        return replace(self, left=replace(self.left, width=width, height=height), right=right)


def rows(matrix: Sequence[Sequence[float]] | Matrix) -> tuple[Row, Row, Row]:
    """A (3, 3) matrix as the nested tuple that a frozen ``Rig`` holds.

    Raises:
        ValueError: the matrix is not 3 x 3.
    """
    array = np.asarray(matrix, dtype=np.float64)
    if array.shape != (3, 3):
        raise ValueError(f"expected a 3 x 3 matrix, got shape {array.shape}.")
    a, b, c = ((float(x), float(y), float(z)) for x, y, z in array)
    return a, b, c


def _one_of(counts: tuple[int, ...]) -> str:
    return " or ".join(str(count) for count in counts)
