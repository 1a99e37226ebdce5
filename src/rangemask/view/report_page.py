"""The parts of a report as HTML; every name and number passes through ``text`` on its way in."""

from __future__ import annotations

import html
import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from rangemask.geometry import Rig, depth_error_from_disparity_error
from rangemask.structures import Provenance, Scene, SceneObject
from rangemask.view.palette import instance_colour
from rangemask.view.report_style import STYLE
from rangemask.view.text import printable

UNKNOWN = '<span class="soft" title="unknown">–</span>'

# No script, no network: a page that holds other people's file names asks for nothing.
_POLICY = "default-src 'none'; img-src 'self' file: data:; style-src 'unsafe-inline'"


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """One picture of a scene on the page."""

    caption: str
    alternative: str
    """What it shows, for those who cannot see it."""
    source: str
    """A data or relative URL."""
    width: int
    height: int
    link: str | None = None
    """Relative URL of the full picture."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Line:
    """What the summary says of one scene; kept for all of them, so it is small."""

    name: str
    objects: int = 0
    known: int = 0
    """Objects with a distance."""
    nearest_m: float = math.nan
    nearest_label: str = ""
    known_share: float = math.nan
    """Of the pixels, with a disparity or depth."""
    licence_class: str = ""
    warnings: tuple[str, ...] = ()
    failed: bool = False


def text(value: object) -> str:
    """Anything as HTML text on one line."""
    return html.escape(printable(str(value)))


def page_head(title: str, lines: Sequence[Line]) -> str:
    """Everything above the scenes: title, totals, warnings and, for several scenes, the list."""
    shown = [line for line in lines if not line.failed]
    return (
        f"{html_head(title, _in_words(lines))}{_tiles(shown)}"
        f"{warning_list(_totals(lines))}</header>\n<main>\n{_index(lines)}"
    )


def html_head(title: str, lead: str) -> str:
    """The start of a page, up to within its header."""
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        f'<meta http-equiv="Content-Security-Policy" content="{_POLICY}">\n'
        '<meta name="referrer" content="no-referrer">\n'
        f"<title>{text(title)}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n"
        f'<header class="top">\n<h1>{text(title)}</h1>\n'
        f'<p class="lead">{text(lead)}</p>\n'
    )


def page_foot(version: str) -> str:
    """Everything below the scenes."""
    return (
        f"</main>\n<footer>rangemask {text(version)}. Distances are along the optical axis of the "
        "left camera: the median of the mask's inner, trusted pixels, from their 10th to their "
        "90th percentile. Bright is near in disparity and depth pictures.</footer>\n"
        "</body>\n</html>\n"
    )


def scene_article(number: int, scene: Scene, line: Line, pictures: Iterable[Picture]) -> str:
    """One scene: pictures, objects, rig and provenance."""
    size = f"{scene.frame.width} × {scene.frame.height} px"
    when = "" if scene.frame.timestamp_s is None else f" · {scene.frame.timestamp_s:.3f} s"
    figures = [figure_html(picture) for picture in pictures]
    return (
        f'<article class="card" id="scene-{number}" aria-labelledby="name-{number}">\n'
        f'<div class="scene-head"><h2 id="name-{number}">{text(scene.name)}</h2>'
        f'<span class="soft">{text(size + when)} · {count_of(len(scene.objects), "object")}</span>'
        f"{badge(scene.provenance.licence_class)}</div>\n"
        f'{warning_list(line.warnings)}<div class="pictures n{len(figures)}">\n'
        f"{''.join(figures)}</div>\n"
        f"{_objects(scene.objects, scene.name)}{_details(scene)}</article>\n"
    )


def failed_article(number: int, line: Line) -> str:
    """A scene that could not be read."""
    return (
        f'<article class="card" id="scene-{number}" aria-labelledby="name-{number}">\n'
        f'<div class="scene-head"><h2 id="name-{number}">{text(line.name)}</h2></div>\n'
        f"{warning_list(line.warnings)}</article>\n"
    )


def metres(value: float) -> str:
    """A length with its unit, or the sign for unknown."""
    return f"{value:.2f} m" if math.isfinite(value) else UNKNOWN


def percent(value: float) -> str:
    """A share as a percentage, or the sign for unknown."""
    return f"{100 * value:.0f} %" if math.isfinite(value) else UNKNOWN


def _in_words(lines: Sequence[Line]) -> str:
    found = sum(line.objects for line in lines)
    frames = count_of(len(lines), "frame")
    failed = sum(line.failed for line in lines)
    left_out = f", {failed} of which could not be read" if failed else ""
    return f"{count_of(found, 'object')} in {frames}{left_out}."


def _tiles(lines: Sequence[Line]) -> str:
    objects = sum(line.objects for line in lines)
    known = sum(line.known for line in lines)
    near = min(
        (line for line in lines if math.isfinite(line.nearest_m)),
        key=lambda line: line.nearest_m,
        default=None,
    )
    shares = [line.known_share for line in lines if math.isfinite(line.known_share)]
    tiles = [("Frames", f"{len(lines)}"), ("Objects", f"{objects}")]
    if objects:
        tiles.append(("With a distance", f"{known} <small>of {objects}</small>"))
    if near is not None:
        what = f" <small>{text(near.nearest_label)}</small>"
        tiles.append(("Nearest", metres(near.nearest_m) + what))
    if shares:
        tiles.append(("Pixels measured", percent(sum(shares) / len(shares))))
    return tiles_html(tiles)


def tiles_html(tiles: Sequence[tuple[str, str]]) -> str:
    """Numbers in large type; names as text, values as HTML."""
    inside = "".join(
        f'<div class="tile"><dt>{name}</dt><dd>{value}</dd></div>\n' for name, value in tiles
    )
    return f'<dl class="tiles">\n{inside}</dl>\n'


def _totals(lines: Sequence[Line]) -> list[str]:
    """Each warning once, with the number of frames it concerns."""
    counts: dict[str, int] = {}
    for line in lines:
        for warning in line.warnings:
            counts[warning] = counts.get(warning, 0) + 1
    if len(lines) == 1:
        return []
    failed = sum(line.failed for line in lines)
    other = sum(1 for line in lines if line.warnings and not line.failed)
    totals = []
    if failed:
        totals.append(f"{count_of(failed, 'frame')} could not be read.")
    if other:
        common = max(counts, key=lambda warning: counts[warning])
        which = f" The most common: {common}" if counts[common] > 1 else ""
        totals.append(f"{count_of(other, 'frame')} with warnings.{which}")
    return totals


def _index(lines: Sequence[Line]) -> str:
    if len(lines) < 2:
        return ""
    rows = "".join(
        f'<tr><th scope="row"><a href="#scene-{number}">{text(line.name)}</a></th>'
        f'<td class="n">{line.objects}</td><td class="n">{metres(line.nearest_m)}</td>'
        f"<td>{text(line.nearest_label)}</td>"
        f'<td class="n">{percent(line.known_share)}</td>'
        f'<td class="n">{len(line.warnings) or UNKNOWN}</td></tr>\n'
        for number, line in enumerate(lines, start=1)
    )
    heads = (
        '<th scope="col">Frame</th><th scope="col" class="n">Objects</th>'
        '<th scope="col" class="n">Nearest</th><th scope="col">which is</th>'
        '<th scope="col" class="n">Pixels measured</th>'
        '<th scope="col" class="n">Warnings</th>'
    )
    return (
        '<nav class="card" aria-label="Frames"><h2>Frames</h2>\n'
        f"{table_html(heads, rows, 'All frames of this report')}</nav>\n"
    )


def figure_html(picture: Picture) -> str:
    """A picture with its caption."""
    image = (
        f'<img src="{html.escape(picture.source)}" alt="{text(picture.alternative)}" '
        f'width="{picture.width}" height="{picture.height}" loading="lazy">'
    )
    if picture.link is not None:
        image = f'<a href="{html.escape(picture.link)}">{image}</a>'
    return f"<figure>{image}<figcaption>{text(picture.caption)}</figcaption></figure>\n"


def _objects(things: Sequence[SceneObject], name: str) -> str:
    if not things:
        return '<p class="soft">No objects were found in this frame.</p>\n'
    ends = [thing.distance.p90 for thing in things] + [thing.distance.median for thing in things]
    far_m = max((end for end in ends if math.isfinite(end)), default=1.0)
    rows = "".join(_object_row(thing, far_m) for thing in things)
    heads = (
        '<th scope="col">Object</th><th scope="col" class="n">Score</th>'
        '<th scope="col" class="n">Distance</th><th scope="col" class="n">p10 to p90</th>'
        f'<th scope="col">0 to {far_m:.1f} m</th>'
        '<th scope="col" class="n">Valid pixels</th>'
        '<th scope="col" class="n">Width × height × depth</th>'
    )
    return table_html(heads, rows, f"Objects of {name}")


def _object_row(thing: SceneObject, far_m: float) -> str:
    distance = thing.distance
    red, green, blue = instance_colour(max(1, thing.id))
    behind = ""
    if math.isfinite(distance.behind):
        behind = f' <span class="soft">({metres(distance.behind)} behind)</span>'
    spread = UNKNOWN
    if math.isfinite(distance.p10) and math.isfinite(distance.p90):
        spread = f"{distance.p10:.2f} to {metres(distance.p90)}"
    size = UNKNOWN
    if all(math.isfinite(value) for value in thing.extent):
        size = " × ".join(f"{value:.2f}" for value in thing.extent) + " m"
    return (
        f'<tr><th scope="row"><span class="swatch" style="background:rgb({red},{green},{blue})">'
        f'</span>{text(thing.label)} <span class="soft">{thing.id}</span></th>'
        f'<td class="n">{thing.score:.2f}</td>'
        f'<td class="n strong">{metres(distance.median)}{behind}</td>'
        f'<td class="n">{spread}</td><td>{_range(thing, far_m)}</td>'
        f'<td class="n">{percent(distance.valid_share if distance.known else math.nan)}</td>'
        f'<td class="n">{size}</td></tr>\n'
    )


def _range(thing: SceneObject, far_m: float) -> str:
    """Where an object is between the camera and the farthest one, to be seen at a glance."""
    distance = thing.distance
    marks = ""
    if math.isfinite(distance.p10) and math.isfinite(distance.p90) and far_m > 0:
        left, right = 100 * distance.p10 / far_m, 100 * distance.p90 / far_m
        marks += (
            f'<i class="span" style="left:{left:.1f}%;width:{max(0.0, right - left):.1f}%"></i>'
        )
    if distance.known and far_m > 0:
        marks += f'<i class="mid" style="left:{100 * distance.median / far_m:.1f}%"></i>'
    return f'<div class="range" aria-hidden="true"><i class="axis"></i>{marks}</div>'


def _details(scene: Scene) -> str:
    rig = _rig(scene.rig, metres_known=scene.depth is not None)
    return (
        "<details><summary>Calibration, models and licences</summary>\n"
        f"<h3>Calibration</h3>\n{rig}<h3>Models</h3>\n"
        f"{_provenance(scene.provenance)}</details>\n"
    )


def _rig(rig: Rig | None, *, metres_known: bool) -> str:
    if rig is None and metres_known:
        return '<p class="soft">None: metres are the depth model\'s; sizes are unknown.</p>\n'
    if rig is None:
        return '<p class="soft">None: distances in metres cannot be known.</p>\n'
    facts = [
        ("Focal length", f"{rig.fx:.2f} × {rig.fy:.2f} px"),
        ("Principal point", f"{rig.cx:.2f}, {rig.cy:.2f} px"),
        ("Lens", rig.left.model + (", distorted" if rig.left.is_distorted else ", straight")),
        ("Baseline", "none" if rig.baseline_m is None else f"{1000 * rig.baseline_m:.1f} mm"),
        ("Offset of principal points", f"{rig.doffs_px:.2f} px"),
    ]
    if rig.name:
        facts.insert(0, ("Name", rig.name))
    if rig.size is not None and not rig.left.is_distorted:
        angle = 2 * math.degrees(math.atan(rig.size[0] / (2 * rig.fx)))
        facts.append(("Horizontal field of view", f"{angle:.0f}°"))
    if rig.baseline_m is not None and rig.is_rectified:
        errors = depth_error_from_disparity_error(np.array([1.0, 3.0, 10.0]), rig)
        near, middle, far = (f"{float(error):.2g} m" for error in errors)
        facts.append(("Half a pixel is", f"{near} at 1 m, {middle} at 3 m, {far} at 10 m"))
    inside = "".join(f"<div><dt>{name}</dt><dd>{text(value)}</dd></div>\n" for name, value in facts)
    return f'<dl class="facts">\n{inside}</dl>\n'


def _provenance(provenance: Provenance) -> str:
    if not provenance.models:
        return '<p class="soft">Not recorded.</p>\n'
    rows = "".join(
        f'<tr><th scope="row">{text(model.role)}</th><td>{text(model.model)}</td>'
        f"<td>{text(model.licence)} {badge(model.licence_class)}</td>"
        f'<td class="wrap">{_weights(model.weights, model.weights_sha256)}</td>'
        f'<td class="wrap">{text(_options(model.options)) or UNKNOWN}</td></tr>\n'
        for model in provenance.models
    )
    heads = (
        '<th scope="col">Role</th><th scope="col">Model</th><th scope="col">Licence</th>'
        '<th scope="col">Weights</th><th scope="col">Options</th>'
    )
    return table_html(heads, rows, "Models and their licences")


def _weights(name: str | None, digest: str | None) -> str:
    if name is None:
        return "none"
    short = "" if digest is None else f' <span class="soft">sha256 {text(digest[:12])}…</span>'
    return text(name) + short


def _options(options: dict[str, str | int | float | bool | None]) -> str:
    return ", ".join(f"{name} {value}" for name, value in options.items())


def table_html(heads: str, rows: str, caption: str) -> str:
    """A table that scrolls, with a caption for those who cannot see it."""
    return (
        f'<div class="scroll" tabindex="0" role="region" aria-label="{text(caption)}">'
        f"<table><thead><tr>{heads}</tr></thead>\n<tbody>\n{rows}</tbody></table></div>\n"
    )


def warning_list(warnings: Sequence[str]) -> str:
    """Warnings as a list; nothing without them."""
    if not warnings:
        return ""
    inside = "".join(f"<li>{text(warning)}</li>" for warning in warnings)
    return f'<ul class="warnings" aria-label="Warnings">{inside}</ul>\n'


def badge(licence_class: str) -> str:
    """What a licence class allows, as a coloured word."""
    kind = licence_class if licence_class in {"commercial-ok", "research-only"} else "unknown"
    words = {
        "commercial-ok": "commercial use fine",
        "research-only": "research only",
        "unknown": "licence unknown",
    }
    return f'<span class="badge {kind}">{words[kind]}</span>'


def count_of(number: int, what: str) -> str:
    """Such as 3 frames, or 1 frame."""
    return f"{number} {what}{'' if number == 1 else 's'}"
