"""A raw fisheye pair: rectified with more or less of its field of view, then measured.

python examples/05_rectify_a_wide_pair.py
"""

from dataclasses import replace

import rangemask as rm
from rangemask.camera.pair_check import check_pair
from rangemask.camera.rectify import Rectification
from rangemask.data.synthetic import random_scene, render

# Two fisheye cameras, the right one turned a little against the left one.
eye = rm.Camera(
    fx=300,
    fy=300,
    cx=319.5,
    cy=239.5,
    width=640,
    height=480,
    model="fisheye",
    distortion=(0.02, -0.005, 0.001, 0.0),
)
raw = rm.Rig(
    left=eye,
    right=replace(eye, cx=324.0, cy=236.0),
    rotation=((0.9998, -0.0100, 0.0175), (0.0101, 0.9999, -0.0049), (-0.0174, 0.0051, 0.9998)),
    translation_m=(-0.1, 0.001, 0.002),
)
frame = render(random_scene(3, kind="room"), raw).frame
print("raw:      ", check_pair(frame).warnings())

for field_of_view in (0.0, 1.0):
    rectification = Rectification(raw, field_of_view=field_of_view)
    straight = rectification.rectify(frame)
    print(
        f"view {field_of_view}: fx {rectification.rig.fx:.0f} px, "
        f"{rectification.valid.mean():.0%} of the picture filled, {check_pair(straight).warnings()}"
    )

# The pipeline does the same by itself when the rig is not rectified.
for thing in rm.Pipeline()(frame).objects:
    print(thing.caption)
