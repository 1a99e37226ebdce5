"""Masks and depth made to agree at object borders, in three separate steps.

- ``refine_masks``: depth edges correct masks.
- ``refine_depth``: mask edges correct depth.
- ``remove_flying_pixels``: pixels that hang between two layers become unknown.

Which of the first two helps depends on whose edges are better, the depth's or the masks'
(docs/fusion.md has both measured). All of them look at inverse depth, in which a plane is linear
in the pixel, and call a relative step of more than ``jump`` between neighbours a discontinuity.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import overload

import cv2
import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from rangemask.errors import InputError
from rangemask.fusion.measure import check_inputs
from rangemask.geometry.arrays import AnyArray, BoolMap, FloatMap
from rangemask.structures.maps import DepthMap, check_map
from rangemask.structures.masks import MaskSet

_WIDEST_STEP_PX = 6
_MIN_LAYER_SHARE = 0.02
_MIN_LAYER_PIXELS = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class RefineConfig:
    """How borders are refined.

    Raises:
        InputError: a value is outside its range.
    """

    jump: float = 0.1
    """Relative step of inverse depth between neighbours that makes a discontinuity."""
    band_px: int = 6
    """A mask's core, which is not doubted, begins so far from its border."""
    grow_px: int = 4
    """How far a mask may grow to reach a discontinuity."""
    main_share: float = 0.25
    """The nearest part of a mask with this share of its largest part is what it shows."""

    def __post_init__(self) -> None:
        for name, low, high in (
            ("jump", 0.001, 1.0),
            ("band_px", 0, 100),
            ("grow_px", 0, 100),
            ("main_share", 0.0, 1.0),
        ):
            if not low <= getattr(self, name) <= high:
                raise InputError(
                    f"{name} must be within {low:g} to {high:g}, got {getattr(self, name)}."
                )


@overload
def refine_masks(
    masks: MaskSet, depth: DepthMap, config: RefineConfig | None = None
) -> MaskSet: ...


@overload
def refine_masks(
    masks: BoolMap, depth: DepthMap, config: RefineConfig | None = None
) -> BoolMap: ...


def refine_masks(
    masks: BoolMap | MaskSet, depth: DepthMap, config: RefineConfig | None = None
) -> BoolMap | MaskSet:
    """Cut what lies beyond a depth discontinuity; grow to one where it is near.

    Inside, a mask loses the pixels that cannot be reached from its core without crossing a
    discontinuity, and parts of it on another depth layer. Outside, it gains the pixels
    that can be reached, but only where a discontinuity or unknown depth ends them within
    ``grow_px``: at its feet, where an object meets the floor without a step, it does not grow.
    Pixels of unknown depth stay as they are.

    Args:
        masks: (N, H, W) bool, or a ``MaskSet``, whose labels and scores are kept.
        depth: (H, W), metric or up to scale.
        config: how to refine.

    Returns:
        masks of the same type and number.

    Raises:
        InputError: sizes differ, or depth is a relative one.
    """
    config = config if config is not None else RefineConfig()
    inverse = _inverse(masks, depth)
    refined: BoolMap = np.zeros((len(masks), *inverse.shape), dtype=np.bool_)
    for number, box, mask in _boxes(masks, config.grow_px + 2):
        refined[(number, *box)] = _refine_mask(mask, _Links(inverse[box], config.jump), config)
    if isinstance(masks, MaskSet):
        return MaskSet.from_dense(refined, labels=masks.labels, scores=masks.scores)
    return refined


def refine_depth(
    depth: DepthMap,
    masks: BoolMap | MaskSet,
    config: RefineConfig | None = None,
    *,
    fill: bool = True,
) -> DepthMap:
    """Inside masks, near their borders, put right the depth that bled in from another layer.

    A pixel has bled if it lies near its mask's core and cannot be reached from the core of any
    of its masks without crossing a discontinuity.

    Args:
        depth: (H, W), metric or up to scale.
        masks: (N, H, W) bool, or a ``MaskSet``; where several claim a pixel the nearest wins.
        config: how to refine.
        fill: whether such pixels take the nearest core pixel's depth, and count as filled, or
            become unknown.

    Raises:
        InputError: sizes differ, or depth is a relative one.
    """
    config = config if config is not None else RefineConfig()
    inverse = _inverse(masks, depth)
    good = np.zeros(inverse.shape, dtype=bool)
    nearest = np.zeros_like(inverse)
    for _, box, mask in _boxes(masks, 1):
        links = _Links(inverse[box], config.jump)
        core, other = _core(mask, links, config)
        if not core.any():
            continue
        good[box] |= links.grow(core, mask & ~other, 2 * config.band_px) > 0
        # Whole parts on another layer are the mask's mistake, not the depth's.
        away, at = ndimage.distance_transform_edt(~core, return_indices=True)
        doubted = mask & ~other & (away <= 2 * config.band_px)
        # The nearest surface has the largest inverse depth.
        guess = np.where(doubted, links.inverse[at[0], at[1]], 0)
        np.maximum(nearest[box], guess, out=nearest[box])
    bled = (nearest > 0) & ~good & np.isfinite(inverse)
    if not fill:
        return _unknown(depth, bled)
    values = depth.values.copy()
    values[bled] = 1 / nearest[bled]
    filled = bled if depth.filled is None else depth.filled | bled
    return replace(depth, values=values, filled=filled)


