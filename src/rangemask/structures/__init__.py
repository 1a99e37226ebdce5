"""The containers that all parts of the program speak, validated at birth."""

from rangemask.structures.frame import StereoFrame
from rangemask.structures.maps import DepthKind, DepthMap, SemanticMap, StereoMatch
from rangemask.structures.masks import MaskSet, Rle, Segmentation
from rangemask.structures.objects import Distance, SceneObject
from rangemask.structures.passport import LicenceClass, Passport, Provenance
from rangemask.structures.scene import Scene

__all__ = [
    "DepthKind",
    "DepthMap",
    "Distance",
    "LicenceClass",
    "MaskSet",
    "Passport",
    "Provenance",
    "Rle",
    "Scene",
    "SceneObject",
    "Segmentation",
    "SemanticMap",
    "StereoFrame",
    "StereoMatch",
]
