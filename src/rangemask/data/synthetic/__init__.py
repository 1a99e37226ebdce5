"""Synthetic stereo scenes with exact ground truth (docs/synthetic.md)."""

from rangemask.data.synthetic.generate import SCENE_KINDS, SceneKind, random_scene
from rangemask.data.synthetic.materials import Material
from rangemask.data.synthetic.render import SyntheticObject, SyntheticSample, render
from rangemask.data.synthetic.scene import CLASS_NAMES, SyntheticScene, Thing, camera_pose
from rangemask.data.synthetic.sensor import SensorConfig
from rangemask.data.synthetic.shapes import Box, Capsule, Cylinder, Plane, Shape, Sphere

__all__ = [
    "CLASS_NAMES",
    "SCENE_KINDS",
    "Box",
    "Capsule",
    "Cylinder",
    "Material",
    "Plane",
    "SceneKind",
    "SensorConfig",
    "Shape",
    "Sphere",
    "SyntheticObject",
    "SyntheticSample",
    "SyntheticScene",
    "Thing",
    "camera_pose",
    "random_scene",
    "render",
]
