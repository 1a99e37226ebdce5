"""The segmenter ``geometry`` on scenes with known masks, and on what is no scene at all."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rangemask.backends.masks.geometry import SEMANTIC_NAMES, GeometryConfig, GeometrySegmenter
from rangemask.backends.registry import load_masks
from rangemask.backends.stereo.sgbm import SgbmMatcher
from rangemask.backends.stereo.to_depth import depth_of_match
from rangemask.data.synthetic import (
    Box,
    Material,
    Plane,
    Sphere,
    SyntheticSample,
    SyntheticScene,
    Thing,
    camera_pose,
    random_scene,
    render,
)
from rangemask.errors import InputError
from rangemask.geometry import Rig
from rangemask.structures import DepthMap, StereoFrame

RIG = Rig.rectified(fx=300.0, cx=159.5, cy=119.5, baseline_m=0.2, width=320, height=240)


def thing(name: str, shape: object, light: tuple[float, float, float], seed: int = 0) -> Thing:
    material = Material(light=light, dark=(0.1, 0.1, 0.1), cell_m=0.1, seed=seed)
    return Thing(name=name, parts=((shape, material),))  # type: ignore[arg-type]


FLOOR = thing("floor", Plane((0, 0, 0), (0, -1, 0)), (0.6, 0.6, 0.6), 1)
WALL = thing("wall", Plane((0, 0, 6), (0, 0, -1)), (0.8, 0.8, 0.5), 2)
BOX = thing("object", Box((-0.6, -0.5, 2.5), (0.5, 1.0, 0.5), 0.4), (0.9, 0.2, 0.2), 3)
BALL = thing("object", Sphere((0.6, -0.4, 3.0), 0.4), (0.2, 0.3, 0.9), 4)


def scene(*things: Thing, pitch_rad: float = 0.15) -> SyntheticScene:
    return SyntheticScene(things=things, camera_pose=camera_pose(1.2, pitch_rad=pitch_rad))


def noisy(sample: SyntheticSample, *, noise_px: float = 0.3, seed: int = 0) -> DepthMap:
    """What a matcher would say: disparity with noise, no answer where the right eye is blind."""
    assert sample.disparity is not None
    assert sample.occluded is not None
    random = np.random.default_rng(seed)
    disparity = sample.disparity + random.normal(0, noise_px, sample.disparity.shape)
    disparity[sample.occluded | (disparity < 0.5)] = np.nan
    return DepthMap(values=(RIG.fx * 0.2 / disparity).astype(np.float32))


def overlaps(found: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """(N found, M true) intersections over unions."""
    both = (found[:, None] & truth[None]).sum(axis=(2, 3))
    either = (found[:, None] | truth[None]).sum(axis=(2, 3))
    return both / np.maximum(either, 1)


def mean_overlap(sample: SyntheticSample, found: np.ndarray) -> float:
    truth = sample.masks()
    large = truth[truth.sum(axis=(1, 2)) >= 400]
    best = overlaps(found, large).max(axis=0) if len(found) else np.zeros(len(large))
    return float(best.mean())


@pytest.fixture(scope="module")
def sample() -> SyntheticSample:
    return render(scene(FLOOR, WALL, BOX, BALL), RIG)


@pytest.mark.parametrize("things", [(FLOOR, WALL, BOX, BALL), (FLOOR, BOX, BALL)])
def test_objects_on_a_floor_are_found_one_by_one(things: tuple[Thing, ...]) -> None:
    sample = render(scene(*things), RIG)
    found = GeometrySegmenter()(sample.frame, depth=noisy(sample))
    assert len(found) == 2
    assert overlaps(found.masks.dense(), sample.masks()).max(axis=0).min() > 0.85
    assert set(found.labels) == {"object"}
    assert all(0.5 <= score <= 1 for score in found.scores)


def test_masks_do_not_overlap(sample: SyntheticSample) -> None:
    masks = GeometrySegmenter()(sample.frame, depth=noisy(sample)).masks.dense()
    assert masks.sum(axis=0).max() == 1


def test_planes_are_called_by_their_place(sample: SyntheticSample) -> None:
    found = GeometrySegmenter()(sample.frame, depth=noisy(sample))
    assert found.semantic is not None
    assert found.semantic.names == SEMANTIC_NAMES
    for true, name in (("floor", "floor-like"), ("wall", "wall-like")):
        where = sample.semantic.mask(true)
        assert found.semantic.mask(name)[where].mean() > 0.85
    assert np.array_equal(found.semantic.mask("object"), found.masks.dense().any(axis=0))


def test_a_ceiling_is_a_ceiling() -> None:
    ceiling = thing("wall", Plane((0, -2.4, 0), (0, 1, 0)), (0.9, 0.9, 0.9), 5)
    sample = render(scene(FLOOR, WALL, ceiling, BOX, pitch_rad=-0.1), RIG)
    found = GeometrySegmenter()(sample.frame, depth=noisy(sample))
    above = (sample.frame.height // 8, sample.frame.width // 2)
    assert found.semantic is not None
    assert SEMANTIC_NAMES[found.semantic.ids[above]] == "ceiling-like"
    assert len(found) == 1


def test_the_camera_may_look_down() -> None:
    sample = render(scene(FLOOR, BOX, BALL, pitch_rad=0.55), RIG)
    found = GeometrySegmenter()(sample.frame, depth=noisy(sample))
    assert found.semantic is not None
    assert found.semantic.mask("floor-like")[sample.semantic.mask("floor")].mean() > 0.8
    assert mean_overlap(sample, found.masks.dense()) > 0.85


def test_the_face_of_a_box_is_no_wall() -> None:
    """A plane that fills a third of the image is still an object when it has things behind it."""
    crate = thing("object", Box((0, -0.6, 1.9), (1.2, 1.2, 0.4)), (0.3, 0.8, 0.3), 6)
    sample = render(scene(FLOOR, WALL, crate), RIG)
    found = GeometrySegmenter()(sample.frame, depth=noisy(sample))
    assert overlaps(found.masks.dense(), sample.masks()).max() > 0.9


@pytest.mark.parametrize("kind", ["room", "table", "outdoor"])
def test_random_scenes(kind: str) -> None:
    shares = []
    for seed in (900, 901, 902):
        sample = render(random_scene(seed, kind=kind), RIG)  # type: ignore[arg-type]
        found = GeometrySegmenter()(sample.frame, depth=noisy(sample))
        shares.append(mean_overlap(sample, found.masks.dense()))
    assert np.mean(shares) > 0.75


def test_without_snapping_masks_are_coarser_but_there(sample: SyntheticSample) -> None:
    coarse = GeometrySegmenter(GeometryConfig(snap=False))(sample.frame, depth=noisy(sample))
    fine = GeometrySegmenter()(sample.frame, depth=noisy(sample))
    assert mean_overlap(sample, coarse.masks.dense()) > 0.7
    assert mean_overlap(sample, coarse.masks.dense()) < mean_overlap(sample, fine.masks.dense())


@settings(deadline=None, max_examples=5)
@given(factor=st.floats(1e-3, 1e3))
def test_the_scale_of_depth_does_not_matter(factor: float) -> None:
    """Depth up to scale and no rig: the same objects whatever the unit."""
    sample = render(scene(FLOOR, WALL, BOX, BALL), RIG)
    frame = StereoFrame(sample.frame.left)
    metres = noisy(sample).values
    scaled = DepthMap(values=(metres * np.float32(factor)), kind="up_to_scale")
    found = GeometrySegmenter()(frame, depth=scaled)
    assert len(found) == 2
    assert overlaps(found.masks.dense(), sample.masks()).max(axis=0).min() > 0.8


def test_the_same_frame_gives_the_same_masks(sample: SyntheticSample) -> None:
    first, second = (GeometrySegmenter()(sample.frame, depth=noisy(sample)) for _ in range(2))
    assert first.masks == second.masks
    assert first.semantic == second.semantic


def test_what_is_filled_or_doubtful_is_not_looked_at(sample: SyntheticSample) -> None:
    """A ghost that a matcher guessed, or does not believe in, is no object."""
    values = noisy(sample).values
    values[20:90, 130:190] = 1.5
    ghost = np.zeros(values.shape, bool)
    ghost[20:90, 130:190] = True
    sure = (~ghost).astype(np.float32)
    for doubtful in (
        DepthMap(values=values, filled=ghost),
        DepthMap(values=values, confidence=sure),
    ):
        found = GeometrySegmenter()(sample.frame, depth=doubtful)
        assert len(found) == 2
        assert found.masks.dense()[:, 30:80, 140:180].sum() == 0
    believed = GeometrySegmenter()(sample.frame, depth=DepthMap(values=values))
    assert overlaps(believed.masks.dense(), ghost[None]).max() > 0.7


@pytest.mark.parametrize("size", [(1, 1), (8, 8), (16, 16), (1, 300), (300, 17), (40, 40)])
@pytest.mark.parametrize("what", ["unknown", "flat", "noise"])
def test_nothing_to_find(size: tuple[int, int], what: str) -> None:
    random = np.random.default_rng(3)
    values = {
        "unknown": np.full(size, np.nan),
        "flat": np.full(size, 2.0),
        "noise": 60 / random.normal(30, 0.3, size),
    }[what].astype(np.float32)
    frame = StereoFrame(random.integers(0, 256, (*size, 3), dtype=np.uint8))
    for kind in ("metric_m", "up_to_scale"):
        found = GeometrySegmenter()(frame, depth=DepthMap(values=values, kind=kind))
        assert len(found) == 0
        assert (found.masks.height, found.masks.width) == size
        assert found.semantic is not None
        assert found.semantic.ids.shape == size


@settings(deadline=None, max_examples=15)
@given(seed=st.integers(0, 2**32 - 1), height=st.integers(1, 60), width=st.integers(1, 60))
def test_garbage_does_no_harm(seed: int, height: int, width: int) -> None:
    random = np.random.default_rng(seed)
    values = random.choice(
        [-1.0, 0.0, 1e-42, 1e-30, 0.5, 3.0, 1e30, np.inf, np.nan], (height, width)
    )
    frame = StereoFrame(random.integers(0, 256, (height, width, 3), dtype=np.uint8))
    found = GeometrySegmenter()(frame, depth=DepthMap(values=values.astype(np.float32)))
    assert all(0 <= score <= 1 for score in found.scores)


def test_the_word_object_is_understood(sample: SyntheticSample) -> None:
    depth = noisy(sample)
    asked = GeometrySegmenter()(sample.frame, depth=depth, labels=("object",))
    assert asked.masks == GeometrySegmenter()(sample.frame, depth=depth).masks


@pytest.mark.parametrize("labels", [("person",), ("object", "person"), ()])
def test_other_words_are_not(sample: SyntheticSample, labels: tuple[str, ...]) -> None:
    with pytest.raises(InputError, match="knows no names"):
        GeometrySegmenter()(sample.frame, depth=noisy(sample), labels=labels)


def test_one_image_needs_depth(sample: SyntheticSample) -> None:
    with pytest.raises(InputError, match="pass depth="):
        GeometrySegmenter()(replace(sample.frame, right=None))


def test_a_pair_is_matched_when_no_depth_is_given(sample: SyntheticSample) -> None:
    depth = depth_of_match(SgbmMatcher()(sample.frame), sample.frame)
    expected = GeometrySegmenter()(sample.frame, depth=depth)
    assert GeometrySegmenter()(sample.frame).masks == expected.masks


def test_relative_depth_is_refused(sample: SyntheticSample) -> None:
    relative = DepthMap(values=noisy(sample).values, kind="relative_inverse")
    with pytest.raises(InputError, match="metric depth model"):
        GeometrySegmenter()(sample.frame, depth=relative)


def test_depth_of_another_image_is_refused(sample: SyntheticSample) -> None:
    other = DepthMap(values=np.ones((4, 5), np.float32))
    with pytest.raises(InputError, match="320 x 240 px, but its depth is 5 x 4"):
        GeometrySegmenter()(sample.frame, depth=other)


def test_the_registry_knows_it() -> None:
    segmenter = load_masks("geometry", min_score=0.7, snap=False)
    assert isinstance(segmenter, GeometrySegmenter)
    assert segmenter.config == GeometryConfig(min_score=0.7, snap=False)
    assert segmenter.passport.role == "masks"
    assert segmenter.passport.licence_class == "commercial-ok"
    assert segmenter.passport.options["min_score"] == 0.7
    with pytest.raises(InputError, match="has no weights"):
        load_masks("geometry", checkpoint="x.pth")


@pytest.mark.parametrize(
    "options",
    [
        {"work_width_px": 8},
        {"max_planes": -1},
        {"max_planes": 21},
        {"min_plane_share": 1.5},
        {"min_area_share": -0.1},
        {"min_confidence": 2},
        {"min_score": float("nan")},
        {"noise_px": 0},
        {"max_depth_error": -1},
        {"min_area_px": -1},
        {"seed": -1},
    ],
)
def test_impossible_settings_are_named(options: dict[str, float]) -> None:
    (name,) = options
    with pytest.raises(InputError, match=f"geometry: {name} must"):
        load_masks("geometry", **options)


def test_settings_do_what_they_say(sample: SyntheticSample) -> None:
    depth = noisy(sample)
    largest = max(mask.sum() for mask in sample.masks())
    assert (
        len(
            GeometrySegmenter(GeometryConfig(min_area_px=largest + 3000))(sample.frame, depth=depth)
        )
        == 0
    )
    assert (
        len(GeometrySegmenter(GeometryConfig(max_depth_error=0.002))(sample.frame, depth=depth))
        == 0
    )
    blind = GeometrySegmenter(GeometryConfig(max_planes=0))(sample.frame, depth=depth)
    assert blind.semantic is not None
    assert not blind.semantic.mask("floor-like").any()


def test_a_kerb_is_no_object() -> None:
    """Low over the floor and far longer than high."""
    kerb = thing("object", Box((0.3, -0.06, 1.9), (2.6, 0.12, 0.15)), (0.2, 0.7, 0.2), 7)
    sample = render(scene(FLOOR, WALL, kerb, BOX), RIG)
    found = GeometrySegmenter()(sample.frame, depth=noisy(sample))
    box = sample.masks()[1]
    assert len(found) == 1
    assert overlaps(found.masks.dense(), box[None]).max() > 0.8
