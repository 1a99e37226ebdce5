"""The published numbers of SAM 2.1, through the segmenter that users load."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import rangemask
from rangemask.backends.masks.prompting import PromptAnswer
from rangemask.backends.masks.sam2 import Sam2Image
from support.golden import case_id, cases, filled_weights, relative_error

SIZES = {"t": "tiny", "s": "small", "b+": "base-plus", "l": "large"}
KEYS = {"base-plus": "base_plus"}
CASES = {path.name: path for path in cases("sam2")}


def load(case: Any, folder: Path) -> Any:
    size = SIZES[str(case["model"]).rpartition("_")[2].removesuffix(".yaml")]
    weights = filled_weights("sam2", f"hiera_{KEYS.get(size, size)}", int(case["seed"]))
    checkpoint = folder / f"sam2.1_hiera_{size}.pt"
    torch.save({"model": weights}, checkpoint)
    return rangemask.load_masks(f"sam2.1-{size}", checkpoint=checkpoint, device="cpu")


def check_features(encoded: Sam2Image, case: Any) -> None:
    embedding, middle, fine = (level[0].numpy() for level in encoded.features[:3])
    assert relative_error(embedding[::16], case["image_embed"]) < 1e-5
    assert relative_error(fine[::8, ::8, ::8], case["high_res_0"]) < 1e-5
    assert relative_error(middle[::8, ::4, ::4], case["high_res_1"]) < 1e-5


def check(answer: PromptAnswer, case: Any, kind: str) -> None:
    (low,), (iou,) = answer.low_res_logits, answer.iou
    assert low.shape[1:] == (256, 256)
    assert relative_error(low[:, ::2, ::2], case[f"{kind}_low"]) < 1e-5
    assert relative_error(iou, case[f"{kind}_iou"]) < 1e-5
    if f"{kind}_area" in case:
        areas = answer.masks[0].sum((1, 2))
        # One pixel in ten thousand may lie on the very edge.
        np.testing.assert_allclose(areas, case[f"{kind}_area"], rtol=1e-4)


@pytest.mark.parametrize("path", CASES.values(), ids=case_id)
def test_published_numbers(path: Path, tmp_path: Path) -> None:
    case = np.load(path)
    encoded = load(case, tmp_path).encode(case["image_rgb"])
    check_features(encoded, case)
    first, second = case["points"].tolist()
    one = encoded.predict(points=[[first]], point_labels=[[1]])
    kinds = {
        "point_multi": encoded.predict([[first]], [[1]], multimask=True),
        "points_single": encoded.predict([[first, second]], [[1, 0]]),
        "box": encoded.predict(boxes=[case["box"].tolist()]),
        "box_point": encoded.predict([[second]], [[0]], boxes=[case["box"].tolist()]),
        "mask_prompt": encoded.predict([[first, second]], [[1, 0]], mask_input=one.low_res_logits),
    }
    for kind, answer in kinds.items():
        assert answer.masks.shape[2:] == case["image_rgb"].shape[:2]
        check(answer, case, kind)
    # Prompts of different lengths at once are each what they are alone.
    both = encoded.predict([[first], [first, second]], [[1], [1, 0]])
    check(
        PromptAnswer(both.masks[1:], both.iou[1:], both.low_res_logits[1:]), case, "points_single"
    )
    np.testing.assert_allclose(both.iou[0], one.iou[0], rtol=1e-5)
