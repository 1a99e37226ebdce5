"""What stands in a synthetic scene, and what is said about it."""

import math

import numpy as np
import pytest

from rangemask.data.synthetic import (
    CLASS_NAMES,
    SCENE_KINDS,
    Box,
    Capsule,
    Cylinder,
    Material,
    Plane,
    SensorConfig,
    Sphere,
    SyntheticObject,
    SyntheticScene,
    Thing,
    camera_pose,
    random_scene,
    render,
)
from rangemask.geometry import Rig

QUIET = SensorConfig(noise=0)
GREY = Material(light=(0.9, 0.9, 0.9), dark=(0.1, 0.1, 0.1))
RIG = Rig.rectified(fx=140, cx=79.5, cy=59.5, baseline_m=0.1, width=160, height=120)
EYE = camera_pose(0.0)


def thing(name: str, *shapes: object) -> Thing:
    return Thing(name=name, parts=tuple((shape, GREY) for shape in shapes))


def test_hidden_objects_keep_their_place_in_the_list() -> None:
    """Also the last one, which leaves no trace in the map of ids."""
    scene = SyntheticScene(
        things=(
            thing("wall", Plane((0, 0, 3), (0, 0, -1))),
            thing("object", Sphere((0, 0, 4), 0.2)),
            thing("person", Sphere((0, 0, 2), 0.2), Sphere((0.1, 0.3, 2), 0.2)),
            thing("object", Sphere((0, 0, 5), 0.2)),
        ),
        camera_pose=EYE,
    )
    sample = render(scene, RIG, sensor=QUIET)
    assert sample.objects == (
        SyntheticObject(1, "object"),
        SyntheticObject(2, "person"),
        SyntheticObject(3, "object"),
    )
    masks = sample.masks()
    assert masks.any(axis=(1, 2)).tolist() == [False, True, False]
    np.testing.assert_array_equal(masks[1], sample.instance_ids == 2)
    person = CLASS_NAMES.index("person")
    np.testing.assert_array_equal(masks[1], sample.semantic.ids == person)


@pytest.mark.parametrize("kind", SCENE_KINDS)
def test_the_list_of_objects_and_the_maps_agree(kind: str) -> None:
    scene = random_scene(3, kind=kind)
    sample = render(scene, RIG, sensor=QUIET)
    assert [thing.name for thing in sample.objects] == [thing.name for thing in scene.objects]
    assert set(np.unique(sample.instance_ids)) <= {0, *(thing.id for thing in sample.objects)}
    for item, mask in zip(sample.objects, sample.masks(), strict=True):
        assert {CLASS_NAMES[i] for i in np.unique(sample.semantic.ids[mask])} <= {item.name}


def test_a_box_hides_as_much_as_its_disparity_exceeds_the_wall_s() -> None:
    """The band to the left of a flat front is d_box - d_wall wide, and none to the right."""
    front_m, wall_m = 1.0, 4.0
    box = Box((0, 0, front_m + 0.01), (0.4, 0.4, 0.02))
    scene = SyntheticScene(
        things=(thing("wall", Plane((0, 0, wall_m), (0, 0, -1))), thing("object", box)),
        camera_pose=EYE,
    )
    sample = render(scene, RIG, sensor=QUIET)
    assert sample.occluded is not None
    row, solid = sample.occluded[60], sample.instance_ids[60] == 1
    first, last = np.flatnonzero(solid)[[0, -1]]
    band = 140 * 0.1 * (1 / front_m - 1 / wall_m)
    hidden = np.flatnonzero(row[10:]) + 10
    assert len(hidden) == pytest.approx(band, abs=1.5)
    assert hidden.max() == first - 1, "it ends where the box begins"
    assert not row[solid].any()
    assert not row[last + 1 :].any()
    outside = 140 * 0.1 / wall_m
    assert np.flatnonzero(row[:10]).size == pytest.approx(outside, abs=1)


