"""Published files of TiO-Depth."""

from __future__ import annotations

from pathlib import Path

from rangemask.errors import InputError
from rangemask.models.two_in_one.decoder import Decoder, published_entries
from rangemask.models.weights import find_weights, load_strictly, read_weights


def load_published_decoder(decoder: Decoder, checkpoint: str | Path) -> None:
    """Give a decoder the weights of a published file, of the whole model or of its decoder.

    The encoder in it is left out: it is another one (Swin-T).

    Args:
        decoder: of the file's widths; ``Decoder()`` fits the authors' files.
        checkpoint: a ``.pth`` of the authors (weights under ``model_params``), or a file or
            folder with entries by the same names.

    Raises:
        InputError: the file is missing or damaged, holds no decoder, or does not fit.
    """
    source = find_weights(checkpoint)
    found = published_entries(read_weights(source))
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
