"""The depth model that users call. Its published numbers: see ``tests/models``."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import rangemask
from rangemask.backends.depth.depth_anything import (
    DepthAnythingConfig,
    DepthAnythingModel,
    network_input,
    network_size,
)
from rangemask.errors import InputError, UnknownNameError
from rangemask.models.depth_anything import build_depth_anything
from rangemask.structures import Passport, StereoFrame

PASSPORT = Passport(
    role="depth", model="nano", licence="Apache-2.0", licence_class="commercial-ok", options={}
)


def model(max_depth_m: float | None = None, input_size_px: int = 56) -> DepthAnythingModel:
    torch.manual_seed(0)
    network = build_depth_anything("nano", max_depth_m=max_depth_m).eval()
    with torch.no_grad():
        network.depth.out.bias.fill_(0.5)
    return DepthAnythingModel(network, PASSPORT, DepthAnythingConfig(input_size_px=input_size_px))


def frame(height: int = 40, width: int = 90) -> StereoFrame:
    pixels = np.random.default_rng(0).integers(0, 256, (height, width, 3), dtype=np.uint8)
    return StereoFrame(pixels)


@pytest.mark.parametrize(
    ("max_depth_m", "kind"), [(None, "relative_inverse"), (20.0, "metric_m"), (5.0, "metric_m")]
)
def test_the_map_says_what_it_is(max_depth_m: float | None, kind: str) -> None:
    found = model(max_depth_m)(frame())
    assert found.kind == kind
    assert found.values.shape == (40, 90)
    assert found.values.dtype == np.float32
    assert np.isfinite(found.values).all()
    assert found.values.min() >= 0
    assert found.values.max() <= (max_depth_m or np.inf)


@pytest.mark.parametrize("size", [(4, 65), (65, 4)])
def test_strips_are_refused(size: tuple[int, int]) -> None:
    with pytest.raises(InputError, match=r"may be 16 times as long as wide, got .*Crop it"):
        model()(frame(*size))
    assert model(input_size_px=14)(frame(4, 64)).values.shape == (4, 64)


def test_channels_of_the_image_are_red_green_blue() -> None:
    pixels = np.zeros((4, 4, 3), np.uint8)
    pixels[..., 0] = 255
    found = network_input(pixels, (14, 14))
    assert found.shape == (3, 14, 14)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found[0], (1 - 0.485) / 0.229, rtol=1e-6)
    np.testing.assert_allclose(found[2], -0.406 / 0.225, rtol=1e-6)


@settings(deadline=None, max_examples=80)
@given(
    height=st.integers(8, 3000),
    width=st.integers(8, 3000),
    short_px=st.sampled_from([14, 140, 518]),
)
def test_the_input_keeps_the_aspect(height: int, width: int, short_px: int) -> None:
    found = network_size(height, width, short_px)
    assert all(side % 14 == 0 and side >= short_px for side in found)
    scale = max(short_px / height, short_px / width)
    for side, after in zip((height, width), found, strict=True):
        assert abs(after - side * scale) <= 7 or after == short_px


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"input_size_px": 500}, "input_size_px must be a positive multiple of 14, got 500"),
        ({"input_size_px": 0}, "positive multiple of 14, got 0"),
        ({"input_size_px": -14}, "positive multiple of 14, got -14"),
        ({"input_size_px": 518.0}, r"positive multiple of 14, got 518\.0"),
        ({"input_size_px": "518"}, "positive multiple of 14, got '518'"),
        ({"max_depth_m": 0}, "max_depth_m must be positive and finite, got 0"),
        ({"max_depth_m": float("inf")}, "positive and finite, got inf"),
        ({"max_depth_m": float("nan")}, "positive and finite, got nan"),
        ({"max_depth_m": "far"}, "depth-anything-v2-small"),
        ({"max_depth_m": 5.0}, "gives relative depth; max_depth_m is for metric models"),
        ({"iterations": 3}, "has no option 'iterations'; it knows input_size_px, max_depth_m"),
    ],
)
def test_impossible_options_are_refused(
    options: dict[str, Any], words: str, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match=words):
        rangemask.load_depth(
            "depth-anything-v2-small", checkpoint=tmp_path, device="cpu", **options
        )


def test_unknown_names_get_a_hint() -> None:
    with pytest.raises(UnknownNameError, match="Did you mean 'depth-anything-v2-small'"):
        rangemask.load_depth("depth-anything-v2-smal")
