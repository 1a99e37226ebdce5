"""Data sets that are damaged, incomplete or not what they seem say so, with the file's name."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rangemask.data.readers import (
    open_coco,
    open_coco_panoptic,
    open_crestereo,
    open_dataset,
    open_folders,
    open_frames,
    open_fsd,
    open_kitti,
    open_middlebury,
    open_sa1b,
    open_sav,
    open_sceneflow,
    open_tao_list,
    open_video_masks,
    open_voc,
    open_yolo,
)
from rangemask.data.readers.folders import looks_like_folders
from rangemask.errors import InputError, UnknownNameError
from rangemask.structures.images import write_image
from support import datasets
from support.datasets import Truth, save, save_json, save_text

Damage = Callable[[Path], object]
SMALL = np.ones((4, 6), np.uint8)
EVERY_OPENER = (
    open_coco,
    open_coco_panoptic,
    open_crestereo,
    open_folders,
    open_frames,
    open_fsd,
    open_kitti,
    open_middlebury,
    open_sa1b,
    open_sav,
    open_sceneflow,
    open_video_masks,
    open_voc,
    open_yolo,
)


@pytest.fixture(scope="module")
def truths() -> list[Truth]:
    return datasets.truths()


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

REFUSED_WHEN_OPENED: list[tuple[datasets.Writer, Damage, str]] = [
    (datasets.kitti_2015, gone("training/image_3/000001_10.png"), r"image_2.000001_10.*image_3"),
    (datasets.kitti_2015, gone("training/disp_occ_0/000000_10.png"), r"disp_occ_0.*not exist"),
    (datasets.kitti_2015, gone("training/disp_noc_0/000000_10.png"), r"disp_noc_0.*not exist"),
    (datasets.kitti_2015, gone("training/calib_cam_to_cam/000001.txt"), r"000001\.txt.*not exist"),
    (datasets.kitti_2012, text("training/calib/000000.txt", "P0: 1 2"), "matrices P0 and P1"),
    (datasets.kitti_2012, text("training/calib/000000.txt", "R: 1 2"), "matrices P0 and P1"),
    (datasets.middlebury, gone("Scene1/im1.png"), r"Scene1.im0\.png: expected its partner"),
    (datasets.monkaa, gone("Monkaa/disparity/a_rain_of_stones_x2/left/0001.pfm"), "0001.*pfm"),
    (
        datasets.monkaa,
        gone("Monkaa/frames_cleanpass/a_rain_of_stones_x2/right/0000.png"),
        r"left.0000\.png: expected its partner .*right.0000",
    ),
    (datasets.fsd, gone("warehouse/dataset/data/right/rgb/0000.png"), "partner called '0000'"),
    (datasets.fsd, gone("warehouse/dataset/data/left/disparity/0001.png"), "called '0001'"),
    (
        datasets.fsd,
        copied("warehouse/dataset/data/left/rgb/0001.png", "warehouse-dataset/data/left/rgb/1.png"),
        "expected the folder of a data set, but it does not exist",
    ),
    (datasets.crestereo, gone("tree/1_right.png"), r"1_left\.png: expected its partner"),
    (datasets.sa_1b, gone(SA1B), r"sa_0\.png: expected a partner"),
    (datasets.sa_1b, gone("sa_000000/sa_1.png"), r"sa_1\.json: expected a partner"),
    (
        datasets.sa_1b,
        copied("sa_000000/sa_0.png", "sa_000000/sa_0.jpg"),
        r"sa_0\.jpg and .*sa_0\.png differ in their suffix only",
    ),
    (
        datasets.sa_1b,
        lambda root: [
            save_copy(root / SA1B.replace("json", s), root / f"SA_000000/sa_0.{s}")
            for s in ("png", "json")
        ],
        r"SA_000000.sa_0\.png and .*sa_000000.sa_0\.png would both be called",
    ),
    (datasets.sa_v, gone("sav_000001/00000.png"), "numbered from 0, found no frame 0"),
    (datasets.sa_v, gone("sav_000001/00004.png"), "frame 4 is missing"),
    (datasets.sa_v, copied("sav_000001/00000.png", "sav_000001/a.png"), "the frame's number"),
    (datasets.sa_v, copied("sav_000001/00000.png", "sav_000001/0.png"), "are one frame"),
    (datasets.davis, gone("JPEGImages/480p/bear/00001.png"), r"00001\.png: expected a partner"),
    (datasets.voc, gone("JPEGImages/2007_000000.png"), "partner called '2007_000000'"),
    (datasets.voc, gone("SegmentationClass/2007_000001.png"), "partner called '2007_000001'"),
    (datasets.coco, gone("val2017/000000000001.png"), "one image '000000000001'.* found 0"),
    (
        datasets.coco,
        edited(INSTANCES, lambda d: d["annotations"][0].update(category_id=5)),
        "category 5, which is not in the table",
    ),
    (datasets.coco, edited(INSTANCES, lambda d: d.update(images=[])), "no table of images"),
    (datasets.coco, text(INSTANCES, "{"), "not masks of COCO's layout"),
    (
        datasets.coco,
        copied(INSTANCES, "annotations/instances_train2017.json"),
        r"expected one file of .*found instances_train2017\.json, instances_val2017\.json",
    ),
    (datasets.coco_panoptic, gone("val2017/000000000001.png"), "names .*1.png, which does not"),
    (
        datasets.coco_panoptic,
        gone("annotations/panoptic_val2017/000000000001.png"),
        "panoptic_val2017/000000000001.png, which does not",
    ),
    (datasets.coco_panoptic, text(PANOPTIC, "[]"), "not COCO's panoptic layout"),
    (datasets.coco_panoptic, text(PANOPTIC, "["), "not a JSON file"),
    (
        datasets.coco_panoptic,
        edited(PANOPTIC, lambda d: d["annotations"][0]["segments_info"][0].update(category_id=5)),
        "has category 5, which is not there",
    ),
    (
        datasets.coco_panoptic,
        edited(PANOPTIC, lambda d: d["images"][0].update(file_name="../../secret.png")),
        r"the path '\.\./\.\./secret\.png' leaves",
    ),
    (
        datasets.coco_panoptic,
        edited(
            PANOPTIC, lambda d: d.update(categories=[{"id": i, "name": str(i)} for i in range(300)])
        ),
        "300 categories; a semantic map holds 255",
    ),
    (datasets.yolo, text("data.yaml", "names: [a]\ntrain: nothing"), "names .*nothing, which"),
    (datasets.yolo, text("data.yaml", "names: [a]\ntrain: /etc"), "the path '/etc' leaves"),
    (datasets.yolo, text("data.yaml", "names: [a]\ntrain: ../../x"), "the path '../../x' leaves"),
    (datasets.yolo, text("data.yaml", "names: {1: a}\ntrain: images"), r"numbered 0, 1, \.\.\."),
    (datasets.yolo, text("data.yaml", "names: 3\ntrain: images"), "a list of class names"),
    (datasets.folders, gone("right/1.png"), r"left.1\.png: expected a partner called '1'"),
    (datasets.folders, gone("left/1.png"), r"1\.npy: expected a partner called '1'"),
    (datasets.folders, gone("labels.json"), r"ids need names; expected labels\.json"),
    (datasets.folders, text("labels.json", "[1]"), "not a file of class names"),
    (datasets.folders, text("labels.json", '{"classes": {"x": "a"}}'), "not a file of class"),
    (
        datasets.folders,
        lambda root: save_json(root / "labels.json", {"classes": [str(i) for i in range(300)]}),
        "300 classes; a semantic map holds 255",
    ),
]

REFUSED_WHEN_READ: list[tuple[datasets.Writer, Damage, str]] = [
    (datasets.kitti_2015, small("training/disp_occ_0/000000_10.png"), "16-bit grey PNG"),
    (datasets.kitti_2015, small("training/image_3/000000_10.png"), "left and right must have one"),
    (datasets.kitti_2015, cut("training/image_2/000000_10.png"), r"000000_10\.png.*damaged|not an"),
    (
        datasets.kitti_2015,
        text("training/calib_cam_to_cam/000000.txt", "x"),
        "000000.txt: expected",
    ),
    (
        datasets.kitti_2015,
        lambda root: save(root / "training/disp_noc_0/000000_10.png", SMALL.astype(np.uint16)),
        r"disp_noc_0.*: 6 x 4 px, but the image of 000000_10 has 96 x 64",
    ),
    (datasets.middlebury, small("Scene0/mask0nocc.png"), r"mask0nocc\.png: 6 x 4 px, but"),
    (datasets.middlebury, cut("Scene0/disp0.pfm"), r"disp0\.pfm: .*Was it cut off"),
    (
        datasets.middlebury,
        lambda root: datasets.RIG.scaled(48, 32).save(root / "Scene0/calib.txt"),
        r"im0\.png and .*calib\.txt: .*the rig is for 48 x 32",
    ),
    (datasets.fsd, small("warehouse/dataset/data/left/disparity/0000.png"), "colour-coded"),
    (datasets.sa_1b, text(SA1B, "{"), "not a JSON file"),
    (datasets.sa_1b, text(SA1B, "[]"), "not labels of SA-1B"),
    (datasets.sa_1b, edited(SA1B, lambda d: d["annotations"][0].pop("predicted_iou")), "SA-1B"),
    (datasets.sa_1b, edited(SA1B, lambda d: d["image"].update(file_name="sa_7.jpg")), "about sa_7"),
    (
        datasets.sa_1b,
        edited(SA1B, lambda d: d["annotations"][0].update(predicted_iou="high")),
        "a score is not a finite number",
    ),
    (
        datasets.sa_1b,
        edited(SA1B, lambda d: d["annotations"][0].update(segmentation=3)),
        "no COCO run lengths",
    ),
    (
        datasets.sa_1b,
        edited(SA1B, lambda d: d["annotations"][0]["segmentation"].update(size=[9, 9])),
        "a mask has 9 x 9 px, but the image of sa_000000-sa_0 has 96 x 64",
    ),
    (
        datasets.sa_1b,
        edited(SA1B, lambda d: d["annotations"][0]["segmentation"].update(counts=[6144])),
        "compressed COCO run lengths",
    ),
    (
        datasets.sa_1b,
        edited(SA1B, lambda d: d["annotations"][0]["segmentation"].update(counts="0")),
        r"sa_0\.json: the run lengths do not add up",
    ),
    (datasets.sa_v, text(SAV, '{"masklet": []}'), "found 0 labelled frames"),
    (datasets.sa_v, text(SAV, "[]"), "found 0 labelled frames"),
    (
        datasets.sa_v,
        edited(SAV, lambda d: d.update(masklet_stability_score=[[1.0]])),
        r"masklet_stability_score of 2 frames x .* objects, found \(1, 1\)",
    ),
    (
        datasets.sa_v,
        edited(SAV, lambda d: d.update(masklet_stability_score=[["high"]])),
        "masklet_stability_score is no table",
    ),
    (datasets.davis, small("Annotations/480p/bear/00000.png"), r"00000\.png: 6 x 4 px"),
    (datasets.sa_v_validation, small("Annotations_6fps/sav_000002/000/00000.png"), "6 x 4 px"),
    (
        datasets.voc,
        lambda root: save(
            root / "SegmentationClass/2007_000000.png", np.full((64, 96), 30, np.uint8)
        ),
        "class 30 is none of VOC's, which are 0 to 20",
    ),
    (datasets.coco, lambda root: save(root / "val2017/000000000000.png", SMALL), "6 x 4 px, but"),
    (
        datasets.coco_panoptic,
        lambda root: save(
            root / "annotations/panoptic_val2017/000000000000.png",
            np.full((64, 96, 3), 9, np.uint8),
        ),
        "segment 592137 is not in its segments_info",
    ),
    (
        datasets.coco_panoptic,
        lambda root: save(
            root / "annotations/panoptic_val2017/000000000000.png", np.ones((64, 96), np.uint8)
        ),
        r"000000000000\.png: expected ids as colours",
    ),
    (datasets.coco_panoptic, small("val2017/000000000000.png"), "96 x 64 px, but the image of"),
    (datasets.yolo, text("labels/train/0.txt", "9 0 0 1 0 1 1"), "0.txt, line 1: class 9 has no"),
    (datasets.yolo, text("labels/train/0.txt", "\n0 .5 .5 .2 .2"), "line 2: .*found a box"),
    (datasets.yolo, text("labels/train/0.txt", "0 0 0 1 0 1.2 1"), "leaves the image.*0 to 1.2"),
    (datasets.yolo, text("labels/train/0.txt", "0 0 0 1 0 nan 1"), "leaves the image"),
    (datasets.yolo, text("labels/train/0.txt", "0 0 0 1 0 1"), "three corners or more, found 5"),
    (datasets.yolo, text("labels/train/0.txt", "a 0 0"), "expected a class and numbers"),
    (
        datasets.yolo,
        lambda root: (root / "labels/train/0.txt").write_bytes(b"\xff\xfe0"),
        r"0\.txt: not a text file",
    ),
    (datasets.folders, small("semantic/0.png"), r"semantic.0\.png: 6 x 4 px"),
    (
        datasets.folders,
        lambda root: save(root / "semantic/0.png", np.full((64, 96), 7, np.uint16)),
        "class 7 has no name in labels.json",
    ),
    (datasets.folders, small("masks/0.png"), r"masks.0\.png: 6 x 4 px"),
    (
        datasets.folders,
        lambda root: datasets.save_map(root / "depth/0.npy", np.ones((2, 3))),
        r"0\.npy: 3 x 2 px",
    ),
]


def ids_of(cases: list[tuple[datasets.Writer, Damage, str]]) -> list[str]:
    return [f"{write.__name__} {match[:24]}" for write, _, match in cases]


@pytest.mark.parametrize(
    ("write", "damage", "match"), REFUSED_WHEN_OPENED, ids=ids_of(REFUSED_WHEN_OPENED)
)
def test_refused_when_opened(
    write: datasets.Writer, damage: Damage, match: str, truths: list[Truth], tmp_path: Path
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
    write: datasets.Writer, damage: Damage, match: str, truths: list[Truth], tmp_path: Path
) -> None:
    """Only the damaged sample is lost: the other one is still read."""
    write(tmp_path, truths)
    damage(tmp_path)
    data = open_dataset(tmp_path)
    with pytest.raises(InputError, match=match):
        data[0]
    if write is not datasets.sa_v:
        assert data[1].frame.width == 96


@pytest.mark.parametrize("opener", EVERY_OPENER)
def test_every_reader_refuses_an_empty_folder_and_none(
    opener: Callable[[Path], object], tmp_path: Path
) -> None:
    with pytest.raises(InputError):
        opener(tmp_path)
    with pytest.raises(InputError, match="nowhere"):
        opener(tmp_path / "nowhere")


def test_what_is_not_a_data_set(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        open_dataset(tmp_path / "nowhere")
    with pytest.raises(UnknownNameError, match="'imagenet'; known are kitti, middlebury"):
        open_dataset(tmp_path, "imagenet")
    with pytest.raises(InputError, match=r"no layout that is known .*and no images either"):
        open_dataset(tmp_path)
    (tmp_path / "im0.png").write_bytes(b"x")
    with pytest.raises(InputError, match="expected the folder of a data set, but it is a file"):
        open_kitti(tmp_path / "im0.png")
    with pytest.raises(InputError, match="no layout that is known"):
        open_dataset(tmp_path / "im0.png")


def test_frames_whose_calibration_is_damaged(truths: list[Truth], tmp_path: Path) -> None:
    datasets.frames(tmp_path, truths)
    save_text(tmp_path / "calib.txt", "nothing")
    with pytest.raises(InputError, match=r"^[^:]*calib\.txt: expected a calibration file"):
        open_dataset(tmp_path)


def test_two_layouts_in_one_folder(truths: list[Truth], tmp_path: Path) -> None:
    datasets.coco(tmp_path, truths)
    datasets.coco_panoptic(tmp_path, truths)
    with pytest.raises(InputError, match="could be read as coco or as coco-panoptic"):
        open_dataset(tmp_path)
    assert open_dataset(tmp_path, "coco")[0].semantic is None
    assert open_dataset(tmp_path / PANOPTIC)[0].semantic is not None
    assert open_dataset(tmp_path / INSTANCES).names == open_dataset(tmp_path, "coco").names


def test_tao_lists(truths: list[Truth], tmp_path: Path) -> None:
    datasets.tao(tmp_path / "data", truths)
    listing = tmp_path / "data" / "list.txt"
    for line, match in {
        "l/0.png": "line 1: expected left right .* found 1 fields",
        "l/0.png r/0.png d/0.png nocc/0.png x": "found 5 fields",
        "l/0.png r/7.png": "line 1: .*7.png does not exist",
        "l/0.png ../r/0.png": r"the path '\.\./r/0\.png' leaves",
        "/etc/passwd /etc/passwd": "the path '/etc/passwd' leaves",
        "# nothing": r"list\.txt: found no samples",
    }.items():
        listing.write_text(line)
        with pytest.raises(InputError, match=match):
            open_tao_list(listing)
    listing.write_bytes(b"\xff\xfe")
    with pytest.raises(InputError, match="not a text file"):
        open_tao_list(listing)
    with pytest.raises(InputError, match="does not exist"):
        open_tao_list(tmp_path / "no.txt")
    outside = save_text(tmp_path / "lists" / "a.txt", f"{tmp_path}/data/l/0.png\tdata/r/0.png")
    with pytest.raises(InputError, match="leaves"):
        open_tao_list(outside)
    data = open_tao_list(outside, root=tmp_path)
    assert (data.names, data.sequences) == (("data-l-0",), ("data-l",))
    assert data[0].disparity is None


def test_tao_names_that_clash(truths: list[Truth], tmp_path: Path) -> None:
    datasets.tao(tmp_path, truths)
    save_text(tmp_path / "list.txt", "l/0.png r/0.png\nl/0.png r/1.png")
    with pytest.raises(InputError, match=r"0\.png and .*0\.png would both be called 'l-0'"):
        open_tao_list(tmp_path / "list.txt")


def test_videos_that_are_not_unpacked(truths: list[Truth], tmp_path: Path) -> None:
    datasets.sa_v(tmp_path, truths)
    (tmp_path / "sav_000001").rename(tmp_path / "elsewhere")
    with pytest.raises(
        InputError, match=r"as images in .*sav_000001, but there is no such folder\.$"
    ):
        open_sav(tmp_path)
    (tmp_path / "sav_000001.mp4").write_bytes(b"video")
    with pytest.raises(InputError, match=r"Video files are not read; .*-start_number 0"):
        open_sav(tmp_path)


def test_options_that_do_not_fit(truths: list[Truth], tmp_path: Path) -> None:
    with pytest.raises(InputError, match="255 or 256, got 10"):
        open_fsd(tmp_path, base=10)  # type: ignore[arg-type]
    datasets.yolo(tmp_path / "yolo", truths)
    with pytest.raises(InputError, match="names no images of 'test'"):
        open_yolo(tmp_path / "yolo", split="test")
    with pytest.raises(InputError, match="expected a YAML file"):
        open_yolo(save_text(tmp_path / "a.json", "{}"))
    for name in ("b.yaml", "c.yml"):
        save_text(tmp_path / "two" / name, "names: [a]\ntrain: images")
    with pytest.raises(InputError, match=r"one data\.yaml, found b\.yaml, c\.yml"):
        open_yolo(tmp_path / "two")
    with pytest.raises(InputError, match="expected names, train and val, found list"):
        open_yolo(save_text(tmp_path / "d.yaml", "[1]"))
    with pytest.raises(InputError, match="not a YAML file"):
        open_yolo(save_text(tmp_path / "e.yaml", "{"))
    with pytest.raises(InputError, match=r"training.*does not exist"):
        open_kitti(tmp_path, split="training")


def test_yolo_lists_of_images(truths: list[Truth], tmp_path: Path) -> None:
    datasets.yolo(tmp_path, truths)
    save_text(tmp_path / "data.yaml", "names: [a, b, c, d, e]\ntrain: train.txt")
    save_text(tmp_path / "train.txt", "./images/train/1.png\n\n")
    data = open_yolo(tmp_path)
    assert data.names == ("train-1",)
    assert data[0].masks is not None
    assert len(data[0].masks) == len(truths[1].masks)
    save_text(tmp_path / "train.txt", "labels/train/1.txt")
    with pytest.raises(InputError, match="is not the name of an image"):
        open_yolo(tmp_path)
    save_text(tmp_path / "train.txt", "../../x.png")
    with pytest.raises(InputError, match="leaves"):
        open_yolo(tmp_path)


def test_a_picture_instead_of_ids(tmp_path: Path) -> None:
    write_image(save(tmp_path / "images" / "a.png", SMALL), SMALL)
    noise = np.random.default_rng(0).permutation(60_000).reshape(200, 300).astype(np.uint16)
    save(tmp_path / "images" / "b.png", noise)
    save(tmp_path / "masks" / "b.png", noise)
    data = open_folders(tmp_path)
    assert looks_like_folders(tmp_path)
    assert data[0].masks is None
    with pytest.raises(InputError, match="expected ids of masks, found 59999"):
        data[1]
