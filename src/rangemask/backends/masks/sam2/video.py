"""Objects followed through a clip, frame by frame, with a memory that does not grow.

A memory of the last frames and of the first one, as published (arXiv 2408.00714, section 4);
what no later frame will read is dropped as soon as that is known.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional as F
from transformers import Sam2VideoModel
from transformers.models.sam2_video.modeling_sam2_video import Sam2VideoInferenceSession

from rangemask.backends.masks.prompting import Labels, Points, numbers, read_prompts
from rangemask.backends.masks.sam2.automatic import LABEL
from rangemask.backends.masks.sam2.cleaning import Crop, full_size
from rangemask.backends.masks.sam2.image import image_batch, side_px
from rangemask.errors import InputError
from rangemask.geometry.arrays import BoolMap, ImageArray
from rangemask.models.sam2.loading import load_sam2_video
from rangemask.models.sam2.prompting import computing
from rangemask.structures import MaskSet

_CORNERS = (2, 3)
"""Labels of points that are a box's upper left and lower right corner."""
_FIRST = 0
_READ_LONGER = frozenset({"object_pointer"})
_READ = frozenset({"maskmem_features", "maskmem_pos_enc", "object_pointer"})
"""What later frames read of a frame, and for how long; masks are read by none."""


class Sam2Video:
    """SAM 2.1 for clips.

    Args:
        network: with weights, on its device.
    """

    def __init__(self, network: Sam2VideoModel) -> None:
        self.network = network

    @classmethod
    def load(
        cls,
        name: str,
        *,
        checkpoint: str | Path | None = None,
        device: str = "auto",
        precision: str = "auto",
    ) -> Sam2Video:
        """By name, as ``rangemask.load_masks`` does, from the same files.

        Raises:
            InputError: the name is unknown, or the checkpoint cannot be used.
        """
        network, _ = load_sam2_video(
            name, checkpoint=checkpoint, device=device, precision=precision
        )
        return cls(network)

    def start(
        self,
        image: ImageArray,
        *,
        points: Points | None = None,
        point_labels: Labels | None = None,
        boxes: Sequence[Sequence[float]] | NDArray[Any] | None = None,
        masks: BoolMap | MaskSet | None = None,
        labels: Sequence[str] | None = None,
    ) -> Sam2Track:
        """Say on the first frame what to follow.

        Args:
            image: (H, W, 3) uint8 RGB.
            points: per object its points, as for ``EncodedImage.predict``.
            point_labels: likewise.
            boxes: (N, 4), left, top, right, bottom in px, alone or with points.
            masks: (N, H, W) bool, instead of points and boxes.
            labels: a name for each object; those of a ``MaskSet``, or "object".

        Raises:
            InputError: nothing is asked, points or boxes come with masks, a mask is empty or of
                another size, or a prompt lies outside the image.
        """
        prompts: list[Tensor] | list[tuple[Tensor, Tensor]]
        device = self.network.no_memory_embedding.device
        size = (image.shape[0], image.shape[1])
        if masks is not None:
            if points is not None or boxes is not None:
                raise InputError("give masks, or points and boxes, not both.")
            labels = masks.labels if labels is None and isinstance(masks, MaskSet) else labels
            prompts = _mask_prompts(masks, size, side_px(self.network), device)
        else:
            asked = read_prompts(points, point_labels, boxes, None, image_size=size, device=device)
            scale = side_px(self.network) / size[0], side_px(self.network) / size[1]
            where, corners = asked.scaled(scale, keep_centres=False)
            prompts = _point_prompts(where, asked.labels, corners)
        names = (LABEL,) * len(prompts) if labels is None else tuple(labels)
        if len(names) != len(prompts):
            raise InputError(f"expected {len(prompts)} labels, one per object, got {len(names)}.")
        return Sam2Track(self.network, image, prompts, names)

    def propagate(self, images: Iterable[ImageArray], **prompts: Any) -> Iterator[MaskSet]:
        """Masks of every frame of a clip, the first one too; frames are read one at a time.

        Args:
            images: (H, W, 3) uint8 RGB each, of one size.
            **prompts: on the first frame, as for ``start``.

        Raises:
            InputError: as for ``start``; there are no frames, or one has another size.
        """
        frames = iter(images)
        first = next(frames, None)
        if first is None:
            raise InputError("there are no frames to propagate through.")
        track = self.start(first, **prompts)
        yield track.first
        for image in frames:
            yield track.step(image)


