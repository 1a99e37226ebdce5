"""Cameras, disparity, depth and projection: numpy in, numpy out, nothing else."""

from rangemask.geometry.projection import back_project, back_project_pixels, project
from rangemask.geometry.rig import Camera, LensModel, Rig
from rangemask.geometry.stereo import (
    depth_error_from_disparity_error,
    depth_from_disparity,
    disparity_from_depth,
)

__all__ = [
    "Camera",
    "LensModel",
    "Rig",
    "back_project",
    "back_project_pixels",
    "depth_error_from_disparity_error",
    "depth_from_disparity",
    "disparity_from_depth",
    "project",
]
