"""KITTI raw: days and drives, depth of laser and benchmark, Eigen's split."""

from pathlib import Path

import numpy as np
import pytest

from rangemask.data.readers import open_dataset, open_kitti_eigen_train, open_kitti_raw
from rangemask.data.readers.kitti_splits import EIGEN_TRAIN_DRIVES, eigen_test
from rangemask.errors import InputError
from support.kitti_raw import (
    BASELINE_M,
    DATE,
    FX,
    HEIGHT,
    WIDTH,
    point_at,
    write_depth,
    write_drive,
    write_points,
)

TEST_DRIVE, TRAIN_DRIVE = f"{DATE}_drive_0002", f"{DATE}_drive_0001"


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_drive(tmp_path, TEST_DRIVE, (0, 1, 3, 66, 75))
    write_drive(tmp_path, TRAIN_DRIVE, (0, 1))
    return tmp_path


def test_drives_are_sequences_of_pairs_with_their_rig(root: Path) -> None:
    data = open_dataset(root)
    assert data.names[0] == f"{TRAIN_DRIVE}_sync-0000000000"
    assert len(data) == 7
    assert set(data.sequences) == {f"{TRAIN_DRIVE}_sync", f"{TEST_DRIVE}_sync"}
    for sample in (data[0], open_dataset(root / DATE)[0]):
        assert sample.frame.right is not None
        assert sample.depth is None
        rig = sample.frame.rig
        assert rig is not None
        assert (rig.fx, rig.baseline_m) == (FX, pytest.approx(BASELINE_M))


def test_the_split_has_its_published_numbers() -> None:
    frames = eigen_test()
    assert sum(map(len, frames.values())) == 697
    assert len(frames) == 28
    assert {len(numbers) for numbers in frames.values()} == {22, 25}
    assert len(set(EIGEN_TRAIN_DRIVES)) == 33
    assert not set(EIGEN_TRAIN_DRIVES) & set(frames)
    assert all(len(set(numbers)) == len(numbers) for numbers in frames.values())


def test_splits_by_rule(root: Path) -> None:
    for data in (open_dataset(root, "kitti-eigen-test"), open_kitti_raw(root, split="eigen-test")):
        assert [name[-3:] for name in data.names] == ["000", "003", "075"]  # 66 is left out
    data = open_dataset(root, "kitti-eigen-train")
    assert set(data.sequences) == {f"{TRAIN_DRIVE}_sync"}
    assert len(data) == 2
    empty = root / "2011_09_28"
    write_drive(root, "2011_09_28_drive_0037", (0,))
    with pytest.raises(InputError, match=r"found no samples.*eigen-train"):
        open_kitti_eigen_train(empty)


def test_splits_from_files(root: Path) -> None:
    listing = root / "train_files.txt"
    listing.write_text(f"{DATE}/{TEST_DRIVE}_sync 0000000001 l\n\n{DATE}/{TRAIN_DRIVE}_sync 1\n")
    for data in (open_kitti_raw(root, split=listing), open_dataset(listing, "kitti-raw")):
        assert data.names == (
            f"{TRAIN_DRIVE}_sync-0000000001",
            f"{TEST_DRIVE}_sync-0000000001",
        )


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (f"{DATE}/{TEST_DRIVE}_sync", "line 1: expected DATE/DATE_drive_NNNN_sync NUMBER"),
        (f"{TEST_DRIVE} seven l", "expected DATE"),
        (f"{DATE}/{TEST_DRIVE}_sync 1 r", "right camera are not read"),
        (f"{DATE}/{TEST_DRIVE}_sync 2 l", "no left image 2 of"),
        (f"{DATE}/{DATE}_drive_0099_sync 2 l", "no left image 2 of"),
    ],
)
def test_lists_that_do_not_fit_are_refused(root: Path, line: str, words: str) -> None:
    listing = root / "list.txt"
    listing.write_text(line)
    with pytest.raises(InputError, match=words):
        open_kitti_raw(root, split=listing)


