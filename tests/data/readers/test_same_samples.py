"""Every layout, written from the same two frames, is read as the same samples."""

import gc
import pickle
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest

from rangemask.data.readers import DATASET_KINDS, ListedDataset, open_dataset
from rangemask.data.readers.disparity_codes import read_coded
from rangemask.data.readers.video_masks import VOC_CLASSES
from rangemask.data.sample import Dataset, Sample
from rangemask.data.synthetic import CLASS_NAMES
from rangemask.structures import SemanticMap
from support import layouts
from support.layouts import RIG, Truth, Writer


@dataclass(frozen=True)
class Layout:
    write: Writer
    kind: str
    names: tuple[str, str]
    sequences: tuple[str, str]
    labels: str
    """What the layout holds: d disparity, D depth, v visible, R right image, c calibration, m masks
    or p polygons, n their labels, s semantic."""
    step_px: float = 1e-6
    file: str = ""
    classes: tuple[str, ...] = ()


def alone(kind: str, write: Writer, first: str, second: str, labels: str, **more: object) -> Layout:
    """Each frame is a recording."""
    return Layout(write, kind, (first, second), (first, second), labels, **more)  # type: ignore[arg-type]


def clip(
    kind: str, write: Writer, sequence: str, first: str, second: str, labels: str, **more: object
) -> Layout:
    return Layout(write, kind, (first, second), (sequence, sequence), labels, **more)  # type: ignore[arg-type]


THINGS = ("floor", "wall", "object", "person")
LAYOUTS = {
    "kitti 2015": alone(
        "kitti", layouts.kitti_2015, "000000_10", "000001_10", "dvRc", step_px=1 / 256
    ),
    "kitti 2012": alone(
        "kitti", layouts.kitti_2012, "000000_10", "000001_10", "dvRc", step_px=1 / 256
    ),
    "kitti raw": clip(
        "kitti-raw",
        layouts.kitti_raw,
        "2011_09_26_drive_0002_sync",
        "2011_09_26_drive_0002_sync-0000000000",
        "2011_09_26_drive_0002_sync-0000000003",
        "Rc",
    ),
    "kitti raw, to learn": clip(
        "kitti-eigen-train",
        layouts.kitti_raw_to_learn,
        "2011_09_26_drive_0001_sync",
        "2011_09_26_drive_0001_sync-0000000000",
        "2011_09_26_drive_0001_sync-0000000003",
        "Rc",
    ),
    "kitti raw, to test": clip(
        "kitti-eigen-test",
        layouts.kitti_raw,
        "2011_09_26_drive_0002_sync",
        "2011_09_26_drive_0002_sync-0000000000",
        "2011_09_26_drive_0002_sync-0000000003",
        "Rc",
    ),
    "middlebury": alone("middlebury", layouts.middlebury, "Scene0", "Scene1", "dvRc"),
    "eth3d": Layout(
        layouts.eth3d,
        "middlebury",
        ("two_view_training-scene_0", "two_view_training-scene_1"),
        ("scene_0", "scene_1"),
        "dvRc",
    ),
    "flying things": clip(
        "sceneflow",
        layouts.flying_things,
        "TRAIN-A-0000",
        "TRAIN-A-0000-0000",
        "TRAIN-A-0000-0001",
        "dR",
    ),
    "monkaa": clip(
        "sceneflow",
        layouts.monkaa,
        "Monkaa-a_rain_of_stones_x2",
        "Monkaa-a_rain_of_stones_x2-0000",
        "Monkaa-a_rain_of_stones_x2-0001",
        "dR",
    ),
    "driving": clip(
        "sceneflow",
        layouts.driving,
        "15mm_focallength-scene_forwards-fast",
        "15mm_focallength-scene_forwards-fast-0000",
        "15mm_focallength-scene_forwards-fast-0001",
        "dR",
    ),
    "fsd": clip(
        "fsd",
        layouts.fsd,
        "warehouse-dataset-data",
        "warehouse-dataset-data-0000",
        "warehouse-dataset-data-0001",
        "dR",
        step_px=1e-3,
    ),
    "crestereo": alone("crestereo", layouts.crestereo, "tree-0", "tree-1", "dR", step_px=1 / 32),
    "tao": clip("tao", layouts.tao, "l", "l-0", "l-1", "dvR", step_px=1e-3, file="list.txt"),
    "sa-1b": alone("sa-1b", layouts.sa_1b, "sa_000000-sa_0", "sa_000000-sa_1", "m"),
    "sa-v": clip("sa-v", layouts.sa_v, "sav_000001", "sav_000001-00000", "sav_000001-00004", "m"),
    "sa-v validation": clip(
        "video-masks",
        layouts.sa_v_validation,
        "sav_000002",
        "sav_000002-00000",
        "sav_000002-00004",
        "m",
    ),
    "davis": clip(
        "video-masks",
        layouts.davis,
        "480p-bear",
        "480p-bear-00000",
        "480p-bear-00001",
        "m",
    ),
    "voc": alone("voc", layouts.voc, "2007_000000", "2007_000001", "ms", classes=VOC_CLASSES[1:]),
    "coco": alone("coco", layouts.coco, "000000000000", "000000000001", "mn", classes=THINGS),
    "coco panoptic": alone(
        "coco-panoptic",
        layouts.coco_panoptic,
        "000000000000",
        "000000000001",
        "mns",
        classes=THINGS,
    ),
    "yolo": alone("yolo", layouts.yolo, "train-0", "train-1", "pn", classes=CLASS_NAMES),
    "folders": clip("folders", layouts.folders, "", "0", "1", "dDRcmns", classes=THINGS),
    "depth folders": clip("folders", layouts.depth_folders, "train", "train-0", "train-1", "D"),
    "frames": clip("frames", layouts.frames, "data", "0", "1", "Rc"),
}


