import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rangemask.geometry import Camera, Rig, disparity_from_depth
from rangemask.view.colormap import (
    UNKNOWN_GREYS,
    ColourRange,
    colour_lut,
    colour_values,
    confidence_picture,
    depth_picture,
    disparity_picture,
    relative_picture,
    scale_ticks,
    unknown_pattern,
)
from rangemask.view.palette import contrast

RIG = Rig.rectified(fx=500.0, cx=160, cy=120, baseline_m=0.2, doffs_px=7.0)


def room_for(count: int):
    """Room for so many ticks on a whole scale."""
    return lambda shares, decimals: bool((np.diff(shares) >= 1 / count).all())


def ramp(width: int = 320, height: int = 240, low: float = 10.0, high: float = 60.0) -> np.ndarray:
    return np.tile(np.linspace(low, high, width, dtype=np.float32), (height, 1))


@pytest.mark.parametrize("name", ["inferno", "viridis", "cividis"])
def test_maps_rise_in_lightness_and_hold_no_grey(name) -> None:
    lut = colour_lut(name)
    assert lut.shape == (256, 3)
    # Rounding to 8 bit leaves single steps that go down by less than a grey level.
    light = [contrast((0, 0, 0), tuple(int(v) for v in colour)) for colour in lut[::8]]
    assert np.all(np.diff(light) > 0)
    greys = (lut.max(axis=1) == lut.min(axis=1)) & np.isin(lut[:, 0], UNKNOWN_GREYS)
    assert not greys.any()


def test_inferno_is_red_green_blue_and_cannot_be_changed() -> None:
    lut = colour_lut("inferno")
    assert lut[150].argmax() == 0
    with pytest.raises(ValueError, match="read-only"):
        lut[0] = 1
    with pytest.raises(ValueError, match=r"one of inferno, viridis, cividis, got 'turbo'"):
        colour_lut("turbo")


def test_values_take_their_colour_from_the_range() -> None:
    values = np.array([[0.0, 10.0, 35.0, 60.0, 99.0]], dtype=np.float32)
    colours = colour_values(values, ColourRange(low=10, high=60), "viridis")[0]
    lut = colour_lut("viridis")
    assert np.array_equal(colours, lut[[0, 0, 128, 255, 255]])


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 10_000), share=st.floats(0, 1))
def test_unknown_pixels_and_only_they_are_hatched(seed: int, share: float) -> None:
    random = np.random.default_rng(seed)
    values = random.normal(size=(40, 50)).astype(np.float32)
    unknown = random.random((40, 50)) < share
    values[unknown] = random.choice(np.array([np.nan, np.inf, -np.inf], dtype=np.float32))
    image = colour_values(values, ColourRange(low=-1, high=1))
    grey = (image.max(axis=-1) == image.min(axis=-1)) & np.isin(image[..., 0], UNKNOWN_GREYS)
    assert np.array_equal(grey, unknown)


def test_the_hatch_has_both_greys_in_equal_parts_along_a_row() -> None:
    pattern = unknown_pattern(24, 48, 8)
    assert pattern.shape == (24, 48, 3)
    for grey in UNKNOWN_GREYS:
        assert (pattern[0, :, 0] == grey).sum() == 24
    assert np.array_equal(pattern[0, 1:], pattern[1, :-1])


def test_a_fixed_range_keeps_the_colour_of_a_distance() -> None:
    fixed = ColourRange.between(1.0, 8.0, RIG)
    first, second = ramp(high=60), ramp(high=60)
    second[:, 200:] = 90
    both = [disparity_picture(values, RIG, colour_range=fixed) for values in (first, second)]
    assert np.array_equal(both[0][:, :200], both[1][:, :200])
    assert np.array_equal(both[0][240:], both[1][240:])
    own = [disparity_picture(values, RIG) for values in (first, second)]
    assert not np.array_equal(own[0][:240, :200], own[1][:240, :200])


def test_the_range_of_a_map_leaves_outliers_out() -> None:
    values = np.full((100, 100), 20, dtype=np.float32)
    values += np.linspace(0, 10, 100, dtype=np.float32)
    values[0, 0], values[5, 5], values[7, 7] = 1e6, -1e6, np.nan
    found = ColourRange.of_disparity(values)
    assert 20 <= found.low < 20.3
    assert 29.7 < found.high <= 30
    assert found.quantity == "disparity_px"


