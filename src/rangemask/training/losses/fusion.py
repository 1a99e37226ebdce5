"""Loss of the fusion head: the refined map and the refined masks, borders maybe more."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import torch
from torch import Tensor
from torch.nn import functional as F

from rangemask.errors import InputError
from rangemask.models.heads.masks.automatic import MaskOutput
from rangemask.models.rangemask import RangeMaskOutput
from rangemask.training.batch import Batch
from rangemask.training.losses.depth import DepthLossConfig, depth_truth, map_loss
from rangemask.training.losses.loss import (
    Loss,
    NothingKnownError,
    check_range,
    check_shape,
    connected_zero,
    full_precision,
    loss_of_frames,
)
from rangemask.training.losses.mask_terms import mask_divergence
from rangemask.training.losses.masks import MaskLossConfig
from rangemask.training.losses.matching import match, mean_per_frame, objects_of, shares_of
from rangemask.training.losses.stereo import disparity_truth


@dataclass(frozen=True, kw_only=True, slots=True)
class FusionLossConfig:
    """Weights of depth, masks and borders.

    Raises:
        InputError: a number is impossible.
    """

    depth_weight: float = 0.5
    """Of the map, whichever the head refines: disparity of a pair, or else depth."""
    mask_weight: float = 0.5
    """Of the cross-entropy of matched masks."""
    depth: DepthLossConfig | None = None
    """How the map is compared: ``l1`` in its own unit, ``log-l1`` relative to the distance. None:
    ``l1``, or ``ssi`` for relative depth, which has no unit."""
    matching: MaskLossConfig = field(default_factory=MaskLossConfig)
    """What assigns queries to objects; compares masks on the whole grid."""
    border_weight: float = 0.0
    """How much more pixels near the border of an object count: 3 makes them count 4 times."""
    border_px: int = 4
    """How near, in px."""

    def __post_init__(self) -> None:
        for name in ("depth_weight", "mask_weight", "border_weight"):
            check_range(name, getattr(self, name), 0)
        check_range("border_px", self.border_px, 1)
        if self.depth_weight + self.mask_weight == 0:
            raise InputError("one of depth_weight and mask_weight must be above 0.")


def fusion_loss(
    output: RangeMaskOutput,
    batch: Batch,
    config: FusionLossConfig | None = None,
    *,
    max_depth_m: float | None = None,
    max_disparity_px: float | None = None,
    inverse_truth: bool = False,
) -> Loss:
    """0.5 L1 of the map + 0.5 cross-entropy of the masks, as the fusion head left them.

    What the model does not have, or what weighs 0, is left out.

    Args:
        output: of a student with a fusion head.
        batch: with disparity or depth, and with masks.
        config: weights; None for the defaults.
        max_depth_m: of a metric depth head; None for a relative one.
        max_disparity_px: of the stereo head; nearer pixels are left out.
        inverse_truth: the batch's depth is relative inverse depth.

    Raises:
        InputError: labels are missing, of another shape or of other classes.
        NothingKnownError: nothing is known of any frame.
    """
    config = FusionLossConfig() if config is None else config
    importance = _importance(batch, config)
    losses: dict[str, tuple[float, Loss]] = {}
    unknown: NothingKnownError | None = None
    if config.depth_weight and (output.stereo is not None or output.depth is not None):
        try:
            predicted, truth, known, compare = _map_and_truth(
                output, batch, config.depth, max_depth_m, max_disparity_px, inverse_truth
            )
            found = map_loss(predicted, truth, known, batch, compare, importance=importance)
            losses["depth"] = config.depth_weight, found
        except NothingKnownError as error:
            unknown = error
    if config.mask_weight and output.masks is not None:
        masks = _masks_loss(output.masks, batch, config, importance)
        losses["mask"] = config.mask_weight, masks
    if not losses:
        raise unknown or InputError("there is neither a map nor a mask that fusion has refined.")
    total = torch.stack([weight * loss.total for weight, loss in losses.values()]).sum()
    if unknown is not None:
        refined = output.depth if output.stereo is None else output.stereo.disparity_px
        total = total + connected_zero(*([] if refined is None else [refined]))
    return Loss(
        total,
        {name: torch.stack(list(loss.parts.values())).sum() for name, (_, loss) in losses.items()},
        batch.names if unknown else _skipped(losses),
    )


def near_borders(masks: Sequence[Tensor], size: tuple[int, int], radius_px: int) -> Tensor:
    """Pixels near the border between two objects, or of an object and what is none.

    Args:
        masks: per frame (N, H, W) bool.
        size: H, W.
        radius_px: how near.

    Returns:
        (B, H, W) float32, 1 near a border.

    Raises:
        InputError: masks have another size.
    """
    ids = []
    for found in masks:
        check_shape("masks", found, (len(found), *size))
        number = torch.arange(1, len(found) + 1, device=found.device)
        last = (found * number[:, None, None]).amax(0) if len(found) else found.new_zeros(size)
        ids.append(last.float())
    window = 2 * radius_px + 1
    widest = _largest_near(torch.stack(ids)[:, None], window)
    narrowest = -_largest_near(-torch.stack(ids)[:, None], window)
    return (widest != narrowest)[:, 0].float()


def _largest_near(values: Tensor, window: int) -> Tensor:
    half = window // 2
    along = F.max_pool2d(values, (1, window), stride=1, padding=(0, half))
    return F.max_pool2d(along, (window, 1), stride=1, padding=(half, 0))


def _importance(batch: Batch, config: FusionLossConfig) -> Tensor | None:
    """(B, H, W), more than 1 near borders; None where all pixels count the same."""
    if not config.border_weight:
        return None
    if batch.masks is None:
        raise InputError("border_weight needs instance masks, and these frames have none.")
    size = (batch.images.shape[-2], batch.images.shape[-1])
    return 1 + config.border_weight * near_borders(batch.masks, size, config.border_px)


def _map_and_truth(
    output: RangeMaskOutput,
    batch: Batch,
    config: DepthLossConfig | None,
    max_depth_m: float | None,
    max_disparity_px: float | None,
    inverse_truth: bool,
) -> tuple[Tensor, Tensor, Tensor, DepthLossConfig]:
    """The refined map, what it should be and where that is known, and how to compare them."""
    if output.stereo is not None:
        if batch.disparity is None:
            raise InputError("fusion refines a disparity here, and these frames have none.")
        truth, known = disparity_truth(batch.disparity, max_disparity_px)
        return output.stereo.disparity_px, truth, known, config or DepthLossConfig(kind="l1")
    if config is None:
        config = DepthLossConfig(kind="ssi" if max_depth_m is None else "l1")
    inverse = inverse_truth or config.inverse_truth
    truth, known = depth_truth(batch, max_depth_m=max_depth_m, inverse=inverse)
    assert output.depth is not None  # noqa: S101 - the caller has looked
    return output.depth, truth, known, config


def _masks_loss(
    output: MaskOutput, batch: Batch, config: FusionLossConfig, importance: Tensor | None
) -> Loss:
    objects = objects_of(batch, output.class_logits.shape[-1] - 1)
    size = (output.mask_logits.shape[-2], output.mask_logits.shape[-1])
    with full_precision(output.mask_logits):
        masks, shares = output.mask_logits.float(), shares_of(objects, size)
        pairs = match(output.class_logits, masks, objects, config.matching.costs, shares=shares)
        logits = masks[pairs.frame, pairs.query].flatten(1)
        divergence = mask_divergence(logits, shares[pairs.frame, pairs.object], "bce")
        if importance is not None:
            weight = F.interpolate(importance[:, None], size=size, mode="area").flatten(1)
            weight = weight / weight.mean(1, keepdim=True)
            divergence = divergence * weight[pairs.frame]
        mean = mean_per_frame(divergence.mean(-1), pairs, len(batch)) + connected_zero(masks)
        usable = torch.ones(len(batch), dtype=torch.bool, device=masks.device)
        return loss_of_frames({"mask": mean}, {"mask": 1.0}, usable, batch.names, "masks")


def _skipped(losses: dict[str, tuple[float, Loss]]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(name for _, loss in losses.values() for name in loss.skipped))
