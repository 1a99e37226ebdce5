"""A student at work on frames: what its stereo, depth and mask roles share.

One pass serves all roles: whoever asks first for a frame pays, the others read the same output.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from rangemask.backends.options import LoadOptions, check_aspect
from rangemask.backends.student_passport import student_passport
from rangemask.backends.two_in_one import TwoInOneStudent
from rangemask.errors import InputError
from rangemask.geometry.arrays import FloatMap, ImageArray
from rangemask.models.config import RangeMaskConfig
from rangemask.models.placement import find_device, find_precision
from rangemask.models.pretrained import load_model, size_for
from rangemask.models.rangemask import RangeMask, RangeMaskOutput
from rangemask.models.two_in_one import TwoInOne
from rangemask.models.weights import find_weights, sha256_of
from rangemask.structures import Passport, StereoFrame


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
        weights: the file that it was loaded from; None for one that is held in memory.
    """

    def __init__(self, network: RangeMask, weights: Path | None = None) -> None:
        self.network = network
        self._folder = None if weights is None else weights.resolve().parent.name
        # At once: the file may change while the network is in use.
        self._sha256 = None if weights is None else sha256_of(weights)
        self._heads: set[str] = {"fusion"} & set(network.config.heads)
        self._last: tuple[StereoFrame, StudentConfig, RangeMaskOutput] | None = None

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
        self._last = None

    def look(self, frame: StereoFrame, config: StudentConfig) -> RangeMaskOutput:
        """What all joined heads say of a frame; computed once per frame.

        Raises:
            InputError: the frame is a strip.
        """
        last = self._last
        if last is not None and last[0] is frame and last[1] == config:
            return last[2]
        check_aspect(frame.height, frame.width)
        right = frame.right if "stereo" in self._heads else None
        size = network_size(self.network.config, frame.height, frame.width, config)
        with self.predicting():
            output: RangeMaskOutput = self.network(
                self.image_batch(frame.left, size),
                None if right is None else self.image_batch(right, size),
                heads=self._heads,
                fusion=config.fusion,
            )
        self._last = (frame, config, output)
        return output

    @contextmanager
    def predicting(self) -> Iterator[None]:
        """Without gradients, and not in the mode for training, in which looking would teach."""
        training = self.network.training
        self.network.train(False)
        try:
            with torch.inference_mode():
                yield
        finally:
            self.network.train(training)

    def image_batch(self, image: ImageArray, size: tuple[int, int]) -> Tensor:
        """(H, W, 3) uint8 to (1, 3, h, w) float in [0, 1] on the network's device.

        Resized as Depth Anything V2 does it, so that its weights give their published depth.
        """
        scaled = image.astype(np.float32) / 255
        resized = cv2.resize(scaled, size[::-1], interpolation=cv2.INTER_CUBIC)
        device = next(self.network.parameters()).device
        batch = torch.from_numpy(resized).to(device).permute(2, 0, 1)[None]
        return batch.contiguous(memory_format=torch.channels_last)

    def passport(self, role: str, config: StudentConfig) -> Passport:
        """What the student is in a role, and under which terms."""
        return student_passport(
            self.network.card,
            role,
            weights=self._folder,
            sha256=self._sha256,
            options={"input_size_px": config.input_size_px, "fusion": config.fusion},
        )


def network_size(
    model: RangeMaskConfig, height: int, width: int, config: StudentConfig
) -> tuple[int, int]:
    """Height and width of the network's input: aspect kept, as nearly as multiples allow."""
    short_px = config.input_size_px or model.input_size_px
    scale = short_px / min(height, width)
    return size_for(model, height * scale), size_for(model, width * scale)


def at_frame_size(values: Tensor, frame: StereoFrame, *, align_corners: bool = False) -> FloatMap:
    """(h, w) on the network's grid to (H, W) float32, bilinear; not finite becomes NaN.

    Args:
        values: the map.
        frame: whose size is wanted.
        align_corners: the DPT depth head aligns the corners of its grids, and so must this; the
            stereo head keeps centres of pixels in place.
    """
    size = (frame.height, frame.width)
    resized = F.interpolate(
        values[None, None].float(), size=size, mode="bilinear", align_corners=align_corners
    )
    grid = resized[0, 0].cpu().numpy()
    return np.where(np.isfinite(grid), grid, np.float32(np.nan))


def shared_student(given: LoadOptions) -> Student:
    """The student of a folder, loaded once for all roles that one pipeline gives it.

    Raises:
        InputError: no folder was named, it is not a student, or a two-in-one network, which has
            no heads.
    """
    student = shared_network(given)
    if isinstance(student, TwoInOneStudent):
        raise InputError(
            f"{given.checkpoint}: is a two-in-one network, which gives depth and disparity but no "
            "masks. Use it with --stereo or --depth, and another segmenter (--masks geometry)."
        )
    return student


def shared_network(given: LoadOptions) -> Student | TwoInOneStudent:
    """Whatever network of ours lies in a folder, loaded once for all roles of one pipeline.

    Raises:
        InputError: no folder was named, or no such network is there.
    """
    if given.checkpoint is None:
        raise InputError("a student is asked for with its folder: student:PATH.")
    key = f"student:{Path(given.checkpoint).resolve()}:{given.device}:{given.precision}"
    if key not in given.shared:
        network = load_model(given.checkpoint, device=given.device, precision=given.precision)
        weights = find_weights(given.checkpoint)
        if isinstance(network, TwoInOne):
            dtype = find_precision(given.precision, find_device(given.device))
            given.shared[key] = TwoInOneStudent(network, weights, dtype)
        else:
            given.shared[key] = Student(network, weights)
    student: Student | TwoInOneStudent = given.shared[key]
    return student
