"""Whatever is wrong with a calibration file is one sentence that names file and field."""

from __future__ import annotations

import json
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rangemask.errors import InputError
from rangemask.geometry import Rig

SHORT = "fx: 400\ncx: 320\ncy: 240\nbaseline_m: 0.1\nwidth: 640\nheight: 480\n"
FULL = """left: {fx: 400, fy: 400, cx: 320, cy: 240}
right: {fx: 400, fy: 400, cx: 320, cy: 240}
rotation: [[1, 0, 0], [0, 1, 0], [0, 0, 1]]
translation_m: [-0.1, 0, 0]
"""
MIDDLEBURY = """cam0=[500 0 320; 0 500 240; 0 0 1]
cam1=[500 0 330; 0 500 240; 0 0 1]
doffs=10
baseline=100
width=640
height=480
"""
KITTI = "P2: 700 0 600 45 0 700 180 0 0 0 1 0\nP3: 700 0 600 -330 0 700 180 0 0 0 1 0\n"
K_TXT = "700 0 600 0 700 180 0 0 1\n0.06\n"
KALIBR = """cam0: {camera_model: pinhole, intrinsics: [4, 4, 3, 2], resolution: [6, 4],
  distortion_model: radtan, distortion_coeffs: [0, 0, 0, 0]}
cam1: {camera_model: pinhole, intrinsics: [4, 4, 3, 2], resolution: [6, 4],
  T_cn_cnm1: [[1, 0, 0, -0.1], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]]}
"""
ROS = """image_width: 640
image_height: 480
camera_matrix: {rows: 3, cols: 3, data: [400, 0, 320, 0, 400, 240, 0, 0, 1]}
distortion_model: plumb_bob
distortion_coefficients: {rows: 1, cols: 5, data: [0, 0, 0, 0, 0]}
rectification_matrix: {rows: 3, cols: 3, data: [1, 0, 0, 0, 1, 0, 0, 0, 1]}
projection_matrix: {rows: 3, cols: 4, data: [400, 0, 320, 0, 0, 400, 240, 0, 0, 0, 1, 0]}
"""
ROS_RIGHT = ROS.replace("[400, 0, 320, 0, 0,", "[400, 0, 320, -48, 0,")
OPENCV = """%YAML:1.0
---
K1: !!opencv-matrix {rows: 3, cols: 3, dt: d, data: [500, 0, 320, 0, 500, 240, 0, 0, 1]}
D1: !!opencv-matrix {rows: 1, cols: 5, dt: d, data: [0, 0, 0, 0, 0]}
K2: !!opencv-matrix {rows: 3, cols: 3, dt: d, data: [500, 0, 320, 0, 500, 240, 0, 0, 1]}
D2: !!opencv-matrix {rows: 1, cols: 5, dt: d, data: [0, 0, 0, 0, 0]}
R: !!opencv-matrix {rows: 3, cols: 3, dt: d, data: [1, 0, 0, 0, 1, 0, 0, 0, 1]}
T: !!opencv-matrix {rows: 3, cols: 1, dt: d, data: [-0.06, 0, 0]}
"""


def _camera(name: str) -> dict[str, object]:
    k = [[800, 0, 640], [0, 800, 400], [0, 0, 1]]
    return {
        "name": name, "width": 1280, "height": 800, "intrinsicMatrix": k, "dist_coeff": [0.1] * 14,
    }  # fmt: skip


ARDUCAM = json.dumps(
    {
        "cameraData": [
            _camera("left")
            | {
                "extrinsics": {
                    "to_cam": "right",
                    "rotationMatrix": [[1, 0, 0], [0, 1, 0], [0, 0, 1]],
                    "translation": [-7.5, 0, 0],
                }
            },
            _camera("right"),
        ]
    }
)
VALID = {
    "short.yaml": SHORT,
    "full.yaml": FULL,
    "calib.txt": MIDDLEBURY,
    "kitti.txt": KITTI,
    "K.txt": K_TXT,
    "camchain.yaml": KALIBR,
    "camera.yaml": ROS,
    "opencv.yaml": OPENCV,
    "flash.json": ARDUCAM,
}