def test_wrong_options_are_refused(root: Path) -> None:
    with pytest.raises(InputError, match="depth must be one of auto, improved"):
        open_kitti_raw(root, depth="lidar")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="Known splits: eigen-train, eigen-test"):
        open_kitti_raw(root, split="eigen-val")
    (root / "list.txt").write_text("")
    with pytest.raises(InputError, match="is a list of frames itself"):
        open_kitti_raw(root / "list.txt", split="eigen-test")
    with pytest.raises(InputError, match="found no samples"):
        open_kitti_raw(root / DATE / f"{TEST_DRIVE}_sync")


def test_laser_points_become_depth(root: Path) -> None:
    drive = root / DATE / f"{TEST_DRIVE}_sync"
    hits = {(30, 40): 12.0, (50, 10): 5.5, (0, 95): 40.0}
    points = [point_at(row, column, depth) for (row, column), depth in hits.items()]
    behind_it = point_at(30, 40, 20.0)  # hidden by a nearer point
    outside = point_at(30, WIDTH + 3, 9.0)
    behind_us = -point_at(30, 40, 12.0)
    write_points(drive, 0, np.array([*points, behind_it, outside, behind_us]))
    for depth in ("auto", "velodyne"):
        sample = open_kitti_raw(root, split="eigen-test", depth=depth)[0]
        assert sample.depth is not None
        metres = sample.depth.metres
        assert metres.shape == (HEIGHT, WIDTH)
        assert np.isfinite(metres).sum() == len(hits)
        for (row, column), expected in hits.items():
            assert metres[row, column] == pytest.approx(expected, rel=1e-5)
    ahead = open_kitti_raw(root, split="eigen-test", depth="velodyne-forward")[0].depth
    assert ahead is not None
    for ((row, column), expected), point in zip(hits.items(), points, strict=True):
        assert ahead.metres[row, column] == pytest.approx(point[0], rel=1e-5)
        assert abs(point[0] - expected) > 0.1
    assert open_kitti_raw(root, split="eigen-test", depth="none")[0].depth is None
    assert open_kitti_raw(root, split="eigen-test", depth="improved")[0].depth is None


@pytest.mark.parametrize("place", ["", "train", "data_depth_annotated/val"])
def test_the_depth_benchmark_comes_first(root: Path, place: str) -> None:
    drive = root / DATE / f"{TEST_DRIVE}_sync"
    write_points(drive, 0, point_at(30, 40, 12.0)[None])
    truth = np.full((HEIGHT, WIDTH), np.nan)
    truth[20:, :] = 7.25
    write_depth(drive if not place else root / place / drive.name, 0, truth)
    data = open_kitti_raw(root, split="eigen-test")
    assert data[0].depth is not None
    np.testing.assert_array_equal(data[0].depth.metres, truth.astype(np.float32))
    laser = open_kitti_raw(root, split="eigen-test", depth="velodyne")[0].depth
    assert laser is not None
    assert np.isfinite(laser.metres).sum() == 1


def test_frames_without_a_partner_are_single_images(tmp_path: Path) -> None:
    write_drive(tmp_path, TEST_DRIVE, (0,), right=False)
    (tmp_path / DATE / "calib_cam_to_cam.txt").unlink()
    (sample,) = open_dataset(tmp_path)
    assert sample.frame.right is None
    assert sample.frame.rig is None


def test_damaged_laser_files_are_named(root: Path) -> None:
    drive = root / DATE / f"{TEST_DRIVE}_sync"
    file = write_points(drive, 0, point_at(30, 40, 12.0)[None])
    file.write_bytes(file.read_bytes()[:-2])
    with pytest.raises(InputError, match=r"0000000000\.bin: expected points of 4 float32"):
        open_kitti_raw(root, split="eigen-test")[0]
    write_points(drive, 0, point_at(30, 40, 12.0)[None])
    velo = root / DATE / "calib_velo_to_cam.txt"
    velo.write_text("R: 1 2 3")
    with pytest.raises(InputError, match=r"calib_velo_to_cam\.txt: expected R: with 9 numbers"):
        open_kitti_raw(root, split="eigen-test")[0]
    velo.unlink()
    with pytest.raises(InputError, match=r"calib_velo_to_cam\.txt: the calibration cannot be read"):
        open_kitti_raw(root, split="eigen-test")[0]
