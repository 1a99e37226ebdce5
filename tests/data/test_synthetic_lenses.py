"""Synthetic scenes through bent lenses and unrectified rigs, against OpenCV's own projection."""

import cv2
import numpy as np
import pytest

from rangemask.data.synthetic import (
    Material,
    Plane,
    SensorConfig,
    SyntheticSample,
    SyntheticScene,
    Thing,
    camera_pose,
    random_scene,
    render,
)
from rangemask.data.synthetic.rays import pixel_rays, project_points
from rangemask.geometry import Camera, Rig
from rangemask.geometry.rig import rows

QUIET = SensorConfig(noise=0)
SIZE = {"cx": 159.0, "cy": 121.0, "width": 320, "height": 240}
BARREL = Camera(fx=60, fy=60, cx=79.5, cy=59.5, width=160, height=120, distortion=(-0.3, 0, 0, 0))
FISHEYE = Camera(
    fx=40,
    fy=40,
    cx=79.5,
    cy=59.5,
    width=160,
    height=120,
    model="fisheye",
    distortion=(0.0,) * 4,
)
LENSES = {
    "pinhole-5": Camera(fx=240, fy=242, distortion=(-0.2, 0.05, 0.001, -0.002, 0.01), **SIZE),
    "pinhole-8": Camera(
        fx=240, fy=242, distortion=(0.3, 0.1, 0.0, 0.001, 0.02, 0.4, 0.15, 0.03), **SIZE
    ),
    "fisheye": Camera(
        fx=200, fy=202, model="fisheye", distortion=(0.02, -0.01, 0.005, -0.001), **SIZE
    ),
}
TURN = np.array([0.01, 0.03, -0.02])
SHIFT_M = np.array([-0.1, 0.004, 0.006])


def wall(z: float = 2.0) -> SyntheticScene:
    grey = Material(light=(0.9, 0.9, 0.9), dark=(0.1, 0.1, 0.1))
    thing = Thing(name="wall", parts=((Plane((0, 0, z), (0, 0, -1)), grey),))
    return SyntheticScene(things=(thing,), camera_pose=camera_pose(0.0))


def opencv_pixels(points_m: np.ndarray, camera: Camera, turn: np.ndarray, shift_m: np.ndarray):
    """(N, 2) px by OpenCV alone, from points of the left camera's frame."""
    project = cv2.fisheye.projectPoints if camera.model == "fisheye" else cv2.projectPoints
    distortion = np.array(camera.distortion)
    flat = points_m.reshape(-1, 1, 3)
    return project(flat, turn, shift_m, camera.matrix, distortion)[0].reshape(-1, 2)


@pytest.mark.parametrize("lens", LENSES)
def test_a_raw_pair_shows_one_world(lens: str) -> None:
    """The photometric proof without rectification, and that a wrong pose fails it."""
    camera = LENSES[lens]
    rig = Rig(
        left=camera,
        right=camera,
        rotation=rows(cv2.Rodrigues(TURN)[0]),
        translation_m=(float(SHIFT_M[0]), float(SHIFT_M[1]), float(SHIFT_M[2])),
    )
    sample = render(random_scene(4), rig, sensor=QUIET, samples=2)
    seen = _inner(sample)
    points = pixel_rays(camera)[seen.ravel()] * sample.depth_m[seen][:, None]

    def difference(turn: np.ndarray, shift_m: np.ndarray) -> float:
        x, y = opencv_pixels(points, camera, turn, shift_m).astype(np.float32).T
        assert sample.frame.right is not None
        # One column: OpenCV's maps may have no more than 32767 rows or columns.
        parts = [
            cv2.remap(sample.frame.right, a[:, None], b[:, None], cv2.INTER_CUBIC)
            for a, b in zip(np.array_split(x, 8), np.array_split(y, 8), strict=True)
        ]
        warped = np.concatenate(parts)[:, 0].astype(float)
        return float(np.abs(warped - sample.frame.left[seen]).mean())

    assert seen.mean() > 0.3
    right = difference(TURN, SHIFT_M)
    assert right < 1.5
    assert difference(-TURN, SHIFT_M) > 4 * right
    assert difference(TURN, -SHIFT_M) > 4 * right
    assert difference(TURN, SHIFT_M * 1.2) > 1.5 * right


