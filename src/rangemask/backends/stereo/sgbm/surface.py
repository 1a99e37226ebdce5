"""From the raw disparities of two views to one dense surface, and what of it was matched."""

from __future__ import annotations

from dataclasses import dataclass

import cv2
import numpy as np

from rangemask.backends.stereo.sgbm.borders import sharpen_borders
from rangemask.backends.stereo.sgbm.consistency import agree, hidden, look_up, without_speckles
from rangemask.backends.stereo.sgbm.filling import fill_from_background, smooth
from rangemask.backends.stereo.sgbm.planes import Planes, doubtful, even_regions, fit_planes
from rangemask.backends.stereo.sgbm.views import TwoViews
from rangemask.geometry.arrays import BoolMap, FloatMap, ImageArray

AGREEMENT_PX = 1.2
SPECKLE_SHARE, LEAST_SPECKLE_PX, MOST_SPECKLE_PX = 2.7e-4, 20, 400
"""Islands smaller than this share of the image are noise: 100 px of 741 x 500."""

LEAST_CERTAINTY = 0.12
CARRIED_PX, CARRIED_SHARE = 21, 0.6
TEXTURE_WINDOW_PX, LEAST_TEXTURE = 9, 0.6
"""A window whose grey levels change by less than this per px is blank."""

HIDDEN_PX = 2.0
ON_PLANE_PX = 1.5
ON_SURFACE_PX = 2.0
WINDOW_PX = 11
GUESSED = 0.3
"""Confidence of a guess, against that of a match with the same surroundings."""


@dataclass(frozen=True, slots=True, eq=False)
class Surface:
    """One disparity for every pixel, and how it was come by."""

    disparity_px: FloatMap
    """(H, W); NaN only where nothing at all matched."""
    confidence: FloatMap
    """(H, W) in [0, 1]."""
    matched: BoolMap
    """(H, W): the images themselves say so; elsewhere it is a guess."""
    occluded: BoolMap
    """(H, W): hidden from the right camera, or outside its image."""


def build_surface(left: ImageArray, views: TwoViews) -> Surface:
    """Check, repair and judge raw disparities; left is (H, W, 3) RGB."""
    agreed_px = _agreed(views)
    told = (views.certainty >= LEAST_CERTAINTY) & (_texture(left) >= LEAST_TEXTURE)
    sure_px = np.where(told, agreed_px, np.float32(np.nan))
    sure_px, planes = _with_planes(left, sure_px, views.certainty)
    known_px = _first_known(sure_px, planes.disparity_px, _carried(agreed_px))
    surface_px = smooth(fill_from_background(known_px))
    unseen = hidden(surface_px, views.right_px, views.left_px, HIDDEN_PX)
    on_surface = told & (np.abs(views.left_px - surface_px) <= ON_SURFACE_PX)
    on_plane = planes.spanned & (np.abs(planes.disparity_px - surface_px) <= ON_SURFACE_PX)
    matched = np.isfinite(sure_px) | ((on_surface | on_plane) & ~unseen)
    surface_px = _first_known(sure_px, surface_px)
    surface_px, moved = sharpen_borders(surface_px, left)
    matched &= ~moved
    confidence = _confidence(surface_px, matched, views)
    return Surface(surface_px, confidence, matched, unseen & ~matched)


def _agreed(views: TwoViews) -> FloatMap:
    agreed = agree(views.left_px, views.right_px, AGREEMENT_PX)
    speckle_px = int(np.clip(SPECKLE_SHARE * agreed.size, LEAST_SPECKLE_PX, MOST_SPECKLE_PX))
    return without_speckles(np.where(agreed, views.left_px, np.float32(np.nan)), speckle_px)


def _carried(agreed_px: FloatMap) -> FloatMap:
    """What smoothness carried through blank parts, where it did so without much dispute."""
    share = cv2.blur(np.isfinite(agreed_px).astype(np.float32), (CARRIED_PX, CARRIED_PX))
    return np.where(share >= CARRIED_SHARE, agreed_px, np.float32(np.nan))


def _first_known(*maps_px: FloatMap) -> FloatMap:
    """The first of several (H, W) maps that is not NaN, pixel by pixel."""
    known_px = maps_px[0].copy()
    for map_px in maps_px[1:]:
        np.copyto(known_px, map_px, where=np.isnan(known_px))
    return known_px


def _texture(image: ImageArray) -> FloatMap:
    """(H, W): steepest grey-level slope along the row, per px, around each pixel."""
    grey = cv2.GaussianBlur(cv2.cvtColor(image, cv2.COLOR_RGB2GRAY), (3, 3), 0)
    slope = np.abs(cv2.Sobel(grey, cv2.CV_16S, 1, 0))
    window = np.ones((TEXTURE_WINDOW_PX, TEXTURE_WINDOW_PX), np.uint8)
    return np.asarray(cv2.dilate(slope, window), np.float32) / np.float32(8)


def _with_planes(
    left: ImageArray, sure_px: FloatMap, certainty: FloatMap
) -> tuple[FloatMap, Planes]:
    """Matches without the doubtful ones, and the planes of even regions."""
    regions = even_regions(left)
    believed_px = np.where(doubtful(sure_px, regions), np.float32(np.nan), sure_px)
    planes = fit_planes(believed_px, certainty, regions)
    confirmed = np.abs(sure_px - planes.disparity_px) < ON_PLANE_PX
    return np.where(confirmed, sure_px, believed_px), planes


def _confidence(surface_px: FloatMap, matched: BoolMap, views: TwoViews) -> FloatMap:
    """Product of what speaks for a pixel; (H, W) in [0, 1].

    The two views agree here and all around, the raw match was this one here and all around, its
    cost beat the others, and the surface is smooth.
    """
    window = (WINDOW_PX, WINDOW_PX)
    apart_px = np.nan_to_num(np.abs(look_up(views.right_px, surface_px) - surface_px), nan=99.0)
    moved_px = np.nan_to_num(np.abs(views.left_px - surface_px), nan=99.0)
    agreement = cv2.blur((apart_px <= AGREEMENT_PX).astype(np.float32), window)
    moved = cv2.blur(np.minimum(moved_px, 5.0).astype(np.float32), window)
    rough_px = cv2.blur(np.abs(surface_px - cv2.blur(surface_px, window)), window)
    confidence = (
        (0.25 + 0.75 * np.exp(-0.5 * apart_px))
        * (0.1 + 0.9 * agreement)
        * (0.2 + 0.8 * np.exp(-moved))
        * (0.1 + 0.9 * cv2.blur(views.certainty, (3, 3)))
        / (1.0 + rough_px)
    )
    confidence[~matched] *= GUESSED
    return np.asarray(np.clip(np.nan_to_num(confidence), 0.0, 1.0), np.float32)
