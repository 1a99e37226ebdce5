"""Depth model ``depth-anything-v2-*``: one image to relative inverse depth, or to metres.

Preprocessing and postprocessing are those of the authors' ``infer_image``, so that the numbers
are theirs: the short side to 518 px with both sides multiples of 14, bicubic in OpenCV and
float64; back to the image's size bilinearly with corners aligned.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import cv2
import numpy as np
import torch
from torch.nn import functional as F

from rangemask.backends.options import LoadOptions, check_aspect, make_config
from rangemask.errors import InputError
from rangemask.models.depth_anything import DepthAnything
from rangemask.models.images import DEVIATION, MEAN
from rangemask.models.loading import load_depth_anything
from rangemask.models.presets import PATCH_PX
from rangemask.models.published import PUBLISHED
from rangemask.models.weights import sha256_of
from rangemask.structures import DepthMap, Passport, StereoFrame


@dataclass(frozen=True, kw_only=True, slots=True)
class DepthAnythingConfig:
    """Options of ``depth-anything-v2-*``.

    Raises:
        InputError: a number is impossible.
    """

    input_size_px: int = 518
    """Short side of the network's input, a multiple of 14; published: 518."""
    max_depth_m: float | None = None
    """Farthest depth of a metric model; None for the published 20 m indoors, 80 m outdoors."""

    def __post_init__(self) -> None:
        whole = isinstance(self.input_size_px, int)
        if not whole or self.input_size_px <= 0 or self.input_size_px % PATCH_PX:
            raise InputError(
                f"input_size_px must be a positive multiple of {PATCH_PX}, "
                f"got {self.input_size_px!r}."
            )
        if self.max_depth_m is not None and not 0 < self.max_depth_m < float("inf"):
            raise InputError(f"max_depth_m must be positive and finite, got {self.max_depth_m}.")


class DepthAnythingModel:
    """Depth of the left image.

    Args:
        network: with weights, on its device.
        passport: what it is.
        config: size of the network's input.
    """

    def __init__(
        self, network: DepthAnything, passport: Passport, config: DepthAnythingConfig
    ) -> None:
        self.network = network
        self.config = config
        self._passport = passport

    @property
    def passport(self) -> Passport:
        """What it is and under which licence."""
        return self._passport

    @property
    def networks(self) -> tuple[DepthAnything, ...]:
        """What can be moved between devices."""
        return (self.network,)

    @property
    def metric(self) -> bool:
        """Whether it gives metres."""
        return self.network.depth.config.max_depth_m is not None

    def __call__(self, frame: StereoFrame) -> DepthMap:
        """Depth of the left image: metres, or relative inverse depth; the map says which.

        Raises:
            InputError: the image is so long and thin that the network's input would be huge.
        """
        check_aspect(frame.height, frame.width)
        size = network_size(frame.height, frame.width, self.config.input_size_px)
        images = torch.from_numpy(network_input(frame.left, size))[None]
        device = next(self.network.parameters()).device
        with torch.inference_mode():
            depth = self.network(images.to(device))[:, None]
            depth = F.interpolate(
                depth, (frame.height, frame.width), mode="bilinear", align_corners=True
            )
        values = depth[0, 0].cpu().numpy()
        return DepthMap(values=values, kind="metric_m" if self.metric else "relative_inverse")


def network_size(height: int, width: int, short_px: int) -> tuple[int, int]:
    """Height and width of the network's input: aspect kept, multiples of 14, not below."""
    scale = max(short_px / height, short_px / width)
    return _side(height * scale, short_px), _side(width * scale, short_px)


def _side(length: float, least: int) -> int:
    side = int(np.round(length / PATCH_PX)) * PATCH_PX
    return side if side >= least else int(np.ceil(length / PATCH_PX)) * PATCH_PX


def network_input(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    """(H, W, 3) uint8 RGB to (3, h, w) float32, resized and normalised as published."""
    resized = cv2.resize(image / 255.0, size[::-1], interpolation=cv2.INTER_CUBIC)
    normal = (resized - np.array(MEAN)) / np.array(DEVIATION)
    return np.ascontiguousarray(normal.transpose(2, 0, 1), dtype=np.float32)


def build(given: LoadOptions, **options: Any) -> DepthAnythingModel:
    """The depth model for the registry.

    Raises:
        InputError: the checkpoint cannot be used, or an option is unknown or impossible.
    """
    config = make_config(given.name, DepthAnythingConfig, options)
    network, source = load_depth_anything(
        given.name,
        checkpoint=given.checkpoint,
        device=given.device,
        precision=given.precision,
        max_depth_m=config.max_depth_m,
    )
    published = PUBLISHED[given.name]
    farthest_m = network.depth.config.max_depth_m
    passport = Passport(
        role="depth",
        model=given.name,
        licence=published.licence,
        licence_class=published.terms,
        weights=source.name,
        weights_sha256=sha256_of(source),
        options={
            "input_size_px": config.input_size_px,
            "precision": given.precision,
            **({} if farthest_m is None else {"max_depth_m": farthest_m}),
        },
    )
    return DepthAnythingModel(network, passport, config)
