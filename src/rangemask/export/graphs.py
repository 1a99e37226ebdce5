"""Stereo matchers as plain modules of two images, which is what is exported."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from rangemask.backends.protocols import StereoMatcher
from rangemask.backends.stereo.foundation_stereo import FoundationStereoMatcher
from rangemask.backends.stereo.onnx import SizeSettings
from rangemask.backends.stereo.student import StudentMatcher
from rangemask.errors import InputError
from rangemask.models.foundation_stereo.config import MULTIPLE_PX, QUARTER
from rangemask.models.foundation_stereo.network import FoundationStereo
from rangemask.models.heads.stereo.volume import mass_around
from rangemask.models.rangemask import RangeMask

_WHITE = 255.0


class Exportable(NamedTuple):
    """A matcher ready to be exported."""

    module: nn.Module
    """Left and right (1, 3, H, W) float RGB in [0, 255] to disparity (px) and confidence, each
    (1, 1, H, W)."""
    multiple_px: int
    """What sides of images must be a multiple of."""
    size: SizeSettings
    """How the matcher brings pairs to its size; the exported network will do the same."""


class FoundationStereoGraph(nn.Module):
    """FoundationStereo in one pass.

    Args:
        network: with weights.
        iterations: rounds of the refinement.
        max_disparity_px: largest disparity of the volume.
    """

    def __init__(self, network: FoundationStereo, iterations: int, max_disparity_px: int) -> None:
        super().__init__()
        self.network = network
        self.iterations, self.max_disparity_px = iterations, max_disparity_px

    def forward(self, left: Tensor, right: Tensor) -> tuple[Tensor, Tensor]:
        """Images (1, 3, H, W) in [0, 255] to disparity and confidence (1, 1, H, W)."""
        found = self.network(
            left, right, iterations=self.iterations, max_disparity_px=self.max_disparity_px
        )
        share = mass_around(found.logits.softmax(1), found.cells)
        confidence = F.interpolate(share, scale_factor=float(QUARTER), mode="bilinear")
        return found.disparity_px, confidence


class StudentGraph(nn.Module):
    """The stereo head of a student, with what it stands on.

    Args:
        network: with weights and a stereo head.
        iterations: refinements; None for the configured number.
        fusion: let the fusion head refine, if there is one.
    """

    def __init__(self, network: RangeMask, iterations: int | None, *, fusion: bool) -> None:
        super().__init__()
        self.network = network
        self.iterations = iterations
        self.heads = ("stereo", "fusion") if fusion and network.fusion is not None else ("stereo",)

    def forward(self, left: Tensor, right: Tensor) -> tuple[Tensor, Tensor]:
        """Images (1, 3, H, W) in [0, 255] to disparity and confidence (1, 1, H, W)."""
        found = self.network(
            left / _WHITE,
            right / _WHITE,
            heads=self.heads,
            stereo_iterations=self.iterations,
        ).stereo
        return found.disparity_px[:, None], found.confidence[:, None]


def exportable(matcher: StereoMatcher, iterations: int | None = None) -> Exportable:
    """A matcher as a module of two images.

    Args:
        matcher: ``foundation-stereo`` or a student, on the CPU in float32.
        iterations: refinements; None for as many as the matcher does.

    Raises:
        InputError: it is no network that can be exported, is elsewhere, or has options that
            are no part of one.
    """
    if isinstance(matcher, FoundationStereoMatcher):
        module, multiple, size = _foundation_stereo(matcher, iterations)
    elif isinstance(matcher, StudentMatcher):
        network = matcher.student.network
        module = StudentGraph(network, iterations, fusion=matcher.config.fusion)
        multiple = network.config.multiple_px
        size = SizeSettings(fit="resize", interpolation="cubic", multiple=multiple)
    else:
        raise InputError(
            f"{matcher.passport.model} cannot be exported; foundation-stereo and student:PATH can."
        )
    kinds = {(one.device.type, one.dtype) for one in module.parameters()}
    if kinds != {("cpu", torch.float32)}:
        raise InputError(
            "networks are exported from the CPU in float32; load the matcher with "
            'device="cpu", precision="float32".'
        )
    return Exportable(module.train(False), multiple, size)


def _foundation_stereo(
    matcher: FoundationStereoMatcher, iterations: int | None
) -> tuple[nn.Module, int, SizeSettings]:
    asked = matcher.options
    if asked.hierarchical or asked.scale != 1 or asked.z_far_m is not None:
        raise InputError(
            "an export is one pass at one size: leave hierarchical, scale and z_far_m out, and "
            "export at the size that you want."
        )
    assert asked.iterations is not None and asked.max_disparity_px is not None  # noqa: S101, PT018
    count = asked.iterations if iterations is None else iterations
    module = FoundationStereoGraph(matcher.network, count, asked.max_disparity_px)
    size = SizeSettings(fit="pad", multiple=MULTIPLE_PX, least_px=MULTIPLE_PX)
    return module, MULTIPLE_PX, size
