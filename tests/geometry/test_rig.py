import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rangemask.geometry import (
    Camera,
    Rig,
    back_project,
    back_project_pixels,
    depth_error_from_disparity_error,
    depth_from_disparity,
    disparity_from_depth,
    project,
)
from rangemask.geometry.rig import rows

relaxed = settings(deadline=None, max_examples=50)


@st.composite
def rigs(draw: st.DrawFn) -> Rig:
    width, height = draw(st.integers(2, 400)), draw(st.integers(2, 300))
    return Rig.rectified(
        fx=draw(st.floats(20, 4000)),
        fy=draw(st.floats(20, 4000)),
        cx=draw(st.floats(-10, width + 10)),
        cy=draw(st.floats(-10, height + 10)),
        baseline_m=draw(st.floats(0.01, 2.0)),
        width=width,
        height=height,
        doffs_px=draw(st.floats(-50, 200)),
    )


@relaxed
@given(rig=rigs(), depth_m=st.lists(st.floats(0.2, 200), min_size=1, max_size=20))
def test_disparity_and_depth_are_inverse(rig: Rig, depth_m: list[float]) -> None:
    """Going to disparity and back gives the depth one started from."""
    depth = np.array(depth_m)
    exact_disparity = rig.fx * rig.baseline_m / depth - rig.doffs_px
    np.testing.assert_allclose(depth_from_disparity(exact_disparity, rig), depth, rtol=1e-5)
    np.testing.assert_allclose(
        disparity_from_depth(depth, rig), exact_disparity, rtol=1e-5, atol=1e-4
    )


@relaxed
@given(rig=rigs(), z=st.floats(0.2, 50), x=st.floats(-3, 3), y=st.floats(-3, 3))
def test_disparity_is_the_difference_of_the_two_projections(
    rig: Rig, z: float, x: float, y: float
) -> None:
    """The definition of disparity, doffs included, from the two cameras' own matrices."""
    assert rig.right is not None
    point = np.array([x, y, z])
    in_left = rig.left.matrix @ point
    in_right = rig.right.matrix @ (np.array(rig.rotation) @ point + rig.translation_m)
    moved = in_left[0] / in_left[2] - in_right[0] / in_right[2]
    assert in_left[1] / in_left[2] == pytest.approx(in_right[1] / in_right[2])
    assert float(disparity_from_depth(z, rig)) == pytest.approx(moved, rel=1e-4, abs=1e-3)


@relaxed
@given(rig=rigs(), z=st.floats(0.2, 50))
def test_projection_undoes_back_projection(rig: Rig, z: float) -> None:
    assert rig.size is not None
    width, height = rig.size
    points = back_project(np.full((height, width), z, dtype=np.float32), rig)
    expected = np.stack(np.meshgrid(np.arange(width), np.arange(height)), axis=-1)
    np.testing.assert_allclose(project(points, rig), expected, atol=0.02)
    np.testing.assert_allclose(
        back_project_pixels(expected, np.full((height, width), z), rig),
        points,
        rtol=1e-4,
        atol=1e-4,
    )


@relaxed
@given(rig=rigs(), factor=st.integers(2, 4))
def test_scaling_keeps_depth(rig: Rig, factor: int) -> None:
    """An image twice as wide has twice the disparity and the same depth."""
    assert rig.size is not None
    larger = rig.scaled(rig.size[0] * factor, rig.size[1] * factor)
    disparity = np.array([10.0, 20.0, 300.0])
    np.testing.assert_allclose(
        depth_from_disparity(disparity * factor, larger),
        depth_from_disparity(disparity, rig),
        rtol=1e-4,
    )


def test_scaling_keeps_the_image_corner_in_place() -> None:
    camera = Camera(fx=100, fy=100, cx=-0.5, cy=-0.5, width=10, height=10)
    larger = camera.scaled(40, 40)
    assert (larger.cx, larger.cy, larger.fx) == (-0.5, -0.5, 400)


@relaxed
@given(rig=rigs(), x=st.integers(0, 1), y=st.integers(0, 1))
def test_cropping_then_projecting_is_projecting_then_shifting(rig: Rig, x: int, y: int) -> None:
    assert rig.size is not None
    small = rig.cropped(x, y, rig.size[0] - x, rig.size[1] - y)
    point = np.array([0.3, -0.2, 2.0])
    np.testing.assert_allclose(
        project(point, small), project(point, rig) - np.array([x, y]), atol=1e-2
    )
    assert small.doffs_px == pytest.approx(rig.doffs_px, abs=1e-9)


def test_depth_error_grows_with_the_square_of_range(rig: Rig) -> None:
    near, far = depth_error_from_disparity_error(np.array([1.0, 3.0]), rig, disparity_error_px=0.5)
    assert near == pytest.approx(0.5 / (60 * 0.1))
    assert far == pytest.approx(9 * near)


