"""From pairs of a data set to batches: to learn from, and to be judged on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import lightning.pytorch as pl
import numpy as np
import torch
from torch import Tensor
from torch.utils import data as torch_data
from torch.utils.data import DataLoader

from rangemask.data.sample import Dataset, Sample
from rangemask.structures import StereoFrame
from rangemask.training.augmentation import generator_of
from rangemask.training.data import EpochOrder, Frames
from rangemask.training.two_in_one.augmentation import AugmentationConfig, AugmentedPair, resized
from rangemask.training.two_in_one.batch import PairBatch, check_batch
from rangemask.training.two_in_one.recordings import focal_baseline_of, pair_of, without_labels


class LearntPair(NamedTuple):
    """One example."""

    name: str
    pair: AugmentedPair
    focal_baseline: float
    """px m, at the width before random resizing."""


class NamedBatch(NamedTuple):
    """A batch and the names of its pairs."""

    pairs: PairBatch
    names: tuple[str, ...]


class JudgedPair(NamedTuple):
    """A pair at the size of use, as a batch of one, and its truth where there is one."""

    name: str
    left: Tensor
    """(1, 3, H, W) float32 RGB in [0, 1]."""
    right: Tensor
    focal_baseline: Tensor
    """(1,): px m at the width of ``left``."""
    truth: Tensor | None
    """(h, w) float32 depth, m, at its own size; NaN where unknown. Without a baseline one over
    the disparity."""
    truth_scale: float
    """What ``truth`` is times disparity in px of its own size, where ``offset_px`` is 0."""
    offset_px: float
    """The rig's ``doffs``, px of the truth's size."""
    metric: bool
    """Whether ``truth`` is in metres."""


class PairSet(torch_data.Dataset[LearntPair]):
    """Pairs as they are learnt from: augmented by seed, epoch and number alone.

    Args:
        data: samples.
        indices: of those to use.
        augmentation: of every pair.
        seed: of all that is random.
        d2d: focal length times baseline, px m, for pairs without a rig.
    """

    def __init__(
        self,
        data: Dataset,
        indices: Sequence[int],
        augmentation: AugmentationConfig,
        seed: int,
        d2d: float,
    ) -> None:
        self.data, self.indices = without_labels(data), tuple(indices)
        self.augmentation, self.seed, self.d2d = augmentation, seed, d2d

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, place: tuple[int, int]) -> LearntPair:
        """One example.

        Args:
            place: epoch and number.

        Raises:
            InputError: a file is missing or damaged, or the partner is missing.
        """
        epoch, index = place
        number = self.indices[index]
        frame = pair_of(self.data[number])
        assert frame.right is not None  # noqa: S101 - checked
        generator = generator_of(self.seed, epoch, number)
        seen = self.augmentation(frame.left, frame.right, generator)
        width = self.augmentation.full_size[1]
        return LearntPair(frame.name, seen, focal_baseline_of(frame, width) or self.d2d)


class JudgedSet(torch_data.Dataset[JudgedPair]):
    """Pairs at the size of use, with the truth that there is.

    Args:
        data: samples.
        indices: of those to use.
        full_size: height and width, px.
        d2d: focal length times baseline, px m, for pairs without a rig.
    """

    def __init__(
        self, data: Dataset, indices: Sequence[int], full_size: Sequence[int], d2d: float
    ) -> None:
        self.data, self.indices = data, tuple(indices)
        self.full_size, self.d2d = tuple(full_size), d2d

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int) -> JudgedPair:
        sample = self.data[self.indices[index]]
        frame = pair_of(sample)
        assert frame.right is not None  # noqa: S101 - checked
        left, right = (resized(one, self.full_size)[None] for one in (frame.left, frame.right))
        known = focal_baseline_of(frame, self.full_size[1])
        scale, offset_px = _scale_of(frame)
        return JudgedPair(
            name=frame.name,
            left=left,
            right=right,
            focal_baseline=torch.tensor([known or self.d2d], dtype=torch.float32),
            truth=_truth(sample),
            truth_scale=scale,
            offset_px=offset_px,
            metric=known is not None,
        )


def _truth(sample: Sample) -> Tensor | None:
    scale, offset_px = _scale_of(sample.frame)
    depth = sample.depth
    if sample.disparity is not None:
        shifted = sample.disparity + offset_px
        values = np.full(shifted.shape, np.nan, dtype=np.float32)
        np.divide(scale, shifted, out=values, where=np.isfinite(shifted) & (shifted > 0))
    elif depth is not None and depth.kind == "metric_m" and focal_baseline_of(sample.frame):
        values = (
            depth.values if depth.filled is None else np.where(depth.filled, np.nan, depth.values)
        )
    else:
        return None
    return torch.from_numpy(np.ascontiguousarray(values, dtype=np.float32))


def _scale_of(frame: StereoFrame) -> tuple[float, float]:
    offset_px = 0.0 if frame.rig is None else frame.rig.doffs_px
    return focal_baseline_of(frame) or 1.0, offset_px


def collate(examples: Sequence[LearntPair]) -> NamedBatch:
    """Examples as a batch; the left camera's images are the targets.

    Raises:
        InputError: see ``check_batch``.
    """
    left, right, left_jittered, right_jittered = (
        torch.stack(images) for images in zip(*(one.pair for one in examples), strict=True)
    )
    batch = PairBatch(
        target=left,
        other=right,
        target_jittered=left_jittered,
        other_jittered=right_jittered,
        direct=torch.ones(len(examples)),
        focal_baseline=torch.tensor([one.focal_baseline for one in examples]),
    )
    return NamedBatch(check_batch(batch), tuple(one.name for one in examples))


def the_only(examples: Sequence[JudgedPair]) -> JudgedPair:
    """Pairs are judged one by one: their truth may be of any size."""
    (one,) = examples
    return one


class PairsModule(pl.LightningDataModule):
    """Batches for Lightning.

    Args:
        frames: opened and split.
        augmentation: of what is learnt from.
        batch_size: pairs.
        workers: processes that read.
        seed: of order and augmentation.
        d2d: focal length times baseline, px m, for pairs without a rig.
    """

    def __init__(
        self,
        frames: Frames,
        augmentation: AugmentationConfig,
        *,
        batch_size: int,
        workers: int,
        seed: int,
        d2d: float,
    ) -> None:
        super().__init__()
        self.train_set = PairSet(frames.train, frames.train_indices, augmentation, seed, d2d)
        self.val_set = JudgedSet(frames.val, frames.val_indices, augmentation.full_size, d2d)
        self.batch_size = min(batch_size, len(self.train_set))
        self.workers, self.seed = workers, seed

    def train_dataloader(self) -> DataLoader[Any]:
        """In a new order every epoch, without the last batch if it is not full (as published)."""
        order = EpochOrder(len(self.train_set), self.seed)
        if self.trainer is not None:
            # When a run is resumed, Lightning asks for batches before it tells the epoch.
            order.set_epoch(self.trainer.current_epoch)
        return self._loader(
            self.train_set,
            batch_size=self.batch_size,
            sampler=order,
            drop_last=True,
            collate_fn=collate,
        )

    def val_dataloader(self) -> DataLoader[Any]:
        """One by one, in the order of their names."""
        return self._loader(self.val_set, batch_size=1, collate_fn=the_only)

    def _loader(self, examples: torch_data.Dataset[Any], **options: Any) -> DataLoader[Any]:
        workers = min(self.workers, max(len(self.train_set), 1))
        return DataLoader(
            examples,
            num_workers=workers,
            persistent_workers=workers > 0,
            pin_memory=torch.cuda.is_available(),
            **options,
        )
