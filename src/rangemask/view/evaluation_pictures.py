"""Frames of an evaluation in pictures: predictions beside the truth, in the same colours."""

from __future__ import annotations

from collections.abc import Callable

import cv2
import numpy as np

from rangemask.data.sample import Sample
from rangemask.evaluation.alignment import to_metres, true_depth_m
from rangemask.evaluation.objects import match
from rangemask.evaluation.predictors import Prediction
from rangemask.geometry.arrays import AnyArray, FloatMap, ImageArray
from rangemask.structures import MaskSet, SemanticMap
from rangemask.view.colormap import ColourRange, colour_values
from rangemask.view.overlay import semantic_picture
from rangemask.view.palette import instance_colour
from rangemask.view.report import data_url
from rangemask.view.report_page import Picture

_WIDTH_PX = 420
_ERROR_END = {"disparity": 4.0, "stereo_depth": 0.25, "depth": 0.25}
"""Where the colours of errors end: px, or share of the true distance."""
_DIM = 0.45
_UNMATCHED = (235, 235, 235)

Words = dict[str, str]


def pictures_of(
    kind: str, sample: Sample, predictions: dict[str, Prediction], *, errors: bool
) -> list[Picture]:
    """The image, the truth and each prediction of one kind.

    Args:
        kind: of numbers, as in a report's totals.
        sample: the frame and its truth.
        predictions: by what they are to be called.
        errors: whether to draw where each is wrong, for disparity and depth.
    """
    draw = _DRAWING[kind]
    found = [_picture("Image", sample.frame.left)]
    found.append(_picture("Truth", draw(sample, None)))
    for name, prediction in predictions.items():
        found.append(_picture(name, draw(sample, prediction)))
        if errors and kind in _ERROR_END:
            words = (
                "error, brightest from 4 px"
                if kind == "disparity"
                else "error, brightest from 25 %"
            )
            found.append(_picture(f"{name}: {words}", _error_picture(kind, sample, prediction)))
    return found


def _picture(caption: str, image: ImageArray) -> Picture:
    height, width = image.shape[:2]
    if width > _WIDTH_PX:
        size = (_WIDTH_PX, max(1, round(height * _WIDTH_PX / width)))
        image = np.asarray(cv2.resize(image, size, interpolation=cv2.INTER_AREA), dtype=np.uint8)
        height, width = image.shape[:2]
    return Picture(
        caption=caption, alternative=caption, source=data_url(image), width=width, height=height
    )


def _maps(kind: str, sample: Sample, prediction: Prediction | None) -> tuple[FloatMap, FloatMap]:
    """The truth and what was said of it; the truth twice without a prediction."""
    true = sample.disparity if kind == "disparity" else true_depth_m(sample)
    assert true is not None  # noqa: S101 - the frame was judged by it
    if prediction is None:
        return true, true
    found = {"disparity": prediction.disparity, "stereo_depth": prediction.stereo_depth_m}.get(kind)
    if kind == "depth" and prediction.depth is not None:
        found = to_metres(prediction.depth, true)
    return true, np.full_like(true, np.nan) if found is None else found


def _range_picture(kind: str, sample: Sample, prediction: Prediction | None) -> ImageArray:
    true, found = _maps(kind, sample, prediction)
    if kind != "disparity":  # bright is near in all pictures
        true, found = _inverse(true), _inverse(found)
    known = true[np.isfinite(true)]
    low, high = np.percentile(known, (1, 99)) if known.size else (0.0, 1.0)
    return colour_values(found, ColourRange(low=float(low), high=float(max(high, low + 1e-3))))


def _error_picture(kind: str, sample: Sample, prediction: Prediction) -> ImageArray:
    true, found = _maps(kind, sample, prediction)
    error = np.abs(found - true)
    if kind != "disparity":
        error = error * _inverse(true)
    whole = ColourRange(low=0.0, high=_ERROR_END[kind], quantity="share")
    return colour_values(error, whole)


def _inverse(depth_m: AnyArray) -> AnyArray:
    out = np.full_like(depth_m, np.nan)
    np.divide(1, depth_m, out=out, where=depth_m > 0)
    return out


def _semantic_picture(sample: Sample, prediction: Prediction | None) -> ImageArray:
    truth = sample.semantic
    assert truth is not None  # noqa: S101 - the frame was judged by it
    if prediction is None:
        return semantic_picture(truth)
    found = prediction.semantic
    if found is None:
        return semantic_picture(SemanticMap(np.zeros_like(truth.ids), truth.names))
    # In the colours of the truth; names that it does not have are unknown there.
    places = [truth.names.index(one) if one in truth.names else 0 for one in found.names]
    table = np.array([0, *places[1:]], dtype=np.uint8)
    return semantic_picture(SemanticMap(table[found.ids], truth.names))


def _masks_picture(sample: Sample, prediction: Prediction | None) -> ImageArray:
    truth = sample.masks
    assert truth is not None  # noqa: S101 - the frame was judged by it
    if prediction is None:
        colours = [instance_colour(i + 1) for i in range(len(truth))]
        return _painted(sample.frame.left, truth, colours)
    if prediction.masks is None:
        return _painted(sample.frame.left, MaskSet(truth.height, truth.width), [])
    sure = prediction.masks.select(prediction.sure)
    partners = {mine: true for true, mine in match(sure, truth).items()}
    colours = [
        instance_colour(partners[i] + 1) if i in partners else _UNMATCHED for i in range(len(sure))
    ]
    return _painted(sample.frame.left, sure, colours)


def _painted(image: ImageArray, masks: MaskSet, colours: list[tuple[int, int, int]]) -> ImageArray:
    """Masks on the darkened image, small ones over large ones."""
    picture = (_DIM * image).astype(np.uint8)
    areas = [rle.area for rle in masks.rles]
    for i in np.argsort(areas)[::-1]:
        mask = masks.rles[i].decode()
        picture[mask] = (0.35 * image[mask] + 0.65 * np.array(colours[i])).astype(np.uint8)
        edge = mask & ~np.asarray(cv2.erode(mask.astype(np.uint8), np.ones((3, 3))), dtype=bool)
        picture[edge] = colours[i]
    return picture


_DRAWING: dict[str, Callable[[Sample, Prediction | None], ImageArray]] = {
    "disparity": lambda sample, found: _range_picture("disparity", sample, found),
    "stereo_depth": lambda sample, found: _range_picture("stereo_depth", sample, found),
    "depth": lambda sample, found: _range_picture("depth", sample, found),
    "semantic": _semantic_picture,
    "masks": _masks_picture,
}
