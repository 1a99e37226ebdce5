"""A rendered room with exact ground truth, and how far off the pipeline is.

python examples/04_synthetic_scene.py
"""

import numpy as np

import rangemask as rm
from rangemask.data.synthetic import SensorConfig, random_scene, render
from rangemask.metrics import disparity_metrics, mask_metrics
from rangemask.structures import MaskSet

rig = rm.Rig.rectified(fx=500, cx=319.5, cy=239.5, baseline_m=0.12, width=640, height=480)
sample = render(random_scene(3, kind="room"), rig, sensor=SensorConfig(noise=2.0))

scene = rm.Pipeline()(sample.frame)

truth = sample.masks()
large = [mask for mask in truth if mask.sum() >= 400]
print("disparity:", disparity_metrics(scene.disparity, sample.disparity).to_dict())
print("masks:", mask_metrics(scene.masks, MaskSet.from_dense(np.stack(large))).to_dict())
for thing in scene.objects:
    true_m = np.nanmedian(sample.depth_m[thing.mask])
    print(f"{thing.caption}, true {true_m:.2f} m")
