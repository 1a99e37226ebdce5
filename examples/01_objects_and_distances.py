"""A real stereo pair in; objects with distances, a picture and a point cloud out.

python examples/01_objects_and_distances.py
"""

import rangemask as rm
from rangemask.data.samples import motorcycle
from rangemask.view.prediction import save_prediction

frame, _ = motorcycle()  # a pair that ships with scikit-image, and its rig
scene = rm.Pipeline(stereo="sgbm", masks="geometry")(frame)

for thing in scene.objects:
    x, y, z = thing.centroid
    print(f"{thing.id:2d} {thing.caption:14s} at x {x:+.2f} y {y:+.2f} z {z:.2f} m")

folder = save_prediction(scene, "outputs/example_01", overwrite=True)
print("look at", folder / "fusion" / "overlay.png")
