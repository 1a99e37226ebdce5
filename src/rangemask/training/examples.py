"""From samples of a data set to what a stage of training sees of them."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal, TypeAlias, TypeVar

import numpy as np
import torch
from torch import Tensor
from torch.utils import data as torch_data

from rangemask.data.sample import Dataset, Sample
from rangemask.errors import InputError
from rangemask.geometry import depth_from_disparity
from rangemask.geometry.arrays import FloatMap, ImageArray
from rangemask.structures import DepthMap, MaskSet
from rangemask.training.augmentation import Augmentation, Size, check_size, fit, generator_of
from rangemask.training.batch import Example

logger = logging.getLogger(__name__)

Need: TypeAlias = Literal["right", "disparity", "depth", "semantic", "masks"]
NEEDS: tuple[Need, ...] = ("right", "disparity", "depth", "semantic", "masks")

DepthScale: TypeAlias = Literal["metric_m", "relative_inverse"]
DEPTH_SCALES: tuple[DepthScale, ...] = ("metric_m", "relative_inverse")

AnyLabel = TypeVar("AnyLabel")

_WHAT: dict[Need, str] = {
    "right": "a right image",
    "disparity": "disparity",
    "depth": "depth",
    "semantic": "a semantic map or masks",
    "masks": "instance masks",
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What a stage learns from.

    Raises:
        InputError: an unknown need or scale of depth, classes that are named twice, classes
            missing where semantic maps are wanted, or a ``rest`` that is none of them.
    """

    needs: frozenset[Need]
    """All others are left out; an example that lacks one is an error."""
    classes: tuple[str, ...] = ()
    """Of the head, in its order. For masks none means: every object, whatever it is."""
    rest: str | None = None
    """The class, one of ``classes``, that pixels and objects of classes which the head does not
    have belong to; without it such pixels are unknown and such objects left out."""
    depth: DepthScale = "metric_m"
    """Metres; or the inverse up to scale and shift, for losses that allow for both."""
    partial: bool = False
    """Whether the data may lack some of the classes."""

    def __post_init__(self) -> None:
        strange = sorted(set(self.needs) - set(NEEDS))
        if strange:
            raise InputError(f"needs are {', '.join(NEEDS)}, got {', '.join(strange)}.")
        if self.depth not in DEPTH_SCALES:
            raise InputError(f"depth must be one of {', '.join(DEPTH_SCALES)}, got {self.depth!r}.")
        if len(set(self.classes)) < len(self.classes):
            raise InputError(f"each class is named once, got {', '.join(self.classes)}.")
        if "semantic" in self.needs and not self.classes:
            raise InputError("a semantic stage needs the names of its classes, got none.")
        if self.rest is not None and self.rest not in self.classes:
            raise InputError(
                f"rest must be one of the head's classes ({_names(self.classes)}), got "
                f"{self.rest!r}."
            )

    def index(self, name: str) -> int | None:
        """Number of the head's class for a name of the data; None where it has none."""
        if not self.classes:
            return 0
        if name in self.classes:
            return self.classes.index(name)
        return None if self.rest is None else self.classes.index(self.rest)


def check_classes(found: Sequence[str], wanted: Wanted) -> None:
    """Fail in words unless data with these classes can teach the head's.

    Args:
        found: names that the data has; none where it does not list them, which passes.
        wanted: by the stage.

    Raises:
        InputError: the data lacks classes of the head (``partial`` allows that), or has none.
    """
    if not found or not wanted.classes:
        return
    lacking = [name for name in wanted.classes if name not in found and name != wanted.rest]
    named = [name for name in wanted.classes if name in found]
    if not lacking or (wanted.partial and named):
        return
    raise InputError(
        f"the class list does not match: the head has {_names(wanted.classes)}, the data "
        f"{_names(found)}; the data lacks {_names(lacking)}. Name the head's classes as the data "
        "does (data.classes), rename the labels, or, if the data is to teach only some of the "
        "head's classes, allow that (partial)."
    )


