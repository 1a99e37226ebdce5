"""Rendered pairs with exact truth as examples of training, and how well a pair fits."""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import torch
from torch import Tensor

from rangemask.data.sample import Sample
from rangemask.data.synthetic import SensorConfig, random_scene, render
from rangemask.geometry import Rig
from rangemask.structures import DepthMap, MaskSet
from rangemask.training.batch import Example
from rangemask.training.examples import Wanted

RIG = Rig.rectified(fx=150.0, cx=79.5, cy=59.5, baseline_m=0.25, width=160, height=120)
STEREO = Wanted(needs=frozenset({"right", "disparity"}))
DENSE = Wanted(
    needs=frozenset({"right", "disparity", "depth", "semantic"}),
    classes=("floor", "wall", "object", "person"),
)
ALL = Wanted(needs=DENSE.needs | {"masks"}, classes=DENSE.classes, partial=True)


def sample_of(seed: int) -> Sample:
    """The weight is 1 where both eyes see the surface."""
    made = render(random_scene(seed), RIG, sensor=SensorConfig(noise=0), samples=2, name=f"s{seed}")
    assert made.disparity is not None
    assert made.occluded is not None
    masks = made.masks()
    return Sample(
        frame=made.frame,
        sequence=f"s{seed}",
        disparity=made.disparity,
        depth=DepthMap(values=made.depth_m),
        weight=(~made.occluded).astype(np.float32),
        masks=MaskSet.from_dense(masks, labels=[thing.name for thing in made.objects]),
        semantic=made.semantic,
    )


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def misfit(example: Example, disparity: Tensor) -> float:
    """How badly the right image fits the left one when it is moved by a disparity.

    The mean difference over pixels that both eyes see, clipped, so that a rectangle that
    hides something does not decide, after the best gain and offset for each colour.
    """
    assert example.right_image is not None
    assert example.weight is not None
    assert example.disparity is not None
    width = example.image.shape[-1]
    match = torch.arange(width) - disparity
    low = match.floor().clamp(0, width - 2)
    share = match - low
    index = torch.nan_to_num(low).long().expand(3, -1, -1)
    warped = example.right_image.gather(-1, index).lerp(
        example.right_image.gather(-1, index + 1), torch.nan_to_num(share)
    )
    counts = (example.weight > 0.5) & torch.isfinite(example.disparity)
    counts &= (match >= 0) & (match <= width - 1)
    assert counts.sum() > 100
    errors = []
    for seen, moved in zip(example.image[:, counts], warped[:, counts], strict=True):
        terms = torch.stack([moved, torch.ones_like(moved)], dim=1)
        fitted = torch.linalg.lstsq(terms, seen[:, None]).solution
        errors.append((seen - (terms @ fitted)[:, 0]).abs().clamp(max=0.15).mean())
    return float(torch.stack(errors).mean())


def assert_pair_fits(example: Example, *, share: float = 0.6) -> None:
    """The labels fit the images, and clearly better than any of the usual mistakes."""
    disparity = example.disparity
    assert disparity is not None
    assert not bool((disparity < 0).any())
    error = misfit(example, disparity)
    wrong = {
        "0.9": disparity * 0.9,
        "1.1": disparity * 1.1,
        "sign": -disparity,
        "zero": torch.zeros_like(disparity),
    }
    for what, mistake in wrong.items():
        assert error < share * misfit(example, mistake), what


def assert_same(first: Example, second: Example) -> None:
    for entry in fields(Example):
        a, b = getattr(first, entry.name), getattr(second, entry.name)
        if isinstance(a, torch.Tensor):
            torch.testing.assert_close(a, b, rtol=0, atol=0, equal_nan=True)
        else:
            assert a == b
