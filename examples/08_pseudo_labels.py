"""Label a small data set with the teachers that need no weights, and read the labels back.

python examples/08_pseudo_labels.py
"""

from pathlib import Path

import numpy as np

from rangemask import Rig
from rangemask.data.store import open_labels
from rangemask.data.synthetic import random_scene, render
from rangemask.labels import LabelConfig, RunOptions, label_dataset
from rangemask.structures.images import write_image
from rangemask.view.contact_sheet import write_contact_sheet

ROOT = Path("outputs/captures")
RIG = Rig.rectified(fx=250.0, cx=159.5, cy=119.5, baseline_m=0.12, width=320, height=240)

# Three pairs, as a camera would leave them: left/, right/ and a calibration.
for side in ("left", "right"):
    (ROOT / side).mkdir(parents=True, exist_ok=True)
for number in range(3):
    frame = render(random_scene(number), RIG).frame
    write_image(ROOT / f"left/room_{number:03}.png", frame.left)
    write_image(ROOT / f"right/room_{number:03}.png", frame.right)
RIG.save(ROOT / "rig.yaml")

# Run it twice: the second run finds everything done.
report = label_dataset(ROOT, LabelConfig(), RunOptions(min_quality=0.3))
print(report.done, "licence of the labels:", report.summary.licence_class)

for sample in open_labels(ROOT):
    known = np.isfinite(sample.disparity)
    print(
        f"{sample.name} of recording {sample.sequence!r}: disparity known for {known.mean():.0%}, "
        f"mean weight {sample.weight[known].mean():.2f}, {len(sample.masks)} objects"
    )
print("to look at:", write_contact_sheet(ROOT))
