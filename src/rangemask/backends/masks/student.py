"""Segmenter ``student:PATH``: the automatic, promptable and semantic heads of a model of ours."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from rangemask.backends.masks.prompting import (
    Labels,
    Points,
    PromptAnswer,
    read_prompts,
)
from rangemask.backends.options import LoadOptions, check_aspect, make_config
from rangemask.backends.student import Student, StudentConfig, network_size, shared_student
from rangemask.errors import InputError
from rangemask.geometry.arrays import BoolMap, ImageArray
from rangemask.models.heads.masks.merging import instances, masks_at_size
from rangemask.models.heads.masks.promptable import PromptEmbedding
from rangemask.models.heads.semantic import semantic_ids
from rangemask.models.rangemask import RangeMask
from rangemask.structures import (
    DepthMap,
    MaskSet,
    Passport,
    Segmentation,
    SemanticMap,
    StereoFrame,
)

UNKNOWN = "unknown"


@dataclass(frozen=True, kw_only=True, slots=True)
class StudentMasksConfig(StudentConfig):
    """Options of a student as a segmenter.

    Raises:
        InputError: a number is impossible.
    """

    min_score: float = 0.5
    """Objects that the student is less sure of are left out."""
    max_instances: int = 100
    """Most objects per image."""

    def __post_init__(self) -> None:
        super(StudentMasksConfig, self).__post_init__()
        if not 0 <= self.min_score <= 1:
            raise InputError(f"min_score must be in [0, 1], got {self.min_score}.")
        if self.max_instances < 1:
            raise InputError(f"max_instances must be at least 1, got {self.max_instances}.")


class StudentSegmenter:
    """Objects of the left image.

    Args:
        student: with a mask, prompt or semantic head.
        config: which objects are given.

    Raises:
        InputError: the student has none of these heads.
    """

    def __init__(self, student: Student, config: StudentMasksConfig | None = None) -> None:
        # Prompts are encoded when they are asked; the pass over a frame does without them.
        if "prompts" not in student.network.config.heads or self._finds(student):
            student.join("masks", "masks", "semantic")
        self.student = student
        self.config = config if config is not None else StudentMasksConfig()
        self._shared = StudentConfig(
            input_size_px=self.config.input_size_px, fusion=self.config.fusion
        )

    @property
    def passport(self) -> Passport:
        """What it is and under which licence."""
        return self.student.passport("masks", self._shared)

    @staticmethod
    def _finds(student: Student) -> bool:
        """Whether it finds something by itself."""
        return bool({"masks", "semantic"} & set(student.network.config.heads))

    @property
    def classes(self) -> tuple[str, ...]:
        """All labels that it gives, objects first."""
        semantic = self.student.network.config.semantic
        found = (*self.labels, *(() if semantic is None else semantic.classes))
        return tuple(dict.fromkeys(found))

    @property
    def labels(self) -> tuple[str, ...]:
        """The classes of its objects."""
        head = self.student.network.config.masks
        return () if head is None else head.classes

    @property
    def networks(self) -> tuple[RangeMask, ...]:
        """What can be moved between devices."""
        return (self.student.network,)

    def __call__(
        self,
        frame: StereoFrame,
        *,
        depth: DepthMap | None = None,
        labels: Sequence[str] | None = None,
    ) -> Segmentation:
        """Find objects in the left image.

        Args:
            frame: what the camera saw.
            depth: not needed; the student's own pass has seen it.
            labels: classes to keep; all without them.

        Raises:
            InputError: the student has no automatic or semantic head, or does not know a label.
        """
        if not self._finds(self.student):
            raise InputError(
                "this student finds nothing by itself: it has a prompt head only. Encode the "
                "image and ask for points or boxes."
            )
        wanted = self._checked(labels)
        output = self.student.look(frame, self._shared)
        semantic = None
        head = self.student.network.config.semantic
        if head is not None and output.semantic_logits is not None:
            ids = semantic_ids(output.semantic_logits, (frame.height, frame.width))
            semantic = SemanticMap(ids[0].cpu().numpy(), (UNKNOWN, *head.classes))
        if output.masks is None:
            return Segmentation(MaskSet(frame.height, frame.width), semantic)
        with torch.inference_mode():
            (found,) = instances(
                output.masks.class_logits.float(),
                output.masks.mask_logits.float(),
                min_score=self.config.min_score,
                max_instances=self.config.max_instances,
            )
            dense = masks_at_size(found.mask_logits, frame.height, frame.width).cpu().numpy()
        names = [self.labels[label] for label in found.labels.tolist()]
        masks = MaskSet.from_dense(dense, labels=names, scores=found.scores.tolist())
        keep = [i for i, rle in enumerate(masks.rles) if rle.area and names[i] in wanted]
        return Segmentation(masks.select(keep), semantic)

    def encode(self, image: ImageArray) -> StudentImage:
        """Encode an image once, to be asked with points, boxes and masks.

        Args:
            image: (H, W, 3) uint8 RGB.

        Raises:
            InputError: the student has no prompt head.
        """
        network = self.student.network
        if network.prompts is None:
            raise InputError(
                "this student cannot be prompted; it has "
                f"{', '.join(network.config.heads)}. Train one with a prompt head."
            )
        height, width = image.shape[:2]
        size = network_size(network.config, height, width, self._shared)
        check_aspect(height, width)
        with self.student.predicting():
            batch = self.student.image_batch(image, size)
            embedding = network(batch, heads=["prompts"]).prompts
        return StudentImage(self.student, embedding, (height, width), size)

    def _checked(self, labels: Sequence[str] | None) -> Sequence[str]:
        if labels is None:
            return self.labels
        known = self.classes
        unknown = [label for label in labels if label not in known]
        if unknown:
            raise InputError(
                f"this student does not know {', '.join(unknown)}; it knows {', '.join(known)}."
            )
        return labels


class StudentImage:
    """An encoded image; see ``backends.masks.prompting.EncodedImage``.

    Args:
        student: who encoded it.
        embedding: of a batch of one.
        image_size: height and width of the image, px.
        network_size: height and width of what the network saw, px.
    """

    def __init__(
        self,
        student: Student,
        embedding: PromptEmbedding,
        image_size: tuple[int, int],
        network_size: tuple[int, int],
    ) -> None:
        self._student = student
        self._embedding = embedding
        self._image_size = image_size
        self._network_size = network_size

    def predict(
        self,
        points: Points | None = None,
        point_labels: Labels | None = None,
        boxes: Sequence[Sequence[float]] | NDArray[Any] | None = None,
        mask_input: NDArray[Any] | None = None,
        multimask: bool = False,
    ) -> PromptAnswer:
        """Masks for prompts; see ``EncodedImage.predict``.

        Raises:
            InputError: nothing is asked, a shape is wrong, or a prompt lies outside the image.
        """
        logits, iou = self._ask(points, point_labels, boxes, mask_input, multimask)
        masks = masks_at_size(logits.flatten(0, 1), *self._image_size)
        return PromptAnswer(
            masks.unflatten(0, logits.shape[:2]).cpu().numpy(),
            iou.cpu().numpy(),
            logits.cpu().numpy(),
        )

    def masks_at(self, points: Sequence[tuple[float, float]]) -> BoolMap:
        """The best mask at each point, (N, H, W) bool.

        Raises:
            InputError: there are no points, or one lies outside the image.
        """
        logits, _ = self._ask([[point] for point in points], None, None, None, False)
        return masks_at_size(logits[:, 0], *self._image_size).cpu().numpy()

    def _ask(
        self,
        points: Points | None,
        labels: Labels | None,
        boxes: Sequence[Sequence[float]] | NDArray[Any] | None,
        mask_input: NDArray[Any] | None,
        multimask: bool,
    ) -> tuple[Tensor, Tensor]:
        """Logits (P, M, h, w) and their IoU (P, M), float32."""
        head = self._student.network.prompts
        assert head is not None  # noqa: S101 - it made the embedding
        prompts = read_prompts(
            points,
            labels,
            boxes,
            mask_input,
            image_size=self._image_size,
            device=self._embedding.image.device,
        )
        height, width = (n / i for n, i in zip(self._network_size, self._image_size, strict=True))
        places, corners = prompts.scaled((height, width), keep_centres=True)
        with self._student.predicting():
            answer = head(
                self._embedding,
                image_size=self._network_size,
                points=places,
                point_labels=prompts.labels,
                boxes=corners,
                mask_input=prompts.masks,
                multimask=multimask,
            )
        return answer.mask_logits[0].float(), answer.iou[0].float()


def build(given: LoadOptions, **options: Any) -> StudentSegmenter:
    """The segmenter for the registry.

    Raises:
        InputError: the folder is not a student with such a head, or an option is unknown.
    """
    config = make_config("student", StudentMasksConfig, options)
    return StudentSegmenter(shared_student(given), config)
