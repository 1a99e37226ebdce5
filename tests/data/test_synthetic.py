import math
from dataclasses import replace

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rangemask.data.synthetic import (
    CLASS_NAMES,
    SCENE_KINDS,
    Box,
    Capsule,
    Cylinder,
    Material,
    Plane,
    SensorConfig,
    Shape,
    Sphere,
    SyntheticSample,
    SyntheticScene,
    Thing,
    camera_pose,
    random_scene,
    render,
)
from rangemask.data.synthetic.rays import pixel_rays, project_points
from rangemask.geometry import Camera, Rig, back_project, disparity_from_depth
from rangemask.geometry.rig import rows

relaxed = settings(deadline=None, max_examples=40)
GREY = Material(light=(0.9, 0.9, 0.9), dark=(0.1, 0.1, 0.1), cell_m=0.2)
QUIET = SensorConfig(noise=0)
EYE = camera_pose(0.0)


def pair(width: int = 160, height: int = 120, doffs_px: float = 0.0) -> Rig:
    return Rig.rectified(
        fx=140.0,
        cx=(width - 1) / 2,
        cy=(height - 1) / 2,
        baseline_m=0.1,
        width=width,
        height=height,
        doffs_px=doffs_px,
    )


def alone(shape: Shape, name: str = "object") -> SyntheticScene:
    return SyntheticScene(things=(Thing(name=name, parts=((shape, GREY),)),), camera_pose=EYE)


def warp_right(sample: SyntheticSample, disparity: np.ndarray) -> np.ndarray:
    """The right image seen from the left eye through a disparity."""
    assert sample.frame.right is not None
    height, width = disparity.shape
    x = np.arange(width, dtype=np.float32)[None] - np.nan_to_num(disparity, nan=1e4)
    y = np.broadcast_to(np.arange(height, dtype=np.float32)[:, None], x.shape).copy()
    return cv2.remap(sample.frame.right, x.astype(np.float32), y, cv2.INTER_CUBIC)


@pytest.mark.parametrize("kind", SCENE_KINDS)
@pytest.mark.parametrize("doffs_px", [0.0, 7.0])
def test_the_right_image_warped_by_the_true_disparity_is_the_left_one(
    kind: str, doffs_px: float
) -> None:
    """The photometric proof, and that it can fail."""
    sample = render(random_scene(4, kind=kind), pair(320, 240, doffs_px), sensor=QUIET, samples=3)
    assert sample.disparity is not None
    assert sample.occluded is not None
    edges = np.zeros(sample.occluded.shape, dtype=bool)
    jump = np.abs(np.diff(np.nan_to_num(sample.disparity), axis=1)) > 0.5
    edges[:, 1:] |= jump
    edges[:, :-1] |= jump
    seen = ~sample.occluded & ~cv2.dilate(edges.astype(np.uint8), np.ones((5, 5))).astype(bool)
    seen &= np.isfinite(sample.disparity)

    def difference(disparity: np.ndarray) -> float:
        warped = warp_right(sample, disparity).astype(float)
        return float(np.abs(warped - sample.frame.left)[seen].mean())

    assert seen.mean() > 0.3
    assert difference(sample.disparity) < 1.5
    assert difference(-sample.disparity) > 5 * difference(sample.disparity)
    assert difference(sample.disparity * 1.1) > 2 * difference(sample.disparity)


def test_noise_is_all_that_is_added() -> None:
    scene, rig = random_scene(1), pair()
    clean = render(scene, rig, sensor=QUIET)
    noisy = render(scene, rig, sensor=SensorConfig(noise=4.0))
    difference = noisy.frame.left.astype(float) - clean.frame.left
    middle = (clean.frame.left > 20) & (clean.frame.left < 235)
    assert difference[middle].std() == pytest.approx(4.0, rel=0.05)
    assert difference[middle].mean() == pytest.approx(0.0, abs=0.1)


