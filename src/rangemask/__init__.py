"""Masks that know how far away they are.

    import rangemask as rm

    rig = rm.Rig.load("rig.yaml")
    frame = rm.StereoFrame.read("left.png", "right.png", rig=rig)
    scene = rm.Pipeline()(frame)
    for thing in scene.objects:
        print(thing.label, thing.distance.median)

Importing the package imports nothing heavy; each name is loaded when it is first used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from rangemask._version import __version__

if TYPE_CHECKING:
    from rangemask.backends.registry import load_depth, load_masks, load_stereo
    from rangemask.errors import InputError, OutputError, RangemaskError
    from rangemask.fusion.align import align
    from rangemask.geometry import Camera, Rig
    from rangemask.models.loading import load_backbone
    from rangemask.models.pretrained import load_model
    from rangemask.pipeline import Pipeline
    from rangemask.structures import (
        DepthMap,
        Distance,
        MaskSet,
        Scene,
        SceneObject,
        Segmentation,
        SemanticMap,
        StereoFrame,
        StereoMatch,
    )

_HOMES = {
    "Camera": "rangemask.geometry",
    "DepthMap": "rangemask.structures",
    "Distance": "rangemask.structures",
    "InputError": "rangemask.errors",
    "MaskSet": "rangemask.structures",
    "OutputError": "rangemask.errors",
    "Pipeline": "rangemask.pipeline",
    "RangemaskError": "rangemask.errors",
    "Rig": "rangemask.geometry",
    "Scene": "rangemask.structures",
    "SceneObject": "rangemask.structures",
    "Segmentation": "rangemask.structures",
    "SemanticMap": "rangemask.structures",
    "StereoFrame": "rangemask.structures",
    "StereoMatch": "rangemask.structures",
    "align": "rangemask.fusion.align",
    "load_backbone": "rangemask.models.loading",
    "load_depth": "rangemask.backends.registry",
    "load_masks": "rangemask.backends.registry",
    "load_model": "rangemask.models.pretrained",
    "load_stereo": "rangemask.backends.registry",
}

__all__ = [
    "Camera",
    "DepthMap",
    "Distance",
    "InputError",
    "MaskSet",
    "OutputError",
    "Pipeline",
    "RangemaskError",
    "Rig",
    "Scene",
    "SceneObject",
    "Segmentation",
    "SemanticMap",
    "StereoFrame",
    "StereoMatch",
    "__version__",
    "align",
    "load_backbone",
    "load_depth",
    "load_masks",
    "load_model",
    "load_stereo",
]


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module 'rangemask' has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)


def __dir__() -> list[str]:
    return __all__
