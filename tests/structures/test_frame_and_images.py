import io
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from rangemask.errors import InputError
from rangemask.geometry import Rig
from rangemask.structures import StereoFrame
from rangemask.structures.images import read_array, read_image, read_images, write_image


@pytest.fixture
def picture() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (12, 20, 3), dtype=np.uint8)


def test_rgb_png_is_read_unchanged(tmp_path: Path, picture: np.ndarray) -> None:
    write_image(tmp_path / "a.png", picture)
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), picture)


def test_grey_becomes_rgb(tmp_path: Path, picture: np.ndarray) -> None:
    write_image(tmp_path / "a.png", picture[..., 0])
    np.testing.assert_array_equal(
        read_image(tmp_path / "a.png"), np.stack([picture[..., 0]] * 3, axis=-1)
    )


def test_alpha_is_dropped_and_palettes_are_resolved(tmp_path: Path, picture: np.ndarray) -> None:
    Image.fromarray(picture).convert("RGBA").save(tmp_path / "a.png")
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), picture)
    Image.fromarray(picture).quantize(255).save(tmp_path / "p.png")
    assert read_image(tmp_path / "p.png").shape == picture.shape


def test_exif_rotation_is_applied(tmp_path: Path, picture: np.ndarray) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6  # the camera was turned: show it rotated by 90 degrees clockwise
    Image.fromarray(picture).save(tmp_path / "a.png", exif=exif)
    np.testing.assert_array_equal(read_image(tmp_path / "a.png"), np.rot90(picture, -1))


@pytest.mark.parametrize("bits", [10, 12, 16])
def test_deep_images_of_a_pair_are_shifted_alike(tmp_path: Path, bits: int) -> None:
    """The darker eye must not be stretched more than the brighter one."""
    bright = np.full((4, 5), 2**bits - 1, dtype=np.uint16)
    dark = np.full((4, 5), 2 ** (bits - 3), dtype=np.uint16)
    write_image(tmp_path / "l.png", bright)
    write_image(tmp_path / "r.png", dark)
    left, right = read_images([tmp_path / "l.png", tmp_path / "r.png"])
    assert left.dtype == np.uint8
    assert (int(left[0, 0, 0]), int(right[0, 0, 0])) == (255, 32)


def test_numbers_are_read_unchanged(tmp_path: Path) -> None:
    ids = np.arange(60, dtype=np.uint16).reshape(6, 10) * 1000
    write_image(tmp_path / "ids.png", ids)
    np.testing.assert_array_equal(read_array(tmp_path / "ids.png"), ids)


def test_bad_files_are_named(tmp_path: Path, picture: np.ndarray) -> None:
    with pytest.raises(InputError, match=r"gone\.png.*does not exist"):
        read_image(tmp_path / "gone.png")
    with pytest.raises(InputError, match="is a folder"):
        read_image(tmp_path)
    (tmp_path / "empty.png").touch()
    with pytest.raises(InputError, match=r"empty\.png.*is empty"):
        read_image(tmp_path / "empty.png")
    (tmp_path / "text.png").write_text("not a picture")
    with pytest.raises(InputError, match=r"text\.png.*not an image"):
        read_image(tmp_path / "text.png")


