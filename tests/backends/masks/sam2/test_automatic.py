"""Everything in an image: what is kept, at what cost."""

import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pycocotools import mask as coco
from torch.utils._python_dispatch import TorchDispatchMode
from torchvision.ops import masks_to_boxes, nms

from rangemask.backends.masks.sam2 import Sam2MasksConfig, Sam2Segmenter, automatic
from rangemask.backends.masks.sam2.automatic import AutomaticConfig, crops_of, find_everything
from rangemask.backends.masks.sam2.cleaning import AT_ONCE, distinct, without_specks
from rangemask.errors import InputError
from rangemask.models.sam2.prompting import Sam2Answer, stability
from rangemask.structures import MaskSet, StereoFrame
from rangemask.structures.masks import encode_masks
from support.sam2 import PASSPORT, nano_sam2, picture

SIDE, LOW = 128, 32
"""Of the nano network's input, and of its masks."""


@pytest.fixture(scope="module")
def network() -> Any:
    return nano_sam2()


def discs(
    rows: int, columns: int, low: int = LOW, radius: float = 0.4
) -> Callable[..., Sam2Answer]:
    """Stands in for the decoder: every point finds the disc of its cell, and the better a cell
    the further right and down it lies; and twice a mask that must not be kept.
    """
    centres = (torch.arange(low) + 0.5) / low

    def decode_sure(_network: Any, _features: Any, points: torch.Tensor, least: float) -> Any:
        share = points / SIDE
        x = ((share[:, 0] * columns).floor() + 0.5) / columns
        y = ((share[:, 1] * rows).floor() + 0.5) / rows
        away_x = (centres[None, None, :] - x[:, None, None]) * columns
        away_y = (centres[None, :, None] - y[:, None, None]) * rows
        good = (1e6 * (radius - (away_x**2 + away_y**2).sqrt())).clamp(-30, 30)
        unsure = torch.where(good > 0, 0.5, -0.5)
        iou = 0.9 + 0.04 * x + 0.05 * y
        nothing = torch.full_like(good, -5.0)
        logits = torch.stack([good, unsure, nothing], dim=1).flatten(0, 1)
        scores = iou.repeat_interleave(3)
        return Sam2Answer(logits[scores >= least], scores[scores >= least])

    return decode_sure


def test_every_disc_is_found_once(network: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """In its place, at its size, best first; masks that are unstable or empty are left out."""
    monkeypatch.setattr(automatic, "decode_sure", discs(3, 4))
    image = picture(90, 160)
    found = find_everything(network, image, AutomaticConfig(points_per_side=12))
    assert len(found) == 12
    assert set(found.labels) == {"object"}
    assert list(found.scores) == sorted(found.scores, reverse=True)
    centres = [(x + w / 2, y + h / 2) for x, y, w, h in (rle.box for rle in found.rles)]
    expected = [(20 + 40 * c, 15 + 30 * r) for r in range(3) for c in range(4)]
    best_first = sorted(expected, key=lambda p: -(0.04 * p[0] / 160 + 0.05 * p[1] / 90))
    np.testing.assert_allclose(centres, best_first, atol=2)
    areas = [rle.area for rle in found.rles]
    np.testing.assert_allclose(areas, np.pi * 0.16 * 40 * 30, rtol=0.1)


@pytest.mark.parametrize(
    ("options", "count"),
    [
        ({"min_iou": 0.96}, 4),
        ({"min_iou": 1.0}, 0),
        ({"min_stability": 1.0}, 12),
        ({"min_stability": 0.0, "stability_delta": 0.1}, 12),
        ({"max_masks": 5}, 5),
        ({"points_per_side": 1}, 1),
        ({"points_per_batch": 1}, 12),
        ({"points_per_batch": 1000}, 12),
        ({"nms_iou": 1.0}, 144),
    ],
)
def test_options_decide_what_is_kept(
    network: Any, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any], count: int
) -> None:
    monkeypatch.setattr(automatic, "decode_sure", discs(3, 4))
    config = AutomaticConfig(**{"points_per_side": 12, **options})
    found = find_everything(network, picture(90, 160), config)
    if "min_iou" in options:
        count = sum(
            0.9 + 0.01 * (c + 0.5) + (r + 0.5) / 60 >= options["min_iou"]
            for r in range(3)
            for c in range(4)
        )
    assert len(found) == count
    if "max_masks" in options:
        every = find_everything(network, picture(90, 160), AutomaticConfig(points_per_side=12))
        assert found.rles == every.rles[:count]


