"""What layouts allow beyond their plainest form, and the options of readers."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml

from rangemask.data.readers import (
    open_coco,
    open_dataset,
    open_folders,
    open_fsd,
    open_kitti,
    open_middlebury,
    open_sav,
    open_sceneflow,
    open_video_masks,
    open_yolo,
)
from rangemask.data.readers.listed import frame_name
from rangemask.data.store.manifest import Manifest
from rangemask.structures import SemanticMap
from support import layouts
from support.layouts import RIG, Truth, save, save_json, save_text


@pytest.fixture(scope="module")
def truths() -> list[Truth]:
    return layouts.truths()


def test_kitti_without_truth(truths: list[Truth], tmp_path: Path) -> None:
    layouts.kitti_2015(tmp_path, truths)
    testing = tmp_path / "testing"
    for folder in ("image_2", "image_3"):
        shutil.copytree(tmp_path / "training" / folder, testing / folder)
    data = open_kitti(tmp_path, split="testing")
    assert (len(data), data[0].disparity, data[0].visible, data[0].frame.rig) == (2, *[None] * 3)
    assert open_dataset(testing).names == data.names
    assert open_kitti(tmp_path)[0].disparity is not None


def test_kitti_with_truth_of_one_kind(truths: list[Truth], tmp_path: Path) -> None:
    """Where only pixels that both cameras see are known, all that is known is visible."""
    layouts.kitti_2015(tmp_path, truths)
    shutil.rmtree(tmp_path / "training" / "disp_occ_0")
    sample = open_kitti(tmp_path)[0]
    assert sample.disparity is not None
    np.testing.assert_array_equal(np.isfinite(sample.disparity), truths[0].visible)
    np.testing.assert_array_equal(sample.visible, truths[0].visible)
    layouts.kitti_2015(tmp_path, truths)
    shutil.rmtree(tmp_path / "training" / "disp_noc_0")
    sample = open_kitti(tmp_path)[0]
    assert sample.disparity is not None
    assert sample.visible is None


def test_kitti_grey_cameras_have_their_own_baseline(truths: list[Truth], tmp_path: Path) -> None:
    """The colour pair in the same file is 21 / 80 m apart, the grey one 20 / 80 m."""
    layouts.kitti_2012(tmp_path, truths)
    assert open_kitti(tmp_path)[0].frame.rig == RIG
    for side in "01":
        (tmp_path / "training" / f"image_{side}").rename(tmp_path / f"training/colored_{side}")
    rig = open_kitti(tmp_path)[0].frame.rig
    assert rig is not None
    assert rig.baseline_m == pytest.approx(21 / 80)


def test_one_scene_is_a_data_set(truths: list[Truth], tmp_path: Path) -> None:
    layouts.middlebury(tmp_path, truths)
    layouts.fsd(tmp_path / "fsd", truths)
    assert open_middlebury(tmp_path / "Scene1").names == ("Scene1",)
    data = open_fsd(tmp_path / "fsd" / "warehouse" / "dataset" / "data")
    assert (data.names, data.sequences) == (("0000", "0001"), ("data", "data"))


def test_middlebury_at_several_sizes(truths: list[Truth], tmp_path: Path) -> None:
    layouts.middlebury(tmp_path / "trainingQ", truths[:1])
    layouts.middlebury(tmp_path / "trainingH", truths[:1])
    data = open_middlebury(tmp_path)
    assert data.names == ("trainingH-Scene0", "trainingQ-Scene0")
    assert set(data.sequences) == {"Scene0"}, "one scene is one recording, whatever its size"
    for i, name in enumerate(("trainingH", "trainingQ")):
        scene = tmp_path / name / "Scene0"
        scene.rename(scene.with_name("Scene0-" + ("perfect", "imperfect")[i]))
    assert open_middlebury(tmp_path).sequences == ("Scene0", "Scene0")


def test_middlebury_where_the_mask_is_all_there_is(truths: list[Truth], tmp_path: Path) -> None:
    layouts.middlebury(tmp_path, truths)
    for file in ("disp0.pfm", "calib.txt"):
        (tmp_path / "Scene0" / file).unlink()
    sample = open_middlebury(tmp_path)[0]
    assert (sample.disparity, sample.frame.rig) == (None, None)
    np.testing.assert_array_equal(sample.visible, truths[0].visible)


def test_sceneflow_passes(truths: list[Truth], tmp_path: Path) -> None:
    layouts.flying_things(tmp_path, truths)
    left = Path("TRAIN/A/0000/left/0000.png")
    save(tmp_path / "frames_finalpass" / left, truths[1].frame.left)
    np.testing.assert_array_equal(open_sceneflow(tmp_path)[0].frame.left, truths[0].frame.left)
    final = open_sceneflow(tmp_path, frames="final")
    np.testing.assert_array_equal(final[0].frame.left, truths[1].frame.left)
    shutil.rmtree(tmp_path / "frames_cleanpass")
    assert open_sceneflow(tmp_path) == final
    shutil.rmtree(tmp_path / "disparity")
    assert open_sceneflow(tmp_path)[0].disparity is None


def test_sceneflow_as_webp(truths: list[Truth], tmp_path: Path) -> None:
    layouts._sceneflow(tmp_path, truths, "TEST/C/0149", ".webp")
    sample = open_dataset(tmp_path)[0]
    assert sample.name == "TEST-C-0149-0000"
    difference = np.abs(sample.frame.left.astype(int) - truths[0].frame.left)
    assert difference.mean() < 25, "noise costs a lossy format dearly, but it is this image"


def test_fsd_of_the_other_base(truths: list[Truth], tmp_path: Path) -> None:
    layouts.fsd(tmp_path, truths)
    sample, other = open_fsd(tmp_path)[0], open_fsd(tmp_path, base=256)[0]
    assert sample.disparity is not None
    assert other.disparity is not None
    assert np.nanmean(other.disparity / sample.disparity) == pytest.approx(256 / 255, rel=1e-3)


def test_sav_automatic_labels(truths: list[Truth], tmp_path: Path) -> None:
    layouts.sa_v(tmp_path, truths)
    manual = json.loads((tmp_path / "sav_000001_manual.json").read_text())
    rows = [[row[1], None] for row in manual["masklet"]]
    scores = [[0.5, 0.6], [1.25, 0.8]]
    auto = {"masklet": rows, "masklet_stability_score": scores}
    save_json(tmp_path / "sav_000001_auto.json", auto)
    assert open_dataset(tmp_path) == open_sav(tmp_path, labels="manual")
    first, second = open_sav(tmp_path, labels="auto")
    assert first.masks is not None
    assert second.masks is not None
    assert (first.masks.scores, second.masks.scores) == ((0.5,), (1.0,))
    assert first.masks.rles == truths[0].masks.rles[:1]
    turned = {"masklet": rows[:1], "masklet_stability_score": [[0.25], [0.75]]}
    save_json(tmp_path / "sav_000001_auto.json", turned)
    by_object = open_sav(tmp_path, labels="auto")[0].masks
    assert by_object is not None
    assert by_object.scores == (0.25,)
    (tmp_path / "sav_000001_manual.json").unlink()
    assert open_dataset(tmp_path) == open_sav(tmp_path, labels="auto")


def test_sav_frames_elsewhere_and_only_labelled_ones(truths: list[Truth], tmp_path: Path) -> None:
    layouts.sa_v(tmp_path, truths)
    expected = open_sav(tmp_path).names
    for number in (1, 2, 3, 5, 6, 7):
        (tmp_path / "sav_000001" / f"{number:05d}.png").unlink()
    (tmp_path / "JPEGImages_24fps").mkdir()
    (tmp_path / "sav_000001").rename(tmp_path / "JPEGImages_24fps" / "sav_000001")
    assert open_sav(tmp_path).names == expected


def test_sa_1b_scores(truths: list[Truth], tmp_path: Path) -> None:
    layouts.sa_1b(tmp_path, truths)
    file = tmp_path / "sa_000000" / "sa_0.json"
    data = json.loads(file.read_text())
    data["annotations"][0]["predicted_iou"] = 0.875
    save_json(file, data)
    masks = open_dataset(tmp_path)[0].masks
    assert masks is not None
    assert masks.scores == (0.875, *[1.0] * (len(masks) - 1))


def test_davis_2016_and_borders(truths: list[Truth], tmp_path: Path) -> None:
    """White is an object where nothing else is, and a border among other ids."""
    layouts.davis(tmp_path, truths)
    folder = tmp_path / "Annotations" / "480p" / "bear"
    save(folder / "00000.png", np.where(truths[0].ids == 1, 255, 0).astype(np.uint8))
    ids = truths[1].ids.copy()
    ids[:4] = 255
    save(folder / "00001.png", ids)
    first, second = open_video_masks(tmp_path)
    assert first.masks is not None
    assert second.masks is not None
    assert first.masks.rles == truths[0].masks.rles[:1]
    np.testing.assert_array_equal(second.masks.dense().any(0), (ids > 0) & (ids < 255))


def test_roboflow_layouts(truths: list[Truth], tmp_path: Path) -> None:
    """Its YAML names folders one up from where they are; its JSON lies among the images."""
    layouts.yolo(tmp_path / "yolo", truths)
    train = tmp_path / "yolo" / "train"
    train.mkdir()
    for kind in ("images", "labels"):
        (tmp_path / "yolo" / kind / "train").rename(train / kind)
    config = {"train": "../train/images", "val": "", "names": ["a", "b", "c", "d", "e"]}
    save_text(tmp_path / "yolo" / "data.yaml", yaml.safe_dump(config))
    data = open_dataset(tmp_path / "yolo" / "data.yaml")
    assert data.names == ("train-0", "train-1")
    masks = data[0].masks
    assert masks is not None
    assert len(masks) == len(truths[0].masks)

    layouts.coco(tmp_path / "coco", truths)
    images = tmp_path / "coco" / "val2017"
    (tmp_path / "coco" / "annotations" / "instances_val2017.json").rename(
        images / "_annotations.coco.json"
    )
    assert open_dataset(images)[1].masks == truths[1].masks


def test_yolo_images_without_labels_have_no_objects(truths: list[Truth], tmp_path: Path) -> None:
    layouts.yolo(tmp_path, truths)
    (tmp_path / "labels" / "train" / "0.txt").unlink()
    masks = open_yolo(tmp_path, split="train")[0].masks
    assert masks is not None
    assert (len(masks), masks.height, masks.width) == (0, 64, 96)


def test_coco_images_elsewhere(truths: list[Truth], tmp_path: Path) -> None:
    layouts.coco(tmp_path, truths)
    labels = tmp_path / "annotations" / "instances_val2017.json"
    (tmp_path / "val2017").rename(tmp_path / "pictures")
    assert open_coco(labels, images=tmp_path / "pictures")[0].masks == truths[0].masks
    (tmp_path / "pictures").rename(tmp_path / "images")
    assert open_coco(labels)[0].masks == truths[0].masks
    # More images than the file knows are none of its business, but two of one name are.
    save(tmp_path / "images" / "more.png", truths[0].frame.left)
    assert len(open_coco(labels)) == 2


def test_folders_as_passed_on_with_camvid(truths: list[Truth], tmp_path: Path) -> None:
    classes = ["floor", "wall", "object", "person", "Unlabelled"]
    for i, truth in enumerate(truths):
        save(tmp_path / "images" / f"0016E5_{i:05d}.png", truth.frame.left)
        ids = np.where(truth.semantic.ids > 0, truth.semantic.ids - 1, 4).astype(np.uint8)
        ids[0, 0] = 255
        save(tmp_path / "semantic" / f"0016E5_{i:05d}.png", ids)
    save_json(tmp_path / "labels.json", {"masks": None, "classes": classes})
    data = open_dataset(tmp_path)
    assert set(data.sequences) == {"0016E5"}
    assert data.classes == tuple(classes[:4])
    expected = truths[1].semantic.ids.copy()
    expected[0, 0] = 0
    assert data[1].semantic == SemanticMap(expected, ("unknown", *classes[:4]))


def test_folders_with_masks_as_json(truths: list[Truth], tmp_path: Path) -> None:
    masks = truths[0].masks
    save(tmp_path / "images" / "a.png", truths[0].frame.left)
    rows = [{"segmentation": rle.to_coco(), "category_id": 1, "score": 0.5} for rle in masks.rles]
    table = {"images": [{"id": 1, "file_name": "a.png", "height": 64, "width": 96}]}
    table |= {"annotations": rows, "categories": [{"id": 1, "name": "cup"}]}
    save_json(tmp_path / "masks" / "a.json", table)
    found = open_folders(tmp_path)[0].masks
    assert found is not None
    assert (found.rles, set(found.labels), set(found.scores)) == (masks.rles, {"cup"}, {0.5})
    table["images"][0]["height"] = 63
    table["annotations"] = []
    save_json(tmp_path / "masks" / "a.json", table)
    with pytest.raises(ValueError, match=r"a\.json: masks of 96 x 63 px, but the image of a has"):
        open_folders(tmp_path)[0]


def test_links_inside_of_a_data_set_are_followed(truths: list[Truth], tmp_path: Path) -> None:
    layouts.yolo(tmp_path / "data", truths)
    (tmp_path / "data" / "images").rename(tmp_path / "disk")
    (tmp_path / "data" / "images").symlink_to(tmp_path / "disk")
    masks = open_yolo(tmp_path / "data")[0].masks
    assert masks is not None
    assert len(masks) == len(truths[0].masks)


def test_relative_roots(
    truths: list[Truth], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    layouts.tao(tmp_path, truths)
    monkeypatch.chdir(tmp_path)
    assert open_dataset("list.txt").names == ("l-0", "l-1")
    assert open_dataset("list.txt")[0].disparity is not None


def test_our_own_labels_come_first(truths: list[Truth], tmp_path: Path) -> None:
    """They lie beside the images that they label, which are a data set themselves."""
    layouts.folders(tmp_path, truths)
    save_json(tmp_path / "manifest.json", {"format": "somebody else's"})
    assert len(open_dataset(tmp_path)) == 2
    save_json(tmp_path / "manifest.json", Manifest(complete=True, classes=("cup",)).to_dict())
    ours = open_dataset(tmp_path)
    assert (len(ours), ours.classes) == (0, ("cup",))
    assert len(open_dataset(tmp_path, "folders")) == 2
    assert open_dataset(tmp_path, "rangemask").classes == ("cup",)


@pytest.mark.parametrize(
    ("parts", "name"),
    [
        (("TRAIN", "A/0000", "0006"), "TRAIN-A-0000-0006"),
        ((Path(), "0006"), "0006"),
        (("a b", 'c:"d'), "a_b-c_d"),
        ((".", ".."), "frame"),
    ],
)
def test_names_of_frames(parts: tuple[str | Path, ...], name: str) -> None:
    assert frame_name(*parts) == name
