"""What training minimises, per head and together.

Unknown pixels (NaN, id 0, weight 0) teach nothing; a frame of which nothing is known is left out
and named; a batch of only such frames is an error.
"""

from rangemask.training.losses.depth import DepthLossConfig, depth_loss
from rangemask.training.losses.fusion import FusionLossConfig, fusion_loss
from rangemask.training.losses.joint import HeadWeights, JointLossConfig, joint_loss
from rangemask.training.losses.loss import Loss, NothingKnownError
from rangemask.training.losses.masks import MaskLossConfig, mask_loss
from rangemask.training.losses.prompting import PromptSampling
from rangemask.training.losses.prompts import PromptLossConfig, prompt_loss
from rangemask.training.losses.semantic import SemanticLossConfig, semantic_loss
from rangemask.training.losses.stereo import StereoLossConfig, stereo_loss

__all__ = [
    "DepthLossConfig",
    "FusionLossConfig",
    "HeadWeights",
    "JointLossConfig",
    "Loss",
    "MaskLossConfig",
    "NothingKnownError",
    "PromptLossConfig",
    "PromptSampling",
    "SemanticLossConfig",
    "StereoLossConfig",
    "depth_loss",
    "fusion_loss",
    "joint_loss",
    "mask_loss",
    "prompt_loss",
    "semantic_loss",
    "stereo_loss",
]
