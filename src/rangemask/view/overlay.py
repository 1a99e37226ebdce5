"""Objects on the picture: outlines, labels and distances that read at any resolution."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

import cv2
import numpy as np

from rangemask.geometry.arrays import AnyArray, BoolMap, ImageArray
from rangemask.structures import Scene, SceneObject, SemanticMap
from rangemask.view.palette import BLACK, WHITE, Colour, colour_table, instance_colour
from rangemask.view.placement import Spot, Target, place_labels
from rangemask.view.text import Pen, Plate

Caption: TypeAlias = Literal["label", "distance"]
"""What a label says: ``person``, or ``person 1.52 m``."""
_Box: TypeAlias = tuple[float, float, float, float]

_UNKNOWN_CLASS: Colour = (128, 128, 128)
_EDGE_POINTS = 64
_WIDEST_LABEL = 0.3
"""Of the image's width; longer names are cut."""
_FONT_SIZES = (1.0, 0.85, 0.72)
"""Of labels, against the pen's, the next where the one before would crowd the image."""
_SMALLEST_FONT_PX = 10
_CROWDED = 0.2
"""Share of the image under labels from which they become smaller."""
_FULL = 0.3
"""Share of the image under labels from which no further ones are drawn."""
_FEW = 8
"""Labels that are tried whatever they cover."""
_RELATIVE = "relative depth, no metres"
_REACH = 0.18
"""Of the image's diagonal: how far a label may be from its object."""


@dataclass(frozen=True, slots=True, eq=False)
class Drawn:
    """The masks of a scene's objects, decoded and cut to their boxes; made once, drawn often."""

    width: int
    """Of the picture, px."""
    height: int
    """Of the picture, px."""
    things: tuple[SceneObject, ...]
    cuts: tuple[tuple[int, int, BoolMap], ...]
    """Per object: x and y of its box, and the mask inside of it, (h, w); (0, 0) if empty."""

    @classmethod
    def of(cls, scene: Scene, *, width: int | None = None) -> Drawn:
        """Take the masks of a scene, resized to a picture of another width where one is given."""
        width = scene.frame.width if width is None else width
        height = max(1, round(scene.frame.height * width / scene.frame.width))
        cuts = tuple(_cut(thing, width, height) for thing in scene.objects)
        return cls(width, height, scene.objects, cuts)

    def far_to_near(self) -> list[int]:
        """Indices of the objects in the order of drawing; unknown distances count as far."""
        distance = [
            thing.distance.median if thing.distance.known else np.inf for thing in self.things
        ]
        return sorted(range(len(self.things)), key=lambda i: (-distance[i], -self.things[i].id))

    def ids(self) -> AnyArray:
        """(H, W) int32: id of the object at each pixel, 0 for none; the nearest one wins."""
        ids = np.zeros((self.height, self.width), dtype=np.int32)
        for index in self.far_to_near():
            x, y, mask = self.cuts[index]
            inside = ids[y : y + mask.shape[0], x : x + mask.shape[1]]
            inside[mask] = self.things[index].id
        return ids


