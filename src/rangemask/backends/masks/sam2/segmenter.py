"""The segmenter ``sam2.1-*``."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

from transformers import Sam2Model

from rangemask.backends.masks.sam2.automatic import LABEL, AutomaticConfig, find_everything
from rangemask.backends.masks.sam2.image import Sam2Image, encode_image
from rangemask.backends.masks.sam2.labelled import segment_boxes
from rangemask.backends.options import LoadOptions, make_config
from rangemask.backends.passports import published_passport
from rangemask.backends.protocols import TextDetector
from rangemask.backends.registry import GROUNDING_DINO, load
from rangemask.backends.residence import HasNetworks
from rangemask.errors import InputError
from rangemask.geometry.arrays import ImageArray
from rangemask.models.sam2.loading import load_sam2
from rangemask.structures import (
    DepthMap,
    MaskSet,
    Passport,
    Provenance,
    Segmentation,
    StereoFrame,
)


@dataclass(frozen=True, kw_only=True, slots=True)
class Sam2MasksConfig(AutomaticConfig):
    """Options of ``sam2.1-*`` as a segmenter.

    Raises:
        InputError: a number is impossible.
    """

    detector: str = GROUNDING_DINO[0]
    """What finds things by their names, ``NAME`` or ``NAME:PATH``; loaded when names are asked."""
    detector_checkpoint: str | None = None
    """Folder of the detector's weights; None downloads the published ones."""
    box_threshold: float | None = None
    """Boxes that the detector is less sure of are left out; None for the detector's own."""
    text_threshold: float | None = None
    """Words that a box matches less are no part of its name; None for the detector's own."""


class Sam2Segmenter:
    """Objects of the left image.

    Args:
        network: with weights, on its device.
        passport: what it is.
        config: what is kept of everything.
        detector: finds things by their names; or what makes it, once it is needed; or None, and
            names cannot be asked for.
    """

    def __init__(
        self,
        network: Sam2Model,
        passport: Passport,
        config: Sam2MasksConfig | None = None,
        detector: TextDetector | Callable[[], TextDetector] | None = None,
    ) -> None:
        self.network = network
        self.config = config if config is not None else Sam2MasksConfig()
        self._passport = passport
        self._detector = detector if isinstance(detector, TextDetector) else None
        self._make_detector = None if isinstance(detector, TextDetector) else detector

    @property
    def passport(self) -> Passport:
        """What it is and under which licence; with the detector's terms once that is loaded."""
        if self._detector is None:
            return self._passport
        return _joined(self._passport, self._detector.passport)

    @property
    def classes(self) -> tuple[str, ...]:
        """All labels that it gives when none is asked for."""
        return (LABEL,)

    @property
    def networks(self) -> tuple[Any, ...]:
        """What can be moved between devices, with the detector's once that is loaded."""
        text = self._detector.networks if isinstance(self._detector, HasNetworks) else ()
        return (self.network, *text)

    def prepare(self, labels: Sequence[str] | None = None) -> None:
        """Load what labels need, so that the passport is complete before the first frame.

        Raises:
            InputError: there are no labels in the list, or the detector cannot be loaded.
        """
        if labels is not None and not _means_everything(labels):
            self._text()

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
            depth: not looked at.
            labels: names to look for; None, or just "object", for everything.

        Returns:
            Masks that may overlap, best first. The score is the model's own guess of how well the
            mask fits, times the detector's score where names were asked for.

        Raises:
            InputError: the image is a strip, a name cannot be looked for, or the detector cannot
                be loaded.
        """
        if labels is None or _means_everything(labels):
            return Segmentation(find_everything(self.network, frame.left, self.config))
        found = self._text()(frame.left, labels)
        if not len(found):
            return Segmentation(MaskSet(frame.height, frame.width))
        masks = segment_boxes(
            self.encode(frame.left),
            found,
            max_iou=self.config.nms_iou,
            min_region_px=self.config.min_region_px,
        )
        return Segmentation(masks.select(range(min(len(masks), self.config.max_masks))))

    def encode(self, image: ImageArray) -> Sam2Image:
        """Encode an image once, to be asked with points, boxes and masks.

        Args:
            image: (H, W, 3) uint8 RGB.

        Raises:
            InputError: it is no such image, or a strip.
        """
        features = encode_image(self.network, image)
        return Sam2Image(self.network, features, (image.shape[0], image.shape[1]))

    def _text(self) -> TextDetector:
        if self._detector is None:
            if self._make_detector is None:
                raise InputError(
                    f"{self._passport.model} was made without a detector and knows no names; "
                    "leave labels out, or give it one."
                )
            self._detector = self._make_detector()
        return self._detector


def _means_everything(labels: Sequence[str]) -> bool:
    if isinstance(labels, str) or not labels:
        raise InputError(
            f'labels must be a list of names such as ["person", "chair"], got {labels!r}; leave '
            "them out to find everything."
        )
    return set(labels) == {LABEL}


def _joined(masks: Passport, text: Passport) -> Passport:
    """One passport of two models, with the stricter terms."""
    both = Provenance(rangemask_version="", models=(masks, text))
    licences = dict.fromkeys((masks.licence, text.licence))
    return replace(
        masks,
        licence=", ".join(licences),
        licence_class=both.licence_class,
        options={
            **masks.options,
            "detector": text.model,
            "detector_weights": text.weights,
            "detector_sha256": text.weights_sha256,
            **{f"detector_{name}": value for name, value in text.options.items()},
        },
    )


def build(given: LoadOptions, **options: Any) -> Sam2Segmenter:
    """The segmenter for the registry.

    Raises:
        InputError: the checkpoint cannot be used, or an option is unknown or impossible.
    """
    config = make_config(given.name, Sam2MasksConfig, options)
    network, source = load_sam2(
        given.name,
        checkpoint=given.checkpoint,
        device=given.device,
        precision=given.precision,
    )
    automatic = {entry.name: getattr(config, entry.name) for entry in fields(AutomaticConfig)}
    passport = published_passport(
        "masks", given.name, source, {"precision": given.precision, **automatic}
    )

    def detector() -> TextDetector:
        found: TextDetector = load(
            "text",
            config.detector,
            config.detector_checkpoint,
            given.device,
            given.precision,
            options={
                name: value
                for name in ("box_threshold", "text_threshold")
                if (value := getattr(config, name)) is not None
            },
            shared=given.shared,
        )
        return found

    return Sam2Segmenter(network, passport, config, detector)