@pytest.mark.parametrize("kind", SCENE_KINDS)
def test_many_scenes_are_sane(kind: str) -> None:
    """In view, clear of the walls and of each other, in colours that exist."""
    for seed in range(150):
        scene = random_scene(seed, kind=kind)
        walls = [part for item in scene.things if item.name == "wall" for part, _ in item.parts]
        middles = []
        for item in scene.objects:
            centres = np.array([shape.bound[0] for shape, _ in item.parts])
            middle = (centres.min(axis=0) + centres.max(axis=0)) / 2
            x, y, z = (middle - scene.pose[:3, 3]) @ scene.pose[:3, :3]
            assert 0.3 < z < 8.5
            assert math.degrees(math.atan2(abs(x), z)) < 31, (seed, "left or right of the view")
            assert math.degrees(math.atan2(abs(y), z)) < 23, (seed, "above or below the view")
            middles.append(middle[[0, 2]])
            for wall in walls:
                normal = np.array(wall.normal) / np.linalg.norm(wall.normal)
                for shape, _ in item.parts:
                    gap_m = (np.array(shape.bound[0]) - wall.point) @ normal - shape.bound[1]
                    assert gap_m >= 0, (seed, "it sticks in the wall")
        apart = 0.2 if kind == "table" else 0.6
        for i, one in enumerate(middles):
            assert all(np.hypot(*(one - other)) > apart for other in middles[:i]), seed


def test_heads_have_colours_of_skin() -> None:
    people = [t for s in range(40) for t in random_scene(s).objects if t.name == "person"]
    heads = [m for t in people for shape, m in t.parts if isinstance(shape, Sphere)]
    assert len(heads) == len(people) > 20
    assert all(m.light[0] > m.light[1] > m.light[2] for m in heads)
    assert len({m.light for m in heads}) > 10


def test_colours_exist_and_fine_detail_fades() -> None:
    random = np.random.default_rng(0)
    points = random.uniform(-5, 5, (4000, 3))
    for pattern in ("noise", "checker", "stripes"):
        material = Material(light=(1, 0.8, 0.6), dark=(0, 0.1, 0.2), pattern=pattern, cell_m=0.2)
        sharp = material.colours(points, np.full(4000, 1e-4))
        far = material.colours(points, np.full(4000, 10.0))
        assert sharp.min() >= 0
        assert sharp.max() <= 1
        assert np.isfinite(sharp).all()
        assert sharp.std(axis=0)[0] > 0.1
        np.testing.assert_allclose(far, np.broadcast_to(far[0], far.shape), atol=1e-6)


def test_detail_fades_gradually() -> None:
    """What is half faded is weaker than what is sharp, and the same detail still."""
    points = np.random.default_rng(1).uniform(-5, 5, (6000, 3))
    material = Material(light=(1, 1, 1), dark=(0, 0, 0), cell_m=0.2)
    # One octave remains of cells of 0.2 m at 2 to 2.75 px of 0.0727 to 0.1 m each.
    whole, half, little = (
        material.colours(points, np.full(6000, 0.2 / cell_px))[:, 0] - 0.5
        for cell_px in (2.9, 2.2, 1.7)
    )
    assert whole.std() > 1.5 * half.std() > 3 * little.std() > 0
    assert np.corrcoef(whole, half)[0, 1] > 0.99


def test_light_falls_by_lambert_s_law() -> None:
    """Brightness of one plain plane: ambient, and the cosine to the light on top."""
    plain = Material(light=(0.8, 0.8, 0.8), dark=(0.8, 0.8, 0.8))
    wall = Thing(name="wall", parts=((Plane((0, 0, 2), (0, 0, -1)), plain),))
    for degrees in (0, 40, 75, 120):
        angle = math.radians(degrees)
        light = (3 * math.sin(angle), 0.0, -3 * math.cos(angle))
        scene = SyntheticScene(things=(wall,), camera_pose=EYE, light=light, ambient=0.3)
        expected = 255 * 0.8 * (0.3 + 0.7 * max(0.0, math.cos(angle)))
        sample = render(scene, RIG, sensor=QUIET)
        np.testing.assert_allclose(sample.frame.left, expected, atol=0.51)
        np.testing.assert_array_equal(sample.frame.right, sample.frame.left)