def test_unknown_disparity_is_unknown_depth(rig: Rig) -> None:
    disparity = np.array([np.nan, np.inf, -2.0, -5.0, 4.0], dtype=np.float32)
    depth = depth_from_disparity(disparity, rig)
    assert np.isnan(depth).tolist() == [True, True, True, True, False]
    assert np.isnan(disparity_from_depth(np.array([0.0, -1.0, np.nan]), rig)).all()
    assert np.isnan(project(np.array([0.0, 0.0, -1.0]), rig)).all()


def test_size_is_bound_when_it_was_unknown() -> None:
    unsized = Rig.rectified(fx=50, cx=1, cy=1, baseline_m=0.1)
    assert unsized.size is None
    assert unsized.with_size(8, 6).size == (8, 6)
    with pytest.raises(ValueError, match="unknown image size"):
        unsized.scaled(8, 6)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"fx": 0.0}, "focal lengths must be positive"),
        ({"fx": math.nan}, "fx must be a finite number"),
        ({"cy": math.inf}, "cy must be a finite number"),
        ({"width": 0}, "image size must be positive"),
        ({"width": None}, "go together"),
        ({"model": "omni"}, "'pinhole' or 'fisheye'"),
        ({"distortion": (0.1,) * 3}, "0 or 4 or 5 or 8 or 12 or 14"),
        ({"model": "fisheye", "distortion": (0.1,) * 5}, "has 4 distortion"),
        ({"distortion": (math.nan,) * 5}, "distortion must be finite"),
    ],
)
def test_impossible_cameras_are_refused(change: dict[str, object], words: str) -> None:
    values = {"fx": 10.0, "fy": 10.0, "cx": 4.0, "cy": 3.0, "width": 8, "height": 6} | change
    with pytest.raises(ValueError, match=words):
        Camera(**values)  # type: ignore[arg-type]


@pytest.mark.parametrize("baseline_m", [0.0, -0.1, math.nan, math.inf])
def test_impossible_baselines_are_refused(baseline_m: float) -> None:
    with pytest.raises(ValueError, match="baseline must be a positive number"):
        Rig.rectified(fx=10, cx=1, cy=1, baseline_m=baseline_m)


def test_impossible_rigs_are_refused() -> None:
    camera = Camera(fx=10, fy=10, cx=4, cy=3, width=8, height=6)
    other = Camera(fx=10, fy=10, cx=4, cy=3, width=16, height=6)
    with pytest.raises(ValueError, match="one image size"):
        Rig(left=camera, right=other)
    with pytest.raises(ValueError, match=r"Swap left and right"):
        Rig(left=camera, right=camera, translation_m=(0.1, 0.0, 0.0))
    with pytest.raises(ValueError, match="rotation matrix"):
        Rig(left=camera, right=camera, rotation=rows(np.diag([1.0, 1.0, 2.0])))
    with pytest.raises(ValueError, match="rotation must be finite"):
        Rig(left=camera, rotation=rows(np.full((3, 3), np.nan)))
    with pytest.raises(ValueError, match="translation must be finite"):
        Rig(left=camera, translation_m=(math.nan, 0.0, 0.0))
    with pytest.raises(ValueError, match="3 x 3"):
        rows(np.eye(2))


def test_a_single_camera_has_no_baseline(rig: Rig) -> None:
    single = Rig(left=rig.left)
    assert single.baseline_m is None
    assert single.is_rectified
    with pytest.raises(ValueError, match="no baseline"):
        depth_from_disparity(np.ones(1), single)


def test_an_unrectified_rig_gives_no_depth(rig: Rig) -> None:
    turned = Rig(
        left=rig.left,
        right=rig.right,
        rotation=rows([[1, 0, 0], [0, 0, -1], [0, 1, 0]]),
        translation_m=(-0.1, 0, 0),
    )
    assert not turned.is_rectified
    with pytest.raises(ValueError, match="not rectified"):
        depth_from_disparity(np.ones(1), turned)
    bent = Rig(left=Camera(fx=9, fy=9, cx=1, cy=1, distortion=(0.1, 0, 0, 0)))
    with pytest.raises(ValueError, match="distorted"):
        back_project(np.ones((2, 2), dtype=np.float32), bent)


@pytest.mark.parametrize(("box", "words"), [((0, 0, 65, 4), "leaves"), ((-1, 0, 4, 4), "inside")])
def test_crops_outside_are_refused(rig: Rig, box: tuple[int, ...], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        rig.cropped(*box)


def test_maps_of_another_size_are_refused(rig: Rig) -> None:
    with pytest.raises(ValueError, match="the rig is for"):
        back_project(np.ones((3, 3), dtype=np.float32), rig)
    with pytest.raises(ValueError, match=r"\(H, W\)"):
        back_project(np.ones(3, dtype=np.float32), rig)