def overlay_picture(
    scene: Scene,
    *,
    caption: Caption = "distance",
    fill: float = 0.30,
    width: int | None = None,
    drawn: Drawn | None = None,
) -> ImageArray:
    """The left image with all objects on it: fill, outline and label in the object's colour.

    Args:
        scene: what to draw.
        caption: what the labels say.
        fill: how much of its colour covers an object, 0 to 1.
        width: of the picture, px; the image's own by default. Text keeps its size on paper.
        drawn: the scene's masks where they were taken already.

    Returns:
        (H, W, 3) uint8 RGB. Labels are inside the picture and never on each other; where many
        objects leave no room, the farthest go without and a note says how many. Where depth is
        relative, a picture of distances says so in its upper right corner.
    """
    drawn = Drawn.of(scene, width=width) if drawn is None else drawn
    image = scene.frame.left
    if image.shape[:2] != (drawn.height, drawn.width):
        smaller = cv2.resize(image, (drawn.width, drawn.height), interpolation=cv2.INTER_AREA)
        image = smaller.astype(np.uint8, copy=False)
    picture = _fill(image, drawn.ids(), fill)
    pen = Pen.for_image(drawn.width, drawn.height)
    contours = [_contours(cut) for cut in drawn.cuts]
    for index in drawn.far_to_near():
        _outline(picture, contours[index], instance_colour(drawn.things[index].id), pen)
    relative = caption == "distance" and scene.relative_depth is not None
    remark = Plate.fit("", _RELATIVE, pen.font_px, room_px=drawn.width) if relative else None
    if remark is None or remark.height > drawn.height:
        _labels(picture, drawn, contours, pen, caption)
        return picture
    x = drawn.width - remark.width
    corner = (float(x), 0.0, float(remark.width), float(remark.height))
    _labels(picture, drawn, contours, pen, caption, [corner])
    remark.draw(picture, x, 0, WHITE)
    return picture


def instances_picture(scene: Scene, *, drawn: Drawn | None = None) -> ImageArray:
    """One colour per instance id on black, (H, W, 3) uint8 RGB; the nearest object wins."""
    ids = (Drawn.of(scene) if drawn is None else drawn).ids()
    return _colours_of(ids)


def semantic_picture(semantic: SemanticMap, *, legend: bool = True) -> ImageArray:
    """One colour per class, with a legend of the classes that occur, largest first.

    Returns:
        (H + h, W, 3) uint8 RGB: the map pixel for pixel, then the legend (h is 0 without one).
    """
    table = colour_table(max(1, len(semantic.names) - 1))
    table[0] = _UNKNOWN_CLASS
    picture: ImageArray = table[semantic.ids]
    if not legend:
        return picture
    present = np.bincount(semantic.ids.ravel(), minlength=len(semantic.names))
    order = [int(k) for k in np.argsort(-present, kind="stable") if present[k]]
    names = [semantic.names[k] for k in order]
    colours = [_rgb(table[k]) for k in order]
    strip = _legend(names, colours, picture.shape[1], Pen.for_image(*picture.shape[1::-1]))
    return np.concatenate([picture, strip])


def _cut(thing: SceneObject, width: int, height: int) -> tuple[int, int, BoolMap]:
    x, y, w, h = (int(value) for value in thing.box)
    if not w or not h:
        return 0, 0, np.zeros((0, 0), dtype=bool)
    mask = np.ascontiguousarray(thing.mask[y : y + h, x : x + w])
    scale_x, scale_y = width / thing.rle.width, height / thing.rle.height
    if (width, height) == (thing.rle.width, thing.rle.height):
        return x, y, mask
    x0, y0 = int(x * scale_x), int(y * scale_y)
    wide = max(1, min(width - x0, round(w * scale_x)))
    high = max(1, min(height - y0, round(h * scale_y)))
    small = cv2.resize(mask.view(np.uint8) * 255, (wide, high), interpolation=cv2.INTER_AREA)
    return x0, y0, small > 127


def _fill(image: ImageArray, ids: AnyArray, share: float) -> ImageArray:
    tinted = cv2.addWeighted(image, 1 - share, _colours_of(ids), share, 0)
    return np.where((ids > 0)[..., None], tinted, image).astype(np.uint8)


def _colours_of(ids: AnyArray) -> ImageArray:
    present = np.flatnonzero(np.bincount(ids.ravel()))
    table = np.zeros((int(present.max(initial=0)) + 1, 3), dtype=np.uint8)
    for identity in present[present > 0]:
        table[identity] = instance_colour(int(identity))
    colours: ImageArray = table[ids]
    return colours


def _contours(cut: tuple[int, int, BoolMap]) -> list[AnyArray]:
    """Outlines of a mask and of its holes in picture coordinates, each (K, 1, 2) int32."""
    x, y, mask = cut
    if not mask.size:
        return []
    found, _ = cv2.findContours(
        mask.view(np.uint8), cv2.RETR_CCOMP, cv2.CHAIN_APPROX_NONE, offset=(x, y)
    )
    return list(found)


