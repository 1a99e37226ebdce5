"""What a data set gives: frames with the labels that are known of them, whatever the files are."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import numpy as np

from rangemask.errors import InputError
from rangemask.geometry.arrays import BoolMap, FloatMap
from rangemask.structures import DepthMap, MaskSet, SemanticMap, StereoFrame
from rangemask.structures.maps import check_map, check_unit_range


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class Sample:
    """A frame and what is known of it; None for kinds of labels that there are not.

    Raises:
        InputError: a label has another size than the left image.
    """

    frame: StereoFrame
    sequence: str = ""
    """Frames of one recording share it; splits go by it, never by frame."""
    disparity: FloatMap | None = None
    """(H, W) float32 px on the left image, NaN where unknown."""
    depth: DepthMap | None = None
    """Of the left image, with its kind."""
    weight: FloatMap | None = None
    """(H, W) float32 in [0, 1]: trust in disparity or depth; None: full wherever they are known."""
    visible: BoolMap | None = None
    """(H, W): pixels that the right camera sees as well; None where that is not known."""
    masks: MaskSet | None = None
    semantic: SemanticMap | None = None

    def __post_init__(self) -> None:
        shape = (self.frame.height, self.frame.width)
        if self.disparity is not None:
            check_map(self.disparity, np.float32, "disparity", shape)
        if self.depth is not None:
            check_map(self.depth.values, np.float32, "depth", shape)
        if self.weight is not None:
            check_map(self.weight, np.float32, "weight", shape)
            check_unit_range(self.weight, "weight")
        if self.visible is not None:
            check_map(self.visible, np.bool_, "visible", shape)
        if self.semantic is not None:
            check_map(self.semantic.ids, np.uint8, "semantic ids", shape)
        if self.masks is not None and (self.masks.height, self.masks.width) != shape:
            raise InputError(
                f"{self.frame.name}: the masks are {self.masks.width} x {self.masks.height} px, "
                f"the image {shape[1]} x {shape[0]}."
            )

    @property
    def name(self) -> str:
        """Of the frame."""
        return self.frame.name


class Dataset(Protocol):
    """Samples by number; listing them reads no images, so that thousands open at once."""

    @property
    def names(self) -> tuple[str, ...]:
        """Of all samples, each once, sorted."""
        ...

    @property
    def sequences(self) -> tuple[str, ...]:
        """The recording that each sample belongs to, in the order of ``names``."""
        ...

    @property
    def classes(self) -> tuple[str, ...]:
        """Labels of masks and semantic maps, where the files list them; else empty."""
        ...

    def __len__(self) -> int: ...

    def __getitem__(self, index: int) -> Sample:
        """Read one sample.

        Raises:
            InputError: a file is missing or damaged; names it.
            IndexError: there is no such sample.
        """
        ...

    def __iter__(self) -> Iterator[Sample]: ...
