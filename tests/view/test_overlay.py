import sys
from collections.abc import Callable
from dataclasses import replace
from subprocess import run

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rangemask.structures import Rle, Scene, SceneObject, SemanticMap, StereoFrame
from rangemask.view import overlay
from rangemask.view.overlay import Drawn, instances_picture, overlay_picture, semantic_picture
from rangemask.view.palette import instance_colour
from rangemask.view.placement import Spot
from rangemask.view.text import Pen, Plate

SceneMaker = Callable[..., Scene]


@pytest.fixture
def plates(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, int, int, int, int]]:
    """Every plate drawn, as text, x, y, width, height."""
    drawn = []
    draw = Plate.draw

    def record(self, image, x, y, colour) -> None:
        drawn.append((self.text, x, y, self.width, self.height))
        draw(self, image, x, y, colour)

    monkeypatch.setattr(Plate, "draw", record)
    return drawn


def test_labels_say_what_and_how_far(make_scene: SceneMaker, plates) -> None:
    scene = make_scene([(20, 60, 60, 80), (200, 100, 90, 90)])
    overlay_picture(scene)
    assert sorted(text for text, *_ in plates) == ["person 1.00 m", "person 1.10 m"]
    plates.clear()
    overlay_picture(scene, caption="label")
    assert [text for text, *_ in plates] == ["person", "person"]


def test_an_unknown_distance_is_said(make_scene: SceneMaker, bare, plates) -> None:
    overlay_picture(bare(make_scene([(20, 60, 60, 80)])))
    assert [text for text, *_ in plates] == ["person ? m"]


def test_relative_depth_is_said_in_a_corner_that_labels_leave_free(
    make_scene: SceneMaker, bare, plates
) -> None:
    scene = make_scene([(240, 0, 80, 30)])
    relative = replace(bare(scene), relative_depth=scene.disparity / 7)
    overlay_picture(relative)
    said = {text: box for text, *box in plates}
    assert set(said) == {"person ? m", "relative depth, no metres"}
    x, y, width, height = said["relative depth, no metres"]
    assert (x + width, y) == (320, 0)
    label_x, label_y, label_width, _ = said["person ? m"]
    assert label_y >= height or label_x + label_width <= x
    plates.clear()
    overlay_picture(relative, caption="label")
    assert [text for text, *_ in plates] == ["person"]


def test_the_remark_on_relative_depth_is_left_out_where_it_has_no_room(
    make_scene: SceneMaker, bare, plates
) -> None:
    for size in ((60, 40), (320, 3)):
        scene = make_scene([], width=size[0], height=size[1])
        picture = overlay_picture(replace(bare(scene), relative_depth=scene.disparity))
        assert np.array_equal(picture, scene.frame.left)
    assert plates == []


def test_the_picture_is_untouched_away_from_objects(make_scene: SceneMaker) -> None:
    scene = make_scene([(200, 150, 60, 60)])
    picture = overlay_picture(scene)
    assert picture.shape == scene.frame.left.shape
    assert picture.dtype == np.uint8
    assert np.array_equal(picture[:, :100], scene.frame.left[:, :100])
    assert np.array_equal(overlay_picture(make_scene([])), scene.frame.left)


def test_the_fill_is_a_share_of_the_objects_colour(make_scene: SceneMaker) -> None:
    scene = make_scene([(100, 60, 150, 120)])
    picture = overlay_picture(scene, fill=0.4).astype(float)
    expected = 0.6 * scene.frame.left + 0.4 * np.array(instance_colour(1))
    # Below the label, which is in the middle, and away from the outline.
    assert np.abs(picture - expected)[150:170, 120:230].max() <= 1


def test_the_outline_runs_along_the_mask_in_its_colour(make_scene: SceneMaker) -> None:
    picture = overlay_picture(make_scene([(100, 60, 150, 120)]))
    along = picture[90:170, 100]
    # Smoothed at its sides, a line of one pixel is not quite of its full colour.
    assert np.abs(along - np.array(instance_colour(1), dtype=int)).max() < 40


def test_the_nearer_object_lies_on_top(make_scene: SceneMaker) -> None:
    scene = make_scene([(60, 60, 100, 100), (100, 60, 100, 100)])
    ids = Drawn.of(scene).ids()
    assert ids[100, 150] == 1
    assert np.array_equal(ids, scene.instance_ids())
    swapped = replace(scene, objects=tuple(reversed(scene.objects)))
    assert np.array_equal(Drawn.of(swapped).ids(), ids)


def test_instances_have_their_colour_on_black(make_scene: SceneMaker) -> None:
    scene = make_scene([(10, 10, 50, 50), (100, 100, 30, 30)])
    picture = instances_picture(scene)
    for one in scene.objects:
        assert (picture[one.mask] == instance_colour(one.id)).all()
    assert not picture[scene.instance_ids() == 0].any()
    assert not instances_picture(make_scene([])).any()


