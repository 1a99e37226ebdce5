from pathlib import Path

import numpy as np
import pytest

from rangemask.data.frame_sources import FrameSource, find_frames, find_rig_file
from rangemask.errors import InputError
from rangemask.geometry import Rig
from rangemask.structures.images import write_image


def picture(path: Path, width: int = 8, height: int = 6, value: int = 100) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    write_image(path, np.full((height, width, 3), value, dtype=np.uint8))
    return path


def names(sources: list[FrameSource]) -> list[str]:
    return [source.name for source in sources]


def test_two_images_are_a_pair(tmp_path: Path) -> None:
    left, right = picture(tmp_path / "l.png", value=1), picture(tmp_path / "r.png", value=2)
    (source,) = find_frames(left, right)
    assert source == FrameSource(name="l", left=left, right=right)
    frame = source.read(None)
    assert frame.right is not None
    assert (frame.left.mean(), frame.right.mean()) == (1, 2)


@pytest.mark.parametrize("sides", [("left", "right"), ("image_2", "image_3")])
def test_folders_of_both_sides_are_pairs(tmp_path: Path, sides: tuple[str, str]) -> None:
    for side in sides:
        for i in (2, 1):
            picture(tmp_path / side / f"{i:03d}.png")
        (tmp_path / side / ".hidden.png").touch()
        (tmp_path / side / "notes.txt").touch()
    sources = find_frames(tmp_path)
    assert names(sources) == ["001", "002"]
    assert all(source.right and source.left.stem == source.right.stem for source in sources)
    assert names(find_frames(tmp_path / sides[0], tmp_path / sides[1])) == ["001", "002"]


def test_pairs_with_different_names_go_by_order(tmp_path: Path) -> None:
    for i in range(2):
        picture(tmp_path / "left" / f"a{i}.png")
        picture(tmp_path / "right" / f"b{i}.png")
    sources = find_frames(tmp_path)
    assert [source.right.name for source in sources if source.right] == ["b0.png", "b1.png"]


@pytest.mark.parametrize(
    ("left", "right", "name"),
    [
        ("a_left.png", "a_right.png", "a"),
        ("left_01.png", "right_01.png", "01"),
        ("07-L.png", "07-R.png", "07"),
        ("scene/im0.png", "scene/im1.png", "scene"),
        ("Left07.JPG", "Right07.JPG", "07"),
    ],
)
def test_pairs_are_found_by_name(tmp_path: Path, left: str, right: str, name: str) -> None:
    picture(tmp_path / left)
    picture(tmp_path / right)
    (source,) = find_frames(tmp_path)
    assert (source.name, source.left, source.right) == (name, tmp_path / left, tmp_path / right)


def test_pairs_are_found_by_pattern(tmp_path: Path) -> None:
    for i in range(3):
        picture(tmp_path / "cam0" / f"{i}.png")
        picture(tmp_path / "cam1" / f"{i}.png")
    sources = find_frames(tmp_path, left_pattern="cam0/*.png", right_pattern="cam1/*.png")
    assert names(sources) == ["0", "1", "2"]
    with pytest.raises(InputError, match="go together"):
        find_frames(tmp_path, left_pattern="cam0/*.png")
    with pytest.raises(InputError, match="found 3 left and 0 right"):
        find_frames(tmp_path, left_pattern="cam0/*.png", right_pattern="gone/*.png")


def test_a_folder_of_single_images(tmp_path: Path) -> None:
    picture(tmp_path / "a.png", width=16)
    picture(tmp_path / "b.jpg", width=16)
    sources = find_frames(tmp_path, layout="side-by-side")
    assert names(sources) == ["a", "b"]
    frame = sources[0].read(None)
    assert frame.right is not None
    assert frame.width == 8
    assert find_frames(tmp_path)[0].read(None).width == 16


def test_side_by_side_is_recognised_by_the_rig(tmp_path: Path) -> None:
    rig = Rig.rectified(fx=9, cx=4, cy=3, baseline_m=0.1, width=8, height=6)
    (source,) = find_frames(picture(tmp_path / "a.png", width=16), rig=rig)
    assert source.side_by_side
    (source,) = find_frames(picture(tmp_path / "b.png"), rig=rig)
    assert not source.side_by_side
    (tmp_path / "c.png").write_text("no image")
    assert not find_frames(tmp_path / "c.png", rig=rig)[0].side_by_side


def test_a_resized_pair_can_scale_its_rig(tmp_path: Path) -> None:
    rig = Rig.rectified(fx=9, cx=4, cy=3, baseline_m=0.1, width=16, height=12)
    left, right = picture(tmp_path / "l.png"), picture(tmp_path / "r.png")
    (source,) = find_frames(left, right)
    with pytest.raises(InputError, match="--scale-rig"):
        source.read(rig)
    frame = source.read(rig, scale_rig=True)
    assert frame.rig is not None
    assert frame.rig.fx == 4.5
    assert source.read(None, scale_rig=True).rig is None
    unsized = Rig.rectified(fx=9, cx=4, cy=3, baseline_m=0.1)
    bound = source.read(unsized, scale_rig=True).rig
    assert bound is not None
    assert (bound.fx, bound.size) == (9, (8, 6))


def test_rig_files_are_found_by_name(tmp_path: Path) -> None:
    assert find_rig_file(tmp_path) is None
    (tmp_path / "calib.txt").touch()
    assert find_rig_file(tmp_path) == tmp_path / "calib.txt"
    (tmp_path / "rig.yaml").touch()
    assert find_rig_file(tmp_path) == tmp_path / "rig.yaml"
    assert find_rig_file(tmp_path / "rig.yaml") is None


def test_what_does_not_pair_up_is_named(tmp_path: Path) -> None:
    left = picture(tmp_path / "left" / "a.png")
    picture(tmp_path / "left" / "b.png")
    picture(tmp_path / "right" / "b.png")
    with pytest.raises(InputError, match=r"2 left and 1 right .*a\.png has no partner"):
        find_frames(tmp_path)
    with pytest.raises(InputError, match=r"two images or two folders"):
        find_frames(left, tmp_path / "right")
    with pytest.raises(InputError, match=r"gone.*does not exist"):
        find_frames(left, tmp_path / "gone")
    with pytest.raises(InputError, match=r"gone.*does not exist"):
        find_frames(tmp_path / "gone")
    with pytest.raises(InputError, match="--layout is mono"):
        find_frames(left, left, layout="mono")
    with pytest.raises(InputError, match="needs two images"):
        find_frames(left, layout="pair")


def test_folders_without_frames_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="holds no images"):
        find_frames(tmp_path)
    picture(tmp_path / "a.png")
    with pytest.raises(InputError, match="found no pairs"):
        find_frames(tmp_path, layout="pair")


@pytest.mark.parametrize("source", ["camera:0", "clip.mp4"])
def test_moving_pictures_are_refused_in_words(source: str) -> None:
    with pytest.raises(InputError, match="cannot be read yet"):
        find_frames(source)


def test_two_frames_never_write_to_one_folder(tmp_path: Path) -> None:
    picture(tmp_path / "a.png")
    picture(tmp_path / "a.jpg")
    with pytest.raises(InputError, match="both write to 'a'"):
        find_frames(tmp_path)


def test_names_are_plain_folder_names(tmp_path: Path) -> None:
    left = picture(tmp_path / "__my  frame__.png")
    assert find_frames(left)[0].name == "my_frame"
    assert find_frames(picture(tmp_path / "left.png"), left)[0].name == "left"