@pytest.mark.parametrize("name", VALID)
def test_the_untouched_files_are_rigs(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text(VALID[name], encoding="utf-8")
    Rig.load(tmp_path / name)


WRONG = [
    ("short.yaml", "fx: 400", "fx: .nan", "fx: expected a positive number"),
    ("short.yaml", "fx: 400", "fx: null", "no scale"),
    ("short.yaml", "baseline_m: 0.1", "baseline_m: null", "no scale"),
    ("short.yaml", "baseline_m: 0.1", "baseline_m: -0.1", "baseline_m: expected a positive"),
    ("short.yaml", "baseline_m: 0.1", "doffs: 0", "baseline_m: expected .* missing"),
    ("short.yaml", "cy: 240", "cy: 240\ndoffs: null", "no scale"),
    ("short.yaml", "cy: 240\nbaseline_m: 0.1\n", "", "cy: expected a number, .* missing"),
    ("short.yaml", "cx: 320", "cx: true", "cx: expected a number, found True"),
    ("short.yaml", "cx: 320", "cx: [1, 2]", "cx: expected a number"),
    ("short.yaml", "width: 640", "width: 640.5", "width: expected a whole number"),
    ("short.yaml", "width: 640\n", "", "width: .* missing"),
    ("full.yaml", "fx: 400", "fx: 0", "left.fx: expected a positive"),
    ("full.yaml", "left: {fx: 400,", "left: {", "left.fx: .* missing"),
    ("full.yaml", "left: {", "left: 5 #{", "left: expected named values"),
    ("full.yaml", "cy: 240}", "cy: 240, model: omni}", "left.model: expected pinhole or fisheye"),
    ("full.yaml", "cy: 240}", "cy: 240, model: fisheye}", "distortion: expected 4 numbers"),
    ("full.yaml", "cy: 240}", "cy: 240, distortion: [1, 2]}", "0 or 4 or 5 or 8 or 12 or 14"),
    ("full.yaml", "[1, 0, 0]", "[2, 0, 0]", "rotation: expected a 3 x 3 rotation"),
    ("full.yaml", "[1, 0, 0]", "[1e200, 0, 0]", "rotation: expected"),
    ("full.yaml", "[-0.1, 0, 0]", "[0.1, 0, 0]", "baseline must be positive.*Swap"),
    ("full.yaml", "[-0.1, 0, 0]", "[-0.1, 0]", "translation_m: expected 3 numbers"),
    ("full.yaml", "left:", "format: rangemask-scene\nleft:", "format: expected rangemask-rig"),
    ("full.yaml", "left:", "format_version: 9\nleft:", "format_version: expected at most 1"),
    ("full.yaml", "cx: 320, cy: 240}", "cx: 320, cy: 240, width: 6, height: 4}", "one image size"),
    ("calib.txt", "baseline=100", "baseline=0", "baseline: expected a positive .* millimetres"),
    ("calib.txt", "baseline=100\n", "", "baseline: .* missing"),
    ("calib.txt", "500 0 320", "500 0", "cam0: expected a 3 x 3 matrix"),
    ("calib.txt", "500 0 320", "x 0 320", "cam0: expected a 3 x 3 matrix"),
    ("calib.txt", "[500 0 320", "[-500 0 320", "cam0: expected a camera matrix"),
    ("calib.txt", "[500 0 320", "[500 9 320", "cam0: .* without skew"),
    ("calib.txt", "[500 0 330", "[520 0 330", "cam1: expected the focal length"),
    ("calib.txt", "doffs=10", "doffs=0", "doffs: expected cx of cam1 less cx of cam0, 10"),
    ("calib.txt", "width=640", "width=zero", "width: expected a whole number"),
    ("kitti.txt", "-330", "330", "positive baseline .* swapped"),
    ("kitti.txt", "P3", "P4", "expected two projection matrices"),
    ("kitti.txt", "45 0", "45", "P2: expected a 3 x 4 matrix"),
    ("kitti.txt", "P3: 700", "P3: 600", "P3: expected the focal length"),
    ("K.txt", "0.06", "-0.06", "baseline .line 2.: expected a positive number of metres"),
    ("K.txt", "0.06", "", "expected ten numbers .* found 9"),
    ("K.txt", "700", "nan", "K .line 1.: expected a 3 x 3"),
    ("camchain.yaml", "pinhole", "ds", "not supported: .* pinhole-equi"),
    ("camchain.yaml", "radtan", "fov", "distortion_model: expected radtan"),
    ("camchain.yaml", "[0, 0, 0, 0]", "[0, 0, 0]", "distortion_coeffs: expected 4"),
    ("camchain.yaml", "[4, 4, 3, 2]", "[0, 4, 3, 2]", "cam0.intrinsics: .* fx, fy > 0"),
    ("camchain.yaml", "T_cn_cnm1", "T_cam_imu", "cam1.T_cn_cnm1: .* missing"),
    ("camchain.yaml", "[0, 0, 0, 1]]", "[0, 0, 0, 2]]", "last row"),
    ("camchain.yaml", "[[1, 0, 0, -0.1]", "[[3, 0, 0, -0.1]", "rotation"),
    ("camchain.yaml", "[6, 4]", "[6.5, 4]", "cam0.resolution: expected width and height"),
    ("camchain.yaml", "cam1: {", "cam1: [{", "no.* known.*damaged: while parsing"),
    ("camera.yaml", "data: [400, 0, 320, 0, 400", "data: [0, 0, 320, 0, 0", "camera_matrix: "),
    ("camera.yaml", "plumb_bob", "thin", "distortion_model: expected plumb_bob or rational"),
    ("camera.yaml", "plumb_bob", "equidistant", "distortion_coefficients: expected 4"),
    ("camera.yaml", "rows: 3, cols: 3", "rows: 9, cols: 1", "camera_matrix: expected a 3 x 3"),
    ("opencv.yaml", "K2", "K7", "expected camera matrices"),
    ("opencv.yaml", "T:", "X:", "T in metres.*found only: k1, d1"),
    ("opencv.yaml", "K1: !!opencv-matrix", "K1: !!opencv-matrix 3 #", "damaged: an OpenCV matrix"),
    ("opencv.yaml", "---", "---\nimage_size: [6]", "imagesize: expected 2 numbers"),
    ("opencv.yaml", "---", "---\nmodel: fisheye", "d1: expected 4"),
    ("opencv.yaml", "%YAML:1.0\n---", "<?xml version='1.0'?>", "YAML, found its XML"),
    ("flash.json", '"right"', '"middle"', "to_cam: expected right, found .middle"),
    ("flash.json", '"name": "right"', '"name": "rear"', "cameras named left and right"),
    ("flash.json", "[-7.5, 0, 0]", "[-7.5, 0]", r"\[0\]\.extrinsics\.translation: expected 3"),
    ("flash.json", "[[800, 0, 640]", "[[NaN, 0, 640]", r"\[0\]\.intrinsicMatrix: expected"),
    ("flash.json", '"cameraData": [', '"cameraData": {"a": 1}, "b": [', "a list of two cameras"),
    ("flash.json", '[{"name": "left"', '[7, {"name": "left"', "cameraData.0.: expected named"),
]  # fmt: skip


@pytest.mark.parametrize(("name", "old", "new", "words"), WRONG)
def test_a_wrong_value_is_named(name: str, old: str, new: str, words: str, tmp_path: Path) -> None:
    text = VALID[name]
    assert old in text
    path = tmp_path / name
    path.write_text(text.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(InputError, match=words) as caught:
        Rig.load(path)
    assert str(path) in str(caught.value)


def write_ros(folder: Path, left: str = ROS, right: str = ROS_RIGHT) -> Path:
    (folder / "left.yaml").write_text(left, encoding="utf-8")
    (folder / "right.yaml").write_text(right, encoding="utf-8")
    return folder / "left.yaml"


def test_a_ros_pair_says_what_is_wrong_with_it(tmp_path: Path) -> None:
    assert Rig.load(write_ros(tmp_path)).baseline_m == pytest.approx(0.12)
    for left, right, words in [
        (ROS_RIGHT, ROS, "swapped"),
        (ROS, ROS, "calibrated as a pair"),
        (ROS, ROS_RIGHT.replace("rectification_matrix", "x"), "right.yaml: rectification_matrix"),
        (ROS, ROS_RIGHT.replace("[400, 0, 320, -48", "[0, 0, 320, -48"), "right.yaml: projection"),
        (ROS, ROS_RIGHT.replace("640", "320", 1), "one image size"),
        (ROS, "nothing", "right.yaml"),
    ]:
        with pytest.raises(InputError, match=words):
            Rig.load(write_ros(tmp_path, left, right))


def test_a_lone_file_of_a_ros_pair_asks_for_its_partner(tmp_path: Path) -> None:
    (tmp_path / "cam_left.yaml").write_text(ROS, encoding="utf-8")
    with pytest.raises(InputError, match=r"partner cam_right\.yaml"):
        Rig.load(tmp_path / "cam_left.yaml")
    with pytest.raises(InputError, match=r"expected the two camera_info files.*cam_left\.yaml"):
        Rig.load(tmp_path)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"", "empty"),
        (b"  \n", "empty"),
        (b"\x89PNG\r\n\x1a\n\x00\x00", "binary"),
        (b"\xff\xff\xff", "binary"),
        (b"fx: 1\x00", "binary"),
        (b"x" * 600_000, "more than 512 kB"),
        (b"hello world", "none that is known.*no named values.*Middlebury.*rig.yaml"),
        (b"{", "damaged: Expecting property name"),
        (b"[1, 2]", "no named values"),
        (b"a: " + b"[" * 5000, "damaged"),
        (b"a: !!timestamp nonsense", "damaged"),
    ],
)
def test_what_is_no_calibration_is_told_so(content: bytes, words: str, tmp_path: Path) -> None:
    path = tmp_path / "rig.yaml"
    path.write_bytes(content)
    with pytest.raises(InputError, match=words) as caught:
        Rig.load(path)
    assert str(path) in str(caught.value)


