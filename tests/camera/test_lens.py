"""Our lens model against OpenCV's, and where both should not be trusted."""

from __future__ import annotations

import math

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rangemask.camera.lens import image_of_rays, inside
from rangemask.geometry import Camera
from support.rigs import LENSES, raw_cameras

relaxed = settings(deadline=None, max_examples=60)


def opencv_image(camera: Camera, rays: np.ndarray) -> np.ndarray:
    none, d = np.zeros(3), np.array(camera.distortion)
    points = rays.reshape(-1, 1, 3)
    if camera.model == "fisheye":
        image, _ = cv2.fisheye.projectPoints(points, none, none, camera.matrix, d)
    else:
        image, _ = cv2.projectPoints(points, none, none, camera.matrix, d)
    return np.asarray(image).reshape(-1, 2)


@relaxed
@given(data=st.data(), lens=st.sampled_from(LENSES))
def test_points_fall_where_opencv_puts_them(data: st.DataObject, lens: int | str) -> None:
    camera = data.draw(raw_cameras(lens=lens))
    slope = st.floats(-0.5, 0.5)
    rays = np.array(data.draw(st.lists(st.tuples(slope, slope, st.floats(0.5, 9)), min_size=1)))
    rays[:, :2] *= rays[:, 2:]
    np.testing.assert_allclose(image_of_rays(camera, rays), opencv_image(camera, rays), atol=1e-6)


def test_a_fisheye_sees_behind_its_image_plane() -> None:
    camera = Camera(fx=200, fy=200, cx=400, cy=300, model="fisheye", distortion=(0.0,) * 4)
    angle = math.radians(100)
    ray = np.array([math.sin(angle), 0, math.cos(angle)])
    np.testing.assert_allclose(image_of_rays(camera, ray), (400 + 200 * angle, 300))


@pytest.mark.parametrize("distortion", [(), (0.1, 0.0, 0.0, 0.0)])
def test_a_pinhole_does_not_see_behind_itself(distortion: tuple[float, ...]) -> None:
    camera = Camera(fx=200, fy=200, cx=100, cy=100, width=200, height=200, distortion=distortion)
    rays = np.array([[0, 0, -1.0], [0, 0, 0.0], [0, 0, 1.0]])
    np.testing.assert_array_equal(inside(camera, rays), [False, False, True])


@pytest.mark.parametrize(
    ("camera", "end"),
    [
        # r (1 - 0.4 r^2) turns at r = sqrt(1 / 1.2).
        (Camera(fx=9, fy=9, cx=0, cy=0, distortion=(-0.4, 0, 0, 0)), math.sqrt(1 / 1.2)),
        # A pole without a zero: the model ends where its denominator vanishes.
        (Camera(fx=9, fy=9, cx=0, cy=0, distortion=(0, 0, 0, 0, 0, -1.0, 0, 0)), 1.0),
        # theta (1 - 0.2 theta^2) turns at theta = sqrt(1 / 0.6).
        (
            Camera(fx=9, fy=9, cx=0, cy=0, model="fisheye", distortion=(-0.2, 0, 0, 0)),
            math.tan(math.sqrt(1 / 0.6)),
        ),
    ],
)
def test_beyond_the_fold_nothing_is_imaged(camera: Camera, end: float) -> None:
    """Otherwise the outer rays would show the inner image a second time, mirrored."""
    rays = np.array([[end * 0.97, 0, 1.0], [end * 1.03, 0, 1.0]])
    before, after = image_of_rays(camera, rays)
    assert before[0] > 0
    assert after[0] == -1e4


def test_a_pole_beside_a_zero_is_bridged() -> None:
    """As in real rational calibrations: the fraction is nearly one but for a thin ring."""
    square = 0.63**2
    # (1 - r^2 / a) / (1 - r^2 / b) with a and b a hair apart.
    camera = Camera(
        fx=800, fy=800, cx=0, cy=0, width=640, height=480,
        distortion=(-1 / (square * 1.0001), 0, 0, 0, 0, -1 / square, 0, 0),
    )  # fmt: skip
    radius = np.linspace(0.5, 0.75, 20_001)
    rays = np.stack([radius, np.zeros_like(radius), np.ones_like(radius)], axis=-1)
    ours = image_of_rays(camera, rays)[:, 0]
    assert np.abs(opencv_image(camera, rays)[:, 0] - 800 * radius).max() > 20
    assert np.abs(ours - 800 * radius).max() < 2
    assert (np.diff(ours) > 0).all()
