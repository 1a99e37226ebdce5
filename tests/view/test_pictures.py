from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from rangemask.errors import OutputError
from rangemask.structures import Scene
from rangemask.structures.images import read_image
from rangemask.view.colormap import (
    ColourRange,
    depth_picture,
    disparity_picture,
    relative_picture,
)
from rangemask.view.overlay import instances_picture, overlay_picture, semantic_picture
from rangemask.view.pictures import range_picture, write_pictures

SceneMaker = Callable[..., Scene]


@pytest.fixture
def scene(make_scene: SceneMaker) -> Scene:
    return make_scene([(20, 60, 60, 80), (200, 100, 90, 90)])


def test_the_files_of_the_layout_are_written(scene: Scene, tmp_path: Path) -> None:
    folder = scene.save(tmp_path)
    written = write_pictures(scene, folder)
    names = {
        "stereo/disparity.png": disparity_picture(scene.disparity, scene.rig),
        "segmentation/instances.png": instances_picture(scene),
        "segmentation/overlay.png": overlay_picture(scene, caption="label", fill=0.5),
        "segmentation/semantic_colour.png": semantic_picture(scene.semantic),
        "fusion/overlay.png": overlay_picture(scene),
    }
    assert sorted(written) == sorted(folder / name for name in names)
    for name, picture in names.items():
        assert np.array_equal(read_image(folder / name), picture), name
    assert Scene.load(folder) == scene


def test_a_scene_of_one_image_has_what_it_has(scene: Scene, bare, tmp_path: Path) -> None:
    written = write_pictures(bare(scene), tmp_path)
    assert sorted(path.relative_to(tmp_path).as_posix() for path in written) == [
        "fusion/overlay.png",
        "segmentation/instances.png",
        "segmentation/overlay.png",
    ]
    assert range_picture(bare(scene)) is None


def test_depth_is_drawn_where_no_pair_was_matched(scene: Scene, tmp_path: Path) -> None:
    mono = replace(scene, disparity=None)
    write_pictures(mono, tmp_path)
    assert np.array_equal(read_image(tmp_path / "stereo/disparity.png"), depth_picture(scene.depth))


def test_relative_depth_is_drawn_whatever_its_scale(scene: Scene, bare) -> None:
    relative = replace(bare(scene), relative_depth=scene.disparity / 7)
    drawn = range_picture(relative, colour_range=ColourRange(low=0, high=100))
    assert drawn is not None
    assert np.array_equal(drawn, relative_picture(relative.relative_depth))
    # The colours are those of disparity, whatever the unit.
    same = range_picture(replace(bare(scene), relative_depth=scene.disparity * 3))
    assert np.abs(drawn.astype(int) - same.astype(int)).max() <= 2


def test_the_colour_range_is_handed_on(scene: Scene, tmp_path: Path) -> None:
    fixed = ColourRange(low=0, high=100)
    write_pictures(scene, tmp_path, colour_range=fixed, colour_map="cividis")
    expected = disparity_picture(
        scene.disparity, scene.rig, colour_range=fixed, colour_map="cividis"
    )
    assert np.array_equal(read_image(tmp_path / "stereo/disparity.png"), expected)
    with pytest.raises(ValueError, match="range of inverse_depth_per_m"):
        write_pictures(replace(scene, disparity=None), tmp_path, colour_range=fixed)


def test_writing_again_gives_the_same_bytes(scene: Scene, tmp_path: Path) -> None:
    first = {path: path.read_bytes() for path in write_pictures(scene, tmp_path)}
    assert {path: path.read_bytes() for path in write_pictures(scene, tmp_path)} == first
    assert len(list(tmp_path.rglob("*.png"))) == len(first)


def test_a_folder_that_is_not_there_is_said(scene: Scene, tmp_path: Path) -> None:
    with pytest.raises(OutputError, match=r"nowhere: expected a folder to write pictures into"):
        write_pictures(scene, tmp_path / "nowhere")


def test_a_place_that_cannot_be_written_is_said(scene: Scene, tmp_path: Path) -> None:
    (tmp_path / "fusion").write_text("in the way")
    with pytest.raises(OutputError, match=r"overlay\.png: cannot be written"):
        write_pictures(scene, tmp_path)


def test_a_picture_of_one_pixel(make_scene: SceneMaker, tmp_path: Path) -> None:
    scene = make_scene([(0, 0, 1, 1)], width=1, height=1)
    assert len(write_pictures(scene, tmp_path)) == 5
