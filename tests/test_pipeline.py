import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import cv2
import numpy as np
import pytest
import torch

from rangemask.backends import registry
from rangemask.backends.options import LoadOptions
from rangemask.backends.registry import load_stereo
from rangemask.backends.stereo.sgbm import SgbmMatcher
from rangemask.camera.rectify import Rectification
from rangemask.data.synthetic import SensorConfig, random_scene, render
from rangemask.errors import InputError
from rangemask.fusion.cloud import PointCloud
from rangemask.fusion.fill import FillConfig
from rangemask.geometry import Rig
from rangemask.geometry.rig import rows
from rangemask.pipeline import FusionConfig, Pipeline
from rangemask.structures import (
    DepthMap,
    MaskSet,
    Passport,
    Scene,
    SceneObject,
    Segmentation,
    StereoFrame,
    StereoMatch,
)
from rangemask.view.prediction import CloudConfig, save_prediction


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


@pytest.mark.parametrize("kind", ["relative_inverse", "up_to_scale"])
def test_relative_depth_of_one_image_is_neither_lost_nor_metres(
    frame: StereoFrame, kind: str, caplog: pytest.LogCaptureFixture
) -> None:
    alone = replace(frame, right=None)
    pipeline = Pipeline(None, FakeMasks(), depth=FakeDepth(kind))
    scene = pipeline(alone)
    assert scene.depth is None
    assert scene.relative_depth is not None
    np.testing.assert_allclose(scene.relative_depth, 2.5 if kind == "relative_inverse" else 0.4)
    assert not any(thing.distance.known for thing in scene.objects)
    assert [model.role for model in scene.provenance.models] == ["depth", "masks"]
    assert "is relative: it has no metres, so distances are unknown" in caplog.text
    pipeline(alone)
    assert len(caplog.records) == 1, "said once a run"


def test_geometry_finds_nothing_in_relative_depth_and_says_so(
    frame: StereoFrame, caplog: pytest.LogCaptureFixture
) -> None:
    alone = replace(frame, right=None)
    pipeline = Pipeline(None, "geometry", depth=FakeDepth("relative_inverse"))
    scene = pipeline(alone)
    assert scene.objects == ()
    assert scene.relative_depth is not None
    assert "geometry needs depth with a known zero" in caplog.text
    assert "Nothing is segmented" in caplog.text


def test_metric_depth_of_one_image_gives_distances_and_a_cloud(
    frame: StereoFrame, tmp_path: Path
) -> None:
    """The rig of one camera will do; nothing is said to be relative."""
    (tmp_path / "rig.yaml").write_text("fx: 60\ncx: 31.5\ncy: 23.5\nwidth: 64\nheight: 48\n")
    one_camera = Rig.load(tmp_path / "rig.yaml")
    alone = replace(frame, right=None, rig=one_camera)
    scene = Pipeline(None, FakeMasks(), depth=FakeDepth())(alone)
    assert scene.relative_depth is None
    assert scene.objects[0].distance.median == 2.5
    assert scene.objects[0].extent[0] > 1
    assert not scene.objects[0].distance.guessed
    folder = save_prediction(scene, tmp_path, cloud=CloudConfig())
    cloud = PointCloud.load(folder / "3d/cloud.ply")
    assert len(cloud) > 1000
    np.testing.assert_allclose(cloud.points_m[:, 2], 2.5)