def test_an_id_keeps_its_colour_whatever_else_is_there(make_scene: SceneMaker) -> None:
    scene = make_scene([(10, 10, 50, 50), (100, 100, 30, 30)])
    alone = replace(scene, objects=scene.objects[1:])
    both = instances_picture(scene)[scene.objects[1].mask]
    assert np.array_equal(instances_picture(alone)[scene.objects[1].mask], both)


box = st.tuples(st.integers(0, 319), st.integers(0, 239), st.integers(1, 320), st.integers(1, 240))


@settings(deadline=None, max_examples=25)
@given(boxes=st.lists(box, max_size=8), names=st.text(max_size=30))
def test_plates_are_inside_the_picture_and_apart(boxes, names) -> None:
    # A fixture cannot be used once per example: the scene is built here.
    scene = _scene(boxes, names)
    drawn: list[tuple[int, int, int, int]] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            Plate, "draw", lambda self, _, x, y, __: drawn.append((x, y, self.width, self.height))
        )
        overlay_picture(scene)
    for i, (x, y, w, h) in enumerate(drawn):
        assert x >= 0
        assert y >= 0
        assert x + w <= 320
        assert y + h <= 240
        for left, top, wide, high in drawn[:i]:
            assert x + w <= left or left + wide <= x or y + h <= top or top + high <= y


def test_300_objects_leave_labels_apart_and_say_how_many_are_without(
    make_scene: SceneMaker, plates
) -> None:
    grid = [(x * 30 + 2, y * 22 + 2, 20, 14) for y in range(15) for x in range(20)]
    scene = make_scene(grid, width=640, height=360)
    assert len(scene.objects) == 300
    overlay_picture(scene)
    taken = np.zeros((360, 640), dtype=int)
    for _, x, y, w, h in plates:
        taken[y : y + h, x : x + w] += 1
    assert taken.max() == 1
    captions = [text for text, *_ in plates if text.startswith("person")]
    assert 40 < len(captions) < 300
    assert taken.mean() < 0.35
    assert "person 1.00 m" in captions
    notes = [text for text, *_ in plates if not text.startswith("person")]
    assert notes == [f"{300 - len(captions)} more without label"]


def test_labels_become_smaller_before_they_are_left_out(make_scene: SceneMaker, plates) -> None:
    def heights(columns: int) -> set[int]:
        plates.clear()
        grid = [(x * 100 + 9, y * 60 + 9, 30, 30) for y in range(6) for x in range(columns)]
        overlay_picture(make_scene(grid, width=640, height=360))
        assert len(plates) == 6 * columns
        return {height for *_, height in plates}

    (few,), (many,) = heights(1), heights(5)
    assert many < few


def test_the_note_has_the_lower_left_corner(make_scene: SceneMaker, plates) -> None:
    one = make_scene([(5, 200, 20, 20)]).objects[0]
    crowd = tuple(replace(one, id=i) for i in range(1, 200))
    overlay_picture(replace(make_scene([]), objects=crowd))
    text, x, y, w, h = plates[-1]
    assert text == f"{199 - (len(plates) - 1)} more without label"
    assert (x, y + h) == (0, 240)
    for _, left, top, _, high in plates[:-1]:
        assert left >= w or top + high <= y


@pytest.mark.parametrize(
    "edge", [(0, 0, 40, 30), (280, 0, 40, 30), (0, 210, 40, 30), (280, 210, 40, 30)]
)
def test_objects_at_the_border_are_labelled_inside(make_scene: SceneMaker, plates, edge) -> None:
    overlay_picture(make_scene([edge]))
    ((_, x, y, w, h),) = plates
    assert 0 <= x <= 320 - w
    assert 0 <= y <= 240 - h


def test_an_object_as_large_as_the_image_and_an_empty_one(make_scene: SceneMaker, plates) -> None:
    scene = make_scene([(0, 0, 320, 240), (0, 0, 0, 0)])
    assert scene.objects[1].area == 0
    overlay_picture(scene)
    assert [text for text, *_ in plates] == ["person 1.00 m"]
    assert (instances_picture(scene) == instance_colour(1)).all()


@pytest.mark.parametrize(("width", "height"), [(1, 1), (1, 30), (30, 1), (5, 4), (24, 18)])
def test_tiny_images_are_drawn(make_scene: SceneMaker, width: int, height: int) -> None:
    scene = make_scene([(0, 0, width, height)], width=width, height=height)
    assert overlay_picture(scene).shape == (height, width, 3)
    assert instances_picture(scene).shape == (height, width, 3)


def test_a_smaller_picture_has_text_of_its_own_size(make_scene: SceneMaker, plates) -> None:
    scene = make_scene([(200, 300, 500, 400)], width=1280, height=960)
    picture = overlay_picture(scene, width=320)
    assert picture.shape == (240, 320, 3)
    ((_, _, _, w, h),) = plates
    small = overlay_picture(make_scene([(50, 75, 125, 100)]))
    assert plates[1][3:] == (w, h)
    ids = Drawn.of(scene, width=320).ids()
    assert ids[75:175, 50:175].all()
    assert (ids > 0).sum() == 100 * 125
    assert picture.shape == small.shape


