"""A training run as a page: its curves, and what it said of validation frames, epoch by epoch."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from rangemask._version import __version__
from rangemask.atomic import atomic_file
from rangemask.errors import InputError
from rangemask.geometry.arrays import AnyArray, ImageArray
from rangemask.structures.images import read_image
from rangemask.training.plots import PLOTS
from rangemask.training.words import name_of, value_of
from rangemask.view.colormap import ColourRange, colour_values
from rangemask.view.palette import colour_table
from rangemask.view.report import data_url
from rangemask.view.report_page import (
    Picture,
    figure_html,
    html_head,
    text,
    tiles_html,
)

PAGE = "report.html"
_EPOCHS_AT_MOST = 8
_EYES = ("one_eye", "one_eye_refined", "two_eyes")
"""Answers of a two-in-one network."""
_MAPS = ("depth_m", "relative_depth", *_EYES, "disparity")
_SHARED_RANGE = ("true_disparity", "two_eyes", "one_eye")
"""What gives all eyes one range of colours, the first that is there."""


def write_training_page(folder: str | Path, path: str | Path | None = None) -> Path:
    """Write the page of a run, whole or not at all.

    Args:
        folder: of the run.
        path: of the page; ``report.html`` in the folder by default.

    Returns:
        the page's path.

    Raises:
        InputError: the folder is no run.
        OutputError: the page cannot be written.
    """
    root = Path(folder)
    state = _state(root)
    target = root / PAGE if path is None else Path(path)
    with atomic_file(target) as staging, staging.open("w", encoding="utf-8") as page:
        page.write(_head(root, state))
        page.write(_steps(root))
        page.write(_curves(root))
        epochs = _epochs(root)
        for epoch in epochs:
            page.write(_epoch(epoch))
        about = " Predictions stand beside the truth; both share one range of colours."
        page.write(
            f"</main>\n<footer>rangemask {text(__version__)}.{about if epochs else ''}</footer>\n"
            "</body>\n</html>\n"
        )
    return target


def _steps(root: Path) -> str:
    """Of a workflow: its steps, each with a page of its own, which is written as well."""
    steps = sorted(
        (path.parent for path in root.glob("*/run.json")),
        key=lambda step: int(number) if (number := step.name.partition("-")[0]).isdigit() else 0,
    )
    return "".join(_step(step) for step in steps)


def _step(folder: Path) -> str:
    page, state = write_training_page(folder), _state(folder)
    best: Mapping[str, float] = state.get("best", {})
    tiles = tiles_html([("State", text(state.get("state", "unknown"))), *_tiles(best)])
    link = f'<a href="{text(folder.name)}/{page.name}">{text(folder.name)}</a>'
    return f'<section class="card"><h2>{link}</h2>\n{tiles}</section>\n'


def _tiles(best: Mapping[str, float]) -> list[tuple[str, str]]:
    return [(text(name_of(name)), value_of(name, best[name])) for name in sorted(best)]


def _state(root: Path) -> Mapping[str, Any]:
    file = root / "run.json"
    try:
        values: Mapping[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{root}: is not the folder of a training run ({error}).") from error
    return values


def _head(root: Path, state: Mapping[str, Any]) -> str:
    best: Mapping[str, float] = state.get("best", {})
    tiles = [("State", text(state.get("state", "unknown")))]
    if not any("/" in name for name in best):  # those of a workflow stand with its steps
        tiles += _tiles(best)
    lead = f"Stage {state.get('stage', 'unknown')}; scores of the best epoch on held-out frames."
    return f"{html_head(root.resolve().name, lead)}{tiles_html(tiles)}</header>\n<main>\n"


def _curves(root: Path) -> str:
    figures = [
        _figure(name.removesuffix(".png"), read_image(root / name))
        for name in PLOTS
        if (root / name).is_file()
    ]
    if not figures:
        return ""
    inside = "".join(figures)
    return (
        f'<section class="card"><h2>Curves</h2>\n<div class="pictures">{inside}</div></section>\n'
    )


def _epochs(root: Path) -> Sequence[Path]:
    """The first, the last, and some between: a page of all would not open."""
    found = sorted((root / "predictions").glob("epoch_*"))
    if len(found) <= _EPOCHS_AT_MOST:
        return found[::-1]
    places = np.linspace(0, len(found) - 1, _EPOCHS_AT_MOST).round().astype(int)
    return [found[place] for place in places[::-1]]


def _epoch(folder: Path) -> str:
    rows = "".join(_frame(path) for path in sorted(folder.glob("*.npz")))
    number = folder.name.removeprefix("epoch_").lstrip("0") or "0"
    return f'<article class="card"><h2>Epoch {text(number)}</h2>\n{rows}</article>\n'


def _frame(path: Path) -> str:
    try:
        with np.load(path, allow_pickle=False) as arrays:
            values = dict(arrays)
    except (OSError, ValueError) as error:
        return f'<p class="soft">{text(path.stem)}: {text(error)}</p>\n'
    figures = [_figure(path.stem, values["image"])]
    figures += [_figure(caption, picture) for caption, picture in _pictures(values)]
    return f'<div class="pictures n{len(figures)}">{"".join(figures)}</div>\n'


def _pictures(values: Mapping[str, AnyArray]) -> Iterator[tuple[str, ImageArray]]:
    for kind in _MAPS:
        caption = kind.removesuffix("_m").replace("_", " ")
        maps = {name: values[name] for name in (kind, f"true_{kind}") if name in values}
        if kind == "depth_m":  # bright is near in all pictures
            maps = {name: _inverse(depth_m) for name, depth_m in maps.items()}
        shared = _SHARED_RANGE if kind in _EYES else ()
        ranging = [values[name] for name in shared if name in values] or [*reversed(maps.values())]
        known = [one for one in ranging if np.isfinite(one).any()]
        # The scale of relative depth is no one's to compare.
        for name, map_ in maps.items():
            own = known[0] if known and kind != "relative_depth" else map_
            label = ", labels" if name.startswith("true_") else ""
            yield f"{caption}{label}", colour_values(map_, _range_of(own))
    for kind, caption in (("semantic", "classes"), ("objects", "objects")):
        for name, words in ((kind, caption), (f"true_{kind}", f"{caption}, labels")):
            if name in values:
                yield words, _ids_picture(values[name])


def _range_of(values: AnyArray) -> ColourRange:
    known = values[np.isfinite(values)]
    low, high = np.percentile(known, (2, 98)) if known.size else (0.0, 1.0)
    return ColourRange(low=float(low), high=float(max(high, low + 1e-3)))


def _inverse(depth_m: AnyArray) -> AnyArray:
    out = np.full_like(depth_m, np.nan)
    np.divide(1, depth_m, out=out, where=depth_m > 0)
    return out


def _ids_picture(ids: AnyArray) -> ImageArray:
    return np.asarray(colour_table(int(ids.max(initial=0)) + 1)[ids], dtype=np.uint8)


def _figure(caption: str, image: ImageArray) -> str:
    height, width = image.shape[:2]
    return figure_html(
        Picture(
            caption=caption,
            alternative=caption,
            source=data_url(image),
            width=width,
            height=height,
            link=None,
        )
    )