def _outline(picture: ImageArray, contours: list[AnyArray], colour: Colour, pen: Pen) -> None:
    """The object's colour on a dark line, so that it stands out from any ground."""
    # Outlines of specks and pinholes would be nothing but line.
    large = [line for line in contours if len(line) > 6 * pen.halo_px]
    large = large or contours[:1]
    cv2.drawContours(picture, large, -1, _dark(colour), pen.halo_px, cv2.LINE_AA)
    cv2.drawContours(picture, large, -1, colour, pen.line_px, cv2.LINE_AA)


def _labels(
    picture: ImageArray,
    drawn: Drawn,
    contours: Sequence[list[AnyArray]],
    pen: Pen,
    caption: Caption,
    corners: Sequence[_Box] = (),
) -> None:
    near_first = [i for i in reversed(drawn.far_to_near()) if contours[i]]
    captions = [_caption(drawn.things[i], caption) for i in near_first]
    plates = [
        (index, plate, _target(drawn.cuts[index], contours[index], plate))
        for index, plate in zip(near_first, _plates(captions, drawn, pen), strict=False)
        if plate is not None
    ]
    labelled = sum(1 for lines in contours if lines)
    spots, note = _spots([target for _, _, target in plates], labelled, drawn, pen, corners)
    placed = [
        (plate, spot, instance_colour(drawn.things[index].id))
        for (index, plate, _), spot in zip(plates, spots, strict=True)
        if spot is not None
    ]
    for plate, spot, colour in placed:
        _leader(picture, plate, spot, colour, pen)
    for plate, spot, colour in reversed(placed):
        plate.draw(picture, spot.x, spot.y, colour)
    if note is not None:
        note.draw(picture, 0, drawn.height - note.height, WHITE)


def _plates(captions: Sequence[tuple[str, str]], drawn: Drawn, pen: Pen) -> list[Plate | None]:
    """Plates of the captions, smaller where there are many, and no more than leave the image seen.

    Returns:
        one per caption from the first on, None where the image is too narrow for it.
    """
    image_area = drawn.width * drawn.height
    plates: list[Plate | None] = []
    covered = np.zeros(0)
    for size in _FONT_SIZES:
        font_px = max(min(_SMALLEST_FONT_PX, pen.font_px), round(size * pen.font_px))
        room = max(round(size * _WIDEST_LABEL * drawn.width), min(drawn.width, 14 * font_px))
        plates = [Plate.fit(*caption, font_px, room_px=room) for caption in captions]
        areas = [0 if plate is None else plate.width * plate.height for plate in plates]
        covered = np.cumsum(areas) / image_area
        if not plates or covered[-1] <= _CROWDED:
            return plates
    # A picture of few things is too small rather than too full: the first few may try.
    return plates[: max(_FEW, int(np.searchsorted(covered, _FULL)))]


def _spots(
    targets: list[Target], wanted: int, drawn: Drawn, pen: Pen, corners: Sequence[_Box]
) -> tuple[list[Spot | None], Plate | None]:
    """Places of all labels; where some find none, a note on how many for the lower left corner."""
    size = (drawn.width, drawn.height)
    reach_px = _REACH * float(np.hypot(*size))
    spots = place_labels(targets, width=size[0], height=size[1], reach_px=reach_px, blocked=corners)
    lacking = wanted - sum(1 for spot in spots if spot is not None)
    if not lacking:
        return spots, None
    # The note needs room as well, which may cost further labels theirs: leave it a digit more.
    note = _note(10 * lacking, pen, drawn.width)
    if note is None or note.height > drawn.height:
        return spots, None
    corner = (0.0, float(drawn.height - note.height), float(note.width), float(note.height))
    spots = place_labels(
        targets, width=size[0], height=size[1], reach_px=reach_px, blocked=[*corners, corner]
    )
    lacking = wanted - sum(1 for spot in spots if spot is not None)
    return spots, _note(lacking, pen, drawn.width)


