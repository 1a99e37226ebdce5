"""The matcher around a tiny network: what it says of frames, and of what it cannot take."""

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import rangemask
from rangemask.backends.stereo.foundation_stereo import (
    FoundationStereoMatcher,
    FoundationStereoOptions,
)
from rangemask.backends.stereo.foundation_stereo.config import settings_beside
from rangemask.errors import InputError
from rangemask.geometry import Rig
from rangemask.models.foundation_stereo.config import tiny_config
from rangemask.models.foundation_stereo.network import FoundationStereo
from rangemask.structures import Passport, StereoFrame

PASSPORT = Passport(
    role="stereo", model="foundation-stereo", licence="none", licence_class="research-only"
)


@pytest.fixture(scope="module")
def network() -> FoundationStereo:
    torch.manual_seed(0)
    return FoundationStereo(tiny_config()).eval().requires_grad_(False)


def matcher(network: FoundationStereo, **options: Any) -> FoundationStereoMatcher:
    given = {"iterations": 1, "max_disparity_px": 32, **options}
    return FoundationStereoMatcher(network, PASSPORT, FoundationStereoOptions(**given))


def frame(height: int = 40, width: int = 70, baseline_m: float | None = 0.1) -> StereoFrame:
    pixels = np.random.default_rng(0).integers(0, 256, (2, height, width, 3), dtype=np.uint8)
    rig = None
    if baseline_m is not None:
        rig = Rig.rectified(
            fx=60.0, cx=35.0, cy=20.0, baseline_m=baseline_m, width=width, height=height
        )
    return StereoFrame(pixels[0], pixels[1], rig, "pair")


@pytest.mark.parametrize("options", [{}, {"scale": 0.9}, {"hierarchical": True}])
def test_maps_are_of_the_frame(network: FoundationStereo, options: dict[str, Any]) -> None:
    seen = frame(72, 76)
    match = matcher(network, max_disparity_px=96, **options)(seen)
    for values in (match.disparity, match.confidence, match.occluded, match.beyond):
        assert values.shape == (72, 76)
    assert not match.filled.any()
    known = np.isfinite(match.disparity)
    assert known.any()
    assert (match.disparity[known] > 0).all()
    assert (match.confidence[~known] == 0).all()
    assert match.confidence.max() <= 1
    # Untrained, a pass finds the middle of the volume, and two passes its end, which is flagged.
    assert (match.confidence.max() > 0) != options.get("hierarchical", False)
    columns = np.arange(76, dtype=np.float32)
    np.testing.assert_array_equal(match.occluded, columns - match.disparity < 0)


def test_scale_gives_pixels_of_the_frame(network: FoundationStereo) -> None:
    """Disparity of the small pair, enlarged; the largest grows as well."""
    seen = frame(64, 96)
    half = matcher(network, scale=0.5)
    match = half(seen)
    assert match.max_disparity_px == 64
    small = replace(
        seen,
        left=seen.left.reshape(32, 2, 48, 2, 3).mean((1, 3)).round().astype(np.uint8),
        right=seen.right.reshape(32, 2, 48, 2, 3).mean((1, 3)).round().astype(np.uint8),  # type: ignore[union-attr]
        rig=None,
    )
    expected = matcher(network)(small).disparity
    assert np.nanmedian(match.disparity) == pytest.approx(2 * np.nanmedian(expected), rel=0.02)


def test_a_start_is_refined(network: FoundationStereo) -> None:
    seen = frame(64, 64)
    start = np.full((64, 64), 12.0, np.float32)
    near = matcher(network)(seen, start_px=start).disparity
    far = matcher(network)(seen, start_px=start + 8).disparity
    inner = np.s_[8:-8, 8:-8]  # borders are mixed with nothing
    assert np.nanmedian((far - near)[inner]) == pytest.approx(8, abs=1.5)
    with pytest.raises(InputError, match=r"start_px must be a disparity in px for every pixel"):
        matcher(network)(seen, start_px=start[:5])


def test_beyond_the_largest_is_flagged(
    network: FoundationStereo, caplog: pytest.LogCaptureFixture
) -> None:
    seen = frame(64, 64)
    start = np.full((64, 64), 20.0, np.float32)
    start[:, 32:] = 60
    one = matcher(network)
    with caplog.at_level(logging.WARNING):
        match = one(seen, start_px=start)
        one(seen, start_px=start)
    assert match.beyond[:, 40:-4].any()
    assert not match.beyond[:, 4:24].any()
    assert (match.confidence[match.beyond] == 0).all()
    assert np.isfinite(match.disparity[match.beyond]).all()
    assert match.near_limit_m == pytest.approx(60 * 0.1 / 32)
    said = [record.getMessage() for record in caplog.records]
    assert len(said) == 1
    assert "beyond the 32 px" in said[0]
    assert "nothing nearer than 0.188 m can be measured" in said[0]
    assert one(frame(64, 64, baseline_m=None)).near_limit_m is None


