"""Files as the tools write them, and what their numbers mean."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from rangemask.geometry import Rig

MIDDLEBURY = """cam0=[999.421 0 294.182; 0 999.421 252.932; 0 0 1]
cam1=[999.421 0 326.96; 0 999.421 252.932; 0 0 1]
doffs=32.778
baseline=193.001
width=741
height=497
ndisp=64
isint=0
vmin=7
vmax=61
dyavg=0
dymax=0
"""
KITTI_RAW = """calib_time: 09-Jan-2012 13:57:47
corner_dist: 9.950000e-02
S_02: 1.392000e+03 5.120000e+02
K_02: 9.597910e+02 0.000000e+00 6.960217e+02 0.000000e+00 9.569251e+02 2.241806e+02 0 0 1
S_rect_00: 1.242000e+03 3.750000e+02
P_rect_00: 7.215377e+02 0 6.095593e+02 0 0 7.215377e+02 1.728540e+02 0 0 0 1 0
S_rect_02: 1.242000e+03 3.750000e+02
P_rect_02: 7.215377e+02 0 6.095593e+02 4.485728e+01 0 7.215377e+02 1.728540e+02 2.163791e-01 0 0 1 2.745884e-03
S_rect_03: 1.242000e+03 3.750000e+02
P_rect_03: 7.215377e+02 0 6.095593e+02 -3.395242e+02 0 7.215377e+02 1.728540e+02 2.199936e+00 0 0 1 2.729905e-03
"""  # noqa: E501
KITTI_SHORT = """P0: 718.856 0 607.1928 0 0 718.856 185.2157 0 0 0 1 0
P1: 718.856 0 607.1928 -386.1448 0 718.856 185.2157 0 0 0 1 0
"""
KALIBR = """cam0:
  cam_overlaps: [1]
  camera_model: pinhole
  distortion_coeffs: [-0.28, 0.07, 0.0002, 1.8e-05]
  distortion_model: radtan
  intrinsics: [458.6, 457.3, 367.2, 248.4]
  resolution: [752, 480]
  rostopic: /cam0/image_raw
cam1:
  T_cn_cnm1:
  - [0.9999972, 0.0023121, 0.000376, -0.1100738]
  - [-0.0023171, 0.999898, 0.0140898, 0.0003991]
  - [-0.0003434, -0.0140907, 0.9999007, -0.0008537]
  - [0.0, 0.0, 0.0, 1.0]
  camera_model: pinhole
  distortion_coeffs: [0.01, 0.02, 0.003, 1e-4]
  distortion_model: equidistant
  intrinsics: [457.5, 456.1, 380.0, 255.2]
  resolution: [752, 480]
"""
ROS = """image_width: 640
image_height: 480
camera_name: narrow_stereo/{side}
camera_matrix:
  rows: 3
  cols: 3
  data: [430.2, 0., 306.7, 0., 430.5, 227.2, 0., 0., 1.]
distortion_model: plumb_bob
distortion_coefficients:
  rows: 1
  cols: 5
  data: [-0.33, 0.1, 0.0002, -0.0004, 0.]
rectification_matrix:
  rows: 3
  cols: 3
  data: {rotation}
projection_matrix:
  rows: 3
  cols: 4
  data: [400., 0., 320., {shift}, 0., 400., 240., 0., 0., 0., 1., 0.]
