"""Raw images to straight ones whose rows are the same lines in both."""

from __future__ import annotations

import logging
from dataclasses import replace

import cv2
import numpy as np

from rangemask.camera.lens import image_of_rays, inside_image
from rangemask.camera.plan import plan_rectification
from rangemask.errors import InputError
from rangemask.geometry.arrays import BoolMap, FloatMap, ImageArray, Matrix
from rangemask.geometry.rig import Camera, Rig
from rangemask.structures import StereoFrame

logger = logging.getLogger(__name__)


class Rectification:
    """Turns frames of a raw rig into rectified ones; built once, used for every frame.

    A point at depth Z (of the rectified left camera) then has the same row in both images and
    ``x_left - x_right = fx * baseline / Z``. A single camera only loses its distortion. A rig
    that is rectified already keeps its images, or has them resized.

    Attributes:
        source: the raw rig.
        rig: the rectified rig.
        left_map: (H, W, 2) float32, where each rectified pixel lies in the raw left image, px.
        right_map: the same for the right image; None for a single camera.
        valid: (H, W) bool, where the rectified left image shows something.
        right_valid: the same for the right image; None for a single camera.
    """

    def __init__(
        self,
        source: Rig,
        *,
        field_of_view: float = 0.0,
        size: tuple[int, int] | None = None,
    ) -> None:
        """Plan the view and compute the maps.

        Args:
            source: one or two raw cameras of known image size.
            field_of_view: from 0, the largest view in which every pixel shows something, to
                1, everything that the cameras saw, with empty borders; both within what a
                straight image can hold (see ``rangemask.camera.plan``).
            size: (width, height) of the rectified images, px; the raw size without it.

        Raises:
            InputError: see ``plan_rectification``.
        """
        self.source = source
        self.right_map: FloatMap | None = None
        self.right_valid: BoolMap | None = None
        if source.is_rectified and field_of_view == 0:
            self.rig = _resized(source, size)
            turns = (np.eye(3), np.eye(3))
        else:
            plan = plan_rectification(source, field_of_view=field_of_view, size=size)
            self.rig = _straight(source, plan.camera)
            turns = (plan.left_rotation, plan.right_rotation)
        self.left_map = _map(source.left, self.rig.left, turns[0])
        self.valid = _valid(self.left_map, source.left)
        if source.right is not None and self.rig.right is not None:
            self.right_map = _map(source.right, self.rig.right, turns[1])
            self.right_valid = _valid(self.right_map, source.right)

    def rectify(self, frame: StereoFrame) -> StereoFrame:
        """The frame as the rectified rig would have seen it; unseen pixels are black.

        Args:
            frame: raw images of the source rig's size; the frame's own rig is not looked at.

        Raises:
            InputError: the size is another, or one has a right image and the other has not.
        """
        if (frame.width, frame.height) != self.source.size:
            raise InputError(
                f"{frame.name}: expected images of {self.source.size} px, as the rig was "
                f"calibrated with, found {(frame.width, frame.height)}."
            )
        if (frame.right is None) != (self.right_map is None):
            found = "one image" if frame.right is None else "two images"
            raise InputError(
                f"{frame.name}: the frame has {found}, the rig "
                f"{'one camera' if self.right_map is None else 'two cameras'}."
            )
        right = None
        if frame.right is not None and self.right_map is not None:
            right = _remap(frame.right, self.right_map)
        return replace(frame, left=_remap(frame.left, self.left_map), right=right, rig=self.rig)


class Rectifier:
    """Frames whose rig is not rectified are; others pass. Plans anew only for another rig.

    Args:
        field_of_view: as for ``Rectification``.
    """

    def __init__(self, field_of_view: float = 0.0) -> None:
        self.field_of_view = field_of_view
        self._rectification: Rectification | None = None

    def __call__(self, frame: StereoFrame) -> StereoFrame:
        """A frame that is rectified.

        Raises:
            InputError: the frame has two images and the rig one camera, or as ``rectify``.
        """
        rig = frame.rig
        if rig is None or rig.is_rectified:
            return frame
        if frame.right is not None and rig.right is None:
            raise InputError(
                f"{frame.name}: the rig describes one camera, the frame has two images. "
                "Give the rig of the pair."
            )
        if self._rectification is None or self._rectification.source != rig:
            logger.info("the rig is not rectified: its images are rectified before matching")
            self._rectification = Rectification(rig, field_of_view=self.field_of_view)
        return self._rectification.rectify(frame)


def _resized(rig: Rig, size: tuple[int, int] | None) -> Rig:
    if rig.size is None:
        raise InputError(
            f"{rig.name or 'rig'}: to rectify, the rig must know its image size. Give image_size "
            "when loading it."
        )
    return rig if size in (None, rig.size) else rig.scaled(*size)


def _straight(source: Rig, camera: Camera) -> Rig:
    if source.right is None:
        return Rig(left=camera, name=source.name)
    baseline_m = float(np.linalg.norm(source.translation_m))
    return Rig(left=camera, right=camera, translation_m=(-baseline_m, 0.0, 0.0), name=source.name)


def _map(raw: Camera, straight: Camera, turn: Matrix) -> FloatMap:
    width, height = straight.size or (0, 0)
    x = (np.arange(width) - straight.cx) / straight.fx
    y = (np.arange(height) - straight.cy) / straight.fy
    rays = np.stack([*np.meshgrid(x, y), np.ones((height, width))], axis=-1)
    # Rows of rays times R is R^T times each ray: back into the raw camera.
    return image_of_rays(raw, rays @ turn).astype(np.float32)


def _valid(pixels: FloatMap, raw: Camera) -> BoolMap:
    width, height = raw.size or (0, 0)
    return inside_image(pixels, width, height)


def _remap(image: ImageArray, pixels: FloatMap) -> ImageArray:
    # Only None stands for "the first map holds x and y": OpenCV 5 reads an empty array as a map.
    remapped = cv2.remap(image, pixels, None, cv2.INTER_LINEAR)  # type: ignore[call-overload]
    return np.asarray(remapped, dtype=np.uint8)
