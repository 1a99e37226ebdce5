"""KITTI's laser points as a depth map of the left colour camera (Geiger et al., IJRR 2013)."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from rangemask.errors import InputError
from rangemask.geometry.arrays import FloatMap, Matrix

CAM_FILE, VELO_FILE = "calib_cam_to_cam.txt", "calib_velo_to_cam.txt"
_FLOATS_PER_POINT = 4


def velodyne_depth(
    points: Path, calibration: Path, shape: tuple[int, int], *, forward: bool = False
) -> FloatMap:
    """Depth where the laser hit something that the left colour camera sees.

    Of several points in a pixel the nearest counts. Pixels are counted from 1 as the data set's
    own code does it, so that a point lies one pixel up and to the left of where it would else.

    Args:
        points: ``velodyne_points/data/N.bin``.
        calibration: the folder of the day, with both calibration files.
        shape: height and width of the image.
        forward: give the distance ahead of the laser, as the Eigen protocol's published numbers
            have it, instead of the depth that the camera sees, 0.27 m less.

    Returns:
        (H, W) float32 metres, NaN where nothing was hit.

    Raises:
        InputError: a file is missing or damaged.
    """
    try:
        raw = np.fromfile(points, dtype=np.float32)
    except OSError as error:
        raise InputError(f"{points}: cannot be read ({error.strerror}).") from error
    if raw.size == 0 or raw.size % _FLOATS_PER_POINT:
        raise InputError(
            f"{points}: expected points of {_FLOATS_PER_POINT} float32 each, found "
            f"{points.stat().st_size} bytes. Was it cut off?"
        )
    where = raw.reshape(-1, _FLOATS_PER_POINT).astype(np.float64)
    where = where[where[:, 0] >= 0]
    ahead = where[:, 0].copy()
    where[:, 3] = 1
    seen = where @ _projection(calibration).T
    in_front = seen[:, 2] > 0
    seen, ahead = seen[in_front], ahead[in_front]
    columns = np.rint(seen[:, 0] / seen[:, 2]).astype(np.int64) - 1
    rows = np.rint(seen[:, 1] / seen[:, 2]).astype(np.int64) - 1
    height, width = shape
    inside = (columns >= 0) & (rows >= 0) & (columns < width) & (rows < height)
    values = (ahead if forward else seen[:, 2])[inside]
    depth = np.full(height * width, np.inf)
    np.minimum.at(depth, rows[inside] * width + columns[inside], values)
    depth[~(np.isfinite(depth) & (depth > 0))] = np.nan
    return depth.reshape(height, width).astype(np.float32)


def _projection(folder: Path) -> Matrix:
    """(3, 4): from points of the laser to pixels of the left colour camera."""
    velo, camera = _entries(folder / VELO_FILE), _entries(folder / CAM_FILE)
    to_camera, rectify = np.eye(4), np.eye(4)
    to_camera[:3, :3] = _matrix(velo, "R", (3, 3), folder / VELO_FILE)
    to_camera[:3, 3] = _matrix(velo, "T", (3,), folder / VELO_FILE)
    rectify[:3, :3] = _matrix(camera, "R_rect_00", (3, 3), folder / CAM_FILE)
    return _matrix(camera, "P_rect_02", (3, 4), folder / CAM_FILE) @ rectify @ to_camera


def _entries(path: Path) -> dict[str, str]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: the calibration cannot be read ({error}).") from error
    return {name.strip(): values for name, _, values in (line.partition(":") for line in lines)}


def _matrix(entries: dict[str, str], name: str, shape: tuple[int, ...], path: Path) -> Matrix:
    try:
        return np.array([float(one) for one in entries[name].split()]).reshape(shape)
    except (LookupError, ValueError) as error:
        count = int(np.prod(shape))
        raise InputError(f"{path}: expected {name}: with {count} numbers.") from error