class Sam2Track:
    """Objects that are being followed; made by ``Sam2Video.start``.

    Args:
        network: SAM 2.1 with its memory.
        image: the first frame.
        prompts: per object a mask, (1, 1, S, S), or points (1, 1, K, 2) and their labels.
        labels: per object its name.
    """

    first: MaskSet
    """Masks on the first frame."""

    def __init__(
        self,
        network: Sam2VideoModel,
        image: ImageArray,
        prompts: Sequence[Tensor | tuple[Tensor, Tensor]],
        labels: tuple[str, ...],
    ) -> None:
        self.labels = labels
        self._network = network
        self._size = (image.shape[0], image.shape[1])
        device = network.no_memory_embedding.device
        self._session = Sam2VideoInferenceSession(
            video_height=self._size[0],
            video_width=self._size[1],
            inference_device=device,
            inference_state_device=device,
            video_storage_device=device,
            dtype=torch.float32,
        )
        for number, prompt in enumerate(prompts):
            index = self._session.obj_id_to_idx(number)
            if isinstance(prompt, Tensor):
                self._session.add_mask_inputs(index, _FIRST, prompt)
            else:
                given = {"point_coords": prompt[0], "point_labels": prompt[1]}
                self._session.add_point_inputs(index, _FIRST, given)
        self._session.obj_with_new_inputs = list(range(len(prompts)))
        self._next = _FIRST
        self.first = self.step(image)

    @property
    def ids(self) -> tuple[int, ...]:
        """Number of each object; mask i of every frame is that of object ``ids[i]``."""
        return tuple(range(len(self.labels)))

    @property
    def state_bytes(self) -> int:
        """Memory that is held from frame to frame, beside the network's."""
        return sum(value.nbytes for value in _tensors(vars(self._session)))

    def step(self, image: ImageArray) -> MaskSet:
        """The masks on the next frame.

        Args:
            image: (H, W, 3) uint8 RGB, of the first frame's size.

        Returns:
            One mask per object in the order of ``ids``, empty where the object is hidden. The
            score is the model's own guess that it is to be seen.

        Raises:
            InputError: it is no such image.
        """
        pixels = image_batch(self._network, image)
        if image.shape[:2] != self._size:
            height, width = self._size
            raise InputError(
                f"frames must be of one size: the first was {width} x {height} px, frame "
                f"{self._next} is {image.shape[1]} x {image.shape[0]} px."
            )
        with torch.inference_mode(), computing(self._network):
            found = self._network(self._session, frame_idx=self._next, frame=pixels)
        self._forget()
        self._next += 1
        height, width = self._size
        # Masks that were propagated are left as they are: what is cleaned would be missed later.
        rles = full_size(
            found.pred_masks.flatten(0, -3).float(),
            Crop(0, 0, width, height),
            self._size,
            min_region_px=0,
        )
        scores = found.object_score_logits.float().sigmoid().flatten().tolist()
        return MaskSet(height, width, tuple(rles), self.labels, tuple(scores))

    def _forget(self) -> None:
        """Drop what no later frame will read."""
        session, now = self._session, self._next
        config = self._network.config
        session.processed_frames = None
        session.cache.clear_all()
        oldest_memory = now + 1 - (config.num_maskmem - 1)
        oldest_pointer = now + 1 - (config.max_object_pointers_in_encoder - 1)
        for index, outputs in session.output_dict_per_obj.items():
            for output in outputs["cond_frame_outputs"].values():
                _keep(output, _READ)
            recent = outputs["non_cond_frame_outputs"]
            for frame, output in list(recent.items()):
                _keep(output, _READ if frame >= oldest_memory else _READ_LONGER)
                if frame < min(oldest_memory, oldest_pointer):
                    del recent[frame]
            session.frames_tracked_per_obj[index].clear()
            session.point_inputs_per_obj[index].clear()
            session.mask_inputs_per_obj[index].clear()


def _keep(output: dict[str, Tensor], read: frozenset[str]) -> None:
    for name in output.keys() - read:
        del output[name]


def _tensors(value: Any) -> Iterator[Tensor]:
    """All that are held in a tree of containers."""
    if isinstance(value, Tensor):
        yield value
    elif isinstance(value, dict | list | tuple):
        for part in value.values() if isinstance(value, dict) else value:
            yield from _tensors(part)


def _point_prompts(
    points: Tensor | None, labels: Tensor | None, boxes: Tensor | None
) -> list[tuple[Tensor, Tensor]]:
    """Per object its points, (1, 1, K, 2), and their labels; a box is two points of their own."""
    some = points if points is not None else boxes
    assert some is not None  # noqa: S101 - something is asked
    found = []
    for index in range(some.shape[1]):
        places, marks = [], []
        if boxes is not None:
            places.append(boxes[0, index].view(2, 2))
            marks.append(torch.tensor(_CORNERS, device=some.device))
        if points is not None and labels is not None:
            given = labels[0, index] >= 0
            places.append(points[0, index, given])
            marks.append(labels[0, index, given])
        found.append((torch.cat(places)[None, None], torch.cat(marks)[None, None]))
    return found


def _mask_prompts(
    masks: BoolMap | MaskSet, size: tuple[int, int], side: int, device: torch.device
) -> list[Tensor]:
    """Per object its mask at the size of the network's input, (1, 1, S, S), of zeros and ones."""
    dense = numbers(np.asarray(masks), "masks must be (N, H, W) bool")
    if dense.ndim != 3 or dense.shape[1:] != size or len(dense) == 0:
        raise InputError(
            f"masks must be (N, {size[0]}, {size[1]}) bool with one mask at least, got "
            f"{dense.shape}."
        )
    empty = np.flatnonzero(~(dense > 0).any((1, 2)))
    if empty.size:
        raise InputError(f"mask {empty[0]} is empty: there is nothing to follow.")
    # As published: with aliasing taken away, and then either inside or not.
    stack = torch.from_numpy(dense)[:, None].to(device)
    wide = F.interpolate(stack, size=(side, side), mode="bilinear", antialias=True)
    return list((wide >= 0.5).float()[:, None])
