"""Pairs whose fault is known: shifted, turned, swapped, the same twice, without texture."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from skimage import data

from rangemask.camera.pair_check import MIN_MATCHES, PairCheck, check_pair
from rangemask.errors import InputError
from rangemask.geometry import Rig
from rangemask.geometry.arrays import ImageArray
from rangemask.structures import StereoFrame


@cache
def textured_pair(width: int = 500, height: int = 300) -> tuple[ImageArray, ImageArray]:
    """A tilted plane with 10 to 30 px of disparity, wrapped in smooth random texture."""
    random = np.random.default_rng(3)
    texture = sum(
        cv2.GaussianBlur(random.normal(size=(height, width + 80)), (0, 0), sigma) * sigma
        for sigma in (1.5, 4, 10)
    )
    texture = cv2.normalize(texture, None, 0, 255, cv2.NORM_MINMAX).astype(np.float32)
    x, y = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))
    disparity_px = 10 + 20 * y / height
    left = cv2.remap(texture, x + 35, y, cv2.INTER_CUBIC)
    # x_right = x_left - disparity, and disparity is the same along a row.
    right = cv2.remap(texture, x + 35 + disparity_px, y, cv2.INTER_CUBIC)
    return _rgb(left), _rgb(right)


def _rgb(grey: np.ndarray) -> ImageArray:
    return np.repeat(np.clip(grey, 0, 255).astype(np.uint8)[..., None], 3, axis=2)


def moved(image: ImageArray, *, down_px: float = 0.0, turn_deg: float = 0.0) -> ImageArray:
    height, width = image.shape[:2]
    matrix = cv2.getRotationMatrix2D((width / 2, height / 2), turn_deg, 1)
    matrix[1, 2] += down_px
    turned = cv2.warpAffine(image, matrix, (width, height), borderMode=cv2.BORDER_REFLECT)
    return np.asarray(turned, dtype=np.uint8)


def test_a_good_pair_gives_no_warning() -> None:
    check = check_pair(StereoFrame(*textured_pair()))
    assert check.warnings() == []
    assert (check.rows_agree, check.swapped) == (True, False)
    assert check.row_offset_px < 0.1
    assert check.disparity_px == pytest.approx(20, abs=3)


@settings(deadline=None, max_examples=10)
@given(down_px=st.floats(1.0, 12.0), up=st.booleans())
def test_the_row_offset_is_the_shift(down_px: float, up: bool) -> None:
    left, right = textured_pair()
    check = check_pair(StereoFrame(left, moved(right, down_px=-down_px if up else down_px)))
    assert check.row_offset_px == pytest.approx(down_px, abs=0.1)
    assert check.rows_agree is False
    (warning,) = check.warnings()
    assert f"differ by {check.row_offset_px:.1f} px" in warning
    assert "--rig" in warning


@pytest.mark.parametrize("turn_deg", [1.0, -1.0, 2.5])
def test_a_turned_camera_is_seen(turn_deg: float) -> None:
    left, right = textured_pair()
    check = check_pair(StereoFrame(left, moved(right, turn_deg=turn_deg)))
    assert check.rows_agree is False
    assert check.swapped is None


def test_a_swapped_pair_is_seen() -> None:
    left, right = textured_pair()
    check = check_pair(StereoFrame(right, left))
    assert (check.rows_agree, check.swapped) == (True, True)
    (warning,) = check.warnings()
    assert "look swapped: 100% of" in warning
    assert "Exchange the two images" in warning


def test_two_exposures_do_not_disturb() -> None:
    left, right, _ = data.stereo_motorcycle()
    same = check_pair(StereoFrame(left, right))
    darker = check_pair(StereoFrame(left, (right * 0.4).astype(np.uint8)))
    assert darker.warnings() == []
    assert darker.matches > 0.7 * same.matches


def test_a_large_image_is_measured_in_its_own_pixels() -> None:
    left, right = (cv2.resize(image, None, fx=4, fy=4) for image in textured_pair())
    check = check_pair(StereoFrame(left, moved(right, down_px=9)))
    assert check.row_offset_px == pytest.approx(9, abs=0.5)
    assert check.limit_scale == pytest.approx(2000 / 1600)
    assert check.rows_agree is False


def test_a_rig_that_claims_to_be_rectified_is_named() -> None:
    left, right = textured_pair()
    rig = Rig.rectified(fx=400, cx=250, cy=150, baseline_m=0.1)
    check = check_pair(StereoFrame(left, moved(right, down_px=5), rig))
    assert "though the rig says so" in check.warnings()[0]


def test_the_same_picture_twice_is_no_pair() -> None:
    left, _ = textured_pair()
    check = check_pair(StereoFrame(left, left.copy()))
    assert "same picture" in check.warnings()[0]
    assert (check.rows_agree, check.swapped) == (None, None)


@pytest.mark.parametrize("size", [(300, 500), (1, 1), (40, 2), (3, 3000)])
def test_without_texture_nothing_is_claimed(size: tuple[int, int]) -> None:
    random = np.random.default_rng(0)
    left = np.full((*size, 3), 128, dtype=np.uint8)
    right = (left + random.integers(0, 2, left.shape)).astype(np.uint8)
    right[0, 0] += 1
    check = check_pair(StereoFrame(left, right))
    assert check.matches < MIN_MATCHES
    assert (check.rows_agree, check.swapped) == (None, None)
    assert f"only {check.matches} points" in check.warnings()[0]


def test_two_unrelated_pictures_do_not_pass_as_a_pair() -> None:
    left, _ = textured_pair()
    other = np.random.default_rng(5).integers(0, 255, left.shape, dtype=np.uint8)
    assert check_pair(StereoFrame(left, other)).warnings() != []


def test_one_image_cannot_be_checked() -> None:
    with pytest.raises(InputError, match="there is one"):
        check_pair(StereoFrame(textured_pair()[0]))


def faults(left: ImageArray, right: ImageArray) -> dict[str, PairCheck]:
    return {
        "none": check_pair(StereoFrame(left, right)),
        "swapped": check_pair(StereoFrame(right, left)),
        "shifted": check_pair(StereoFrame(left, moved(right, down_px=3))),
        "turned": check_pair(StereoFrame(left, moved(right, turn_deg=1))),
    }


def assert_told_apart(checks: dict[str, PairCheck]) -> None:
    verdicts = {name: (check.rows_agree, check.swapped) for name, check in checks.items()}
    assert verdicts == {
        "none": (True, False),
        "swapped": (True, True),
        "shifted": (False, None),
        "turned": (False, None),
    }


def test_the_faults_of_a_real_pair_are_told_apart() -> None:
    left, right, _ = data.stereo_motorcycle()
    assert_told_apart(faults(left, right))


SCENES = (
    "eth3d_playground", "kitti2012_000005", "kitti2012_000059", "kitti2012_000075",
    "kitti2015_000046", "middlebury2001_tsukuba", "middlebury2003_teddy", "middlebury2005_art",
    "middlebury2005_dolls", "middlebury2005_reindeer", "middlebury2006_aloe",
    "middlebury2014_motorcycle_q", "sceneflow_A-0032-0006",
)  # fmt: skip


@pytest.mark.data
@pytest.mark.parametrize("scene", SCENES)
def test_the_faults_of_every_real_scene_are_told_apart(scene: str, shared_data: Path) -> None:
    suffix = "jpg" if scene == "middlebury2006_aloe" else "png"
    folder = shared_data / "stereo" / scene
    frame = StereoFrame.read(folder / f"left.{suffix}", folder / f"right.{suffix}")
    assert frame.right is not None
    assert_told_apart(faults(frame.left, frame.right))


@pytest.mark.data
@pytest.mark.parametrize("name", ["kitti_odometry_a", "euroc_a"])
def test_frames_of_moving_cameras_give_no_false_alarm(name: str, shared_data: Path) -> None:
    folder = shared_data / "sequence" / name
    for number in range(0, 12, 3):
        images = (folder / side / f"{number:06d}.png" for side in ("left", "right"))
        assert check_pair(StereoFrame.read(*images)).warnings() == []


@pytest.mark.data
def test_raw_frames_are_seen_to_be_raw(shared_data: Path) -> None:
    folder = shared_data / "sequence/euroc_a"
    frame = StereoFrame.read(folder / "raw_left_000000.png", folder / "raw_right_000000.png")
    assert "rows of left and right differ by 11.9 px" in check_pair(frame).warnings()[0]