def test_exposure_changes_the_right_eye_alone() -> None:
    scene, rig = random_scene(1), pair()
    plain = render(scene, rig, sensor=QUIET)
    darker = render(scene, rig, sensor=SensorConfig(noise=0, right_gain=0.5, right_offset=10))
    np.testing.assert_array_equal(darker.frame.left, plain.frame.left)
    assert darker.frame.right is not None
    assert plain.frame.right is not None
    expected = plain.frame.right.astype(float) * 0.5 + 10
    np.testing.assert_allclose(darker.frame.right, expected, atol=1)


def test_blur_removes_detail() -> None:
    scene, rig = random_scene(1), pair()
    plain = render(scene, rig, sensor=QUIET).frame.left
    blurred = render(scene, rig, sensor=SensorConfig(noise=0, blur_px=2)).frame.left
    assert cv2.Laplacian(blurred, cv2.CV_64F).std() < 0.3 * cv2.Laplacian(plain, cv2.CV_64F).std()


def test_samples_smooth_edges_and_keep_the_truth() -> None:
    scene, rig = random_scene(2), pair()
    one, four = render(scene, rig, sensor=QUIET), render(scene, rig, sensor=QUIET, samples=2)
    np.testing.assert_array_equal(one.depth_m, four.depth_m)
    assert not np.array_equal(one.frame.left, four.frame.left)
    assert np.abs(one.frame.left.astype(float) - four.frame.left).mean() < 12


@relaxed
@given(z=st.floats(0.5, 9), x=st.floats(-0.3, 0.3), radius_m=st.floats(0.05, 0.3))
def test_a_sphere_is_as_far_as_it_should_be(z: float, x: float, radius_m: float) -> None:
    """Every seen point is a radius from the centre, on the side of the camera."""
    rig = pair(40, 30)
    depth = render(alone(Sphere((x, 0.0, z), radius_m)), rig, sensor=QUIET).depth_m
    points = back_project(depth, rig)
    known = np.isfinite(depth)
    away = np.linalg.norm(points - np.array([x, 0, z], dtype=np.float32), axis=-1)
    np.testing.assert_allclose(away[known], radius_m, rtol=1e-3, atol=1e-4)
    outward = points[known].astype(float) - np.array([x, 0, z])
    assert (np.einsum("ni,ni->n", outward, points[known]) <= 1e-4).all(), "the near side is seen"


def test_planes_are_where_they_are() -> None:
    rig = pair()
    facing = render(alone(Plane((0, 0, 3.0), (0, 0, -1)), "wall"), rig, sensor=QUIET)
    np.testing.assert_allclose(facing.depth_m, 3.0, rtol=1e-6)
    np.testing.assert_allclose(facing.disparity, 140 * 0.1 / 3, rtol=1e-6)
    floor = render(alone(Plane((0, 1.2, 0), (0, -1, 0)), "floor"), rig, sensor=QUIET).depth_m
    below = np.arange(120) - 59.5
    expected = np.where(below > 0, 1.2 * 140 / np.where(below > 0, below, 1), np.nan)
    np.testing.assert_allclose(floor, np.repeat(expected[:, None], 160, axis=1), rtol=1e-5)


@relaxed
@given(yaw=st.floats(-3, 3), z=st.floats(1, 5))
def test_box_points_lie_on_its_faces(yaw: float, z: float) -> None:
    rig = pair(40, 30)
    box = Box((0.1, 0.0, z), (0.5, 0.4, 0.3), yaw)
    depth = render(alone(box), rig, sensor=QUIET).depth_m
    points = back_project(depth, rig)[np.isfinite(depth)].astype(float) - np.array(box.centre)
    cos, sin = math.cos(yaw), math.sin(yaw)
    local = points @ np.array([[cos, 0, sin], [0, 1, 0], [-sin, 0, cos]]).T
    share = np.abs(local) / (np.array(box.size_m) / 2)
    np.testing.assert_allclose(share.max(axis=1), 1, atol=2e-3)