@pytest.fixture(scope="module")
def truths() -> list[Truth]:
    return layouts.truths()


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_same_samples(layout: Layout, truths: list[Truth], tmp_path: Path) -> None:
    root = tmp_path / "data"
    layout.write(root, truths)
    for kind in (None, layout.kind):
        data = open_dataset(root / layout.file, kind)
        assert data.names == layout.names
        assert data.sequences == layout.sequences
        assert data.classes == layout.classes
        assert len(data) == len(truths)
        for sample, name, truth in zip(data, layout.names, truths, strict=True):
            assert sample.name == name
            check(sample, truth, layout)
    assert [sample.sequence for sample in data] == list(layout.sequences)
    with pytest.raises(IndexError):
        data[2]


def check(sample: Sample, truth: Truth, layout: Layout) -> None:
    np.testing.assert_array_equal(sample.frame.left, truth.frame.left)
    expected = {"d": "disparity", "D": "depth", "v": "visible", "s": "semantic"}
    for letter, field in expected.items():
        assert (getattr(sample, field) is not None) == (letter in layout.labels), field
    assert (sample.masks is not None) == bool(set("mp") & set(layout.labels))
    assert sample.weight is None
    if "R" in layout.labels:
        assert sample.frame.right is not None
        np.testing.assert_array_equal(sample.frame.right, truth.frame.right)
    assert (sample.frame.right is None) == ("R" not in layout.labels)
    if "c" in layout.labels:
        assert sample.frame.rig == RIG
    assert (sample.frame.rig is None) == ("c" not in layout.labels)
    if sample.disparity is not None:
        known = np.isfinite(truth.disparity)
        np.testing.assert_array_equal(np.isfinite(sample.disparity), known)
        np.testing.assert_allclose(
            sample.disparity[known], truth.disparity[known], atol=0.5001 * layout.step_px
        )
    if sample.depth is not None:
        np.testing.assert_allclose(sample.depth.metres, truth.depth_m)
    if sample.visible is not None:
        np.testing.assert_array_equal(sample.visible, truth.visible)
    check_masks(sample, truth, layout)


