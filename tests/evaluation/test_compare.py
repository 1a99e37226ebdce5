import json
import math
from pathlib import Path

import numpy as np
import pytest

from rangemask.data.map_files import write_map
from rangemask.errors import InputError
from rangemask.evaluation.compare import evaluate_depth, evaluate_disparity, evaluate_masks
from rangemask.evaluation.scene_truth import compare_with_truth
from rangemask.structures import Distance, MaskSet, Scene, SceneObject, StereoFrame
from rangemask.structures.images import write_image


def constant(path: Path, value: float) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_map(path, np.full((4, 5), value, dtype=np.float32))
    return path


def test_two_files(tmp_path: Path) -> None:
    report = evaluate_disparity(constant(tmp_path / "a.npy", 10), constant(tmp_path / "b.pfm", 13))
    assert report.rows["a"]["epe_px"] == 3
    assert report.mean == report.rows["a"]
    assert report.to_dict()["frames"]["a"]["bad_2"] == 1


def test_folders_pair_by_name(tmp_path: Path) -> None:
    for name, value in (("1", 10), ("2", 10), ("only_here", 1)):
        constant(tmp_path / "found" / f"{name}.npy", value)
    for name, value in (("1", 11), ("2", 15), ("only_there", 1)):
        constant(tmp_path / "true" / f"{name}.png", value)
    report = evaluate_disparity(tmp_path / "found", tmp_path / "true")
    assert sorted(report.rows) == ["1", "2"]
    assert report.mean["epe_px"] == 3
    assert report.mean["pixels"] == 40
    assert (report.only_predicted, report.only_truth) == (("only_here",), ("only_there",))
    values = report.to_dict()
    assert (values["only_predicted"], values["only_truth"]) == (["only_here"], ["only_there"])


def test_an_output_folder_is_understood(tmp_path: Path) -> None:
    for name in ("a", "b"):
        constant(tmp_path / "out" / name / "stereo" / "disparity.npy", 10)
        constant(tmp_path / "out" / name / "stereo" / "depth.npy", 2)
        constant(tmp_path / "true" / f"{name}.npy", 10)
    assert evaluate_disparity(tmp_path / "out", tmp_path / "true").mean["epe_px"] == 0
    one = evaluate_disparity(tmp_path / "out" / "a", tmp_path / "true" / "a.npy")
    assert list(one.rows) == ["a"]
    depth = evaluate_depth(tmp_path / "out", tmp_path / "true", max_depth_m=5)
    assert math.isnan(depth.mean["rmse_m"])
    assert depth.to_dict()["mean"]["rmse_m"] is None


def test_a_mask_says_where_to_look(tmp_path: Path) -> None:
    found = constant(tmp_path / "f" / "a.npy", 10)
    true = np.full((4, 5), 10, dtype=np.float32)
    true[0] = 50
    (tmp_path / "t").mkdir()
    write_map(tmp_path / "t" / "a.npy", true)
    valid = np.full((4, 5), 255, dtype=np.uint8)
    valid[0] = 0
    (tmp_path / "v").mkdir()
    write_image(tmp_path / "v" / "a.png", valid)
    truth = tmp_path / "t" / "a.npy"
    assert evaluate_disparity(found, truth).mean["bad_2"] == 0.25
    assert evaluate_disparity(found, truth, valid=tmp_path / "v" / "a.png").mean["bad_2"] == 0
    assert evaluate_disparity(found, truth, valid=tmp_path / "v").mean["bad_2"] == 0
    (tmp_path / "v" / "a.png").rename(tmp_path / "v" / "other.png")
    with pytest.raises(InputError, match="no mask for a; found other"):
        evaluate_disparity(found, truth, valid=tmp_path / "v")


def test_masks(tmp_path: Path) -> None:
    ids = np.zeros((6, 8), dtype=np.uint8)
    ids[:3, :4], ids[3:, 4:] = 1, 2
    write_image(tmp_path / "true.png", ids)
    write_image(tmp_path / "found.png", np.where(ids == 1, 9, 0).astype(np.uint8))
    report = evaluate_masks(tmp_path / "found.png", tmp_path / "true.png")
    assert report.mean["recall"] == 0.5
    assert report.mean["precision"] == 1
    assert report.mean["ap50"] == pytest.approx(51 / 101)