@pytest.mark.parametrize("suffix", [".png", ".jpg", ".tif", ".webp"])
def test_cut_off_files_are_refused(tmp_path: Path, suffix: str) -> None:
    picture = np.random.default_rng(1).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(picture).save(buffer, format=Image.registered_extensions()[suffix])
    path = tmp_path / f"cut{suffix}"
    path.write_bytes(buffer.getvalue()[: len(buffer.getvalue()) // 2])
    with pytest.raises(InputError, match=f"cut{suffix}"):
        read_image(path)


def test_huge_images_meet_a_limit_that_can_be_raised(tmp_path: Path) -> None:
    """The header alone is enough to refuse: nothing of that size is ever decoded."""
    write_image(tmp_path / "a.png", np.zeros((4, 4, 3), dtype=np.uint8))
    raw = bytearray((tmp_path / "a.png").read_bytes())
    raw[16:24] = (100_000).to_bytes(4, "big") * 2
    raw[29:33] = zlib.crc32(raw[12:29]).to_bytes(4, "big")
    (tmp_path / "huge.png").write_bytes(raw)
    with pytest.raises(InputError, match=r"10000\.0 million pixels.*--max-pixels"):
        read_image(tmp_path / "huge.png")
    with pytest.raises(InputError, match="limit"):
        read_image(tmp_path / "a.png", max_pixels=15)
    assert read_image(tmp_path / "a.png", max_pixels=16).shape == (4, 4, 3)
    limit = Image.MAX_IMAGE_PIXELS
    assert limit is not None, "Pillow's own limit must be back in place"


def test_unknown_pixel_formats_are_refused(tmp_path: Path) -> None:
    Image.fromarray(np.zeros((3, 3), dtype=np.float32)).save(tmp_path / "f.tif")
    with pytest.raises(InputError, match="pixel format F"):
        read_image(tmp_path / "f.tif")


def test_a_pair_is_read_with_its_rig(tmp_path: Path, picture: np.ndarray) -> None:
    write_image(tmp_path / "l.png", picture)
    write_image(tmp_path / "r.png", picture[:, ::-1])
    rig = Rig.rectified(fx=20, cx=10, cy=6, baseline_m=0.1)
    frame = StereoFrame.read(tmp_path / "l.png", tmp_path / "r.png", rig=rig, timestamp_s=2.0)
    assert (frame.name, frame.width, frame.height, frame.timestamp_s) == ("l", 20, 12, 2.0)
    assert frame.rig is not None
    assert frame.rig.size == (20, 12)
    assert StereoFrame.read(tmp_path / "l.png").right is None


def test_side_by_side_is_cut_in_the_middle(tmp_path: Path, picture: np.ndarray) -> None:
    write_image(tmp_path / "sbs.png", picture)
    frame = StereoFrame.read_side_by_side(tmp_path / "sbs.png")
    np.testing.assert_array_equal(frame.left, picture[:, :10])
    assert frame.right is not None
    np.testing.assert_array_equal(frame.right, picture[:, 10:])
    with pytest.raises(InputError, match="even width"):
        StereoFrame.from_side_by_side(picture[:, :7])


def test_sizes_must_agree(tmp_path: Path, picture: np.ndarray) -> None:
    write_image(tmp_path / "l.png", picture)
    write_image(tmp_path / "r.png", picture[:6])
    with pytest.raises(InputError, match=r"l\.png is 20 x 12 and .*r\.png is 20 x 6"):
        StereoFrame.read(tmp_path / "l.png", tmp_path / "r.png")
    with pytest.raises(InputError, match="one size"):
        StereoFrame(picture, picture[:6])
    with pytest.raises(InputError, match=r"20 x 12 px but the rig is for 64 x 48"):
        StereoFrame(
            picture,
            None,
            Rig.rectified(fx=9, cx=1, cy=1, baseline_m=0.1, width=64, height=48),
        )


@pytest.mark.parametrize(
    ("image", "words"),
    [
        (np.zeros((4, 4, 3)), "uint8"),
        (np.zeros((4, 4), dtype=np.uint8), r"\(H, W, 3\)"),
        (np.zeros((0, 4, 3), dtype=np.uint8), r"\(H, W, 3\)"),
        ("left.png", "got str"),
    ],
)
def test_frames_hold_rgb_only(image: np.ndarray, words: str) -> None:
    with pytest.raises(InputError, match=words):
        StereoFrame(image)


def test_frames_are_equal_by_value(frame: StereoFrame) -> None:
    assert frame.right is not None
    same = StereoFrame(frame.left.copy(), frame.right.copy(), frame.rig, frame.name)
    assert frame == same
    assert frame != StereoFrame(frame.left, None, frame.rig, frame.name)
    assert frame != StereoFrame(frame.left, frame.left, frame.rig, frame.name)
    assert frame != "a frame"


@pytest.mark.parametrize("name", ["", "..", "../up", "a/b", "a\\b", "c:"])
def test_a_name_cannot_leave_the_output_folder(picture: np.ndarray, name: str) -> None:
    with pytest.raises(InputError, match="plain folder name"):
        StereoFrame(picture, name=name)