def to_example(sample: Sample, wanted: Wanted) -> Example:
    """Tensors of what is wanted.

    Args:
        sample: one frame with its labels.
        wanted: by the stage.

    Returns:
        maps at the sample's own size. Disparity below 0 and depth not above 0 are unknown, as
        are infinite values. The weight comes along where disparity or depth is wanted; without
        one, depth that was guessed has weight 0.

    Raises:
        InputError: the sample lacks what is wanted, its depth has no metres and the stage
            needs them, or none of its classes is the head's.
    """
    needs = wanted.needs
    right = _required(sample, "right", sample.frame.right) if "right" in needs else None
    disparity = None
    if "disparity" in needs:
        disparity = _known(_required(sample, "disparity", sample.disparity), least=0.0)
    depth, weight = None, sample.weight
    if "depth" in needs:
        values = _depth(sample, wanted.depth)
        depth = _known(values, least=np.nextafter(0, 1, dtype=np.float32))
        if weight is None and sample.depth is not None and sample.depth.filled is not None:
            weight = np.logical_not(sample.depth.filled).astype(np.float32)
    masks, mask_classes = None, None
    if "masks" in needs:
        masks, mask_classes = _masks(_required(sample, "masks", sample.masks), wanted)
    return Example(
        name=sample.name,
        image=_image(sample.frame.left),
        right_image=None if right is None else _image(right),
        disparity=disparity,
        depth=depth,
        weight=None if weight is None or not needs & {"disparity", "depth"} else _tensor(weight),
        semantic=_semantic(sample, wanted) if "semantic" in needs else None,
        masks=masks,
        mask_classes=mask_classes,
    )


class TrainingSet(torch_data.Dataset[Example]):
    """Samples of a data set as examples of one size, augmented.

    What comes out hangs on the seed, the epoch and the sample's number in the data set alone:
    not on the workers, the order, or whether a run was resumed. A sample that cannot be read or
    lacks a label is an error; one whose labels are all unknown is named in the log, once.

    Args:
        data: samples.
        wanted: by the stage.
        size: height and width of every example, px; None keeps each sample's own, padded.
        multiple: of the sides, px: 14 for a DINOv2 backbone, 28 with stereo.
        augmentation: none without it: the whole picture, fitted in (``fit``).
        indices: of the samples to use (``Split.train``); all without it.
        seed: of all that is random.

    Raises:
        InputError: the size is no multiple, there are no samples, one is not there, or the
            class list does not match.
    """

    def __init__(
        self,
        data: Dataset,
        wanted: Wanted,
        *,
        size: Size | None,
        multiple: int = 14,
        augmentation: Augmentation | None = None,
        indices: Iterable[int] | None = None,
        seed: int = 0,
    ) -> None:
        check_size(size, multiple)
        if wanted.needs & {"semantic", "masks"}:
            check_classes(data.classes, wanted)
        self.data, self.wanted = data, wanted
        self.size, self.multiple, self.seed = size, multiple, seed
        self.augmentation = augmentation
        self.indices = tuple(range(len(data)) if indices is None else indices)
        self._check_indices()
        # Shared, so that workers which outlive an epoch hear of the next one.
        self._epoch = torch.zeros((), dtype=torch.int64).share_memory_()
        self._named_as_empty: set[str] = set()

    def set_epoch(self, epoch: int) -> None:
        """Draw other augmentations; call it before the epoch's first batch is asked for.

        Raises:
            InputError: the epoch is negative.
        """
        if epoch < 0:
            raise InputError(f"epoch must not be negative, got {epoch}.")
        self._epoch.fill_(epoch)

    @property
    def epoch(self) -> int:
        """The last one that was set, 0 before."""
        return int(self._epoch.item())

    def __len__(self) -> int:
        return len(self.indices)

    def __getitem__(self, index: int | tuple[int, int]) -> Example:
        """One example.

        Args:
            index: of the example, in the epoch that was set; or epoch and index. A sampler that
                gives both needs no ``set_epoch``, and may be read ahead of the epoch's start.

        Raises:
            InputError: see ``to_example``; or a file cannot be read.
            IndexError: there is no such example.
        """
        epoch, place = index if isinstance(index, tuple) else (self.epoch, index)
        number = self.indices[place]
        example = to_example(self.data[number], self.wanted)
        self._tell_if_empty(example)
        if self.size is None:
            example = fit(example, None, multiple=self.multiple)
        if self.augmentation is None:
            return fit(example, self.size)
        generator = generator_of(self.seed, epoch, number)
        return self.augmentation(example, generator, size=self.size)

    def _check_indices(self) -> None:
        if not self.indices:
            raise InputError("there are no samples to learn from.")
        low, high = min(self.indices), max(self.indices)
        if low < 0 or high >= len(self.data):
            raise InputError(
                f"indices must lie within 0 to {len(self.data) - 1}, got {low} to {high}."
            )

    def _tell_if_empty(self, example: Example) -> None:
        empty = [
            kind
            for kind, values in (("disparity", example.disparity), ("depth", example.depth))
            if values is not None and not bool(torch.isfinite(values).any())
        ]
        if example.semantic is not None and not bool(example.semantic.any()):
            empty.append("semantic")
        if empty and example.name not in self._named_as_empty:
            self._named_as_empty.add(example.name)
            logger.warning(
                "%s: no pixel has a known label (%s); it teaches nothing there.",
                example.name,
                ", ".join(empty),
            )


