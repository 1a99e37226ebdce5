"""Published files of TiO-Depth."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from torch import Tensor

from rangemask.errors import InputError
from rangemask.models.card import APACHE, Source
from rangemask.models.two_in_one.decoder import Decoder, published_entries
from rangemask.models.two_in_one.network import TwoInOne
from rangemask.models.two_in_one.swin import SwinEncoder
from rangemask.models.weights import find_weights, load_strictly, read_weights, sha256_of

_ENCODER = "0."
_REBUILT = ("relative_position_index", "attn_mask")
"""Tables that some files hold and that are made anew."""


def load_published_decoder(decoder: Decoder, checkpoint: str | Path) -> None:
    """Give a decoder the weights of a published file, of the whole model or of its decoder.

    The encoder in it is left out.

    Args:
        decoder: of the file's widths; ``Decoder()`` fits the authors' files.
        checkpoint: a ``.pth`` of the authors (weights under ``model_params``), or a file or
            folder with entries by the same names.

    Raises:
        InputError: the file is missing or damaged, holds no decoder, or does not fit.
    """
    source = find_weights(checkpoint)
    _fill(decoder, read_weights(source), source)


def load_published(model: TwoInOne, checkpoint: str | Path) -> None:
    """Give a network with the authors' encoder the weights of their file, and its card a line.

    Args:
        model: of ``TwoInOneConfig(encoder="swin-t")``.
        checkpoint: a ``.pth`` of the authors.

    Raises:
        InputError: the file is missing or damaged, is of something else, or the network has
            another encoder.
    """
    if not isinstance(model.encoder, SwinEncoder):
        raise InputError(
            "the authors' files are of a network with encoder=swin-t; into another one their "
            "decoder alone can be loaded (load_published_decoder)."
        )
    source = find_weights(checkpoint)
    weights = read_weights(source)
    encoder = {
        name.removeprefix(_ENCODER): value
        for name, value in weights.items()
        if name.startswith(_ENCODER) and not name.endswith(_REBUILT)
    }
    load_strictly(model.encoder, encoder, name="TiO-Depth's Swin-T", source=source)
    _fill(model.decoder, weights, source)
    line = Source(name="TiO-Depth", role="all", licence=APACHE, sha256=sha256_of(source))
    model.card = replace(model.card, sources=(*model.card.sources, line))


def _fill(decoder: Decoder, weights: Mapping[str, Tensor], source: Path) -> None:
    found = published_entries(weights)
    if not found:
        raise InputError(
            f"{source}: holds no decoder of TiO-Depth, whose entries begin with `1._convs.` or "
            "`_convs.`."
        )
    # Files made elsewhere may lack the counters of batches, which nothing here reads.
    for name, value in decoder.state_dict().items():
        if name.endswith("num_batches_tracked"):
            found.setdefault(name, value)
    load_strictly(decoder, found, name="a TiO-Depth decoder of these widths", source=source)