def flying_pixels(
    depth: DepthMap, config: RefineConfig | None = None, *, near: BoolMap | None = None
) -> BoolMap:
    """Pixels whose depth hangs between two layers that lie on both sides of them.

    Along a row or a column: two pixels two to six apart belong to surfaces that go on smoothly,
    a discontinuity apart, and what lies between them fits neither. On a plane, however slanted,
    the surfaces' own slope accounts for the step, so nothing is found there. cf. RAFT-Stereo's
    issue 59, whose plain threshold on the step takes clean edges away as well.

    Args:
        depth: (H, W), metric or up to scale.
        config: ``jump`` is used.
        near: (H, W), where to look, such as around object borders; everywhere without it.

    Returns:
        (H, W) bool.

    Raises:
        InputError: sizes differ, or depth is a relative one.
    """
    config = config if config is not None else RefineConfig()
    inverse = _inverse(None, depth)
    flying = np.zeros(inverse.shape, dtype=bool)
    for apart in range(2, _WIDEST_STEP_PX + 1):
        flying |= _between(inverse, config.jump, apart)
        flying |= _between(inverse.T, config.jump, apart).T
    if near is not None:
        check_map(near, np.bool_, "near", inverse.shape)
        flying &= near
    return flying


def remove_flying_pixels(
    depth: DepthMap, config: RefineConfig | None = None, *, near: BoolMap | None = None
) -> DepthMap:
    """The map without its flying pixels, which become unknown; see ``flying_pixels``.

    Raises:
        InputError: sizes differ, or depth is a relative one.
    """
    return _unknown(depth, flying_pixels(depth, config, near=near))


class _Links:
    """Which neighbouring pixels of a map belong to one surface."""

    def __init__(self, inverse: FloatMap, jump: float) -> None:
        self.inverse = inverse
        self.right = _smooth(inverse[:, :-1], inverse[:, 1:], jump)
        self.down = _smooth(inverse[:-1], inverse[1:], jump)

    def grow(self, seed: BoolMap, allowed: BoolMap, steps: int) -> NDArray[np.uint8]:
        """(H, W): 1 at the seed, k + 1 at allowed pixels that k steps along links reach, else 0."""
        level = seed.astype(np.uint8)
        front = seed
        for step in range(2, steps + 2):
            front = self._beside(front) & allowed & (level == 0)
            if not front.any():
                break
            level[front] = step
        return level

    def _beside(self, front: BoolMap) -> BoolMap:
        """The pixels one link away."""
        beside = np.zeros_like(front)
        beside[:, 1:] |= front[:, :-1] & self.right
        beside[:, :-1] |= front[:, 1:] & self.right
        beside[1:] |= front[:-1] & self.down
        beside[:-1] |= front[1:] & self.down
        return beside

    def parts(self, inside: BoolMap) -> tuple[int, NDArray[np.int32]]:
        """Surfaces inside a mask: their number, and (H, W) which one, 0 for none."""
        whole = inside & np.isfinite(self.inverse)
        # A pixel before a discontinuity stands for it: without it the two sides are apart.
        whole[:, :-1] &= self.right | ~inside[:, 1:]
        whole[:-1] &= self.down | ~inside[1:]
        count, part = cv2.connectedComponents(whole.view(np.uint8), connectivity=4)
        return count, np.asarray(part, dtype=np.int32)


def _refine_mask(mask: BoolMap, links: _Links, config: RefineConfig) -> BoolMap:
    core, other = _core(mask, links, config)
    if not core.any():
        return mask
    known = np.isfinite(links.inverse)
    inner = links.grow(core, mask & ~other, 2 * config.band_px) > 0
    kept = mask & ~other & (inner | ~known)
    # One vote of 3 x 3 closes the pinholes that noise leaves; depth that is certain stays.
    voted = cv2.medianBlur(kept.view(np.uint8), 3).view(np.bool_)
    kept |= voted & mask & ~other
    return kept | _gain(kept, inner, known & ~mask, links, config.grow_px)


