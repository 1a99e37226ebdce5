"""Images that never train, on which a backbone is compared with what it was."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from rangemask.errors import InputError
from rangemask.models.images import check_images, fit_to_multiple
from rangemask.models.presets import PATCH_PX
from rangemask.training.batch import Batch

LEAST_IMAGES = 4
_BACKGROUND = 1


@dataclass(frozen=True, kw_only=True, slots=True, eq=False)
class HeldOut:
    """Images of one size, in the order of their sequences, and perhaps labels of patches.

    Raises:
        InputError: too few images, sides that are no multiples of 14, labels of another shape,
            or fewer than two classes in either half.
    """

    images: Tensor
    """(N, 3, H, W) float RGB in [0, 1]."""
    labels: Tensor | None = None
    """(N, H / 14, W / 14) int64, 0 where unknown."""

    def __post_init__(self) -> None:
        check_images(self.images)
        if len(self.images) < LEAST_IMAGES:
            raise InputError(
                f"a guard needs at least {LEAST_IMAGES} held-out images, better 64; got "
                f"{len(self.images)}."
            )
        fit_to_multiple(self.images, PATCH_PX, "strict")
        if self.labels is None:
            return
        rows, columns = (side // PATCH_PX for side in self.images.shape[-2:])
        wanted = (len(self.images), rows, columns)
        if tuple(self.labels.shape) != wanted:
            raise InputError(
                f"labels of patches must have shape {wanted}, got {tuple(self.labels.shape)}; "
                "patch_labels brings maps of pixels to patches."
            )
        if not has_classes(self.labels):
            raise InputError(
                "labels must hold at least two classes in the first half of the images, and two "
                "of those in the second; give more images, or no labels."
            )

    @property
    def half(self) -> int:
        """Images before it are known to probes, the others are asked about."""
        return len(self.images) // 2


def held_out(batches: Iterable[Batch], *, most: int = 64) -> HeldOut:
    """A guard's images from batches of validation, all of one size.

    Labels are semantic maps, else instances by class with everything outside them as one class
    more; there are none where some batch has neither or they hold too few classes.

    Args:
        batches: in the order of their sequences.
        most: images to keep, spread evenly.

    Raises:
        InputError: there are too few images, or of several sizes.
    """
    images: list[Tensor] = []
    labels: list[Tensor | None] = []
    for batch in batches:
        images += list(fit_to_multiple(batch.images, PATCH_PX, "pad").cpu())
        labels += _labels(batch)
    if not images:
        raise InputError("there are no held-out images for the guard.")
    chosen = torch.linspace(0, len(images) - 1, min(most, len(images))).round().long().tolist()
    shown = check_images([images[index] for index in chosen])
    known = [found for index in chosen if (found := labels[index]) is not None]
    if len(known) < len(chosen):
        return HeldOut(images=shown)
    per_patch = torch.stack(known)
    return HeldOut(images=shown, labels=per_patch if has_classes(per_patch) else None)


def patch_labels(labels: Tensor) -> Tensor:
    """The label that most pixels of a patch have.

    Args:
        labels: (N, H, W) int64, 0 where unknown; H and W multiples of 14.

    Returns:
        (N, H / 14, W / 14) int64; 0 where no label has more than half of the patch.
    """
    rows = labels.unflatten(2, (-1, PATCH_PX)).unflatten(1, (-1, PATCH_PX))
    pixels = rows.transpose(2, 3).flatten(3)
    # What more than half have is the median.
    middle = pixels.sort(-1).values[..., pixels.shape[-1] // 2]
    share = (pixels == middle[..., None]).float().mean(-1)
    return torch.where(share > 0.5, middle, 0)


def has_classes(labels: Tensor) -> bool:
    """Whether both halves hold two classes, the same ones."""
    half = len(labels) // 2
    first, second = (set(part.unique().tolist()) - {0} for part in (labels[:half], labels[half:]))
    return len(first & second) >= 2


def _labels(batch: Batch) -> Sequence[Tensor | None]:
    if batch.semantic is not None:
        maps = batch.semantic
    elif batch.masks is not None and batch.mask_classes is not None:
        size = batch.images.shape[-2:]
        maps = torch.stack(
            [
                _painted(masks, classes, size)
                for masks, classes in zip(batch.masks, batch.mask_classes, strict=True)
            ]
        )
    else:
        return [None] * len(batch)
    rows, columns = maps.shape[-2:]
    padded = maps.new_zeros(len(maps), rows + -rows % PATCH_PX, columns + -columns % PATCH_PX)
    padded[:, :rows, :columns] = maps
    return list(patch_labels(padded.cpu()))


def _painted(masks: Tensor, classes: Tensor, size: Sequence[int]) -> Tensor:
    painted = torch.full(tuple(size), _BACKGROUND, dtype=torch.int64)
    for mask, number in zip(masks.cpu(), classes.tolist(), strict=True):
        painted[mask] = number + _BACKGROUND + 1
    return painted
