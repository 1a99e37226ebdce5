"""Which frames of a folder are to be labelled."""

from pathlib import Path

import pytest

from rangemask.data.label_sources import list_frames, sequence_of
from rangemask.errors import InputError


def touch(root: Path, *names: str) -> Path:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"image")
    return root


def test_pairs_go_by_name_and_single_images_join_them(tmp_path: Path) -> None:
    root = touch(
        tmp_path,
        *("left/b.png", "left/a.jpg", "right/a.png", "right/b.png", "images/solo.png"),
        *("left/.hidden.png", "left/notes.txt"),
    )
    found = list_frames(root)
    assert [source.name for source in found.sources] == ["a", "b", "solo"]
    assert found.sources[0].right == root / "right/a.png"
    assert found.sources[2].right is None
    assert found.problems == {}


def test_names_may_tell_their_side(tmp_path: Path) -> None:
    root = touch(tmp_path, "left/left_07.png", "right/right_07.png")
    (source,) = list_frames(root).sources
    assert source.name == "07"


def test_names_with_nothing_in_common_pair_up_as_they_are_sorted(tmp_path: Path) -> None:
    root = touch(tmp_path, "left/x1.png", "left/x2.png", "right/y8.png", "right/y9.png")
    first, second = list_frames(root).sources
    assert first.right == root / "right/y8.png"
    assert second.right == root / "right/y9.png"


def test_subfolders_are_recordings(tmp_path: Path) -> None:
    root = touch(
        tmp_path, "left/run1/1.png", "left/run2/1.png", "right/run1/1.png", "right/run2/1.png"
    )
    found = list_frames(root)
    assert found.sequences == {"run1_1": "run1", "run2_1": "run2"}


@pytest.mark.parametrize(
    ("name", "sequence"),
    [("walk_000123", "walk"), ("walk-7", "walk"), ("000123", ""), ("a", "a"), ("a1b2", "a1b")],
)
def test_a_recording_is_what_stands_before_the_number(name: str, sequence: str) -> None:
    assert sequence_of(name) == sequence


def test_what_does_not_pair_up_is_named(tmp_path: Path) -> None:
    root = touch(
        tmp_path,
        *("left/a.png", "right/a.png", "left/b.png", "right/c.png"),
        *("left/d.png", "left/D.jpg", "right/d.png", "right/D.jpg"),
        *("left/e.png", "right/e.png", "right/e.jpg"),
    )
    found = list_frames(root)
    assert [source.name for source in found.sources] == ["a"]
    assert "b.png has no partner of that name" in found.problems["b"]
    assert "c.png has no partner of that name" in found.problems["c"]
    assert "have one name" in found.problems.get("d", found.problems.get("D", ""))
    assert "could both be the right image" in found.problems["e"]


def test_other_layouts_are_found_as_predict_finds_them(tmp_path: Path) -> None:
    root = touch(tmp_path, "image_2/7_10.png", "image_3/7_10.png")
    (source,) = list_frames(root).sources
    assert source.right == root / "image_3/7_10.png"


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["left/a.png"], "holds left/ but no right/"),
        (["left/a.txt", "right/a.txt"], "holds no images in left/ and right/"),
        (["notes.txt"], "holds no images"),
    ],
)
def test_folders_without_frames_speak(tmp_path: Path, names: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        list_frames(touch(tmp_path, *names))


def test_a_file_is_no_data_set(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="expected a folder with images, but it is a file"):
        list_frames(touch(tmp_path, "a.png") / "a.png")
