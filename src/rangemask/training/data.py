"""The frames of a run: opened, split by recording, made into batches."""

from __future__ import annotations

import hashlib
import json
import logging
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from types import MappingProxyType
from typing import Any

import lightning.pytorch as pl
import torch
from torch.utils.data import DataLoader, Sampler

from rangemask.data.readers import open_dataset
from rangemask.data.sample import Dataset
from rangemask.data.store import Kind, StoredLabels, open_labels
from rangemask.data.store.manifest import MANIFEST
from rangemask.errors import InputError
from rangemask.models.card import Source
from rangemask.training.augmentation import Augmentation
from rangemask.training.batch import Batch, collate
from rangemask.training.config import DataConfig
from rangemask.training.examples import Need, TrainingSet, Wanted
from rangemask.training.splits import split_sequences

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Frames:
    """What a run learns from and what it is judged on."""

    train: Dataset
    val: Dataset
    train_indices: tuple[int, ...]
    val_indices: tuple[int, ...]

    @property
    def classes(self) -> tuple[str, ...]:
        """Of the labels to learn from."""
        return self.train.classes

    def to_dict(self) -> dict[str, Any]:
        """Names on both sides and a fingerprint of what is known of their files."""
        train, val = (
            self._names(self.train, self.train_indices),
            self._names(self.val, self.val_indices),
        )
        return {
            "fingerprint": self.fingerprint,
            "train": train,
            "val": val,
            "classes": list(self.classes),
        }

    @property
    def fingerprint(self) -> str:
        """Changes with the frames, and for stores of ours with the hashes of all their files."""
        parts: list[Any] = []
        for data, indices in ((self.train, self.train_indices), (self.val, self.val_indices)):
            if isinstance(data, StoredLabels):
                parts.append([data.records[index].to_dict(seen=False) for index in indices])
            else:
                parts.append(self._names(data, indices))
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()

    @property
    def sources(self) -> tuple[Source, ...]:
        """Who made the labels: goes into the model card, since it binds what is learnt."""
        return tuple(dict.fromkeys((*sources_of(self.train), *sources_of(self.val))))

    @staticmethod
    def _names(data: Dataset, indices: Sequence[int]) -> list[str]:
        names = data.names
        return [names[index] for index in indices]


def open_frames(
    config: DataConfig,
    seed: int,
    *,
    opener: Callable[[str], Dataset] | None = None,
    held_out: Callable[[str], Dataset] | None = None,
) -> Frames:
    """Open and split.

    Args:
        config: which, and how they are split.
        seed: of the split.
        opener: opens a folder; as ``config`` says without it.
        held_out: opens ``config.validation``; as ``opener`` without it.

    Raises:
        InputError: there is no data, or it cannot be split.
    """
    if config.root is None:
        raise InputError("data.root=FOLDER says what to learn from; it is missing.")
    opened = partial(_open, config=config) if opener is None else opener
    train = opened(config.root)
    if config.validation is not None:
        val = (held_out or opened)(config.validation)
        indices, held = tuple(range(len(train))), tuple(range(len(val)))
    else:
        val = train
        split = split_sequences(
            train.sequences,
            val_share=config.validation_share,
            seed=seed,
            train=config.train_sequences,
            val=config.validation_sequences,
        )
        logger.info("%s", split)
        indices, held = split.train, split.val
    if config.limit is not None:
        indices = indices[: config.limit]
    if not indices or not held:
        raise InputError(
            f"{config.root}: {len(indices)} frames to learn from and {len(held)} to validate on; "
            "both are needed."
        )
    return Frames(train=train, val=val, train_indices=indices, val_indices=held)


def _open(root: str, config: DataConfig) -> Dataset:
    if (Path(root) / MANIFEST).is_file() and config.kind in {None, "rangemask"}:
        found: Dataset = open_labels(root, min_quality=config.min_quality)
    else:
        found = open_dataset(root, config.kind)
    if not len(found):
        raise InputError(f"{root}: holds no labelled frame (of quality {config.min_quality:g}).")
    return found


