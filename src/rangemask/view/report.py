"""A run side by side: one HTML page over the scenes of an output folder."""

from __future__ import annotations

import base64
import io
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO
from urllib.parse import quote

import cv2
import numpy as np
from PIL import Image

from rangemask._version import __version__
from rangemask.atomic import atomic_file
from rangemask.errors import InputError
from rangemask.geometry.arrays import AnyArray, ImageArray
from rangemask.structures import Scene, SemanticMap
from rangemask.structures.scene_files import SCENE_FILE
from rangemask.view.colormap import (
    ColourRange,
    confidence_picture,
    depth_picture,
    disparity_picture,
    relative_picture,
)
from rangemask.view.overlay import overlay_picture, semantic_picture
from rangemask.view.pictures import CONFIDENCE, DISPARITY, DISTANCES, LEFT, SEMANTIC
from rangemask.view.report_page import (
    Line,
    Picture,
    failed_article,
    page_foot,
    page_head,
    scene_article,
)

THUMBNAIL_PX = 800
"""Width of the pictures inside a page."""

_EMBED_AT_MOST = 60
"""Scenes; a page over more refers to the pictures on disk, or it would not open."""
_JPEG_QUALITY = 84
_FEW_PIXELS = 0.6
_THIN = 0.3


@dataclass(frozen=True, slots=True)
class _Links:
    """Where a scene's files are, seen from the page; no folder where there are none."""

    folder: Path | None = None
    page: Path | None = None
    embed: bool = True

    def to(self, name: str) -> str | None:
        """Relative URL of a file of the scene, None where it is not there."""
        if self.folder is None or self.page is None or not (self.folder / name).is_file():
            return None
        try:
            relative = os.path.relpath(self.folder / name, self.page.parent)
        except ValueError:  # another drive
            return None
        return "./" + quote(Path(relative).as_posix())

    def size_of(self, name: str) -> tuple[int, int]:
        """Width and height of a picture on disk, px; nothing but its header is read."""
        with Image.open((self.folder or Path()) / name) as image:
            return image.size


def write_report(
    folder: str | Path,
    path: str | Path | None = None,
    *,
    title: str | None = None,
    embed: bool | None = None,
    colour_range: ColourRange | None = None,
) -> Path:
    """Write one page over all scenes of a folder, whole or not at all.

    Scenes are read one after the other, so memory does not grow with their number. A scene
    that cannot be read has its place and its reason on the page.

    Args:
        folder: holds scenes (or is one), as ``Scene.save`` writes them.
        path: of the page; ``report.html`` in the folder by default.
        title: its heading; names the folder by default.
        embed: pictures inside the page, so that it can be sent on alone, or as links to those
            on disk; by default inside for up to 60 scenes.
        colour_range: which disparity or depth gets the first and last colour; each scene's
            own by default.

    Returns:
        the page's path.

    Raises:
        InputError: the folder does not exist or holds no scene.
        OutputError: the page cannot be written.
        ValueError: the range is of another quantity than what is drawn.
    """
    root = Path(folder)
    scenes = _scene_folders(root)
    target = root / "report.html" if path is None else Path(path)
    embed = len(scenes) <= _EMBED_AT_MOST if embed is None else embed
    title = f"{root.resolve().name}: objects and distances" if title is None else title
    with tempfile.TemporaryFile("w+", encoding="utf-8") as body:
        lines = []
        for number, place in enumerate(scenes, start=1):
            line, article = _read_one(number, place, _Links(place, target, embed), colour_range)
            lines.append(line)
            body.write(article)
        body.seek(0)
        with atomic_file(target) as staging, staging.open("w", encoding="utf-8") as page:
            _assemble(page, title, lines, body)
    return target


def render_report(
    scenes: Iterable[Scene],
    *,
    title: str = "Objects and distances",
    colour_range: ColourRange | None = None,
) -> str:
    """A page over scenes in memory, complete in itself; see ``write_report``."""
    lines, articles = [], []
    for number, scene in enumerate(scenes, start=1):
        line = summary_of(scene)
        lines.append(line)
        pictures = _pictures(scene, _Links(), colour_range)
        articles.append(scene_article(number, scene, line, pictures))
    return page_head(title, lines) + "".join(articles) + page_foot(__version__)


def summary_of(scene: Scene) -> Line:
    """What the summary says of a scene, with the warnings that a person should read."""
    known = [thing for thing in scene.objects if thing.distance.known]
    nearest = min(known, key=lambda thing: thing.distance.median, default=None)
    # Relative depth has a value everywhere, but measures nothing.
    values = scene.disparity if scene.disparity is not None else scene.depth
    share = float("nan") if values is None else float(np.isfinite(values).mean())
    return Line(
        name=scene.name,
        objects=len(scene.objects),
        known=len(known),
        nearest_m=float("nan") if nearest is None else nearest.distance.median,
        nearest_label="" if nearest is None else nearest.label,
        known_share=share,
        licence_class=scene.provenance.licence_class,
        warnings=tuple(_warnings(scene, share)),
    )


