"""Every format gives back the rig it was given, or says that it cannot hold it."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rangemask.camera.rig_files import FORMATS, load_rig, save_rig
from rangemask.errors import InputError
from rangemask.geometry import Camera, Rig
from support.rigs import assert_same_rig, raw_cameras, raw_rigs, rectified_rigs

relaxed = settings(deadline=None, max_examples=25)

PLAIN = (0, 4)
RADTAN_OR_FISHEYE = (0, 4, "fisheye")
PINHOLE = (0, 4, 5, 8, 12, 14)


def there_and_back(rig: Rig, name: str, form: str | None = None) -> Rig:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        save_rig(rig, path, format=form)
        return load_rig(path)


@relaxed
@given(rig=st.one_of(raw_rigs(), rectified_rigs()), suffix=st.sampled_from(["yaml", "yml", "json"]))
def test_our_file_gives_back_any_rig(rig: Rig, suffix: str) -> None:
    assert_same_rig(there_and_back(rig, f"rig.{suffix}"), rig)


@relaxed
@given(camera=raw_cameras(lens=8), form=st.sampled_from(["rangemask", "opencv", "ros"]))
def test_a_single_camera_is_given_back(camera: Camera, form: str) -> None:
    rig = Rig(left=camera)
    assert_same_rig(there_and_back(rig, "camera.yaml", form), rig)


@relaxed
@given(rig=st.one_of(raw_rigs(), rectified_rigs()))
def test_opencv_gives_back_any_rig(rig: Rig) -> None:
    assert_same_rig(there_and_back(rig, "stereo.yaml", "opencv"), rig)


@relaxed
@given(rig=raw_rigs(lenses=RADTAN_OR_FISHEYE))
def test_kalibr_gives_back_four_term_lenses(rig: Rig) -> None:
    assert_same_rig(there_and_back(rig, "camchain.yaml"), rig)


@relaxed
@given(rig=raw_rigs(lenses=PINHOLE))
def test_arducam_gives_back_pinhole_rigs(rig: Rig) -> None:
    assert_same_rig(there_and_back(rig, "calib.json", "arducam"), rig)


@relaxed
@given(rig=rectified_rigs())
def test_middlebury_gives_back_rectified_rigs(rig: Rig) -> None:
    assert_same_rig(there_and_back(rig, "calib.txt"), rig)


@relaxed
@given(rig=rectified_rigs())
def test_kitti_gives_back_rectified_rigs(rig: Rig) -> None:
    assert_same_rig(there_and_back(rig, "calib_cam_to_cam.txt"), rig)


@relaxed
@given(rig=rectified_rigs(doffs=False, sized=False))
def test_k_txt_gives_back_rectified_rigs_without_doffs(rig: Rig) -> None:
    assert_same_rig(there_and_back(rig, "K.txt"), rig)


@settings(deadline=None, max_examples=8)  # each plans a rectification
@given(rig=raw_rigs(), name=st.sampled_from(["left.yaml", "cam_RIGHT_1.yaml", "folder"]))
def test_a_ros_pair_is_given_back_from_either_file_or_the_folder(rig: Rig, name: str) -> None:
    assert_same_rig(there_and_back(rig, name, "ros"), rig)


@relaxed
@given(rig=rectified_rigs(sized=True))
def test_a_ros_pair_of_a_rectified_rig_stays_rectified(rig: Rig) -> None:
    found = there_and_back(rig, "left.yaml", "ros")
    assert_same_rig(found, rig)
    assert found.is_rectified


@relaxed
@given(rig=raw_rigs())
def test_opencv_itself_reads_what_is_written_for_it(rig: Rig) -> None:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "stereo.yaml"
        save_rig(rig, path, format="opencv")
        storage = cv2.FileStorage(str(path), cv2.FILE_STORAGE_READ)
        k1, t = storage.getNode("K1").mat(), storage.getNode("T").mat()
        width = storage.getNode("image_width").real()
        storage.release()
    np.testing.assert_allclose(k1, rig.left.matrix)
    np.testing.assert_allclose(t.ravel(), rig.translation_m)
    assert width == rig.left.width


def test_a_file_that_opencv_writes_is_read(tmp_path: Path) -> None:
    k, d = np.array([[500.0, 0, 320], [0, 501.0, 240], [0, 0, 1]]), np.array([[-0.2, 0.1, 0, 0, 0]])
    path = tmp_path / "calibration.yml"
    storage = cv2.FileStorage(str(path), cv2.FILE_STORAGE_WRITE)
    for name, value in {
        "cameraMatrix1": k, "distCoeffs1": d, "cameraMatrix2": k, "distCoeffs2": d,
        "R": np.eye(3), "T": np.array([[-0.06], [0.0], [0.0]]),
    }.items():  # fmt: skip
        storage.write(name, value)
    storage.release()
    rig = load_rig(path, image_size=(640, 480))
    assert rig.baseline_m == pytest.approx(0.06)
    assert rig.left.distortion == (-0.2, 0.1, 0, 0, 0)
    assert rig.size == (640, 480)


def test_a_rig_without_scale_keeps_having_none(tmp_path: Path) -> None:
    camera = Camera(fx=100, fy=100, cx=10, cy=10, width=20, height=20)
    rig = Rig(left=camera, right=camera)
    rig.save(tmp_path / "rig.yaml")
    assert Rig.load(tmp_path / "rig.yaml").baseline_m is None


@pytest.mark.parametrize("form", [form.name for form in FORMATS if form.name != "rangemask"])
def test_a_name_is_taken_from_the_file(form: str, tmp_path: Path, rig: Rig) -> None:
    plain = replace(rig, right=rig.left, name="")  # no doffs, which K.txt cannot hold
    save_rig(plain, tmp_path / "left_calibration.yaml", format=form)
    found = load_rig(tmp_path / "left_calibration.yaml", image_size=(64, 48))
    assert found.name == "left_calibration"
    assert_same_rig(found, plain)


FISHEYE = Camera(
    fx=200, fy=200, cx=320, cy=240, width=640, height=480, model="fisheye", distortion=(0.0,) * 4
)
PINHOLE_8 = replace(FISHEYE, model="pinhole", distortion=(0.1,) * 8)
STRAIGHT = replace(FISHEYE, model="pinhole", distortion=())


def pair(left: Camera, right: Camera | None = None, baseline_m: float = 0.1) -> Rig:
    return Rig(left=left, right=right or left, translation_m=(-baseline_m, 0, 0))


CANNOT_HOLD: dict[str, tuple[str, Rig, str]] = {
    "K.txt of a raw rig": ("foundation-stereo", pair(FISHEYE), "rectified"),
    "K.txt with doffs": (
        "foundation-stereo", pair(STRAIGHT, replace(STRAIGHT, cx=330)), "doffs of 10",
    ),
    "Middlebury of a raw rig": ("middlebury", pair(FISHEYE), "rectified"),
    "Middlebury of one camera": ("middlebury", Rig(left=STRAIGHT), "single camera"),
    "KITTI of a raw rig": ("kitti", pair(PINHOLE_8), "rectified"),
    "Kalibr of eight terms": ("kalibr", pair(PINHOLE_8), "four distortion"),
    "Kalibr without a size": ("kalibr", pair(Camera(fx=1, fy=1, cx=0, cy=0)), "image size"),
    "Kalibr without scale": ("kalibr", Rig(left=STRAIGHT, right=STRAIGHT), "no baseline"),
    "Arducam of a fisheye": ("arducam", pair(FISHEYE), "pinhole"),
    "Arducam without a size": ("arducam", pair(Camera(fx=1, fy=1, cx=0, cy=0)), "image size"),
    "OpenCV of two models": ("opencv", pair(FISHEYE, STRAIGHT), "one lens model"),
    "ROS without scale": ("ros", Rig(left=STRAIGHT, right=STRAIGHT), "no baseline"),
    "ROS without a size": ("ros", pair(Camera(fx=1, fy=1, cx=0, cy=0)), "image size"),
}  # fmt: skip


@pytest.mark.parametrize("case", CANNOT_HOLD)
def test_a_format_refuses_a_rig_it_cannot_hold(case: str, tmp_path: Path) -> None:
    form, rig, words = CANNOT_HOLD[case]
    with pytest.raises(InputError, match=words):
        save_rig(rig, tmp_path / "left.yaml", format=form)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("save", "words"),
    [
        (lambda rig, folder: rig.save(folder / "rig.bin"), "does not say which"),
        (lambda rig, folder: rig.save(folder / "rig.yaml", format="excel"), "excel"),
        (lambda rig, folder: rig.save(folder / "rig.xml", format="opencv"), "YAML"),
        (lambda rig, folder: rig.save(folder / "pair.yaml", format="ros"), "left or right"),
        (
            lambda rig, folder: Rig(left=rig.left).save(folder / "left.yaml", format="ros"),
            "neither left nor right",
        ),
    ],
)
def test_a_name_that_cannot_be_written_is_refused(
    save: Callable[[Rig, Path], None], words: str, tmp_path: Path, rig: Rig
) -> None:
    with pytest.raises(InputError, match=words):
        save(rig, tmp_path)
