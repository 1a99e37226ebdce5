"""Grounding DINO (arXiv 2303.05499) through transformers: things by their names to boxes."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor
from transformers import AutoTokenizer, GroundingDinoForObjectDetection
from transformers import GroundingDinoImageProcessor as ImageProcessor
from transformers.utils import logging as hf_logging

from rangemask.errors import InputError
from rangemask.models.placement import find_device
from rangemask.models.published import PUBLISHED, fetch
from rangemask.models.recognise import CONFIG_FILE, config_beside
from rangemask.models.weights import SHOWN, find_weights

MODEL_TYPE = "grounding-dino"
TOKENIZERS = ("tokenizer.json", "vocab.txt")
"""Files of which a folder holds one or both."""
PREPROCESSOR = "preprocessor_config.json"


class GroundingDino(NamedTuple):
    """A network, and what makes its inputs."""

    network: GroundingDinoForObjectDetection
    """Frozen, on its device."""
    tokenizer: Any
    """Text to tokens, with the place of each in the text."""
    images: ImageProcessor
    """Images to what the network takes."""
    source: Path
    """The file of weights."""


class Matches(NamedTuple):
    """What each of Q queries says."""

    boxes: Tensor
    """(Q, 4) left, top, right, bottom, as shares of the image."""
    probabilities: Tensor
    """(Q, T) in [0, 1], how well each token of the text fits."""


def load_grounding_dino(
    name: str, *, checkpoint: str | Path | None = None, device: str = "auto"
) -> GroundingDino:
    """Grounding DINO with weights, tokenizer and preprocessing, all from one folder.

    Args:
        name: ``grounding-dino-tiny`` or ``grounding-dino-base``; a folder says itself of what
            size it is.
        checkpoint: folder that transformers wrote, or its file of weights. None downloads the
            published one, or takes it from the cache.
        device: auto, cpu, cuda, cuda:1 or mps.

    Raises:
        InputError: a file is missing or damaged, or is of another model.
    """
    if checkpoint is None and name not in PUBLISHED:
        raise InputError(f"no text detector {name!r} is published; give checkpoint=PATH.")
    source = find_weights(checkpoint if checkpoint is not None else fetch(name))
    folder = source.parent
    kind = config_beside(source).get("model_type")
    if kind != MODEL_TYPE:
        found = f"{CONFIG_FILE} of {kind}" if kind else f"no {CONFIG_FILE}"
        raise InputError(
            f"{folder}: {name} is loaded from a folder of transformers with a {CONFIG_FILE} of "
            f"{MODEL_TYPE}; there is {found}."
        )
    if not any((folder / file).is_file() for file in TOKENIZERS):
        raise InputError(f"{folder}: holds no tokenizer ({' or '.join(TOKENIZERS)}).")
    network = _network(folder)
    network.train(False).requires_grad_(False).to(find_device(device))
    try:
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        known = (folder / PREPROCESSOR).is_file()
        images = ImageProcessor.from_pretrained(folder) if known else ImageProcessor()
    except Exception as error:  # whatever its libraries raise at a damaged file
        raise InputError(
            f"{folder}: its tokenizer or {PREPROCESSOR} cannot be read "
            f"({type(error).__name__}). Copy or download the folder again."
        ) from error
    return GroundingDino(network, tokenizer, images, source)


def _network(folder: Path) -> GroundingDinoForObjectDetection:
    """The network with all its weights, and only those.

    transformers knows which of them are one, and how its older releases named them.
    """
    network: GroundingDinoForObjectDetection
    report: dict[str, Any]
    read: Any = GroundingDinoForObjectDetection.from_pretrained
    try:
        with _in_silence():
            network, report = read(
                folder,
                local_files_only=True,
                output_loading_info=True,
                ignore_mismatched_sizes=True,
                dtype=torch.float32,
            )
    except Exception as error:  # damaged files fail in any way they like
        first = (str(error).splitlines() or [""])[0][:150]
        raise InputError(
            f"{folder}: cannot be read as {MODEL_TYPE} ({type(error).__name__}: {first}). Copy or "
            "download the folder again."
        ) from error
    wrong = {
        "missing": sorted(report["missing_keys"]),
        "unknown": sorted(report["unexpected_keys"]),
        "of another shape": sorted(str(entry[0]) for entry in report["mismatched_keys"]),
    }
    parts = [
        f"{len(entries)} {kind} ({', '.join(entries[:SHOWN])})"
        for kind, entries in wrong.items()
        if entries
    ]
    if parts:
        raise InputError(
            f"{folder}: its weights do not fit its {CONFIG_FILE}: {'; '.join(parts)}. Copy or "
            "download the folder again."
        )
    if not all(torch.isfinite(value).all() for value in network.parameters()):
        raise InputError(f"{folder}: holds NaN or infinite weights; it is damaged.")
    return network


@contextmanager
def _in_silence() -> Iterator[None]:
    """Without transformers' reports and progress bar: what is wrong is said by us."""
    level, bar = hf_logging.get_verbosity(), hf_logging.is_progress_bar_enabled()
    hf_logging.set_verbosity(logging.CRITICAL)
    hf_logging.disable_progress_bar()
    try:
        yield
    finally:
        hf_logging.set_verbosity(level)
        if bar:
            hf_logging.enable_progress_bar()


def match(
    network: GroundingDinoForObjectDetection,
    images: Tensor,
    tokens: Tensor,
    kinds: Tensor,
) -> Matches:
    """Boxes and the words that fit them, for one image and one text.

    Args:
        network: on the device of the others.
        images: (1, 3, H, W), normalised.
        tokens: (1, T) ids.
        kinds: (1, T) token types.
    """
    output = network(
        pixel_values=images,
        input_ids=tokens,
        token_type_ids=kinds,
        attention_mask=torch.ones_like(tokens),
    )
    centre, size = output.pred_boxes[0].float().split(2, dim=-1)
    boxes = torch.cat([centre - size / 2, centre + size / 2], dim=-1)
    return Matches(boxes, output.logits[0, :, : tokens.shape[1]].float().sigmoid())