def test_a_smaller_picture_keeps_the_shape_of_masks(make_scene: SceneMaker) -> None:
    y, x = np.ogrid[:240, :320]
    disc = (x - 160) ** 2 + (y - 120) ** 2 < 100**2
    scene = make_scene([(0, 0, 9, 9)])
    scene = replace(scene, objects=(replace(scene.objects[0], rle=Rle.encode(disc)),))
    small = Drawn.of(scene, width=80).ids()
    assert small.sum() == pytest.approx(disc.sum() / 16, rel=0.015)


def test_specks_in_a_mask_have_no_outline_but_a_speck_alone_has(make_scene: SceneMaker) -> None:
    mask = np.zeros((240, 320), dtype=bool)
    mask[200:203, 50:53] = True
    scene = make_scene([(0, 0, 9, 9)])
    alone = replace(scene, objects=(replace(scene.objects[0], rle=Rle.encode(mask)),))
    mask[20:120, 150:300] = True
    beside = replace(scene, objects=(replace(scene.objects[0], rle=Rle.encode(mask)),))
    # To its left, where no label goes.
    around = scene.frame.left[200:203, 49]
    assert not np.array_equal(overlay_picture(alone)[200:203, 49], around)
    assert np.array_equal(overlay_picture(beside)[200:203, 49], around)


def test_long_and_hostile_names_are_drawn(make_scene: SceneMaker, plates) -> None:
    overlay_picture(make_scene([(50, 50, 100, 100)], label="a\nb" * 500))
    ((text, x, _, w, _),) = plates
    assert text.endswith("… 1.00 m")
    assert x + w <= 320
    assert "\n" not in text


@pytest.mark.parametrize(("gap_px", "drawn"), [(0, False), (3, False), (60, True)])
def test_a_leader_leads_from_a_label_that_is_not_at_its_object(gap_px: int, drawn: bool) -> None:
    picture = np.full((240, 320, 3), 90, dtype=np.uint8)
    plate = Plate.fit("person", "", 12, room_px=200)
    bottom = 40 + plate.height
    tip = (130.0, float(bottom + gap_px))
    overlay._leader(
        picture,
        plate,
        Spot(100, 40, gap_px, tip),
        (240, 228, 66),
        Pen(font_px=12, line_px=2, halo_px=4),
    )
    assert (picture != 90).any() == drawn
    if drawn:
        line = picture[bottom : bottom + gap_px, 130].astype(int)
        assert (np.abs(line - (240, 228, 66)).max(axis=1) < 60).all()
        assert (picture[bottom + 10, 132] < 90).all()


def test_semantic_classes_have_their_colour_and_a_legend(plates) -> None:
    ids = np.zeros((240, 320), dtype=np.uint8)
    ids[:, 100:] = 2
    semantic = SemanticMap(ids, ("unknown", "floor", "wall"))
    picture = semantic_picture(semantic)
    assert (picture[:240, 100:] == instance_colour(2)).all()
    assert (picture[:240, :100] == (128, 128, 128)).all()
    assert [text for text, *_ in plates] == ["wall", "unknown"]
    assert picture.shape[0] > 240
    assert semantic_picture(semantic, legend=False).shape == (240, 320, 3)


@pytest.mark.parametrize("size", [(1, 1), (8, 300), (90, 40)])
def test_a_legend_that_has_no_room_is_left_out(size: tuple[int, int]) -> None:
    width, height = size
    ids = np.arange(height * width, dtype=np.int64).reshape(height, width) % 40
    semantic = SemanticMap(ids.astype(np.uint8), tuple(f"class {i}" for i in range(40)))
    picture = semantic_picture(semantic)
    assert picture.shape[1] == width
    assert picture.shape[0] == height if width < 20 else picture.shape[0] > height


def test_nothing_that_starts_slowly_is_imported() -> None:
    code = "import sys, rangemask.view.overlay, rangemask.view.pictures; print(*sys.modules)"
    modules = run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert not {"matplotlib", "supervision", "torch", "skimage"} & set(modules.split())


def test_the_picture_is_always_the_same(make_scene: SceneMaker) -> None:
    scene = make_scene([(20, 60, 60, 80), (200, 100, 90, 90), (70, 70, 90, 90)])
    assert np.array_equal(overlay_picture(scene), overlay_picture(scene))


def _scene(boxes: list[tuple[int, int, int, int]], label: str) -> Scene:
    masks = np.zeros((len(boxes), 240, 320), dtype=bool)
    for mask, (x, y, w, h) in zip(masks, boxes, strict=True):
        mask[y : y + h, x : x + w] = True
    things = [
        SceneObject(id=i, label=label, score=1.0, rle=Rle.encode(mask))
        for i, mask in enumerate(masks, start=1)
    ]
    image = np.full((240, 320, 3), 90, dtype=np.uint8)
    return Scene(frame=StereoFrame(image), objects=tuple(things))
