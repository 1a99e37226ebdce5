"""A two-in-one network as a folder, and its authors' file as a network."""

from __future__ import annotations

from dataclasses import replace
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from rangemask.models.card import ModelCard, Source, history
from rangemask.models.folders import (
    check_architecture,
    check_replaceable,
    fill_from,
    own_folder,
    read_config,
    write_folder,
)
from rangemask.models.two_in_one.config import SWIN, TwoInOneConfig
from rangemask.models.two_in_one.encoder import MULTIPLE_PX
from rangemask.models.two_in_one.levels import PUBLISHED_FOCAL_PX
from rangemask.models.two_in_one.network import TwoInOne, build_two_in_one
from rangemask.models.two_in_one.published import load_published
from rangemask.models.weights import PICKLED, find_weights

TWO_IN_ONE = "two-in-one"
"""The architecture in ``config.json``."""
PUBLISHED_TRAINING = "By its authors (arXiv 2309.00933), on rectified pairs, without labels."
KITTI = Source(
    name="KITTI", role="images", licence="CC-BY-NC-SA-3.0", terms="research-only", sha256=None
)


def save_two_in_one(
    model: TwoInOne,
    folder: str | Path,
    *,
    card: ModelCard | None = None,
    overwrite: bool = False,
) -> Path:
    """Write ``config.json``, ``model.safetensors`` and the model card, whole or not at all.

    Args:
        model: any two-in-one network that ``build_two_in_one`` made.
        folder: where to.
        card: where its weights come from; None for the model's own.
        overwrite: replace a model that is there.

    Returns:
        the folder.

    Raises:
        OutputError: the folder exists and overwrite is off, holds anything but a model, or
            cannot be written.
    """
    folder = Path(folder)
    check_replaceable(folder, overwrite=overwrite)
    card = model.card if card is None else card
    settings = model.config.to_dict()
    write_folder(
        model,
        folder,
        settings=settings,
        card=card,
        page=_page(card, model.config),
        architecture=TWO_IN_ONE,
        overwrite=overwrite,
    )
    return folder


def load_two_in_one(folder: str | Path) -> TwoInOne:
    """Read a folder that ``save_two_in_one`` wrote, or the authors' file; nothing is downloaded.

    The network is on the processor, in float32 and not in the mode for training; what learns in
    it is what its config says.

    Args:
        folder: the folder, its file of weights, or a ``.pth`` of the authors.

    Raises:
        InputError: a file is missing or damaged, does not fit the configuration, or is of
            another kind of network.
    """
    folder = own_folder(folder)
    if is_published_file(folder):
        return load_published_file(folder)
    values = read_config(folder)
    check_architecture(values, folder, TWO_IN_ONE)
    config = TwoInOneConfig.from_dict(values["model"])
    model = build_two_in_one(config, ModelCard.from_dict(values["card"]))
    fill_from(model, folder)
    return model.train(False)


def is_published_file(path: str | Path) -> bool:
    """Whether to take a path for a checkpoint of the authors: a pickled file.

    A model of ours is a folder.
    """
    path = Path(path).expanduser()
    return path.is_file() and path.suffix.lower() in PICKLED


def load_published_file(path: str | Path) -> TwoInOne:
    """The authors' network with the weights of their file.

    Raises:
        InputError: the file is damaged or of something else.
    """
    model = build_two_in_one(TwoInOneConfig(encoder=SWIN, focal_px=PUBLISHED_FOCAL_PX))
    load_published(model, find_weights(path))
    sources = (*model.card.sources, KITTI)
    model.card = replace(model.card, sources=sources, training=PUBLISHED_TRAINING)
    return model.train(False)


def _page(card: ModelCard, config: TwoInOneConfig) -> str:
    rows = "\n".join(f"| {name} | {value} |" for name, value in config.to_dict().items())
    costs = "\n".join(
        f"| {name} | {count / 1e6:.2f} | {gflops:.1f} |" for name, count, gflops in _costs(config)
    )
    return f"""---
library_name: rangemask
license: {"apache-2.0" if card.is_apache else "other"}
tags: [depth-estimation, stereo]
---

# A two-in-one network on {config.encoder}

Depth from one image, and from a pair. Terms of use, the strictest of all that went in:
**{card.terms}**.

```python
import rangemask as rm

pipeline = rm.Pipeline(stereo="student:FOLDER", depth="student:FOLDER")
scene = pipeline(rm.StereoFrame.read("left.png", "right.png", rig=rm.Rig.load("rig.yaml")))
```

{history(card)}
## Settings

| setting | value |
| --- | --- |
{rows}

## Cost

At {config.full_size[0]} x {config.full_size[1]} px, rounded to what the network takes. A
multiply-add counts as two operations.

| for | parameters, M | GFLOPs |
| --- | --- | --- |
{costs}
"""


@lru_cache(maxsize=8)  # training saves many of one kind
def _costs(config: TwoInOneConfig) -> tuple[tuple[str, int, float], ...]:
    """Nothing is computed: a network without values is run."""
    with torch.device("meta"):
        empty = build_two_in_one(config).train(False)
    size = [max(round(side / MULTIPLE_PX), 2) * MULTIPLE_PX for side in config.full_size]
    images = torch.empty(1, 3, *size, device="meta")
    count = sum(parameter.numel() for parameter in empty.parameters())
    given: dict[str, tuple[Any, ...]] = {"one image": (images,), "a pair": (images, images)}
    found = []
    for name, views in given.items():
        with FlopCounterMode(display=False) as counter, torch.no_grad():
            empty(*views)
        found.append((name, count, counter.get_total_flops() / 1e9))
    return tuple(found)
