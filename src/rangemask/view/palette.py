"""Colours for things that are told apart by colour: one per instance id or class id."""

from __future__ import annotations

from functools import lru_cache
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

from rangemask.geometry.arrays import AnyArray, ImageArray

Colour: TypeAlias = tuple[int, int, int]
"""Red, green, blue, 0 to 255."""

COLOURS = 1024
"""How many different colours there are; ids beyond begin again."""

BLACK: Colour = (0, 0, 0)
WHITE: Colour = (255, 255, 255)

# Okabe and Ito, "Color Universal Design" (2008), without black; further ones are searched.
_FIRST: tuple[Colour, ...] = (
    (230, 159, 0),
    (86, 180, 233),
    (0, 158, 115),
    (240, 228, 66),
    (213, 94, 0),
    (204, 121, 167),
    (0, 114, 178),
)

# Machado, Oliveira, Fernandes, "A Physiologically-based Model for Simulation of Color Vision
# Deficiency" (2009), table 1, severity 1: protanopia, deuteranopia, tritanopia; linear RGB.
_SIGHTS = np.array(
    [
        [[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]],
        [
            [0.152286, 1.052583, -0.204868],
            [0.114503, 0.786281, 0.099216],
            [-0.003882, -0.048116, 1.051998],
        ],
        [
            [0.367322, 0.860646, -0.227968],
            [0.280085, 0.672501, 0.047413],
            [-0.011820, 0.042940, 0.968881],
        ],
        [
            [1.255528, -0.076749, -0.178779],
            [-0.078411, 0.930809, 0.147602],
            [0.004733, 0.691367, 0.303900],
        ],
    ]
)

# Ottosson, "A perceptual color space for image processing" (2020).
_LMS_FROM_RGB = np.array(
    [
        [0.4122214708, 0.5363325363, 0.0514459929],
        [0.2119034982, 0.6806995451, 0.1073969566],
        [0.0883024619, 0.2817188376, 0.6299787005],
    ]
)
_LAB_FROM_LMS = np.array(
    [
        [0.2104542553, 0.7936177850, -0.0040720468],
        [1.9779984951, -2.4285922050, 0.4505937099],
        [0.0259040371, 0.7827717662, -0.8086757660],
    ]
)

_LIGHTNESS = (0.48, 0.92)
"""Of the searched colours: neither lost on the black of instances.png nor taken for white."""
_CHROMA = 0.07
"""Least of the searched colours, so that none is taken for the grey of "unknown"."""


def instance_colour(identity: int) -> Colour:
    """The colour of an instance or class id: always the same one, and never black.

    The first seven are those of Okabe and Ito; each further one is the one that differs most
    from all before it for the eye that tells it apart worst, of normal sight and the three
    kinds of colour blindness.

    Args:
        identity: 1, 2, ...; beyond ``COLOURS`` they begin again.

    Raises:
        ValueError: the id is not positive: 0 stands for "no object".
    """
    if identity < 1:
        raise ValueError(f"ids begin at 1, got {identity}.")
    place = (identity - 1) % COLOURS
    # Built in doubling steps: a picture with ten objects does not pay for a thousand colours.
    table = _table(min(COLOURS, 1 << max(4, place.bit_length())))
    red, green, blue = (int(value) for value in table[place])
    return red, green, blue


def colour_table(count: int) -> ImageArray:
    """Colours of the ids 0 to ``count``, (count + 1, 3) uint8; that of 0 is black."""
    table = np.zeros((count + 1, 3), dtype=np.uint8)
    for identity in range(1, count + 1):
        table[identity] = instance_colour(identity)
    return table


def text_colour(plate: Colour) -> Colour:
    """Black or white, whichever is read better on a plate of that colour."""
    return max((BLACK, WHITE), key=lambda colour: contrast(colour, plate))


def contrast(first: Colour, second: Colour) -> float:
    """Contrast ratio of two colours, 1 to 21 (WCAG 2.2; 4.5 is its level AA for text)."""
    high, low = sorted((_luminance(first), _luminance(second)), reverse=True)
    return (high + 0.05) / (low + 0.05)


def seen_difference(first: Colour, second: Colour) -> float:
    """Difference of two colours for the sight that tells them apart worst.

    Returns:
        Euclidean distance in OKLab (Ottosson 2020), about 0.02 being just noticeable.
    """
    pair = _seen(np.array([first, second], dtype=np.float64))
    return float(np.linalg.norm(pair[:, 0] - pair[:, 1], axis=-1).min())


@lru_cache(maxsize=8)
def _table(count: int) -> NDArray[np.uint8]:
    levels = np.linspace(0, 255, 18).round()
    grid = np.stack(np.meshgrid(levels, levels, levels, indexing="ij"), axis=-1).reshape(-1, 3)
    lab = _seen(grid)[0]
    fit = (lab[:, 0] >= _LIGHTNESS[0]) & (lab[:, 0] <= _LIGHTNESS[1])
    grid = grid[fit & (np.hypot(lab[:, 1], lab[:, 2]) >= _CHROMA)]
    seen = _seen(grid)
    chosen = np.zeros((count, 3), dtype=np.uint8)
    chosen[: len(_FIRST)] = _FIRST[:count]
    nearest = np.full(len(grid), np.inf)
    for point in np.moveaxis(_seen(np.array(_FIRST, dtype=np.float64)), 1, 0):
        nearest = np.minimum(nearest, _gap(seen, point))
    for place in range(len(_FIRST), count):
        # Rounded, so that a last bit of arithmetic cannot choose differently elsewhere.
        best = int(np.argmax(np.round(nearest, 6)))
        chosen[place] = grid[best]
        nearest = np.minimum(nearest, _gap(seen, seen[:, best]))
    chosen.setflags(write=False)
    return chosen


def _gap(seen: AnyArray, point: AnyArray) -> AnyArray:
    squared: AnyArray = np.square(seen - point[:, None]).sum(axis=-1).min(axis=0)
    return np.sqrt(squared)


def _seen(rgb: AnyArray) -> AnyArray:
    """(N, 3) sRGB 0..255 to (4, N, 3) OKLab as normal and colour-blind eyes see it."""
    linear = _linear(rgb)
    sights = np.clip(np.einsum("sij,nj->sni", _SIGHTS, linear), 0.0, 1.0)
    seen: AnyArray = np.cbrt(sights @ _LMS_FROM_RGB.T) @ _LAB_FROM_LMS.T
    return seen


def _linear(rgb: AnyArray) -> AnyArray:
    share = np.asarray(rgb, dtype=np.float64) / 255.0
    return np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)


def _luminance(colour: Colour) -> float:
    red, green, blue = _linear(np.array(colour))
    return float(0.2126 * red + 0.7152 * green + 0.0722 * blue)
