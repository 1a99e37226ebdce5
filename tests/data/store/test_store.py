"""Label files and claims."""

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rangemask.data.store import FrameLabels, LabelStore, open_labels
from rangemask.data.store.files import encode, read_file
from rangemask.data.store.record import FileMark, FrameRecord, LabelFile
from rangemask.data.synthetic.store import write_synthetic
from rangemask.errors import InputError, OutputError
from rangemask.structures import DepthMap, MaskSet, SemanticMap
from support.datasets import RIG

CLASSES = ("person", "chair")


def some_labels(seed: int = 0) -> FrameLabels:
    random = np.random.default_rng(seed)
    disparity = random.uniform(0.01, 200, (12, 16)).astype(np.float32)
    disparity[random.random((12, 16)) < 0.2] = np.nan
    share = np.where(np.isfinite(disparity), random.random((12, 16), dtype=np.float32), 0)
    masks = random.random((2, 12, 16)) < 0.4
    return FrameLabels(
        disparity=disparity,
        confidence=share.astype(np.float32),
        weight=(share * 0.5).astype(np.float32),
        depth=DepthMap(values=disparity / 10),
        masks=MaskSet.from_dense(masks, labels=("chair", "person"), scores=(0.5, 0.75)),
        distances_m=(1.5, float("nan")),
        semantic=SemanticMap(
            random.integers(0, 3, (12, 16), dtype=np.uint8), ("unknown", "chair", "sky")
        ),
    )


def stored(store: LabelStore, labels: FrameLabels, maps: str = "png") -> dict[str, LabelFile]:
    files = encode(labels, "left/a.png", CLASSES, maps)  # type: ignore[arg-type]
    return store.write_labels("a", files, dict.fromkeys(files, "k"))  # type: ignore[return-value]


@settings(deadline=None, max_examples=10)
@given(seed=st.integers(0, 10_000), maps=st.sampled_from(["png", "npy"]))
def test_labels_come_back_within_the_steps_of_their_files(
    tmp_path_factory: pytest.TempPathFactory, seed: int, maps: str
) -> None:
    root = tmp_path_factory.mktemp("store")
    labels = some_labels(seed)
    back = {
        kind: read_file(root, kind, file, CLASSES)  # type: ignore[arg-type]
        for kind, file in stored(LabelStore(root), labels, maps).items()
    }
    step = 0 if maps == "npy" else 1 / 256
    np.testing.assert_allclose(back["disparity"], labels.disparity, atol=step, rtol=0)
    assert back["depth"].kind == "metric_m"
    np.testing.assert_allclose(back["depth"].metres, labels.disparity / 10, atol=step, rtol=0)
    np.testing.assert_allclose(back["confidence"], labels.confidence, atol=0.5001 / 255)
    np.testing.assert_allclose(back["weight"], labels.weight, atol=0.5001 / 255)
    assert back["masks"] == labels.masks
    assert labels.semantic is not None
    assert back["semantic"].names == ("unknown", *CLASSES)
    chair = labels.semantic.ids == 1
    assert np.array_equal(back["semantic"].mask("chair"), chair)
    assert (back["semantic"].ids[~chair] == 0).all(), "sky was not asked for"


def test_relative_depth_keeps_its_kind_and_its_values(tmp_path: Path) -> None:
    values = np.array([[-1.5, 0, 2]], dtype=np.float32)
    labels = FrameLabels(depth=DepthMap(values=values, kind="relative_inverse"))
    (file,) = stored(LabelStore(tmp_path), labels).values()
    assert file.mark.path == "depth/a.npy"
    back = read_file(tmp_path, "depth", file, ())
    assert back.kind == "relative_inverse"
    assert np.array_equal(back.values, values)


def test_masks_are_coco_with_distances(tmp_path: Path) -> None:
    stored(LabelStore(tmp_path), some_labels())
    data = json.loads((tmp_path / "masks/a.json").read_text())
    assert data["images"][0]["file_name"] == "left/a.png"
    assert [one["name"] for one in data["categories"]] == list(CLASSES)
    assert [one["category_id"] for one in data["annotations"]] == [2, 1]
    assert [one["distance_m"] for one in data["annotations"]] == [1.5, None]


def test_what_does_not_fit_speaks() -> None:
    wide = FrameLabels(disparity=np.full((2, 2), 300, dtype=np.float32))
    with pytest.raises(InputError, match=r"16-bit PNG holds 0 to .* Choose --maps npy"):
        encode(wide, "a", (), "png")
    cat = MaskSet.from_dense(np.ones((1, 2, 2), dtype=bool), labels=["cat"])
    with pytest.raises(InputError, match="found 'cat', which is none of the classes"):
        encode(FrameLabels(masks=cat), "a", CLASSES, "png")


