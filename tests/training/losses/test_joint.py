"""Loss of all heads together."""

import json
from dataclasses import asdict, fields, replace

import pytest
import torch
from torch import Tensor

from rangemask.errors import InputError
from rangemask.models.config import HEADS
from rangemask.models.plain import from_plain
from rangemask.models.rangemask import RangeMask, RangeMaskOutput
from rangemask.training.batch import Batch
from rangemask.training.losses import (
    DepthLossConfig,
    FusionLossConfig,
    HeadWeights,
    JointLossConfig,
    NothingKnownError,
    SemanticLossConfig,
    depth_loss,
    joint_loss,
    stereo_loss,
)
from rangemask.training.losses.joint import limits_of
from rangemask.training.losses.loss import Loss, check_range, connected_zero
from support.students import nano_student


@pytest.fixture(scope="module")
def model() -> RangeMask:
    return nano_student().train()


@pytest.fixture
def batch(squares: tuple[Tensor, ...]) -> Batch:
    return Batch(
        names=("a", "b"),
        images=torch.rand(2, 3, 56, 56),
        right_images=torch.rand(2, 3, 56, 56),
        disparity=10 * torch.rand(2, 56, 56),
        depth=1 + torch.rand(2, 56, 56),
        semantic=torch.randint(0, 3, (2, 56, 56)),
        masks=squares,
        mask_classes=(torch.tensor([0, 1]), torch.tensor([1])),
    )


def said(model: RangeMask, batch: Batch) -> RangeMaskOutput:
    output: RangeMaskOutput = model(
        batch.images, batch.right_images, deep_supervision=True, all_iterates=True
    )
    return output


def joint(model: RangeMask, output: RangeMaskOutput, batch: Batch, **weights: float) -> Loss:
    config = JointLossConfig(weights=HeadWeights(**weights))
    generator = torch.Generator().manual_seed(0)
    return joint_loss(model, output, batch, config, generator=generator)


def test_it_is_the_weighted_sum_of_the_heads(model: RangeMask, batch: Batch) -> None:
    output = said(model, batch)
    loss = joint(model, output, batch, depth=2.0, masks=0.5)
    heads = {name: part for name, part in loss.parts.items() if "/" not in name}
    assert set(heads) == set(HEADS)
    weights = {"depth": 2.0, "masks": 0.5}
    expected = sum(weights.get(name, 1.0) * part for name, part in heads.items())
    torch.testing.assert_close(loss.total.detach(), torch.as_tensor(expected))
    depth_px, disparity_px = limits_of(model.config)
    assert (depth_px, disparity_px) == (10, 96)
    assert output.depth is not None
    assert output.stereo is not None
    alone = depth_loss(output.depth, batch, max_depth_m=10).total
    torch.testing.assert_close(heads["depth"], alone.detach())
    alone = stereo_loss(output.stereo, batch, max_disparity_px=96).total
    torch.testing.assert_close(heads["stereo"], alone.detach())
    assert not any(part.requires_grad for part in loss.parts.values())


def test_every_trained_parameter_learns(model: RangeMask, batch: Batch) -> None:
    model.zero_grad()
    for seed in range(2):
        torch.manual_seed(seed)
        joint_loss(model, said(model, batch), batch).total.backward()
    silent = [
        name
        for name, part in model.named_parameters()
        if part.requires_grad and part.grad is None and "prompts.encoder" not in name
    ]
    assert silent == []


def test_a_head_of_weight_zero_needs_no_labels(model: RangeMask, batch: Batch) -> None:
    output = said(model, batch)
    for head in HEADS:
        only = HeadWeights.only(head)
        loss = joint_loss(model, output, batch, JointLossConfig(weights=only))
        assert {name.partition("/")[0] for name in loss.parts} == {head}
    bare = replace(batch, masks=None, mask_classes=None, semantic=None, disparity=None)
    weights = JointLossConfig(weights=HeadWeights.only("depth"))
    assert set(joint_loss(model, output, bare, weights).parts) == {"depth", "depth/silog"}
    with pytest.raises(InputError, match="learns from semantic labels"):
        joint_loss(model, output, replace(batch, semantic=None))


def test_a_head_that_nothing_is_known_for_waits(model: RangeMask, batch: Batch) -> None:
    """Its gradients are 0, not missing, for training on several processes."""
    unknown = replace(batch, disparity=torch.full((2, 56, 56), torch.nan))
    weights = {"prompts": 0.0, "semantic": 0.0, "fusion": 0.0}
    model.zero_grad()
    loss = joint(model, said(model, batch), unknown, **weights)
    assert {name for name in loss.parts if "/" not in name} == {"depth", "masks"}
    assert loss.skipped == ("a", "b")
    loss.total.backward()
    assert model.stereo is not None
    grads = [part.grad for part in model.stereo.parameters()]
    assert all(grad is not None and not grad.any() for grad in grads)
    with pytest.raises(NothingKnownError, match="known disparity"):
        joint(model, said(model, batch), unknown, depth=0.0, masks=0.0, **weights)


def test_frames_that_are_left_out_are_named_once(model: RangeMask, batch: Batch) -> None:
    assert batch.disparity is not None
    assert batch.depth is not None
    holes = replace(batch, disparity=batch.disparity.clone(), depth=batch.depth.clone())
    assert holes.disparity is not None
    assert holes.depth is not None
    holes.disparity[1] = holes.depth[1] = torch.nan
    assert joint(model, said(model, batch), holes).skipped == ("b",)


def test_nothing_to_learn_speaks(model: RangeMask, batch: Batch) -> None:
    with pytest.raises(InputError, match="nothing to learn"):
        joint_loss(model, RangeMaskOutput(), batch)
    with pytest.raises(InputError, match="one head must have a weight"):
        HeadWeights.only()
    with pytest.raises(InputError, match="no head dept; known: depth"):
        HeadWeights.only("dept")
    with pytest.raises(InputError, match="the weight of masks must be in"):
        HeadWeights(masks=-1.0)
    assert tuple(entry.name for entry in fields(HeadWeights)) == HEADS


def test_settings_survive_plain_values() -> None:
    """As run folders keep them."""
    config = JointLossConfig(
        semantic=SemanticLossConfig(class_weights=(1.0, 2.0)),
        fusion=FusionLossConfig(depth=DepthLossConfig(kind="log-l1")),
    )
    text = json.dumps(asdict(config))
    assert from_plain(JointLossConfig, json.loads(text), "loss") == config


def test_a_connected_zero_is_zero_whatever_it_hangs_on() -> None:
    wild = torch.tensor([torch.nan, torch.inf, 1.0], requires_grad=True)
    zero = connected_zero(wild)
    zero.backward()
    assert zero == 0
    assert wild.grad is not None
    assert (wild.grad == 0).all()


def test_ranges_speak_of_what_is_open() -> None:
    check_range("x", 1, 0, 1)
    with pytest.raises(InputError, match=r"x must be in \(0, 1\], got 0."):
        check_range("x", 0, 0, 1, open_=True)
    with pytest.raises(InputError, match=r"x must be in \[0, inf\), got inf."):
        check_range("x", float("inf"), 0)
