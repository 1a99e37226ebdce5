import json
import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from rangemask.atomic import atomic_file, atomic_folder
from rangemask.errors import InputError, OutputError
from rangemask.structures import (
    DepthMap,
    Distance,
    MaskSet,
    Passport,
    Provenance,
    Scene,
    SceneObject,
    SemanticMap,
    StereoFrame,
    StereoMatch,
)


@pytest.fixture
def scene(frame: StereoFrame) -> Scene:
    random = np.random.default_rng(3)
    shape = (frame.height, frame.width)
    disparity = random.random(shape, dtype=np.float32) * 9
    disparity[random.random(shape) < 0.2] = np.nan
    masks = MaskSet.from_dense(random.random((2, *shape)) < 0.3)
    return Scene(
        frame=frame,
        disparity=disparity,
        depth=disparity * 2,
        confidence=random.random(shape, dtype=np.float32),
        occluded=random.random(shape) < 0.1,
        filled=random.random(shape) < 0.1,
        objects=(
            SceneObject(
                id=1,
                label="person",
                score=0.9,
                rle=masks.rles[0],
                distance=Distance(
                    median=1.52,
                    p10=1.4,
                    p90=1.7,
                    spread=0.05,
                    valid_share=0.8,
                    pixels=400,
                    layers=1,
                ),
                centroid=(0.1, -0.2, 1.52),
                extent=(0.5, 1.7, 0.3),
            ),
            SceneObject(id=2, label="ümlaut <b>", score=0.1, rle=masks.rles[1]),
        ),
        semantic=SemanticMap(random.integers(0, 3, shape, dtype=np.uint8), ("unknown", "a", "b")),
        provenance=Provenance(
            rangemask_version="0.0",
            models=(
                Passport(
                    role="stereo",
                    model="sgbm",
                    licence="Apache-2.0",
                    licence_class="commercial-ok",
                    options={"quality": "best", "fill": False, "near_m": None},
                ),
            ),
        ),
    )


def test_it_says_what_it_holds_in_one_line(scene: Scene, frame: StereoFrame) -> None:
    (first, *_) = scene.objects
    assert repr(scene).startswith("Scene('random', 64 x 48 px; disparity, depth, confidence, ")
    assert first.caption in repr(scene)
    assert "\n" not in repr(scene)
    assert repr(Scene(frame=frame)) == "Scene('random', 64 x 48 px; no maps; no objects)"
    many = Scene(frame=frame, objects=scene.objects * 10)
    assert repr(many).endswith(f"and {len(many.objects) - 12} more)")


def test_what_is_saved_loads_back_equal(scene: Scene, tmp_path: Path) -> None:
    folder = scene.save(tmp_path / "outputs")
    assert folder == tmp_path / "outputs" / "random"
    assert Scene.load(folder) == scene
    assert Scene.load(tmp_path / "outputs") == scene
    assert sorted(path.name for path in (tmp_path / "outputs").iterdir()) == ["random"]


def test_a_scene_of_one_image_loads_back_equal(scene: Scene, tmp_path: Path) -> None:
    bare = Scene(frame=StereoFrame(scene.frame.left, name="bare"), objects=scene.objects[1:])
    bare.save(tmp_path)
    assert Scene.load(tmp_path) == bare


def test_relative_depth_is_kept_apart_from_metres(scene: Scene, tmp_path: Path) -> None:
    relative = replace(scene, depth=None, disparity=None, relative_depth=scene.depth)
    folder = relative.save(tmp_path)
    assert (folder / "stereo/relative_depth.npy").is_file()
    assert not (folder / "stereo/depth.npy").exists()
    back = Scene.load(folder)
    assert back == relative
    assert back.depth is None
    assert scene.depth is not None
    with pytest.raises(InputError, match="relative_depth must have shape"):
        replace(relative, relative_depth=scene.depth[:3])


def test_a_guessed_distance_stays_one(scene: Scene, tmp_path: Path) -> None:
    first = scene.objects[0]
    guess = replace(first, distance=replace(first.distance, guessed=True))
    scene = replace(scene, objects=(guess,))
    assert Scene.load(scene.save(tmp_path)) == scene


def test_scenes_of_older_programs_load(scene: Scene, tmp_path: Path) -> None:
    """They know neither relative depth nor guessed distances; a newer one may know more."""
    path = scene.save(tmp_path) / "scene.json"
    data = json.loads(path.read_text(encoding="utf-8"))
    del data["maps"]["relative_depth"]
    for thing in data["objects"]:
        del thing["distance"]["guessed"]
        thing["distance"]["news"] = 5
    path.write_text(json.dumps(data), encoding="utf-8")
    assert Scene.load(tmp_path) == scene


