from collections.abc import Sequence
from dataclasses import replace

import cv2
import numpy as np
import pytest

from rangemask.camera.rectify import Rectification
from rangemask.data.synthetic import SensorConfig, random_scene, render
from rangemask.errors import InputError
from rangemask.geometry import Rig
from rangemask.geometry.rig import rows
from rangemask.pipeline import FusionConfig, Pipeline
from rangemask.structures import (
    DepthMap,
    MaskSet,
    Passport,
    Scene,
    Segmentation,
    StereoFrame,
    StereoMatch,
)


def passport(role: str, licence_class: str = "commercial-ok") -> Passport:
    return Passport(role=role, model="fake", licence="x", licence_class=licence_class)  # type: ignore[arg-type]


class FakeStereo:
    """6 px everywhere; the last rows are occluded, the first ones filled."""

    passport = passport("stereo")

    def __call__(self, frame: StereoFrame) -> StereoMatch:
        shape = (frame.height, frame.width)
        occluded, filled = np.zeros(shape, dtype=bool), np.zeros(shape, dtype=bool)
        occluded[-4:], filled[:4] = True, True
        disparity = np.full(shape, 6, dtype=np.float32)
        disparity[-4:] = 1
        return StereoMatch(
            disparity=disparity,
            confidence=np.full(shape, 0.9, dtype=np.float32),
            occluded=occluded,
            filled=filled,
        )


class FakeDepth:
    passport = passport("depth", "research-only")

    def __init__(self, kind: str = "metric_m") -> None:
        self.kind = kind

    def __call__(self, frame: StereoFrame) -> DepthMap:
        values = np.full((frame.height, frame.width), 2.5, dtype=np.float32)
        return DepthMap(values=values, kind=self.kind)  # type: ignore[arg-type]


