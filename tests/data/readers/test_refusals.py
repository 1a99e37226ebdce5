"""What each reader refuses before it looks at samples, and what open_dataset says."""

from collections.abc import Callable
from pathlib import Path

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
from support import layouts
from support.layouts import Truth, save, save_text

SMALL = np.ones((4, 6), np.uint8)
INSTANCES, PANOPTIC = "annotations/instances_val2017.json", "annotations/panoptic_val2017.json"
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
    return layouts.truths()


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
    with pytest.raises(UnknownNameError, match="'imagenet'; known are rangemask, kitti"):
        open_dataset(tmp_path, "imagenet")
    with pytest.raises(InputError, match=r"no layout that is known .*and no images either"):
        open_dataset(tmp_path)
    (tmp_path / "im0.png").write_bytes(b"x")
    with pytest.raises(InputError, match="expected the folder of a data set, but it is a file"):
        open_kitti(tmp_path / "im0.png")
    with pytest.raises(InputError, match="no layout that is known"):
        open_dataset(tmp_path / "im0.png")


def test_frames_whose_calibration_is_damaged(truths: list[Truth], tmp_path: Path) -> None:
    layouts.frames(tmp_path, truths)
    save_text(tmp_path / "calib.txt", "nothing")
    with pytest.raises(InputError, match=r"^[^:]*calib\.txt: expected a calibration file"):
        open_dataset(tmp_path)


def test_two_layouts_in_one_folder(truths: list[Truth], tmp_path: Path) -> None:
    layouts.coco(tmp_path, truths)
    layouts.coco_panoptic(tmp_path, truths)
    with pytest.raises(InputError, match="could be read as coco or as coco-panoptic"):
        open_dataset(tmp_path)
    assert open_dataset(tmp_path, "coco")[0].semantic is None
    assert open_dataset(tmp_path / PANOPTIC)[0].semantic is not None
    assert open_dataset(tmp_path / INSTANCES).names == open_dataset(tmp_path, "coco").names


def test_tao_lists(truths: list[Truth], tmp_path: Path) -> None:
    layouts.tao(tmp_path / "data", truths)
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
    layouts.tao(tmp_path, truths)
    save_text(tmp_path / "list.txt", "l/0.png r/0.png\nl/0.png r/1.png")
    with pytest.raises(InputError, match=r"0\.png and .*0\.png would both be called 'l-0'"):
        open_tao_list(tmp_path / "list.txt")


def test_videos_that_are_not_unpacked(truths: list[Truth], tmp_path: Path) -> None:
    layouts.sa_v(tmp_path, truths)
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
    layouts.yolo(tmp_path / "yolo", truths)
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
    layouts.yolo(tmp_path, truths)
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


def test_labels_that_went_after_opening(truths: list[Truth], tmp_path: Path) -> None:
    layouts.sa_1b(tmp_path, truths)
    data = open_dataset(tmp_path)
    (tmp_path / "sa_000000" / "sa_0.json").unlink()
    with pytest.raises(InputError, match=r"sa_0\.json: expected a file, but it does not exist"):
        data[0]