@pytest.mark.parametrize(
    ("kind", "name", "data", "message"),
    [
        ("weight", "a.png", b"cut", "a.png"),
        ("semantic", "a.npy", None, "expected class ids of 8 bit"),
        ("semantic", "b.npy", None, "has no name"),
        ("masks", "a.json", b'{"images": [], "annotations": []}', "expected masks of one image"),
        ("depth", "a.npy", None, "depth of a kind that is not known"),
    ],
)
def test_damaged_label_files_speak(
    tmp_path: Path, kind: str, name: str, data: bytes | None, message: str
) -> None:
    if data is None:
        ids = {"a.npy": np.zeros((2, 2), np.int32), "b.npy": np.full((2, 2), 9, np.uint8)}[name]
        np.save(tmp_path / name, ids)
    else:
        (tmp_path / name).write_bytes(data)
    mark = FileMark(path=name, size_bytes=0, sha256="")
    file = LabelFile(mark=mark, recipe="k", details={"kind": "furlongs"})
    with pytest.raises(InputError, match=message):
        read_file(tmp_path, kind, file, CLASSES)  # type: ignore[arg-type]


def test_a_share_with_colours_is_refused(tmp_path: Path) -> None:
    from rangemask.data.store.files import read_share
    from rangemask.structures.images import write_image

    write_image(tmp_path / "a.png", np.zeros((2, 2, 3), dtype=np.uint8))
    with pytest.raises(InputError, match="expected one grey value per pixel"):
        read_share(tmp_path / "a.png")


def test_a_frame_is_claimed_once_and_its_leavings_are_swept(tmp_path: Path) -> None:
    store, other = LabelStore(tmp_path), LabelStore(tmp_path)
    (tmp_path / "masks").mkdir()
    for name in (".a.x7.json", ".ab.x7.json"):
        (tmp_path / "masks" / name).write_text("half")
    (tmp_path / "records/.claims").mkdir(parents=True)
    (tmp_path / "records/.claims/a.lock").touch()
    with store.claim("a") as ours:
        assert ours
        with other.claim("a") as theirs:
            assert not theirs
        with other.claim("b") as theirs:
            assert theirs
    assert not (tmp_path / "masks/.a.x7.json").exists()
    assert (tmp_path / "masks/.ab.x7.json").exists(), "that one is of another frame"
    with other.claim("a", wait=True) as theirs:
        assert theirs


def test_commit_removes_what_only_the_record_before_named(tmp_path: Path) -> None:
    store = LabelStore(tmp_path)
    (tmp_path / "masks").mkdir()
    (tmp_path / "masks/a.png").write_bytes(b"somebody else's")
    before = FrameRecord(name="a", status="labelled", files=stored(store, some_labels(), "npy"))  # type: ignore[arg-type]
    after = FrameRecord(name="a", status="labelled", files=stored(store, some_labels(), "png"))  # type: ignore[arg-type]
    store.commit(after, before=before)
    assert (tmp_path / "disparity/a.png").exists()
    assert not (tmp_path / "disparity/a.npy").exists()
    assert (tmp_path / "masks/a.png").exists()
    assert store.record("a") == after


def test_classes_only_grow_and_are_limited(tmp_path: Path) -> None:
    store = LabelStore(tmp_path)
    store.begin([], classes=("b", "a"), rig=None, min_quality=0)
    manifest = store.begin([], classes=("a", "c"), rig=None, min_quality=0)
    assert manifest.classes == ("b", "a", "c")
    many = [str(number) for number in range(253)]
    with pytest.raises(InputError, match="256 classes; a semantic map has room for 255"):
        store.begin([], classes=many, rig=None, min_quality=0)


def test_images_come_in_as_they_are(tmp_path: Path) -> None:
    source = tmp_path / "elsewhere" / "A.JPG"
    source.parent.mkdir()
    source.write_bytes(b"jpeg")
    store = LabelStore(tmp_path / "store")
    assert store.write_image("left", "a", source).path == "left/a.jpg"
    assert (tmp_path / "store/left/a.jpg").read_bytes() == b"jpeg"
    with pytest.raises(InputError, match="cannot be read"):
        store.write_image("left", "b", tmp_path / "none.png")


def test_a_place_that_cannot_be_written_speaks(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(OutputError, match="cannot be written"):
        LabelStore(tmp_path / "file").begin([], classes=(), rig=None, min_quality=0)


def test_only_what_is_wanted_is_read(tmp_path: Path) -> None:
    write_synthetic(tmp_path, [1], RIG)
    (tmp_path / "masks/scene00001.json").write_text("damaged")
    labels = open_labels(tmp_path)
    with pytest.raises(InputError, match=r"masks/scene00001\.json"):
        labels[0]
    sample = labels.only({"disparity", "weight"}, pairs=False)[0]
    assert sample.disparity is not None
    assert (sample.masks, sample.semantic, sample.frame.right) == (None, None, None)