@relaxed
@given(x=st.floats(-0.3, 0.3), z=st.floats(1, 5), tilt=st.floats(-0.3, 0.3))
def test_capsule_points_are_a_radius_from_its_axis(x: float, z: float, tilt: float) -> None:
    rig = pair(40, 30)
    capsule = Capsule((x, 0.3, z), (x + tilt, -0.3, z + tilt), 0.12)
    depth = render(alone(capsule), rig, sensor=QUIET).depth_m
    points = back_project(depth, rig)[np.isfinite(depth)].astype(float)
    start, end = np.array(capsule.start), np.array(capsule.end)
    along = end - start
    share = np.clip((points - start) @ along / (along @ along), 0, 1)
    away = np.linalg.norm(points - start - share[:, None] * along, axis=1)
    np.testing.assert_allclose(away, 0.12, atol=1e-3)


@relaxed
@given(x=st.floats(-0.3, 0.3), z=st.floats(1, 5), y=st.floats(-0.5, 0.5))
def test_cylinder_points_lie_on_side_or_ends(x: float, z: float, y: float) -> None:
    rig = pair(40, 30)
    depth = render(alone(Cylinder((x, y, z), 0.2, 0.5)), rig, sensor=QUIET).depth_m
    points = back_project(depth, rig)[np.isfinite(depth)].astype(float) - np.array([x, y, z])
    aside = np.hypot(points[:, 0], points[:, 2]) / 0.2
    up = np.abs(points[:, 1]) / 0.25
    np.testing.assert_allclose(np.maximum(aside, up), 1, atol=2e-3)


@pytest.mark.parametrize(
    "shape",
    [
        Sphere((0, 0, 0), 1.0),
        Box((0, 0, 0), (2, 2, 2), 0.4),
        Cylinder((0, 0, 0), 1.0, 2.0),
        Capsule((0, -0.5, 0), (0, 0.5, 0), 1.0),
    ],
)
def test_normals_point_outward_and_are_the_surface_s(shape: Shape) -> None:
    """Against the slope of the surface itself: neighbours lie in the tangent plane."""
    random = np.random.default_rng(0)
    away = random.normal(size=(200, 3))
    origin = np.array([4.0, 1.0, 3.0])
    rays = away / np.linalg.norm(away, axis=1)[:, None] * 0.8 - origin
    t = shape.hit(origin, rays)
    points = origin + t[:, None] * rays
    assert np.isfinite(t).all()
    normals = shape.normals(points)
    np.testing.assert_allclose(np.linalg.norm(normals, axis=1), 1, atol=1e-6)
    assert (np.einsum("ni,ni->n", normals, rays) < 1e-9).all()
    nudged = rays + random.normal(size=rays.shape) * 1e-5
    t = shape.hit(origin, nudged)
    step = origin + t[:, None] * nudged - points
    lean = np.abs(np.einsum("ni,ni->n", step, normals)) / np.linalg.norm(step, axis=1)
    assert np.median(lean) < 1e-3


def test_both_eyes_agree_on_disparity() -> None:
    """Left pixel x and right pixel x - d see the same point, so they have the same disparity."""
    sample = render(random_scene(3), pair(320, 240), sensor=QUIET)
    assert sample.disparity is not None
    assert sample.right_disparity is not None
    assert sample.occluded is not None
    x = np.arange(320)[None] - sample.disparity
    near = np.rint(np.nan_to_num(x, nan=0)).astype(int)
    seen = ~sample.occluded & np.isfinite(x) & (near >= 0)
    partner = np.take_along_axis(sample.right_disparity, np.clip(near, 0, 319), axis=1)
    difference = np.abs(partner - sample.disparity)[seen]
    assert np.quantile(difference, 0.95) < 0.2


def test_disparity_follows_from_depth() -> None:
    rig = pair(doffs_px=5)
    sample = render(random_scene(3), rig, sensor=QUIET)
    np.testing.assert_array_equal(sample.disparity, disparity_from_depth(sample.depth_m, rig))


