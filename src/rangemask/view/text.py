"""Text on pictures: one scalable font, sizes that follow the image, plates that carry text."""

from __future__ import annotations

import math
import unicodedata
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from rangemask.geometry.arrays import AnyArray, FloatMap, ImageArray
from rangemask.view.palette import BLACK, Colour, text_colour

# Pillow's own font knows Latin letters only. For others these are looked for on the machine.
_WIDER_FONTS = (
    "DejaVuSans.ttf",
    "NotoSansCJK-Regular.ttc",
    "NotoSans-Regular.ttf",
    "Arial Unicode.ttf",
    "arialuni.ttf",
    "msyh.ttc",
    "segoeui.ttf",
)
_NO_CHARACTER = "\uffff"
_MISSING = "?"
_ELLIPSIS = "…"
_LEAST_KEPT = 2
"""Characters of a name that still tell something; with fewer it is left out."""
_LONGEST = 200
"""Characters of a text that are looked at; no picture shows more."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Pen:
    """Sizes of everything drawn on a picture, so that it reads the same at any resolution."""

    font_px: int
    line_px: int
    halo_px: int
    """Width of the dark line under an outline, px."""

    @classmethod
    def for_image(cls, width: int, height: int) -> Pen:
        """Sizes for an image: the font is 12 px at 320 x 240, 27 at 1920 x 1080, 47 at 4K."""
        side = math.sqrt(width * height)
        line_px = max(1, round(side / 400))
        return cls(
            font_px=max(9, round(8 + 0.0135 * side)),
            line_px=line_px,
            halo_px=line_px + max(1, round(side / 600)),
        )


@dataclass(frozen=True, slots=True)
class Plate:
    """A line of text on a rounded plate."""

    text: str
    """As it is drawn: on one line, with the characters that the font has."""
    font_px: int
    width: int
    """Of the plate, px."""
    height: int
    """Of the plate, px; the same for all texts of a font size."""

    @classmethod
    def fit(cls, name: str, suffix: str, font_px: int, *, room_px: int) -> Plate | None:
        """The plate of ``name + suffix``, the name shortened until it is no wider than room_px.

        Returns:
            None where there is no room even for the suffix alone.
        """
        name, suffix = printable(name), printable(suffix)
        plate = _plate(name + suffix, font_px)
        if plate.width <= room_px:
            return plate
        kept, too_many = _LEAST_KEPT - 1, len(name)
        best: Plate | None = None
        while too_many - kept > 1:
            middle = (kept + too_many) // 2
            plate = _plate(name[:middle].rstrip() + _ELLIPSIS + suffix, font_px)
            if plate.width <= room_px:
                best, kept = plate, middle
            else:
                too_many = middle
        if best is not None or not suffix.strip():
            return best
        plate = _plate(suffix.strip(), font_px)
        return plate if plate.width <= room_px else None

    def draw(self, image: ImageArray, x: int, y: int, colour: Colour) -> None:
        """Draw it into (H, W, 3) uint8 with its top left corner at (x, y)."""
        radius = 0.28 * self.height
        edge = max(1.0, self.height / 22)
        outside = _rounded(self.width, self.height, radius)
        blend(image, x, y, outside * np.float32(0.85), BLACK)
        blend(image, x, y, _rounded(self.width, self.height, radius, inset=edge), colour)
        left, baseline = _text_origin(self.font_px)
        draw_text(image, x + left, y + baseline, self.text, self.font_px, text_colour(colour))


def printable(text: str) -> str:
    """The text on one line, composed, without control characters."""
    composed = unicodedata.normalize("NFC", text[:_LONGEST])
    kept = (
        character if unicodedata.category(character)[0] != "C" else " " for character in composed
    )
    return "".join(" " if character.isspace() else character for character in kept)


def text_width(text: str, font_px: int) -> int:
    """Width of a text, px."""
    font, shown = _font_for(text, font_px)
    return math.ceil(font.getlength(shown))


def text_height(font_px: int) -> tuple[int, int]:
    """Height above and below the baseline, px."""
    ascent, descent = _base_font(font_px).getmetrics()
    return int(ascent), int(descent)


def draw_text(
    image: ImageArray, x: int, baseline: int, text: str, font_px: int, colour: Colour
) -> None:
    """Draw a line of text into (H, W, 3) uint8, its left end at (x, baseline); clipped."""
    if not text:
        return
    font, shown = _font_for(text, font_px)
    left, top, right, bottom = (
        int(edge) for edge in font.getbbox(shown, anchor="ls", stroke_width=0)
    )
    if right <= left or bottom <= top:
        return
    patch = Image.new("L", (right - left, bottom - top), 0)
    ImageDraw.Draw(patch).text((-left, -top), shown, fill=255, font=font, anchor="ls")
    coverage = np.asarray(patch, dtype=np.float32) * np.float32(1 / 255)
    blend(image, x + left, baseline + top, coverage, colour)


def blend(image: ImageArray, x: int, y: int, coverage: FloatMap, colour: Colour) -> None:
    """Paint a colour into an image where and as far as ``coverage`` says.

    Args:
        image: (H, W, 3) uint8, changed in place.
        x: left edge of the patch, px; what lies outside the image is left out.
        y: top edge of the patch, px.
        coverage: (h, w) 0 to 1.
        colour: what to paint.
    """
    height, width = image.shape[:2]
    y0, x0 = max(0, y), max(0, x)
    y1, x1 = min(height, y + coverage.shape[0]), min(width, x + coverage.shape[1])
    if y1 <= y0 or x1 <= x0:
        return
    share = coverage[y0 - y : y1 - y, x0 - x : x1 - x, None]
    under = image[y0:y1, x0:x1]
    mixed = under + share * (np.array(colour, dtype=np.float32) - under)
    image[y0:y1, x0:x1] = np.rint(mixed).astype(np.uint8)


def _plate(text: str, font_px: int) -> Plate:
    text = _font_for(text, font_px)[1]
    ascent, descent = text_height(font_px)
    side, _ = _text_origin(font_px)
    height = ascent + descent + 2 * max(1, round(0.08 * font_px))
    return Plate(text, font_px, text_width(text, font_px) + 2 * side, height)


def _text_origin(font_px: int) -> tuple[int, int]:
    """Where on a plate its text begins: x and baseline, px."""
    ascent, descent = text_height(font_px)
    # Centres the capitals and figures, which is what the eye takes for the middle of a line.
    figure_top = -int(_base_font(font_px).getbbox("0", anchor="ls")[1])
    height = ascent + descent + 2 * max(1, round(0.08 * font_px))
    return max(3, round(0.38 * font_px)), round((height + figure_top) / 2)


def _rounded(width: int, height: int, radius: float, *, inset: float = 0.0) -> FloatMap:
    """How far each pixel of a width x height patch lies inside a rounded rectangle, 0 to 1."""
    radius = max(0.0, radius - inset)
    x = np.abs(np.arange(width) + 0.5 - width / 2) - (width / 2 - inset - radius)
    y = np.abs(np.arange(height) + 0.5 - height / 2) - (height / 2 - inset - radius)
    corner = np.hypot(np.maximum(x, 0)[None, :], np.maximum(y, 0)[:, None])
    inner = np.minimum(np.maximum(x[None, :], y[:, None]), 0)
    inside: AnyArray = np.clip(0.5 - (corner + inner - radius), 0, 1)
    return inside.astype(np.float32)


def _font_for(text: str, font_px: int) -> tuple[ImageFont.FreeTypeFont, str]:
    """A font that has all characters of the text; else the base font, with "?" for the others."""
    base = _base_font(font_px)
    lacking = {character for character in text if not _has(base, character)}
    if not lacking:
        return base, text
    for name in _WIDER_FONTS:
        font = _machine_font(name, font_px)
        if font is not None and all(_has(font, character) for character in text):
            return font, text
    plain = "".join(_closest(base, character) for character in text)
    return base, plain


def _closest(font: ImageFont.FreeTypeFont, character: str) -> str:
    if _has(font, character):
        return character
    bare = unicodedata.normalize("NFKD", character)[0]
    return bare if _has(font, bare) else _MISSING


@lru_cache(maxsize=4096)
def _has(font: ImageFont.FreeTypeFont, character: str) -> bool:
    """Whether the font draws the character as something else than "not here"."""
    if character.isspace() or (character.isascii() and character.isprintable()):
        return True
    here, absent = font.getmask(character), font.getmask(_NO_CHARACTER)
    return here.size != absent.size or bytes(here) != bytes(absent)


@lru_cache(maxsize=32)
def _base_font(font_px: int) -> ImageFont.FreeTypeFont:
    font = ImageFont.load_default(size=font_px)
    if not isinstance(font, ImageFont.FreeTypeFont):  # pragma: no cover  # wheels have FreeType
        raise RuntimeError("this Pillow was built without FreeType; install it from a wheel.")
    return font


@lru_cache(maxsize=64)
def _machine_font(name: str, font_px: int) -> ImageFont.FreeTypeFont | None:
    try:
        return ImageFont.truetype(name, font_px)
    except OSError:
        return None