def _inner(sample: SyntheticSample) -> np.ndarray:
    """Pixels that both eyes see, away from jumps of depth."""
    assert sample.occluded is not None
    depth_m = np.nan_to_num(sample.depth_m)
    near, far = cv2.erode(depth_m, np.ones((5, 5))), cv2.dilate(depth_m, np.ones((5, 5)))
    return ~sample.occluded & (near > 0) & (far < near * 1.1)


def test_pixels_that_a_strong_lens_has_no_ray_for_stay_empty() -> None:
    """OpenCV answers there with rays of other pixels; they would be wrong truth."""
    rays = pixel_rays(BARREL)
    known = np.isfinite(rays[:, 0])
    assert 0.1 < known.mean() < 0.9
    x, y = np.meshgrid(np.arange(160), np.arange(120))
    grid = np.stack([x.ravel(), y.ravel()], axis=-1)
    found = opencv_pixels(rays[known], BARREL, np.zeros(3), np.zeros(3))
    np.testing.assert_allclose(found, grid[known], atol=0.02)
    sample = render(wall(), Rig(left=BARREL), sensor=QUIET)
    empty = ~known.reshape(120, 160)
    assert np.isnan(sample.depth_m[empty]).all()
    assert sample.frame.left[empty].max() == 0
    assert np.isfinite(sample.depth_m[~empty]).all()


@pytest.mark.parametrize(
    ("camera", "point", "shown"),
    [
        (BARREL, (0.3, 0.1, 1.0), True),
        (BARREL, (1.8, 0.0, 1.0), False),
        (FISHEYE, (np.tan(np.deg2rad(79)), 0.0, 1.0), True),
        (FISHEYE, (np.tan(np.deg2rad(85)), 0.0, 1.0), False),
        (FISHEYE, (0.0, 0.0, -1.0), False),
    ],
)
def test_only_points_that_the_image_shows_are_inside(
    camera: Camera, point: tuple[float, float, float], shown: bool
) -> None:
    """A barrel polynomial folds far points back into the image; nobody sees them there."""
    pixels, inside = project_points(camera, np.array([point]))
    assert inside.tolist() == [shown]
    if point[2] > 0:
        within = (pixels >= -0.5).all() and pixels[0, 0] < 159.5 and pixels[0, 1] < 119.5
        assert within, "the case would be decided by the image's border alone"


def test_no_points_are_no_pixels() -> None:
    for camera in (BARREL, FISHEYE):
        behind = np.array([[0.0, 0.0, -1.0]])
        assert not project_points(camera, behind)[1].any()


def test_what_the_right_lens_cannot_show_is_occluded() -> None:
    """Turned away by 20 degrees, the right fisheye does not see the left edge of the left one."""
    turn = cv2.Rodrigues(np.array([0.0, np.deg2rad(-20), 0.0]))[0]
    rig = Rig(left=FISHEYE, right=FISHEYE, rotation=rows(turn), translation_m=(-0.1, 0, 0))
    sample = render(wall(), rig, sensor=QUIET)
    assert sample.occluded is not None
    points = pixel_rays(FISHEYE) * sample.depth_m.reshape(-1, 1)
    in_right = points @ turn.T + np.array([-0.1, 0, 0])
    angle = np.degrees(np.arctan2(np.hypot(in_right[:, 0], in_right[:, 1]), in_right[:, 2]))
    beyond = (angle > 80.1).reshape(120, 160) & np.isfinite(sample.depth_m)
    assert beyond.sum() > 100
    assert sample.occluded[beyond].all()
    assert not sample.occluded[60, 80]