def test_aliases_that_fold_a_value_without_end_are_harmless(tmp_path: Path) -> None:
    lines = ["a0: &a0 [1, 1]"]
    lines += [f"a{i}: &a{i} [*a{i - 1}, *a{i - 1}]" for i in range(1, 60)]
    path = tmp_path / "rig.yaml"
    path.write_text("\n".join([*lines, "fx: *a59", "baseline_m: 1"]), encoding="utf-8")
    with pytest.raises(InputError, match="fx"):
        Rig.load(path)
    for key, words in (("<<", "cx: .* missing"), ("!!merge <<", "damaged")):
        merges = [f"m{i}: &m{i} {{{key}: [*m{i - 1}, *m{i - 1}]}}" for i in range(1, 60)]
        text = "\n".join(["m0: &m0 {a: 1}", *merges, "fx: 1", "baseline_m: 1"])
        path.write_text(text, encoding="utf-8")
        with pytest.raises(InputError, match=words):
            Rig.load(path)


def test_a_path_that_is_no_file_is_told_so(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="does not exist"):
        Rig.load(tmp_path / "none.yaml")
    with pytest.raises(InputError, match="no YAML file"):
        Rig.load(tmp_path)


def test_an_impossible_image_size_is_refused(tmp_path: Path) -> None:
    (tmp_path / "K.txt").write_text(K_TXT, encoding="utf-8")
    with pytest.raises(InputError, match="image_size"):
        Rig.load(tmp_path / "K.txt", image_size=(0, 480))


