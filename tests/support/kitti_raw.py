"""Drives of KITTI raw, tiny, with laser points whose depth is known."""

from pathlib import Path

import numpy as np

from rangemask.data.map_files import write_map
from rangemask.structures.images import write_image

DATE = "2011_09_26"
HEIGHT, WIDTH = 64, 96
FX, CX, CY = 80.0, 48.0, 32.0
BASELINE_M = 0.5
TILT = 0.02
TO_CAMERA = np.array([[0.0, -1, 0], [0, 0, -1], [1, 0, 0]])
"""The laser looks along x, the camera along z."""
SHIFT_M = np.array([0.01, -0.08, -0.27])
OFFSET_PX_M = 4.0
"""Of the left colour camera from camera 0, times its focal length."""


def rectify() -> np.ndarray:
    """A small turn about x."""
    cos, sin = np.cos(TILT), np.sin(TILT)
    return np.array([[1, 0, 0], [0, cos, -sin], [0, sin, cos]])


def words(values: np.ndarray) -> str:
    return " ".join(f"{value:.9g}" for value in np.ravel(values))


def write_calibration(root: Path, date: str = DATE) -> Path:
    """Both files of a day."""
    day = root / date
    day.mkdir(parents=True, exist_ok=True)
    p2 = [[FX, 0, CX, OFFSET_PX_M], [0, FX, CY, 0], [0, 0, 1, 0]]
    p3 = [[FX, 0, CX, OFFSET_PX_M - FX * BASELINE_M], [0, FX, CY, 0], [0, 0, 1, 0]]
    lines = ["calib_time: 09-Jan-2012 13:57:47", f"R_rect_00: {words(rectify())}"]
    for camera, matrix in (("02", p2), ("03", p3)):
        lines += [f"S_rect_{camera}: {WIDTH} {HEIGHT}", f"P_rect_{camera}: {words(matrix)}"]
    (day / "calib_cam_to_cam.txt").write_text("\n".join(lines))
    velo = f"R: {words(TO_CAMERA)}\nT: {words(SHIFT_M)}\n"
    (day / "calib_velo_to_cam.txt").write_text(velo)
    return day


def write_drive(
    root: Path, drive: str, numbers: tuple[int, ...], *, right: bool = True, seed: int = 0
) -> Path:
    """Images of a drive, and its day's calibration; no depth."""
    date = drive[: len(DATE)]
    write_calibration(root, date)
    folder = root / date / f"{drive}_sync"
    random = np.random.default_rng(seed)
    for number in numbers:
        for camera in ("02", "03") if right else ("02",):
            target = folder / f"image_{camera}/data/{number:010d}.png"
            target.parent.mkdir(parents=True, exist_ok=True)
            write_image(target, random.integers(0, 255, (HEIGHT, WIDTH, 3), dtype=np.uint8))
    return folder


def point_at(row: int, column: int, depth_m: float) -> np.ndarray:
    """The laser point that the left colour camera sees in a pixel (counted from 1)."""
    u, v = column + 1, row + 1
    rectified = np.array(
        [(u - CX) * depth_m / FX - OFFSET_PX_M / FX, (v - CY) * depth_m / FX, depth_m]
    )
    return TO_CAMERA.T @ (rectify().T @ rectified - SHIFT_M)


def write_points(drive: Path, number: int, points: np.ndarray) -> Path:
    """(N, 3) metres as the laser's file."""
    file = drive / f"velodyne_points/data/{number:010d}.bin"
    file.parent.mkdir(parents=True, exist_ok=True)
    np.column_stack([points, np.ones(len(points))]).astype(np.float32).tofile(file)
    return file


def write_depth(folder: Path, number: int, depth_m: np.ndarray) -> Path:
    """A map of the depth benchmark."""
    file = folder / f"proj_depth/groundtruth/image_02/{number:010d}.png"
    file.parent.mkdir(parents=True, exist_ok=True)
    write_map(file, depth_m.astype(np.float32))
    return file
