"""The labelling configuration that a Label Studio project needs for our tasks."""

from __future__ import annotations

import colorsys
from collections.abc import Sequence
from xml.sax.saxutils import quoteattr

from rangemask.labels.label_studio.regions import FROM_NAMES, TO_NAME

_GOLDEN = 0.618033988749895


def label_config(classes: Sequence[str]) -> str:
    """XML with all classes, as brush and as polygon, so that either can be drawn.

    Args:
        classes: in the order of their ids, which their colours follow.
    """
    labels = [
        f"    <Label value={quoteattr(name)} background={quoteattr(colour_of(index))}/>"
        for index, name in enumerate(classes)
    ]
    return "\n".join(
        [
            "<View>",
            f'  <Image name="{TO_NAME}" value="${TO_NAME}" zoom="true" zoomControl="true"/>',
            f'  <BrushLabels name="{FROM_NAMES["brushlabels"]}" toName="{TO_NAME}">',
            *labels,
            "  </BrushLabels>",
            f'  <PolygonLabels name="{FROM_NAMES["polygonlabels"]}" toName="{TO_NAME}">',
            *labels,
            "  </PolygonLabels>",
            "</View>",
            "",
        ]
    )


def colour_of(index: int) -> str:
    """Of a class, as #rrggbb: steps of the golden section around the circle of hues never meet."""
    hue = (0.08 + index * _GOLDEN) % 1
    value = 0.95 if index % 2 == 0 else 0.75
    red, green, blue = colorsys.hsv_to_rgb(hue, 0.75, value)
    return f"#{round(red * 255):02x}{round(green * 255):02x}{round(blue * 255):02x}"
