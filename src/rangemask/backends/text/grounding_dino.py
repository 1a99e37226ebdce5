"""Text detector ``grounding-dino-*``: names of things to boxes around them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from rangemask.backends.options import LoadOptions, check_aspect, make_config
from rangemask.backends.passports import published_passport
from rangemask.backends.protocols import Detections
from rangemask.errors import InputError
from rangemask.geometry.arrays import ImageArray
from rangemask.models.grounding_dino import GroundingDino, load_grounding_dino, match
from rangemask.models.placement import find_precision
from rangemask.structures import Passport

SEPARATOR = ". "
"""Between the names in the text; the network keeps what it separates apart."""
SEPARATORS = ".?"
"""What its tokenizer knows as separators, and so no name may hold."""
_ENDS = 2
"""Tokens that begin and end every text."""


@dataclass(frozen=True, kw_only=True, slots=True)
class DetectorConfig:
    """Options of ``grounding-dino-*``; defaults as published.

    Raises:
        InputError: a threshold is no probability.
    """

    box_threshold: float = 0.35
    """Boxes whose best word matches less are left out."""
    text_threshold: float = 0.25
    """Words that match less count for nothing when a box is given one of several names."""

    def __post_init__(self) -> None:
        for name in ("box_threshold", "text_threshold"):
            if not 0 <= getattr(self, name) <= 1:
                raise InputError(f"{name} must be in [0, 1], got {getattr(self, name)}.")


class Spans(NamedTuple):
    """A text of several names, as tokens."""

    tokens: Tensor
    """(1, T)"""
    kinds: Tensor
    """(1, T)"""
    owners: Tensor
    """(T,), index of the name that a token belongs to; -1 for separators and ends."""


class GroundingDinoDetector:
    """Boxes around things that are named.

    Args:
        model: with weights, on its device.
        passport: what it is.
        config: which boxes are given.
        dtype: of matrix products.
    """

    def __init__(
        self,
        model: GroundingDino,
        passport: Passport,
        config: DetectorConfig | None = None,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        self.model = model
        self.config = config if config is not None else DetectorConfig()
        self._passport = passport
        self._dtype = dtype

    @property
    def passport(self) -> Passport:
        """What it is and under which licence."""
        return self._passport

    @property
    def networks(self) -> tuple[torch.nn.Module, ...]:
        """What can be moved between devices."""
        return (self.model.network,)

    def __call__(self, image: ImageArray, labels: Sequence[str]) -> Detections:
        """Find things by their names, best first.

        A box has the name whose words match it best on average; two names may share words, since
        it is the place of a word in the text that decides, not the word.

        Args:
            image: (H, W, 3) uint8 RGB.
            labels: in plain words, in any case. More than fit into one text are asked for in
                several passes.

        Raises:
            InputError: there are no labels, one is empty, too long, unknown to the vocabulary or
                holds a full stop or question mark; or the image is a strip.
        """
        height, width = image.shape[:2]
        check_aspect(height, width)
        wanted = self._checked(labels)
        prepared = self.model.images(images=image, return_tensors="pt")
        pixels = prepared["pixel_values"].to(self.model.network.device)
        boxes, names, scores = [], [], []
        for group in self._groups(list(wanted)):
            found, owners, best = self._look(pixels, group)
            boxes.append(found)
            names += [wanted[group[owner]] for owner in owners.tolist()]
            scores.append(best)
        order = torch.cat(scores).argsort(descending=True, stable=True).cpu()
        scale = np.array([width, height, width, height], dtype=np.float32)
        return Detections(
            torch.cat(boxes).cpu()[order].numpy() * scale,
            tuple(names[index] for index in order.tolist()),
            torch.cat(scores).cpu()[order].numpy(),
        )

    def _look(self, pixels: Tensor, names: list[str]) -> tuple[Tensor, Tensor, Tensor]:
        """Boxes (n, 4) as shares of the image, the index of the name and the score of each."""
        text = self._spans(names)
        halves = self._dtype != torch.float32
        with (
            torch.inference_mode(),
            torch.autocast(pixels.device.type, self._dtype, enabled=halves),
        ):
            found = match(self.model.network, pixels, text.tokens, text.kinds)
        best, owners = name_scores(
            found.probabilities, text.owners, len(names), self.config.text_threshold
        )
        kept = best >= self.config.box_threshold
        return found.boxes[kept], owners[kept], best[kept]

    def _spans(self, names: list[str]) -> Spans:
        text = SEPARATOR.join(names) + SEPARATOR.strip()
        coded = self.model.tokenizer(text, return_offsets_mapping=True)
        starts = np.cumsum([0, *(len(name) + len(SEPARATOR) for name in names[:-1])])
        ends = starts + [len(name) for name in names]
        offsets = np.array(coded["offset_mapping"])
        owners = np.searchsorted(starts, offsets[:, 0], side="right") - 1
        # Ends of the text have no characters, separators lie behind their name.
        outside = (offsets[:, 1] <= offsets[:, 0]) | (offsets[:, 1] > ends[owners])
        device = self.model.network.device
        ids = torch.tensor([coded["input_ids"]], device=device)
        return Spans(
            ids,
            torch.zeros_like(ids),
            torch.from_numpy(np.where(outside, -1, owners)).to(device),
        )

    def _groups(self, names: list[str]) -> Iterator[list[str]]:
        """As many names at once as the text of one pass may hold."""
        room = self.model.network.config.max_text_len - _ENDS
        group: list[str] = []
        taken = 0
        for name in names:
            length = len(self.model.tokenizer.tokenize(name)) + 1
            if group and taken + length > room:
                yield group
                group, taken = [], 0
            group.append(name)
            taken += length
        yield group

    def _checked(self, labels: Sequence[str]) -> dict[str, str]:
        """What the network reads of each label -> the label as it was given."""
        if isinstance(labels, str) or not labels:
            raise InputError(f'labels must be a list of names, such as ["person"], got {labels!r}.')
        tokenizer = self.model.tokenizer
        read: dict[str, str] = {}
        for label in labels:
            plain = " ".join(str(label).lower().split())
            if not plain or set(plain) & set(SEPARATORS):
                raise InputError(
                    f"labels must be plain words without {' and '.join(SEPARATORS)}, got {label!r}."
                )
            words = tokenizer.tokenize(plain)
            if not words or tokenizer.unk_token in words:
                raise InputError(f"{label!r}: the detector's vocabulary has no words for it.")
            if len(words) + 1 > self.model.network.config.max_text_len - _ENDS:
                raise InputError(
                    f"{label!r:.60} is too long: {len(words)} words and parts of such."
                )
            read.setdefault(plain, label)
        return read


def name_scores(
    probabilities: Tensor, owners: Tensor, count: int, text_threshold: float
) -> tuple[Tensor, Tensor]:
    """The best match of any word of the best name of each query, and that name's index; (Q,) each.

    The best name is that whose words match best on average.

    Args:
        probabilities: (Q, T), how well each token fits.
        owners: (T,) index of the name that a token belongs to; negative for none.
        count: number of names.
        text_threshold: tokens that match less count for nothing in the average.
    """
    named = owners >= 0
    belongs = torch.nn.functional.one_hot(owners[named], count).to(probabilities)
    matched = probabilities[:, named]
    heard = torch.where(matched >= text_threshold, matched, 0.0)
    chosen = (heard @ (belongs / belongs.sum(0))).argmax(1)
    best = (matched * belongs.T[chosen]).amax(1)
    return best, chosen


def build(given: LoadOptions, **options: Any) -> GroundingDinoDetector:
    """The detector for the registry.

    Raises:
        InputError: the folder cannot be used, or an option is unknown or impossible.
    """
    config = make_config(given.name, DetectorConfig, options)
    model = load_grounding_dino(given.name, checkpoint=given.checkpoint, device=given.device)
    # Boxes suffer from half precision more than masks do, so that it has to be asked for.
    wanted = "float32" if given.precision == "auto" else given.precision
    passport = published_passport(
        "text", given.name, model.source, {"precision": given.precision, **asdict(config)}
    )
    dtype = find_precision(wanted, model.network.device)
    return GroundingDinoDetector(model, passport, config, dtype)