def test_a_full_pool_is_thinned_on_the_way(network: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same in the end, with less held."""
    monkeypatch.setattr(automatic, "decode_sure", discs(3, 4))
    config = AutomaticConfig(points_per_side=12, points_per_batch=8)
    expected = find_everything(network, picture(90, 160), config)
    monkeypatch.setattr(automatic, "_POOLED", 14)
    assert find_everything(network, picture(90, 160), config) == expected


def reference(network: Any, image: Any, config: AutomaticConfig) -> list[Any]:
    """The same point by point, in plain words; masks (H, W) by score."""
    encoded = Sam2Segmenter(network, PASSPORT).encode(image)
    height, width = image.shape[:2]
    cells = (np.arange(config.points_per_side) + 0.5) / config.points_per_side
    logits, scores, dense = [], [], []
    for y in cells * height:
        for x in cells * width:
            answer = encoded.predict([[(x, y)]], multimask=True)
            for low, iou, mask in zip(
                answer.low_res_logits[0], answer.iou[0], answer.masks[0], strict=True
            ):
                flat = torch.from_numpy(low).flatten()
                stable = float(stability(flat, config.stability_delta))
                if iou >= config.min_iou and stable >= config.min_stability and (low > 0).any():
                    logits.append(torch.from_numpy(low))
                    scores.append(float(iou))
                    dense.append(mask)
    boxes = masks_to_boxes(torch.stack(logits) > 0) + torch.tensor([0, 0, 1, 1])
    kept = nms(boxes, torch.tensor(scores), config.nms_iou).tolist()
    once = distinct(encode_masks(np.stack([dense[i] for i in kept])), config.nms_iou)
    return [(scores[kept[i]], dense[kept[i]]) for i in once]


def test_a_grid_finds_what_its_points_find_one_by_one(network: Any) -> None:
    config = AutomaticConfig(
        points_per_side=5,
        points_per_batch=7,
        min_iou=0.45,
        min_stability=0.3,
        nms_iou=0.95,
        min_region_px=0,
    )
    image = picture(60, 90)
    expected = reference(network, image, config)
    found = find_everything(network, image, config)
    assert len(expected) > 2
    assert len(found) == len(expected)
    for mask, score, (score_alone, alone) in zip(found, found.scores, expected, strict=True):
        assert score == pytest.approx(score_alone, abs=1e-5)
        assert (mask != alone).mean() < 1e-3


class Largest(TorchDispatchMode):
    """Notes the bytes of the largest tensor that is made."""

    def __init__(self) -> None:
        super().__init__()
        self.bytes = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        result = func(*args, **(kwargs or {}))
        parts = result if isinstance(result, tuple | list) else [result]
        for part in parts:
            if isinstance(part, torch.Tensor):
                self.bytes = max(self.bytes, part.nbytes)
        return result


def test_memory_does_not_grow_with_full_size_masks(
    network: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """225 objects in a megapixel: 225 MB as masks, of which no more than a few exist at once."""
    monkeypatch.setattr(automatic, "decode_sure", discs(15, 15, low=128, radius=0.35))
    image = np.zeros((1000, 1000, 3), np.uint8)
    config = AutomaticConfig(points_per_side=15, points_per_batch=16)
    find_everything(network, image[:64, :64], config)  # what is only made once
    tracemalloc.start()
    with Largest() as largest:
        found = find_everything(network, image, config)
    _, peak_bytes = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(found) == 225
    whole = 1000 * 1000
    # The image as floats, or some masks, or all masks at low resolution.
    assert largest.bytes <= max(3 * 4 * whole, AT_ONCE * whole, 256 * 4 * 128**2)
    assert peak_bytes < 4 * AT_ONCE * whole < 225 * whole


# Crops


@settings(deadline=None, max_examples=60)
@given(
    height=st.integers(32, 500),
    width=st.integers(32, 500),
    layers=st.integers(0, 2),
    overlap=st.floats(0, 0.5),
)
def test_crops_cover_the_image_and_overlap(
    height: int, width: int, layers: int, overlap: float
) -> None:
    crops = crops_of(height, width, AutomaticConfig(crop_layers=layers, crop_overlap=overlap))
    assert crops[0][:4] == (0, 0, width, height)
    assert len(crops) == sum(4**layer for layer in range(layers + 1))
    for layer in range(layers + 1):
        seen = np.zeros((height, width), dtype=int)
        for crop in crops:
            if crop.layer == layer:
                assert 0 <= crop.left < crop.right <= width
                assert 0 <= crop.top < crop.bottom <= height
                seen[crop.top : crop.bottom, crop.left : crop.right] += 1
        assert seen.min() >= 1


def test_crops_find_smaller_things(network: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A disc per crop beside that of the whole image; those that a crop cuts off are not kept."""
    monkeypatch.setattr(automatic, "decode_sure", discs(1, 1, radius=0.3))
    image = picture(120, 120)
    config = AutomaticConfig(points_per_side=2, crop_layers=1, crop_overlap=0.0)
    found = find_everything(network, image, config)
    assert len(found) == 5
    sizes = sorted(rle.box[2] for rle in found.rles)
    np.testing.assert_allclose(sizes, [36, 36, 36, 36, 72], atol=3)
    assert all((rle.height, rle.width) == (120, 120) for rle in found.rles)
    monkeypatch.setattr(automatic, "decode_sure", discs(1, 1, radius=0.6))
    # As large as their crop: only that of the whole image remains.
    assert len(find_everything(network, image, config)) == 1


def test_a_thing_seen_in_two_crops_is_one(network: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    calls = []
    plain = discs(1, 1, radius=0.3)

    def same_in_all(_network: Any, features: Any, points: Any, least: float) -> Any:
        calls.append(len(points))
        return plain(None, features, points, least)

    monkeypatch.setattr(automatic, "decode_sure", same_in_all)
    config = AutomaticConfig(
        points_per_side=4,
        points_per_batch=16,
        crop_layers=1,
        crop_overlap=1.0,
        crop_points_divisor=2,
    )
    # Crops that overlap by all of the image are the image.
    assert len(find_everything(network, picture(80, 80), config)) == 1
    assert calls == [16, 4, 4, 4, 4]


# Cleaning


MASKS = st.lists(st.lists(st.booleans(), min_size=14, max_size=14), min_size=10, max_size=10).map(
    np.array
)


@settings(deadline=None, max_examples=100)
@given(mask=MASKS, least=st.integers(0, 30))
def test_cleaning_a_clean_mask_changes_nothing(mask: Any, least: int) -> None:
    clean = without_specks(mask, least)
    assert clean.shape == mask.shape
    assert clean.any() == mask.any()
    np.testing.assert_array_equal(without_specks(clean, least), clean)


def test_specks_and_pinholes_go_and_the_rest_stays() -> None:
    mask = np.zeros((40, 50), bool)
    mask[5:30, 5:30] = True
    plain = mask.copy()
    mask[10:12, 10:12] = False  # a pinhole
    mask[35:37, 40:43] = True  # a speck
    np.testing.assert_array_equal(without_specks(mask, 10), plain)
    np.testing.assert_array_equal(without_specks(mask, 4), mask)
    np.testing.assert_array_equal(without_specks(mask, 0), mask)
    mask[20:28, 12:28] = False  # a real hole
    assert not without_specks(mask, 10)[20:28, 12:28].any()


def test_what_is_small_as_a_whole_stays() -> None:
    mask = np.zeros((20, 20), bool)
    mask[3:5, 3:5] = True
    mask[10, 10] = True
    clean = without_specks(mask, 100)
    assert clean.sum() == 4
    assert clean[3:5, 3:5].all()


def test_a_bay_at_the_border_is_no_hole() -> None:
    mask = np.ones((20, 20), bool)
    mask[0:2, 5:7] = False
    np.testing.assert_array_equal(without_specks(mask, 100), mask)


def test_repetitions_are_dropped_in_order() -> None:
    masks = np.zeros((4, 20, 20), bool)
    masks[0, 2:12, 2:12] = True
    masks[1, 2:12, 2:11] = True  # IoU 0.9 with the first
    masks[2, 2:12, 2:6] = True  # IoU 0.4
    masks[3, 15:18, 15:18] = True
    rles = encode_masks(masks)
    assert distinct(rles, 0.7) == [0, 2, 3]
    assert distinct(rles, 0.95) == [0, 1, 2, 3]
    assert distinct(rles, 0.3) == [0, 3]
    assert distinct([], 0.5) == []


# The segmenter


def test_results_are_distinct_and_sorted(network: Any) -> None:
    config = Sam2MasksConfig(
        points_per_side=6, min_iou=0.4, min_stability=0.2, nms_iou=0.9, min_region_px=4
    )
    segmenter = Sam2Segmenter(network, PASSPORT, config)
    frame = StereoFrame(picture(60, 90))
    found = segmenter(frame)
    assert len(found) > 1
    assert isinstance(found.masks, MaskSet)
    assert all(0.4 <= score <= 1 for score in found.scores)
    assert list(found.scores) == sorted(found.scores, reverse=True)
    coded = [rle.to_coco() for rle in found.masks.rles]
    overlaps = coco.iou(coded, coded, [0] * len(coded)) - np.eye(len(coded))
    assert overlaps.max() <= 0.9
    assert segmenter(frame, labels=("object",)).masks == found.masks


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"points_per_side": 0}, "points_per_side must be a whole number of at least 1, got 0"),
        ({"points_per_side": 2.5}, r"whole number of at least 1, got 2\.5"),
        ({"points_per_batch": True}, "whole number of at least 1, got True"),
        ({"max_masks": 0}, "max_masks must be a whole number"),
        ({"min_region_px": -1}, "min_region_px must be a whole number of at least 0"),
        ({"crop_layers": -1}, "crop_layers must be"),
        ({"min_iou": 1.5}, r"min_iou must be in \[0, 1\], got 1\.5"),
        ({"min_stability": -0.1}, r"min_stability must be in \[0, 1\]"),
        ({"nms_iou": float("nan")}, r"nms_iou must be in \[0, 1\], got nan"),
        ({"stability_delta": -1.0}, "stability_delta must not be negative"),
    ],
)
def test_impossible_options_are_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(InputError, match=words):
        Sam2MasksConfig(**options)


def test_a_network_that_is_sure_of_nothing_finds_nothing(network: Any) -> None:
    segmenter = Sam2Segmenter(network, PASSPORT, Sam2MasksConfig(min_iou=1.0, points_per_side=2))
    found = segmenter(StereoFrame(picture(60, 90)))
    assert len(found) == 0
    assert (found.masks.height, found.masks.width) == (60, 90)


def test_strips_are_refused(network: Any) -> None:
    segmenter = Sam2Segmenter(network, PASSPORT)
    with pytest.raises(InputError, match=r"16 times as long as wide"):
        segmenter(StereoFrame(np.zeros((4, 90, 3), np.uint8)))