@settings(
    deadline=None, max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(data=st.data())
def test_any_numbers_load_back_equal(scene: Scene, tmp_path: Path, data: st.DataObject) -> None:
    numbers = st.floats(allow_infinity=False, width=64)
    distance = Distance(
        median=data.draw(numbers), p10=data.draw(numbers), behind=data.draw(numbers)
    )
    thing = replace(scene.objects[0], distance=distance, centroid=(data.draw(numbers),) * 3)
    changed = replace(scene, objects=(thing,))
    changed.save(tmp_path, overwrite=True)
    assert Scene.load(tmp_path) == changed


def test_equality_sees_every_part(scene: Scene) -> None:
    assert scene == replace(scene)
    for name in ("disparity", "depth", "confidence", "occluded", "filled", "semantic"):
        assert scene != replace(scene, **{name: None})
    assert scene != replace(scene, relative_depth=scene.depth)
    assert scene.confidence is not None
    assert scene != replace(scene, confidence=1 - scene.confidence)
    assert scene != replace(scene, objects=scene.objects[:1])
    assert scene != replace(scene, frame=replace(scene.frame, name="other"))
    assert scene != replace(scene, provenance=Provenance(rangemask_version="1"))
    assert scene != 1
    first = scene.objects[0]
    assert first != replace(first, distance=Distance(median=1.0))
    assert first != replace(first, distance=replace(first.distance, guessed=True))
    assert first != replace(first, score=0.2)
    assert first != 1
    assert first.distance != 1


def test_json_holds_what_scripts_need(scene: Scene, tmp_path: Path) -> None:
    data = json.loads((scene.save(tmp_path) / "scene.json").read_text(encoding="utf-8"))
    assert data["format_version"] == 1
    assert data["objects"][0]["distance"]["median"] == 1.52
    assert data["objects"][1]["distance"]["median"] is None
    assert data["provenance"]["licence_class"] == "commercial-ok"
    assert data["rig"]["translation_m"] == [-0.1, 0.0, 0.0]


def test_an_existing_folder_is_kept(scene: Scene, tmp_path: Path) -> None:
    folder = scene.save(tmp_path)
    (folder / "mine.txt").write_text("keep me")
    with pytest.raises(OutputError, match=r"already exists and is kept.*--overwrite"):
        scene.save(tmp_path)
    assert (folder / "mine.txt").read_text() == "keep me"
    scene.save(tmp_path, overwrite=True)
    assert not (folder / "mine.txt").exists()
    assert [path.name for path in tmp_path.iterdir()] == ["random"]


def test_a_file_in_the_way_is_kept(scene: Scene, tmp_path: Path) -> None:
    (tmp_path / "random").write_text("a file")
    with pytest.raises(OutputError, match="a file is there"):
        scene.save(tmp_path, overwrite=True)
    assert (tmp_path / "random").read_text() == "a file"


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError])
def test_nothing_is_left_half_written(tmp_path: Path, error: type[BaseException]) -> None:
    def interrupted() -> None:
        with atomic_folder(tmp_path / "out") as folder:
            (folder / "part").write_text("x")
            raise error

    with pytest.raises(error):
        interrupted()
    assert list(tmp_path.iterdir()) == []

    def interrupted_file() -> None:
        with atomic_file(tmp_path / "a.txt") as path:
            path.write_text("x")
            raise error

    with pytest.raises(error):
        interrupted_file()
    assert list(tmp_path.iterdir()) == []


def test_a_full_disk_says_so_and_leaves_the_old_result(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "old").write_text("old")

    def full() -> None:
        with atomic_folder(tmp_path / "out", overwrite=True):
            raise OSError(28, "No space left on device")

    with pytest.raises(OutputError, match="No space left on device"):
        full()
    assert (tmp_path / "out" / "old").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["out"]


def test_a_target_below_a_file_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(OutputError, match="cannot be written"), atomic_file(tmp_path / "file/a"):
        pass