def test_what_does_not_pair_up_is_refused(tmp_path: Path) -> None:
    one = constant(tmp_path / "a" / "1.npy", 1)
    constant(tmp_path / "a" / "2.npy", 1)
    constant(tmp_path / "b" / "3.npy", 1)
    with pytest.raises(InputError, match=r"gone.*does not exist"):
        evaluate_disparity(tmp_path / "gone", one)
    with pytest.raises(InputError, match=r"no frame is in both. Found 1, 2 and 3"):
        evaluate_disparity(tmp_path / "a", tmp_path / "b")
    with pytest.raises(InputError, match=r"no frame is in both\. Found 1 and 3"):
        evaluate_disparity(one, tmp_path / "b")
    with pytest.raises(InputError, match="found 2 predictions for one truth"):
        evaluate_disparity(tmp_path / "a", one)
    write_map(tmp_path / "small.npy", np.ones((2, 2), dtype=np.float32))
    with pytest.raises(InputError, match=r"1\.npy against .*small\.npy: .*same frame"):
        evaluate_disparity(one, tmp_path / "small.npy")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InputError, match=r"empty: holds no disparity maps \(\.npy"):
        evaluate_disparity(tmp_path / "empty", one)
    constant(tmp_path / "a" / "1.pfm", 1)
    with pytest.raises(InputError, match=r"1\.npy and .*1\.pfm are of one frame"):
        evaluate_disparity(tmp_path / "a", tmp_path / "a")
    with pytest.raises(InputError, match=r"nonocc\.png.*does not exist"):
        evaluate_disparity(one, one, valid=tmp_path / "nonocc.png")


def test_names_are_said_of_relative_paths_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    write_map("a.npy", np.ones((2, 2), dtype=np.float32))
    write_map("b.npy", np.ones((3, 2), dtype=np.float32))
    with pytest.raises(InputError, match=r"^a\.npy against b\.npy: "):
        evaluate_disparity("a.npy", "b.npy")


@pytest.mark.parametrize("spelled", ["disparity.npy", "disp0GT.pfm"])
def test_frames_may_be_folders_on_both_sides(tmp_path: Path, spelled: str) -> None:
    """As data sets have them; pictures beside a map are no maps, hidden files are nobody's."""
    for name in ("a", "day/b"):
        constant(tmp_path / "out" / name / "stereo" / "disparity.npy", 2)
        write_image(
            tmp_path / "out" / name / "stereo" / "disparity.png", np.zeros((4, 5, 3), np.uint8)
        )
        constant(tmp_path / "true" / name / spelled, 3)
        write_image(tmp_path / "true" / name / "left.png", np.zeros((4, 5, 3), np.uint8))
        write_image(tmp_path / "true" / name / "nonocc.png", np.full((4, 5), 255, np.uint8))
    constant(tmp_path / "out" / ".half" / "stereo" / "disparity.npy", 2)
    report = evaluate_disparity(tmp_path / "out", tmp_path / "true", valid=tmp_path / "true")
    assert list(report.rows) == ["a", "day/b"]
    assert report.mean["epe_px"] == 1
    assert report.only_predicted == report.only_truth == ()


def test_files_pair_by_their_path_within_the_folder(tmp_path: Path) -> None:
    for side, value in (("out", 2), ("true", 3)):
        for name in ("day/1", "night/1"):
            constant(tmp_path / side / f"{name}.npy", value)
    assert list(evaluate_disparity(tmp_path / "out", tmp_path / "true").rows) == [
        "day/1",
        "night/1",
    ]


def test_middlebury_marks_occluded_pixels_grey(tmp_path: Path) -> None:
    found, true = np.full((1, 3), 5, np.float32), np.array([[5, 9, 9]], np.float32)
    write_map(tmp_path / "a.npy", found)
    write_map(tmp_path / "b.npy", true)
    write_image(tmp_path / "mask0nocc.png", np.array([[255, 128, 0]], np.uint8))
    report = evaluate_disparity(
        tmp_path / "a.npy", tmp_path / "b.npy", valid=tmp_path / "mask0nocc.png"
    )
    assert (report.mean["pixels"], report.mean["bad_2"]) == (1, 0)


