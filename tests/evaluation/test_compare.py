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
    assert report.alone == ("only_here", "only_there")


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
    with pytest.raises(InputError, match="give two of a kind"):
        evaluate_disparity(one, tmp_path / "b")
    with pytest.raises(InputError, match="holds 2 predictions"):
        evaluate_disparity(tmp_path / "a", one)
    write_map(tmp_path / "small.npy", np.ones((2, 2), dtype=np.float32))
    with pytest.raises(InputError, match=r"1\.npy: .*same frame"):
        evaluate_disparity(one, tmp_path / "small.npy")


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