def test_far_pixels_become_unknown(network: FoundationStereo) -> None:
    seen = frame(64, 64)
    start = np.full((64, 64), 6.0, np.float32)
    start[:, 32:] = 24
    match = matcher(network, z_far_m=0.5)(seen, start_px=start)  # 12 px
    assert np.isnan(match.disparity[:, 8:20]).all()
    assert (match.confidence[:, 8:20] == 0).all()
    assert np.isfinite(match.disparity[8:-8, 44:56]).all()
    with pytest.raises(InputError, match=r"z_far_m=0\.5 needs metres"):
        matcher(network, z_far_m=0.5)(replace(seen, rig=None))


@pytest.mark.parametrize(
    ("height", "width", "options", "words"),
    [
        (20, 64, {}, r"the pair is 64 x 20 px, and foundation-stereo needs 32 px at least"),
        (60, 60, {"scale": 0.5}, r"60 x 60 px, 30 x 30 px at scale 0\.5, and .* needs 32 px"),
        (60, 60, {"hierarchical": True}, r"needs 64 px at least .* hierarchical=False"),
    ],
)
def test_small_pairs_are_refused(
    network: FoundationStereo, height: int, width: int, options: dict[str, Any], words: str
) -> None:
    with pytest.raises(InputError, match=words):
        matcher(network, **options)(frame(height, width))


def test_one_image_is_refused(network: FoundationStereo) -> None:
    with pytest.raises(InputError, match="needs a right image"):
        matcher(network)(replace(frame(), right=None))


def test_bfloat16_agrees(network: FoundationStereo) -> None:
    seen = frame(64, 64)
    exact = matcher(network)(seen).disparity
    coarse = FoundationStereoMatcher(network, PASSPORT, matcher(network).options, torch.bfloat16)(
        seen
    ).disparity
    inner = np.s_[8:-8, 8:-8]
    assert np.nanmax(np.abs(exact - coarse)[inner]) < 1.0


def test_works_in_a_pipeline(network: FoundationStereo) -> None:
    scene = rangemask.Pipeline(stereo=matcher(network), masks=None)(frame())
    assert scene.depth is not None
    assert scene.provenance.licence_class == "research-only"


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"iterations": 0}, "iterations must be 1 or more, got 0"),
        ({"iterations": True}, "iterations must be 1 or more, got True"),
        ({"scale": 0}, "scale must be above 0 and at most 1, got 0"),
        ({"scale": 1.5}, "at most 1, got 1.5"),
        ({"hierarchical": 1}, "hierarchical must be True or False, got 1"),
        ({"max_disparity_px": 200}, "multiple of 32, got 200; 192 and 224 are near"),
        ({"max_disparity_px": 10}, "got 10; 32 and 64 are near"),
        ({"max_disparity_px": 0}, "multiple of 32, got 0"),
        ({"z_far_m": -1}, "z_far_m must be positive and finite, got -1"),
        ({"z_far_m": float("inf")}, "z_far_m must be positive and finite, got inf"),
        ({"memory_budget": "much"}, "a memory budget is an amount such as 6GB"),
        ({"attention": "rows"}, "attention must be one of disparity, heads, got 'rows'"),
        ({"iters": 8}, "has no option 'iters'; it knows iterations, scale"),
    ],
)
def test_impossible_options_are_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        rangemask.load_stereo("foundation-stereo", checkpoint="none.pth", **options)


def test_weights_have_to_be_named() -> None:
    with pytest.raises(InputError, match=r"needs checkpoint=PATH .*research use only"):
        rangemask.load_stereo("foundation-stereo")


# cfg.yaml


def test_settings_beside_the_weights(tmp_path: Path) -> None:
    weights = tmp_path / "model.pth"
    assert settings_beside(weights) == {}
    (tmp_path / "cfg.yaml").write_text(
        "vit_size: vits\nmax_disp: 320\nvalid_iters: 16\nhidden_dims: [128, 128, 128]\nlr: 1e-4\n"
    )
    found = settings_beside(weights)
    assert found == {"vit_size": "vits", "max_disp": 320, "valid_iters": 16}
    completed = FoundationStereoOptions(iterations=4).completed(found)
    assert (completed.iterations, completed.max_disparity_px) == (4, 320)
    plain = FoundationStereoOptions().completed({})
    assert (plain.iterations, plain.max_disparity_px) == (32, 416)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("vit_size: vitg", "vit_size must be vits or vitl, got 'vitg'"),
        ("corr_levels: 4", "corr_levels is 4, and FoundationStereo has 2"),
        ("max_disp: 300", "max_disparity_px must be a positive multiple of 32, got 300"),
        ("- 1", "holds no settings but a list"),
        ("a: !!python/object/apply:os.system [ls]", "cannot be read as YAML"),
        ("#" * 2_000_000, "too large for settings"),
    ],
)
def test_settings_that_cannot_be(text: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "cfg.yaml").write_text(text)
    with pytest.raises(InputError, match=words):
        settings_beside(tmp_path / "model.pth")
