"""Rectified images obey disparity's definition, for every lens; OpenCV is the judge."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from rangemask.camera.pair_check import check_pair
from rangemask.camera.plan import FULL_VIEW_HALF_ANGLE, LARGEST_HALF_ANGLE
from rangemask.camera.rectify import Rectification
from rangemask.errors import InputError
from rangemask.geometry import Camera, Rig
from rangemask.geometry.rig import rows
from rangemask.structures import StereoFrame
from support.rigs import LENSES, raw_cameras, raw_rigs

some = settings(deadline=None, max_examples=25)
few = settings(deadline=None, max_examples=8)
SMALL = (160, 120)

PRECISE = (cv2.TERM_CRITERIA_COUNT | cv2.TERM_CRITERIA_EPS, 200, 1e-12)


def ray_of(camera: Camera, pixel: np.ndarray) -> np.ndarray:
    """The direction that OpenCV says a raw pixel looks in."""
    point, d = pixel.astype(np.float64).reshape(1, 1, 2), np.array(camera.distortion)
    if camera.model == "fisheye":
        flat = cv2.fisheye.undistortPoints(point, camera.matrix, d, criteria=PRECISE)
    else:
        flat = cv2.undistortPoints(point, camera.matrix, d, criteria=PRECISE)
    return np.array([*np.asarray(flat).ravel(), 1.0])


def pixel_of(camera: Camera, point: np.ndarray) -> np.ndarray:
    """Where OpenCV says a raw camera images a point."""
    none, d = np.zeros(3), np.array(camera.distortion)
    points = point.reshape(1, 1, 3)
    if camera.model == "fisheye":
        pixel, _ = cv2.fisheye.projectPoints(points, none, none, camera.matrix, d)
    else:
        pixel, _ = cv2.projectPoints(points, none, none, camera.matrix, d)
    return np.asarray(pixel).ravel()


def column_of(line: np.ndarray, pixel: np.ndarray) -> tuple[float, float]:
    """Where a row of a map, (W, 2), comes nearest to a raw pixel, and by how much it misses."""
    starts, steps = line[:-1], np.diff(line, axis=0)
    along = np.einsum("ij,ij->i", pixel - starts, steps) / np.einsum("ij,ij->i", steps, steps)
    nearest = starts + np.clip(along, 0, 1)[:, None] * steps
    miss = np.linalg.norm(nearest - pixel, axis=1)
    best = int(np.argmin(miss))
    return best + float(np.clip(along[best], 0, 1)), float(miss[best])


@some
@given(
    rig=raw_rigs(LENSES),
    field_of_view=st.sampled_from([0.0, 0.5, 1.0]),
    place=st.tuples(st.floats(0.05, 0.95), st.floats(0.05, 0.95)),
    distance_m=st.floats(0.5, 20),
)
def test_a_point_has_one_row_and_its_disparity_tells_its_depth(
    rig: Rig, field_of_view: float, place: tuple[float, float], distance_m: float
) -> None:
    """From a rectified left pixel out into the world and back, through both raw cameras."""
    assert rig.right is not None
    result = Rectification(rig, field_of_view=field_of_view, size=SMALL)
    assert result.rig.is_rectified
    assert result.right_map is not None
    x, y = (int(share * (side - 1)) for share, side in zip(place, SMALL, strict=True))
    assume(result.valid[y, x])
    in_left = ray_of(rig.left, result.left_map[y, x])
    in_left *= distance_m / np.linalg.norm(in_left)
    in_right = np.array(rig.rotation) @ in_left + rig.translation_m
    new = result.rig
    # A rotation keeps lengths: the depth in the rectified frame follows without knowing it.
    slope = np.array([(x - new.cx) / new.fx, (y - new.cy) / new.fy, 1.0])
    depth_m = distance_m / float(np.linalg.norm(slope))
    expected_x = x - new.fx * (new.baseline_m or math.nan) / depth_m
    assume(1 < expected_x < SMALL[0] - 2)
    found = pixel_of(rig.right, in_right)
    assume((found >= 0).all() and (found < (rig.size or (0, 0))).all())
    found_x, miss_px = column_of(result.right_map[y].astype(np.float64), found)
    assert miss_px < 0.1  # raw px: the row of the rectified image passes through the point
    assert found_x == pytest.approx(expected_x, abs=0.05)


@some
@given(rig=raw_rigs(LENSES))
def test_the_narrow_view_has_no_empty_pixel_and_the_baseline_stays(rig: Rig) -> None:
    result = Rectification(rig, size=SMALL)
    assert result.right_valid is not None
    assert result.valid.all()
    assert result.right_valid.all()
    assert result.rig.size == SMALL
    assert result.rig.baseline_m == pytest.approx(rig.baseline_m)


@few
@given(rig=raw_rigs(LENSES))
def test_the_wider_the_view_the_smaller_its_scale(rig: Rig) -> None:
    focal_px = [Rectification(rig, field_of_view=f, size=SMALL).rig.fx for f in (0, 0.3, 0.6, 1)]
    assert focal_px == sorted(focal_px, reverse=True)
    assert focal_px[-1] < focal_px[0]


@few
@given(rig=raw_rigs((4, 5, 8)))
def test_the_widest_view_reaches_every_raw_corner(rig: Rig) -> None:
    assert rig.right is not None
    result = Rectification(rig, field_of_view=1.0)
    width, height = rig.size or (0, 0)
    for pixels in (result.left_map, result.right_map):
        for corner in ((0, 0), (width - 1, 0), (0, height - 1), (width - 1, height - 1)):
            assert np.linalg.norm(pixels - corner, axis=-1).min() < 6


def test_views_of_a_circular_fisheye_stay_finite() -> None:
    lens = Camera(
        fx=230, fy=230, cx=479, cy=299, width=960, height=600,
        model="fisheye", distortion=(0.0,) * 4,
    )  # fmt: skip
    rig = Rig(left=lens, right=lens, translation_m=(-0.1, 0, 0))
    for field_of_view, half_angle in ((0.0, FULL_VIEW_HALF_ANGLE), (1.0, LARGEST_HALF_ANGLE)):
        found = Rectification(rig, field_of_view=field_of_view).rig
        assert math.atan(480 / found.fx) == pytest.approx(half_angle, abs=0.01)


@pytest.mark.parametrize("size", [(640, 480), (320, 240), (300, 300)])
def test_the_view_of_a_lens_in_the_middle_is_in_the_middle(size: tuple[int, int]) -> None:
    lens = Camera(
        fx=500, fy=500, cx=319.5, cy=239.5, width=640, height=480, distortion=(-0.1, 0, 0, 0)
    )
    for field_of_view in (0.0, 1.0):
        found = Rectification(Rig(left=lens), field_of_view=field_of_view, size=size).rig
        assert (found.cx, found.cy) == pytest.approx(((size[0] - 1) / 2, (size[1] - 1) / 2))


def test_a_lens_that_folds_shows_nothing_beyond_the_fold() -> None:
    lens = Camera(fx=300, fy=300, cx=320, cy=240, width=640, height=480, distortion=(-0.4, 0, 0, 0))
    result = Rectification(Rig(left=lens), field_of_view=1.0)
    y, x = np.nonzero(result.valid)
    radius = np.hypot(x - result.rig.cx, y - result.rig.cy) / result.rig.fx
    assert radius.max() <= math.sqrt(1 / 1.2) + 0.01


@few
@given(camera=raw_cameras(lens=8))
def test_a_single_camera_is_straightened_and_not_turned(camera: Camera) -> None:
    result = Rectification(Rig(left=camera))
    assert result.right_map is None
    assert result.right_valid is None
    assert result.rig.is_rectified
    assert result.rig.right is None
    new = result.rig
    for y, x in ((100, 200), (300, 500)):
        ray = np.array([(x - new.cx) / new.fx, (y - new.cy) / new.fy, 1.0])
        np.testing.assert_allclose(pixel_of(camera, ray), result.left_map[y, x], atol=1e-3)


def random_frame(width: int, height: int, *, pair: bool = True) -> StereoFrame:
    left, right = np.random.default_rng(1).integers(0, 256, (2, height, width, 3), dtype=np.uint8)
    return StereoFrame(left, right if pair else None, name="noise", timestamp_s=4.5)


def test_a_rectified_rig_changes_nothing(rig: Rig) -> None:
    frame = random_frame(64, 48)
    result = Rectification(rig)
    assert result.rig == rig == result.source
    assert result.rectify(frame) == replace(frame, rig=rig)
    assert result.valid.all()


def test_a_rectified_rig_can_be_resized(rig: Rig) -> None:
    result = Rectification(rig, size=(32, 24))
    assert result.rig == rig.scaled(32, 24)
    assert result.rectify(random_frame(64, 48)).width == 32


def test_a_wider_view_of_a_rectified_rig_has_no_doffs(rig: Rig) -> None:
    found = Rectification(rig, field_of_view=0.5).rig
    assert rig.doffs_px != 0
    assert found.doffs_px == 0
    assert found.baseline_m == pytest.approx(rig.baseline_m)


def raw_rig(**changes: object) -> Rig:
    lens = Camera(fx=60, fy=60, cx=32, cy=24, width=64, height=48, distortion=(0.1, 0, 0, 0))
    values = {"left": lens, "right": lens, "translation_m": (-0.1, 0.0, 0.0)} | changes
    return Rig(**values)  # type: ignore[arg-type]


BACKWARDS = rows(np.diag([-1.0, 1.0, -1.0]))
ASIDE = rows(cv2.Rodrigues(np.array([0.0, 1.2, 0.0]))[0])


@pytest.mark.parametrize(
    ("rig", "options", "words"),
    [
        (raw_rig(), {"field_of_view": 1.5}, "between 0 and 1, got 1.5"),
        (raw_rig(), {"field_of_view": math.nan}, "between 0 and 1"),
        (raw_rig(), {"size": (0, 10)}, "size must be positive"),
        (raw_rig(translation_m=(0.1, 0, 0)), {}, "left and right are swapped"),
        (raw_rig(translation_m=(0, 0.1, 0)), {}, "do not stand side by side.*Turn the images"),
        (raw_rig(translation_m=(0, 0, 0)), {}, "no pair with a baseline"),
        (raw_rig(rotation=BACKWARDS), {}, "opposite directions"),
        (raw_rig(rotation=ASIDE), {}, "nothing in common"),
        (Rig(left=Camera(fx=9, fy=9, cx=4, cy=4, distortion=(0.1, 0, 0, 0))), {}, "image size"),
        (Rig(left=Camera(fx=9, fy=9, cx=4, cy=4)), {}, "image size"),
    ],
)
def test_a_rig_that_cannot_be_rectified_says_why(
    rig: Rig, options: dict[str, float], words: str
) -> None:
    with pytest.raises(InputError, match=words):
        Rectification(rig, **options)


def test_frames_must_fit_the_rig() -> None:
    result = Rectification(raw_rig())
    with pytest.raises(InputError, match=r"expected images of \(64, 48\) px.*found \(60, 48\)"):
        result.rectify(random_frame(60, 48))
    with pytest.raises(InputError, match="the frame has one image, the rig two cameras"):
        result.rectify(random_frame(64, 48, pair=False))
    with pytest.raises(InputError, match="the frame has two images, the rig one camera"):
        Rectification(Rig(left=raw_rig().left)).rectify(random_frame(64, 48))


def test_the_frame_keeps_its_name_and_time_and_gets_the_new_rig() -> None:
    result = Rectification(raw_rig(), size=(32, 24))
    found = result.rectify(random_frame(64, 48))
    assert (found.name, found.timestamp_s, found.rig) == ("noise", 4.5, result.rig)
    assert (found.width, found.height) == (32, 24)


def test_unseen_pixels_are_black() -> None:
    barrel = replace(raw_rig().left, distortion=(-0.3, 0, 0, 0))
    result = Rectification(raw_rig(left=barrel, right=barrel), field_of_view=1.0)
    white = np.full((48, 64, 3), 255, dtype=np.uint8)
    found = result.rectify(StereoFrame(white, white))
    far_out = (result.left_map < -1).any(axis=-1)
    assert far_out.any()
    assert (found.left[far_out] == 0).all()
    assert (found.left[result.valid] == 255).all()


def euroc(shared_data: Path) -> tuple[Rig, StereoFrame]:
    folder = shared_data / "sequence/euroc_a"
    values = json.loads((folder / "calib.json").read_text(encoding="utf-8"))["raw_calibration"]
    cameras = []
    for side in ("left", "right"):
        k = values[f"K_{side}"]
        lens = tuple(values[f"D_{side}_radtan"])
        cameras.append(
            Camera(
                fx=k[0][0], fy=k[1][1], cx=k[0][2], cy=k[1][2], width=752, height=480,
                distortion=lens,
            )
        )  # fmt: skip
    pose = np.array(values["T_right_from_left"])
    x, y, z = (float(value) for value in pose[:3, 3])
    rig = Rig(
        left=cameras[0], right=cameras[1], rotation=rows(pose[:3, :3]), translation_m=(x, y, z)
    )
    frame = StereoFrame.read(folder / "raw_left_000000.png", folder / "raw_right_000000.png")
    return rig, frame


@pytest.mark.data
@pytest.mark.parametrize("field_of_view", [0.0, 0.5, 1.0])
def test_a_real_raw_pair_becomes_rectified(field_of_view: float, shared_data: Path) -> None:
    rig, frame = euroc(shared_data)
    before = check_pair(frame)
    after = check_pair(Rectification(rig, field_of_view=field_of_view).rectify(frame))
    assert before.row_offset_px > 10
    assert after.row_offset_px < 0.15
    assert after.warnings() == []


@pytest.mark.data
def test_the_view_of_a_mild_lens_is_as_large_as_that_of_opencv(shared_data: Path) -> None:
    rig, _ = euroc(shared_data)
    assert rig.right is not None
    judge = cv2.stereoRectify(
        rig.left.matrix, np.array(rig.left.distortion), rig.right.matrix,
        np.array(rig.right.distortion), (752, 480), np.array(rig.rotation),
        np.array(rig.translation_m).reshape(3, 1), alpha=0,
    )  # fmt: skip
    assert Rectification(rig).rig.fx == pytest.approx(judge[2][0, 0], rel=0.01)


@pytest.mark.data
@pytest.mark.parametrize("field_of_view", [0.0, 0.5])
def test_a_real_circular_fisheye_becomes_rectified(field_of_view: float, shared_data: Path) -> None:
    """The corners of a board, found in the rectified images, share rows and lie on lines."""
    folder = shared_data / "calibration/fisheye_chessboard"
    board = json.loads((folder / "board.json").read_text(encoding="utf-8"))
    known = board["reference_calibration"]
    cameras = []
    for side in ("left", "right"):
        fx, fy, cx, cy = known[f"K_{side}"]
        cameras.append(
            Camera(
                fx=fx, fy=fy, cx=cx, cy=cy, width=960, height=600,
                model="fisheye", distortion=tuple(known[f"D_{side}"]),
            )
        )  # fmt: skip
    # The file has no rotation: this one is from cv2.fisheye.stereoCalibrate on its 12 pairs.
    turn = np.array([0.0084984, -0.0036684, 0.0014091])
    rig = Rig(
        left=cameras[0], right=cameras[1], rotation=rows(cv2.Rodrigues(turn)[0]),
        translation_m=(-0.11097, -0.00071, 0.00531),
    )  # fmt: skip
    frame = StereoFrame.read(folder / "left01.jpg", folder / "right01.jpg")
    result = Rectification(rig, field_of_view=field_of_view).rectify(frame)
    assert result.right is not None
    corners = []
    for image in (result.left, result.right):
        found, points = cv2.findChessboardCorners(
            cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), tuple(board["inner_corners"])
        )
        assert found
        corners.append(points.reshape(6, 9, 2))
    assert np.median(np.abs(corners[0][..., 1] - corners[1][..., 1])) < 0.75
    distance_m = (result.rig.fx * result.rig.baseline_m) / (corners[0] - corners[1])[..., 0]
    assert ((distance_m > 0.1) & (distance_m < 1.5)).all()
    # The side of a square of the board, from two neighbouring corners in 3D.
    z = distance_m[..., None]
    points_m = np.concatenate(
        [(corners[0] - (result.rig.cx, result.rig.cy)) / result.rig.fx * z, z], axis=-1
    )
    side_m = np.linalg.norm(np.diff(points_m, axis=1), axis=-1)
    assert np.median(side_m) == pytest.approx(board["square_size_m"], rel=0.05)