"""
IDENTITY = "[1., 0., 0., 0., 1., 0., 0., 0., 1.]"
# 0.01 rad about the vertical axis.
YAWED = "[0.99995, 0., 0.00999983, 0., 1., 0., -0.00999983, 0., 0.99995]"


def arducam() -> dict[str, object]:
    def camera(name: str) -> dict[str, object]:
        return {
            "name": name,
            "width": 1280,
            "height": 800,
            "intrinsicMatrix": [[802.0, 0.0, 650.0], [0.0, 800.0, 395.0], [0.0, 0.0, 1.0]],
            "dist_coeff": [7.5, -64.6, 3e-4, -1.7e-3, 754.0, 7.3, -65.3, 754.0, *[0.0] * 6],
            "reprojection_error": 0.4,
            "rectifiedRotation": [1, 0, 0, 0, 1, 0, 0, 0, 1],
        }

    left = camera("left")
    left["extrinsics"] = {
        "to_cam": "right",
        "rotationMatrix": [[1, 0, 0], [0, 1, 0], [0, 0, 1]],
        "translation": [-7.5, 0.1, -0.1],
    }
    return {"cameraData": [left, camera("right")]}


def load(folder: Path, name: str, text: str, **options: tuple[int, int]) -> Rig:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return Rig.load(path, **options)


def test_middlebury(tmp_path: Path) -> None:
    rig = load(tmp_path, "calib.txt", MIDDLEBURY)
    assert (rig.fx, rig.cx, rig.size) == (999.421, 294.182, (741, 497))
    assert rig.baseline_m == pytest.approx(0.193001)  # millimetres in the file
    assert rig.doffs_px == pytest.approx(32.778)
    assert rig.is_rectified


def test_middlebury_without_doffs_takes_it_from_the_two_matrices(tmp_path: Path) -> None:
    rig = load(tmp_path, "calib.txt", MIDDLEBURY.replace("doffs=32.778\n", ""))
    assert rig.doffs_px == pytest.approx(326.96 - 294.182)


def test_kitti_raw_takes_the_colour_pair(tmp_path: Path) -> None:
    rig = load(tmp_path, "calib_cam_to_cam.txt", KITTI_RAW)
    assert rig.baseline_m == pytest.approx((44.85728 + 339.5242) / 721.5377)
    assert rig.baseline_m == pytest.approx(0.5327, abs=1e-4)
    assert (rig.size, rig.is_rectified) == ((1242, 375), True)


def test_kitti_short_form_has_no_size(tmp_path: Path) -> None:
    rig = load(tmp_path, "000000.txt", KITTI_SHORT)
    assert rig.baseline_m == pytest.approx(0.53717, abs=1e-5)
    assert rig.size is None
    assert load(tmp_path, "a.txt", KITTI_SHORT, image_size=(1241, 376)).size == (1241, 376)


def test_kitti_short_form_prefers_the_colour_pair(tmp_path: Path) -> None:
    grey = KITTI_SHORT + KITTI_SHORT.replace("P0", "P2").replace("P1", "P3").replace("386", "285")
    rig = load(tmp_path, "calib.txt", grey)
    assert rig.baseline_m == pytest.approx(285.1448 / 718.856)


def test_k_txt_is_in_metres(tmp_path: Path) -> None:
    text = "754.67 0.0 489.4 0.0 754.67 265.1 0.0 0.0 1.0\n0.063\n"
    rig = load(tmp_path, "K.txt", text)
    assert (rig.fx, rig.cx, rig.cy, rig.baseline_m) == (754.67, 489.4, 265.1, 0.063)
    assert rig.size is None
    assert load(tmp_path, "other.txt", text, image_size=(960, 540)).size == (960, 540)


def test_kalibr_reads_each_lens_and_the_pose(tmp_path: Path) -> None:
    rig = load(tmp_path, "camchain.yaml", KALIBR)
    assert rig.right is not None
    assert (rig.left.model, rig.right.model) == ("pinhole", "fisheye")
    assert rig.left.distortion[3] == 1.8e-05
    assert rig.right.distortion[3] == 1e-4  # which YAML 1.1 takes for a word
    assert rig.translation_m == (-0.1100738, 0.0003991, -0.0008537)
    assert rig.rotation[1][2] == 0.0140898
    assert rig.size == (752, 480)


def test_kalibr_of_one_camera(tmp_path: Path) -> None:
    rig = load(tmp_path, "cam.yaml", KALIBR[: KALIBR.index("cam1")])
    assert rig.right is None


def ros_pair(folder: Path, rotation: str = IDENTITY, **names: str) -> Path:
    left = folder / names.get("left", "left.yaml")
    left.write_text(ROS.format(side="left", rotation=rotation, shift="0."), encoding="utf-8")
    right = folder / names.get("right", "right.yaml")
    right.write_text(ROS.format(side="right", rotation=IDENTITY, shift="-48."), encoding="utf-8")
    return left


def test_ros_reads_the_raw_cameras(tmp_path: Path) -> None:
    rig = Rig.load(ros_pair(tmp_path))
    assert rig.baseline_m == pytest.approx(48 / 400)
    assert rig.fx == 430.2  # of the raw image, not of P
    assert rig.left.distortion == (-0.33, 0.1, 0.0002, -0.0004, 0.0)
    assert not rig.is_rectified


def test_ros_pose_follows_from_the_rectification(tmp_path: Path) -> None:
    """x_rect = R_i x_i for both, and they differ by the baseline: so do the raw cameras."""
    rig = Rig.load(ros_pair(tmp_path, YAWED))
    left_rotation = np.array(json.loads(YAWED.replace("0.,", "0.0,").replace("1.,", "1.0,")))
    point = np.array([0.3, -0.2, 2.0])
    in_left_rectified = left_rotation.reshape(3, 3) @ point
    in_right = np.array(rig.rotation) @ point + rig.translation_m
    np.testing.assert_allclose(in_right, in_left_rectified - (48 / 400, 0, 0), atol=1e-9)


def test_ros_finds_the_partner_by_its_name_and_in_a_folder(tmp_path: Path) -> None:
    ros_pair(tmp_path, left="stereo_Left_info.yaml", right="stereo_Right_info.yaml")
    by_left = Rig.load(tmp_path / "stereo_Left_info.yaml")
    assert Rig.load(tmp_path / "stereo_Right_info.yaml") == by_left
    assert Rig.load(tmp_path) == by_left


def test_ros_without_distortion_and_rotation_is_rectified(tmp_path: Path) -> None:
    left = ros_pair(tmp_path)
    for path in (left, tmp_path / "right.yaml"):
        text = path.read_text(encoding="utf-8")
        text = text.replace("[-0.33, 0.1, 0.0002, -0.0004, 0.]", "[0., 0., 0., 0., 0.]")
        path.write_text(text, encoding="utf-8")
    rig = Rig.load(left)
    assert rig.is_rectified
    assert rig.baseline_m == pytest.approx(0.12)


def test_ros_of_one_camera(tmp_path: Path) -> None:
    rig = load(tmp_path, "camera.yaml", ROS.format(side="x", rotation=IDENTITY, shift="0."))
    assert (rig.right, rig.fx) == (None, 430.2)


def test_arducam_is_in_centimetres(tmp_path: Path) -> None:
    rig = load(tmp_path, "flash.json", json.dumps(arducam()))
    assert rig.translation_m == pytest.approx((-0.075, 0.001, -0.001))
    assert rig.left.distortion[:3] == (7.5, -64.6, 3e-4)
    assert rig.size == (1280, 800)


def test_the_short_form(tmp_path: Path) -> None:
    text = "fx: 400\ncx: 320\ncy: 240\nbaseline_m: 0.1\nwidth: 640\nheight: 480\n"
    rig = load(tmp_path, "rig.yaml", text)
    assert (rig.fy, rig.baseline_m, rig.doffs_px, rig.size) == (400, 0.1, 0, (640, 480))
    assert load(tmp_path, "b.yaml", text + "doffs: 3\nfy: 401\n").doffs_px == 3
    assert load(tmp_path, "c.yaml", text + "doffs_px: 4\n").doffs_px == 4
    values = {"fx": 1, "cx": 2, "cy": 3, "baseline_m": 4, "width": None, "height": None}
    assert load(tmp_path, "rig.json", json.dumps(values)).size is None


def test_the_short_form_of_one_camera(tmp_path: Path) -> None:
    text = "fx: 400\ncx: 320\ncy: 240\nwidth: 640\nheight: 480\n"
    rig = load(tmp_path, "one.yaml", text)
    assert (rig.right, rig.baseline_m, rig.fy, rig.size) == (None, None, 400, (640, 480))
    assert (rig.name, rig.is_rectified) == ("one", True)
    assert load(tmp_path, "b.yaml", text + "fy: 401\n").fy == 401
    without = load(tmp_path, "c.yaml", "fx: 400\ncx: 320\ncy: 240\n")
    assert without.size is None


def test_the_full_form_needs_only_what_has_no_default(tmp_path: Path) -> None:
    text = "left: {fx: 400, fy: 400, cx: 320, cy: 240, width: 640, height: 480}\n"
    rig = load(tmp_path, "rig.yaml", text)
    assert (rig.right, rig.left.model, rig.left.distortion) == (None, "pinhole", ())


OPENCV_MATRIX = "{name}: !!opencv-matrix\n   rows: {r}\n   cols: {c}\n   dt: d\n   data: [ {d} ]\n"


def opencv(**matrices: list[list[float]]) -> str:
    text = "%YAML:1.0\n---\n"
    for name, matrix in matrices.items():
        data = ", ".join(f"{value}" for row in matrix for value in row)
        text += OPENCV_MATRIX.format(name=name, r=len(matrix), c=len(matrix[0]), d=data)
    return text


K = [[500.0, 0.0, 320.0], [0.0, 510.0, 240.0], [0.0, 0.0, 1.0]]
K_RIGHT = [[600.0, 0.0, 320.0], [0.0, 610.0, 240.0], [0.0, 0.0, 1.0]]
D = [[-0.1, 0.2, 0.0, 0.0]]
R = [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]]
T = [[-0.06], [0.0], [0.0]]


@pytest.mark.parametrize(
    "names",
    [
        ("K1", "D1", "K2", "D2"),
        ("M1", "D1", "M2", "D2"),
        ("cameraMatrix1", "distCoeffs1", "cameraMatrix2", "distCoeffs2"),
        ("camera_matrix_1", "dist_coeffs_1", "camera_matrix_2", "dist_coeffs_2"),
        ("K0", "D0", "K1", "D1"),
        ("LEFT_K", "LEFT_D", "RIGHT_K", "RIGHT_D"),
        ("camera_matrix_left", "dist_coeffs_left", "camera_matrix_right", "dist_coeffs_right"),
        ("Kl", "Dl", "Kr", "Dr"),
    ],
)
def test_opencv_under_the_names_people_use(names: tuple[str, ...], tmp_path: Path) -> None:
    kl, dl, kr, dr = names
    text = opencv(**{kl: K, dl: D, kr: K_RIGHT, dr: [[0.3, 0.2, 0.0, 0.0]]}, R=R, T=T)
    rig = load(tmp_path, "stereo.yml", text + "image_width: 640\nimage_height: 480\n")
    assert rig.right is not None
    assert (rig.fx, rig.right.fx) == (500, 600)
    assert (rig.left.distortion[0], rig.right.distortion[0]) == (-0.1, 0.3)
    assert (rig.baseline_m, rig.size) == (0.06, (640, 480))


def test_opencv_finds_the_other_half_of_the_stereo_sample(tmp_path: Path) -> None:
    (tmp_path / "extrinsics.yml").write_text(opencv(R=R, T=T), encoding="utf-8")
    rig = load(tmp_path, "intrinsics.yml", opencv(M1=K, D1=D, M2=K, D2=D))
    assert rig.baseline_m == 0.06
    assert Rig.load(tmp_path / "extrinsics.yml") == rig


@pytest.mark.parametrize(
    "mark", ["model: fisheye", "camera_model: KannalaBrandt", "fisheye_model: 1"]
)
def test_opencv_fisheye_is_marked_by_a_word(mark: str, tmp_path: Path) -> None:
    rig = load(tmp_path, "cam.yaml", opencv(camera_matrix=K, dist_coeffs=D) + f"{mark}\n")
    assert rig.left.model == "fisheye"
    plain = load(tmp_path, "plain.yaml", opencv(camera_matrix=K, dist_coeffs=D))
    assert plain.left.model == "pinhole"


def test_opencv_json_and_its_size_list(tmp_path: Path) -> None:
    matrix = {
        "type_id": "opencv-matrix",
        "rows": 3,
        "cols": 3,
        "dt": "d",
        "data": [x for row in K for x in row],
    }
    text = json.dumps({"camera_matrix": matrix, "image_size": [640, 480]})
    rig = load(tmp_path, "cam.json", text)
    assert (rig.fx, rig.size) == (500, (640, 480))


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
def test_files_of_windows_tools_are_text_too(encoding: str, tmp_path: Path) -> None:
    path = tmp_path / "calib.txt"
    path.write_bytes(MIDDLEBURY.replace("\n", "\r\n").encode(encoding))
    assert Rig.load(path).size == (741, 497)


def test_the_calibrations_of_the_shared_data(shared_data: Path) -> None:
    rig = Rig.load(shared_data / "stereo/middlebury2014_motorcycle_q/calib.json")
    assert (rig.baseline_m, rig.size) == (0.193001, (741, 497))
    assert rig.doffs_px == pytest.approx(32.778)
