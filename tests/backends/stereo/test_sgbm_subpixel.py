import cv2
import numpy as np
import pytest

from rangemask.backends.stereo.sgbm.subpixel import refine_subpixel


def shifted_pair(shift_px: float, gain: float = 1.0) -> tuple[np.ndarray, np.ndarray]:
    """A smooth random picture, and the same moved left by a part of a pixel."""
    random = np.random.default_rng(5)
    scene = cv2.GaussianBlur(random.uniform(0, 255, (80, 160)).astype(np.float32), (0, 0), 1.5)
    scene = (scene - scene.mean()) * 4 + 120
    x, y = np.meshgrid(np.arange(160, dtype=np.float32), np.arange(80, dtype=np.float32))
    right = cv2.remap(scene, x + np.float32(shift_px), y, cv2.INTER_CUBIC) * gain

    def as_rgb(grey: np.ndarray) -> np.ndarray:
        return np.repeat(np.clip(grey, 0, 255).astype(np.uint8)[..., None], 3, axis=2)

    return as_rgb(scene), as_rgb(right)


@pytest.mark.parametrize("shift_px", [5.0, 5.2, 5.4, 4.7])
@pytest.mark.parametrize("gain", [1.0, 0.9])
def test_whole_pixels_are_moved_to_where_the_images_agree(shift_px: float, gain: float) -> None:
    left, right = shifted_pair(shift_px, gain)
    refined = refine_subpixel(left, right, np.full((80, 160), 5.0, dtype=np.float32))
    middle = refined[10:-10, 20:-20]
    assert np.median(middle) == pytest.approx(shift_px, abs=0.05)
    assert np.abs(middle - shift_px).max() < 0.3


def test_unknown_stays_unknown_and_does_not_spread() -> None:
    left, right = shifted_pair(5.3)
    disparity = np.full((80, 160), 5.0, dtype=np.float32)
    disparity[30:50, 60:90] = np.nan
    refined = refine_subpixel(left, right, disparity)
    np.testing.assert_array_equal(np.isnan(refined), np.isnan(disparity))
    assert np.nanmedian(refined[25:55, 55:95]) == pytest.approx(5.3, abs=0.07)


def test_without_texture_nothing_moves() -> None:
    blank = np.full((40, 60, 3), 128, dtype=np.uint8)
    disparity = np.full((40, 60), 7.25, dtype=np.float32)
    np.testing.assert_allclose(refine_subpixel(blank, blank, disparity), disparity, atol=1e-3)


def test_two_surfaces_are_not_mixed() -> None:
    left, right = shifted_pair(5.0)
    disparity = np.full((80, 160), 5.0, dtype=np.float32)
    disparity[:, 80:] = 20.0
    refined = refine_subpixel(left, right, disparity)
    assert refined[:, :80].max() < 6
    assert refined[:, 80:].min() > 19