class FakeMasks:
    """The left half, the right half and the last rows."""

    passport = passport("masks")

    def __init__(self, count: int = 3) -> None:
        self.count = count

    def __call__(
        self,
        frame: StereoFrame,
        *,
        depth: DepthMap | None = None,
        labels: Sequence[str] | None = None,
    ) -> Segmentation:
        assert depth is not None
        self.seen = (depth.kind, labels)
        masks = np.zeros((3, frame.height, frame.width), dtype=bool)
        masks[0, :, : frame.width // 2], masks[1, :, frame.width // 2 :] = True, True
        masks[2, -4:] = True
        masks[:2, -2:] = False
        found = MaskSet.from_dense(masks, labels=["a", "b", "last"], scores=[0.9, 0.5, 0.7])
        return Segmentation(found.select(range(self.count)))


def test_models_meet_in_a_scene(frame: StereoFrame) -> None:
    masks = FakeMasks()
    scene = Pipeline(FakeStereo(), masks, labels=["a"])(frame)
    assert masks.seen == ("metric_m", ("a",))
    assert scene.depth is not None
    assert scene.depth[20, 20] == pytest.approx(0.75)  # 60 * 0.1 / (6 + 2)
    assert [thing.id for thing in scene.objects] == [1, 2, 3]
    assert [thing.label for thing in scene.objects] == ["a", "b", "last"]
    assert scene.objects[0].distance.median == pytest.approx(0.75)
    assert not scene.objects[2].distance.known, "occluded pixels are not measured"
    assert [model.role for model in scene.provenance.models] == ["stereo", "masks"]


def test_objects_are_selected_and_numbered_nearest_first(frame: StereoFrame) -> None:
    def kept(**limits: object) -> list[str]:
        fusion = FusionConfig(**limits)  # type: ignore[arg-type]
        things = Pipeline(FakeStereo(), FakeMasks(), fusion=fusion)(frame).objects
        assert [thing.id for thing in things] == list(range(1, len(things) + 1))
        return [thing.label for thing in things]

    assert kept(max_distance_m=1) == ["a", "b"]
    assert kept(min_distance_m=1) == []
    assert kept(min_score=0.6) == ["a", "last"]
    assert kept(labels=("B",)) == ["b"]
    assert kept(min_area_px=1000) == ["a", "b"]
    for bad in ({"max_distance_m": -1}, {"min_score": 2}, {"min_area_px": -1}, {"labels": ()}):
        with pytest.raises(InputError):
            FusionConfig(**bad)  # type: ignore[arg-type]


def test_refinements_are_switches(frame: StereoFrame) -> None:
    def scene_with(**switches: bool) -> Scene:
        return Pipeline(FakeStereo(), FakeMasks(2), fusion=FusionConfig(**switches))(frame)

    plain, cut, moved = scene_with(), scene_with(refine_masks=True), scene_with(refine_depth=True)
    assert plain.masks.rles[0].area > cut.masks.rles[0].area, "cut at the step of depth"
    assert plain.filled is not None
    assert moved.filled is not None
    assert moved.filled.sum() > plain.filled.sum(), "depth beyond the step is replaced"
    without = scene_with(remove_flying_pixels=True)
    np.testing.assert_array_equal(without.depth, plain.depth)  # one clean step: nothing flies


def test_a_pair_without_a_rig_has_no_distances(
    frame: StereoFrame, caplog: pytest.LogCaptureFixture
) -> None:
    masks = FakeMasks()
    scene = Pipeline(FakeStereo(), masks)(replace(frame, rig=None))
    assert masks.seen[0] == "up_to_scale"
    assert scene.depth is None
    assert scene.disparity is not None
    assert not any(thing.distance.known for thing in scene.objects)
    assert "no rig was given" in caplog.text


def test_one_image_needs_a_depth_model(frame: StereoFrame) -> None:
    alone = replace(frame, right=None)
    with pytest.raises(InputError, match="needs a depth model"):
        Pipeline(FakeStereo(), FakeMasks())(alone)
    scene = Pipeline(FakeStereo(), FakeMasks(), depth=FakeDepth())(alone)
    assert scene.disparity is None
    assert scene.objects[0].distance.median == 2.5
    assert scene.provenance.licence_class == "research-only"
    relative = Pipeline(None, FakeMasks(), depth=FakeDepth("relative_inverse"))(alone)
    assert relative.depth is None
    assert not relative.objects[0].distance.known


def test_masks_can_be_left_out(frame: StereoFrame) -> None:
    scene = Pipeline(FakeStereo(), None)(frame)
    assert scene.objects == ()
    assert scene.depth is not None


def test_impossible_pipelines_are_refused(frame: StereoFrame) -> None:
    with pytest.raises(InputError, match="got neither"):
        Pipeline(None)
    assert frame.rig is not None
    single = replace(frame, rig=Rig(left=frame.rig.left))
    with pytest.raises(InputError, match="no baseline"):
        Pipeline(FakeStereo(), None)(single)
    bent = replace(frame.rig.left, distortion=(0.1, 0.0, 0.0, 0.0))
    with pytest.raises(InputError, match="describes one camera"):
        Pipeline(FakeStereo(), None)(replace(frame, rig=Rig(left=bent)))


def test_a_raw_rig_is_rectified_on_the_way() -> None:
    straight = Rig.rectified(fx=200, cx=159.5, cy=119.5, baseline_m=0.12, width=320, height=240)
    assert straight.right is not None
    raw = replace(
        straight,
        left=replace(straight.left, distortion=(-0.1, 0.02, 0.0, 0.0)),
        rotation=rows(cv2.Rodrigues(np.array([0.02, 0.01, -0.015]))[0]),
    )
    frame = render(random_scene(4), raw, sensor=SensorConfig(noise=1)).frame
    pipeline = Pipeline(masks=None)
    scene = pipeline(frame)
    assert scene.rig is not None
    assert scene.rig.is_rectified
    assert scene.rig == Rectification(raw).rig
    assert scene.disparity is not None
    assert np.isfinite(scene.disparity).mean() > 0.7
    kept = pipeline._rectification
    pipeline(frame)
    assert pipeline._rectification is kept, "the maps are computed once for a run"
    wide = Pipeline(masks=None, field_of_view=1.0)(frame)
    assert wide.rig is not None
    assert wide.rig.fx < scene.rig.fx


def test_distances_of_a_rendered_room_are_right() -> None:
    """The whole offline path against exact truth."""
    rig = Rig.rectified(fx=500, cx=319.5, cy=239.5, baseline_m=0.12, width=640, height=480)
    sample = render(random_scene(105, kind="room"), rig, sensor=SensorConfig(noise=2))
    scene = Pipeline()(sample.frame)
    assert len(scene.objects) >= 3
    for thing in scene.objects:
        true_m = float(np.nanmedian(sample.depth_m[thing.mask]))
        assert thing.distance.median == pytest.approx(true_m, rel=0.02)