def _warnings(scene: Scene, known_share: float) -> Iterator[str]:
    if scene.relative_depth is not None:
        yield "Depth is relative, without metres, so distances are unknown."
    elif scene.rig is None and scene.depth is None:
        yield "No calibration was given, so distances in metres are unknown."
    elif scene.depth is None:
        yield "There is no depth in metres, so distances are unknown."
    if not scene.objects:
        yield "No objects were found."
    if known_share < _FEW_PIXELS:
        yield f"Only {100 * known_share:.0f} % of the pixels were measured."
    lacking = sum(1 for thing in scene.objects if not thing.distance.known)
    if lacking and scene.depth is not None:
        yield f"{lacking} of {len(scene.objects)} objects have no distance."
    thin = [one for one in scene.objects if one.distance.known and one.distance.valid_share < _THIN]
    if thin:
        yield f"{len(thin)} distances rest on less than {100 * _THIN:.0f} % of their object."
    if scene.provenance.licence_class == "research-only":
        yield "A model of this run is licensed for research only, and so is its output."


def _read_one(
    number: int, place: Path, links: _Links, colour_range: ColourRange | None
) -> tuple[Line, str]:
    try:
        scene = Scene.load(place)
    except InputError as error:
        # The page may be sent on: it names the file as seen from the folder, not the machine.
        why = str(error).replace(f"{place.parent}{os.sep}", "")
        line = Line(name=place.name, warnings=(why,), failed=True)
        return line, failed_article(number, line)
    line = summary_of(scene)
    return line, scene_article(number, scene, line, _pictures(scene, links, colour_range))


def _scene_folders(root: Path) -> list[Path]:
    if not root.is_dir():
        raise InputError(f"{root}: expected a folder with saved scenes, but there is none.")
    if (root / SCENE_FILE).is_file():
        return [root]
    found = [path.parent for path in root.glob(f"*/{SCENE_FILE}")]
    # A name with a dot in front is a scene that is being written.
    found = [path for path in found if not path.name.startswith(".")]
    if not found:
        raise InputError(
            f"{root}: holds no saved scene (no folder with a {SCENE_FILE}). "
            "Run rangemask predict with this folder as --output first."
        )
    return sorted(found, key=lambda path: _natural(path.name))


def _natural(name: str) -> list[tuple[int, str]]:
    """Sorts frame 2 before frame 10."""
    parts = re.split(r"(\d+)", name)
    return [(int(part), "") if part.isdecimal() else (-1, part) for part in parts]


def _assemble(page: IO[str], title: str, lines: list[Line], body: IO[str]) -> None:
    page.write(page_head(title, lines))
    shutil.copyfileobj(body, page)
    page.write(page_foot(__version__))


def _pictures(scene: Scene, links: _Links, colour_range: ColourRange | None) -> Iterator[Picture]:
    """The pictures of a scene one by one, small ones inside the page or links to those on disk."""
    for caption, shown, file, draw in _images(scene, colour_range):
        link = links.to(file)
        if links.embed or link is None:
            image = draw()
            source, (height, width) = data_url(image), image.shape[:2]
        else:
            source, (width, height) = link, links.size_of(file)
        yield Picture(
            caption=caption,
            alternative=f"{shown} {scene.name}",
            source=source,
            width=width,
            height=height,
            link=link,
        )


def _images(
    scene: Scene, colour_range: ColourRange | None
) -> Iterator[tuple[str, str, str, Callable[[], ImageArray]]]:
    """Caption, what is shown, the file with the full picture, and how to draw a small one."""
    width = min(THUMBNAIL_PX, scene.frame.width)

    def small(values: AnyArray, how: int = cv2.INTER_NEAREST) -> AnyArray:
        if values.shape[1] == width:
            return values
        height = max(1, round(values.shape[0] * width / values.shape[1]))
        smaller: AnyArray = cv2.resize(values, (width, height), interpolation=how)
        return smaller

    left = scene.frame.left
    yield "Left image", "Left image of", LEFT, lambda: small(left, cv2.INTER_AREA)
    said = ", ".join(thing.caption for thing in scene.objects[:8])
    shown = f"Objects outlined ({said}) in" if said else "No objects in"
    yield "Objects and distances", shown, DISTANCES, lambda: overlay_picture(scene, width=width)
    disparity, depth, relative = scene.disparity, scene.depth, scene.relative_depth
    if disparity is not None:
        yield (
            *("Disparity, bright is near", "Coloured disparity of", DISPARITY),
            lambda: disparity_picture(small(disparity), scene.rig, colour_range=colour_range),
        )
    elif depth is not None:
        yield (
            *("Depth, estimated from one image, bright is near", "Coloured depth of", DISPARITY),
            lambda: depth_picture(small(depth), colour_range=colour_range),
        )
    elif relative is not None:
        yield (
            *("Relative depth, no metres, bright is near", "Coloured relative depth of", DISPARITY),
            lambda: relative_picture(small(relative)),
        )
    confidence, semantic = scene.confidence, scene.semantic
    if confidence is not None:
        yield (
            *("Confidence, bright is sure", "Confidence of", CONFIDENCE),
            lambda: confidence_picture(small(confidence, cv2.INTER_AREA)),
        )
    if semantic is not None:
        yield (
            *("Classes", "Classes of", SEMANTIC),
            lambda: semantic_picture(SemanticMap(small(semantic.ids), semantic.names)),
        )


def data_url(image: ImageArray) -> str:
    """A picture inside a page."""
    buffer = io.BytesIO()
    # Full colour resolution: thin lines and coloured text are what these pictures are for.
    Image.fromarray(image).save(buffer, "JPEG", quality=_JPEG_QUALITY, subsampling=0)
    return "data:image/jpeg;base64," + base64.b64encode(buffer.getvalue()).decode("ascii")
