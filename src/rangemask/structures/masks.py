"""Masks of one image, held as COCO run lengths so that 200 of them cost little memory."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import DTypeLike, NDArray
from pycocotools import mask as coco

from rangemask.errors import InputError
from rangemask.geometry.arrays import BoolMap
from rangemask.structures.maps import SemanticMap


@dataclass(frozen=True, slots=True)
class Rle:
    """One mask as compressed COCO run lengths (column-major, as COCO has them).

    Raises:
        InputError: the runs do not make a mask of that size.
    """

    height: int
    width: int
    counts: str

    def __post_init__(self) -> None:
        # pycocotools trusts its input: runs that overshoot would be read outside the mask.
        if int(_run_lengths(self.counts).sum()) != self.height * self.width:
            raise InputError(
                f"the run lengths do not add up to a mask of {self.width} x {self.height} px."
            )

    @classmethod
    def encode(cls, mask: BoolMap) -> Rle:
        """From a bool mask, (H, W)."""
        return encode_masks(mask[None])[0]

    def decode(self) -> BoolMap:
        """The mask, (H, W) bool."""
        runs = _run_lengths(self.counts)
        inside = np.arange(runs.size) % 2 == 1
        return np.repeat(inside, runs).reshape(self.width, self.height).T

    @property
    def area(self) -> int:
        """Pixels inside."""
        return int(_run_lengths(self.counts)[1::2].sum())

    @property
    def box(self) -> tuple[float, float, float, float]:
        """x, y, width, height in px; zeros for an empty mask."""
        x, y, width, height = (float(value) for value in coco.toBbox(self.to_coco()))
        return x, y, width, height

    def to_coco(self) -> dict[str, Any]:
        """The dict that pycocotools and COCO's JSON use."""
        return {"size": [self.height, self.width], "counts": self.counts}

    @classmethod
    def from_coco(cls, rle: dict[str, Any]) -> Rle:
        """From COCO's dict, compressed or not.

        Raises:
            InputError: the dict is not of that form.
        """
        try:
            height, width = (int(value) for value in rle["size"])
            counts = rle["counts"]
            if isinstance(counts, list):
                counts = coco.frPyObjects(rle, height, width)["counts"]
            text = counts.decode("ascii") if isinstance(counts, bytes) else str(counts)
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(f"not a COCO run-length mask: {error}.") from error
        return cls(height, width, text)


@dataclass(frozen=True, slots=True)
class MaskSet:
    """Instance masks of one image with a label and a score each; masks may overlap.

    Raises:
        InputError: the counts of masks, labels and scores differ, or a mask has another size.
    """

    height: int
    width: int
    rles: tuple[Rle, ...] = ()
    labels: tuple[str, ...] = ()
    scores: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if not len(self.rles) == len(self.labels) == len(self.scores):
            raise InputError(
                f"expected one label and one score per mask, got {len(self.rles)} masks, "
                f"{len(self.labels)} labels and {len(self.scores)} scores."
            )
        for rle in self.rles:
            if (rle.height, rle.width) != (self.height, self.width):
                raise InputError(
                    f"all masks must be {self.width} x {self.height} px, one is "
                    f"{rle.width} x {rle.height}."
                )

    @classmethod
    def from_dense(
        cls,
        masks: BoolMap,
        *,
        labels: Sequence[str] | None = None,
        scores: Sequence[float] | None = None,
    ) -> MaskSet:
        """From a stack of masks.

        Args:
            masks: (N, H, W) bool.
            labels: N names, "object" each by default.
            scores: N numbers in [0, 1], 1 each by default.

        Raises:
            InputError: wrong shape or counts.
        """
        if masks.ndim != 3:
            raise InputError(f"masks must have shape (N, H, W), got {masks.shape}.")
        count, height, width = masks.shape
        return cls(
            height,
            width,
            tuple(encode_masks(masks)),
            tuple(labels) if labels is not None else ("object",) * count,
            tuple(float(score) for score in scores) if scores is not None else (1.0,) * count,
        )

    def dense(self) -> BoolMap:
        """All masks, (N, H, W) bool; N x H x W bytes."""
        if not self.rles:
            return np.zeros((0, self.height, self.width), dtype=bool)
        return np.stack([rle.decode() for rle in self.rles])

    def __array__(self, dtype: DTypeLike | None = None, *, copy: bool | None = None) -> np.ndarray:
        dense = self.dense()
        return dense if dtype is None else dense.astype(dtype)

    def __len__(self) -> int:
        return len(self.rles)

    def __iter__(self) -> Iterator[BoolMap]:
        return (rle.decode() for rle in self.rles)

    def select(self, keep: Sequence[int]) -> MaskSet:
        """The masks at the given indices, in that order."""
        return MaskSet(
            self.height,
            self.width,
            tuple(self.rles[i] for i in keep),
            tuple(self.labels[i] for i in keep),
            tuple(self.scores[i] for i in keep),
        )


@dataclass(frozen=True, slots=True)
class Segmentation:
    """What a segmenter found: instances, and, where it knows one, a class per pixel."""

    masks: MaskSet
    semantic: SemanticMap | None = None

    @property
    def labels(self) -> tuple[str, ...]:
        """One name per instance."""
        return self.masks.labels

    @property
    def scores(self) -> tuple[float, ...]:
        """One score in [0, 1] per instance."""
        return self.masks.scores

    def __len__(self) -> int:
        return len(self.masks)


def encode_masks(masks: BoolMap) -> list[Rle]:
    """Encode (N, H, W) bool masks."""
    count, height, width = masks.shape
    if count == 0:
        return []
    columns = np.asfortranarray(np.moveaxis(masks, 0, -1), dtype=np.uint8)
    return [
        Rle(height, width, encoded["counts"].decode("ascii")) for encoded in coco.encode(columns)
    ]


def _run_lengths(counts: str) -> NDArray[np.int64]:
    """Undo COCO's text form: five bits and a "more" bit a character, deltas to the run before last.

    Raises:
        InputError: a character is not COCO's, the text ends within a number, or a run is negative.
    """
    bits = np.frombuffer(counts.encode("ascii", errors="replace"), dtype=np.uint8).astype(np.int64)
    bits -= 48
    if bits.size == 0:
        return bits
    if bits.min() < 0 or bits.max() > 63:
        raise InputError("the run lengths hold a character that COCO does not use.")
    last = (bits & 0x20) == 0
    if not last[-1]:
        raise InputError("the run lengths are cut off.")
    starts = np.concatenate([[0], np.flatnonzero(last)[:-1] + 1])
    lengths = np.diff(np.append(starts, bits.size))
    if lengths.max() > 12:
        raise InputError("the run lengths hold a number that is too large.")
    place = 5 * (np.arange(bits.size) - np.repeat(starts, lengths))
    runs = np.add.reduceat((bits & 0x1F) << place, starts)
    negative = (bits[last] & 0x10) > 0
    runs[negative] -= np.int64(1) << (5 * lengths[negative])
    # From the fourth run on each is a difference to the run before last.
    runs[1::2] = np.cumsum(runs[1::2])
    runs[2::2] = np.cumsum(runs[2::2])
    if runs.min() < 0:
        raise InputError("the run lengths hold a negative run.")
    return runs
