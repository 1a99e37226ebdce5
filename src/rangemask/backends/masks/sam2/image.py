"""An image that SAM 2.1 has encoded, and prompts on it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import Sam2Model, Sam2VideoModel

from rangemask.backends.masks.prompting import (
    Labels,
    Points,
    PromptAnswer,
    Prompts,
    read_prompts,
)
from rangemask.backends.options import check_aspect
from rangemask.errors import InputError
from rangemask.geometry.arrays import BoolMap, ImageArray
from rangemask.models.heads.masks.merging import masks_at_size
from rangemask.models.sam2.presets import EMBEDDING_STRIDE_PX
from rangemask.models.sam2.prompting import (
    Sam2Answer,
    Sam2Features,
    computing,
    decode,
    encode,
    resized,
)

PER_BATCH = 32
"""Prompts that the decoder sees at once: some 15 MB each."""
PER_BATCH_ON_CPU = 4
"""More do not fit into its cache, and take longer each."""


def batch_size(device: torch.device) -> int:
    """How many prompts are best decoded at once."""
    return PER_BATCH_ON_CPU if device.type == "cpu" else PER_BATCH


def encode_image(network: Sam2Model, image: ImageArray) -> Sam2Features:
    """Features of (H, W, 3) uint8 RGB.

    Raises:
        InputError: it is no such image, or a strip.
    """
    batch = image_batch(network, image)
    with torch.inference_mode(), computing(network):
        return encode(network, batch)


def image_batch(network: Sam2Model | Sam2VideoModel, image: ImageArray) -> Tensor:
    """(H, W, 3) uint8 RGB as (1, 3, S, S), normalised, on the network's device.

    Raises:
        InputError: it is no such image, or a strip.
    """
    if image.dtype != np.uint8 or image.ndim != 3 or image.shape[2] != 3 or 0 in image.shape:
        raise InputError(f"an image must be (H, W, 3) uint8 RGB, got {image.dtype} {image.shape}.")
    check_aspect(*image.shape[:2])
    device = network.no_memory_embedding.device
    batch = torch.from_numpy(np.ascontiguousarray(image)).to(device).permute(2, 0, 1)[None]
    return resized(batch, side_px(network))


def side_px(network: Sam2Model | Sam2VideoModel) -> int:
    """Both sides of the network's input."""
    return network.prompt_encoder.image_embedding_size[0] * EMBEDDING_STRIDE_PX


class Sam2Image:
    """An encoded image; see ``backends.masks.prompting.EncodedImage``.

    Args:
        network: who encoded it.
        features: of a batch of one.
        image_size: height and width of the image, px.
    """

    def __init__(
        self, network: Sam2Model, features: Sam2Features, image_size: tuple[int, int]
    ) -> None:
        self.features = features
        self.image_size = image_size
        self._network = network

    def predict(
        self,
        points: Points | None = None,
        point_labels: Labels | None = None,
        boxes: Sequence[Sequence[float]] | NDArray[Any] | None = None,
        mask_input: NDArray[Any] | None = None,
        multimask: bool = False,
    ) -> PromptAnswer:
        """Masks for prompts; see ``EncodedImage.predict``.

        Prompts with different numbers of points may be given together; each is answered as if it
        had been asked alone.

        Args:
            points: per prompt its points, x and y in px of the image; P lists.
            point_labels: 1 for inside, 0 for outside, like ``points``; None for all inside.
            boxes: (P, 4), left, top, right, bottom in px.
            mask_input: (P, 256, 256) or (P, 1, 256, 256) logits of an earlier answer.
            multimask: three masks per prompt, for ambiguous ones, or one.

        Raises:
            InputError: nothing is asked, a shape is wrong, or a prompt lies outside the image.
        """
        answer = self.ask(points, point_labels, boxes, mask_input, multimask=multimask)
        masks = masks_at_size(answer.logits.flatten(0, 1), *self.image_size)
        return PromptAnswer(
            masks.unflatten(0, answer.iou.shape).cpu().numpy(),
            answer.iou.cpu().numpy(),
            answer.logits.cpu().numpy(),
        )

    def masks_at(self, points: Sequence[tuple[float, float]]) -> BoolMap:
        """The best mask at each point, (N, H, W) bool.

        Raises:
            InputError: there are no points, or one lies outside the image.
        """
        answer = self.ask([[point] for point in points])
        return masks_at_size(answer.logits[:, 0], *self.image_size).cpu().numpy()

    def ask(
        self,
        points: Points | None = None,
        point_labels: Labels | None = None,
        boxes: Sequence[Sequence[float]] | NDArray[Any] | None = None,
        mask_input: NDArray[Any] | None = None,
        *,
        multimask: bool = False,
    ) -> Sam2Answer:
        """As ``predict``, but masks stay logits on the device.

        Raises:
            InputError: as for ``predict``.
        """
        prompts = read_prompts(
            points,
            point_labels,
            boxes,
            mask_input,
            image_size=self.image_size,
            device=self.features.embedding.device,
        )
        side = 4 * self.features.embedding.shape[-1]
        if prompts.masks is not None and prompts.masks.shape[-2:] != (side, side):
            raise InputError(
                f"mask_input must be low_res_logits of an earlier answer, (P, {side}, {side}), "
                f"got {tuple(prompts.masks.shape[1:])}."
            )
        answers, order = [], []
        with torch.inference_mode(), computing(self._network):
            for rows, count in _alike(prompts):
                answers.append(self._decode(prompts, rows, count, multimask=multimask))
                order.append(rows)
        back = torch.cat(order).argsort()
        return Sam2Answer(
            torch.cat([answer.logits for answer in answers])[back],
            torch.cat([answer.iou for answer in answers])[back],
        )

    def _decode(self, prompts: Prompts, rows: Tensor, count: int, *, multimask: bool) -> Sam2Answer:
        """The answer to some prompts, all with as many points."""
        height, width = self.image_size
        side = side_px(self._network)
        # Plain multiples, as published, though centres of pixels then are not where they were.
        points, boxes = prompts.scaled((side / height, side / width), keep_centres=False)
        labels = prompts.labels
        if not count or points is None or labels is None:
            points = labels = None
        else:
            # Given points first, padding last, which is then cut off.
            given_first = (labels[0, rows] < 0).long().argsort(dim=1, stable=True)[:, :count]
            points = points[0, rows].gather(1, given_first[..., None].expand(-1, -1, 2))
            labels = labels[0, rows].gather(1, given_first)
        return decode(
            self._network,
            self.features,
            points=points,
            labels=labels,
            boxes=None if boxes is None else boxes[0, rows],
            masks=None if prompts.masks is None else prompts.masks[0, rows],
            multimask=multimask,
        )


def _alike(prompts: Prompts) -> Iterator[tuple[Tensor, int]]:
    """Which prompts can be decoded together, and how many points each of them has.

    Padding takes part in the decoder's attention, so prompts that need it would be answered
    otherwise than alone.
    """
    if prompts.labels is None:
        some = prompts.boxes if prompts.boxes is not None else prompts.masks
        assert some is not None  # noqa: S101 - something is asked
        counts = torch.zeros(some.shape[1], dtype=torch.long, device=some.device)
    else:
        counts = (prompts.labels[0] >= 0).sum(1)
    for count in counts.unique().tolist():
        for rows in torch.nonzero(counts == count)[:, 0].split(batch_size(counts.device)):
            yield rows, count