def _gain(kept: BoolMap, inner: BoolMap, outside: BoolMap, links: _Links, grow_px: int) -> BoolMap:
    """Pixels outside that belong to the mask's surface, where that ends within grow_px."""
    level = links.grow(inner & kept, outside, grow_px + 1)
    cross = cv2.getStructuringElement(cv2.MORPH_CROSS, (3, 3))
    # What leads one step farther has no end in sight: take it back, from the outside in.
    endless = level == grow_px + 2
    for step in range(grow_px + 1, 1, -1):
        beside = cv2.dilate(endless.view(np.uint8), cross).view(np.bool_)
        endless |= (level == step) & beside
    gained: BoolMap = (level > 1) & ~endless
    return gained


def _core(mask: BoolMap, links: _Links, config: RefineConfig) -> tuple[BoolMap, BoolMap]:
    """The pixels that surely show the mask's object, and its parts on another layer."""
    core = _inner(mask, config.band_px) & np.isfinite(links.inverse)
    other = np.zeros_like(mask)
    count, part = links.parts(mask)
    size = np.bincount(part[core], minlength=count)
    size[0] = 0
    if size.max(initial=0) == 0:
        return core, other
    large = np.flatnonzero(size >= max(_MIN_LAYER_PIXELS, _MIN_LAYER_SHARE * core.sum()))
    if large.size < 2:
        return core, other
    inverse = np.asarray(ndimage.median(links.inverse, part, large))
    candidates = size[large] >= config.main_share * size.max()
    main = inverse[candidates].max()
    # Twice the step: parts of one object may well lie one discontinuity apart.
    away = np.abs(inverse - main) > 2 * config.jump * np.maximum(inverse, main)
    other = np.isin(part, large[away])
    return core & ~other, other


def _inner(mask: BoolMap, band_px: int) -> BoolMap:
    """The mask without so many pixels along its border; thin parts keep their middle."""
    inside = np.pad(mask, 1, mode="edge").view(np.uint8)
    away = cv2.distanceTransform(inside, cv2.DIST_C, 3)[1:-1, 1:-1]
    side = 2 * band_px + 1
    thick = cv2.dilate(away, np.ones((side, side), dtype=np.uint8))
    # Where the mask is thinner than two bands, the inner third of it.
    inner: BoolMap = mask & (away > np.minimum(band_px, 2 / 3 * thick))
    return inner


def _between(inverse: FloatMap, jump: float, apart: int) -> BoolMap:
    """Flying pixels along rows between two layers whose nearest pixels are so far apart."""
    flying = np.zeros(inverse.shape, dtype=bool)
    width = inverse.shape[1] - 3 * apart
    if width <= 0:
        return flying

    def at(shift: int) -> FloatMap:
        return inverse[:, apart + shift : apart + shift + width]

    left, right = at(0), at(apart)
    step = np.abs(right - left)
    # Over the same stretch beside it a plane goes on as much, a layer by little.
    edge = (
        (step > jump * np.maximum(left, right))
        & (2 * np.abs(left - at(-apart)) < step)
        & (2 * np.abs(right - at(2 * apart)) < step)
    )
    for shift in range(1, apart):
        here = at(shift)
        nearer = np.minimum(np.abs(here - left), np.abs(here - right))
        hangs = (nearer > 0.2 * step) & ((here - left) * (right - here) > 0)
        flying[:, apart + shift : apart + shift + width] |= edge & hangs
    return flying


def _smooth(first: FloatMap, second: FloatMap, jump: float) -> BoolMap:
    # Unknown depth compares as false: no link.
    linked: BoolMap = np.abs(first - second) <= jump * np.maximum(first, second)
    return linked


def _inverse(masks: BoolMap | MaskSet | None, depth: DepthMap) -> FloatMap:
    if depth.kind == "relative_inverse":
        raise InputError(
            "this depth map is relative_inverse: steps in it have no size. Refining needs metric "
            "depth or depth up to scale."
        )
    if masks is not None:
        check_inputs(masks, depth, None, None)
    known = np.isfinite(depth.values) & (depth.values > 0)
    inverse = np.full(depth.values.shape, np.nan, dtype=np.float32)
    np.divide(1, depth.values, out=inverse, where=known)
    return inverse


def _boxes(
    masks: BoolMap | MaskSet, margin: int
) -> Iterator[tuple[int, tuple[slice, slice], BoolMap]]:
    """Each mask that is not empty, cut to its box with a margin."""
    for number, mask in enumerate(masks):
        rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
        if rows.size == 0:
            continue
        box = (
            slice(max(int(rows[0]) - margin, 0), int(rows[-1]) + 1 + margin),
            slice(max(int(columns[0]) - margin, 0), int(columns[-1]) + 1 + margin),
        )
        yield number, box, np.ascontiguousarray(mask[box])


def _unknown(depth: DepthMap, where: BoolMap) -> DepthMap:
    values: AnyArray = depth.values.copy()
    values[where] = np.nan
    confidence = None if depth.confidence is None else depth.confidence.copy()
    if confidence is not None:
        confidence[where] = 0
    return replace(depth, values=values, confidence=confidence)