def load_anything(name: str, content: bytes) -> None:
    """A rig or an InputError that names the file; any other exception fails the test."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / name
        path.write_bytes(content)
        try:
            rig = Rig.load(path)
        except InputError as error:
            said = str(error)
        else:
            said = str(path)
            assert rig.is_rectified in (True, False)
            assert rig.baseline_m is None or rig.baseline_m > 0
    assert folder in said


fuzz = settings(deadline=None, max_examples=150)


@fuzz
@given(name=st.sampled_from(sorted(VALID)), content=st.binary(max_size=200))
def test_random_bytes_give_a_rig_or_an_input_error(name: str, content: bytes) -> None:
    load_anything(name, content)


@fuzz
@given(
    name=st.sampled_from(sorted(VALID)),
    head=st.sampled_from(
        ["", "%YAML:1.0\n", "cam0=", "P0: ", "{", "fx: ", "cam0: ", "left: {", "<"]
    ),
    text=st.text(max_size=120),
)
def test_random_text_gives_a_rig_or_an_input_error(name: str, head: str, text: str) -> None:
    load_anything(name, (head + text).encode("utf-8", "surrogatepass"))


PIECES = [
    "", "0", "-1", "nan", ".inf", "1e308", "-1e308", "1e-320", "9" * 400, "null", "true", "[]",
    "{}", "x", '"', "\n", ":", "- ", "!!int _", "!!bool x", "*a", "&a", "left", "right",
    "2001-99-99", "<<", "\t", "=", ";", "é",
]  # fmt: skip


@settings(deadline=None, max_examples=400)
@given(
    name=st.sampled_from(sorted(VALID)),
    cuts=st.lists(
        st.tuples(st.floats(0, 1), st.integers(0, 12), st.sampled_from(PIECES)),
        min_size=1,
        max_size=4,
    ),
)
def test_damaged_files_give_a_rig_or_an_input_error(
    name: str, cuts: list[tuple[float, int, str]]
) -> None:
    text = VALID[name]
    for place, length, piece in cuts:
        start = int(place * len(text))
        text = text[:start] + piece + text[start + length :]
    load_anything(name, text.encode())
