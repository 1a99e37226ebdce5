"""Stereo head: two eyes to disparity, light enough for real time."""

from rangemask.models.heads.stereo.config import StereoHeadConfig
from rangemask.models.heads.stereo.head import StereoHead, StereoOutput

__all__ = ["StereoHead", "StereoHeadConfig", "StereoOutput"]
