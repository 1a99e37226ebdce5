"""Stereo matcher ``foundation-stereo``: FoundationStereo on frames."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace

import cv2
import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from rangemask.backends.residence import OutOfMemoryError, is_out_of_memory, parse_bytes
from rangemask.backends.stereo.foundation_stereo.config import FoundationStereoOptions
from rangemask.backends.stereo.foundation_stereo.memory import Kind
from rangemask.backends.stereo.foundation_stereo.plan import Limits, Run, gigabytes, plan_run
from rangemask.errors import InputError
from rangemask.geometry import Rig
from rangemask.geometry.arrays import BoolMap, FloatMap, ImageArray
from rangemask.models.foundation_stereo.config import QUARTER
from rangemask.models.foundation_stereo.inference import Padding, infer
from rangemask.models.foundation_stereo.network import FoundationStereo, StereoOutput
from rangemask.models.heads.stereo.volume import mass_around
from rangemask.structures import Passport, StereoFrame, StereoMatch

logger = logging.getLogger(__name__)

LARGE = ("base", "large", "giant")
"""Vision transformers that the table counts as ViT-L."""


@dataclass(frozen=True, slots=True, eq=False, kw_only=True)
class FoundationStereoMatch(StereoMatch):
    """What FoundationStereo found for one frame."""

    beyond: BoolMap
    """(H, W): the disparity lies beyond what the volume holds; confidence 0."""
    max_disparity_px: float
    """What the volume holds, in pixels of the frame."""
    near_limit_m: float | None
    """The depth that this implies: nothing nearer can be measured. None without a rig."""
    run: Run
    """How it was run; within a memory budget, what was planned."""
    passport: Passport
    """The matcher's, with what was planned for this frame."""


