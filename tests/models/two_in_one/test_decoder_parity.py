"""The decoder's published numbers, on the golden weights, through its own front door."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from rangemask.models.two_in_one import Decoded, Decoder
from support.golden import case_id, cases, filled_weights

BOUND = 1e-4
"""Relative to the largest value; the case's own noise is 2e-6."""
CASES = {path.name: path for path in cases("tio_depth") if "decoder" in path.name}
STEP = 6


def error(found: Tensor, expected: NDArray[np.float32]) -> float:
    assert found.shape == expected.shape
    return float(np.abs(found.numpy() - expected).max() / np.abs(expected).max())


def decoder_of(case: dict[str, NDArray[np.generic]]) -> Decoder:
    channels = np.asarray(case["enc_channels"]).tolist()
    decoder = Decoder(
        channels,
        out_ch=int(case["out_ch"]),
        min_disp=float(case["min_disp"]),
        max_disp=float(case["max_disp"]),
        d2d=float(case["d2d"]),
    )
    keys = "decoder" if channels[0] == 96 else "decoder_uniform128"
    decoder.load_state_dict(filled_weights("tio_depth", keys, int(case["seed"])))
    return decoder.eval()


def features(case: dict[str, NDArray[np.generic]], view: str) -> Sequence[Tensor]:
    raw = (torch.from_numpy(case[f"feat_{view}_{level}"]) for level in range(4))
    return [(value.float() - 128) / 32 for value in raw]


def check(found: Decoded, case: dict[str, NDArray[np.generic]], path: str) -> None:
    side = "_s" if path == "stereo" else ""
    for value, name in (
        (found.disparity, "disp_s"),
        (found.depth, "depth_s"),
        (found.logits[:, :, ::STEP, ::STEP], f"logits{side}_slice"),
        (found.volume[:, :, ::STEP, ::STEP], f"pvolume{side}_slice"),
    ):
        assert error(value, case[f"{path}_{name}"]) < BOUND, name  # type: ignore[arg-type]


@pytest.mark.parametrize("path", CASES.values(), ids=case_id)
def test_published_numbers(path: Path) -> None:
    case = dict(np.load(path))
    decoder, size = decoder_of(case), (int(case["height"]), int(case["width"]))
    left, right = features(case, "s"), features(case, "o")
    offsets: dict[str, Tensor] = {}
    for index in (*range(2, 13, 5), *range(3, 14, 5), 21, 22, 23):
        decoder._convs[index].register_forward_hook(
            lambda part, given, found, n=index: offsets.update({str(n): found})
        )
    with torch.inference_mode():
        mono = decoder(left, size=size)
        refined = decoder(left, size=size, path="refine")
        by_path = dict(offsets)
        pair = decoder(left, right, size, torch.from_numpy(case["direct"]))
        other = decoder(right, size=size)
        alone = decoder(left, right, size, torch.from_numpy(case["direct"]), both=False)
    check(mono, case, "mono")
    check(refined, case, "refine")
    check(pair, case, "stereo")
    assert error(other.disparity, case["mono_disp_o"]) < BOUND
    assert pair.other is not None
    assert error(pair.other.disparity, case["stereo_disp_o"]) < BOUND
    levels = decoder.levels(left[0]).view(1, -1, 1, 1)
    for index, scale in enumerate((3, 2, 1)):
        for side, view in (("s", pair), ("o", pair.other)):
            seen = (view.costs[index].softmax(1) * levels).sum(1, keepdim=True)
            assert error(seen, case[f"cost_disp_{scale}_{side}"]) < BOUND
        matched = pair.costs[index].softmax(1)
        step = max(1, matched.shape[2] // STEP)
        assert error(matched[:, :, ::step, ::step], case[f"cost_p_{scale}_s_slice"]) < BOUND
        assert error(by_path[str(21 + index)], case[f"refine_offset_{scale}_enc"]) < BOUND
    assert alone.other is None
    torch.testing.assert_close(alone.disparity, pair.disparity)


@pytest.mark.parametrize("path", [p for p in CASES.values() if "batch2" in p.name], ids=case_id)
def test_offsets_of_the_skip_connections(path: Path) -> None:
    case = dict(np.load(path))
    decoder, found = decoder_of(case), {}
    for scale, first in ((3, 2), (2, 7), (1, 12)):
        for index, name in ((first, "dec"), (first + 1, "enc")):
            decoder._convs[index].register_forward_hook(
                lambda part, given, out, key=f"mono_offset_{scale}_{name}": found.update({key: out})
            )
    with torch.inference_mode():
        decoder(features(case, "s"), size=(int(case["height"]), int(case["width"])))
    assert len(found) == 6
    for name, offset in found.items():
        assert error(offset, case[name]) < BOUND
