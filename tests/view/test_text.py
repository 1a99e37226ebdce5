import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rangemask.view.palette import text_colour
from rangemask.view.text import Pen, Plate, blend, draw_text, printable, text_width


def canvas(width: int = 200, height: int = 60) -> np.ndarray:
    return np.full((height, width, 3), 100, dtype=np.uint8)


def test_sizes_follow_the_image() -> None:
    sizes = [(1, 1), (320, 240), (741, 500), (1920, 1080), (3840, 2160)]
    pens = [Pen.for_image(*size) for size in sizes]
    assert [pen.font_px for pen in pens] == [9, 12, 16, 27, 47]
    assert [pen.line_px for pen in pens] == [1, 1, 2, 4, 7]
    assert all(pen.halo_px > pen.line_px for pen in pens)


@settings(deadline=None, max_examples=40)
@given(name=st.text(max_size=40), suffix=st.sampled_from(["", " 1.52 m"]), room=st.integers(1, 300))
def test_a_plate_is_no_wider_than_its_room_and_keeps_its_distance(
    name: str, suffix: str, room: int
) -> None:
    plate = Plate.fit(name, suffix, 14, room_px=room)
    if plate is None:
        return
    assert plate.width <= room
    assert plate.text.endswith(suffix.strip())
    image = canvas(plate.width + 20, plate.height + 20)
    before = image.copy()
    plate.draw(image, 10, 10, (240, 228, 66))
    inside = np.zeros(image.shape[:2], dtype=bool)
    inside[10 : 10 + plate.height, 10 : 10 + plate.width] = True
    assert np.array_equal(image[~inside], before[~inside])
    assert (image[inside] != before[inside]).any()


def test_long_names_are_cut_and_short_ones_are_not() -> None:
    assert Plate.fit("person", " 1.52 m", 14, room_px=500).text == "person 1.52 m"
    cut = Plate.fit("a very long name of a thing", " 1.52 m", 14, room_px=150)
    assert cut.text.endswith("… 1.52 m")
    assert cut.text.startswith("a very")
    assert Plate.fit("person", " 1.52 m", 14, room_px=75).text == "1.52 m"
    assert Plate.fit("person", " 1.52 m", 14, room_px=10) is None
    assert Plate.fit("person", "", 14, room_px=10) is None


def test_a_name_is_cut_no_more_than_it_must() -> None:
    name = "i" * 60
    for room in range(90, 200, 7):
        cut = Plate.fit(name, " 1.52 m", 14, room_px=room)
        kept = cut.text.count("i")
        longer = Plate.fit("i" * (kept + 1) + "…", " 1.52 m", 14, room_px=1000)
        assert longer.width > room


@pytest.mark.parametrize("colour", [(240, 228, 66), (0, 60, 120)])
def test_a_plate_has_its_colour_and_text_that_stands_out(colour: tuple[int, int, int]) -> None:
    plate = Plate.fit("person 1.52 m", "", 20, room_px=400)
    image = canvas(plate.width, plate.height)
    plate.draw(image, 0, 0, colour)
    assert np.array_equal(image[plate.height // 2, 4], colour)
    shares = [(image == ink).all(axis=-1).mean() for ink in (colour, text_colour(colour))]
    assert shares[0] > 0.4
    assert 0.03 < shares[1] < 0.4
    # Its corners are round: what was there before still shows.
    assert np.abs(image[0, 0].astype(int) - 100).max() < 20


def test_all_plates_of_a_size_are_equally_high() -> None:
    names = ["aceo", "Ågypq", "Ü", "m", "1.5 m"]
    assert len({Plate.fit(name, "", 15, room_px=500).height for name in names}) == 1


def test_text_stays_on_one_line_without_control_characters() -> None:
    assert printable("a\nb\tc\x00d\u202ee") == "a b c d e"
    assert printable("u\u0308") == "ü"
    assert len(printable("x" * 10_000)) == 200


def test_accents_are_drawn_and_what_no_font_has_becomes_a_question_mark() -> None:
    assert Plate.fit("Müßig façade", "", 14, room_px=500).text == "Müßig façade"
    # A private character is in no font at all.
    assert Plate.fit("a\U0010fffdb", "", 14, room_px=500).text in {"a?b", "a b"}
    assert Plate.fit("\u1fff\u2fff", "", 14, room_px=500) is not None


def test_no_text_draws_nothing() -> None:
    image = canvas()
    draw_text(image, 5, 30, "", 14, (255, 255, 255))
    draw_text(image, 5, 30, "  ", 14, (255, 255, 255))
    assert np.array_equal(image, canvas())


def test_text_is_drawn_where_it_is_said_and_is_clipped() -> None:
    image = canvas()
    draw_text(image, 20, 40, "HH", 20, (255, 255, 255))
    rows, columns = np.nonzero((image != 100).any(axis=-1))
    assert rows.max() + 1 == 40
    assert 20 <= columns.min() <= 24
    assert columns.max() < 20 + text_width("HH", 20)
    small = canvas(8, 6)
    draw_text(small, -10, 4, "HHHHHHH", 20, (255, 255, 255))
    assert (small != 100).any()


@pytest.mark.parametrize(("x", "y"), [(-2, -2), (198, 58), (0, 0), (500, 500), (-50, 3)])
def test_painting_is_clipped_to_the_image(x: int, y: int) -> None:
    image = canvas()
    blend(image, x, y, np.ones((4, 4), np.float32), (1, 2, 3))
    expected = canvas()
    for row in range(max(0, y), min(60, y + 4)):
        for column in range(max(0, x), min(200, x + 4)):
            expected[row, column] = (1, 2, 3)
    assert np.array_equal(image, expected)


def test_half_a_cover_is_half_way() -> None:
    image = canvas()
    blend(image, 0, 0, np.full((1, 1), 0.5, np.float32), (200, 0, 100))
    assert image[0, 0].tolist() == [150, 50, 100]
