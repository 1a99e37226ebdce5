"""Things by their names: boxes of a detector, each a prompt."""

from __future__ import annotations

import numpy as np

from rangemask.backends.masks.sam2.cleaning import Crop, distinct, full_size
from rangemask.backends.masks.sam2.image import Sam2Image
from rangemask.backends.protocols import Detections
from rangemask.structures import MaskSet


def segment_boxes(
    encoded: Sam2Image, found: Detections, *, max_iou: float, min_region_px: int
) -> MaskSet:
    """A mask for each box that a detector found, best first.

    The score is the detector's times the model's own guess of how well the mask fits: how sure it
    is that such a thing is there, and that this is its outline. Of masks that overlap by more than
    ``max_iou`` the best remains, whatever their labels.

    Args:
        encoded: the image.
        found: boxes within it.
        max_iou: of masks that are not repetitions.
        min_region_px: smaller regions and holes are cleaned away.
    """
    height, width = encoded.image_size
    # Detectors may reach over the border, or find lines.
    edge = np.array([width, height, width, height], dtype=np.float32)
    boxes = np.clip(found.boxes, 0, edge)
    real = np.flatnonzero((boxes[:, 2:] > boxes[:, :2]).all(1))
    if real.size == 0:
        return MaskSet(height, width)
    answer = encoded.ask(boxes=boxes[real])
    whole = Crop(0, 0, width, height)
    rles = full_size(answer.logits[:, 0], whole, (height, width), min_region_px=min_region_px)
    fits = answer.iou[:, 0].clamp(0, 1).cpu().numpy()
    scores = found.scores[real] * fits
    order = [i for i in np.argsort(-scores, kind="stable").tolist() if rles[i].area]
    kept = [order[i] for i in distinct([rles[i] for i in order], max_iou)]
    return MaskSet(
        height,
        width,
        tuple(rles[i] for i in kept),
        tuple(found.labels[real[i]] for i in kept),
        tuple(float(scores[i]) for i in kept),
    )