def check_masks(sample: Sample, truth: Truth, layout: Layout) -> None:
    if sample.masks is not None:
        if "m" in layout.labels:
            assert sample.masks.rles == truth.masks.rles
        else:
            for mask, true in zip(sample.masks, truth.masks, strict=True):
                assert (mask & true).sum() / (mask | true).sum() > 0.9
        named = {"voc": "person"}.get(layout.kind, "object")
        labels = truth.masks.labels if "n" in layout.labels else (named,) * len(truth.masks)
        assert sample.masks.labels == labels
        assert set(sample.masks.scores) == {1.0}
    if layout.kind == "voc":
        persons = np.where(truth.ids > 0, 16, 1).astype(np.uint8)
        assert sample.semantic == SemanticMap(persons, VOC_CLASSES)
    elif sample.semantic is not None:
        assert sample.semantic == SemanticMap(truth.semantic.ids, CLASS_NAMES)


@pytest.mark.parametrize("layout", LAYOUTS.values(), ids=LAYOUTS)
def test_lists_without_reading_images_and_travels(
    layout: Layout, truths: list[Truth], tmp_path: Path
) -> None:
    layout.write(tmp_path, truths)
    whole = open_dataset(tmp_path / layout.file, layout.kind)
    back = pickle.loads(pickle.dumps(whole))  # noqa: S301
    assert back.names == whole.names
    np.testing.assert_array_equal(back[1].frame.left, truths[1].frame.left)
    for file in tmp_path.rglob("*.png"):
        file.write_bytes(b"no image")
    assert open_dataset(tmp_path / layout.file, layout.kind).names == whole.names


def test_all_kinds_are_tried() -> None:
    assert {layout.kind for layout in LAYOUTS.values()} | {"rangemask"} == set(DATASET_KINDS)


def test_a_listed_dataset_is_a_dataset(truths: list[Truth], tmp_path: Path) -> None:
    layouts.middlebury(tmp_path, truths)
    data: Dataset = open_dataset(tmp_path)
    assert isinstance(data, ListedDataset)
    assert [sample.name for sample in data] == [*data.names]
    assert read_coded(tmp_path / "Scene0" / "disp0.pfm", "map").shape == (64, 96)


@pytest.mark.filterwarnings("ignore::ResourceWarning")  # it leaves files open
def test_torchvision_reads_the_same_disparity(truths: list[Truth], tmp_path: Path) -> None:
    """Its readers of the same trees are an independent word on layouts and codes."""
    torchvision = pytest.importorskip("torchvision.datasets")
    layouts.kitti_2015(tmp_path / "Kitti2015", truths)
    for file in (tmp_path / "Kitti2015" / "training" / "image_2").glob("*_11.png"):
        file.unlink()
    twin = tmp_path / "Kitti2015" / "training" / "disp_occ_1"
    twin.mkdir()
    for file in (tmp_path / "Kitti2015" / "training" / "disp_occ_0").iterdir():
        (twin / file.name).write_bytes(file.read_bytes())
    layouts.monkaa(tmp_path / "SceneFlow", truths)
    layouts.eth3d(tmp_path / "ETH3D", truths)
    pairs = (
        (torchvision.Kitti2015Stereo(tmp_path, "train"), tmp_path / "Kitti2015"),
        (torchvision.SceneFlowStereo(tmp_path, "Monkaa", "clean"), tmp_path / "SceneFlow"),
        (torchvision.ETH3DStereo(tmp_path, "train"), tmp_path / "ETH3D"),
    )
    for theirs, path in pairs:
        ours = open_dataset(path)
        assert len(ours) == len(theirs)
        for sample, (left, _, disparity, *_) in zip(ours, theirs, strict=True):
            assert sample.disparity is not None
            np.testing.assert_array_equal(np.asarray(left), sample.frame.left)
            known = np.isfinite(sample.disparity)
            np.testing.assert_allclose(
                sample.disparity[known], np.squeeze(disparity)[known], rtol=1e-6
            )
    gc.collect()
