"""A real pair that ships with a dependency, for the demo, the examples and the tests."""

from __future__ import annotations

import numpy as np

from rangemask.geometry import Rig
from rangemask.geometry.arrays import FloatMap
from rangemask.structures import StereoFrame


def motorcycle() -> tuple[StereoFrame, FloatMap]:
    """Middlebury 2014's Motorcycle at the quarter size in which scikit-image ships it.

    From Scharstein et al., "High-resolution stereo datasets with subpixel-accurate ground
    truth", GCPR 2014; the calibration stands in the docstring of
    ``skimage.data.stereo_motorcycle``.

    Returns:
        the frame with its rig, 741 x 500 px, and the true disparity, (H, W) float32 px, NaN
        where unknown.
    """
    from skimage.data import stereo_motorcycle

    left, right, disparity_px = stereo_motorcycle()  # type: ignore[no-untyped-call]
    rig = Rig.rectified(
        fx=994.978,
        cx=311.193,
        cy=254.877,
        baseline_m=0.193001,
        doffs_px=31.086,
        width=left.shape[1],
        height=left.shape[0],
        name="Middlebury 2014 Motorcycle",
    )
    truth_px = np.where(np.isfinite(disparity_px), disparity_px, np.nan).astype(np.float32)
    return StereoFrame(left, right, rig, "motorcycle"), truth_px