class HalfBlindStereo:
    """A floor from near to far; nothing is known of the right half, its last rows are occluded."""

    passport = passport("stereo")

    def __call__(self, frame: StereoFrame) -> StereoMatch:
        disparity = floor_px(frame)
        disparity[:, frame.width // 2 :] = np.nan
        confidence = np.where(np.isfinite(disparity), 0.9, 0).astype(np.float32)
        occluded = np.zeros(disparity.shape, dtype=bool)
        occluded[-4:] = True
        disparity[-4:, : frame.width // 2] = 50
        return StereoMatch(
            disparity=disparity,
            confidence=confidence,
            occluded=occluded,
            filled=np.zeros_like(occluded),
        )


def floor_px(frame: StereoFrame) -> np.ndarray:
    rows = np.linspace(2, 20, frame.height, dtype=np.float32)[:, None]
    return np.repeat(rows, frame.width, axis=1)


class FloorDepth:
    """The true floor, as a model of any kind sees it."""

    passport = passport("depth", "research-only")

    def __init__(self, kind: str = "relative_inverse", sign: float = 1.0) -> None:
        self.kind, self.sign = kind, sign

    def __call__(self, frame: StereoFrame) -> DepthMap:
        inverse = (floor_px(frame) + 2) / 6  # 60 px * 0.1 m, doffs 2 px
        values = self.sign * (3 * inverse + 5) if self.kind == "relative_inverse" else 1.5 / inverse
        return DepthMap(values=values.astype(np.float32), kind=self.kind)  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", ["relative_inverse", "up_to_scale", "metric_m"])
def test_a_depth_model_fills_what_stereo_cannot_see(frame: StereoFrame, kind: str) -> None:
    scene = Pipeline(HalfBlindStereo(), FakeMasks(), depth=FloorDepth(kind), fill=True)(frame)
    true_m = 6 / (floor_px(frame) + 2)
    assert scene.depth is not None
    assert scene.filled is not None
    np.testing.assert_allclose(scene.depth, true_m, rtol=1e-4)
    hidden = np.zeros_like(scene.filled)
    hidden[:, 32:], hidden[-4:] = True, True
    np.testing.assert_array_equal(scene.filled, hidden)
    assert scene.disparity is not None
    assert np.isnan(scene.disparity[:40, 32:]).all(), "disparity stays what was matched"
    assert [model.role for model in scene.provenance.models] == ["stereo", "depth", "masks"]
    assert scene.provenance.licence_class == "research-only"
    assert scene.relative_depth is None


def test_only_objects_that_were_not_seen_have_guessed_distances(frame: StereoFrame) -> None:
    masks = FakeMasks()

    def things(*, fill: bool) -> dict[str, SceneObject]:
        scene = Pipeline(HalfBlindStereo(), masks, depth=FloorDepth(), fill=fill)(frame)
        return {thing.label: thing for thing in scene.objects}

    plain, filled = things(fill=False), things(fill=True)
    assert filled["a"] == replace(plain["a"], id=filled["a"].id), "seen: measured as ever"
    for label in ("b", "last"):
        assert not plain[label].distance.known
        assert filled[label].distance.known
        assert filled[label].distance.guessed
    true_m = 6 / (floor_px(frame) + 2)
    assert filled["last"].distance.median == pytest.approx(
        float(np.median(true_m[-3:-1])), rel=0.05
    )
    assert filled["last"].caption.startswith("last ~")


def test_masks_are_found_in_what_was_seen(frame: StereoFrame) -> None:
    class Looking(FakeMasks):
        def __call__(
            self,
            frame: StereoFrame,
            *,
            depth: DepthMap | None = None,
            labels: Sequence[str] | None = None,
        ) -> Segmentation:
            assert depth is not None
            assert np.isnan(depth.values[:40, 32:]).all()
            return super().__call__(frame, depth=depth, labels=labels)

    Pipeline(HalfBlindStereo(), Looking(), depth=FloorDepth(), fill=True)(frame)


def test_filling_can_be_set_up(frame: StereoFrame) -> None:
    fusion = FusionConfig(filling=FillConfig(max_depth_m=0.5))
    scene = Pipeline(HalfBlindStereo(), None, depth=FloorDepth(), fill=True, fusion=fusion)(frame)
    assert scene.depth is not None
    assert np.nanmax(scene.depth[:, 32:]) <= 0.5 < np.nanmax(scene.depth[:, :32])


def test_a_depth_model_beside_a_pair_does_not_go_unsaid(
    frame: StereoFrame, caplog: pytest.LogCaptureFixture
) -> None:
    pipeline = Pipeline(HalfBlindStereo(), None, depth=FloorDepth())
    scene = pipeline(frame)
    assert [model.role for model in scene.provenance.models] == ["stereo"]
    assert "depth model fake is not used for pairs" in caplog.text
    pipeline(frame)
    assert len(caplog.records) == 1, "said once a run"
    assert "depth" in [m.role for m in pipeline(replace(frame, right=None)).provenance.models]


def test_what_cannot_be_filled_is_said_and_stays_unknown(
    frame: StereoFrame, caplog: pytest.LogCaptureFixture
) -> None:
    turned = Pipeline(HalfBlindStereo(), None, depth=FloorDepth(sign=-1), fill=True)(frame)
    assert "is not filled: the map to align contradicts the reference" in caplog.text
    assert turned.depth is not None
    assert np.isnan(turned.depth[:40, 32:]).all()
    assert [model.role for model in turned.provenance.models] == ["stereo"], "it was not used"
    caplog.clear()
    bare = Pipeline(HalfBlindStereo(), None, depth=FloorDepth(), fill=True)(
        replace(frame, rig=None)
    )
    assert "without a rig stereo has no metres" in caplog.text
    assert bare.depth is None
    assert bare.relative_depth is None


def test_a_map_of_another_size_is_an_error(frame: StereoFrame) -> None:
    class Small(FloorDepth):
        def __call__(self, frame: StereoFrame) -> DepthMap:
            whole = super().__call__(frame)
            return replace(whole, values=whole.values[::2, ::2].copy())

    with pytest.raises(InputError, match="32 x 24 px but the reference is 64 x 48"):
        Pipeline(HalfBlindStereo(), None, depth=Small(), fill=True)(frame)


def test_masks_can_be_left_out(frame: StereoFrame) -> None:
    scene = Pipeline(FakeStereo(), None)(frame)
    assert scene.objects == ()
    assert scene.depth is not None


def test_named_models_share_and_are_told_where_to_run(monkeypatch: pytest.MonkeyPatch) -> None:
    built: list[LoadOptions] = []

    def build(given: LoadOptions) -> FakeDepth:
        built.append(given)
        return FakeDepth()

    monkeypatch.setitem(sys.modules, "fakes", SimpleNamespace(build=build))  # type: ignore[misc]
    named = {role: {"fake": "fakes:build"} for role in ("stereo", "depth", "masks")}
    monkeypatch.setattr(registry, "BUILDERS", named)
    Pipeline("fake:a", "fake", depth="fake:b", device="cuda:1", precision="bfloat16")
    stereo, masks, depth = built
    assert [one.checkpoint for one in (stereo, masks, depth)] == ["a", None, "b"]
    assert {(one.device, one.precision) for one in built} == {("cuda:1", "bfloat16")}
    assert stereo.shared is masks.shared is depth.shared
    Pipeline("fake:a", None)
    assert built[3].shared is not stereo.shared, "each pipeline has its own"
    assert (built[3].device, built[3].precision) == ("auto", "auto")


def test_models_without_weights_do_not_mind_the_device_of_networks() -> None:
    pipeline = Pipeline("sgbm", "geometry", device="cuda", precision="float16")
    assert isinstance(pipeline.stereo, SgbmMatcher)
    with pytest.raises(InputError, match=r"runs on the CPU; device 'cuda'"):
        load_stereo("sgbm", device="cuda")
    with pytest.raises(InputError, match=r"has no weights, but a checkpoint"):
        Pipeline("sgbm:weights.pth", device="cuda")


def test_a_pair_without_a_matcher_needs_the_rig_of_its_left_camera_only(
    frame: StereoFrame,
) -> None:
    assert frame.rig is not None
    bent = replace(frame.rig.left, distortion=(0.1, 0.0, 0.0, 0.0))
    scene = Pipeline(None, None, depth=FakeDepth())(replace(frame, rig=Rig(left=bent)))
    assert scene.depth is not None
    assert scene.frame.right is None, "it cannot be rectified, and nothing looks at it"
    assert scene.rig is not None
    assert scene.rig.is_rectified


def test_impossible_pipelines_are_refused(frame: StereoFrame) -> None:
    with pytest.raises(InputError, match="got neither"):
        Pipeline(None)
    with pytest.raises(InputError, match=r"fill=True .* give both"):
        Pipeline(FakeStereo(), fill=True)
    with pytest.raises(InputError, match=r"fill=True .* give both"):
        Pipeline(None, depth=FakeDepth(), fill=True)
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
    kept = pipeline._rectify._rectification
    pipeline(frame)
    assert pipeline._rectify._rectification is kept, "the maps are computed once for a run"
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


def test_a_bent_model_fills_a_rendered_room_better_than_the_matcher_alone() -> None:
    """The whole path against exact truth: sgbm, and a relative map that drifts by a tenth."""
    rig = Rig.rectified(fx=250, cx=159.5, cy=119.5, baseline_m=0.12, width=320, height=240)
    sample = render(random_scene(7, kind="table"), rig, sensor=SensorConfig(noise=1))
    drift = np.exp(np.linspace(-0.1, 0.1, 320, dtype=np.float32))

    class Bent(FloorDepth):
        def __call__(self, frame: StereoFrame) -> DepthMap:
            values = (4 / (sample.depth_m * drift) - 1).astype(np.float32)
            return DepthMap(values=values, kind="relative_inverse")

    plain = Pipeline(masks=None)(sample.frame)
    guessing = Pipeline(load_stereo("sgbm", fill=True), None)(sample.frame)
    filled = Pipeline(masks=None, depth=Bent(), fill=True)(sample.frame)
    assert plain.depth is not None
    unseen = np.isnan(plain.depth) & np.isfinite(sample.depth_m)
    assert unseen.mean() > 0.02

    def error(scene: Scene) -> float:
        assert scene.depth is not None
        off = np.abs(scene.depth[unseen] / sample.depth_m[unseen] - 1)
        return float(np.minimum(np.nan_to_num(off, nan=1), 1).mean())

    assert error(filled) < 0.08
    assert error(filled) < 0.7 * error(guessing)


class Networked:
    """A matcher with a network that notes where it is."""

    def __init__(self, matcher: SgbmMatcher) -> None:
        self.matcher = matcher
        self.networks: tuple[object, ...] = ()
        self.passport = matcher.passport

    def __call__(self, frame: StereoFrame) -> StereoMatch:
        if len(self.networks) == 1:
            self.networks = ()
            raise type("OutOfMemoryError", (RuntimeError,), {})("CUDA out of memory")
        return self.matcher(frame)


def test_memory_that_runs_out_is_tried_again_and_a_budget_must_be_an_amount(
    frame: StereoFrame, caplog: pytest.LogCaptureFixture
) -> None:
    matcher = Networked(SgbmMatcher())
    matcher.networks = (torch.nn.Linear(1, 1),)
    assert Pipeline(matcher, masks=None)(frame).disparity is not None
    assert "the other models make room" in caplog.text
    with pytest.raises(InputError, match="a memory budget is an amount such as 6GB"):
        Pipeline(masks=None, memory_budget="lots")
