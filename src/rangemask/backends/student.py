"""A student at work on frames: what its stereo, depth and mask roles share.

One pass serves all roles: whoever asks first for a frame pays, the others read the same output.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor

from rangemask.backends.options import LoadOptions
from rangemask.errors import InputError
from rangemask.geometry.arrays import FloatMap, ImageArray
from rangemask.models.config import RangeMaskConfig
from rangemask.models.pretrained import WEIGHTS_FILE, load_model, size_for
from rangemask.models.rangemask import RangeMask, RangeMaskOutput
from rangemask.models.weights import sha256_of
from rangemask.structures import Passport, StereoFrame
from rangemask.structures.passport import LicenceClass

TERMS: tuple[LicenceClass, ...] = ("commercial-ok", "research-only")


@dataclass(frozen=True, kw_only=True, slots=True)
class StudentConfig:
    """Options that all roles of a student have.

    Raises:
        InputError: the size is not positive.
    """

    input_size_px: int | None = None
    """Short side of the network's input; None for the size that the student was made for."""
    fusion: bool = True
    """Let the fusion head refine, if the student has one."""

    def __post_init__(self) -> None:
        if self.input_size_px is not None and self.input_size_px < 1:
            raise InputError(f"input_size_px must be positive, got {self.input_size_px}.")


class Student:
    """A network, and what it said of the last frame.

    Args:
        network: with weights, on its device.
        folder: where it was loaded from; None for one that is held in memory.
    """

    def __init__(self, network: RangeMask, folder: str | Path | None = None) -> None:
        self.network = network
        self._weights = None if folder is None else Path(folder) / WEIGHTS_FILE
        self._heads: set[str] = {"fusion"} & set(network.config.heads)
        self._last: tuple[StereoFrame, StudentConfig, RangeMaskOutput] | None = None
        self._sha256: str | None = None

    def join(self, role: str, *heads: str) -> None:
        """Say that a role will read heads, so that the one pass computes them.

        Raises:
            InputError: the student has none of them.
        """
        there = set(heads) & set(self.network.config.heads)
        if not there:
            raise InputError(
                f"this student has no {' or '.join(heads)} head, so it cannot be a {role} model; "
                f"it has {', '.join(self.network.config.heads)}."
            )
        self._heads |= there

    def look(self, frame: StereoFrame, config: StudentConfig) -> RangeMaskOutput:
        """What all joined heads say of a frame; computed once per frame."""
        if self._last is None or self._last[0] is not frame or self._last[1] != config:
            right = frame.right if "stereo" in self._heads else None
            size = network_size(self.network.config, frame.height, frame.width, config)
            with torch.inference_mode():
                output = self.network(
                    self.image_batch(frame.left, size),
                    None if right is None else self.image_batch(right, size),
                    heads=self._heads,
                    fusion=config.fusion,
                )
            self._last = (frame, config, output)
        return self._last[2]

    def image_batch(self, image: ImageArray, size: tuple[int, int]) -> Tensor:
        """(H, W, 3) uint8 to (1, 3, h, w) float in [0, 1] on the network's device."""
        shrinks = size[0] < image.shape[0]
        how = cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR
        resized = cv2.resize(image, size[::-1], interpolation=how)
        device = next(self.network.parameters()).device
        batch = torch.from_numpy(resized).to(device).permute(2, 0, 1)[None]
        return batch.to(torch.float32, memory_format=torch.channels_last) / 255

    def passport(self, role: str, config: StudentConfig) -> Passport:
        """What the student is in a role, and under which terms."""
        card = self.network.card
        licences = sorted({source.licence for source in card.sources})
        terms: LicenceClass = next((known for known in TERMS if known == card.terms), "unknown")
        if self._weights is not None and self._sha256 is None:
            self._sha256 = sha256_of(self._weights)
        return Passport(
            role=role,
            model="student",
            licence=", ".join(licences) or "unknown: random weights",
            licence_class=terms,
            weights=None if self._weights is None else self._weights.parent.name,
            weights_sha256=self._sha256,
            options={"input_size_px": config.input_size_px, "fusion": config.fusion},
        )


def network_size(
    model: RangeMaskConfig, height: int, width: int, config: StudentConfig
) -> tuple[int, int]:
    """Height and width of the network's input: aspect kept, as nearly as multiples allow."""
    short_px = config.input_size_px or model.input_size_px
    scale = short_px / min(height, width)
    return size_for(model, height * scale), size_for(model, width * scale)


def at_frame_size(values: Tensor, frame: StereoFrame) -> FloatMap:
    """(h, w) on the network's grid to (H, W) float32, bilinear; not finite becomes NaN."""
    grid = values.float().cpu().numpy()
    resized = cv2.resize(grid, (frame.width, frame.height), interpolation=cv2.INTER_LINEAR)
    return np.where(np.isfinite(resized), resized, np.nan).astype(np.float32)


def shared_student(given: LoadOptions) -> Student:
    """The student of a folder, loaded once for all roles that one pipeline gives it.

    Raises:
        InputError: no folder was named, or it is not a student.
    """
    if given.checkpoint is None:
        raise InputError("a student is asked for with its folder: student:PATH.")
    key = f"student:{Path(given.checkpoint).resolve()}:{given.device}:{given.precision}"
    if key not in given.shared:
        network = load_model(given.checkpoint, device=given.device, precision=given.precision)
        given.shared[key] = Student(network, given.checkpoint)
    student: Student = given.shared[key]
    return student
