"""Data sets that are damaged, incomplete or not what they seem say so, with the file's name."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rangemask.data.readers import open_dataset
from rangemask.errors import InputError
from support import layouts
from support.layouts import Truth, save, save_json, save_text

Damage = Callable[[Path], object]
SMALL = np.ones((4, 6), np.uint8)


@pytest.fixture(scope="module")
def truths() -> list[Truth]:
    return layouts.truths()


def gone(file: str) -> Damage:
    return lambda root: (root / file).unlink()


def cut(file: str) -> Damage:
    return lambda root: (root / file).write_bytes((root / file).read_bytes()[:60])


def small(file: str) -> Damage:
    return lambda root: save(root / file, SMALL)


def text(file: str, content: str) -> Damage:
    return lambda root: save_text(root / file, content)


def edited(file: str, edit: Callable[[Any], object]) -> Damage:
    """A JSON file with a change."""

    def damage(root: Path) -> None:
        data = json.loads((root / file).read_text())
        edit(data)
        save_json(root / file, data)

    return damage


def copied(source: str, target: str) -> Damage:
    return lambda root: save_copy(root / source, root / target)


def save_copy(source: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    target.write_bytes(source.read_bytes())


SA1B, SAV = "sa_000000/sa_0.json", "sav_000001_manual.json"
INSTANCES, PANOPTIC = "annotations/instances_val2017.json", "annotations/panoptic_val2017.json"

REFUSED_WHEN_OPENED: list[tuple[layouts.Writer, Damage, str]] = [
    (layouts.kitti_2015, gone("training/image_3/000001_10.png"), r"image_2.000001_10.*image_3"),
    (layouts.kitti_2015, gone("training/disp_occ_0/000000_10.png"), r"disp_occ_0.*not exist"),
    (layouts.kitti_2015, gone("training/disp_noc_0/000000_10.png"), r"disp_noc_0.*not exist"),
    (layouts.kitti_2015, gone("training/calib_cam_to_cam/000001.txt"), r"000001\.txt.*not exist"),
    (layouts.kitti_2012, text("training/calib/000000.txt", "P0: 1 2"), "matrices P0 and P1"),
    (layouts.kitti_2012, text("training/calib/000000.txt", "R: 1 2"), "matrices P0 and P1"),
    (layouts.middlebury, gone("Scene1/im1.png"), r"Scene1.im0\.png: expected its partner"),
    (layouts.monkaa, gone("Monkaa/disparity/a_rain_of_stones_x2/left/0001.pfm"), "0001.*pfm"),
    (
        layouts.monkaa,
        gone("Monkaa/frames_cleanpass/a_rain_of_stones_x2/right/0000.png"),
        r"left.0000\.png: expected its partner .*right.0000",
    ),
    (layouts.fsd, gone("warehouse/dataset/data/right/rgb/0000.png"), "partner called '0000'"),
    (layouts.fsd, gone("warehouse/dataset/data/left/disparity/0001.png"), "called '0001'"),
    (
        layouts.fsd,
        copied("warehouse/dataset/data/left/rgb/0001.png", "warehouse-dataset/data/left/rgb/1.png"),
        "expected the folder of a data set, but it does not exist",
    ),
    (layouts.crestereo, gone("tree/1_right.png"), r"1_left\.png: expected its partner"),
    (layouts.sa_1b, gone(SA1B), r"sa_0\.png: expected a partner"),
    (layouts.sa_1b, gone("sa_000000/sa_1.png"), r"sa_1\.json: expected a partner"),
    (
        layouts.sa_1b,
        copied("sa_000000/sa_0.png", "sa_000000/sa_0.jpg"),
        r"sa_0\.jpg and .*sa_0\.png differ in their suffix only",
    ),
    (
        layouts.sa_1b,
        lambda root: [
            save_copy(root / SA1B.replace("json", s), root / f"SA_000000/sa_0.{s}")
            for s in ("png", "json")
        ],
        r"SA_000000.sa_0\.png and .*sa_000000.sa_0\.png would both be called",
    ),
    (layouts.sa_v, gone("sav_000001/00000.png"), "numbered from 0, found no frame 0"),
    (layouts.sa_v, gone("sav_000001/00004.png"), "frame 4 is missing"),
    (layouts.sa_v, copied("sav_000001/00000.png", "sav_000001/a.png"), "the frame's number"),
    (layouts.sa_v, copied("sav_000001/00000.png", "sav_000001/0.png"), "are one frame"),
    (layouts.davis, gone("JPEGImages/480p/bear/00001.png"), r"00001\.png: expected a partner"),
    (layouts.voc, gone("JPEGImages/2007_000000.png"), "partner called '2007_000000'"),
    (layouts.voc, gone("SegmentationClass/2007_000001.png"), "partner called '2007_000001'"),
    (layouts.coco, gone("val2017/000000000001.png"), "one image '000000000001'.* found 0"),
    (
        layouts.coco,
        edited(INSTANCES, lambda d: d["annotations"][0].update(category_id=5)),
        "category 5, which is not in the table",
    ),
    (layouts.coco, edited(INSTANCES, lambda d: d.update(images=[])), "no table of images"),
    (layouts.coco, text(INSTANCES, "{"), "not masks of COCO's layout"),
    (
        layouts.coco,
        copied(INSTANCES, "annotations/instances_train2017.json"),
        r"expected one file of .*found instances_train2017\.json, instances_val2017\.json",
    ),
    (layouts.coco_panoptic, gone("val2017/000000000001.png"), "names .*1.png, which does not"),
    (
        layouts.coco_panoptic,
        gone("annotations/panoptic_val2017/000000000001.png"),
        "panoptic_val2017/000000000001.png, which does not",
    ),
    (layouts.coco_panoptic, text(PANOPTIC, "[]"), "not COCO's panoptic layout"),
    (layouts.coco_panoptic, text(PANOPTIC, "["), "not a JSON file"),
    (
        layouts.coco_panoptic,
        edited(PANOPTIC, lambda d: d["annotations"][0]["segments_info"][0].update(category_id=5)),
        "has category 5, which is not there",
    ),
    (
        layouts.coco_panoptic,
        edited(PANOPTIC, lambda d: d["images"][0].update(file_name="../../secret.png")),
        r"the path '\.\./\.\./secret\.png' leaves",
    ),
    (
        layouts.coco_panoptic,
        edited(
            PANOPTIC, lambda d: d.update(categories=[{"id": i, "name": str(i)} for i in range(300)])
        ),
        "300 categories; a semantic map holds 255",
    ),
    (layouts.yolo, text("data.yaml", "names: [a]\ntrain: nothing"), "names .*nothing, which"),
    (layouts.yolo, text("data.yaml", "names: [a]\ntrain: /etc"), "the path '/etc' leaves"),
    (layouts.yolo, text("data.yaml", "names: [a]\ntrain: ../../x"), "the path '../../x' leaves"),
    (layouts.yolo, text("data.yaml", "names: {1: a}\ntrain: images"), r"numbered 0, 1, \.\.\."),
    (layouts.yolo, text("data.yaml", "names: 3\ntrain: images"), "a list of class names"),
    (layouts.folders, gone("right/1.png"), r"left.1\.png: expected a partner called '1'"),
    (layouts.folders, gone("left/1.png"), r"1\.npy: expected a partner called '1'"),
    (layouts.folders, gone("labels.json"), r"ids need names; expected labels\.json"),
    (layouts.folders, text("labels.json", "[1]"), "not a file of class names"),
    (layouts.folders, text("labels.json", '{"classes": {"x": "a"}}'), "not a file of class"),
    (
        layouts.folders,
        lambda root: save_json(root / "labels.json", {"classes": [str(i) for i in range(300)]}),
        "300 classes; a semantic map holds 255",
    ),
]

REFUSED_WHEN_READ: list[tuple[layouts.Writer, Damage, str]] = [
    (layouts.kitti_2015, small("training/disp_occ_0/000000_10.png"), "16-bit grey PNG"),
    (layouts.kitti_2015, small("training/image_3/000000_10.png"), "left and right must have one"),
    (layouts.kitti_2015, cut("training/image_2/000000_10.png"), r"000000_10\.png.*damaged|not an"),
    (
        layouts.kitti_2015,
        text("training/calib_cam_to_cam/000000.txt", "x"),
        "000000.txt: expected",
    ),
    (
        layouts.kitti_2015,
        lambda root: save(root / "training/disp_noc_0/000000_10.png", SMALL.astype(np.uint16)),
        r"disp_noc_0.*: 6 x 4 px, but the image of 000000_10 has 96 x 64",
    ),
    (layouts.middlebury, small("Scene0/mask0nocc.png"), r"mask0nocc\.png: 6 x 4 px, but"),
    (layouts.middlebury, cut("Scene0/disp0.pfm"), r"disp0\.pfm: .*Was it cut off"),
    (
        layouts.middlebury,
        lambda root: layouts.RIG.scaled(48, 32).save(root / "Scene0/calib.txt"),
        r"im0\.png and .*calib\.txt: .*the rig is for 48 x 32",
    ),
    (layouts.fsd, small("warehouse/dataset/data/left/disparity/0000.png"), "colour-coded"),
    (layouts.sa_1b, text(SA1B, "{"), "not a JSON file"),
    (layouts.sa_1b, text(SA1B, "[]"), "not labels of SA-1B"),
    (layouts.sa_1b, edited(SA1B, lambda d: d["annotations"][0].pop("predicted_iou")), "SA-1B"),
    (layouts.sa_1b, edited(SA1B, lambda d: d["image"].update(file_name="sa_7.jpg")), "about sa_7"),
    (
        layouts.sa_1b,
        edited(SA1B, lambda d: d["annotations"][0].update(predicted_iou="high")),
        "a score is not a finite number",
    ),
    (
        layouts.sa_1b,
        edited(SA1B, lambda d: d["annotations"][0].update(segmentation=3)),
        "no COCO run lengths",
    ),
    (
        layouts.sa_1b,
        edited(SA1B, lambda d: d["annotations"][0]["segmentation"].update(size=[9, 9])),
        "a mask has 9 x 9 px, but the image of sa_000000-sa_0 has 96 x 64",
    ),
    (
        layouts.sa_1b,
        edited(SA1B, lambda d: d["annotations"][0]["segmentation"].update(counts=[6144])),
        "compressed COCO run lengths",
    ),
    (
        layouts.sa_1b,
        edited(SA1B, lambda d: d["annotations"][0]["segmentation"].update(counts="0")),
        r"sa_0\.json: the run lengths do not add up",
    ),
    (layouts.sa_v, text(SAV, '{"masklet": []}'), "found 0 labelled frames"),
    (layouts.sa_v, text(SAV, "[]"), "found 0 labelled frames"),
    (
        layouts.sa_v,
        edited(SAV, lambda d: d.update(masklet_stability_score=[[1.0]])),
        r"masklet_stability_score of 2 frames x .* objects, found \(1, 1\)",
    ),
    (
        layouts.sa_v,
        edited(SAV, lambda d: d.update(masklet_stability_score=[["high"]])),
        "masklet_stability_score is no table",
    ),
    (layouts.davis, small("Annotations/480p/bear/00000.png"), r"00000\.png: 6 x 4 px"),
    (layouts.sa_v_validation, small("Annotations_6fps/sav_000002/000/00000.png"), "6 x 4 px"),
    (
        layouts.voc,
        lambda root: save(
            root / "SegmentationClass/2007_000000.png", np.full((64, 96), 30, np.uint8)
        ),
        "class 30 is none of VOC's, which are 0 to 20",
    ),
    (layouts.coco, lambda root: save(root / "val2017/000000000000.png", SMALL), "6 x 4 px, but"),
    (
        layouts.coco_panoptic,
        lambda root: save(
            root / "annotations/panoptic_val2017/000000000000.png",
            np.full((64, 96, 3), 9, np.uint8),
        ),
        "segment 592137 is not in its segments_info",
    ),
    (
        layouts.coco_panoptic,
        lambda root: save(
            root / "annotations/panoptic_val2017/000000000000.png", np.ones((64, 96), np.uint8)
        ),
        r"000000000000\.png: expected ids as colours",
    ),
    (layouts.coco_panoptic, small("val2017/000000000000.png"), "96 x 64 px, but the image of"),
    (layouts.yolo, text("labels/train/0.txt", "9 0 0 1 0 1 1"), "0.txt, line 1: class 9 has no"),
    (layouts.yolo, text("labels/train/0.txt", "\n0 .5 .5 .2 .2"), "line 2: .*found a box"),
    (layouts.yolo, text("labels/train/0.txt", "0 0 0 1 0 1.2 1"), "leaves the image.*0 to 1.2"),
    (layouts.yolo, text("labels/train/0.txt", "0 0 0 1 0 nan 1"), "leaves the image"),
    (layouts.yolo, text("labels/train/0.txt", "0 0 0 1 0 1"), "three corners or more, found 5"),
    (layouts.yolo, text("labels/train/0.txt", "a 0 0"), "expected a class and numbers"),
    (
        layouts.yolo,
        lambda root: (root / "labels/train/0.txt").write_bytes(b"\xff\xfe0"),
        r"0\.txt: not a text file",
    ),
    (layouts.folders, small("semantic/0.png"), r"semantic.0\.png: 6 x 4 px"),
    (
        layouts.folders,
        lambda root: save(root / "semantic/0.png", np.full((64, 96), 7, np.uint16)),
        "class 7 has no name in labels.json",
    ),
    (layouts.folders, small("masks/0.png"), r"masks.0\.png: 6 x 4 px"),
    (
        layouts.folders,
        lambda root: layouts.save_map(root / "depth/0.npy", np.ones((2, 3))),
        r"0\.npy: 3 x 2 px",
    ),
]


def ids_of(cases: list[tuple[layouts.Writer, Damage, str]]) -> list[str]:
    return [f"{write.__name__} {match[:24]}" for write, _, match in cases]


@pytest.mark.parametrize(
    ("write", "damage", "match"), REFUSED_WHEN_OPENED, ids=ids_of(REFUSED_WHEN_OPENED)
)
def test_refused_when_opened(
    write: layouts.Writer, damage: Damage, match: str, truths: list[Truth], tmp_path: Path
) -> None:
    write(tmp_path, truths)
    assert len(open_dataset(tmp_path)) == 2
    damage(tmp_path)
    with pytest.raises(InputError, match=match):
        open_dataset(tmp_path)


@pytest.mark.parametrize(
    ("write", "damage", "match"), REFUSED_WHEN_READ, ids=ids_of(REFUSED_WHEN_READ)
)
def test_refused_when_read(
    write: layouts.Writer, damage: Damage, match: str, truths: list[Truth], tmp_path: Path
) -> None:
    """Only the damaged sample is lost: the other one is still read."""
    write(tmp_path, truths)
    damage(tmp_path)
    data = open_dataset(tmp_path)
    with pytest.raises(InputError, match=match):
        data[0]
    if write is not layouts.sa_v:
        assert data[1].frame.width == 96
