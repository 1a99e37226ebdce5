"""How two cameras turn so that their rows become the same lines."""

from __future__ import annotations

import numpy as np

from rangemask.errors import InputError
from rangemask.geometry.arrays import Matrix
from rangemask.geometry.rig import Rig


def rectifying_rotations(rig: Rig) -> tuple[Matrix, Matrix]:
    """The rotations of both cameras into the frame of the rectified pair.

    Each camera takes half of the rotation between them, as a rotation about the same axis;
    then both turn by the smallest rotation that brings the baseline onto the x axis
    (J.-Y. Bouguet's method, the one that OpenCV names in its documentation). It asks the
    lens nothing, so that an unstable or a fisheye lens model cannot turn it.

    Returns:
        two (3, 3) matrices with ``x_rectified = R_i x_i``; a point moves from the left to the
        right rectified frame by (-baseline, 0, 0).

    Raises:
        InputError: the rig has one camera or no baseline, the cameras stand one above the
            other, or left and right are swapped.
    """
    baseline_m = rig.baseline_m
    if baseline_m is None:
        raise InputError(
            "the rig has no pair with a baseline, so there is nothing to align. Calibrate the pair."
        )
    half = _half_rotation(rig)
    axis = half.T @ np.asarray(rig.translation_m) / baseline_m
    _check_side_by_side(rig, axis)
    align = _smallest_rotation(axis, np.array([-1.0, 0.0, 0.0]))
    return align @ half, align @ half.T


def _check_side_by_side(rig: Rig, axis: Matrix) -> None:
    where = ", ".join(f"{value:.4g}" for value in rig.translation_m)
    if abs(axis[0]) <= max(abs(axis[1]), abs(axis[2])):
        raise InputError(
            f"{rig.name or 'rig'}: the cameras do not stand side by side: expected a translation "
            f"mostly along x, found ({where}) m. Turn the images by 90 degrees if the cameras are "
            "stacked; otherwise calibrate again."
        )
    if axis[0] > 0:
        raise InputError(
            f"{rig.name or 'rig'}: left and right are swapped: expected a negative x of the "
            f"translation (x_right = R x_left + t), found ({where}) m. Swap left and right."
        )


def _half_rotation(rig: Rig) -> Matrix:
    """The rotation that, done twice, is the rig's: the orthogonal part of I + R.

    No logarithm is taken: cv2.Rodrigues calls angles below 1e-5 none.
    """
    rotation = np.asarray(rig.rotation, dtype=np.float64)
    if np.trace(rotation) < 0:  # 1 + 2 cos(angle): beyond 120 degrees
        raise InputError(
            f"{rig.name or 'rig'}: the two cameras look in opposite directions. Check the rotation "
            "(x_right = R x_left + t), or calibrate again."
        )
    u, _, vt = np.linalg.svd(np.eye(3) + rotation)
    return np.asarray(u @ vt, dtype=np.float64)


def _smallest_rotation(start: Matrix, goal: Matrix) -> Matrix:
    """The rotation about ``start x goal`` that takes one unit vector to the other."""
    x, y, z = np.cross(start, goal)
    cross = np.array([[0.0, -z, y], [z, 0.0, -x], [-y, x, 0.0]])
    return np.asarray(np.eye(3) + cross + cross @ cross / (1 + start @ goal), dtype=np.float64)
