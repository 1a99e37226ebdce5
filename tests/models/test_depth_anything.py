"""The published numbers of Depth Anything V2, from the authors' files and transformers'."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

import rangemask
from rangemask.backends.depth.depth_anything import network_input, network_size
from rangemask.structures import StereoFrame
from support.golden import case_id, cases, relative_error

SIZES = {"depth_anything_v2_vits": ("small", "vits"), "depth_anything_v2_vitb": ("base", "vitb")}
KINDS = {0.0: "", 20.0: "-metric-indoor", 80.0: "-metric-outdoor"}


@pytest.mark.parametrize("path", cases("depth_anything_v2"), ids=case_id)
def test_published_numbers(path: Path, filled_checkpoint: Callable[..., Path]) -> None:
    case = np.load(path)
    size, keys = SIZES[str(case["model"])]
    kind = KINDS[float(case["metric_max_depth"])]
    model = rangemask.load_depth(
        f"depth-anything-v2-{size}{kind}",
        checkpoint=filled_checkpoint("depth_anything_v2", keys, int(case["seed"])),
        device="cpu",
    )
    image = case["image_rgb"]
    expected_size = tuple(case["network_input_size"].tolist())
    assert network_size(*image.shape[:2], 518) == expected_size
    prepared = network_input(image, expected_size)
    np.testing.assert_allclose(
        prepared[:, ::16, ::16], case["network_input_slice"], rtol=0, atol=1e-5
    )
    found = model(StereoFrame(image))
    assert found.kind == ("metric_m" if kind else "relative_inverse")
    step = int(case.get("depth_step", 1))
    assert found.values.shape == image.shape[:2]
    assert relative_error(found.values[::step, ::step], case["depth"]) < 1e-5
    assert model.passport.licence_class == ("commercial-ok" if size == "small" else "research-only")