def test_a_slanted_surface_is_as_blurred_as_its_pixels_are_long() -> None:
    """The same texture at the same distance, seen face on and at a slant of 75 degrees."""

    def contrast(slant_deg: float) -> float:
        angle = math.radians(slant_deg)
        fine = Material(light=(1, 1, 1), dark=(0, 0, 0), cell_m=0.06)
        plane = Plane((0, 0, 2), (0.0, math.sin(angle), -math.cos(angle)))
        item = Thing(name="wall", parts=((plane, fine),))
        scene = SyntheticScene(things=(item,), camera_pose=EYE, ambient=1.0)
        image = render(scene, RIG, sensor=QUIET).frame.left[56:64].astype(float)
        return float(image.std())

    assert contrast(75) < 0.5 * contrast(0)


def test_every_scene_material_has_colours_within_0_and_1() -> None:
    """Seeds whose hues wrap around are among them: colorsys gives negative colours there."""
    for seed in (483, 485, 606, 608, 993):
        for item in random_scene(seed).things:
            for _, material in item.parts:
                assert min(*material.light, *material.dark) >= 0
                assert max(*material.light, *material.dark) <= 1


def scene_with(**changes: object) -> SyntheticScene:
    things = (thing("object", Sphere((0, 0, 2), 0.3)),)
    return SyntheticScene(**{"things": things, "camera_pose": EYE, **changes})


MIRROR = np.diag([-1.0, 1, 1, 1])
BENT = np.array([*np.eye(4)[:3], [0, 0, 1, 1]])


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Plane((0, 0, 1), (0, 0, 0)), "normal must be a direction"),
        (lambda: Plane((0, math.nan, 1), (0, 0, 1)), "point must be finite"),
        (lambda: Plane((0, 0, 1), (0, 0, math.inf)), "normal must be finite"),
        (lambda: Sphere((0, 0, 1), 0), "radius_m must be positive"),
        (lambda: Sphere((0, math.inf, 1), 1), "centre must be finite"),
        (lambda: Box((0, 0, 1), (1, -1, 1)), "size_m must be positive"),
        (lambda: Box((0, 0, math.nan), (1, 1, 1)), "centre must be finite"),
        (lambda: Box((0, 0, 1), (1, 1, 1), math.nan), "yaw_rad must be finite"),
        (lambda: Cylinder((0, 0, 1), -1, 1), "radius_m must be positive"),
        (lambda: Cylinder((0, 0, 1), 1, math.nan), "height_m must be positive"),
        (lambda: Cylinder((0, 0, math.nan), 1, 1), "centre must be finite"),
        (lambda: Capsule((0, 0, 1), (0, 1, 1), 0), "radius_m must be positive"),
        (lambda: Capsule((0, 0, 1), (0, math.nan, 1), 1), "centre must be finite"),
        (lambda: Material(light=(2, 0, 0), dark=(0, 0, 0)), "light must be RGB"),
        (lambda: Material(light=(1, 0, 0), dark=(0, -0.1, 0)), "dark must be RGB"),
        (lambda: Material(light=(1, 0, 0), dark=(0, 0, 0), pattern="dots"), "pattern must be"),
        (lambda: Material(light=(1, 0, 0), dark=(0, 0, 0), cell_m=math.inf), "cell_m"),
        (lambda: SensorConfig(blur_px=math.nan), "blur_px"),
        (lambda: SensorConfig(right_gain=-1), "right_gain"),
        (lambda: SensorConfig(right_offset=math.nan), "right_offset"),
        (lambda: scene_with(ambient=1.5), "ambient"),
        (lambda: scene_with(light=(0, 0, 0)), "light must be a direction"),
        (lambda: scene_with(camera_pose=np.eye(3)), "4 x 4 matrix"),
        (lambda: scene_with(camera_pose=MIRROR), "must be a rotation"),
        (lambda: render(scene_with(), RIG, pose=2 * np.eye(4)), "must be a rotation"),
        (lambda: render(scene_with(), RIG, pose=np.full((4, 4), np.nan)), "must be a rotation"),
        (lambda: render(scene_with(), RIG, pose=BENT), "last row"),
    ],
)
def test_impossible_scenes_are_refused(make: object, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        make()  # type: ignore[operator]