@pytest.mark.parametrize("value", [np.nan, np.inf, 0.0, 7.0, -3.0, 1e6])
def test_a_map_without_variety_still_has_a_range_and_a_picture(value: float) -> None:
    values = np.full((50, 300), value, dtype=np.float32)
    found = ColourRange.of_disparity(values)
    assert found.low < found.high
    assert disparity_picture(values, RIG).shape[1:] == (300, 3)
    assert depth_picture(values).shape[1:] == (300, 3)


def test_a_range_between_distances_is_where_they_are() -> None:
    for_disparity = ColourRange.between(1.0, 4.0, RIG)
    expected = disparity_from_depth(np.array([4.0, 1.0]), RIG)
    assert (for_disparity.low, for_disparity.high) == pytest.approx(tuple(expected))
    for_depth = ColourRange.between(1.0, 4.0)
    assert (for_depth.low, for_depth.high) == (0.25, 1.0)
    assert ColourRange.of_depth(np.array([4.0, 1.0, np.nan, 0.0, -2.0])).low == pytest.approx(
        0.25, rel=0.05
    )


@pytest.mark.parametrize("ends", [(2.0, 1.0), (0.0, 1.0), (-1.0, 1.0), (1.0, 1.0)])
def test_distances_out_of_order_are_refused(ends: tuple[float, float]) -> None:
    with pytest.raises(ValueError, match="expected 0 < near < far"):
        ColourRange.between(*ends, RIG)


def test_ranges_that_cannot_be_are_refused() -> None:
    for ends in ((1.0, 1.0), (2.0, 1.0), (np.nan, 1.0), (0.0, np.inf)):
        with pytest.raises(ValueError, match="low must be below high"):
            ColourRange(low=ends[0], high=ends[1])
    single = Rig(left=RIG.left)
    with pytest.raises(ValueError, match="no baseline"):
        ColourRange.between(1, 2, single)


def test_a_range_of_one_quantity_is_not_used_for_another() -> None:
    depth_range = ColourRange.between(1.0, 4.0)
    with pytest.raises(ValueError, match="range of disparity_px, got one of inverse_depth_per_m"):
        disparity_picture(ramp(), RIG, colour_range=depth_range)
    with pytest.raises(ValueError, match="range of inverse_depth_per_m, got one of disparity_px"):
        depth_picture(ramp(), colour_range=ColourRange(low=1, high=2))


@settings(deadline=None, max_examples=60)
@given(near=st.floats(0.2, 20), stretch=st.floats(1.02, 100), doffs=st.floats(-30, 60))
def test_ticks_are_round_metres_at_their_disparity(
    near: float, stretch: float, doffs: float
) -> None:
    rig = Rig.rectified(fx=500.0, cx=160, cy=120, baseline_m=0.2, doffs_px=doffs)
    scale = ColourRange.between(near, near * stretch, rig)
    ticks, unit = scale_ticks(scale, rig, room_for(8))
    assert unit == "m"
    assert ticks
    for tick in ticks:
        metres = float(tick.text)
        assert metres == pytest.approx(tick.value, rel=1e-9)
        disparity = float(disparity_from_depth(np.array([metres]), rig)[0])
        share = (disparity - scale.low) / (scale.high - scale.low)
        assert tick.share == pytest.approx(share, abs=1e-4)
        assert -1e-6 <= tick.share <= 1 + 1e-6
    assert (np.diff([tick.share for tick in ticks]) >= 1 / 8 - 1e-9).all()
    assert (np.diff([tick.value for tick in ticks]) < 0).all()


def test_ticks_that_one_expects() -> None:
    def texts(near: float, far: float, room: int) -> list[str]:
        ticks, _ = scale_ticks(ColourRange.between(near, far, RIG), RIG, room_for(room))
        return [tick.text for tick in ticks]

    assert texts(0.9, 5.2, 12) == ["4", "3", "2", "1.5", "1", "0.9"]
    assert texts(2.0, 2.4, 6) == ["2.4", "2.3", "2.2", "2.1", "2"]
    assert texts(1.0, 100.0, 6) == ["100", "5", "2", "1.5", "1"]
    assert texts(4.0, 4.5, 1) == ["4.5", "4"]


