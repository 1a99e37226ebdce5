"""A student with random weights: one pass for everything, saved and loaded, asked for a point.

python examples/06_student.py

What it says means nothing before it is trained; the calls are those of a trained one.
"""

import rangemask as rm
from rangemask.data.samples import motorcycle
from rangemask.models.config import RangeMaskConfig
from rangemask.models.rangemask import build_rangemask

frame, _ = motorcycle()
config = RangeMaskConfig.preset("nano", classes=("person", "motorcycle"), max_depth_m=20)
build_rangemask(config).save_pretrained("outputs/student", overwrite=True)

student = rm.load_model("outputs/student", device="cpu")
scene = student.predict(frame)  # the backbone sees each image once
print("heads:    ", ", ".join(student.config.heads))
print("disparity:", scene.disparity.shape, "from", scene.provenance.models[0].model)
print("objects:  ", len(scene.objects))

encoded = rm.load_masks("student:outputs/student", device="cpu").encode(frame.left)
answer = encoded.predict(points=[[(370, 250)]], point_labels=[[1]])
print("one point:", answer.masks.shape, "masks with IoU", answer.iou.round(2).tolist())