def test_occlusion_by_brute_force() -> None:
    """Against the right depth map: hidden is what lies behind what the right eye sees there."""
    sample = render(random_scene(5), pair(320, 240), sensor=QUIET)
    assert sample.disparity is not None
    assert sample.occluded is not None
    assert sample.right_depth_m is not None
    x = np.arange(320)[None] - sample.disparity
    known = np.isfinite(x)
    outside = known & ((x < -0.5) | (x >= 319.5))
    assert sample.occluded[outside].all()
    near = np.clip(np.rint(np.nan_to_num(x)), 0, 319).astype(int)
    front = np.take_along_axis(sample.right_depth_m, near, axis=1)
    hidden = front < sample.depth_m * 0.98
    inside = known & ~outside
    assert (hidden == sample.occluded)[inside].mean() > 0.99
    assert sample.occluded[inside].any()


def test_a_seed_says_everything() -> None:
    rig = pair()
    one, same = (render(random_scene(7), rig, seed=1) for _ in range(2))
    assert one.frame == same.frame
    np.testing.assert_array_equal(one.depth_m, same.depth_m)
    assert one.frame != render(random_scene(7), rig, seed=2).frame
    assert not np.array_equal(one.depth_m, render(random_scene(8), rig).depth_m)


@pytest.mark.parametrize("kind", SCENE_KINDS)
@pytest.mark.parametrize("seed", range(4))
def test_objects_stand_on_the_floor_in_view(kind: str, seed: int) -> None:
    scene = random_scene(seed, kind=kind)
    sample = render(scene, pair(), sensor=QUIET)
    masks = sample.masks()
    assert len(scene.objects) >= 3
    assert (masks.any(axis=(1, 2))).sum() >= 2
    for thing in scene.objects:
        lowest = max(shape.bound[0][1] + _reach_down(shape) for shape, _ in thing.parts)
        assert lowest == pytest.approx(0, abs=0.03)
    for number, mask in enumerate(masks, start=1):
        names = {CLASS_NAMES[i] for i in np.unique(sample.semantic.ids[mask])}
        assert names <= {scene.objects[number - 1].name}
    structure = sample.instance_ids == 0
    assert set(np.unique(sample.semantic.ids[structure])) <= {0, 1, 2}
    assert (np.isfinite(sample.depth_m) == (sample.semantic.ids > 0)).all()


def _reach_down(shape: Shape) -> float:
    if isinstance(shape, Box):
        return shape.size_m[1] / 2
    if isinstance(shape, Cylinder):
        return shape.height_m / 2
    if isinstance(shape, Capsule):
        return max(shape.start[1], shape.end[1]) + shape.radius_m - shape.bound[0][1]
    assert isinstance(shape, Sphere)
    return shape.radius_m


LENSES = [
    {"distortion": (-0.2, 0.05, 0.001, -0.002, 0.01)},
    {"distortion": (0.3, 0.1, 0.0, 0.001, 0.02, 0.4, 0.15, 0.03)},
    {"distortion": (0.1, 0.02, 0, 0, 0, 0.2, 0, 0, 0.001, 0, 0.001, 0, 0.01, 0.01)},
    {"model": "fisheye", "distortion": (0.02, -0.01, 0.005, -0.001)},
]


@pytest.mark.parametrize("lens", LENSES)
def test_any_lens_sees_points_where_opencv_projects_them(lens: dict) -> None:
    """The truth, projected back through the lens, lands on its own pixel."""
    camera = Camera(fx=120, fy=121, cx=79, cy=60, width=160, height=120, **lens)
    rays = pixel_rays(camera)
    pixels, inside = project_points(camera, rays * 2.5)
    grid = np.stack(np.meshgrid(np.arange(160), np.arange(120)), axis=-1).reshape(-1, 2)
    np.testing.assert_allclose(pixels, grid, atol=1e-3)
    assert inside.all()
    distortion = np.array(camera.distortion)
    project = cv2.fisheye.projectPoints if camera.model == "fisheye" else cv2.projectPoints
    reference = project(
        (rays * 2.5).reshape(-1, 1, 3), np.zeros(3), np.zeros(3), camera.matrix, distortion
    )[0]
    np.testing.assert_allclose(pixels, reference.reshape(-1, 2), atol=1e-6)