def test_without_a_baseline_ticks_are_pixels() -> None:
    scale = ColourRange(low=0, high=50)
    single = Rig(left=Camera(fx=500, fy=500, cx=1, cy=1))
    fisheye = Rig(
        left=Camera(fx=500, fy=500, cx=1, cy=1, model="fisheye", distortion=(0.1, 0, 0, 0)),
        right=Camera(fx=500, fy=500, cx=1, cy=1),
        translation_m=(-0.1, 0, 0),
    )
    for rig in (None, single, fisheye):
        ticks, unit = scale_ticks(scale, rig, room_for(6))
        assert unit == "px"
        assert [(tick.text, tick.share) for tick in ticks] == [
            (str(value), pytest.approx(value / 50)) for value in (0, 10, 20, 30, 40, 50)
        ]


def test_a_scale_from_behind_infinity_has_only_finite_metres() -> None:
    ticks, unit = scale_ticks(ColourRange(low=-20, high=50), RIG, room_for(10))
    assert unit == "m"
    assert ticks
    assert all(0 < tick.value < 1000 for tick in ticks)
    ticks, unit = scale_ticks(ColourRange(low=-50, high=-10), RIG, room_for(10))
    assert unit == "px"


def test_the_map_is_drawn_pixel_for_pixel_over_its_scale() -> None:
    values = ramp()
    values[3, 4] = np.nan
    picture = disparity_picture(values, RIG)
    plain = disparity_picture(values, RIG, scale=False)
    assert plain.shape == (240, 320, 3)
    assert np.array_equal(picture[:240], plain)
    assert picture.shape[0] > 240
    assert picture.dtype == np.uint8


def test_the_scale_shows_the_hatch_and_the_colours() -> None:
    strip = disparity_picture(ramp(), RIG)[240:]
    grey = strip.max(axis=-1) == strip.min(axis=-1)
    for value in UNKNOWN_GREYS:
        assert (grey & (strip[..., 0] == value)).sum() > 20
    row = strip[6]
    for colour in colour_lut("inferno")[[0, 128, 255]]:
        assert (row == colour).all(axis=-1).any()


def test_the_height_of_the_scale_depends_on_the_size_alone() -> None:
    heights = {
        disparity_picture(ramp(low=low, high=high), rig).shape[0]
        for low, high in ((0, 1), (10, 500), (3, 3.1))
        for rig in (RIG, None)
    }
    assert len(heights) == 1


@pytest.mark.parametrize("size", [(1, 1), (1, 40), (40, 1), (20, 20), (64, 48), (100, 300)])
def test_small_maps_are_drawn_with_a_scale_only_where_it_fits(size: tuple[int, int]) -> None:
    width, height = size
    picture = disparity_picture(np.full((height, width), np.nan, np.float32), RIG)
    assert picture.shape[1] == width
    assert picture.shape[0] == height if width < 50 else picture.shape[0] > height


def test_depth_is_drawn_like_its_disparity() -> None:
    depth = np.array([[1.0, 2.0, 4.0, np.nan, 0.0, -1.0]], dtype=np.float32)
    image = depth_picture(depth, colour_range=ColourRange.between(1, 4), scale=False)[0]
    lut = colour_lut("inferno")
    assert np.array_equal(image[:3], lut[[255, 85, 0]])
    assert all(image[i, 0] == image[i, 2] for i in (3, 4, 5))


def test_relative_depth_has_the_colours_of_disparity_and_words_for_a_scale() -> None:
    relative = ramp(low=-3, high=8)
    picture = relative_picture(relative)
    assert np.array_equal(picture[:240], disparity_picture(relative)[:240])
    assert picture.shape == disparity_picture(relative).shape
    ends = ColourRange.of_relative(relative)
    ticks, unit = scale_ticks(ends, RIG, room_for(3))
    assert [tick.text for tick in ticks] == ["far", "relative, no metres", "near"]
    assert [tick.share for tick in ticks] == [0, 0.5, 1]
    assert unit == ""
    ticks, _ = scale_ticks(ends, RIG, lambda shares, decimals: False)
    assert [tick.text for tick in ticks] == ["far", "near"]
    with pytest.raises(ValueError, match="range of relative, got one of disparity_px"):
        relative_picture(relative, colour_range=ColourRange(low=0, high=1))


def test_confidence_has_one_fixed_scale() -> None:
    image = confidence_picture(np.array([[0.0, 1.0]], dtype=np.float32), scale=False)
    assert np.array_equal(image[0], colour_lut("viridis")[[0, 255]])
    scaled = confidence_picture(np.full((240, 320), 0.5, np.float32))
    assert scaled.shape[0] > 240


def test_the_picture_is_always_the_same() -> None:
    values = np.random.default_rng(1).random((60, 200), dtype=np.float32)
    assert np.array_equal(disparity_picture(values, RIG), disparity_picture(values, RIG))
