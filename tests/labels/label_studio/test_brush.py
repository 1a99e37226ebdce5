import base64
import json
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from rangemask.errors import InputError
from rangemask.labels.label_studio.brush import (
    OPAQUE,
    decode_brush,
    decode_values,
    encode_brush,
    encode_values,
)

GOLDEN = json.loads(
    (Path(__file__).parents[2] / "golden/label_studio/brush.json").read_text(encoding="utf-8")
)


def unpacked(text: str) -> np.ndarray:
    return np.frombuffer(zlib.decompress(base64.b64decode(text)), dtype=np.uint8)


@pytest.mark.parametrize("case", GOLDEN["masks"], ids=lambda case: case["name"])
def test_masks_are_the_bytes_of_the_sdk(case: dict[str, Any]) -> None:
    height, width = case["height"], case["width"]
    bits = np.unpackbits(unpacked(case["mask"]), count=height * width)
    mask = bits.reshape(height, width).astype(bool)
    rle = unpacked(case["rle"]).tolist()
    assert encode_brush(mask) == rle
    assert np.array_equal(decode_brush(rle, height, width), mask)


@pytest.mark.parametrize("case", GOLDEN["streams"], ids=lambda case: case["name"])
def test_values_are_the_bytes_of_the_sdk(case: dict[str, Any]) -> None:
    values, rle = unpacked(case["values"]), unpacked(case["rle"]).tolist()
    assert encode_values(values) == rle
    assert np.array_equal(decode_values(rle, expected=values.size), values)


def test_soft_edges_are_inside_from_half_on() -> None:
    (case,) = (one for one in GOLDEN["streams"] if one["name"] == "soft disc of 24 x 40")
    alpha = unpacked(case["values"])[3::4].reshape(24, 40)
    assert len(np.unique(alpha)) > 40
    mask = decode_brush(unpacked(case["rle"]).tolist(), 24, 40)
    assert np.array_equal(mask, alpha >= OPAQUE)


def test_alpha_alone_decides() -> None:
    rgba = np.random.default_rng(0).integers(0, 256, (5, 7, 4), dtype=np.uint8)
    mask = decode_brush(encode_values(rgba.ravel()), 5, 7)
    assert np.array_equal(mask, rgba[..., 3] >= OPAQUE)


@settings(deadline=None, max_examples=60)
@given(arrays.arrays(bool, st.tuples(st.integers(1, 20), st.integers(1, 40))))
def test_masks_come_back(mask: np.ndarray) -> None:
    assert np.array_equal(decode_brush(encode_brush(mask), *mask.shape), mask)


@settings(deadline=None, max_examples=60)
@given(
    st.lists(st.tuples(st.integers(0, 255), st.integers(1, 400)), min_size=1, max_size=30),
    st.integers(1, 4),
)
def test_values_come_back(runs: list[tuple[int, int]], repeat: int) -> None:
    values = np.concatenate([np.full(length, value, dtype=np.uint8) for value, length in runs])
    found = decode_values(encode_values(values, repeat=repeat), expected=values.size * repeat)
    assert np.array_equal(found, np.repeat(values, repeat))


def literal_stream(values: list[int], sizes: tuple[int, ...], used: int) -> list[int]:
    """As thi.ng's encoder writes values that differ: one token for all of them."""
    bits = f"{len(values):032b}{7:05b}" + "".join(f"{size - 1:04b}" for size in sizes)
    bits += f"0{used:02b}{len(values) - 1:0{sizes[used]}b}"
    bits += "".join(f"{value:08b}" for value in values)
    bits += "0" * (-len(bits) % 8)
    return [int(bits[at : at + 8], 2) for at in range(0, len(bits), 8)]


@pytest.mark.parametrize("used", range(4))
def test_rows_of_different_values_and_other_sizes_are_read(used: int) -> None:
    values = [7, 7, 3, 255, 0, 128, 127, 1]
    stream = literal_stream(values, (3, 5, 6, 11), used)
    assert decode_values(stream, expected=8).tolist() == values


GOOD = encode_brush(np.eye(5, dtype=bool))


@pytest.mark.parametrize(
    ("stream", "message"),
    [
        ([300, 1], "list of bytes"),
        ("text", "list of bytes"),
        ([0.5], "list of bytes"),
        ([], "0 values, expected 100"),
        (encode_brush(np.eye(6, dtype=bool)), "144 values, expected 100"),
        (GOOD[:-4], "cut off"),
        ([*GOOD[:4], 0x7C, *GOOD[5:]], "16-bit values"),
        (encode_values(np.zeros(104, dtype=np.uint8))[:3] + [100] + [0x3F] * 20, "cut off"),
    ],
)
def test_damaged_streams_speak(stream: Any, message: str) -> None:
    with pytest.raises(InputError, match=message):
        decode_brush(stream, 5, 5)


def test_runs_that_overshoot_speak() -> None:
    # The header says 100 values, the one run has 104.
    stream = encode_values(np.zeros(104, dtype=np.uint8))
    stream[3] = 100
    with pytest.raises(InputError, match="do not end where it does"):
        decode_values(stream, expected=100)


def test_a_mask_without_pixels_speaks() -> None:
    with pytest.raises(InputError, match="1 to 2"):
        encode_brush(np.zeros((0, 4), dtype=bool))


def test_half_opaque_is_inside() -> None:
    rgba = np.zeros((1, 3, 4), dtype=np.uint8)
    rgba[0, :, 3] = 127, 128, 255
    assert decode_brush(encode_values(rgba.ravel()), 1, 3).tolist() == [[False, True, True]]