class FoundationStereoMatcher:
    """Disparity of a rectified pair.

    Args:
        network: with weights, on its device.
        passport: what it is.
        options: how it is run.
        dtype: what it computes in.
    """

    def __init__(
        self,
        network: FoundationStereo,
        passport: Passport,
        options: FoundationStereoOptions | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self.network = network
        self.options = (options or FoundationStereoOptions()).completed({})
        self.dtype = dtype
        self._passport = passport
        given = self.options.memory_budget
        self._own_bytes = None if given is None else parse_bytes(given)
        self._shared_bytes: int | None = None
        self._taken_bytes = 0
        self._warned = False
        self._said: set[Run] = set()

    @property
    def passport(self) -> Passport:
        """What it is and under which licence."""
        budget = self._budget_bytes
        if budget is None:
            return self._passport
        return replace(self._passport, options={**self._passport.options, "memory_budget": budget})

    @property
    def _budget_bytes(self) -> int | None:
        given = [one for one in (self._own_bytes, self._shared_bytes) if one is not None]
        return min(given, default=None)

    def plan_within(self, budget_bytes: int, taken_bytes: int = 0) -> None:
        """Keep to a budget that several models share, from the next frame on.

        Args:
            budget_bytes: of all; the smaller one counts where the options state one as well.
            taken_bytes: by others, who cannot make room.
        """
        self._shared_bytes, self._taken_bytes = budget_bytes, taken_bytes

    @property
    def networks(self) -> tuple[FoundationStereo, ...]:
        """What can be moved between devices."""
        return (self.network,)

    def __call__(
        self, frame: StereoFrame, *, start_px: FloatMap | None = None
    ) -> FoundationStereoMatch:
        """Match one frame.

        The network states a disparity everywhere, and nothing is filled. Where it is not
        positive, or beyond ``z_far_m``, it is unknown. Where the match would lie outside the right
        image, a pixel counts as occluded. Disparities beyond the largest are flagged, and the log
        says once what can be measured.

        Confidence is the share of the volume's probability that lies around the final disparity:
        up to 4 px away it counts in full, from 8 px on not at all (pixels after ``scale``); the
        student's is of the same kind.

        Args:
            frame: rectified, with a right image.
            start_px: (H, W) disparity to refine, instead of the volume's own guess.

        Raises:
            InputError: the frame has no right image or is too small, ``start_px`` has another
                size, or ``z_far_m`` is set and there is no rig with a baseline.
        """
        if frame.right is None:
            raise InputError(
                f"{frame.name}: a stereo matcher needs a right image. Give it, or use a depth "
                "model instead."
            )
        self._check_far(frame)
        run = plan_run(self.options, frame.height, frame.width, frame.name, limits=self._limits())
        self._say(run, frame.name)
        start = None if start_px is None else _start(start_px, frame, run)
        with _in_words(frame, run):
            found, padding = self._infer(frame.left, frame.right, run, start)
        disparity = _full_size(found.disparity_px, frame) * np.float32(frame.width / run.width)
        confidence = _full_size(padding.removed(_confidence(found)), frame)
        return self._judged(frame, run, disparity, np.clip(np.nan_to_num(confidence), 0, 1))

    def _limits(self) -> Limits | None:
        budget = self._budget_bytes
        if budget is None:
            return None
        own, shared = self._own_bytes, self._shared_bytes
        left = [one for one in (own, shared and shared - self._taken_bytes) if one is not None]
        return Limits(
            budget_bytes=min(left),
            weights_bytes=sum(
                tensor.nbytes for tensor in (*self.network.parameters(), *self.network.buffers())
            ),
            kind=Kind(self.network.config.vit in LARGE, self.dtype != torch.float32),
            device=next(self.network.parameters()).device.type,
        )

    def _say(self, run: Run, name: str) -> None:
        """What was planned, once per size."""
        if run.peak_bytes is None or run in self._said:
            return
        self._said.add(run)
        smaller = run.scale < self.options.scale
        logger.log(
            logging.WARNING if smaller else logging.INFO,
            "%s: memory_budget %s: scale %.3g (%d x %d px), %s; at most %s is expected%s",
            name,
            gigabytes(self._budget_bytes or 0),
            *(run.scale, run.width, run.height, str(self.dtype).removeprefix("torch.")),
            gigabytes(run.peak_bytes),
            ". A larger budget, or a smaller max_disparity_px, keeps more detail" * smaller,
        )

    def _passport_of(self, run: Run) -> Passport:
        if run.peak_bytes is None:
            return self.passport
        planned = {
            "scale": run.scale,
            "expected_peak_bytes": run.peak_bytes,
        }
        return replace(self.passport, options={**self.passport.options, **planned})

    @torch.inference_mode()
    def _infer(
        self, left: ImageArray, right: ImageArray, run: Run, start: Tensor | None
    ) -> tuple[StereoOutput, Padding]:
        device = next(self.network.parameters()).device
        pair = [_batch(image, run).to(device) for image in (left, right)]
        with torch.autocast(device.type, self.dtype, enabled=self.dtype != torch.float32):
            return infer(
                self.network,
                *pair,
                iterations=run.iterations,
                max_disparity_px=run.max_disparity_px,
                hierarchical=run.hierarchical and start is None,
                start_px=None if start is None else start.to(device),
                slabs=run.slabs,
            )

    def _judged(
        self, frame: StereoFrame, run: Run, disparity: FloatMap, confidence: FloatMap
    ) -> FoundationStereoMatch:
        known = np.isfinite(disparity) & (disparity > 0)
        known &= disparity >= self._least_px(frame.rig)
        disparity = np.where(known, disparity, np.float32(np.nan))
        largest_px = run.max_disparity_px / run.scale
        beyond = disparity > largest_px
        confidence[~known | beyond] = 0
        near_m = _near_limit_m(frame.rig, largest_px)
        if beyond.any() and not self._warned:
            self._warned = True
            _warn(frame.name, float(beyond.mean()), largest_px, near_m)
        return FoundationStereoMatch(
            disparity=disparity,
            confidence=confidence,
            occluded=np.arange(frame.width, dtype=np.float32) - disparity < 0,
            filled=np.zeros(disparity.shape, dtype=bool),
            beyond=beyond,
            max_disparity_px=largest_px,
            near_limit_m=near_m,
            run=run,
            passport=self._passport_of(run),
        )

    def _least_px(self, rig: Rig | None) -> float:
        far_m = self.options.z_far_m
        if far_m is None or rig is None or rig.baseline_m is None:
            return 0.0
        return float(rig.fx * rig.baseline_m / far_m - rig.doffs_px)

    def _check_far(self, frame: StereoFrame) -> None:
        if self.options.z_far_m is None:
            return
        if frame.rig is None or frame.rig.baseline_m is None:
            raise InputError(
                f"{frame.name}: z_far_m={self.options.z_far_m:g} needs metres, and there is no "
                "rig with a baseline. Give one (--rig), or leave z_far_m out."
            )


@contextmanager
def _in_words(frame: StereoFrame, run: Run) -> Iterator[None]:
    """Where memory runs out, say which options lower the need."""
    try:
        yield
    except RuntimeError as error:
        # The processor's allocator has no type of its own.
        if not is_out_of_memory(error) and "not enough memory" not in str(error):
            raise
        raise OutOfMemoryError(
            f"{frame.name}: memory ran out at {run.width} x {run.height} px "
            f"({str(error).splitlines()[0][:200]}). Use memory_budget, such as "
            "memory_budget='6GB' (--memory-budget 6GB), or a smaller one: it plans scale and more "
            "so that it fits. Or use precision='float16' on CUDA, or a smaller max_disparity_px."
        ) from error


def _near_limit_m(rig: Rig | None, largest_px: float) -> float | None:
    """The nearest depth that the largest disparity allows; None without a baseline."""
    if rig is None or rig.baseline_m is None:
        return None
    return float(rig.fx * rig.baseline_m / (largest_px + rig.doffs_px))


def _warn(name: str, share: float, largest_px: float, near_m: float | None) -> None:
    near = "" if near_m is None else f", so nothing nearer than {near_m:.3g} m can be measured"
    logger.warning(
        "%s: %.1f %% of the disparities are beyond the %g px that max_disparity_px and scale "
        "allow%s; they are flagged, with confidence 0. A larger max_disparity_px, or a "
        "smaller scale, reaches nearer.",
        *(name, 100 * share, largest_px, near),
    )


def _batch(image: ImageArray, run: Run) -> Tensor:
    """(H, W, 3) uint8 to (1, 3, h, w) float in [0, 255]; resized as the authors' demo does it."""
    pixels: np.ndarray = image
    if image.shape[:2] != (run.height, run.width):
        pixels = cv2.resize(image, (run.width, run.height), interpolation=cv2.INTER_LINEAR)
    batch = torch.from_numpy(np.ascontiguousarray(pixels)).permute(2, 0, 1)[None].float()
    return batch.contiguous(memory_format=torch.channels_last)


def _start(start_px: FloatMap, frame: StereoFrame, run: Run) -> Tensor:
    if start_px.shape != (frame.height, frame.width) or not np.isfinite(start_px).all():
        raise InputError(
            f"{frame.name}: start_px must be a disparity in px for every pixel, "
            f"({frame.height}, {frame.width}) and finite, got {start_px.shape}."
        )
    values = torch.from_numpy(start_px.astype(np.float32))[None, None]
    size = (run.height, run.width)
    if size != values.shape[-2:]:
        values = F.interpolate(values, size, mode="bilinear")
    return values * (run.width / frame.width)


def _full_size(values: Tensor, frame: StereoFrame) -> FloatMap:
    """(1, 1, h, w) to (H, W) float32 of the frame."""
    size = (frame.height, frame.width)
    if values.shape[-2:] != size:
        values = F.interpolate(values, size, mode="bilinear")
    grid: FloatMap = values[0, 0].float().cpu().numpy().astype(np.float32)
    return grid


def _confidence(found: StereoOutput) -> Tensor:
    """(1, 1, H, W) of the padded pair: probability around the final disparity."""
    share = mass_around(found.logits.softmax(1), found.cells)
    return F.interpolate(share, scale_factor=QUARTER, mode="bilinear")


def with_options(passport: Passport, options: FoundationStereoOptions, precision: str) -> Passport:
    """A passport that says how the network is run."""
    return replace(
        passport,
        options={
            "iterations": options.iterations,
            "max_disparity_px": options.max_disparity_px,
            "scale": options.scale,
            "hierarchical": options.hierarchical,
            "attention": options.attention,
            "z_far_m": options.z_far_m,
            "precision": precision,
        },
    )
