"""Whether an exported network says what the network says."""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn import functional as F

from rangemask.backends.stereo.onnx import OnnxMatcher
from rangemask.backends.stereo.onnx.fitting import Place
from rangemask.export.errors import ExportError
from rangemask.geometry.arrays import ImageArray

_BLOBS_PX = 8
_SHIFT = 16


@dataclass(frozen=True, kw_only=True, slots=True)
class Parity:
    """torch against onnxruntime on one pair."""

    largest_px: float
    """Largest difference of disparities."""
    mean_px: float
    confidence: float
    """Largest difference of confidences."""
    tolerance_px: float
    """What the largest difference may be."""
    spread_px: float
    """Standard deviation of the disparities that were compared: a constant would prove little."""
    torch_s: float
    """One run of torch."""
    onnx_s: float
    """One run of onnxruntime, the second one."""


def random_pair(height: int, width: int, seed: int) -> tuple[ImageArray, ImageArray]:
    """Blobs and grain, (H, W, 3) uint8 each; the disparity is width / 16 everywhere."""
    generator = torch.Generator().manual_seed(seed)
    shift = max(width // _SHIFT, 1)
    long = width + shift
    coarse = (-(-height // _BLOBS_PX), -(-long // _BLOBS_PX))
    blobs = torch.rand((1, 3, *coarse), generator=generator)
    blobs = F.interpolate(blobs, (height, long), mode="bilinear")
    grain = torch.rand((1, 3, height, long), generator=generator)
    picture = (255 * (0.8 * blobs + 0.2 * grain))[0].permute(1, 2, 0).to(torch.uint8).numpy()
    return picture[:, :width].copy(), picture[:, shift:].copy()


def check_parity(
    module: nn.Module,
    matcher: OnnxMatcher,
    pair: tuple[ImageArray, ImageArray],
    tolerance_px: float,
) -> Parity:
    """Compare on one pair.

    Args:
        module: what was exported.
        matcher: what came of it.
        pair: (H, W, 3) uint8 each, of the size of the export.
        tolerance_px: largest difference of disparities that passes; a tenth of it, as a number
            in [0, 1], is what confidences may differ by.

    Raises:
        ExportError: they differ by more, or torch's answer is not finite.
    """
    height, width = pair[0].shape[:2]
    began = time.perf_counter()
    with torch.inference_mode():
        expected, confidence = (_grid(one) for one in module(_batch(pair[0]), _batch(pair[1])))
    torch_s = time.perf_counter() - began
    place = Place(height=height, width=width, content_height=height, content_width=width)
    matcher.infer(*pair, place)  # the first run allocates
    began = time.perf_counter()
    found, sure = matcher.infer(*pair, place)
    onnx_s = time.perf_counter() - began
    assert sure is not None  # noqa: S101 - the sidecar of an export names it
    if not np.isfinite(expected).all():
        raise ExportError("the network's own answer is not finite; are its weights damaged?")
    off = np.abs(found - expected)
    parity = Parity(
        largest_px=float(off.max()),
        mean_px=float(off.mean()),
        confidence=float(np.abs(sure - confidence).max()),
        tolerance_px=tolerance_px,
        spread_px=float(expected.std()),
        torch_s=torch_s,
        onnx_s=onnx_s,
    )
    if not (parity.largest_px <= tolerance_px and parity.confidence <= tolerance_px / 10):
        raise ExportError(
            f"the exported network differs from the network by up to {parity.largest_px:.3g} px "
            f"({parity.mean_px:.3g} px on average) and {parity.confidence:.3g} in confidence on a "
            f"random pair, and {tolerance_px:g} px are allowed; nothing was written. Try another "
            "--opset, or allow more with --tolerance if that is enough for you."
        )
    return parity


def _batch(image: ImageArray) -> Tensor:
    return torch.from_numpy(image).permute(2, 0, 1)[None].float()


def _grid(values: Tensor) -> NDArray[np.float32]:
    grid: NDArray[np.float32] = values[0, 0].numpy()
    return grid
