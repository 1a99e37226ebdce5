"""Pairs as TiO-Depth learns from them."""

from __future__ import annotations

from typing import NamedTuple

from torch import Tensor

from rangemask.errors import InputError


class PairBatch(NamedTuple):
    """Rectified pairs: ``target`` is the view whose depth is asked for, ``other`` its partner.

    The published names are ``s`` and ``o``.
    """

    target: Tensor
    """(B, 3, H, W) float32 RGB in [0, 1], without colour jitter; what is reconstructed."""
    other: Tensor
    """The same of the partner."""
    target_jittered: Tensor
    """What the network sees of the target."""
    other_jittered: Tensor
    """What the network sees of the partner, jittered alike."""
    direct: Tensor
    """(B,): +1 where the target is the left camera's image, -1 where the right one's."""
    focal_baseline: Tensor | None = None
    """(B,) px m: focal length times baseline at the width before random resizing. Without it the
    network's disparities are those of the images, and depth has no metric scale."""

    def shift(self, d2d: float) -> Tensor:
        """(B,): how far a pixel's partner lies to the left, in pixels per px of disparity.

        Args:
            d2d: of the network, which turns its disparities into depth.
        """
        if self.focal_baseline is None:
            return self.direct
        return self.direct * self.focal_baseline / d2d


def check_batch(batch: PairBatch) -> PairBatch:
    """A batch as ``PairBatch`` states it, or an error in words.

    Raises:
        InputError: shapes differ, images are no float RGB, or a direction is not +1 or -1.
    """
    shape = batch.target.shape
    if len(shape) != 4 or shape[1] != 3 or not batch.target.is_floating_point():
        raise InputError(
            f"pairs must be float (B, 3, H, W), got {batch.target.dtype} {tuple(shape)}."
        )
    for name in ("other", "target_jittered", "other_jittered"):
        found = getattr(batch, name).shape
        if found != shape:
            raise InputError(
                f"all images of a batch of pairs must have one shape, got {tuple(shape)} and "
                f"{tuple(found)} ({name})."
            )
    if batch.direct.shape != (shape[0],) or not bool((batch.direct.abs() == 1).all()):
        raise InputError(
            f"direct must be +1 (left) or -1 (right) for each of {shape[0]} pairs, got "
            f"{batch.direct.tolist()}."
        )
    known = batch.focal_baseline
    if known is not None and (known.shape != (shape[0],) or not bool((known > 0).all())):
        raise InputError(
            f"focal_baseline must be positive, one for each of {shape[0]} pairs, got "
            f"{known.tolist()}; leave it out (None) for rigs without baseline."
        )
    return batch
