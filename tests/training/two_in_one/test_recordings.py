"""Pairs of any layout are opened, and doubted where they should be."""

import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from rangemask.data.readers import open_dataset
from rangemask.data.synthetic import random_scene, render
from rangemask.errors import InputError
from rangemask.geometry import Rig
from rangemask.structures import StereoFrame
from rangemask.structures.images import write_image
from rangemask.training.data import Frames
from rangemask.training.two_in_one.config import PairDataConfig
from rangemask.training.two_in_one.recordings import (
    Recordings,
    d2d_of_data,
    doubts,
    focal_baseline_of,
    open_pairs,
    tell_doubts,
    without_labels,
)

RIG = Rig.rectified(fx=280.0, cx=159.5, cy=95.5, baseline_m=0.2, width=320, height=192)
SIZE = (192, 320)


@pytest.fixture(scope="module")
def frame() -> StereoFrame:
    return render(random_scene(4), RIG, samples=1).frame


def write(folder: Path, frame: StereoFrame, count: int = 2, *, rig: bool = True) -> Path:
    for side, image in (("left", frame.left), ("right", frame.right)):
        (folder / side).mkdir(parents=True)
        assert image is not None
        for number in range(count):
            write_image(folder / side / f"{number:06}.png", image)
    if rig:
        RIG.save(folder / "rig.yaml")
    return folder


def opened(root: Path, **options: object) -> Frames:
    given = {"validation_share": 0.4, **options}
    return open_pairs(PairDataConfig(root=str(root), **given), 0)  # type: ignore[arg-type]


def test_left_and_right_alone_are_one_recording(frame: StereoFrame, tmp_path: Path) -> None:
    frames = opened(write(tmp_path / "a", frame, 5))
    assert len(frames.train_indices) == 2
    assert len(frames.val_indices) == 2
    assert d2d_of_data(frames, 640) == pytest.approx(280 * 0.2 * 2)
    assert doubts(frames, 2, SIZE) == []


def test_a_folder_of_recordings_is_split_by_recording(frame: StereoFrame, tmp_path: Path) -> None:
    for name in ("walk", "run"):
        write(tmp_path / name, frame)
    frames = opened(tmp_path)
    assert isinstance(frames.train, Recordings)
    assert frames.train.names == ("run-000000", "run-000001", "walk-000000", "walk-000001")
    held = {frames.train.sequences[index] for index in frames.val_indices}
    assert len(held) == 1
    assert frames.train[3].name == "walk-000001"
    assert frames.train[3].sequence == "walk"
    assert [sample.name for sample in frames.train] == list(frames.train.names)
    assert len(frames.fingerprint) == 64


def test_a_store_of_ours_reads_no_labels(rendered: Path) -> None:
    frames = opened(rendered)
    assert d2d_of_data(frames, 84) == pytest.approx(75 * 0.12)


def test_labels_that_nobody_learns_from_are_not_read(frame: StereoFrame, tmp_path: Path) -> None:
    root = write(tmp_path / "walk", frame)
    (root / "disparity").mkdir()
    (root / "disparity" / "000000.npy").write_text("damaged", encoding="utf-8")
    for data in (open_dataset(root), opened(tmp_path).train):
        assert without_labels(data)[0].disparity is None
        with pytest.raises(InputError, match=r"000000\.npy"):
            data[0]


def test_validation_may_be_of_another_kind(frame: StereoFrame, tmp_path: Path) -> None:
    root = write(tmp_path / "a", frame, 5)
    frames = opened(root, validation=str(root), validation_kind="frames")
    assert (len(frames.train_indices), len(frames.val_indices)) == (5, 5)
    with pytest.raises(InputError, match="no kind of data set is called 'film'"):
        opened(root, validation=str(root), validation_kind="film")


def test_no_recordings_speak() -> None:
    with pytest.raises(InputError, match="no recordings"):
        Recordings({})


@pytest.mark.parametrize("gone", ["000001.png", None])
def test_missing_partners_speak(frame: StereoFrame, tmp_path: Path, gone: str | None) -> None:
    root = write(tmp_path / "a", frame, 4)
    if gone is None:
        shutil.rmtree(root / "right")
        with pytest.raises(InputError, match=r"has no right image.*rectified pairs"):
            doubts(opened(root / "left"), 1, SIZE)
        return
    (root / "right" / gone).unlink()
    with pytest.raises(InputError, match=r"000001.png has no partner"):
        opened(root)


def test_partners_that_lack_on_both_sides_are_not_paired_by_order(
    frame: StereoFrame, tmp_path: Path
) -> None:
    root = write(tmp_path / "a", frame, 4)
    (root / "right" / "000001.png").unlink()
    (root / "left" / "000002.png").unlink()
    with pytest.raises(InputError, match=r"000001.png has no partner"):
        opened(root)


def swapped(frame: StereoFrame) -> StereoFrame:
    assert frame.right is not None
    return replace(frame, left=frame.right, right=frame.left)


def tilted(frame: StereoFrame) -> StereoFrame:
    assert frame.right is not None
    return replace(frame, right=np.roll(frame.right, 5, axis=0))


def same(frame: StereoFrame) -> StereoFrame:
    return replace(frame, right=frame.left)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (swapped, "left and right are swapped: exchange the two folders (2 of 2 pairs looked at"),
        (tilted, "rows of left and right disagree: rectify the images first"),
        (same, "left and right are the same picture"),
    ],
)
def test_pairs_that_teach_nonsense_are_warned_of(
    frame: StereoFrame,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    change: object,
    message: str,
) -> None:
    assert callable(change)
    frames = opened(write(tmp_path / "a", change(frame), 5))
    tell_doubts(frames, 2, SIZE)
    assert message in caplog.text
    assert "000000, 000001" in caplog.text
    assert doubts(frames, 0, SIZE) == []


def test_a_rig_without_baseline_is_said_to_have_no_scale(
    frame: StereoFrame, tmp_path: Path
) -> None:
    frames = opened(write(tmp_path / "a", frame, 5, rig=False))
    assert d2d_of_data(frames, 320) is None
    (said,) = doubts(frames, 2, SIZE)
    assert "depth has no metric scale" in said
    assert "2 of 2 pairs" in said
    single = replace(frame, rig=None)
    assert focal_baseline_of(single) is None


def test_other_proportions_are_told(frame: StereoFrame, tmp_path: Path) -> None:
    (said,) = doubts(opened(write(tmp_path / "a", frame, 5)), 1, (96, 320))
    assert "320 x 192 px are brought to 320 x 96" in said
    assert "augmentation.full_size=[192,320]" in said
