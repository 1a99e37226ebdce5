"""Augmentation of examples, right for stereo (docs/augmentation.md)."""

from rangemask.training.augmentation.config import PRESETS, Augmentation, Preset
from rangemask.training.augmentation.draws import generator_of
from rangemask.training.augmentation.geometric import CropAndScale, Flip, Misalignment, WideAngle
from rangemask.training.augmentation.photometric import Blur, Colour, Jpeg, Noise, Occlusion
from rangemask.training.augmentation.sampling import Size, check_size, fit

__all__ = [
    "PRESETS",
    "Augmentation",
    "Blur",
    "Colour",
    "CropAndScale",
    "Flip",
    "Jpeg",
    "Misalignment",
    "Noise",
    "Occlusion",
    "Preset",
    "Size",
    "WideAngle",
    "check_size",
    "fit",
    "generator_of",
]