def sources_of(data: Dataset) -> Iterator[Source]:
    """The teachers of a label store; of other data sets nothing is known but their name."""
    if not isinstance(data, StoredLabels):
        yield Source(name=type(data).__name__, role="labels", licence="unknown")
        return
    used = {file.recipe for record in data.records for file in record.files.values()}
    for key in sorted(used):
        for model in data.manifest.recipes[key].models:
            yield Source(
                name=model.model,
                role="labels",
                licence=model.licence,
                terms=model.licence_class,
                sha256=model.weights_sha256,
            )


_READ_FOR: Mapping[Need, tuple[Kind, ...]] = MappingProxyType(
    {
        "right": (),
        "disparity": ("disparity", "weight"),
        "depth": ("disparity", "depth", "weight"),
        "semantic": ("semantic", "masks"),
        "masks": ("masks",),
    }
)


def reading(data: Dataset, wanted: Wanted) -> Dataset:
    """The same samples, of which stores of ours read only what is wanted."""
    if not isinstance(data, StoredLabels):
        return data
    kinds = {kind for need in wanted.needs for kind in _READ_FOR[need]}
    if "masks" in kinds and "masks" not in wanted.needs:
        # A semantic map is painted from masks only where there is none.
        painted = any("semantic" not in record.files for record in data.records)
        kinds -= set() if painted else {"masks"}
    return data.only(kinds, pairs="right" in wanted.needs)


class EpochOrder(Sampler[tuple[int, int]]):
    """A new order every epoch, the same for the same seed and epoch; each rank has its share.

    Gives epoch and number of each example, since augmentation hangs on both.

    Args:
        count: of examples.
        seed: of the orders.
        rank: of this process.
        world: number of processes; all get equally many.
    """

    def __init__(self, count: int, seed: int, rank: int = 0, world: int = 1) -> None:
        self.count, self.seed, self.rank, self.world = count, seed, rank, world
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Lightning calls it before each epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        return math.ceil(self.count / self.world)

    def __iter__(self) -> Iterator[tuple[int, int]]:
        generator = torch.Generator().manual_seed(self.seed * 100_003 + self.epoch)
        order = torch.randperm(self.count, generator=generator).tolist()
        order += order[: len(self) * self.world - self.count]
        return iter([(self.epoch, index) for index in order[self.rank :: self.world]])


class FramesModule(pl.LightningDataModule):
    """Batches for Lightning.

    Args:
        frames: opened and split.
        config: sizes and numbers.
        wanted: by the stage.
        multiple: of the sides, px.
        seed: of order and augmentation.
    """

    def __init__(
        self, frames: Frames, config: DataConfig, wanted: Wanted, *, multiple: int, seed: int
    ) -> None:
        super().__init__()
        self.frames, self.config = frames, config
        size = tuple(max(round(side / multiple), 1) * multiple for side in config.size_px)
        height, width = size
        train, val = reading(frames.train, wanted), reading(frames.val, wanted)
        preset = config.augmentation
        self.train_set = TrainingSet(
            train,
            wanted,
            size=(height, width),
            multiple=multiple,
            augmentation=None if preset == "none" else Augmentation.preset(preset),
            indices=frames.train_indices,
            seed=seed,
        )
        self.val_set = TrainingSet(
            val,
            wanted,
            size=(height, width),
            multiple=multiple,
            indices=frames.val_indices,
            seed=seed,
        )
        self.seed = seed

    def train_dataloader(self) -> DataLoader[Batch]:
        """In a new order every epoch; the last batch may be small."""
        trainer = self.trainer
        rank, world = (0, 1) if trainer is None else (trainer.global_rank, trainer.world_size)
        order = EpochOrder(len(self.train_set), self.seed, rank, world)
        if trainer is not None:
            # When a run is resumed, Lightning asks for batches before it tells the epoch.
            order.set_epoch(trainer.current_epoch)
        return self._loader(self.train_set, order)

    def val_dataloader(self) -> DataLoader[Batch]:
        """In the order of their names; every process sees all of them."""
        return self._loader(self.val_set, None)

    def _loader(self, examples: TrainingSet, order: EpochOrder | None) -> DataLoader[Any]:
        workers = min(self.config.workers, len(examples))
        return DataLoader(
            examples,
            batch_size=self.config.batch_size,
            sampler=order,
            num_workers=workers,
            collate_fn=collate,
            persistent_workers=workers > 0,
            pin_memory=torch.cuda.is_available(),
        )