def _required(sample: Sample, need: Need, value: AnyLabel | None) -> AnyLabel:
    if value is None:
        kinds = ("disparity", "depth", "masks", "semantic")
        has = [kind for kind in kinds if getattr(sample, kind) is not None]
        has += ["a right image"] * (sample.frame.right is not None)
        raise InputError(
            f"{sample.name}: this stage learns from {_WHAT[need]}, which the sample lacks; it has "
            f"{', '.join(has) or 'no labels'}. Label it first (rangemask label), or train "
            "another stage."
        )
    return value


def _depth(sample: Sample, scale: DepthScale) -> FloatMap:
    """(H, W) in the scale that is wanted, from depth or, failing that, from disparity."""
    depth = sample.depth
    if scale == "relative_inverse":
        return _relative_inverse(sample, depth)
    if depth is not None and depth.kind == "metric_m":
        return depth.values
    if sample.disparity is not None and sample.frame.rig is not None:
        try:
            return depth_from_disparity(sample.disparity, sample.frame.rig)
        except ValueError as error:
            raise InputError(f"{sample.name}: depth from disparity: {error}") from error
    if depth is not None:
        raise InputError(
            f"{sample.name}: its depth is {depth.kind}: it has no scale in metres, and this stage "
            "learns metres. Label with a stereo matcher and a rig, or train relative depth "
            "(depth=relative_inverse) with a loss that allows for scale and shift."
        )
    if sample.disparity is not None:
        raise InputError(
            f"{sample.name}: it has disparity but no rig, so there is no depth in metres. Add "
            "the rig's file to the data, or train relative depth (depth=relative_inverse)."
        )
    return _required(sample, "depth", None)


def _relative_inverse(sample: Sample, depth: DepthMap | None) -> FloatMap:
    """Disparity is an inverse depth up to scale and shift already."""
    if depth is not None and depth.kind == "relative_inverse":
        return depth.values
    if sample.disparity is not None:
        return sample.disparity
    values = _required(sample, "depth", None if depth is None else depth.values)
    inverse = np.full_like(values, np.nan)
    np.divide(1, values, out=inverse, where=values > 0)
    return inverse


def _semantic(sample: Sample, wanted: Wanted) -> Tensor:
    """(H, W) int64, 1 + class, 0 unknown; painted from masks where there is no map."""
    if sample.semantic is None:
        masks = _required(sample, "semantic", sample.masks)
        return _painted(masks, wanted)
    names = sample.semantic.names
    check_classes(names[1:], replace(wanted, partial=True))
    table = np.zeros(256, dtype=np.int64)
    for number, name in enumerate(names[1:], start=1):
        index = wanted.index(name)
        table[number] = 0 if index is None else index + 1
    return torch.from_numpy(table[sample.semantic.ids])


def _painted(masks: MaskSet, wanted: Wanted) -> Tensor:
    """A semantic map from masks, small ones above large ones; elsewhere ``rest``, or unknown."""
    base = 0 if wanted.rest is None else wanted.classes.index(wanted.rest) + 1
    ids = torch.full((masks.height, masks.width), base, dtype=torch.int64)
    for number in sorted(range(len(masks)), key=lambda i: -masks.rles[i].area):
        index = wanted.index(masks.labels[number])
        if index is not None:
            ids[torch.from_numpy(np.ascontiguousarray(masks.rles[number].decode()))] = index + 1
    return ids


def _masks(masks: MaskSet, wanted: Wanted) -> tuple[Tensor, Tensor]:
    """(N, H, W) bool and (N,) int64: the objects of the head's classes that have a pixel."""
    classes = [wanted.index(label) for label in masks.labels]
    kept = [i for i, index in enumerate(classes) if index is not None and masks.rles[i].area]
    dense = torch.from_numpy(np.ascontiguousarray(masks.select(kept).dense()))
    return dense, torch.tensor([classes[i] for i in kept], dtype=torch.int64)


def _image(image: ImageArray) -> Tensor:
    """(3, H, W) float32 in [0, 1]."""
    return torch.tensor(image).permute(2, 0, 1).to(torch.float32, copy=True).contiguous().div_(255)


def _known(values: FloatMap, *, least: float) -> Tensor:
    """(H, W) with NaN for whatever is no finite number of at least ``least``."""
    known = np.isfinite(values) & (values >= least)
    return torch.from_numpy(np.where(known, values, np.float32(np.nan)))


def _tensor(values: FloatMap) -> Tensor:
    return torch.tensor(values)


def _names(names: Sequence[str]) -> str:
    return ", ".join(names) or "none"