def test_a_raw_rig_renders_without_disparity() -> None:
    straight = pair()
    assert straight.right is not None
    rig = Rig(
        left=replace(straight.left, model="fisheye", distortion=(0.01, 0, 0, 0)),
        right=straight.right,
        rotation=rows(cv2.Rodrigues(np.array([0.01, 0.03, -0.02]))[0]),
        translation_m=(-0.1, 0.002, 0.004),
    )
    sample = render(random_scene(1), rig, sensor=QUIET)
    assert sample.disparity is None
    assert sample.right_depth_m is not None
    assert sample.occluded is not None
    # The same world point, by the rig's own rotation and translation.
    known = np.isfinite(sample.depth_m).ravel() & ~sample.occluded.ravel()
    points = pixel_rays(rig.left)[known] * sample.depth_m.ravel()[known, None]
    in_right = points @ np.array(rig.rotation).T + np.array(rig.translation_m)
    assert rig.right is not None
    pixels, inside = project_points(rig.right, in_right)
    assert inside.all()
    column, row = np.rint(pixels).astype(int).T
    there = sample.right_depth_m[np.clip(row, 0, 119), np.clip(column, 0, 159)]
    assert np.median(np.abs(there / in_right[:, 2] - 1)) < 0.01


def test_one_camera_gives_one_image() -> None:
    sample = render(random_scene(1), Rig(left=pair().left))
    assert sample.frame.right is None
    assert sample.disparity is None
    assert sample.occluded is None


def test_a_pose_moves_the_camera() -> None:
    scene = alone(Plane((0, 0, 3.0), (0, 0, -1)), "wall")
    nearer = render(scene, pair(), sensor=QUIET, pose=np.array(camera_pose(0.0, z_m=1.0)))
    np.testing.assert_allclose(nearer.depth_m, 2.0, rtol=1e-6)
    down = camera_pose(1.5, pitch_rad=math.pi / 2)
    from_above = alone(Plane((0, 0, 0), (0, -1, 0)), "floor")
    seen = render(replace(from_above, camera_pose=down), pair(), sensor=QUIET)
    np.testing.assert_allclose(seen.depth_m, 1.5, rtol=1e-6)


def test_very_wide_rays_are_left_out() -> None:
    wide = Camera(
        fx=40,
        fy=40,
        cx=79.5,
        cy=59.5,
        width=160,
        height=120,
        model="fisheye",
        distortion=(0.0,) * 4,
    )
    sample = render(alone(Plane((0, 0, 2), (0, 0, -1)), "wall"), Rig(left=wide), sensor=QUIET)
    assert np.isnan(sample.depth_m[0, 0])
    assert sample.frame.left[0, 0].max() == 0
    assert sample.depth_m[60, 80] == pytest.approx(2)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: render(random_scene(0), Rig(left=Camera(fx=9, fy=9, cx=1, cy=1))), "with_size"),
        (lambda: render(random_scene(0), pair(), samples=0), "samples"),
        (lambda: random_scene(0, kind="moon"), "kind must be one of"),
        (lambda: random_scene(0, n_objects=-1), "n_objects"),
        (lambda: Thing(name="cat", parts=((Sphere((0, 0, 1), 1), GREY),)), "class must be one of"),
        (lambda: Thing(name="object", parts=()), "at least one shape"),
        (lambda: Material(light=(1, 1, 1), dark=(0, 0, 0), cell_m=0), "cell_m"),
        (lambda: Material(light=(1, 1, 1), dark=(0, 0, 0), contrast=2), "contrast"),
        (lambda: SensorConfig(noise=-1), "noise"),
    ],
)
def test_impossible_requests_are_refused(make: object, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        make()  # type: ignore[operator]


def test_an_empty_room_has_no_objects() -> None:
    sample = render(random_scene(0, n_objects=0), pair())
    assert sample.masks().shape == (0, 120, 160)