def _note(lacking: int, pen: Pen, width: int) -> Plate | None:
    return Plate.fit(f"{lacking} more without label", "", pen.font_px, room_px=width)


def _caption(thing: SceneObject, caption: Caption) -> tuple[str, str]:
    """The part of a caption that may be cut, and the part that may not."""
    if caption == "label":
        return thing.label, ""
    return thing.label, thing.caption.removeprefix(thing.label)


def _target(cut: tuple[int, int, BoolMap], contours: list[AnyArray], plate: Plate) -> Target:
    x, y, mask = cut
    centre_x, centre_y, radius = _innermost(mask)
    edge = np.concatenate(contours)[:, 0].astype(np.float64)
    edge = edge[:: max(1, len(edge) // _EDGE_POINTS)]
    centre = (x + centre_x, y + centre_y)
    return Target(
        width=plate.width,
        height=plate.height,
        centre=centre,
        box=(float(x), float(y), float(mask.shape[1]), float(mask.shape[0])),
        edge=np.concatenate([edge, [centre]]),
        inner_px=radius,
    )


def _innermost(mask: BoolMap) -> tuple[float, float, float]:
    """Centre and radius of the largest disc inside a mask, px."""
    # A quarter of a million pixels place a label as well as eight million do.
    step = max(1, round((mask.size / 250_000) ** 0.5))
    small = np.pad(mask[::step, ::step].view(np.uint8), 1)
    inside = cv2.distanceTransform(small, cv2.DIST_L2, 3)
    row, column = np.unravel_index(int(inside.argmax()), inside.shape)
    return float(column - 1) * step, float(row - 1) * step, float(inside.max()) * step


def _leader(picture: ImageArray, plate: Plate, spot: Spot, colour: Colour, pen: Pen) -> None:
    """A line from a label to its object where they do not touch."""
    if spot.gap_px < 0.4 * plate.height:
        return
    tip = (round(spot.tip[0]), round(spot.tip[1]))
    start = (
        int(np.clip(tip[0], spot.x + plate.height // 3, spot.x + plate.width - plate.height // 3)),
        int(np.clip(tip[1], spot.y + 1, spot.y + plate.height - 2)),
    )
    radius = pen.line_px + 1
    cv2.line(picture, start, tip, BLACK, pen.halo_px, cv2.LINE_AA)
    cv2.circle(picture, tip, radius + (pen.halo_px - pen.line_px) // 2, BLACK, -1, cv2.LINE_AA)
    cv2.line(picture, start, tip, colour, pen.line_px, cv2.LINE_AA)
    cv2.circle(picture, tip, radius, colour, -1, cv2.LINE_AA)


def _legend(names: Sequence[str], colours: Sequence[Colour], width: int, pen: Pen) -> ImageArray:
    """Plates with the names on their colours, in as many rows as they need."""
    pad = max(3, pen.font_px // 3)
    rows: list[list[tuple[int, Plate, Colour]]] = []
    x = width
    for name, colour in zip(names, colours, strict=True):
        plate = Plate.fit(name, "", pen.font_px, room_px=width - 2 * pad)
        if plate is None:
            continue
        if x + plate.width + pad > width:
            rows.append([])
            x = pad
        rows[-1].append((x, plate, colour))
        x += plate.width + pad
    line = rows[0][0][1].height + pad if rows else 0
    strip = np.full((len(rows) * line + pad * bool(rows), width, 3), 24, dtype=np.uint8)
    for row, plates in enumerate(rows):
        for x, plate, colour in plates:
            plate.draw(strip, x, pad + row * line, colour)
    return strip


def _dark(colour: Colour) -> Colour:
    red, green, blue = colour
    return red // 5, green // 5, blue // 5


def _rgb(values: AnyArray) -> Colour:
    red, green, blue = (int(value) for value in values)
    return red, green, blue