@pytest.mark.skipif(
    os.name == "nt" or (hasattr(os, "geteuid") and os.geteuid() == 0),
    reason="folders cannot be made read-only for this user",
)
def test_a_read_only_target_is_refused(scene: Scene, tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    try:
        with pytest.raises(OutputError, match="cannot be written"):
            scene.save(tmp_path)
    finally:
        tmp_path.chmod(0o700)


def test_results_have_the_rights_of_plain_files(tmp_path: Path) -> None:
    with atomic_file(tmp_path / "a.txt") as path:
        path.write_text("x")
    (tmp_path / "b.txt").write_text("x")
    assert (tmp_path / "a.txt").stat().st_mode == (tmp_path / "b.txt").stat().st_mode


def test_what_is_no_scene_is_refused(scene: Scene, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="there is none"):
        Scene.load(tmp_path / "gone")
    with pytest.raises(InputError, match=r"holds no scene\.json"):
        Scene.load(tmp_path)
    scene.save(tmp_path)
    replace(scene, frame=replace(scene.frame, name="second")).save(tmp_path)
    with pytest.raises(InputError, match=r"holds 2 scenes \(random, second"):
        Scene.load(tmp_path)


@pytest.mark.parametrize(
    ("file", "content", "words"),
    [
        ("scene.json", "{", r"scene\.json: the saved scene is damaged"),
        ("scene.json", '{"format": "other"}', "not a rangemask scene"),
        ("scene.json", '{"format": "rangemask-scene", "format_version": 99}', "Install a newer"),
        ("scene.json", '{"format": "rangemask-scene", "format_version": 1}', "KeyError"),
        ("stereo/depth.npy", "short", r"depth\.npy.*damaged"),
        ("frame/left.png", "short", r"left\.png.*not an image"),
        ("segmentation/masks.json", "[]", "damaged"),
    ],
)
def test_damaged_scenes_are_named(
    scene: Scene, tmp_path: Path, file: str, content: str, words: str
) -> None:
    folder = scene.save(tmp_path)
    (folder / file).write_text(content)
    with pytest.raises(InputError, match=words):
        Scene.load(folder)


def test_missing_maps_are_named(scene: Scene, tmp_path: Path) -> None:
    folder = scene.save(tmp_path)
    shutil.rmtree(folder / "stereo")
    with pytest.raises(InputError, match=r"flags\.png"):
        Scene.load(folder)


def test_objects_must_fit_the_frame(scene: Scene, frame: StereoFrame) -> None:
    small = MaskSet.from_dense(np.ones((1, 2, 2), dtype=bool)).rles[0]
    with pytest.raises(InputError, match="mask of object 1"):
        Scene(frame=frame, objects=(SceneObject(id=1, label="a", score=1, rle=small),))
    with pytest.raises(InputError, match="depth must have shape"):
        Scene(frame=frame, depth=np.ones((2, 2), dtype=np.float32))
    with pytest.raises(InputError, match="disparity must be float32"):
        Scene(frame=frame, disparity=np.ones((48, 64)))


def test_the_nearest_object_is_on_top_in_the_id_picture(frame: StereoFrame) -> None:
    everywhere = MaskSet.from_dense(np.ones((3, 48, 64), dtype=bool)).rles
    things = tuple(
        SceneObject(id=i, label="a", score=1, rle=rle, distance=Distance(median=metres))
        for i, rle, metres in zip((1, 2, 3), everywhere, (1.0, 2.0, float("nan")), strict=True)
    )
    assert np.unique(Scene(frame=frame, objects=things).instance_ids()).tolist() == [1]
    assert Scene(frame=frame, objects=things).masks.labels == ("a", "a", "a")


def test_captions() -> None:
    rle = MaskSet.from_dense(np.ones((1, 2, 2), dtype=bool)).rles[0]
    thing = SceneObject(id=1, label="person", score=1, rle=rle, distance=Distance(median=1.519))
    assert thing.caption == "person 1.52 m"
    assert thing.area == 4
    assert replace(thing, distance=Distance()).caption == "person ? m"
    guess = replace(thing, distance=Distance(median=1.519, guessed=True))
    assert guess.caption == "person ~1.52 m"


def test_the_strictest_licence_counts() -> None:
    def model(licence_class: str) -> Passport:
        return Passport(
            role="a",
            model="b",
            licence="c",
            licence_class=licence_class,  # type: ignore[arg-type]
        )

    def whole(*classes: str) -> str:
        models = tuple(model(name) for name in classes)
        return Provenance(rangemask_version="0", models=models).licence_class

    assert whole("commercial-ok", "research-only", "unknown") == "research-only"
    assert whole("commercial-ok", "unknown") == "unknown"
    assert whole("commercial-ok") == "commercial-ok"
    assert whole() == "unknown"


def test_maps_are_checked_at_birth() -> None:
    good = np.ones((3, 4), dtype=np.float32)
    flags = np.zeros((3, 4), dtype=bool)
    match = {"disparity": good, "confidence": good, "occluded": flags, "filled": flags}
    StereoMatch(**match)
    for change, words in (
        ({"disparity": good.astype(float)}, "disparity must be float32"),
        ({"disparity": good[0]}, r"\(H, W\)"),
        ({"confidence": good * 2}, r"within \[0, 1\]"),
        ({"confidence": good * np.nan}, r"within \[0, 1\]"),
        ({"confidence": good[:2]}, r"shape \(3, 4\)"),
        ({"occluded": good}, "occluded must be bool"),
    ):
        with pytest.raises(InputError, match=words):
            StereoMatch(**(match | change))
    with pytest.raises(InputError, match="kind must be one of"):
        DepthMap(values=good, kind="metres")  # type: ignore[arg-type]
    assert DepthMap(values=good).metres is good
    with pytest.raises(InputError, match="no scale in metres"):
        _ = DepthMap(values=good, kind="relative_inverse").metres
    with pytest.raises(InputError, match="has no name"):
        SemanticMap(np.full((2, 2), 3, dtype=np.uint8), ("unknown",))
    semantic = SemanticMap(np.eye(2, dtype=np.uint8), ("unknown", "floor"))
    np.testing.assert_array_equal(semantic.mask("floor"), np.eye(2, dtype=bool))
    with pytest.raises(InputError, match="knows unknown, floor"):
        semantic.mask("sky")
    assert semantic != 1
