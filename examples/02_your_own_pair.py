"""Two image files and a calibration file of any known format.

python examples/02_your_own_pair.py left.png right.png rig.yaml
"""

import sys

import rangemask as rm
from rangemask.pipeline import FusionConfig

left, right, calibration = sys.argv[1:4]

rig = rm.Rig.load(calibration)  # ours, Middlebury, KITTI, OpenCV, ROS, Kalibr, K.txt, Arducam
frame = rm.StereoFrame.read(left, right, rig=rig)

# Raw images of a rig with distortion are rectified on the way.
pipeline = rm.Pipeline(fusion=FusionConfig(max_distance_m=4.0))
scene = pipeline(frame)

for thing in scene.objects:
    distance = thing.distance
    print(f"{thing.label} {distance.median:.2f} m ({distance.p10:.2f} to {distance.p90:.2f})")

folder = scene.save("outputs/example_02", overwrite=True)
print("saved and loaded back equal:", rm.Scene.load(folder) == scene)
