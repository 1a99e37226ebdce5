"""What the switches of the offline matcher change.

python examples/03_tune_the_matcher.py
"""

import numpy as np

import rangemask as rm
from rangemask.data.samples import motorcycle

frame, truth_px = motorcycle()

for quality in ("fast", "best"):
    for fill in (False, True):
        match = rm.load_stereo("sgbm", quality=quality, fill=fill)(frame)
        given = np.isfinite(match.disparity)
        both = given & np.isfinite(truth_px)
        off = np.abs(match.disparity[both] - truth_px[both]) > 2
        print(
            f"{quality}, fill={fill!s:5}: {given.mean():.1%} given, {off.mean():.1%} of them off "
            f"by more than 2 px, {match.filled.mean():.1%} guessed, {match.occluded.mean():.1%} "
            "occluded"
        )

# Confidence says which pixels to trust: keep the better half of what was found.
match = rm.load_stereo("sgbm", quality="best")(frame)
trusted = match.confidence > np.median(match.confidence[np.isfinite(match.disparity)])
both = trusted & np.isfinite(truth_px)
off = np.abs(match.disparity[both] - truth_px[both]) > 2
print(f"the more confident half: {off.mean():.2%} off by more than 2 px")