def test_coco_results_against_coco_instances(tmp_path: Path) -> None:
    """The usual pair of files; an image in which nothing was found counts as missed."""
    mask = np.zeros((1, 6, 8), dtype=bool)
    mask[0, 1:4, 1:4] = True
    rle = MaskSet.from_dense(mask).rles[0].to_coco()
    images = [{"id": i, "file_name": f"{i}.jpg", "height": 6, "width": 8} for i in (11, 12)]
    square = {"category_id": 3, "segmentation": [[1, 1, 4, 1, 4, 4, 1, 4]]}
    truth = {
        "images": images,
        "categories": [{"id": 3, "name": "cup"}],
        "annotations": [{"image_id": i, **square} for i in (11, 12)],
    }
    result = {"image_id": 11, "category_id": 3, "segmentation": rle, "score": 0.9}
    (tmp_path / "true.json").write_text(json.dumps(truth))
    (tmp_path / "found.json").write_text(json.dumps([result]))
    report = evaluate_masks(tmp_path / "found.json", tmp_path / "true.json", use_labels=True)
    assert [row["mean_iou"] for row in report.rows.values()] == [1, 0]
    assert list(report.rows) == ["11", "12"]
    assert report.mean["ap"] == pytest.approx(51 / 101)
    folder = tmp_path / "out" / "12" / "segmentation"
    folder.mkdir(parents=True)
    (folder / "masks.json").write_text(json.dumps({"images": [images[0]], "annotations": [result]}))
    report = evaluate_masks(tmp_path / "out", tmp_path / "true.json")
    assert report.rows["12"]["recall"] == 1
    assert report.only_truth == ("11",)


def test_masks_of_other_sizes_are_named(tmp_path: Path) -> None:
    write_image(tmp_path / "a.png", np.ones((2, 2), np.uint8))
    write_image(tmp_path / "b.png", np.ones((3, 2), np.uint8))
    with pytest.raises(InputError, match=r"a\.png against .*b\.png, frame a: .*same image"):
        evaluate_masks(tmp_path / "a.png", tmp_path / "b.png")


@pytest.mark.data
def test_truth_in_folders_of_real_scenes(shared_data: Path) -> None:
    truth = shared_data / "stereo"
    report = evaluate_disparity(truth, truth)
    assert len(report.rows) >= 10
    assert report.mean["bad_05"] == 0
    one = truth / "middlebury2003_teddy"
    visible = evaluate_disparity(one, one, valid=one / "nonocc.png")
    assert 0 < visible.mean["pixels"] < report.rows["middlebury2003_teddy"]["pixels"]


def test_a_scene_against_its_truth(frame: StereoFrame) -> None:
    mask = np.zeros((2, 48, 64), dtype=bool)
    mask[0, :10, :10], mask[1, 20:, 20:] = True, True
    rles = MaskSet.from_dense(mask).rles
    truth = np.full((48, 64), 10, dtype=np.float32)  # 60 * 0.1 / (10 + 2) = 0.5 m
    truth[20:, 20:] = np.nan
    scene = Scene(
        frame=frame,
        disparity=np.full((48, 64), 10, dtype=np.float32),
        objects=tuple(
            SceneObject(id=i, label="a", score=1, rle=rle, distance=Distance(median=0.52))
            for i, rle in enumerate(rles, start=1)
        ),
    )
    found = compare_with_truth(scene, truth)
    assert found.disparity.epe_px == 0
    assert found.objects[0].true_median_m == 0.5
    assert found.objects[0].error_share == pytest.approx(0.04)
    assert found.objects[1].error_share is None
    assert found.to_dict()["objects"][1] == {"id": 2, "true_median_m": None, "error_share": None}
    with pytest.raises(InputError, match="only a matched pair"):
        compare_with_truth(Scene(frame=frame), truth)
