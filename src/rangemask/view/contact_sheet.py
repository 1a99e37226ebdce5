"""A label store at a glance: one page with its best, its worst and its rejected frames."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from rangemask._version import __version__
from rangemask.atomic import atomic_file
from rangemask.data.sample import Sample
from rangemask.data.store import FrameRecord, StoredLabels, open_labels
from rangemask.data.store.manifest import Summary, summary_of
from rangemask.errors import InputError
from rangemask.fusion.measure import measure_masks
from rangemask.geometry import depth_from_disparity
from rangemask.geometry.arrays import FloatMap, ImageArray
from rangemask.structures import (
    DepthMap,
    MaskSet,
    Provenance,
    Scene,
    SceneObject,
    SemanticMap,
)
from rangemask.view.colormap import confidence_picture, depth_picture, disparity_picture
from rangemask.view.overlay import overlay_picture, semantic_picture
from rangemask.view.report import data_url
from rangemask.view.report_page import (
    Picture,
    badge,
    figure_html,
    html_head,
    percent,
    table_html,
    text,
    tiles_html,
    warning_list,
)

SHEET = "contact_sheet.html"
PICTURE_PX = 480
"""Width of the pictures."""
_NAMED_AT_MOST = 50


@dataclass(frozen=True, slots=True)
class _Group:
    title: str
    lead: str
    records: Sequence[FrameRecord]


def write_contact_sheet(
    store: str | Path, path: str | Path | None = None, *, each: int = 6
) -> Path:
    """Write the page, whole or not at all.

    Args:
        store: folder of the labels.
        path: of the page; ``contact_sheet.html`` among the labels by default.
        each: how many frames of the best, of the worst and of the rejected are shown.

    Returns:
        the page's path.

    Raises:
        InputError: there are no labels, or ``each`` is not positive.
        OutputError: the page cannot be written.
    """
    if each < 1:
        raise InputError(f"a contact sheet shows 1 frame of each kind or more, got {each}.")
    labels = open_labels(store, rejected=True)
    target = Path(store) / SHEET if path is None else Path(path)
    with atomic_file(target) as staging, staging.open("w", encoding="utf-8") as page:
        page.write(_head(labels))
        for group in _groups(labels, each):
            page.write(f"<h2>{text(group.title)}</h2>\n")
            page.write(f'<p class="soft">{text(group.lead)}</p>\n')
            for record in group.records:
                page.write(_article(labels, record))
        page.write(_failures(summary_of(labels.manifest)))
        page.write(_foot())
    return target


def _groups(labels: StoredLabels, each: int) -> Iterator[_Group]:
    """Worst first within the worst and the rejected: that is where to look."""
    accepted = sorted(
        (record for record in labels.records if record.status == "labelled"),
        key=lambda record: (record.score, record.name),
    )
    rejected = sorted(
        (record for record in labels.records if record.status == "rejected"),
        key=lambda record: (record.score, record.name),
    )
    limit = labels.manifest.min_quality
    best = accepted[::-1][:each]
    worst = [record for record in accepted[:each] if record not in best]
    if rejected:
        lead = f"{len(rejected)} frames are below the quality of {limit:g}; the worst of them."
        yield _Group("Rejected", lead, rejected[:each])
    if worst:
        yield _Group("Worst of the accepted", "What a student will have to believe.", worst)
    if best:
        yield _Group("Best", "By the least of their scores.", best)


def _head(labels: StoredLabels) -> str:
    summary = summary_of(labels.manifest)
    name = labels.root.resolve().name
    tiles = [
        ("Frames labelled", f"{summary.labelled}"),
        ("Rejected", f"{summary.rejected}"),
        ("Failed", f"{summary.failed}"),
        ("Licence of the labels", badge(summary.licence_class)),
    ]
    warnings = [f"{count} rejected for {what}." for what, count in summary.rejected_for.items()]
    warnings += [
        f"{count} files are not for commercial use: made by {model}."
        for model, count in summary.research_only.items()
    ]
    lead = f"Pseudo-labels of {len(labels.manifest.frames)} frames."
    return (
        f"{html_head(f'{name}: labels', lead)}{tiles_html(tiles)}"
        f"{warning_list(warnings)}</header>\n<main>\n{_qualities(labels)}"
    )


def _qualities(labels: StoredLabels) -> str:
    """How the scores are spread, so that a limit can be chosen."""
    names = sorted({name for record in labels.records for name in record.quality})
    rows = []
    for name in ("quality", *names):
        values = [
            record.score if name == "quality" else record.quality[name]
            for record in labels.records
            if name == "quality" or name in record.quality
        ]
        if values:
            low, tenth, median, ninth, high = np.percentile(values, (0, 10, 50, 90, 100))
            cells = "".join(
                f'<td class="n">{value:.2f}</td>' for value in (low, tenth, median, ninth, high)
            )
            rows.append(f'<tr><th scope="row">{text(name)}</th>{cells}</tr>\n')
    if not rows:
        return ""
    heads = '<th scope="col">Score</th>' + "".join(
        f'<th scope="col" class="n">{name}</th>'
        for name in ("least", "10 %", "median", "90 %", "most")
    )
    table = table_html(heads, "".join(rows), "Scores of all frames")
    return f'<section class="card"><h2>Scores</h2>\n{table}</section>\n'


def _article(labels: StoredLabels, record: FrameRecord) -> str:
    scores = ", ".join(
        f"{name} {value:.2f}"
        for name, value in sorted(record.quality.items(), key=lambda item: item[1])
    )
    reason = f"rejected for {record.reason}" if record.status == "rejected" else ""
    classes = {labels.manifest.recipes[file.recipe].licence_class for file in record.files.values()}
    licence = next(
        (one for one in ("research-only", "unknown", "commercial-ok") if one in classes), "unknown"
    )
    try:
        figures = [figure_html(picture) for picture in _pictures(labels.read(record))]
    except InputError as error:
        figures = [warning_list([str(error).replace(f"{labels.root}/", "")])]
    return (
        f'<article class="card"><div class="scene-head"><h2>{text(record.name)}</h2>'
        f'<span class="soft">quality {record.score:.2f} · {text(scores)}</span>'
        f"{badge(licence)}</div>\n{warning_list([reason] if reason else [])}"
        f'<div class="pictures n{len(figures)}">\n{"".join(figures)}</div></article>\n'
    )


def _pictures(sample: Sample) -> Iterator[Picture]:
    width = min(PICTURE_PX, sample.frame.width)

    def picture(caption: str, image: ImageArray) -> Picture:
        height, across = image.shape[:2]
        described = f"{caption} of {sample.name}"
        return Picture(
            caption=caption,
            alternative=described,
            source=data_url(image),
            width=across,
            height=height,
            link=None,
        )

    scene = _scene(sample)
    count = len(scene.objects)
    yield picture(f"Objects: {count}", overlay_picture(scene, width=width))
    if sample.disparity is not None:
        known = percent(float(np.isfinite(sample.disparity).mean()))
        small = _small(sample.disparity, width)
        yield picture(f"Disparity, known for {known}", disparity_picture(small, sample.frame.rig))
    if sample.weight is not None:
        yield picture("Weight, bright is trusted", confidence_picture(_small(sample.weight, width)))
    if sample.depth is not None and sample.depth.kind == "metric_m":
        yield picture("Depth from one image", depth_picture(_small(sample.depth.values, width)))
    if sample.semantic is not None:
        height = max(1, round(sample.frame.height * width / sample.frame.width))
        ids = cv2.resize(sample.semantic.ids, (width, height), interpolation=cv2.INTER_NEAREST)
        small_map = SemanticMap(np.asarray(ids, dtype=np.uint8), sample.semantic.names)
        yield picture("Classes", semantic_picture(small_map))


def _scene(sample: Sample) -> Scene:
    """The labels as the pipeline would have given them, distances measured again."""
    frame, depth = sample.frame, None
    if sample.disparity is not None and frame.rig is not None and frame.rig.baseline_m is not None:
        values = depth_from_disparity(sample.disparity, frame.rig)
        depth = DepthMap(values=values, confidence=sample.weight)
    elif sample.depth is not None and sample.depth.kind == "metric_m":
        depth = sample.depth
    masks = sample.masks if sample.masks is not None else MaskSet(frame.height, frame.width)
    unknown = DepthMap(values=np.full((frame.height, frame.width), np.nan, dtype=np.float32))
    measured = measure_masks(masks, unknown if depth is None else depth, frame.rig)
    things = tuple(
        SceneObject(
            id=number,
            label=label,
            score=score,
            rle=rle,
            distance=one.distance,
            centroid=one.centroid,
            extent=one.extent,
        )
        for number, (rle, label, score, one) in enumerate(
            zip(masks.rles, masks.labels, masks.scores, measured, strict=True), start=1
        )
    )
    return Scene(
        frame=frame,
        disparity=sample.disparity,
        depth=None if depth is None else depth.values,
        confidence=sample.weight,
        objects=things,
        semantic=sample.semantic,
        provenance=Provenance(rangemask_version=__version__),
    )


def _small(values: FloatMap, width: int) -> FloatMap:
    if values.shape[1] == width:
        return values
    height = max(1, round(values.shape[0] * width / values.shape[1]))
    smaller = cv2.resize(values, (width, height), interpolation=cv2.INTER_NEAREST)
    return np.asarray(smaller, dtype=np.float32)


def _failures(summary: Summary) -> str:
    if not summary.failures:
        return ""
    rows = "".join(
        f'<tr><th scope="row">{text(name)}</th><td class="wrap">{text(why)}</td></tr>\n'
        for name, why in list(summary.failures.items())[:_NAMED_AT_MOST]
    )
    heads = '<th scope="col">Frame</th><th scope="col">Why</th>'
    table = table_html(heads, rows, "Frames that could not be labelled")
    return f'<section class="card"><h2>Failed</h2>\n{table}</section>\n'


def _foot() -> str:
    return (
        f"</main>\n<footer>rangemask {text(__version__)}. Quality is the least of a frame's "
        "scores. Weight is what a student is told to believe of the disparity.</footer>\n"
        "</body>\n</html>\n"
    )
